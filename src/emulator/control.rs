//! The handles of the emulator itself, under `/__emulator`; they cost no credits and no fault
//! hits them.
//!
//! | call | body or parameters |
//! | --- | --- |
//! | `GET stats`, `DELETE stats` | counters; forgets the counted calls |
//! | `POST faults`, `DELETE faults` | a rule or a list of rules, see [`Rule`] |
//! | `GET clock`, `POST clock` | `{"advance_seconds": 60}`, `{"set": "2026-03-01T00:00:00Z"}`, `{"frozen": true}` |
//! | `GET dump` | `module`, `fields` (all columns when absent): the truth, a JSON object a line |
//! | `POST mutate` | see [`Mutation`] |
//! | `POST fields` | `{"module": "Leads", "add": {field of a schema file}}` or `{"module", "remove": "Name"}` |
//! | `GET switches`, `POST switches` | changed switches only |
//! | `POST grant_codes` | `{"code": "1000.x"}`, or `{}` for a made-up one |
//! | `POST tokens` | ends all access tokens |
//!
//! All take `org=<zgid>` for another organisation than the first.

use super::api::write_records::some_row;
use super::convert::Rules;
use super::data::{Dice, mix};
use super::faults::Rule;
use super::render::canonical;
use super::reply::{Answer, Reply};
use super::schema::{DataType, Field};
use super::state::{AppState, Org, Params};
use super::store::{Stamp, Store};
use super::time::{Zone, datetime_text, parse_datetime};
use super::value::{Id, Value};
use super::write;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// The routes under `/__emulator`.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/__emulator/stats", get(stats).delete(clear_stats))
        .route("/__emulator/faults", post(add_faults).delete(clear_faults))
        .route("/__emulator/clock", get(clock).post(set_clock))
        .route("/__emulator/dump", get(dump))
        .route("/__emulator/mutate", post(mutate))
        .route("/__emulator/fields", post(change_fields))
        .route("/__emulator/switches", get(switches).post(set_switches))
        .route("/__emulator/grant_codes", post(grant_code))
        .route("/__emulator/tokens", post(end_tokens).delete(end_tokens))
}

fn bad(message: impl Into<String>) -> Reply {
    Reply::json(400, &json!({"error": message.into()}))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Reply> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

fn org(app: &AppState, query: Option<&str>) -> Result<(Arc<Org>, Params), Reply> {
    let params = Params::parse(query.unwrap_or_default());
    let org = match params.get("org") {
        None => app.orgs.first(),
        Some(zgid) => app.orgs.iter().find(|org| org.zgid == zgid || org.name == zgid),
    };
    org.map(|org| (Arc::clone(org), params)).ok_or_else(|| bad("no such organisation"))
}

async fn stats(State(app): State<AppState>, RawQuery(query): RawQuery) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let usage = org.meter.usage();
    let mut body = app.stats.to_json();
    body["credits"] = usage.credits_total.into();
    body["peak_concurrency"] = usage.peak.into();
    body["peak_sub_concurrency"] = usage.sub_peak.into();
    body["refused"] = usage.refused.into();
    body["faults"] = app.faults.count().into();
    body["tokens"] = org.tokens().minted().into();
    body["jobs"] = org.jobs().to_json(app.clock.now_ms());
    Ok(Reply::json(200, &body))
}

async fn clear_stats(State(app): State<AppState>) -> Reply {
    app.stats.clear();
    for org in &app.orgs {
        org.meter.forget_peaks();
        let mut jobs = org.jobs();
        jobs.read_schedule.forget_load();
        jobs.write_schedule.forget_load();
    }
    Reply::json(200, &json!({}))
}

async fn add_faults(State(app): State<AppState>, body: Bytes) -> Answer {
    let json: Json = read(&body)?;
    let list = if json.is_array() { json } else { json!([json]) };
    let rules: Vec<Rule> = read(list.to_string().as_bytes())?;
    let count = rules.len();
    app.faults.add(rules);
    Ok(Reply::json(200, &json!({"added": count})))
}

async fn clear_faults(State(app): State<AppState>) -> Reply {
    app.faults.clear();
    Reply::json(200, &json!({}))
}

async fn clock(State(app): State<AppState>) -> Reply {
    Reply::json(
        200,
        &json!({"now": datetime_text(app.clock.now(), Zone::UTC), "milliseconds": app.clock.now_ms()}),
    )
}

