//! Writing records: insert, update, upsert, delete. Follows section "Records: insert, update,
//! upsert, delete" of the API reference. Every record gets its own result, in input order.

use super::{body_object, instant_header, module};
use crate::emulator::convert::Rules;
use crate::emulator::data::mix;
use crate::emulator::faults::{Kind, RowCode};
use crate::emulator::reply::{Answer, Reply, envelope};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Store, View};
use crate::emulator::time::datetime_text;
use crate::emulator::value::{Id, Value};
use crate::emulator::write::{self, Problem};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::routing::{delete, post, put};
use serde_json::{Map, Value as Json, json};

/// Most records in one call.
const MOST_RECORDS: usize = 100;
/// Writes of more records than this count as heavy.
const LIGHT_RECORDS: usize = 10;

/// The writing routes; the reading ones on the same paths are in `records.rs`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/{module}", post(insert).put(update).delete(remove))
        .route("/crm/{version}/{module}/upsert", post(upsert))
        .route("/crm/{version}/{module}/{id}", put(update_one))
        .route("/crm/{version}/{module}/{id}", delete(remove_one))
}

/// The results of one call, and the statuses they call for.
#[derive(Default)]
struct Results {
    items: Vec<Json>,
    failed: usize,
    modified: usize,
}

impl Results {
    fn push(&mut self, result: Result<Json, Json>) {
        match result {
            Ok(item) => self.items.push(item),
            Err(item) => {
                self.failed += 1;
                self.modified += usize::from(item["code"] == "ALREADY_MODIFIED");
                self.items.push(item);
            }
        }
    }

    fn answer(self, call: &Call, all_good: u16) -> Answer {
        let status = match self.failed {
            0 => all_good,
            failed if failed < self.items.len() => 207,
            failed if failed == self.modified => 412,
            _ => call.app.switches().all_failed_status,
        };
        Ok(Reply::json(status, &json!({"data": self.items})))
    }
}

/// Reads the body of a write and takes its credits.
fn records(call: &Call, body: &[u8]) -> Result<(Vec<Json>, Map<String, Json>), Reply> {
    let mut body = body_object(body)?;
    let records = match body.remove("data") {
        Some(Json::Array(records)) => records,
        Some(_) => return Err(Reply::invalid_body("data", "jsonarray")),
        None => return Err(Reply::key_missing("data")),
    };
    if records.is_empty() {
        return Err(Reply::invalid_body("data", "jsonarray"));
    }
    if records.len() > MOST_RECORDS {
        let details = json!({"api_name": "data", "json_path": "$.data", "limit": MOST_RECORDS});
        return Err(Reply::limit_exceeded(details, "more than 100 records"));
    }
    if let Some(trigger) = body.get("trigger")
        && !trigger.is_array()
        && !trigger.is_null()
    {
        return Err(Reply::invalid_body("trigger", "jsonarray"));
    }
    call.app.stats.triggers(&call.label, body.get("trigger"));
    if records.len() > LIGHT_RECORDS {
        call.heavy()?;
    }
    call.charge(records.len().div_ceil(10) as u64)?;
    Ok((records, body))
}

/// The place of a module that records may be written to.
fn writable(call: &Call, store: &Store, name: &str) -> Result<usize, Reply> {
    let view = module(call, store, name)?;
    if !view.module.creatable {
        let details = json!({"resource_path_index": 0});
        return Err(Reply::error(
            400,
            "NOT_SUPPORTED",
            "the module does not take records of their own",
            details,
        ));
    }
    store.schema.position(name).ok_or_else(|| Reply::invalid_module(name))
}

/// A record as an object, unless a fault refuses it.
fn unrefused<'a>(call: &Call, record: &'a Json) -> Result<&'a Map<String, Json>, Problem> {
    let refused = || Problem::invalid("", json!({"expected_data_type": "jsonobject"}));
    let record = record.as_object().ok_or_else(refused)?;
    match call.app.faults.strike(call.fired.get(Kind::RowErrors), &RowCode::OF_RECORDS) {
        None => Ok(record),
        Some(code) => {
            let field = record.keys().find(|key| *key != "id").map_or("id", String::as_str);
            Err(Problem::new(code.as_str(), "refused by a fault of the emulator", field, json!({})))
        }
    }
}

fn rules(call: &Call) -> Rules {
    Rules::new(&call.app.switches(), call.zone, false)
}

