//! The calls of the Zoho CRM API, one file per group.
//!
//! Each file has the same three parts in the same order: request types, response types, and the
//! [`Client`] methods that turn one into the other.

pub mod bulk_read;
pub mod bulk_write;
pub mod coql;
pub mod deleted;
pub mod metadata;
pub mod org;
pub mod records;
pub mod settings;

use super::call::Call;
use super::client::Client;
use super::credits::{self, Category};
use super::error::Error;
use super::types::Method;
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

impl JobState {
    /// Reads a state in any of its spellings; an unknown one counts as being worked on, since the
    /// caller bounds how long it waits.
    fn read(name: &str, failure: impl FnOnce() -> JobFailure) -> Self {
        match normalised(name).as_str() {
            "ADDED" => Self::Added,
            "QUEUED" => Self::Queued,
            "COMPLETED" => Self::Completed,
            "FAILURE" | "FAILED" => Self::Failure(failure()),
            _ => Self::InProgress,
        }
    }
}

/// `IN PROGRESS`, `INPROGRESS` and `in_progress` are one.
fn normalised(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// Some answers come in a list of one, some bare.
fn unwrapped(value: &Value) -> &Value {
    match &value["data"] {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        _ => value,
    }
}

impl Client {
    /// Makes any call, with path and query as given; for what this crate has no method for.
    ///
    /// A GET is repeated like every read, everything else is sent once.
    ///
    /// # Errors
    ///
    /// Only when there is no final answer; refusals (4xx) are answers.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        query: &[(String, String)],
        body: Option<Value>,
    ) -> Result<RawAnswer, Error> {
        let path = format!("/{}", path.trim_start_matches('/'));
        let price = credits::price_of(method, &path);
        let heavy = path.ends_with("/coql") || query.iter().any(|(key, _)| key == "cvid" || key == "sort_by");
        let mut call = Call::new(method, path).price(Category::Data, price).heavy(heavy);
        for (key, value) in query {
            call = call.query(key, value.as_str());
        }
        if let Some(body) = body {
            call = call.json(body.to_string().into_bytes());
        }
        let answer = self.execute(&call).await?;
        let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
        let body = (!answer.body.is_empty())
            .then(|| serde_json::from_slice(&answer.body).unwrap_or_else(|_| text()));
        Ok(RawAnswer { status: answer.status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::{JobFailure, JobState};

    #[test]
    fn states_are_read_in_every_spelling() {
        let read = |name| JobState::read(name, JobFailure::default);
        for name in ["IN PROGRESS", "INPROGRESS", "In_Progress"] {
            assert_eq!(read(name), JobState::InProgress);
        }
        assert_eq!(read("QUEUED"), JobState::Queued);
        assert_eq!(read("FAILED"), read("FAILURE"));
        assert_eq!(read("PONDERING"), JobState::InProgress);
    }
}