/// How the clock is moved; the keys apply in this order.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct ClockBody {
    frozen: Option<bool>,
    set: Option<String>,
    advance_seconds: Option<i64>,
}

async fn set_clock(State(app): State<AppState>, body: Bytes) -> Answer {
    let wish: ClockBody = read(&body)?;
    if let Some(frozen) = wish.frozen {
        app.clock.freeze(frozen);
    }
    if let Some(text) = wish.set {
        app.clock.set(parse_datetime(&text).ok_or_else(|| bad("`set` is not an ISO 8601 datetime"))?);
    }
    app.clock.advance_ms(wish.advance_seconds.unwrap_or(0) * 1_000);
    Ok(clock(State(app)).await)
}

async fn dump(State(app): State<AppState>, RawQuery(query): RawQuery) -> Answer {
    let (org, params) = org(&app, query.as_deref())?;
    let store = org.read();
    let view = store.view(params.get("module").unwrap_or_default()).ok_or_else(|| bad("no such module"))?;
    let mut names = params.list("fields");
    if names.is_empty() {
        let columns = view.module.active().filter(|(_, field)| !field.data_type.is_rows());
        names = columns.map(|(_, field)| field.api_name.as_str()).collect();
    }
    let columns: Vec<(&str, Option<u16>)> =
        names.iter().map(|name| (*name, view.module.index_of(name))).collect();
    let mut out = String::new();
    for row in view.rows() {
        canonical(&mut out, row, &columns);
        out.push('\n');
    }
    Ok(Reply::bytes(200, "application/x-ndjson", out.into_bytes()))
}

/// Changes made as if by other people, without a call to the API.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Mutation {
    module: String,
    seed: u64,
    /// Rows to change: `Modified_Time` moves to now.
    change: usize,
    /// Rows to add.
    insert: usize,
    /// Rows to delete.
    delete: usize,
    /// Rows to write as given: with `id` changed, without added.
    records: Vec<Map<String, Json>>,
    /// Rows to delete by id.
    delete_ids: Vec<String>,
    /// Rows to take out of the recycle bin, by chance.
    restore: usize,
    /// Rows to take out of the recycle bin by id.
    restore_ids: Vec<String>,
    /// Rows to remove from the recycle bin by id.
    purge_ids: Vec<String>,
    /// The `Modified_Time` of what is changed, instead of now.
    modified_time: Option<String>,
}

async fn mutate(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let wish: Mutation = read(&body)?;
    let mut store = org.write();
    let at = store.schema.position(&wish.module).ok_or_else(|| bad("no such module"))?;
    let now = match &wish.modified_time {
        Some(text) => {
            parse_datetime(text).ok_or_else(|| bad("`modified_time` is not an ISO 8601 datetime"))?
        }
        None => app.clock.now(),
    };
    let stamp = Stamp { now, user: store.users[store.users.len().min(2) - 1].id };
    let rules = Rules::new(&app.switches(), Zone::UTC, false);
    let (mut changed, mut inserted) = write_given(&mut store, at, &wish.records, &rules, stamp)?;
    let mut dice = Dice::new(wish.seed ^ 0x6d75_7461);
    for _ in 0..wish.change {
        changed.extend(change_some(&mut store, at, &mut dice, stamp));
    }
    for _ in 0..wish.insert {
        inserted.push(insert_some(&mut store, at, &mut dice, stamp));
    }
    let mut deleted: Vec<Id> = wish.delete_ids.iter().filter_map(|id| id.parse().ok()).collect();
    deleted.retain(|id| store.delete(at, *id, stamp));
    for _ in 0..wish.delete {
        let id = some_row(store.view_at(at), dice.below(u64::MAX));
        deleted.extend(id.filter(|id| store.delete(at, *id, stamp)));
    }
    store.purge(at, &wish.purge_ids);
    let moves = app.switches().restore_moves_modified_time;
    let mut restored: Vec<Id> = wish.restore_ids.iter().filter_map(|id| id.parse().ok()).collect();
    restored.extend(some_deleted(&store, at, &mut dice, wish.restore));
    restored.retain(|id| store.restore(at, *id));
    for id in restored.iter().filter(|_| moves) {
        store.update(at, *id, Vec::new(), stamp);
    }
    let texts = |ids: Vec<Id>| ids.iter().map(Id::to_string).collect::<Vec<_>>();
    let mut answer = json!({"changed": texts(changed), "inserted": texts(inserted)});
    answer["deleted"] = texts(deleted).into();
    answer["restored"] = texts(restored).into();
    Ok(Reply::json(200, &answer))
}