fn success(call: &Call, view: View<'_>, id: Id, message: &str) -> Json {
    let row = view.get(id);
    let person = |name: &str| {
        let user = row.and_then(|row| row.by_name(name).as_id()).and_then(|id| view.store.user(id));
        user.map(|user| json!({"name": user.full_name(), "id": user.id.to_string()}))
    };
    let time = |name: &str| {
        let instant = row.and_then(|row| row.by_name(name).as_instant());
        instant.map(|instant| datetime_text(instant, call.zone))
    };
    let details = json!({
        "id": id.to_string(), "Created_Time": time("Created_Time"), "Modified_Time": time("Modified_Time"),
        "Created_By": person("Created_By"), "Modified_By": person("Modified_By"), "$approval_state": "approved",
    });
    json!({"code": "SUCCESS", "details": details, "message": message, "status": "success"})
}

/// `POST /crm/v8/{module}`.
async fn insert(call: Call, Path((_, name)): Path<(String, String)>, body: Bytes) -> Answer {
    let (records, _) = records(&call, &body)?;
    let mut store = call.org.write();
    let at = writable(&call, &store, &name)?;
    let rules = rules(&call);
    let mut results = Results::default();
    for (index, record) in records.iter().enumerate() {
        let made = unrefused(&call, record)
            .and_then(|record| write::insert(&mut store, at, record, &rules, call.stamp()));
        let made = made.map(|id| success(&call, store.view_at(at), id, "record added"));
        results.push(made.map_err(|problem| problem.to_json(index)));
    }
    results.answer(&call, 201)
}

/// `PUT /crm/v8/{module}`.
async fn update(call: Call, Path((_, name)): Path<(String, String)>, body: Bytes) -> Answer {
    update_records(&call, &name, None, &body)
}

/// `PUT /crm/v8/{module}/{id}`.
async fn update_one(call: Call, Path((_, name, id)): Path<(String, String, String)>, body: Bytes) -> Answer {
    update_records(&call, &name, Some(&id), &body)
}

fn update_records(call: &Call, name: &str, id: Option<&str>, body: &[u8]) -> Answer {
    let (records, _) = records(call, body)?;
    let unmodified_since = instant_header(call, "if-unmodified-since")?;
    let mut store = call.org.write();
    let at = writable(call, &store, name)?;
    let rules = rules(call);
    let mut results = Results::default();
    for (index, record) in records.iter().enumerate() {
        let changed = unrefused(call, record).and_then(|record| {
            let id = target(record, id)?;
            check_unmodified(call, store.view_at(at), id, unmodified_since)?;
            write::update(&mut store, at, id, record, &rules, call.stamp())?;
            Ok(success(call, store.view_at(at), id, "record updated"))
        });
        results.push(changed.map_err(|problem| problem.to_json(index)));
    }
    results.answer(call, 200)
}

/// The record that an update is for: by the path, or by its `id` key.
fn target(record: &Map<String, Json>, id: Option<&str>) -> Result<Id, Problem> {
    let given = match id.map(Json::from).as_ref().or_else(|| record.get("id")) {
        None | Some(Json::Null) => {
            return Err(Problem::new("MANDATORY_NOT_FOUND", "required field not found", "id", json!({})));
        }
        Some(id) => id.as_str().and_then(|text| text.parse().ok()),
    };
    given.ok_or_else(|| {
        Problem::new(
            "INVALID_DATA",
            "the id given seems to be invalid",
            "id",
            json!({"expected_data_type": "bigint"}),
        )
    })
}

fn check_unmodified(call: &Call, view: View<'_>, id: Id, since: Option<i64>) -> Result<(), Problem> {
    let modified = view.get(id).and_then(|row| row.by_name("Modified_Time").as_instant());
    match (modified, since) {
        (Some(modified), Some(since)) if modified > since => {
            let details = json!({"id": id.to_string(), "Modified_Time": datetime_text(modified, call.zone)});
            Err(Problem::new("ALREADY_MODIFIED", "record has been already modified", "id", details))
        }
        _ => Ok(()),
    }
}

/// `POST /crm/v8/{module}/upsert`.
async fn upsert(call: Call, Path((_, name)): Path<(String, String)>, body: Bytes) -> Answer {
    let (records, body) = records(&call, &body)?;
    let unmodified_since = instant_header(&call, "if-unmodified-since")?;
    let mut store = call.org.write();
    let at = writable(&call, &store, &name)?;
    let checked = check_fields(store.view_at(at), body.get("duplicate_check_fields"))?;
    let rules = rules(&call);
    let mut results = Results::default();
    for (index, record) in records.iter().enumerate() {
        let done = unrefused(&call, record).and_then(|record| {
            let found = existing(&mut store, at, record, &checked, &rules)?;
            let (id, action, field) = match found {
                Some((id, field)) => {
                    check_unmodified(&call, store.view_at(at), id, unmodified_since)?;
                    write::update(&mut store, at, id, record, &rules, call.stamp())?;
                    (id, "update", field.map(|place| store.schema.modules[at].at(place).api_name.clone()))
                }
                None => (write::insert(&mut store, at, record, &rules, call.stamp())?, "insert", None),
            };
            let message = if action == "insert" { "record added" } else { "record updated" };
            let mut item = success(&call, store.view_at(at), id, message);
            item["action"] = action.into();
            item["duplicate_field"] = field.into();
            Ok(item)
        });
        results.push(done.map_err(|problem| problem.to_json(index)));
    }
    results.answer(&call, 200)
}

