//! The stream `deleted_records`: what was deleted, of every selected module, each with a bookmark of
//! its own. Follows Zoho's page "Get Deleted Records".
//!
//! The list shows 60 days of the recycle bin and 120 days of what is gone for good. It promises no
//! order, so one of several pages is read until nothing left it between two passes.

use super::discover::skips;
use super::error::Error;
use super::extract::{CallError, Context, in_stream, is_of_a_module};
use super::output::StreamOutput;
use super::plan::module_of;
use super::policy::FieldPolicy;
use super::state::text;
use crate::codec::time::epoch_seconds;
use crate::protocol::catalog::{CatalogEntry, FULL_TABLE};
use crate::protocol::schema::{Property, object, project};
use crate::protocol::state::{State, StateError};
use crate::zoho::api::deleted::{DeletedRecord, Person};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the stream.
pub const STREAM: &str = "deleted_records";

/// Passes before a list that changes under every one of them is taken as it is.
const MOST_PASSES: u32 = 10;

const KEYS: [&str; 4] = ["module", "id", "type", "deleted_time"];

/// The stream's entry in the catalog.
pub fn entry() -> CatalogEntry {
    let text = |name: &str| (name.to_owned(), Value::from(Property::new("string")));
    let key = |name: &str| (name.to_owned(), Value::from(Property::new("string").never_null()));
    let time = Property::formatted("date-time").never_null();
    let mut entry = CatalogEntry {
        tap_stream_id: STREAM.into(),
        stream: STREAM.into(),
        key_properties: KEYS.map(String::from).to_vec(),
        schema: object(Map::from_iter([
            key("id"),
            key("module"),
            key("type"),
            ("deleted_time".to_owned(), time.into()),
            text("display_name"),
            text("deleted_by"),
            text("created_by"),
        ])),
        replication_method: Some(FULL_TABLE.into()),
        ..CatalogEntry::default()
    };
    entry.push_metadata(
        &[],
        json!({"inclusion": "available", "selected-by-default": true, "table-key-properties": KEYS,
               "forced-replication-method": FULL_TABLE,
               "zoho-note": "deletes of the selected modules since their last bookmark; 2 credits a module and page"}),
    );
    for name in KEYS {
        entry.push_metadata(&["properties", name], json!({"inclusion": "automatic"}));
    }
    entry
}

/// Reads the deletes of every selected module.
pub(super) async fn read(
    context: &Context,
    entry: &CatalogEntry,
    selected: &[Arc<CatalogEntry>],
    output: &mut StreamOutput,
) -> Result<String, Error> {
    let mut schema = project(&super::deletes::entry().schema, |name| entry.is_property_selected(name));
    context.policy.schema(STREAM, &mut schema);
    output.begin(&schema, &KEYS.map(String::from), &[])?;
    let mut bookmarks = bookmarks(&context.state)?;
    let modules = selected.iter().filter(|entry| is_of_a_module(entry)).map(|entry| module_of(entry));
    for module in modules {
        let until = context.server_time();
        let lookback = TimeDelta::seconds(i64::from(context.config.lookback_seconds));
        let since = bookmarks.get(module).map(|bookmark| *bookmark - lookback).or(context.config.start_date);
        let records = match list(context, entry, module, since).await {
            Err(Error::Stream { source, .. })
                if skips(&source) || source.code() == Some("INVALID_URL_PATTERN") =>
            {
                tracing::debug!(module, reason = %source, "has no list of deleted records");
                continue;
            }
            answer => answer?,
        };
        output.extracted_at(&text(context.server_time()));
        for record in records {
            let record = project_record(&context.policy, entry, module, &record);
            output.record(|out| {
                out.extend_from_slice(record.to_string().as_bytes());
                Ok::<(), Error>(())
            })?;
        }
        bookmarks.insert(module.to_owned(), until);
        let modules: Map<String, Value> =
            bookmarks.iter().map(|(module, time)| (module.clone(), text(*time).into())).collect();
        output.checkpoint(json!({ "modules": modules }))?;
    }
    Ok(String::new())
}

