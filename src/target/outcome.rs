//! What became of a row. Decided in `preflight`, `write` and `replay`, told by `report`, kept by `ledger`.

use serde::{Deserialize, Serialize};

/// What was done for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A record was created.
    Inserted,
    /// A record was changed.
    Updated,
    /// Sent twice, and nobody saw the first answer: it is there, created or changed.
    Written,
    /// The record had these values already.
    Unchanged,
    /// The record was deleted.
    Deleted,
    /// Left alone on purpose: under `insert`, a record with this key exists.
    Skipped,
    /// Zoho, or the check before it, refused the row.
    Rejected,
    /// Sent, but which answer belongs to it cannot be told.
    Unknown,
}

impl Action {
    /// The word in results and summaries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Written => "written",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Skipped => "skipped",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// The outcome of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was done.
    pub action: Action,
    /// The record, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_id: Option<String>,
    /// Zoho's code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The field the refusal is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The refusal in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The bulk write job that carried the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// When Zoho says the record changed by it, in seconds since 1970; bulk jobs do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// Whether the row was written by an earlier run and not sent again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Whether the record has the row's values, but for a lookup whose parent never came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partly: bool,
}

impl Outcome {
    /// An outcome without further facts.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            record_id: None,
            code: None,
            field: None,
            message: None,
            job_id: None,
            modified: None,
            replayed: false,
            partly: false,
        }
    }

    /// A refusal.
    pub fn rejected(code: impl Into<String>, field: Option<String>, message: impl Into<String>) -> Self {
        Self { code: Some(code.into()), field, message: Some(message.into()), ..Self::new(Action::Rejected) }
    }

    /// A row whose answer cannot be told from others'.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::new(Action::Unknown) }
    }

    /// Adds the record.
    #[must_use]
    pub fn with_record(mut self, id: Option<String>) -> Self {
        self.record_id = id.filter(|id| !id.is_empty());
        self
    }

    /// Whether the row's values are in its record now.
    pub fn is_written(&self) -> bool {
        matches!(self.action, Action::Inserted | Action::Updated | Action::Written)
    }

    /// Whether the row is in Zoho, or was left out on purpose.
    pub fn success(&self) -> bool {
        !matches!(self.action, Action::Rejected | Action::Unknown)
    }
}
