//! Reading Zoho's JSON without tripping over its many shapes.
//!
//! Zoho writes "nothing" as `null`, as `{}` or by leaving the key out, ids as strings or numbers,
//! flags sometimes as strings. These helpers give each kind one reading; they never fail, since a
//! surprising key of metadata must not stop a run that does not need it.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// The text under `key`; numbers keep their digits, anything else is the empty string.
pub(super) fn text(object: &Value, key: &str) -> String {
    optional_text(object, key).unwrap_or_default()
}

/// The text under `key`, or `None` when it is absent, null, empty or not a scalar.
pub(super) fn optional_text(object: &Value, key: &str) -> Option<String> {
    id(&object[key])
}

/// A non-empty string, or a number with all of its digits.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The flag under `key`, false when it is not told.
pub(super) fn flag(object: &Value, key: &str) -> bool {
    flag_or(object, key, false)
}

/// The flag under `key`, or what the caller takes for granted.
pub(super) fn flag_or(object: &Value, key: &str, default: bool) -> bool {
    match &object[key] {
        Value::Bool(flag) => *flag,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        _ => default,
    }
}

/// A whole number written as number or string.
pub(super) fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    id(value)?.trim().parse().ok()
}

/// The elements of an array; none for anything else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// True unless the value is null, `{}`, `[]`, an empty string or `false`.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Number(_) => true,
    }
}

/// A module reference: a bare name, or an object with `api_name`.
pub(super) fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Object(_) => optional_text(value, "api_name"),
        _ => None,
    }
}

/// An instant in ISO 8601 with an offset, the colon in the offset being optional.
pub(super) fn instant(value: &Value) -> Option<DateTime<Utc>> {
    let text = value.as_str()?;
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|instant| instant.with_timezone(&Utc))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{flag_or, instant, is_set, number};
    use serde_json::json;

    #[test]
    fn scalars_come_as_strings_too() {
        assert_eq!(number::<u32>(&json!("12")), Some(12));
        assert_eq!(number::<u32>(&json!(12)), Some(12));
        assert_eq!(number::<u32>(&json!({})), None);
        assert!(flag_or(&json!({"a": "TRUE"}), "a", false));
        assert!(flag_or(&json!({"a": null}), "a", true));
        assert!(!is_set(&json!({})) && !is_set(&json!(null)) && is_set(&json!({"a": 1})));
    }

    #[test]
    fn instants_are_compared_across_offsets() {
        let east = instant(&json!("2026-03-01T20:30:00+11:00"));
        assert!(east.is_some());
        assert_eq!(east, instant(&json!("2026-03-01T09:30:00Z")));
        assert_eq!(east, instant(&json!("2026-03-01T20:30:00+1100")));
        assert_eq!(instant(&json!("yesterday")), None);
    }
}