/// So many rows of the recycle bin.
fn some_deleted(store: &Store, at: usize, dice: &mut Dice, count: usize) -> Vec<Id> {
    let mut bin: Vec<Id> = store.view_at(at).table.deleted.iter().map(|deleted| deleted.id).collect();
    let left = bin.len().min(count);
    (0..left).map(|_| bin.swap_remove(dice.below(bin.len() as u64) as usize)).collect()
}

fn write_given(
    store: &mut Store,
    at: usize,
    records: &[Map<String, Json>],
    rules: &Rules,
    stamp: Stamp,
) -> Result<(Vec<Id>, Vec<Id>), Reply> {
    let (mut changed, mut inserted) = (Vec::new(), Vec::new());
    for (index, record) in records.iter().enumerate() {
        let problem = |problem: write::Problem| Reply::json(400, &problem.to_json(index));
        match record.get("id").and_then(Json::as_str).and_then(|id| id.parse::<Id>().ok()) {
            Some(id) => {
                write::update(store, at, id, record, rules, stamp).map_err(problem)?;
                changed.push(id);
            }
            None => inserted.push(write::insert(store, at, record, rules, stamp).map_err(problem)?),
        }
    }
    Ok((changed, inserted))
}

/// The first plain text field that is neither unique nor made by Zoho.
fn text_field(store: &Store, at: usize) -> Option<u16> {
    let plain = |field: &Field| {
        field.data_type == DataType::Text
            && field.is_writable()
            && !field.unique
            && !field.system
            && field.api_name != "Tag"
    };
    store.schema.modules[at].active().find(|(_, field)| plain(field)).map(|(place, _)| place)
}

fn change_some(store: &mut Store, at: usize, dice: &mut Dice, stamp: Stamp) -> Option<Id> {
    let id = some_row(store.view_at(at), dice.below(u64::MAX))?;
    let value = Value::text(format!("changed {:x}", dice.below(1 << 32)));
    let changes = text_field(store, at).map(|place| (place, value));
    store.update(at, id, changes.into_iter().collect(), stamp).then_some(id)
}

/// A new row with every mandatory field filled.
fn insert_some(store: &mut Store, at: usize, dice: &mut Dice, stamp: Stamp) -> Id {
    let number = mix(dice.below(u64::MAX)) >> 16;
    let mut changes = Vec::new();
    for (place, field) in store.schema.modules[at].active().filter(|(_, field)| field.mandatory) {
        let target = field.lookup.as_deref().and_then(|name| store.view(name));
        let value = match target {
            Some(view) => some_row(view, number).map_or(Value::Null, Value::Id),
            None => Value::text(format!("new {number:x}")),
        };
        changes.push((place, value));
    }
    store.insert(at, changes, stamp)
}

/// A field to add or remove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldChange {
    module: String,
    #[serde(default)]
    add: Option<Field>,
    #[serde(default)]
    remove: Option<String>,
}

async fn change_fields(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let wish: FieldChange = read(&body)?;
    let mut store = org.write();
    let at = store.schema.position(&wish.module).ok_or_else(|| bad("no such module"))?;
    if let Some(field) = wish.add {
        store.add_field(at, field);
    }
    if let Some(name) = wish.remove
        && !store.schema.modules[at].remove_field(&name)
    {
        return Err(bad("no such field"));
    }
    Ok(Reply::json(200, &json!({})))
}

async fn switches(State(app): State<AppState>) -> Reply {
    let text = serde_json::to_vec(&app.switches()).unwrap_or_default();
    Reply::text(200, text)
}

async fn set_switches(State(app): State<AppState>, body: Bytes) -> Answer {
    let changed: Map<String, Json> = read(&body)?;
    let switches = app.switches().with(changed).map_err(|error| bad(error.to_string()))?;
    app.change_switches(|current| *current = switches.clone());
    Ok(Reply::text(200, serde_json::to_vec(&switches).unwrap_or_default()))
}

async fn grant_code(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let wish: Map<String, Json> = read(&body)?;
    let code = wish.get("code").and_then(Json::as_str).map(str::to_owned);
    let code = org.tokens().issue_code(code, app.clock.now_ms());
    Ok(Reply::json(200, &json!({"code": code})))
}

async fn end_tokens(State(app): State<AppState>) -> Reply {
    for org in &app.orgs {
        org.tokens().forget(None);
    }
    Reply::json(200, &json!({}))
}
