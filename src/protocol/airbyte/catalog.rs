//! Catalogs: what discovery offers, and what was chosen from it.
//!
//! A stream's own metadata travels in its JSON Schema, as `x-metadata`, because a platform hands back the
//! schema and nothing else; properties that were deselected are gone from it. Streams have no namespace.

use crate::protocol::catalog::{Catalog, CatalogEntry, CatalogError, FULL_TABLE, INCREMENTAL};
use serde_json::{Map, Value, json};

/// Where a stream's metadata stands in its JSON Schema.
const METADATA: &str = "x-metadata";

/// What is written where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The stream.
    pub name: String,
    /// Its namespace at the source.
    pub namespace: Option<String>,
    /// JSON Schema of its records.
    pub json_schema: Value,
    /// `full_refresh` or `incremental`.
    pub sync_mode: String,
    /// `append`, `append_dedup`, `update`, `soft_delete`, or one that is refused.
    pub destination_sync_mode: String,
    /// The object to write to, where it has another name.
    pub destination_object_name: Option<String>,
    /// Paths of the properties that identify a record, as the source says.
    pub source_key: Vec<Vec<String>>,
    /// The same, as it was chosen; the source's where nothing was.
    pub primary_key: Vec<Vec<String>>,
}

/// The catalog message's payload: all streams, with the properties that `lists` takes.
pub fn offer<'a>(
    entries: impl Iterator<Item = (&'a CatalogEntry, bool)>,
    lists: impl Fn(&CatalogEntry, &str) -> bool,
) -> Value {
    let streams: Vec<Value> =
        entries.map(|(entry, is_resumable)| stream(entry, is_resumable, |name| lists(entry, name))).collect();
    json!({"streams": streams})
}

fn stream(entry: &CatalogEntry, is_resumable: bool, lists: impl Fn(&str) -> bool) -> Value {
    let cursor =
        entry.replication_key.as_ref().filter(|_| entry.replication_method.as_deref() == Some(INCREMENTAL));
    let mut modes = vec!["full_refresh"];
    modes.extend(cursor.map(|_| "incremental"));
    let keys: Vec<[&str; 1]> = entry.key_properties.iter().map(|key| [key.as_str()]).collect();
    let mut stream = json!({
        "name": entry.stream_name(),
        "json_schema": json_schema(entry, lists),
        "supported_sync_modes": modes,
        "source_defined_primary_key": keys,
        "is_resumable": is_resumable,
    });
    // A cursor that only a resumed reading has is ours, too.
    if is_resumable || cursor.is_some() {
        stream["source_defined_cursor"] = true.into();
    }
    if let Some(cursor) = cursor {
        stream["default_cursor_field"] = json!([cursor]);
    }
    stream
}

fn json_schema(entry: &CatalogEntry, lists: impl Fn(&str) -> bool) -> Value {
    let properties = entry.schema["properties"].as_object().into_iter().flatten();
    let listed =
        properties.filter(|(name, _)| lists(name)).map(|(name, schema)| (name.clone(), typed(schema)));
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": true,
        "properties": listed.collect::<Map<_, _>>(),
    });
    if let Some(metadata) = entry.metadata.iter().find(|metadata| metadata.breadcrumb.is_empty()) {
        schema[METADATA] = metadata.metadata.clone().into();
    }
    schema
}

/// A property with Airbyte's name for types that JSON Schema does not tell apart.
fn typed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let is = |name: &str| match &schema["type"] {
        Value::Array(names) => names.iter().any(|found| found == name),
        one => one == name,
    };
    let airbyte_type = match schema["format"].as_str() {
        Some("date-time") => Some("timestamp_with_timezone"),
        None if is("integer") => Some("integer"),
        _ => None,
    };
    if let Some(airbyte_type) = airbyte_type {
        schema["airbyte_type"] = airbyte_type.into();
    }
    schema
}

