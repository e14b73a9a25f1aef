//! The stream `users`: the organisation's users, whole, by the Users API.

use super::error::Error;
use super::extract::{Context, in_stream};
use super::output::StreamOutput;
use crate::codec::decode::JsonDecoder;
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::value::Kind;
use crate::protocol::catalog::{CatalogEntry, FULL_TABLE};
use crate::protocol::schema::{Property, object, project};
use serde_json::{Map, json};

/// Name of the stream.
pub const STREAM: &str = "users";

/// The properties of a user that are the same in every organisation. Source: "Get Users".
const COLUMNS: [(&str, Kind); 22] = [
    ("id", Kind::Id),
    ("zuid", Kind::Id),
    ("email", Kind::Text),
    ("first_name", Kind::Text),
    ("last_name", Kind::Text),
    ("full_name", Kind::Text),
    ("alias", Kind::Text),
    ("status", Kind::Text),
    ("confirm", Kind::Boolean),
    ("role", Kind::Id),
    ("profile", Kind::Id),
    ("Reporting_To", Kind::Id),
    ("created_by", Kind::Id),
    ("created_time", Kind::DateTime),
    ("Modified_By", Kind::Id),
    ("Modified_Time", Kind::DateTime),
    ("time_zone", Kind::Text),
    ("locale", Kind::Text),
    ("country_locale", Kind::Text),
    ("language", Kind::Text),
    ("phone", Kind::Text),
    ("mobile", Kind::Text),
];

/// The stream's entry in the catalog.
pub fn entry() -> CatalogEntry {
    let property = |(name, kind): &(&str, Kind)| {
        let property = match kind {
            Kind::Boolean => Property::new("boolean"),
            Kind::DateTime => Property::formatted("date-time"),
            _ => Property::new("string"),
        };
        let property = if *name == "id" { property.never_null() } else { property };
        ((*name).to_owned(), property.into())
    };
    let mut entry = CatalogEntry {
        tap_stream_id: STREAM.into(),
        stream: STREAM.into(),
        key_properties: vec!["id".into()],
        schema: object(COLUMNS.iter().map(property).collect::<Map<_, _>>()),
        replication_method: Some(FULL_TABLE.into()),
        ..CatalogEntry::default()
    };
    entry.push_metadata(
        &[],
        json!({"inclusion": "available", "selected-by-default": true, "table-key-properties": ["id"],
               "forced-replication-method": FULL_TABLE}),
    );
    entry.push_metadata(&["properties", "id"], json!({"inclusion": "automatic"}));
    entry
}

/// Reads all users.
pub(super) async fn read(
    context: &Context,
    entry: &CatalogEntry,
    output: &mut StreamOutput,
) -> Result<String, Error> {
    let stream = entry.stream_name();
    let selected = |name: &str| entry.is_property_selected(name);
    let columns =
        COLUMNS.iter().filter(|(name, _)| selected(name)).map(|(name, kind)| Column::new(*name, *kind));
    let decoder = JsonDecoder::new(&RecordPlan::new(context.policy.columns(STREAM, columns)));
    let mut schema = project(&super::users::entry().schema, selected);
    context.policy.schema(STREAM, &mut schema);
    output.begin(&schema, &["id".to_owned()], &[])?;
    if context.config.activate_version {
        output.versioned(context.server_time());
    }
    for page in 1.. {
        let answer = context.call(context.client.users(page)).await.map_err(in_stream(stream))?;
        context.page(stream, output, &decoder, &answer.records)?;
        if !answer.more_records {
            break;
        }
    }
    output.activate_version()?;
    output.checkpoint(json!({}))?;
    Ok(String::new())
}
