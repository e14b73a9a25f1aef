//! The catalog: which streams there are, and which of them and of their fields are selected.
//!
//! Reads what discovery wrote and what a person or orchestrator made of it: metadata `selected`,
//! Meltano's `selected` at the stream, the older `selected` inside the schema. Unknown keys are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// The streams in the order in which they are read.
    pub streams: Vec<CatalogEntry>,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// The stream's identity: the key of its bookmark.
    pub tap_stream_id: String,
    /// The stream's name in messages; the same unless somebody renamed it.
    #[serde(default)]
    pub stream: String,
    /// Names of the properties that identify a record.
    #[serde(default)]
    pub key_properties: Vec<String>,
    /// JSON Schema of the records.
    pub schema: Value,
    /// `INCREMENTAL` or `FULL_TABLE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_method: Option<String>,
    /// The property that tells what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_key: Option<String>,
    /// Meltano's and older taps' mark of selection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<bool>,
    /// What is known and what was chosen, of the stream and of each property.
    #[serde(default)]
    pub metadata: Vec<MetadataEntry>,
    /// Whether what the schema does not list is deselected; a Singer catalog has marks for that.
    #[serde(skip)]
    pub is_closed: bool,
}

/// Metadata of the stream (empty breadcrumb) or of a property (`["properties", name]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetadataEntry {
    /// Where in the schema this belongs.
    pub breadcrumb: Vec<String>,
    /// The facts and choices.
    pub metadata: Map<String, Value>,
}

/// Why a document is no catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {what}", if .pointer.is_empty() { "the whole".to_owned() } else { format!("`{pointer}`") })]
pub struct CatalogError {
    /// JSON pointer into the document.
    pub pointer: String,
    /// What is wrong there.
    pub what: String,
}

impl Catalog {
    /// Reads a catalog.
    ///
    /// # Errors
    /// When the document lacks what no catalog can be without; unknown keys are passed over.
    pub fn read(document: Value) -> Result<Self, CatalogError> {
        let wrong = |pointer: &str, what: &str| CatalogError { pointer: pointer.into(), what: what.into() };
        let Some(streams) = document.get("streams") else {
            return Err(wrong("", "has no key `streams`"));
        };
        let streams = streams.as_array().ok_or_else(|| wrong("/streams", "is not a list"))?;
        for (at, stream) in streams.iter().enumerate() {
            let pointer = format!("/streams/{at}");
            if !stream.is_object() {
                return Err(wrong(&pointer, "is not an object"));
            }
            if !stream["tap_stream_id"].is_string() {
                return Err(wrong(&pointer, "has no `tap_stream_id` with the name of a stream"));
            }
            if !stream["schema"].is_object() {
                return Err(wrong(&pointer, "has no `schema` with the properties of the stream"));
            }
        }
        serde_json::from_value(document).map_err(|error| wrong("/streams", &format!("is wrong: {error}")))
    }
}

/// `FULL_TABLE`: everything, every time.
pub const FULL_TABLE: &str = "FULL_TABLE";
/// `INCREMENTAL`: what changed since the bookmark.
pub const INCREMENTAL: &str = "INCREMENTAL";

impl CatalogEntry {
    /// The name messages carry.
    pub fn stream_name(&self) -> &str {
        if self.stream.is_empty() { &self.tap_stream_id } else { &self.stream }
    }

    /// Metadata of the stream itself.
    pub fn stream_metadata(&self, key: &str) -> Option<&Value> {
        self.metadata_at(&[], key)
    }

    /// Metadata of a property.
    pub fn property_metadata(&self, property: &str, key: &str) -> Option<&Value> {
        self.metadata_at(&["properties", property], key)
    }

    fn metadata_at(&self, breadcrumb: &[&str], key: &str) -> Option<&Value> {
        self.metadata.iter().find(|entry| entry.breadcrumb == breadcrumb)?.metadata.get(key)
    }

    /// Whether the stream is to be read: the person's `selected`, else `selected-by-default`.
    pub fn is_selected(&self) -> bool {
        let schema_mark = self.schema.get("selected").and_then(Value::as_bool);
        let by_default = self.stream_metadata("selected-by-default").and_then(Value::as_bool);
        self.stream_metadata("selected")
            .and_then(Value::as_bool)
            .or(self.selected)
            .or(schema_mark)
            .or(by_default)
            .unwrap_or(false)
    }

