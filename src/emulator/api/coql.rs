//! `POST /crm/{version}/coql`: runs a query and answers its rows.
//!
//! Follows "COQL, Execute a query". What the language can say is in [`crate::emulator::coql`].

use crate::emulator::coql::check::{Limits, Output, Plan, check};
use crate::emulator::coql::{Refusal, eval, parser};
use crate::emulator::reply::{Answer, Reply, push_json_text};
use crate::emulator::schema::{DataType, Field};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Row, Store};
use crate::emulator::switches::Switches;
use crate::emulator::time::{self, Zone};
use crate::emulator::value::Value;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

/// The route of this file.
pub fn routes() -> Router<AppState> {
    Router::new().route("/crm/{version}/coql", post(query))
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        Self::error(400, refusal.code, refusal.message, Json::Object(refusal.details))
    }
}

async fn query(call: Call, body: Bytes) -> Answer {
    call.heavy()?;
    let body: Json = serde_json::from_slice(&body).map_err(|_| Reply::invalid_body("body", "jsonobject"))?;
    let text = match &body["select_query"] {
        Json::Null => {
            return Err(Reply::error(
                400,
                "MANDATORY_NOT_FOUND",
                "required field not found",
                json!({"api_name": "select_query"}),
            ));
        }
        Json::String(text) => text,
        _ => return Err(Reply::invalid_body("select_query", "string")),
    };
    let with_fields = wants_fields(&body)?;
    let query = parser::parse(text)?;
    call.charge(price(query.limit))?;
    let switches = call.app.switches();
    let worker = call.clone();
    // A query may read half a million rows: not on the threads that answer other calls.
    let work = tokio::task::spawn_blocking(move || {
        let store = worker.org.read();
        let plan = check(&query, &store.schema, &limits(&switches))?;
        Ok::<_, Refusal>(answer(&plan, &store, worker.zone, with_fields))
    });
    let page =
        work.await.map_err(|_| Reply::error(500, "INTERNAL_ERROR", "Internal Server Error", json!({})))??;
    Ok(page.map_or_else(|| Reply::empty(204), |text| Reply::text(200, text)))
}

/// Credits by the size of the page asked for. Source: API reference, "Credits per call".
fn price(limit: u64) -> u64 {
    match limit {
        0..=200 => 1,
        201..=1_000 => 2,
        _ => 3,
    }
}

fn limits(switches: &Switches) -> Limits {
    Limits {
        rows: u64::from(switches.coql_rows),
        reach: u64::from(switches.coql_reach),
        columns: switches.coql_columns as usize,
        values: switches.coql_values as usize,
        notes: switches.coql_notes,
        refused: switches.coql_refused_fields.clone(),
        ..Limits::default()
    }
}

fn wants_fields(body: &Json) -> Result<bool, Reply> {
    match &body["include_meta"] {
        Json::Null => Ok(false),
        Json::Array(items) if items.iter().all(|item| item == "fields") => Ok(!items.is_empty()),
        _ => {
            let details = json!({"api_name": "include_meta", "json_path": "$.include_meta", "supported_values": ["fields"]});
            Err(Reply::error(400, "INVALID_DATA", "invalid data", details))
        }
    }
}

/// The body of the answer; `None` when nothing matches.
fn answer(plan: &Plan, store: &Store, zone: Zone, with_fields: bool) -> Option<String> {
    let mut out = String::from("{\"data\":[");
    let (count, more) = if plan.is_grouped() {
        let page = eval::groups(plan, store);
        for (number, values) in page.rows.iter().enumerate() {
            comma(&mut out, number);
            push_group(&mut out, plan, values, store, zone);
        }
        (page.rows.len(), page.more)
    } else {
        let page = eval::rows(plan, store);
        for (number, row) in page.rows.iter().enumerate() {
            comma(&mut out, number);
            push_row(&mut out, plan, *row, zone);
        }
        (page.rows.len(), page.more)
    };
    let _ = write!(out, "],\"info\":{{\"count\":{count},\"more_records\":{more}}}");
    if with_fields {
        let _ = write!(out, ",\"fields\":{}", fields(plan, store));
    }
    out.push('}');
    (count > 0).then_some(out)
}

fn comma(out: &mut String, number: usize) {
    if number > 0 {
        out.push(',');
    }
}

/// The record id is in every row, asked for or not.
fn push_row(out: &mut String, plan: &Plan, row: Row<'_>, zone: Zone) {
    out.push('{');
    for (number, column) in plan.columns.iter().enumerate() {
        comma(out, number);
        push_json_text(out, &column.name);
        out.push(':');
        push_value(out, &column.path.value(row), column, row.view.store, zone);
    }
    if plan.columns.iter().all(|column| column.name != "id") {
        comma(out, plan.columns.len());
        let _ = write!(out, "\"id\":\"{}\"", row.id);
    }
    out.push('}');
}

fn push_group(out: &mut String, plan: &Plan, values: &[Value], store: &Store, zone: Zone) {
    out.push('{');
    for (number, (column, value)) in plan.columns.iter().zip(values).enumerate() {
        comma(out, number);
        push_json_text(out, &column.name);
        out.push(':');
        push_value(out, value, column, store, zone);
    }
    out.push('}');
}

fn push_value(out: &mut String, value: &Value, column: &Output, store: &Store, zone: Zone) {
    let field = column.path.field(&store.schema);
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            // Long integers are texts, because they overflow doubles.
            let is_long =
                column.aggregate.is_none() && field.is_some_and(|field| field.data_type == DataType::BigInt);
            let quote = if is_long { "\"" } else { "" };
            let _ = write!(out, "{quote}{number}{quote}");
        }
        Value::Decimal(number) => out.push_str(number.as_str()),
        Value::Text(text) => push_json_text(out, text),
        Value::Json(text) => out.push_str(text),
        Value::Id(id) => match field.filter(|field| field.api_name != "id") {
            Some(field) => push_lookup(out, *id, field, store),
            None => drop(write!(out, "\"{id}\"")),
        },
        Value::Date(_) | Value::DateTime(_) => {
            out.push('"');
            match value {
                Value::Date(day) => time::push_date(out, *day),
                Value::DateTime(instant) => time::push_datetime(out, *instant, zone),
                _ => {}
            }
            out.push('"');
        }
        Value::List(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                comma(out, number);
                push_json_text(out, item);
            }
            out.push(']');
        }
    }
}

/// `{"name":…,"id":…}`: users by their last name, records by their display field.
fn push_lookup(out: &mut String, id: u64, field: &Field, store: &Store) {
    let name = match field.data_type {
        DataType::Layout => Some("Standard".to_owned()),
        data_type if data_type.is_user() => store.user(id).map(|user| user.last_name.clone()),
        _ => {
            let view = field.lookup.as_deref().and_then(|module| store.view(module));
            view.and_then(|view| view.get(id)).and_then(|row| row.name())
        }
    };
    out.push_str("{\"name\":");
    match name {
        Some(name) => push_json_text(out, &name),
        None => out.push_str("null"),
    }
    let _ = write!(out, ",\"id\":\"{id}\"}}");
}

/// `include_meta`: the metadata of the selected columns by name.
fn fields(plan: &Plan, store: &Store) -> Json {
    let described = plan.columns.iter().filter_map(|column| {
        let field = column.path.field(&store.schema)?;
        let details = json!({
            "id": field.id.to_string(),
            "api_name": field.api_name,
            "field_label": field.field_label,
            "data_type": field.data_type.as_str(),
        });
        Some((column.name.clone(), details))
    });
    Json::Object(described.collect())
}
