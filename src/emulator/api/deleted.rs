//! The list of deleted records. Follows section "Deleted records and recycle bin" of the reference.

use super::{instant_header, module, page_params};
use crate::emulator::render::{push_named, push_user};
use crate::emulator::reply::{Answer, Reply, push_json_text};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Deleted, Store};
use crate::emulator::time::push_datetime;
use crate::emulator::value::Id;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::json;
use std::fmt::Write as _;

const DAY: i64 = 86_400;
/// How long the recycle bin keeps a record, in seconds.
const IN_BIN: i64 = 60 * DAY;
/// How long a permanent delete is listed, in seconds.
const LISTED: i64 = 120 * DAY;

/// The route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/crm/{version}/{module}/deleted", get(list))
}

/// Whether the record has left the recycle bin; `None` once it is forgotten altogether.
pub(super) fn is_permanent(deleted: &Deleted, now: i64) -> Option<bool> {
    let age = now - deleted.at;
    (age < LISTED).then_some(deleted.permanent || age >= IN_BIN)
}

/// `GET /crm/v8/{module}/deleted`, newest first.
async fn list(call: Call, Path((_, name)): Path<(String, String)>) -> Answer {
    call.charge(2)?;
    let store = call.org.read();
    let view = module(&call, &store, &name)?;
    let wanted = match call.params.get("type") {
        None | Some("all") => None,
        Some("recycle") => Some(false),
        Some("permanent") => Some(true),
        Some(_) => {
            let details = json!({"param_name": "type", "supported_values": ["all", "recycle", "permanent"]});
            return Err(Reply::error(
                400,
                "PATTERN_NOT_MATCHED",
                "Please check whether the input values are correct",
                details,
            ));
        }
    };
    let (page, per_page) = page_params(&call)?;
    let since = instant_header(&call, "if-modified-since")?;
    let switches = call.app.switches();
    if switches.deleted_rows.is_some_and(|most| page * per_page > most as usize && page > 1) {
        let details = json!({"param_name": "page"});
        let message = "page numbers reach no further";
        return Err(Reply::error(400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED", message, details));
    }
    let now = call.app.clock.now();
    let recent = |deleted: &Deleted| match since {
        Some(since) if switches.modified_since_strict => deleted.at > since,
        Some(since) => deleted.at >= since,
        None => true,
    };
    let all = view.table.deleted.iter().rev().filter(|deleted| recent(deleted));
    let all = all.filter_map(|deleted| Some((deleted, is_permanent(deleted, now)?)));
    let mut listed = all.filter(|(_, permanent)| wanted.is_none_or(|wanted| wanted == *permanent));
    let mut listed = listed.by_ref().skip((page - 1) * per_page);
    let entries: Vec<_> = listed.by_ref().take(per_page).collect();
    if entries.is_empty() {
        return Ok(Reply::empty(if since.is_some() && switches.deleted_304 { 304 } else { 204 }));
    }
    let mut out = String::from("{\"data\":[");
    for (number, (deleted, permanent)) in entries.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        push_entry(&mut out, &call, &store, deleted, *permanent);
    }
    let more = listed.next().is_some();
    let count = entries.len();
    let _ = write!(
        out,
        "],\"info\":{{\"per_page\":{per_page},\"count\":{count},\"page\":{page},\"more_records\":{more}}}}}"
    );
    Ok(Reply::text(200, out))
}

/// Permanent deletes tell no name and no people.
fn push_entry(out: &mut String, call: &Call, store: &Store, deleted: &Deleted, permanent: bool) {
    let _ = write!(out, "{{\"id\":\"{}\",\"display_name\":", deleted.id);
    match deleted.name.as_deref().filter(|_| !permanent) {
        Some(name) => push_json_text(out, name),
        None => out.push_str("null"),
    }
    let _ =
        write!(out, ",\"type\":\"{}\",\"deleted_time\":\"", if permanent { "permanent" } else { "recycle" });
    push_datetime(out, deleted.at, call.zone);
    out.push_str("\",\"deleted_by\":");
    push_person(out, store, Some(deleted.by).filter(|_| !permanent));
    out.push_str(",\"created_by\":");
    push_person(out, store, deleted.created_by.filter(|_| !permanent));
    out.push('}');
}

fn push_person(out: &mut String, store: &Store, id: Option<Id>) {
    match id {
        Some(id) if store.user(id).is_some() => push_user(out, store, id, false),
        Some(id) => push_named(out, None, id),
        None => out.push_str("null"),
    }
}
