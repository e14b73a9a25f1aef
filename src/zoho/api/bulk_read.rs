//! Bulk Read: up to 200,000 rows per job as CSV in a ZIP.
//!
//! Follows the page "Bulk Read". A job is created, polled, and its result fetched within a day.

use super::JobState;
use serde_json::Value;

/// Most rows of one job. Source: "Bulk Read, Limitations".
pub const MAX_ROWS_PER_JOB: u64 = 200_000;
/// Most columns of one job. Source: "Bulk Read, Limitations".
pub const MAX_FIELDS: usize = 200;

// Request types

/// One job to create.
#[derive(Debug, Clone, Default)]
pub struct BulkReadQuery {
    /// API name of the module.
    pub module: String,
    /// API names of the columns; empty means all of the module.
    pub fields: Vec<String>,
    /// One condition or a group of them, in Zoho's form.
    pub criteria: Option<Value>,
    /// Page from 1; `None` means the first.
    pub page: Option<u32>,
    /// Token of the page before; if set, everything else is left out of the call.
    pub page_token: Option<String>,
}

// Response types

/// A job as its status call shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkReadJob {
    /// Where the job is on its way.
    pub state: JobState,
    /// The result, once the job is completed.
    pub result: Option<BulkReadResult>,
}

/// The result of a completed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkReadResult {
    /// Rows in the file.
    pub count: u64,
    /// Whether rows remain for another job.
    pub more_records: bool,
    /// Where the file is, relative to the API host.
    pub download_url: String,
    /// Token for the next job.
    pub next_page_token: Option<String>,
}
