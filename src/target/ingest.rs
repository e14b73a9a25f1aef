//! The streams of the input: their SCHEMAs, and each record held against its own.
//!
//! A SCHEMA is compiled once and used until it changes. Formats are not validated here: what a date has to
//! look like is the business of the field it goes to. Where rows go is not decided here either.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::mapping::Route;
use super::record::{Keys, Record};
use super::shape::Shape;
use crate::protocol::message::{SchemaMessage, shorten};

/// A stream that has announced itself.
#[derive(Debug)]
pub struct Stream {
    schema: String,
    /// None where records are not held against the SCHEMA.
    validator: Option<Validator>,
    /// What can be said of a record without a tree of it.
    shape: Option<Shape>,
    /// Keys of the last record.
    pub keys: Keys,
    /// Names of its properties.
    pub properties: Vec<String>,
    /// Names of its key properties.
    pub key_properties: Vec<String>,
    /// Where its rows go, each with the number of its lane; empty if the config leaves it out.
    pub routes: Vec<(Arc<Route>, i64)>,
}

/// The streams seen so far.
#[derive(Debug, Default)]
pub struct Streams {
    by_name: HashMap<String, Stream>,
}

impl Stream {
    /// Compiles a SCHEMA.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn compile(message: &SchemaMessage<'_>) -> Result<Self, String> {
        let name = &message.stream;
        let schema: Value = serde_json::from_str(message.schema.get()).map_err(|error| error.to_string())?;
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return Err(format!("SCHEMA of stream \"{name}\" has no `properties`"));
        };
        let properties: Vec<String> = properties.keys().cloned().collect();
        if let Some(key) = message.key_properties.iter().find(|key| !properties.contains(key)) {
            return Err(format!(
                "SCHEMA of stream \"{name}\" has \"{key}\" in `key_properties`, but not in its `properties`"
            ));
        }
        let validator = jsonschema::options()
            .should_validate_formats(false)
            .build(&schema)
            .map_err(|error| {
                let found = shorten(&error.instance().to_string());
                let place = error.instance_path();
                format!("SCHEMA of stream \"{name}\" is no JSON Schema: `{place}` is {found}, which cannot stand there")
            })?;
        Ok(Self {
            schema: message.schema.get().to_owned(),
            validator: Some(validator),
            shape: Shape::of(&schema),
            keys: Keys::default(),
            properties,
            key_properties: message.key_properties.clone(),
            routes: Vec::new(),
        })
    }

    /// A stream whose records are taken as they are.
    pub fn unchecked(schema: &Value, key_properties: Vec<String>) -> Self {
        let properties = schema["properties"].as_object().into_iter().flatten();
        Self {
            schema: schema.to_string(),
            validator: None,
            shape: None,
            keys: Keys::default(),
            properties: properties.map(|(name, _)| name.clone()).collect(),
            key_properties,
            routes: Vec::new(),
        }
    }

    /// The SCHEMA as text.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether a message says what is known already.
    pub fn is_same(&self, message: &SchemaMessage<'_>) -> bool {
        self.schema == message.schema.get() && self.key_properties == message.key_properties
    }

    /// Holds a record against the SCHEMA.
    ///
    /// # Errors
    /// What is wrong, in words that follow "line 17 of stdin: ".
    pub fn check(&self, name: &str, record: &Record<'_>) -> Result<(), String> {
        let Some(validator) = &self.validator else { return Ok(()) };
        for key in &self.key_properties {
            match record.get(key) {
                None => return Err(format!("RECORD of stream \"{name}\" lacks its key property \"{key}\"")),
                Some("null") => {
                    return Err(format!(
                        "RECORD of stream \"{name}\" has null for its key property \"{key}\""
                    ));
                }
                Some(_) => {}
            }
        }
        if self.shape.as_ref().is_some_and(|shape| shape.fits(record.members())) {
            return Ok(());
        }
        let record = Value::Object(record.tree());
        if validator.is_valid(&record) {
            return Ok(());
        }
        let Some(error) = validator.iter_errors(&record).next() else { return Ok(()) };
        Err(describe(name, &error))
    }
}