/// The fields an upsert looks at: those listed, or else the system's one; then every other unique
/// field of the module.
fn check_fields(view: View<'_>, listed: Option<&Json>) -> Result<Vec<u16>, Reply> {
    let module = view.module;
    let mut places = Vec::new();
    let names: Vec<&str> = match listed {
        None | Some(Json::Null) => module.duplicate_field.as_deref().into_iter().collect(),
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        Some(_) => return Err(Reply::invalid_body("duplicate_check_fields", "jsonarray")),
    };
    for name in names {
        let field = module
            .index_of(name)
            .filter(|place| module.at(*place).unique || module.duplicate_field.as_deref() == Some(name));
        places.push(field.ok_or_else(|| Reply::invalid_body("duplicate_check_fields", "unique field"))?);
    }
    let unique = module
        .active()
        .filter(|(place, field)| field.unique && !places.contains(place))
        .map(|(place, _)| place);
    let unique: Vec<u16> = unique.collect();
    places.extend(unique);
    Ok(places)
}

type Found = Option<(Id, Option<u16>)>;

/// The record that an upsert changes, and the field that found it.
fn existing(
    store: &mut Store,
    at: usize,
    record: &Map<String, Json>,
    checked: &[u16],
    rules: &Rules,
) -> Result<Found, Problem> {
    if record.get("id").is_some_and(|id| !id.is_null()) {
        return target(record, None).map(|id| Some((id, None)));
    }
    let mut found: Found = None;
    for place in checked {
        let field = store.schema.modules[at].at(*place).clone();
        let Some(json) = record.get(&field.api_name) else { continue };
        let value = crate::emulator::convert::convert(store, &field, json, rules)?;
        if value == Value::Null {
            continue;
        }
        let Some(id) = store.find(at, *place, &value).first().copied() else { continue };
        match found {
            None => found = Some((id, Some(*place))),
            // Two unique fields that name two records: neither can be right.
            Some((first, _)) if first != id => return Err(write::duplicate(store, at, *place, id)),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// `DELETE /crm/v8/{module}?ids=`.
async fn remove(call: Call, Path((_, name)): Path<(String, String)>) -> Answer {
    let ids: Vec<String> = call.params.list("ids").into_iter().map(str::to_owned).collect();
    if ids.is_empty() {
        return Err(Reply::param_missing("ids"));
    }
    if ids.len() > MOST_RECORDS {
        return Err(Reply::limit_exceeded(
            json!({"param_name": "ids", "limit": MOST_RECORDS}),
            "more than 100 records",
        ));
    }
    remove_records(&call, &name, &ids)
}

/// `DELETE /crm/v8/{module}/{id}`.
async fn remove_one(call: Call, Path((_, name, id)): Path<(String, String, String)>) -> Answer {
    remove_records(&call, &name, &[id])
}

fn remove_records(call: &Call, name: &str, ids: &[String]) -> Answer {
    call.charge(1)?;
    let mut store = call.org.write();
    module(call, &store, name)?;
    let at = store.schema.position(name).ok_or_else(|| Reply::invalid_module(name))?;
    let mut results = Results::default();
    call.app.stats.triggers(&call.label, call.params.get("wf_trigger").map(Json::from).as_ref());
    for id in ids {
        let parsed = id.parse::<Id>();
        let locked = parsed.as_ref().is_ok_and(|id| store.is_locked(at, *id));
        let refused = call.app.faults.strike(call.fired.get(Kind::RowErrors), &RowCode::OF_RECORDS);
        let refused = refused.or(locked.then_some(RowCode::RecordLocked));
        let gone = refused.is_none() && parsed.is_ok_and(|id| store.delete(at, id, call.stamp()));
        results.push(if let Some(code) = refused {
            Err(envelope(code.as_str(), "record not deleted", json!({"id": id})))
        } else if gone {
            Ok(json!({"code": "SUCCESS", "details": {"id": id}, "message": "record deleted", "status": "success"}))
        } else {
            Err(envelope("INVALID_DATA", "record not deleted", json!({"id": id})))
        });
    }
    results.answer(call, 200)
}

/// A page of changes made by nobody in particular: see `control.rs`.
pub(in crate::emulator) fn some_row(view: View<'_>, draw: u64) -> Option<Id> {
    let count = view.count() as u64;
    view.rows().nth((mix(draw) % count.max(1)) as usize).map(|row| row.id)
}
