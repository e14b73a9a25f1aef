//! Deletes: what was deleted, of every module read in this run, each with a bookmark of its own.
//!
//! They come as the stream `deleted_records` ([`DeletedForm::Stream`]) or as the module's last known
//! record with `_sdc_deleted_at` ([`DeletedForm::Mark`]). Either way a pass over a module (`pass`) reads
//! Zoho's list, brings back what was restored, which need not move `Modified_Time`, and compares ids
//! when that is due (`reconcile`). It follows the module's own reading, and only one that came to its
//! end: rows of an unfinished one may be older than their delete.

mod bookmarks;
mod list;
mod pass;
pub(super) mod reconcile;

use super::config::DeletedForm;
use super::discover::skips;
use super::error::Error;
use super::extract::Context;
use super::output::StreamOutput;
use super::policy::FieldPolicy;
use super::state::text;
use crate::protocol::catalog::{CatalogEntry, FULL_TABLE};
use crate::protocol::schema::{Property, object, project};
use crate::zoho::api::deleted::{DeletedRecord, Person};
use chrono::DateTime;
use serde_json::{Map, Value, json};

pub use bookmarks::Bookmarks;

/// Name of the stream.
pub const STREAM: &str = "deleted_records";

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

/// Reads the deletes of every module that was read.
pub(super) async fn read(
    context: &Context,
    entry: &CatalogEntry,
    output: &mut StreamOutput,
) -> Result<String, Error> {
    if context.config.deleted_records == DeletedForm::Stream {
        let mut schema = project(&super::deletes::entry().schema, |name| entry.is_property_selected(name));
        context.policy.schema(STREAM, &mut schema);
        output.begin(&schema, &KEYS.map(String::from), &[])?;
    }
    let mut bookmarks = Bookmarks::read(&context.state)?;
    for plan in context.read_plans() {
        let mut pass = pass::Pass::new(context, entry, &plan, output, &bookmarks)?;
        match pass.run(&mut bookmarks).await {
            Err(Error::Stream { source, .. })
                if skips(&source) || source.code() == Some("INVALID_URL_PATTERN") =>
            {
                tracing::debug!(stream = plan.stream, reason = %source, "has no list of deleted records");
                continue;
            }
            done => done?,
        }
        output.checkpoint(bookmarks.to_value())?;
    }
    Ok(String::new())
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