    /// Whether a property is to be read: always when it is automatic, never when it is unsupported,
    /// else by `selected`, then `selected-by-default`, then like the stream.
    pub fn is_property_selected(&self, property: &str) -> bool {
        let inclusion = self.property_metadata(property, "inclusion").and_then(Value::as_str);
        match inclusion {
            Some("automatic") => return true,
            Some("unsupported") => return false,
            _ if self.key_properties.iter().any(|key| key == property) => return true,
            _ if self.is_closed && self.schema["properties"].get(property).is_none() => return false,
            _ => {}
        }
        let schema_mark = || self.schema.get("properties")?.get(property)?.get("selected")?.as_bool();
        let by_default = || self.property_metadata(property, "selected-by-default")?.as_bool();
        self.property_metadata(property, "selected")
            .and_then(Value::as_bool)
            .or_else(schema_mark)
            .or_else(by_default)
            .unwrap_or(true)
    }

    /// Whether somebody selected this property by name: by a mark, or by a catalog without defaults.
    pub fn is_property_asked_for(&self, property: &str) -> bool {
        let schema = self.schema.get("properties").and_then(|properties| properties.get(property));
        let marked = || schema?.get("selected")?.as_bool();
        let selected = self.property_metadata(property, "selected").and_then(Value::as_bool);
        let has_default = self.property_metadata(property, "selected-by-default").is_some();
        selected.or_else(marked).unwrap_or(schema.is_some() && !has_default)
    }

    /// Names of all properties of the schema, in its order.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
    }

    /// How to replicate: what discovery forces, the person's choice, the catalog's word, in this order.
    /// Whoever asks for everything gets it, though: no stream can only be read by increments.
    pub fn method(&self) -> &str {
        let word = |key| self.stream_metadata(key).and_then(Value::as_str).filter(|word| !word.is_empty());
        if word("replication-method") == Some(FULL_TABLE) {
            return FULL_TABLE;
        }
        word("forced-replication-method")
            .or_else(|| word("replication-method"))
            .or(self.replication_method.as_deref())
            .unwrap_or(FULL_TABLE)
    }

    /// Adds metadata at a breadcrumb.
    pub fn push_metadata(&mut self, breadcrumb: &[&str], metadata: Value) {
        if let Value::Object(metadata) = metadata {
            let breadcrumb = breadcrumb.iter().map(|&part| part.to_owned()).collect();
            self.metadata.push(MetadataEntry { breadcrumb, metadata });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(metadata: Value, selected: Value) -> CatalogEntry {
        let entry = json!({"tap_stream_id": "Leads", "key_properties": ["id"], "selected": selected, "extra": 1,
            "schema": {"properties": {"id": {}, "A": {}, "B": {"selected": false}, "C": {}}}, "metadata": metadata});
        serde_json::from_value(entry).expect("reads")
    }

    #[test]
    fn what_is_no_catalog_is_told_where() {
        let error = |document: Value| Catalog::read(document).expect_err("is no catalog").to_string();
        assert_eq!(error(json!([])), "the whole has no key `streams`");
        assert_eq!(error(json!({"streams": {}})), "`/streams` is not a list");
        let stream = json!({"tap_stream_id": "Leads", "schema": {}});
        assert_eq!(
            error(json!({"streams": [stream, {"stream": "Deals"}]})),
            "`/streams/1` has no `tap_stream_id` with the name of a stream"
        );
        assert!(
            error(json!({"streams": [{"tap_stream_id": "a", "schema": {}, "metadata": 7}]}))
                .contains("is wrong")
        );
    }

    #[test]
    fn the_stream_follows_the_most_deliberate_mark() {
        let by_default = json!([{"breadcrumb": [], "metadata": {"selected-by-default": true}}]);
        let chosen =
            json!([{"breadcrumb": [], "metadata": {"selected": false, "selected-by-default": true}}]);
        assert!(entry(by_default.clone(), Value::Null).is_selected());
        assert!(!entry(by_default, json!(false)).is_selected());
        assert!(!entry(chosen, json!(true)).is_selected());
        assert!(!entry(json!([]), Value::Null).is_selected());
    }

    #[test]
    fn keys_and_automatic_properties_stay_and_unsupported_ones_go() {
        let metadata = json!([
            {"breadcrumb": ["properties", "id"], "metadata": {"selected": false}},
            {"breadcrumb": ["properties", "A"], "metadata": {"inclusion": "automatic", "selected": false}},
            {"breadcrumb": ["properties", "C"], "metadata": {"inclusion": "unsupported", "selected": true}},
        ]);
        let entry = entry(metadata, json!(true));
        let selected: Vec<&str> =
            entry.properties().filter(|name| entry.is_property_selected(name)).collect();
        assert_eq!(selected, ["id", "A"]);
    }
}
