//! Where in a record a value stands: a property, or a JSON pointer to something inside of one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::ConfigError;
use super::inside;
use super::mapping::StreamShape;
use crate::diagnostic::similar;

/// A place in the records of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The property.
    pub property: String,
    /// JSON pointer from the property's value on; empty for the value itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    inside: String,
}

impl Path {
    /// A property itself.
    pub fn plain(property: &str) -> Self {
        Self { property: property.to_owned(), inside: String::new() }
    }

    /// A place in something that no SCHEMA describes: a name, or a pointer like `/address/city`.
    pub fn free(text: &str) -> Self {
        let (property, inside) = split(text);
        Self { property, inside }
    }

    /// The place that a config names: a property, or, where none has that name, a pointer like
    /// `/address/city`.
    ///
    /// # Errors
    /// [`ConfigError`] at `pointer` when the stream's SCHEMA has no such place.
    pub fn resolve(text: &str, shape: StreamShape<'_>, pointer: &str) -> Result<Self, ConfigError> {
        let known = |name: &str| shape.properties.iter().any(|property| property == name);
        if known(text) {
            return Ok(Self::plain(text));
        }
        let (property, inside) = split(text);
        if known(&property) {
            let path = Self { property, inside };
            path.follow(&[], shape, pointer)?;
            return Ok(path);
        }
        let error = ConfigError::new(
            pointer,
            format!("\"{property}\" is not a property of stream \"{}\"", shape.stream),
        );
        Err(error.with_hint(match similar(&property, shape.properties.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("its SCHEMA has {}", shape.properties.join(", ")),
        }))
    }

    /// Holds a place in the objects of a list that stands here against the stream's SCHEMA.
    ///
    /// # Errors
    /// [`ConfigError`] at `pointer` when those objects have no such place.
    pub fn check_item(&self, item: &Self, shape: StreamShape<'_>, pointer: &str) -> Result<(), ConfigError> {
        self.follow(&[vec!["0".to_owned()], item.steps()].concat(), shape, pointer)
    }

    fn follow(&self, further: &[String], shape: StreamShape<'_>, pointer: &str) -> Result<(), ConfigError> {
        // The SCHEMA has been read as JSON before.
        let schema: Value = serde_json::from_str(shape.schema).unwrap_or_default();
        inside::follow(&schema, &[self.steps(), further.to_vec()].concat(), shape.stream, pointer)
    }

    fn steps(&self) -> Vec<String> {
        let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
        let inside = self.inside.split('/').skip(1).map(unescaped);
        std::iter::once(self.property.clone()).chain(inside).collect()
    }

    /// What stands in that place of the property's value; `None` when nothing does.
    pub fn inside<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        // A null on the way makes all inside of it null: the source says that it is empty.
        if value.is_null() { Some(value) } else { value.pointer(&self.inside) }
    }

    /// Whether it is the property itself.
    pub fn is(&self, property: &str) -> bool {
        self.inside.is_empty() && self.property == property
    }
}

/// The first step of a pointer, and the rest of it.
fn split(text: &str) -> (String, String) {
    let unescaped = |name: &str| name.replace("~1", "/").replace("~0", "~");
    match text.strip_prefix('/') {
        None => (text.to_owned(), String::new()),
        Some(rest) => match rest.split_once('/') {
            None => (unescaped(rest), String::new()),
            Some((first, inside)) => (unescaped(first), format!("/{inside}")),
        },
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside.is_empty() {
            f.write_str(&self.property)
        } else {
            write!(f, "/{}{}", self.property, self.inside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;

    #[test]
    fn a_pointer_reaches_into_a_property() {
        let properties = ["address".to_owned(), "/odd".to_owned(), "list".to_owned()];
        let shape = StreamShape { stream: "s", properties: &properties, key_properties: &[], schema: "{}" };
        let path = |text: &str| Path::resolve(text, shape, "/p").unwrap();
        let record = r#"{"address": {"city": "Köln", "zip": null}, "/odd": 1, "list": [{"a": 2}]}"#;
        let record = Record::parse(record).unwrap();
        assert_eq!(record.at(&path("/address/city")).as_deref(), Some("\"Köln\""));
        assert_eq!(record.at(&path("/address/street")), None);
        assert_eq!(record.at(&path("/list/0/a")).as_deref(), Some("2"));
        assert_eq!(record.at(&path("/odd")).as_deref(), Some("1"));
        let empty = Record::parse(r#"{"address": null}"#).unwrap();
        assert_eq!(empty.at(&path("/address/city")).as_deref(), Some("null"));
        let unknown = Path::resolve("/adress/city", shape, "/p").unwrap_err();
        assert_eq!(unknown.hint.as_deref(), Some("did you mean \"address\"?"));
    }
}
