//! Queries in Zoho's SQL: `POST /crm/v8/coql`.
