//! A short mark of a field's value, by which two values are known to be the same.
//!
//! The forms in which a value is written and read back differ: text is trimmed, an instant comes in another
//! offset, a lookup with a name. Values that Zoho holds for the same have the same fingerprint.

use chrono::DateTime;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::encode::Kind;

/// The fingerprint of a field that holds nothing.
const EMPTY: &str = "-";

/// The fingerprint of a value in any form that [`Kind::write_record`] takes; `None` where the field cannot
/// hold it.
pub fn fingerprint(kind: Kind, value: &Value) -> Option<String> {
    let mut text = String::new();
    kind.write_record(value, &mut text).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    let plain = match value {
        Value::Null => String::new(),
        Value::String(text) if kind == Kind::DateTime => {
            DateTime::parse_from_rfc3339(&text).ok()?.timestamp().to_string()
        }
        Value::String(text) => text.trim().to_owned(),
        Value::Array(items) if kind == Kind::MultiSelect => {
            let mut options: Vec<&str> = items.iter().filter_map(Value::as_str).map(str::trim).collect();
            options.sort_unstable();
            options.join(";")
        }
        Value::Object(object) if kind == Kind::Lookup => object.get("id")?.as_str()?.to_owned(),
        other => other.to_string(),
    };
    if plain.is_empty() {
        return Some(EMPTY.to_owned());
    }
    let digest = Sha256::digest(plain.as_bytes());
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let Ok(Value::String(kind)) = serde_json::to_value(kind) else { return None };
    Some(format!("{kind}:{hex}"))
}

/// Whether a value has that fingerprint, which says itself how its field is written.
pub fn is_marked(mark: &str, value: &Value) -> bool {
    if mark == EMPTY {
        return match value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
    }
    let Some((kind, _)) = mark.split_once(':') else { return false };
    let kind: Option<Kind> = serde_json::from_value(kind.into()).ok();
    kind.and_then(|kind| fingerprint(kind, value)).is_some_and(|found| found == mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_and_read_back_is_the_same() {
        let same =
            |kind, a: Value, b: Value| assert_eq!(fingerprint(kind, &a), fingerprint(kind, &b), "{a} {b}");
        same(Kind::Text, json!(" a b "), json!("a b"));
        same(Kind::Text, json!(null), json!(""));
        same(Kind::Decimal, json!(12.50), json!("12.5"));
        same(Kind::DateTime, json!("2026-03-01T09:30:00+02:00"), json!("2026-03-01T07:30:00Z"));
        same(Kind::Lookup, json!({"id": "77", "name": "Ann"}), json!("77"));
        same(Kind::MultiSelect, json!("b;a"), json!(["a", "b"]));
        same(Kind::Boolean, json!("true"), json!(true));
        assert_ne!(fingerprint(Kind::Text, &json!("a")), fingerprint(Kind::Text, &json!("A")));
        assert_eq!(fingerprint(Kind::Integer, &json!("x")), None);
        let mark = fingerprint(Kind::Decimal, &json!(12.50)).unwrap();
        assert!(is_marked(&mark, &json!(12.5)) && !is_marked(&mark, &json!(12)));
        assert!(is_marked("-", &json!(null)) && !is_marked("-", &json!("x")) && !is_marked("?", &json!("x")));
    }
}
