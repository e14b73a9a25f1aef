//! What hangs on one record: its notes and the metadata of its attachments.
//!
//! Follows sections "Notes" and "Attachments and files" of the API reference. A tenth of all records has
//! attachments; which, and how many, follows from the record's id. Their bytes are not kept.

use super::{module, page_params};
use crate::emulator::data::Dice;
use crate::emulator::render::{Form, push_row};
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Row, Store, View};
use crate::emulator::time::datetime_text;
use crate::emulator::value::Id;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Map, Value as Json, json};

/// The route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/crm/{version}/{module}/{id}/{related}", get(list))
}

/// `GET /crm/v8/{module}/{id}/Attachments` and `…/Notes`.
async fn list(call: Call, Path((_, name, id, related)): Path<(String, String, String, String)>) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let view = module(&call, &store, &name)?;
    let names = call.params.list("fields");
    if names.is_empty() && call.version >= 3 {
        return Err(Reply::param_missing("fields"));
    }
    let (page, per_page) = page_params(&call)?;
    let invalid = |index: u8| {
        let details = json!({"resource_path_index": index});
        Reply::error(400, "INVALID_DATA", "the related id given seems to be invalid", details)
    };
    let row = id.parse().ok().and_then(|id: Id| view.get(id)).ok_or_else(|| invalid(1))?;
    let all: Vec<Json> = match related.as_str() {
        "Attachments" => attachments(&call, &store, row, &names),
        "Notes" => notes(&call, store.view("Notes"), row, &names),
        _ => return Err(invalid(2)),
    };
    let shown: Vec<&Json> = all.iter().skip((page - 1) * per_page).take(per_page).collect();
    if shown.is_empty() {
        return Ok(Reply::empty(204));
    }
    let more = all.len() > page * per_page;
    let info = json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
    Ok(Reply::json(200, &json!({"data": shown, "info": info})))
}

fn attachments(call: &Call, store: &Store, row: Row<'_>, names: &[&str]) -> Vec<Json> {
    let mut dice = Dice::new(row.id ^ 0x6174_7461);
    if !matches!(row.view.module.generated_type.as_str(), "default" | "custom") || dice.below(10) != 0 {
        return Vec::new();
    }
    let owner = row.by_name("Created_By").as_id().and_then(|id| store.user(id));
    let owner =
        owner.map(|user| json!({"name": user.full_name(), "id": user.id.to_string(), "email": user.email}));
    let time = row.by_name("Created_Time").as_instant().map(|instant| datetime_text(instant, call.zone));
    let show = |number: u64, size: u64| {
        let all = json!({
            "id": (row.id + 500_000_000_000 + number).to_string(), "Owner": owner, "Created_By": owner,
            "Modified_By": owner, "Created_Time": time, "Modified_Time": time, "Size": size.to_string(),
            "File_Name": format!("Anhang {number} für {}.pdf", row.id % 1_000_000), "$file_id": format!("f{:x}a{number}", row.id),
            "Parent_Id": {"name": row.name(), "id": row.id.to_string()}, "$se_module": row.view.module.api_name,
            "$editable": true, "$type": "Attachment", "$link_url": null, "$attachment_type": 1, "$state": "save",
        });
        let Json::Object(all) = all else { return Json::Null };
        let wanted = |key: &String| key == "id" || names.is_empty() || names.contains(&key.as_str());
        Json::Object(all.into_iter().filter(|(key, _)| wanted(key)).collect::<Map<_, _>>())
    };
    let count = 1 + dice.below(3);
    (1..=count).map(|number| show(number, dice.below(20_000_000))).collect()
}

fn notes(call: &Call, notes: Option<View<'_>>, row: Row<'_>, names: &[&str]) -> Vec<Json> {
    let Some((view, parent)) = notes.and_then(|view| Some((view, view.module.index_of("Parent_Id")?))) else {
        return Vec::new();
    };
    let places: Vec<u16> = names.iter().filter_map(|name| view.module.index_of(name)).collect();
    let form = Form { zone: call.zone, cut: true, emails: call.version >= 3 };
    let show = |note: Row<'_>| {
        let mut out = String::new();
        push_row(&mut out, note, &places, form);
        serde_json::from_str(&out).unwrap_or_default()
    };
    view.pointing(parent, row.id).into_iter().filter_map(|id| view.get(id)).map(show).collect()
}
