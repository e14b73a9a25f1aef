//! Which rows of a stream go to a module: the `when` of the config.
//!
//! An object names properties and what each has to be, all of them; a list of objects is met when one of
//! them is. Values are compared as they stand in the record, numbers by value.

use serde_json::Value;

use super::config::{ConfigError, child};
use super::mapping::StreamShape;
use super::path::Path;
use super::record::Record;
use crate::codec::value::plain_decimal;
use crate::diagnostic::similar;

/// A condition on a record; the empty one is always met.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Condition {
    any: Vec<Vec<Test>>,
}

/// What one property has to be.
#[derive(Debug, Clone, PartialEq)]
struct Test {
    /// As written in the config.
    property: String,
    path: Path,
    check: Check,
    pointer: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Check {
    OneOf(Vec<Value>),
    NoneOf(Vec<Value>),
    Empty(bool),
}

impl Condition {
    /// Reads a `when`.
    ///
    /// # Errors
    /// [`ConfigError`] with the pointer of what cannot be a condition.
    pub(super) fn read(value: Option<&Value>, pointer: &str) -> Result<Self, ConfigError> {
        let any = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(place, item)| tests(item, &format!("{pointer}/{place}")))
                .collect::<Result<_, _>>()?,
            Some(one) => vec![tests(one, pointer)?],
        };
        Ok(Self { any })
    }

    /// The condition for records with these properties.
    ///
    /// # Errors
    /// [`ConfigError`] for a property that the stream does not have.
    pub(super) fn resolved(&self, shape: StreamShape<'_>) -> Result<Self, ConfigError> {
        let mut resolved = self.clone();
        for test in resolved.any.iter_mut().flatten() {
            test.path = Path::resolve(&test.property, shape, &test.pointer)?;
        }
        Ok(resolved)
    }

    /// Whether a record meets it.
    pub fn is_met(&self, record: &Record<'_>) -> bool {
        self.any.is_empty() || self.any.iter().any(|all| all.iter().all(|test| test.is_met(record)))
    }
}

impl Test {
    fn is_met(&self, record: &Record<'_>) -> bool {
        let json = record.at(&self.path);
        let value: Value = json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        match &self.check {
            Check::OneOf(values) => values.iter().any(|one| same(one, &value)),
            Check::NoneOf(values) => !values.iter().any(|one| same(one, &value)),
            Check::Empty(empty) => is_empty(&value) == *empty,
        }
    }
}

fn tests(value: &Value, pointer: &str) -> Result<Vec<Test>, ConfigError> {
    let keys = value.as_object().ok_or_else(|| {
        ConfigError::new(pointer, format!("{value} is no condition"))
            .with_hint("name properties and what they have to be: {\"country\": \"DE\", \"company\": {\"empty\": false}}")
    })?;
    let test = |(property, value): (&String, &Value)| {
        let pointer = child(pointer, property);
        Ok(Test {
            property: property.clone(),
            path: Path::plain(property),
            check: check(value, &pointer)?,
            pointer,
        })
    };
    keys.iter().map(test).collect()
}

fn check(value: &Value, pointer: &str) -> Result<Check, ConfigError> {
    let list = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    let Value::Object(keys) = value else { return Ok(Check::OneOf(list(value))) };
    let one = if keys.len() == 1 { keys.iter().next() } else { None };
    match one {
        Some((key, Value::Bool(empty))) if key == "empty" => Ok(Check::Empty(*empty)),
        Some((key, value)) if key == "is" => Ok(Check::OneOf(list(value))),
        Some((key, value)) if key == "not" => Ok(Check::NoneOf(list(value))),
        other => {
            let name = other.map_or("", |(key, _)| key.as_str());
            let advice = match similar(name, ["empty", "is", "not"]) {
                Some(near) if near != name => format!("did you mean \"{near}\"?"),
                _ => "allowed are {\"is\": …}, {\"not\": …} and {\"empty\": true or false}".to_owned(),
            };
            Err(ConfigError::new(pointer, format!("{value} is no condition")).with_hint(advice))
        }
    }
}

/// Equal, numbers by value.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || plain_decimal(&one.to_string()) == plain_decimal(&other.to_string())
        }
        _ => one == other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn met(when: Value, record: &Value) -> bool {
        Condition::read(Some(&when), "/when").unwrap().is_met(&Record::from(record.as_object().unwrap()))
    }

    #[test]
    fn all_of_one_object_any_of_a_list() {
        let record = json!({"company": " ", "country": "DE", "size": 10.0, "closed": false});
        assert!(met(json!({"country": "DE", "size": 10}), &record));
        assert!(met(json!({"country": ["FR", "DE"], "company": {"empty": true}}), &record));
        assert!(!met(json!({"country": {"not": ["FR", "DE"]}}), &record));
        assert!(met(json!({"absent": {"empty": true}, "closed": {"is": false}}), &record));
        assert!(met(json!([{"country": "FR"}, {"absent": null}]), &record));
        assert!(met(Value::Null, &record));
    }

    #[test]
    fn what_is_no_condition_is_named() {
        let error = |when: Value| Condition::read(Some(&when), "/when").expect_err("bad");
        assert_eq!(error(json!("x")).pointer, "/when");
        let emty = error(json!({"a": {"emty": true}}));
        assert_eq!(
            (emty.pointer.as_str(), emty.hint.as_deref()),
            ("/when/a", Some("did you mean \"empty\"?"))
        );
        let condition = Condition::read(Some(&json!({"contry": "DE"})), "/when").unwrap();
        let properties = ["country".to_owned()];
        let shape =
            StreamShape { stream: "people", properties: &properties, key_properties: &[], schema: "{}" };
        let unknown = condition.resolved(shape).expect_err("unknown");
        assert_eq!(unknown.pointer, "/when/contry");
        assert!(unknown.hint.unwrap().contains("\"country\""));
    }
}
