//! The recycle bin across modules. Follows section "Deleted records and recycle bin" of the reference,
//! without `filters`; a call that restores is not documented.

use super::deleted::is_permanent;
use super::page_params;
use crate::emulator::reply::{Answer, Reply, envelope};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Deleted, Store};
use crate::emulator::time::datetime_text;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};

/// Most ids in one call.
const MOST_IDS: usize = 100;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/settings/recycle_bin", get(list).delete(purge))
        .route("/crm/{version}/settings/recycle_bin/{id}", get(single).delete(purge_one))
}

/// `GET /crm/v8/settings/recycle_bin`, newest first.
async fn list(call: Call) -> Answer {
    call.charge(1)?;
    let (page, per_page) = page_params(&call)?;
    let wanted = call.params.list("ids");
    let mut all = held(&call);
    all.retain(|entry| wanted.is_empty() || wanted.iter().any(|id| entry["id"] == *id));
    let shown: Vec<&Json> = all.iter().skip((page - 1) * per_page).take(per_page).collect();
    if shown.is_empty() {
        return Ok(Reply::empty(204));
    }
    let more = all.len() > page * per_page;
    let info = json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
    Ok(Reply::json(200, &json!({"recycle_bin": shown, "info": info})))
}

/// `GET /crm/v8/settings/recycle_bin/{id}`.
async fn single(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    match held(&call).into_iter().find(|entry| entry["id"] == id.as_str()) {
        Some(entry) => Ok(Reply::json(200, &json!({"recycle_bin": [entry]}))),
        None => Ok(Reply::empty(204)),
    }
}

/// What is in the bin, of all modules that have one.
fn held(call: &Call) -> Vec<Json> {
    let store = call.org.read();
    let now = call.app.clock.now();
    let mut held: Vec<(i64, Json)> = Vec::new();
    for at in 0..store.schema.modules.len() {
        let view = store.view_at(at);
        let module = json!({"api_name": view.module.api_name, "id": view.module.id.to_string()});
        let kept = view.table.deleted.iter().filter(|deleted| is_permanent(deleted, now) == Some(false));
        held.extend(kept.map(|deleted| (deleted.at, show(call, &store, deleted, &module))));
    }
    held.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    held.into_iter().map(|(_, entry)| entry).collect()
}

fn show(call: &Call, store: &Store, deleted: &Deleted, module: &Json) -> Json {
    let person = |id| store.user(id).map(|user| json!({"name": user.full_name(), "id": user.id.to_string()}));
    json!({"id": deleted.id.to_string(), "display_name": deleted.name, "module": module,
        "deleted_time": datetime_text(deleted.at, call.zone), "deleted_by": person(deleted.by),
        "owner": deleted.created_by.and_then(person)})
}

/// `DELETE /crm/v8/settings/recycle_bin?ids=`: for good.
async fn purge(call: Call) -> Answer {
    let ids: Vec<String> = call.params.list("ids").into_iter().map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Reply::param_missing("ids"));
    }
    if ids.len() > MOST_IDS {
        return Err(Reply::limit_exceeded(json!({"param_name": "ids", "limit": MOST_IDS}), "too many ids"));
    }
    purge_ids(&call, &ids)
}

/// `DELETE /crm/v8/settings/recycle_bin/{id}`: for good.
async fn purge_one(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    purge_ids(&call, &[id])
}

fn purge_ids(call: &Call, ids: &[String]) -> Answer {
    call.charge(1)?;
    let held = held(call);
    let mut store = call.org.write();
    let mut failed = 0;
    let mut results = Vec::new();
    for id in ids {
        let entry = held.iter().find(|entry| entry["id"] == id.as_str());
        let at = entry.and_then(|entry| store.schema.position(entry["module"]["api_name"].as_str()?));
        results.push(if let Some(at) = at {
            store.purge(at, std::slice::from_ref(id));
            json!({"code": "SUCCESS", "details": {"id": id}, "message": "record deleted permanently", "status": "success"})
        } else {
            failed += 1;
            envelope("INVALID_DATA", "the id given seems to be invalid", json!({"id": id}))
        });
    }
    let status = match failed {
        0 => 200,
        failed if failed < ids.len() => 207,
        _ => 400,
    };
    Ok(Reply::json(status, &json!({"recycle_bin": results})))
}
