//! The part of JSON Schema that streams use: property schemas valid in draft 7 and 2020-12.

use serde_json::{Map, Value, json};

/// The schema of one property, built up from its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Property(Map<String, Value>);

impl Property {
    /// A property of this JSON type: `string`, `integer`, `number`, `boolean`, `array` or `object`.
    /// It may be null until [`Property::never_null`] says otherwise.
    pub fn new(json_type: &str) -> Self {
        Self(Map::from_iter([("type".to_owned(), json!(["null", json_type]))]))
    }

    /// A string with a `format`, such as `date-time`.
    pub fn formatted(format: &str) -> Self {
        Self::new("string").with("format", format)
    }

    /// An array of strings.
    pub fn strings() -> Self {
        Self::new("array").with("items", json!({"type": "string"}))
    }

    /// An array of anything.
    pub fn array() -> Self {
        Self::new("array").with("items", json!({}))
    }

    /// Says that null never stands here.
    pub fn never_null(mut self) -> Self {
        if let Some(Value::Array(types)) = self.0.get("type") {
            let json_type = types.last().cloned().unwrap_or(Value::Null);
            self.0.insert("type".to_owned(), json_type);
        }
        self
    }

    /// Adds a keyword or an annotation.
    pub fn with(mut self, keyword: &str, value: impl Into<Value>) -> Self {
        self.0.insert(keyword.to_owned(), value.into());
        self
    }
}

impl From<Property> for Value {
    fn from(property: Property) -> Self {
        Self::Object(property.0)
    }
}

/// The schema of a stream with these properties and no others.
pub fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// The schema of a stream with only the properties that `keep` names.
pub fn project(schema: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let mut projected = schema.clone();
    if let Some(properties) = projected.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| keep(name));
    }
    projected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_allowed_until_it_is_not() {
        let property = Property::formatted("date-time").with("title", "Changed");
        assert_eq!(
            Value::from(property.clone()),
            json!({"type": ["null", "string"], "format": "date-time", "title": "Changed"})
        );
        assert_eq!(Value::from(property.never_null())["type"], "string");
    }
}
