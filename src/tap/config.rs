//! What a person may set for the tap, besides the connection.

use super::policy::PolicyRule;
use super::shards::Shard;
use crate::protocol::batch::{Encoding, NO_PARQUET, path_of};
use crate::secret::Secret;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use std::sync::Arc;

/// The tap's own settings. Their JSON Schema is `schemas/tap.config.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct TapConfig {
    /// Streams without a bookmark start here; none: with the first record.
    pub start_date: Option<DateTime<Utc>>,
    /// Which streams discovery lists.
    pub streams: StreamFilter,
    /// How much discovery finds out.
    pub discover: Depth,
    /// How far before the bookmark an incremental read starts.
    ///
    /// Unit: seconds. Default 120: what the server indexes late (design decision, no figure by Zoho).
    pub lookback_seconds: u32,
    /// Which way of reading to take; `auto` takes the cheapest that can deliver.
    pub method: Method,
    /// Whether lookups bring the names of what they point at. Default: false.
    pub lookup_names: bool,
    /// Whether streams that are read whole end with ACTIVATE_VERSION. Default: false.
    pub activate_version: bool,
    /// Whether rows go into files that BATCH messages name, and where; none: they are RECORD messages.
    pub batch_config: Option<BatchConfig>,
    /// Whether increments leave out what our own target wrote last. Default: false.
    pub ignore_own_writes: bool,
    /// A trial: so many records of each stream, and no STATE. It is no setting.
    #[serde(skip)]
    pub trial: Option<u64>,
    /// Whether a stream without a module is skipped instead of ending the run. It is no setting.
    #[serde(skip)]
    pub skip_unknown: bool,
    /// The part of every stream that this process reads; none: all. It is no setting.
    #[serde(skip)]
    pub shard: Option<Arc<Shard>>,
    /// Most rows between two STATE messages. Default 50,000.
    pub state_rows: u64,
    /// Longest time between two STATE messages. Unit: seconds. Default 30.
    pub state_seconds: u64,
    /// What becomes of fields that may not leave as they are; the first rule that matches holds.
    pub field_policy: Vec<PolicyRule>,
    /// The key of its hashes.
    pub field_policy_key: Option<Secret>,
    /// How deletes are told.
    pub deleted_records: DeletedForm,
    /// How often many deletes are looked up, whether they were restored. Unit: hours. Default 24.
    pub restore_check_hours: u32,
    /// Whether ids are compared with those of the run before, and when.
    pub reconcile: Option<Reconcile>,
    /// Whether formula and rollup fields are read again on their own, and when.
    pub refresh: Option<Refresh>,
}

/// Rows in files, in the shape that taps of the Meltano SDK take.
#[derive(Debug, Clone, Deserialize)]
pub struct BatchConfig {
    /// How the files are written.
    pub encoding: BatchEncoding,
    /// Where they go.
    pub storage: BatchStorage,
    /// Most rows of a file. Default 10,000, as in the SDK.
    pub batch_size: Option<u64>,
}

/// How batch files are written.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct BatchEncoding {
    /// One row a line, or columns.
    pub format: BatchFormat,
    /// Default: gzip.
    pub compression: Option<BatchCompression>,
}

/// The form of batch files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchFormat {
    /// A JSON object a line.
    Jsonl,
    /// Parquet.
    Parquet,
}

/// How batch files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchCompression {
    /// gzip.
    Gzip,
    /// Not at all.
    None,
}

/// Where batch files go.
#[derive(Debug, Clone, Deserialize)]
pub struct BatchStorage {
    /// A folder: a `file://` address, or a path.
    pub root: String,
    /// What their names begin with.
    pub prefix: Option<String>,
}

impl BatchConfig {
    /// Whether it can work; else the place of the trouble, and what it is.
    ///
    /// # Errors
    /// When the storage is not of this machine, or this build does not write the format.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if path_of(&self.storage.root).is_none() {
            let what = format!("`{}` is no folder of this machine", self.storage.root);
            return Err((
                "/batch_config/storage/root",
                format!("{what}: batch files go to `file://` storage"),
            ));
        }
        if self.encoding.format == BatchFormat::Parquet && !cfg!(feature = "parquet") {
            return Err(("/batch_config/encoding/format", NO_PARQUET.to_owned()));
        }
        Ok(())
    }
}

