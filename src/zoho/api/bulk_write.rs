//! Bulk Write: up to 25,000 rows per file, uploaded as CSV in a ZIP.
//!
//! Follows the page "Bulk Write". A file is uploaded, a job created over it and polled, and the
//! result file, with one line per row, fetched within seven days.

use super::JobState;
use serde_json::Value;

/// Most rows of one file, header not counted. Source: "Bulk Write, Limitations".
pub const MAX_ROWS_PER_FILE: usize = 25_000;
/// Most columns of one file. Source: "Bulk Write, Limitations".
pub const MAX_COLUMNS: usize = 200;
/// Most bytes of one ZIP. Source: "Bulk Write, Limitations".
pub const MAX_ZIP_BYTES: u64 = 25 * 1024 * 1024;

// Request types

/// What a job does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkOperation {
    /// Creates; with `find_by`, rows that match a record are skipped.
    Insert,
    /// Changes; never creates.
    Update,
    /// Changes or creates.
    Upsert,
}

impl BulkOperation {
    /// The name Zoho gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
        }
    }
}

/// One job to create.
#[derive(Debug, Clone)]
pub struct BulkWriteRequest {
    /// What to do with the rows.
    pub operation: BulkOperation,
    /// True: empty cells leave the field alone. False: they clear it.
    pub ignore_empty: bool,
    /// The files, parent before child.
    pub resources: Vec<BulkWriteResource>,
}

/// One file of a job.
#[derive(Debug, Clone)]
pub struct BulkWriteResource {
    /// API name of the module.
    pub module: String,
    /// The uploaded ZIP.
    pub file_id: crate::zoho::types::FileId,
    /// Names inside the ZIP; empty when it holds one file only.
    pub file_names: Vec<String>,
    /// Unique field, or `id`, that finds existing records.
    pub find_by: Option<String>,
    /// Which column feeds which field.
    pub field_mappings: Vec<FieldMapping>,
}

/// One column of a file.
#[derive(Debug, Clone, Default)]
pub struct FieldMapping {
    /// API name of the field.
    pub api_name: String,
    /// Column, from 0; `None` for a constant.
    pub index: Option<usize>,
    /// For a lookup: the field of the target that the cell holds.
    pub find_by: Option<String>,
    /// Pattern of dates, such as `yyyy-MM-dd`.
    pub format: Option<String>,
    /// Value for empty cells, or of a constant.
    pub default_value: Option<Value>,
    /// For a child file: the column of the parent file that names the parent row.
    pub parent_column_index: Option<usize>,
    /// For a lookup into one of several modules: which.
    pub module: Option<String>,
}

// Response types

/// A job as its status call shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkWriteJob {
    /// Where the job is on its way.
    pub status: JobState,
    /// What became of each file, in the order of the request.
    pub files: Vec<BulkWriteFile>,
    /// Where the result file is, once there is one; absolute or relative.
    pub download_url: Option<String>,
}

/// What became of one file of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkWriteFile {
    /// API name of the module.
    pub module: String,
    /// Name inside the ZIP.
    pub name: String,
    /// `COMPLETED`, `SKIPPED`, `FAILED`, ...; capitals without spaces.
    pub status: String,
    /// Zoho's code for the whole file, `SUCCESS` or the reason.
    pub code: String,
    /// Zoho's message for the whole file.
    pub message: String,
    /// Rows created.
    pub added: u64,
    /// Rows changed.
    pub updated: u64,
    /// Rows left alone or refused.
    pub skipped: u64,
    /// Rows seen.
    pub total: u64,
}
