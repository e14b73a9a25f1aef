//! The endpoints under `/crm`, one file per API, named as in Zoho's documentation.
//!
//! Each file has a `routes()`; paths take any version from v2 to v8 as `{version}`. Fixed segments
//! such as `settings` win over `{module}`.

pub mod bulk_read;
pub mod bulk_write;
pub mod coql;

use super::state::AppState;
use axum::Router;

/// All routes under `/crm`.
pub fn routes() -> Router<AppState> {
    Router::new().merge(bulk_read::routes()).merge(coql::routes())
}
