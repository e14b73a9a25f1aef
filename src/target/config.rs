//! What the target is told: which stream goes where, how, and what happens with results.
//!
//! Read from the JSON of the config file, after the command line has checked it against
//! `schemas/target.config.json`; keys of the connection are not looked at. Whether a module or a field
//! exists is checked later, in `mapping`, when the metadata is there. An error names the JSON pointer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::diagnostic::similar;

/// Settings of one target run.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetConfig {
    /// Where each stream goes; a stream that is not named goes to the module of its name. An empty list
    /// leaves the stream out.
    pub streams: BTreeMap<String, Vec<StreamTarget>>,
    /// Which path rows take. Default: by price.
    pub method: Method,
    /// Most rows of a batch. Default: 25,000, what one bulk write file holds.
    pub batch_rows: usize,
    /// Longest time a row waits for its batch to fill. Default: 300 s.
    pub max_batch_age: Duration,
    /// Longest wait for one bulk job. Default: none.
    pub job_timeout: Option<Duration>,
    /// Where results go. Default: a file in `state_dir/results`.
    pub results: Results,
    /// How many rows may be rejected before the exit code says so. Default: 0.
    pub max_rejected: MaxRejected,
    /// How many STATEs before the last one a tap may restart from. Default: 3.
    pub replay_states: usize,
    /// Whether inserts that nothing makes repeatable may run on an empty `state_dir`. Default: false.
    pub at_least_once: bool,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            method: Method::Auto,
            batch_rows: 25_000,
            max_batch_age: Duration::from_secs(300),
            job_timeout: None,
            results: Results::Default,
            max_rejected: MaxRejected::Count(0),
            replay_states: 3,
            at_least_once: false,
        }
    }
}

/// Which path rows take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The cheaper one of those that can.
    Auto,
    /// Bulk Write wherever it can.
    Bulk,
    /// Record calls only.
    Records,
}

/// What is done with the rows of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Create; rows that exist already, by a unique match field, are skipped.
    Insert,
    /// Change, never create.
    Update,
    /// Change or create.
    Upsert,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
        })
    }
}

/// What an explicit null does. An absent property always leaves the field alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nulls {
    /// Empty the field.
    Clear,
    /// Leave the field alone.
    Keep,
}

/// Where RESULT lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Results {
    /// `state_dir/results/<run>.jsonl`.
    Default,
    /// The file of that name.
    File(PathBuf),
    /// stdout, among the STATE lines.
    Stdout,
    /// stdout, as SCHEMA and RECORD of a stream `zoho_results`, for any Singer target.
    Singer,
}

/// How many rejected rows are still a success.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejected {
    /// That many.
    Count(u64),
    /// That share of all rows, in percent.
    Percent(f64),
}

impl MaxRejected {
    /// Whether `rejected` of `rows` is more than allowed.
    pub fn is_exceeded(self, rejected: u64, rows: u64) -> bool {
        match self {
            Self::Count(most) => rejected > most,
            Self::Percent(most) => rejected as f64 * 100.0 > rows as f64 * most,
        }
    }
}

/// One module that a stream is written to.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamTarget {
    /// API name of the module.
    pub module: String,
    /// What is done; `None` means what key and metadata suggest.
    pub operation: Option<Operation>,
    /// Fields that find the existing record; empty means what key and metadata suggest.
    pub match_on: Vec<String>,
    /// Which property goes to which field; `None` means same names, all that exist.
    pub fields: Option<Vec<FieldRule>>,
    /// Fields with the same value in every row.
    pub constants: Map<String, Value>,
    /// What an explicit null does.
    pub nulls: Nulls,
    /// JSON pointer of this object in the config, for errors.
    pub pointer: String,
}

impl StreamTarget {
    /// What a stream gets that the config does not name: the module of its name.
    pub fn by_name(stream: &str) -> Self {
        Self {
            module: stream.to_owned(),
            operation: None,
            match_on: Vec::new(),
            fields: None,
            constants: Map::new(),
            nulls: Nulls::Clear,
            pointer: child("/streams", stream),
        }
    }
}

/// One property to one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRule {
    /// The property of the stream.
    pub property: String,
    /// API name of the field.
    pub to: String,
    /// For a lookup: the field of the parent that the property holds, instead of its id.
    pub lookup_by: Option<String>,
    /// JSON pointer of the rule, for errors.
    pub pointer: String,
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config: {}: {message}", if .pointer.is_empty() { "/" } else { .pointer.as_str() })]
pub struct ConfigError {
    /// JSON pointer of the setting.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ConfigError {
    /// A finding at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl crate::diagnostic::Diagnostic for ConfigError {
    fn class(&self) -> crate::diagnostic::ErrorClass {
        crate::diagnostic::ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

type Result<T, E = ConfigError> = std::result::Result<T, E>;

impl TargetConfig {
    /// Reads the target's keys from a whole config; other keys are left to others.
    ///
    /// # Errors
    /// [`ConfigError`] with the JSON pointer of the setting that cannot work.
    pub fn from_json(config: &Value) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            streams: streams(config.get("streams"))?,
            method: match text(config, "/method")? {
                None | Some("auto") => Method::Auto,
                Some("bulk") => Method::Bulk,
                Some("records") => Method::Records,
                Some(other) => return Err(not_one_of("/method", other, "auto, bulk, records")),
            },
            batch_rows: batch_rows(config, default.batch_rows)?,
            max_batch_age: seconds(config, "/max_batch_age")?.unwrap_or(default.max_batch_age),
            job_timeout: seconds(config, "/job_timeout")?,
            results: match text(config, "/results")? {
                None => Results::Default,
                Some("stdout") => Results::Stdout,
                Some("singer") => Results::Singer,
                Some(path) => Results::File(PathBuf::from(path)),
            },
            max_rejected: max_rejected(config.get("max_rejected"))?,
            replay_states: number(config, "/replay_states")?.map_or(default.replay_states, |n| n as usize),
            at_least_once: flag(config, "/at_least_once")?,
        })
    }
}

