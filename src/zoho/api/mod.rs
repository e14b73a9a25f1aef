//! The calls of the Zoho CRM API, one file per group.
//!
//! Each file has the same three parts in the same order: request types, response types, and the
//! `Client` methods that turn one into the other.

pub mod bulk_read;
pub mod bulk_write;
pub mod coql;
pub mod deleted;
pub mod metadata;
pub mod org;
pub mod records;

use serde_json::Value;

/// Where a bulk job is on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum JobState {
    /// Accepted.
    Added,
    /// Waiting for other jobs of the organisation; normal, and it can last.
    Queued,
    /// Being worked on.
    InProgress,
    /// Done; the result can be fetched.
    Completed,
    /// Given up by the server.
    Failure(JobFailure),
}

/// Why a bulk job failed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFailure {
    /// Zoho's code.
    pub code: String,
    /// Zoho's message.
    pub message: String,
    /// Zoho's details, or null.
    pub details: Value,
}

/// An answer as it came, for calls this crate has no method for.
#[derive(Debug, Clone, PartialEq)]
pub struct RawAnswer {
    /// HTTP status.
    pub status: u16,
    /// Parsed body; `None` when it is empty.
    pub body: Option<Value>,
}