/// The stream's bookmarks, one for each module.
pub(super) fn bookmarks(state: &State) -> Result<BTreeMap<String, DateTime<Utc>>, StateError> {
    let modules = state.bookmark(STREAM).and_then(|bookmark| bookmark.get("modules"));
    let modules = match modules {
        None | Some(Value::Null) => None,
        Some(Value::Object(modules)) => Some(modules),
        Some(other) => {
            return Err(StateError::new(format!("/bookmarks/{STREAM}/modules"), other, "an object"));
        }
    };
    let instant = |(module, value): (&String, &Value)| {
        let time =
            value.as_str().and_then(epoch_seconds).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let pointer = format!("/bookmarks/{STREAM}/modules/{module}");
        time.map(|time| (module.clone(), time))
            .ok_or_else(|| StateError::new(pointer, value, "a time with its offset"))
    };
    modules.into_iter().flatten().map(instant).collect()
}

type Deletes = BTreeMap<(String, String, Option<DateTime<Utc>>), DeletedRecord>;

/// All entries of one module's list: a single page as it is, several until a pass lists all that the
/// one before it listed. Only an entry that leaves the list (its row is restored, or gone for good) can
/// move others past a page; that nothing new turned up would not show it.
async fn list(
    context: &Context,
    entry: &CatalogEntry,
    module: &str,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<DeletedRecord>, Error> {
    let (mut all, mut before) = (Deletes::new(), None::<Deletes>);
    for _ in 0..MOST_PASSES {
        let (now, pages) = pass(context, entry, module, since).await?;
        all.extend(now.clone());
        let whole = before.is_some_and(|before| before.keys().all(|key| now.contains_key(key)));
        if pages <= 1 || whole {
            return Ok(all.into_values().collect());
        }
        before = Some(now);
    }
    tracing::warn!(
        module,
        "the list of deleted records changes faster than it can be read and is taken as it is"
    );
    Ok(all.into_values().collect())
}

async fn pass(
    context: &Context,
    entry: &CatalogEntry,
    module: &str,
    since: Option<DateTime<Utc>>,
) -> Result<(Deletes, u32), Error> {
    let (mut all, mut number) = (Deletes::new(), 1);
    loop {
        let call = context.client.deleted(module, since, number);
        let page = match context.call(call).await {
            Err(CallError::Failed(error))
                if number > 1 && error.code() == Some("DISCRETE_PAGINATION_LIMIT_EXCEEDED") =>
            {
                tracing::warn!(
                    module,
                    "the list of deleted records ends at {} rows; older deletes are not in it",
                    all.len()
                );
                return Ok((all, number));
            }
            answer => answer.map_err(in_stream(entry.stream_name()))?,
        };
        let key = |record: &DeletedRecord| {
            (record.id.to_string(), record.deletion_type.clone(), record.deleted_time)
        };
        all.extend(page.records.into_iter().map(|record| (key(&record), record)));
        if !page.more_records {
            return Ok((all, number));
        }
        number += 1;
    }
}

fn project_record(policy: &FieldPolicy, entry: &CatalogEntry, module: &str, record: &DeletedRecord) -> Value {
    let person = |person: &Option<Person>| person.as_ref().map(|person| person.id.to_string());
    let mut whole = json!({
        "id": record.id.as_str(),
        "module": module,
        "type": record.deletion_type,
        "deleted_time": text(record.deleted_time.unwrap_or(DateTime::UNIX_EPOCH)),
        // The name is made of fields that the policy may keep back.
        "display_name": record.display_name.as_ref().filter(|_| !policy.touches(module)),
        "deleted_by": person(&record.deleted_by),
        "created_by": person(&record.created_by),
    });
    if let Some(properties) = whole.as_object_mut() {
        properties.retain(|name, _| entry.is_property_selected(name));
    }
    policy.record(STREAM, &mut whole);
    whole
}