impl<'de> Deserialize<'de> for TargetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn batch_rows(config: &Value, default: usize) -> Result<usize> {
    match number(config, "/batch_rows")? {
        None => Ok(default),
        Some(rows @ 1..=25_000) => Ok(rows as usize),
        Some(rows) => Err(ConfigError::new("/batch_rows", format!("{rows} is not between 1 and 25000"))),
    }
}

fn max_rejected(value: Option<&Value>) -> Result<MaxRejected> {
    let wrong = || ConfigError::new("/max_rejected", "must be a count such as 10, or a share such as \"2%\"");
    match value {
        None | Some(Value::Null) => Ok(MaxRejected::Count(0)),
        Some(Value::Number(number)) => number.as_u64().map(MaxRejected::Count).ok_or_else(wrong),
        Some(Value::String(text)) => match text.strip_suffix('%') {
            Some(share) => match share.trim().parse::<f64>() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(MaxRejected::Percent(share)),
                _ => Err(wrong()),
            },
            None => text.trim().parse().map(MaxRejected::Count).map_err(|_| wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

fn streams(value: Option<&Value>) -> Result<BTreeMap<String, Vec<StreamTarget>>> {
    let mut streams = BTreeMap::new();
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(streams) };
    for (stream, value) in object(value, "/streams")? {
        let pointer = child("/streams", stream);
        let targets = match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(place, item)| stream_target(stream, item, &format!("{pointer}/{place}")))
                .collect::<Result<_>>()?,
            one => vec![stream_target(stream, one, &pointer)?],
        };
        streams.insert(stream.clone(), targets);
    }
    Ok(streams)
}

fn stream_target(stream: &str, value: &Value, pointer: &str) -> Result<StreamTarget> {
    let keys = object(value, pointer)?;
    let known = ["module", "operation", "match_on", "fields", "constants", "nulls"];
    if let Some(key) = keys.keys().find(|key| !known.contains(&key.as_str())) {
        let error = ConfigError::new(child(pointer, key), format!("`{key}` is not a key of a stream"));
        return Err(match similar(key, known) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("allowed are {}", known.join(", "))),
        });
    }
    Ok(StreamTarget {
        module: text_at(keys.get("module"), &child(pointer, "module"))?.unwrap_or(stream).to_owned(),
        operation: operation(keys.get("operation"), &child(pointer, "operation"))?,
        match_on: match_on(keys.get("match_on"), &child(pointer, "match_on"))?,
        fields: fields(keys.get("fields"), &child(pointer, "fields"))?,
        constants: match keys.get("constants") {
            None | Some(Value::Null) => Map::new(),
            Some(value) => object(value, &child(pointer, "constants"))?.clone(),
        },
        nulls: match text_at(keys.get("nulls"), &child(pointer, "nulls"))? {
            None | Some("clear") => Nulls::Clear,
            Some("keep") => Nulls::Keep,
            Some(other) => return Err(not_one_of(&child(pointer, "nulls"), other, "clear, keep")),
        },
        pointer: pointer.to_owned(),
    })
}

fn operation(value: Option<&Value>, pointer: &str) -> Result<Option<Operation>> {
    Ok(match text_at(value, pointer)? {
        None => None,
        Some("insert") => Some(Operation::Insert),
        Some("update") => Some(Operation::Update),
        Some("upsert") => Some(Operation::Upsert),
        Some(planned @ ("delete" | "mirror")) => {
            return Err(ConfigError::new(pointer, format!("`{planned}` is not supported yet"))
                .with_hint("insert, update and upsert are; nothing is ever deleted by them"));
        }
        Some(other) => return Err(not_one_of(pointer, other, "insert, update, upsert")),
    })
}

fn match_on(value: Option<&Value>, pointer: &str) -> Result<Vec<String>> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(place, item)| need_text(Some(item), &format!("{pointer}/{place}")))
            .collect(),
        Some(_) => Err(ConfigError::new(pointer, "must be a list of field names")),
    }
}

