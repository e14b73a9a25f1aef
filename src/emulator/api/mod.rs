//! The endpoints under `/crm`, one file per API, named as in Zoho's documentation.
//!
//! Each file has a `routes()`; paths take any version from v2 to v8 as `{version}`. Fixed segments
//! such as `settings` win over `{module}`.

pub mod bulk_read;
pub mod bulk_write;
pub mod coql;
pub mod currencies;
pub mod deleted;
pub mod fields;
pub mod modules;
pub mod org;
pub mod paging;
pub mod records;
pub mod recycle_bin;
pub mod related;
pub mod settings;
pub mod users;
pub mod write_records;

use super::reply::Reply;
use super::state::{AppState, Call};
use super::store::{Store, View};
use super::time::{parse_datetime, parse_http_date};
use axum::Router;
use serde_json::{Value as Json, json};

/// All routes under `/crm`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .merge(bulk_read::routes())
        .merge(bulk_write::routes())
        .merge(coql::routes())
        .merge(org::routes())
        .merge(users::routes())
        .merge(modules::routes())
        .merge(fields::routes())
        .merge(records::routes())
        .merge(write_records::routes())
        .merge(deleted::routes())
        .merge(currencies::routes())
        .merge(settings::routes())
        .merge(related::routes())
        .merge(recycle_bin::routes())
}

/// The module a call is about, if this user may use it.
///
/// # Errors
/// `INVALID_MODULE`, `NO_PERMISSION` or, for Notes without an administrator, `NOT_SUPPORTED`.
pub fn module<'a>(call: &Call, store: &'a Store, api_name: &str) -> Result<View<'a>, Reply> {
    let view =
        store.view(api_name).filter(|view| view.module.api_supported && view.module.api_name == api_name);
    let view = view.ok_or_else(|| Reply::invalid_module(api_name))?;
    if call.app.switches().no_permission_module.as_deref() == Some(api_name) {
        return Err(Reply::no_permission(&format!("Crm_Implied_View_{api_name}")));
    }
    if api_name == "Notes" && !call.admin {
        return Err(Reply::error(403, "NOT_SUPPORTED", "the user is not an administrator", json!({})));
    }
    Ok(view)
}

/// Reads the body as a JSON object.
///
/// # Errors
/// `UNABLE_TO_PARSE_DATA_TYPE` or `INVALID_DATA`.
pub fn body_object(body: &[u8]) -> Result<serde_json::Map<String, Json>, Reply> {
    let message = "either the request body or parameters is in wrong format";
    match serde_json::from_slice(body) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => Err(Reply::error(
            400,
            "INVALID_DATA",
            "invalid data",
            json!({"expected_data_type": "jsonobject"}),
        )),
        Err(_) => Err(Reply::error(400, "UNABLE_TO_PARSE_DATA_TYPE", message, json!({}))),
    }
}

/// One object of the keys of several: `json!` expands only so many keys at once.
fn merged(parts: impl IntoIterator<Item = Json>) -> Json {
    let keys = parts.into_iter().filter_map(|part| match part {
        Json::Object(map) => Some(map),
        _ => None,
    });
    Json::Object(keys.flatten().collect())
}

/// The instant of a conditional header: ISO 8601 with an offset, or an HTTP date.
///
/// # Errors
/// `INVALID_DATA` when the header is neither.
pub fn instant_header(call: &Call, name: &str) -> Result<Option<i64>, Reply> {
    let Some(text) = call.header(name) else { return Ok(None) };
    match parse_datetime(text).or_else(|| parse_http_date(text)) {
        Some(instant) => Ok(Some(instant)),
        None => Err(Reply::invalid_param(name, "the header is not a datetime")),
    }
}

/// `page` and `per_page` of a list call.
///
/// # Errors
/// `INVALID_DATA` when one of them is no number in its range.
pub fn page_params(call: &Call) -> Result<(usize, usize), Reply> {
    let number = |name, default: usize, most: usize| match call.params.get(name).map(str::parse::<usize>) {
        None => Ok(default),
        Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
        Some(_) => Err(Reply::invalid_param(name, "invalid value for the parameter")),
    };
    Ok((number("page", 1, usize::MAX / 1_000)?, number("per_page", 200, 200)?))
}
