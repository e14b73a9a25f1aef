//! Bulk Read: up to 200,000 rows per job as CSV in a ZIP.
//!
//! Follows the page "Bulk Read". A job is created, polled, and its result fetched within a day.

use super::{JobFailure, JobState, unwrapped};
use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{BULK_READ_JOB, CALL, Category};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::types::{JobId, Method};
use serde_json::{Value, json};
use std::path::Path;

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

impl BulkReadQuery {
    fn body(&self) -> Value {
        if let Some(token) = &self.page_token {
            return json!({ "query": { "page_token": token } });
        }
        let mut query = json!({ "module": { "api_name": self.module } });
        if !self.fields.is_empty() {
            query["fields"] = json!(self.fields);
        }
        if let Some(criteria) = &self.criteria {
            query["criteria"] = criteria.clone();
        }
        if let Some(page) = self.page {
            query["page"] = json!(page);
        }
        json!({ "query": query })
    }
}

impl BulkReadJob {
    fn from_json(job: &Value, id: &JobId) -> Self {
        let result = &job["result"];
        let state = JobState::read(&json::text(job, "state"), || {
            let said = &result["error_message"];
            JobFailure {
                code: json::text(said, "code"),
                message: json::text(said, "message"),
                details: said["details"].clone(),
            }
        });
        // Some servers show a result with nothing in it before the job is done.
        let result = (state == JobState::Completed).then(|| BulkReadResult {
            count: json::number(&result["count"]).unwrap_or(0),
            more_records: json::flag(result, "more_records"),
            download_url: json::optional_text(result, "download_url")
                .unwrap_or_else(|| format!("/crm/bulk/v8/read/{id}/result")),
            next_page_token: json::optional_text(result, "next_page_token"),
        });
        Self { state, result }
    }
}

impl Client {
    /// Creates a job. A cut call is repeated: a second job costs credits, but changes nothing.
    ///
    /// # Errors
    ///
    /// `MODULE_NOT_SUPPORTED`, `FIELD_NOT_SUPPORTED` (the field is named), `INVALID_CRITERIA`, an
    /// expired page token, and those of every call.
    pub async fn bulk_read_create(&self, query: &BulkReadQuery) -> Result<JobId, Error> {
        let call = Call::new(Method::Post, "/crm/bulk/v8/read")
            .json(query.body().to_string().into_bytes())
            .repeatable(true)
            .price(Category::Data, BULK_READ_JOB)
            .module(&query.module);
        let value = self.fetch_value(&call).await?;
        match json::id(&unwrapped(&value)["details"]["id"]) {
            Some(id) => {
                self.note_job();
                Ok(JobId::from(id))
            }
            None => Err(call.unclear("no job id in the answer")),
        }
    }

    /// Asks how far a job is.
    ///
    /// # Errors
    ///
    /// `RESOURCE_NOT_FOUND` for a job that is unknown or too old, and those of every call.
    pub async fn bulk_read_status(&self, id: &JobId) -> Result<BulkReadJob, Error> {
        let call = Call::get(format!("/crm/bulk/v8/read/{}", segment(id.as_str())))
            .price(Category::Polls, CALL)
            .job(id.as_str());
        let value = self.fetch_value(&call).await?;
        let job = unwrapped(&value);
        if job["state"].is_null() {
            return Err(call.unclear("no job in the answer"));
        }
        Ok(BulkReadJob::from_json(job, id))
    }

    /// Fetches a result to a file, going on after cuts; answers its size in bytes.
    ///
    /// Waits for its turn among ten downloads per minute; the lowest `rank` goes first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Download`](crate::zoho::ErrorKind::Download) when it stays incomplete, and
    /// those of every call.
    pub async fn bulk_read_download(&self, url: &str, to: &Path, rank: u32) -> Result<u64, Error> {
        let url =
            if url.contains("://") { url.to_owned() } else { format!("/{}", url.trim_start_matches('/')) };
        self.fetch_file(&Call::download(&url).in_turn(rank), to).await
    }
}

#[cfg(test)]
mod tests {
    use super::{BulkReadJob, BulkReadQuery, JobState};
    use crate::zoho::types::JobId;
    use serde_json::json;

    #[test]
    fn a_token_stands_alone() {
        let query = BulkReadQuery {
            module: "Leads".to_owned(),
            page_token: Some("c8".to_owned()),
            page: Some(2),
            ..Default::default()
        };
        assert_eq!(query.body(), json!({"query": {"page_token": "c8"}}));
        let first =
            BulkReadQuery { module: "Leads".to_owned(), fields: vec!["id".to_owned()], ..Default::default() };
        assert_eq!(first.body(), json!({"query": {"module": {"api_name": "Leads"}, "fields": ["id"]}}));
    }

    #[test]
    fn a_result_counts_only_when_the_job_is_done() {
        let read = |state: &str| {
            BulkReadJob::from_json(
                &json!({"state": state, "result": {"count": "142", "more_records": false}}),
                &JobId::from("7"),
            )
        };
        assert_eq!(read("ADDED").result, None);
        let done = read("COMPLETED").result.expect("done");
        assert_eq!((done.count, done.download_url.as_str()), (142, "/crm/bulk/v8/read/7/result"));
    }

    #[test]
    fn a_failed_job_says_why() {
        let job = BulkReadJob::from_json(
            &json!({"state": "FAILURE", "result": {"error_message": {"status": "error", "code": "INTERNAL_ERROR", "message": "no", "details": {}}}}),
            &JobId::from("7"),
        );
        let JobState::Failure(failure) = job.state else { panic!("{job:?}") };
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("INTERNAL_ERROR", "no"));
    }
}
