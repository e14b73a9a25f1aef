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
//! | `POST writer`, `GET writer`, `DELETE writer` | somebody who keeps changing rows, see [`Plan`]; how far; stops |
//! | `POST fields` | `{"module": "Leads", "add": {field of a schema file}}` or `{"module", "remove": "Name"}` |
//! | `GET switches`, `POST switches` | changed switches only |
//! | `POST grant_codes` | `{"code": "1000.x"}`, or `{}` for a made-up one |
//! | `POST tokens` | ends all access tokens |
//!
//! All take `org=<zgid>` for another organisation than the first.

use super::faults::Rule;
use super::jobs::run_due;
use super::mutate::Mutation;
use super::render::canonical;
use super::reply::{Answer, Reply};
use super::schema::Field;
use super::state::{AppState, Org, Params};
use super::time::{Zone, datetime_text, parse_datetime};
use super::writer::{Plan, Writer};
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
        .route("/__emulator/writer", get(writer_state).post(start_writer).delete(stop_writer))
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
    // Whoever moves the clock finds done what is due by then.
    for org in &app.orgs {
        run_due(&app, org).await;
    }
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

async fn mutate(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let wish: Mutation = read(&body)?;
    wish.apply(&app, &mut org.write()).map(|changes| Reply::json(200, &changes.to_json()))
}

async fn start_writer(State(app): State<AppState>, RawQuery(query): RawQuery, body: Bytes) -> Answer {
    let (org, _) = org(&app, query.as_deref())?;
    let plan: Plan = read(&body)?;
    let writer = Writer::new(plan, &org).map_err(bad)?;
    Writer::start(&app, &org, writer);
    Ok(writer_state(State(app)).await)
}

async fn writer_state(State(app): State<AppState>) -> Reply {
    Reply::json(200, &app.writer().as_ref().map_or(json!({"left": 0}), Writer::to_json))
}

async fn stop_writer(State(app): State<AppState>) -> Reply {
    let state = writer_state(State(Arc::clone(&app))).await;
    *app.writer() = None;
    state
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