/// Reads a configured catalog.
///
/// # Errors
/// When a stream lacks what none can be without; unknown keys and nulls are passed over.
pub fn configured(document: &Value) -> Result<Vec<Configured>, CatalogError> {
    let wrong = |pointer: String, what: &str| CatalogError { pointer, what: what.into() };
    let streams = document.get("streams").ok_or_else(|| wrong(String::new(), "has no key `streams`"))?;
    let streams = streams.as_array().ok_or_else(|| wrong("/streams".into(), "is not a list"))?;
    let read = |(at, entry): (usize, &Value)| {
        let pointer = format!("/streams/{at}");
        let stream = &entry["stream"];
        let Some(name) = stream["name"].as_str() else {
            return Err(wrong(pointer, "has no `stream` with a `name`"));
        };
        if !stream["json_schema"].is_object() {
            return Err(wrong(pointer, "has no `stream` with a `json_schema`"));
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let paths = |value: &Value| -> Vec<Vec<String>> {
            let paths = value.as_array().into_iter().flatten().filter_map(Value::as_array);
            paths.map(|path| path.iter().filter_map(text).collect()).collect()
        };
        let source_key = paths(&stream["source_defined_primary_key"]);
        let chosen = Some(paths(&entry["primary_key"])).filter(|paths| !paths.is_empty());
        Ok(Configured {
            name: name.to_owned(),
            namespace: text(&stream["namespace"]),
            json_schema: stream["json_schema"].clone(),
            sync_mode: text(&entry["sync_mode"]).unwrap_or_else(|| "full_refresh".to_owned()),
            destination_sync_mode: text(&entry["destination_sync_mode"])
                .unwrap_or_else(|| "append".to_owned()),
            destination_object_name: text(&entry["destination_object_name"]),
            primary_key: chosen.unwrap_or_else(|| source_key.clone()),
            source_key,
        })
    };
    streams.iter().enumerate().map(read).collect()
}

impl Configured {
    /// Whether only what is new is asked for.
    pub fn is_incremental(&self) -> bool {
        self.sync_mode == "incremental"
    }
}

/// What was chosen, as the tap takes it: every stream selected, with the properties of its schema and no
/// others. `by_name`: each of them counts as asked for by name, whatever it costs.
pub fn chosen(streams: &[Configured], cursor: &str, by_name: bool) -> Catalog {
    let entry = |stream: &Configured| {
        let incremental = stream.is_incremental();
        let method = if incremental { INCREMENTAL } else { FULL_TABLE };
        let mut entry = CatalogEntry {
            tap_stream_id: stream.name.clone(),
            stream: stream.name.clone(),
            key_properties: stream.source_key.iter().filter_map(|path| path.last().cloned()).collect(),
            schema: stream.json_schema.clone(),
            replication_method: Some(method.to_owned()),
            replication_key: incremental.then(|| cursor.to_owned()),
            selected: Some(true),
            is_closed: true,
            ..CatalogEntry::default()
        };
        let mut metadata = match entry.schema.as_object_mut().and_then(|schema| schema.shift_remove(METADATA))
        {
            Some(metadata @ Value::Object(_)) => metadata,
            _ => json!({}),
        };
        metadata["selected"] = true.into();
        metadata["replication-method"] = method.into();
        metadata["forced-replication-method"] = method.into();
        entry.push_metadata(&[], metadata);
        let names: Vec<String> = entry.properties().map(str::to_owned).collect();
        for name in names.iter().filter(|_| !by_name) {
            entry.push_metadata(&["properties", name], json!({"selected-by-default": true}));
        }
        entry
    };
    Catalog { streams: streams.iter().map(entry).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads() -> CatalogEntry {
        let mut entry: CatalogEntry = serde_json::from_value(json!({
            "tap_stream_id": "Leads", "key_properties": ["id"], "replication_method": "INCREMENTAL",
            "replication_key": "Modified_Time", "schema": {"properties": {
                "id": {"type": "string"}, "Rich": {"type": "string"},
                "Modified_Time": {"type": ["null", "string"], "format": "date-time"}}}}))
        .expect("reads");
        entry.push_metadata(&[], json!({"zoho-module": "Leads", "forced-replication-method": "INCREMENTAL"}));
        entry
    }

    #[test]
    fn what_is_offered_comes_back_as_it_was() {
        let offered = offer([(&leads(), true)].into_iter(), |_, name| name != "Rich");
        let stream = &offered["streams"][0];
        assert_eq!(stream["supported_sync_modes"], json!(["full_refresh", "incremental"]));
        assert_eq!(stream["default_cursor_field"], json!(["Modified_Time"]));
        assert_eq!(stream["source_defined_primary_key"], json!([["id"]]));
        let modified = &stream["json_schema"]["properties"]["Modified_Time"];
        assert_eq!(modified["airbyte_type"], "timestamp_with_timezone");
        let document =
            json!({"streams": [{"stream": stream, "sync_mode": "incremental", "primary_key": null}]});
        let chosen = chosen(&configured(&document).expect("reads"), "Modified_Time", false);
        let entry = &chosen.streams[0];
        assert!(entry.is_selected() && entry.method() == INCREMENTAL);
        assert_eq!(entry.stream_metadata("zoho-module"), Some(&json!("Leads")));
        assert_eq!(entry.key_properties, ["id"]);
        assert_eq!(entry.properties().collect::<Vec<_>>(), ["id", "Modified_Time"]);
    }

    #[test]
    fn full_refresh_is_what_the_person_says() {
        let stream = offer([(&leads(), true)].into_iter(), |_, _| true)["streams"][0].clone();
        let document = json!({"streams": [{"stream": stream, "sync_mode": "full_refresh"}]});
        let chosen = chosen(&configured(&document).expect("reads"), "Modified_Time", false);
        assert_eq!(chosen.streams[0].method(), FULL_TABLE);
    }

    #[test]
    fn what_is_no_catalog_is_told_where() {
        let error = |document: Value| configured(&document).expect_err("is no catalog").to_string();
        assert_eq!(error(json!({})), "the whole has no key `streams`");
        assert_eq!(error(json!({"streams": [{"name": "x"}]})), "`/streams/0` has no `stream` with a `name`");
    }
}