fn fields(value: Option<&Value>, pointer: &str) -> Result<Option<Vec<FieldRule>>> {
    let mut rules = Vec::new();
    match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => {
            for (place, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{place}");
                let name = need_text(Some(item), &pointer)?;
                rules.push(FieldRule { property: name.clone(), to: name, lookup_by: None, pointer });
            }
        }
        Some(value) => {
            for (property, value) in object(value, pointer)? {
                let pointer = child(pointer, property);
                match value {
                    Value::Array(items) => {
                        for (place, item) in items.iter().enumerate() {
                            rules.push(field_rule(property, item, format!("{pointer}/{place}"))?);
                        }
                    }
                    one => rules.push(field_rule(property, one, pointer)?),
                }
            }
        }
    }
    Ok(Some(rules))
}

fn field_rule(property: &str, value: &Value, pointer: String) -> Result<FieldRule> {
    let (to, lookup_by) = match value {
        Value::String(to) => (to.clone(), None),
        Value::Object(keys) => {
            if let Some(key) = keys.keys().find(|key| !["to", "match"].contains(&key.as_str())) {
                return Err(ConfigError::new(
                    child(&pointer, key),
                    format!("`{key}` is not a key of a field"),
                )
                .with_hint("allowed are to, match"));
            }
            let to = need_text(keys.get("to"), &child(&pointer, "to"))?;
            (to, text_at(keys.get("match"), &child(&pointer, "match"))?.map(str::to_owned))
        }
        _ => {
            return Err(ConfigError::new(
                pointer,
                "must be a field name, or an object with `to` and `match`",
            ));
        }
    };
    Ok(FieldRule { property: property.to_owned(), to, lookup_by, pointer })
}

/// The JSON pointer of a member.
pub fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn object<'a>(value: &'a Value, pointer: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| ConfigError::new(pointer, format!("{value} is not an object")))
}

fn text<'a>(config: &'a Value, pointer: &str) -> Result<Option<&'a str>> {
    text_at(config.pointer(pointer), pointer)
}

fn text_at<'a>(value: Option<&'a Value>, pointer: &str) -> Result<Option<&'a str>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(ConfigError::new(pointer, format!("{other} is not a text"))),
    }
}

fn need_text(value: Option<&Value>, pointer: &str) -> Result<String> {
    text_at(value, pointer)?.map(str::to_owned).ok_or_else(|| ConfigError::new(pointer, "a text is needed"))
}

fn number(config: &Value, pointer: &str) -> Result<Option<u64>> {
    match config.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_str()?.trim().parse().ok())
            .map(Some)
            .ok_or_else(|| ConfigError::new(pointer, format!("{value} is not a whole number"))),
    }
}

fn seconds(config: &Value, pointer: &str) -> Result<Option<Duration>> {
    Ok(number(config, pointer)?.map(Duration::from_secs))
}

fn flag(config: &Value, pointer: &str) -> Result<bool> {
    match config.pointer(pointer) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
        Some(other) => Err(ConfigError::new(pointer, format!("{other} is not true or false"))),
    }
}

fn not_one_of(pointer: &str, found: &str, allowed: &str) -> ConfigError {
    ConfigError::new(pointer, format!("\"{found}\" is not allowed"))
        .with_hint(format!("allowed are {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(config: Value) -> String {
        let error = TargetConfig::from_json(&config).expect_err("the config is bad");
        format!("{error} | {}", error.hint.clone().unwrap_or_default())
    }

    #[test]
    fn one_stream_feeds_two_modules() {
        let config = TargetConfig::from_json(&json!({"client_id": "x", "streams": {"customers": [
            {"module": "Accounts", "match_on": ["Northwind_Id"], "fields": {"Id": "Northwind_Id"}},
            {"module": "Contacts", "operation": "upsert", "nulls": "keep", "constants": {"Lead_Source": "DB"},
             "fields": {"Id": ["Northwind_Id", {"to": "Account_Name", "match": "Northwind_Id"}]}}]},
            "batch_rows": 100, "max_rejected": "2%", "results": "singer"}))
        .unwrap();
        let contacts = &config.streams["customers"][1];
        let rules = contacts.fields.as_ref().unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[1].lookup_by.as_deref(), Some("Northwind_Id"));
        assert_eq!(rules[1].pointer, "/streams/customers/1/fields/Id/1");
        assert_eq!((contacts.nulls, config.batch_rows), (Nulls::Keep, 100));
        assert_eq!(config.results, Results::Singer);
        assert!(config.max_rejected.is_exceeded(3, 100) && !config.max_rejected.is_exceeded(2, 100));
    }

    #[test]
    fn errors_have_a_pointer_and_advice() {
        assert_eq!(
            error(json!({"streams": {"a/b": {"modul": "X"}}})),
            "config: /streams/a~1b/modul: `modul` is not a key of a stream | did you mean `module`?"
        );
        assert!(
            error(json!({"streams": {"a": {"operation": "mirror"}}}))
                .contains("`mirror` is not supported yet")
        );
        assert!(error(json!({"method": "fast"})).contains("allowed are auto, bulk, records"));
        assert!(error(json!({"batch_rows": 25_001})).contains("/batch_rows"));
        assert!(error(json!({"max_rejected": -1})).contains("/max_rejected"));
        assert!(error(json!({"streams": {"a": {"fields": {"p": 1}}}})).contains("/streams/a/fields/p"));
    }
}