fn describe(stream: &str, error: &ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let property = path.trim_start_matches('/');
    let found = shorten(&error.instance().to_string());
    let has = if property.is_empty() {
        format!("RECORD of stream \"{stream}\"")
    } else {
        format!("RECORD of stream \"{stream}\" has \"{property}\": {found}, which")
    };
    match error.kind() {
        ValidationErrorKind::Required { property: lacking } => {
            let inside = if property.is_empty() { String::new() } else { format!(" in \"{property}\"") };
            format!("RECORD of stream \"{stream}\" lacks {lacking}{inside}, which its SCHEMA requires")
        }
        ValidationErrorKind::Type { kind } => {
            let types: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(set) => set.iter().map(|one| one.to_string()).collect(),
            };
            let types: Vec<&str> =
                types.iter().map(|name| with_article(name)).filter(|name| *name != "null").collect();
            format!(
                "{has} its SCHEMA says is {}",
                if types.is_empty() { "null".to_owned() } else { types.join(" or ") }
            )
        }
        ValidationErrorKind::MaxLength { limit } => {
            format!("{has} is longer than the {limit} characters its SCHEMA allows")
        }
        _ => format!("{has} breaks its SCHEMA: {}", error.masked()),
    }
}

fn with_article(name: &str) -> &str {
    match name.trim_matches('"') {
        "number" => "a number",
        "integer" => "an integer",
        "string" => "a string",
        "boolean" => "a boolean",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    }
}

impl Streams {
    /// A stream by name.
    pub fn get(&self, name: &str) -> Option<&Stream> {
        self.by_name.get(name)
    }

    /// A stream by name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Stream> {
        self.by_name.get_mut(name)
    }

    /// Adds a stream or replaces its SCHEMA.
    pub fn put(&mut self, name: String, stream: Stream) {
        self.by_name.insert(name, stream);
    }

    /// The route of a lane.
    pub fn route(&self, lane: i64) -> Option<Arc<Route>> {
        let mut routes = self.by_name.values().flat_map(|stream| &stream.routes);
        routes.find(|(_, known)| *known == lane).map(|(route, _)| Arc::clone(route))
    }

    /// Modules that some route writes to.
    pub fn modules(&self) -> HashSet<&str> {
        self.by_name
            .values()
            .flat_map(|stream| &stream.routes)
            .map(|(route, _)| route.module.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Message;

    fn stream(line: &str) -> Result<Stream, String> {
        let Message::Schema(message) = Message::parse(line.as_bytes()).unwrap() else { panic!("no SCHEMA") };
        Stream::compile(&message)
    }

    #[test]
    fn a_record_is_held_against_its_schema() {
        let line = r#"{"type":"SCHEMA","stream":"c","key_properties":["id"],"schema":{"type":"object","required":["id"],
            "properties":{"id":{"type":"string"},"amount":{"type":["null","number"],"format":"whatever"},"tags":{"maxItems":1}}}}"#;
        let stream = stream(&line.replace('\n', " ")).unwrap();
        let check = |text: &str| stream.check("c", &Record::parse(text).unwrap());
        assert_eq!(check(r#"{"id":"1","amount":1.50,"more":true}"#), Ok(()));
        assert_eq!(
            check(r#"{"id":"1","amount":"12,50"}"#).unwrap_err(),
            r#"RECORD of stream "c" has "amount": "12,50", which its SCHEMA says is a number"#
        );
        assert!(check(r#"{"amount":1}"#).unwrap_err().contains(r#"lacks its key property "id""#));
        assert!(check(r#"{"id":null}"#).unwrap_err().contains(r#"null for its key property "id""#));
        assert!(check(r#"{"id":"1","tags":[1,2]}"#).unwrap_err().contains("breaks its SCHEMA"));
    }

    #[test]
    fn a_bad_schema_is_named() {
        let bad = |schema: &str, keys: &str| {
            stream(&format!(r#"{{"type":"SCHEMA","stream":"c","schema":{schema},"key_properties":{keys}}}"#))
                .unwrap_err()
        };
        assert!(bad(r#"{"type":"object"}"#, "[]").contains("no `properties`"));
        assert!(bad(r#"{"properties":{"a":{}}}"#, r#"["b"]"#).contains("\"b\" in `key_properties`"));
        assert!(bad(r#"{"properties":{"a":{"type":"nothing"}}}"#, "[]").contains("no JSON Schema"));
    }
}
