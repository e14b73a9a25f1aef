//! What the ledger holds, as values.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::runs::Place;
use crate::target::mapping::Route;
use crate::target::outcome::Outcome;

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was sent.
    Planned,
    /// It may have been sent.
    Intent,
    /// A bulk job with a known id carries it.
    Submitted,
    /// Answered.
    Done,
    /// Nothing was sent; its rows wait for parents, or for earlier rows of the same records.
    Waiting,
}

impl Progress {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Intent => "intent",
            Self::Submitted => "submitted",
            Self::Done => "done",
            Self::Waiting => "waiting",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "planned" => Self::Planned,
            "submitted" => Self::Submitted,
            "done" => Self::Done,
            "waiting" => Self::Waiting,
            _ => Self::Intent,
        }
    }
}

/// The way rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A bulk write job with the route's operation.
    Bulk,
    /// A record call that creates.
    Insert,
    /// A record call that changes by id.
    Update,
    /// A record call that changes or creates.
    Upsert,
    /// A call that deletes.
    Delete,
    /// A look for the records, which other calls follow.
    Look,
    /// A bulk write job that changes by the ids in the notes.
    BulkUpdate,
    /// A bulk write job that creates.
    BulkInsert,
    /// A record call that sets lookups of records that were written without them.
    Lookups,
    /// A bulk write job that does.
    BulkLookups,
}

impl Way {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Look => "look",
            Self::BulkUpdate => "bulk update",
            Self::BulkInsert => "bulk insert",
            Self::Lookups => "lookups",
            Self::BulkLookups => "bulk lookups",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        match text {
            "insert" => Self::Insert,
            "update" => Self::Update,
            "upsert" => Self::Upsert,
            "delete" => Self::Delete,
            "look" => Self::Look,
            "bulk update" => Self::BulkUpdate,
            "bulk insert" => Self::BulkInsert,
            "lookups" => Self::Lookups,
            "bulk lookups" => Self::BulkLookups,
            _ => Self::Bulk,
        }
    }
}

impl Way {
    /// Whether a second sending does no harm, whatever the route.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Update | Self::Delete | Self::Look | Self::BulkUpdate) || self.comes_second()
    }

    /// Whether a bulk write job carries the rows.
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::Bulk | Self::BulkUpdate | Self::BulkInsert | Self::BulkLookups)
    }

    /// Whether its rows were written before, but for lookups.
    pub fn comes_second(self) -> bool {
        matches!(self, Self::Lookups | Self::BulkLookups)
    }
}

/// What a look found out about a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The record, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Columns that are not sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omit: Vec<u32>,
    /// Fields that are left as somebody else set them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Columns of lookups whose parents were not there: the first pass leaves them out, the second sends
    /// nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<u32>,
}

/// Rows of a batch that are sent as one: entry numbers, the later laid over the earlier.
pub type Unit = Vec<u32>;

/// A call as it is planned and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Number within the batch.
    pub number: u32,
    /// The way its rows are sent.
    pub way: Way,
    /// Its rows.
    pub units: Vec<Unit>,
    /// What a look found out about each; empty without one.
    pub notes: Vec<Note>,
    /// How far it is.
    pub progress: Progress,
    /// The bulk job.
    pub job: Option<String>,
    /// Whether an earlier sending may have been executed.
    pub resent: bool,
}

impl Call {
    /// How many rows it carries.
    pub fn rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.len() as u64).sum()
    }

    /// Some of its units, to be sent in another way.
    pub fn parts(&self, way: Way, units: &[Unit], most: usize) -> Vec<Self> {
        let places: HashMap<u32, usize> =
            self.units.iter().enumerate().map(|(place, unit)| (unit[0], place)).collect();
        let note = |unit: &Unit| self.notes.get(places[&unit[0]]).cloned();
        let part = |units: &[Unit]| Self {
            number: 0,
            way,
            units: units.to_vec(),
            notes: units.iter().filter_map(note).collect(),
            progress: Progress::Planned,
            job: None,
            resent: false,
        };
        units.chunks(most.max(1)).map(part).collect()
    }
}

/// A batch that is not finished.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    /// Its name.
    pub id: String,
    /// The run that made it.
    pub run: i64,
    /// Number of its lane.
    pub lane: i64,
    /// Its route.
    pub route: Route,
    /// The file with its rows.
    pub spool: PathBuf,
    /// Rows in that file.
    pub entries: u32,
}

/// The outcome of one row that was sent.
#[derive(Debug, Clone)]
pub struct RowRecord {
    /// Its place in the batch.
    pub entry: u32,
    /// Input line.
    pub line: u64,
    /// Hash of its key.
    pub key: Option<u128>,
    /// Hash of its content.
    pub hash: u128,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it was written without a lookup.
    pub partly: bool,
    /// For a row without a key: the record that was written without a lookup and that it completes.
    pub completes: Option<String>,
}

/// A row accepted earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Number in the ledger.
    pub id: i64,
    /// The run that sent it, or saw it again last.
    pub run: i64,
    /// Where it stands in the order of all rows.
    pub place: Place,
    /// Hash of its content.
    pub hash: u128,
    /// Whether that run did not send it.
    pub replayed: bool,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it was written without a lookup.
    pub partly: bool,
    /// Whether of a later row of its key nobody knows what became.
    pub overtaken: bool,
}

/// What a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStart {
    /// Number of this run.
    pub run: i64,
    /// Whether this is the first run with this folder.
    pub fresh: bool,
    /// Whether the last run left rows that may come again.
    pub unclean: bool,
}