impl BatchEncoding {
    /// As the message names it.
    pub fn encoding(self) -> Encoding {
        match (self.format, self.compression) {
            (BatchFormat::Parquet, Some(BatchCompression::None)) => Encoding::Parquet,
            (BatchFormat::Parquet, _) => Encoding::ParquetGzip,
            (BatchFormat::Jsonl, Some(BatchCompression::None)) => Encoding::Jsonl,
            (BatchFormat::Jsonl, _) => Encoding::JsonlGzip,
        }
    }
}

/// How deletes are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedForm {
    /// As a stream of their own, `deleted_records`.
    #[default]
    Stream,
    /// As the module's last known record with `_sdc_deleted_at`.
    Mark,
}

/// The comparison of all ids of a module with those remembered, for deletes that no list shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Reconcile {
    /// Days between two comparisons. Default 30.
    pub every_days: u32,
    /// Whether this run compares, whenever the last one did.
    pub now: bool,
    /// Streams to compare.
    pub streams: StreamFilter,
    /// Most of the remembered ids that may be missing, in percent; more is an error. Default 10.
    pub max_missing_percent: u8,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { every_days: 30, now: false, streams: StreamFilter::default(), max_missing_percent: 10 }
    }
}

/// The refresh of fields that Zoho works out without moving `Modified_Time`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct Refresh {
    /// Hours between two refreshes. Default 24.
    pub every_hours: u32,
    /// Streams to refresh.
    pub streams: StreamFilter,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { every_hours: 24, streams: StreamFilter::default() }
    }
}

impl Default for TapConfig {
    fn default() -> Self {
        Self {
            start_date: None,
            streams: StreamFilter::default(),
            discover: Depth::Full,
            lookback_seconds: 120,
            method: Method::Auto,
            lookup_names: false,
            activate_version: false,
            batch_config: None,
            ignore_own_writes: false,
            trial: None,
            skip_unknown: false,
            shard: None,
            state_rows: 50_000,
            state_seconds: 30,
            field_policy: Vec::new(),
            field_policy_key: None,
            deleted_records: DeletedForm::Stream,
            restore_check_hours: 24,
            reconcile: None,
            refresh: None,
        }
    }
}

/// Globs over stream names: `*` stands for any text, `?` for one character.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StreamFilter {
    /// Streams to list; empty: all.
    pub include: Vec<String>,
    /// Streams to leave out of those.
    pub exclude: Vec<String>,
}

impl StreamFilter {
    /// Whether a stream is listed.
    pub fn takes(&self, stream: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| matches(glob, stream));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// How much discovery finds out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Streams and their fields, for one call a module.
    #[default]
    Full,
    /// Streams; the sync asks for the fields of those that are selected.
    Lazy,
}

/// The way of reading a person asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The cheapest that can deliver.
    #[default]
    Auto,
    /// Bulk Read jobs.
    BulkRead,
    /// COQL queries.
    Coql,
    /// Pages of the records API.
    Records,
}

/// Whether a glob (`*` any text, `?` one character) matches the whole text.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let mut rest = text;
    let mut parts = glob.split('*');
    let starts = parts.next().unwrap_or_default();
    let Some(after) = strip(rest, starts) else { return false };
    rest = after;
    let mut parts: Vec<&str> = parts.collect();
    let Some(ends) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let found =
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).find_map(|at| strip(&rest[at..], part));
        let Some(after) = found else { return false };
        rest = after;
    }
    let length = ends.chars().count();
    let tail = rest.chars().count().checked_sub(length);
    tail.is_some_and(|skip| strip(&rest.chars().skip(skip).collect::<String>(), ends) == Some(""))
}

/// What follows `pattern` (with `?` for one character) at the start of `text`.
fn strip<'t>(text: &'t str, pattern: &str) -> Option<&'t str> {
    let mut rest = text.chars();
    for wanted in pattern.chars() {
        let found = rest.next()?;
        if wanted != '?' && wanted != found {
            return None;
        }
    }
    Some(rest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, expected) in [
            ("Leads", "Leads", true),
            ("Leads", "Leads2", false),
            ("L*", "Leads", true),
            ("*s", "Leads", true),
            ("*_X_*", "Contacts_X_Products", true),
            ("*_X_*", "Contacts", false),
            ("L?ads", "Leads", true),
            ("*a*a*", "aa", true),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn exclude_wins_over_include() {
        let filter = StreamFilter { include: vec!["*".into()], exclude: vec!["Le*".into()] };
        assert!(filter.takes("Deals") && !filter.takes("Leads"));
        assert!(StreamFilter::default().takes("anything"));
    }
}
