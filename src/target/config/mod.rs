//! What the target is told: which stream goes where, how, and what happens with results.
//!
//! Read from the JSON of the config file, after the command line has checked it against
//! `schemas/target.config.json`; keys of the connection are not looked at. Whether a module or a field
//! exists is checked later, in `mapping`, when the metadata is there. An error names the JSON pointer.

mod read;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::protocol::airbyte::catalog::Configured;
pub use read::child;
use read::{flag, not_one_of, number, percent, seconds, text};
pub use stream::{FieldRule, Nulls, Operation, RowsOf, RowsRule, StreamTarget};

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
    /// Most bytes of the rows of a batch, as JSON. Default: 64 MiB, what surely compresses to less than the
    /// 25 MB of a bulk write file.
    pub batch_bytes: usize,
    /// How hard bulk write files are deflated, 1 to 9; by the speed of the line when absent.
    pub compression_level: Option<u8>,
    /// Longest time a row waits for its batch to fill. Default: 300 s.
    pub max_batch_age: Duration,
    /// Longest wait for one bulk job. Default: none.
    pub job_timeout: Option<Duration>,
    /// Where results go. Default: a file in `state_dir/results`.
    pub results: Results,
    /// How many rows may be rejected before the exit code says so. Default: 0.
    pub max_rejected: MaxRejected,
    /// Most records of a module that one run may delete, in percent. Default: 10.
    pub max_delete_percent: f64,
    /// How long rows in doubt are looked for by their mark. Default: 60 s.
    pub in_doubt_wait: Duration,
    /// How many STATEs before the last one a tap may restart from. Default: 3.
    pub replay_states: usize,
    /// Whether inserts that nothing makes repeatable may run on an empty `state_dir`. Default: false.
    pub at_least_once: bool,
    /// Which automations run, where a stream does not say it. Default: all that Zoho starts by itself.
    pub trigger: Option<Vec<String>>,
    /// Whether picklists take none but the options they have. Default: false.
    pub strict_picklists: bool,
    /// What becomes of rows with one match value in a batch. Default: the last one wins.
    pub duplicates: Duplicates,
    /// What an Airbyte platform configured; none: the input is Singer. It is no setting.
    pub catalog: Option<Arc<[Configured]>>,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            method: Method::Auto,
            batch_rows: 25_000,
            batch_bytes: 64 << 20,
            compression_level: None,
            max_batch_age: Duration::from_secs(300),
            job_timeout: None,
            results: Results::Default,
            max_rejected: MaxRejected::Count(0),
            max_delete_percent: 10.0,
            in_doubt_wait: Duration::from_secs(120),
            replay_states: 3,
            at_least_once: false,
            trigger: None,
            strict_picklists: false,
            duplicates: Duplicates::LastWins,
            catalog: None,
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

/// What becomes of rows with one match value in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// They are laid over each other, the last on top, and share an outcome.
    LastWins,
    /// The first is written, the others are rejected.
    Reject,
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
            streams: stream::streams(config.get("streams"))?,
            method: match text(config, "/method")? {
                None | Some("auto") => Method::Auto,
                Some("bulk") => Method::Bulk,
                Some("records") => Method::Records,
                Some(other) => return Err(not_one_of("/method", other, "auto, bulk, records")),
            },
            batch_rows: batch_rows(config, default.batch_rows)?,
            batch_bytes: match number(config, "/batch_bytes")? {
                Some(0) => return Err(ConfigError::new("/batch_bytes", "0 bytes hold no row")),
                given => given.map_or(default.batch_bytes, |bytes| bytes as usize),
            },
            compression_level: match number(config, "/compression_level")? {
                Some(0 | 10..) => return Err(ConfigError::new("/compression_level", "it goes from 1 to 9")),
                given => given.map(|level| level as u8),
            },
            max_batch_age: seconds(config, "/max_batch_age")?.unwrap_or(default.max_batch_age),
            job_timeout: seconds(config, "/job_timeout")?,
            results: match text(config, "/results")? {
                None => Results::Default,
                Some("stdout") => Results::Stdout,
                Some("singer") => Results::Singer,
                Some(path) => Results::File(PathBuf::from(path)),
            },
            max_rejected: max_rejected(config.get("max_rejected"))?,
            max_delete_percent: percent(config, "/max_delete_percent")?.unwrap_or(default.max_delete_percent),
            in_doubt_wait: seconds(config, "/in_doubt_wait")?.unwrap_or(default.in_doubt_wait),
            replay_states: number(config, "/replay_states")?.map_or(default.replay_states, |n| n as usize),
            at_least_once: flag(config, "/at_least_once")?,
            trigger: stream::trigger(config.get("trigger"), "/trigger")?,
            strict_picklists: match text(config, "/picklists")? {
                None | Some("open") => false,
                Some("strict") => true,
                Some(other) => return Err(not_one_of("/picklists", other, "open, strict")),
            },
            duplicates: match text(config, "/duplicates")? {
                None | Some("last_wins") => Duplicates::LastWins,
                Some("reject") => Duplicates::Reject,
                Some(other) => return Err(not_one_of("/duplicates", other, "last_wins, reject")),
            },
            catalog: None,
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
        assert!(error(json!({"streams": {"a": {"operation": "merge"}}})).contains("upsert, delete, mirror"));
        assert!(error(json!({"method": "fast"})).contains("allowed are auto, bulk, records"));
        assert!(error(json!({"batch_rows": 25_001})).contains("/batch_rows"));
        assert!(error(json!({"max_rejected": -1})).contains("/max_rejected"));
        assert!(error(json!({"streams": {"a": {"fields": {"p": 1}}}})).contains("/streams/a/fields/p"));
    }
}
