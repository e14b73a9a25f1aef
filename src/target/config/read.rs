//! Values of a config, read by hand so that every error has its JSON pointer.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{ConfigError, Result};
use crate::diagnostic::similar;

/// The JSON pointer of a member.
pub fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

pub(super) fn object<'a>(value: &'a Value, pointer: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| ConfigError::new(pointer, format!("{value} is not an object")))
}

pub(super) fn text<'a>(config: &'a Value, pointer: &str) -> Result<Option<&'a str>> {
    text_at(config.pointer(pointer), pointer)
}

pub(super) fn text_at<'a>(value: Option<&'a Value>, pointer: &str) -> Result<Option<&'a str>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(ConfigError::new(pointer, format!("{other} is not a text"))),
    }
}

pub(super) fn need_text(value: Option<&Value>, pointer: &str) -> Result<String> {
    text_at(value, pointer)?.map(str::to_owned).ok_or_else(|| ConfigError::new(pointer, "a text is needed"))
}

pub(super) fn number(config: &Value, pointer: &str) -> Result<Option<u64>> {
    match config.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_str()?.trim().parse().ok())
            .map(Some)
            .ok_or_else(|| ConfigError::new(pointer, format!("{value} is not a whole number"))),
    }
}

pub(super) fn percent(config: &Value, pointer: &str) -> Result<Option<f64>> {
    match config.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .or_else(|| value.as_str()?.trim().trim_end_matches('%').parse().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(Some)
            .ok_or_else(|| ConfigError::new(pointer, format!("{value} is not a number from 0 to 100"))),
    }
}

pub(super) fn seconds(config: &Value, pointer: &str) -> Result<Option<Duration>> {
    Ok(number(config, pointer)?.map(Duration::from_secs))
}

pub(super) fn flag(config: &Value, pointer: &str) -> Result<bool> {
    flag_at(config.pointer(pointer), pointer)
}

pub(super) fn not_one_of(pointer: &str, found: &str, allowed: &str) -> ConfigError {
    ConfigError::new(pointer, format!("\"{found}\" is not allowed"))
        .with_hint(format!("allowed are {allowed}"))
}

/// Refuses a key that is not among those known.
pub(super) fn known_keys(keys: &Map<String, Value>, known: &[&str], pointer: &str, what: &str) -> Result<()> {
    let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let error = ConfigError::new(child(pointer, key), format!("`{key}` is not a key of {what}"));
    Err(match similar(key, known.iter().copied()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("allowed are {}", known.join(", "))),
    })
}

/// A list of texts, or one alone.
pub(super) fn texts(value: Option<&Value>, pointer: &str, what: &str) -> Result<Vec<String>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(place, item)| need_text(Some(item), &format!("{pointer}/{place}")))
            .collect(),
        Some(_) => Err(ConfigError::new(pointer, format!("must be a list of {what}"))),
    }
}

pub(super) fn flag_at(value: Option<&Value>, pointer: &str) -> Result<bool> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(ConfigError::new(pointer, format!("{other} is not true or false"))),
    }
}
