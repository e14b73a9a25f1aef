//! Modules and fields: `GET /crm/v8/settings/modules`, `GET /crm/v8/settings/fields`.
