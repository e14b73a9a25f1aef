//! Bulk Write: up to 25,000 rows per file, uploaded as CSV in a ZIP.
//!
//! Follows the page "Bulk Write". A file is uploaded, a job created over it and polled, and the
//! result file, with one line per row, fetched within seven days.

use super::{JobFailure, JobState, normalised, unwrapped};
use crate::zoho::call::{Call, segment};
use crate::zoho::client::Client;
use crate::zoho::credits::{BULK_WRITE_JOB, CALL, Category};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::refusal::Refusal;
use crate::zoho::types::{FileId, JobId, Method};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::path::Path;

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
    pub file_id: FileId,
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
    /// When the job was created.
    pub created: Option<DateTime<Utc>>,
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

impl BulkWriteRequest {
    fn body(&self) -> Value {
        let resources: Vec<Value> =
            self.resources.iter().map(|resource| resource.body(self.ignore_empty)).collect();
        // Sources differ on where `ignore_empty` belongs, so it is in both places.
        json!({
            "operation": self.operation.as_str(),
            "character_encoding": "UTF-8",
            "ignore_empty": self.ignore_empty,
            "resource": resources,
        })
    }
}

impl BulkWriteResource {
    fn body(&self, ignore_empty: bool) -> Value {
        let mut body = json!({
            "type": "data",
            "module": { "api_name": self.module },
            "file_id": self.file_id,
            "ignore_empty": ignore_empty,
        });
        if !self.file_names.is_empty() {
            body["file_names"] = json!(self.file_names);
        }
        if let Some(find_by) = &self.find_by {
            body["find_by"] = json!(find_by);
        }
        if !self.field_mappings.is_empty() {
            body["field_mappings"] = self.field_mappings.iter().map(FieldMapping::body).collect();
        }
        body
    }
}

impl FieldMapping {
    fn body(&self) -> Value {
        let mut body = json!({ "api_name": self.api_name });
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[key] = value;
            }
        };
        set("index", self.index.map(Value::from));
        set("find_by", self.find_by.clone().map(Value::from));
        set("format", self.format.clone().map(Value::from));
        set("default_value", self.default_value.as_ref().map(|value| json!({ "value": value })));
        set("parent_column_index", self.parent_column_index.map(Value::from));
        set("module", self.module.as_ref().map(|name| json!({ "api_name": name })));
        body
    }
}

impl BulkWriteJob {
    fn from_json(job: &Value) -> Self {
        let files: Vec<BulkWriteFile> =
            json::list(&job["resource"]).iter().map(BulkWriteFile::from_json).collect();
        let status = JobState::read(&json::text(job, "status"), || {
            let blamed = files.iter().find(|file| file.code != "SUCCESS" && !file.code.is_empty());
            let said = &job["result"]["error_message"];
            JobFailure {
                code: blamed.map_or_else(|| json::text(said, "code"), |file| file.code.clone()),
                message: blamed.map_or_else(|| json::text(said, "message"), |file| file.message.clone()),
                details: said["details"].clone(),
            }
        });
        let created = DateTime::parse_from_rfc3339(&json::text(job, "created_time"));
        Self {
            status,
            files,
            download_url: json::optional_text(&job["result"], "download_url"),
            created: created.ok().map(Into::into),
        }
    }
}

impl BulkWriteFile {
    fn from_json(resource: &Value) -> Self {
        let file = &resource["file"];
        let count = |key: &str| json::number(&file[key]).unwrap_or(0);
        Self {
            module: json::name_of(&resource["module"]).unwrap_or_default(),
            name: json::text(file, "name"),
            status: normalised(&json::text(resource, "status")),
            code: json::text(resource, "code"),
            message: json::text(resource, "message"),
            added: count("added_count"),
            updated: count("updated_count"),
            skipped: count("skipped_count"),
            total: count("total_count"),
        }
    }
}

impl Client {
    /// Uploads a ZIP for a later job; `zgid` is [`Org::zgid`](super::org::Org::zgid).
    ///
    /// # Errors
    ///
    /// `FILE_TOO_LARGE`, `INVALID_FILE_FORMAT`, [`ErrorKind::File`](crate::zoho::ErrorKind::File)
    /// when the ZIP cannot be read, and those of every call.
    pub async fn bulk_write_upload(&self, zip: &Path, zgid: &str) -> Result<FileId, Error> {
        let call =
            Call::upload("/crm/v8/upload", zip).header("feature", "bulk-write").header("x-crm-org", zgid);
        let value = self.fetch_value(&call).await?;
        match json::id(&unwrapped(&value)["details"]["file_id"]) {
            Some(id) => Ok(FileId::from(id)),
            None => Err(call.unclear("no file id in the answer")),
        }
    }

    /// Creates a job over uploaded files. Never repeated when it may have been executed.
    ///
    /// # Errors
    ///
    /// Refusals of the mapping, each naming what it blames, and those of every call; `in_doubt()`
    /// when the call was cut, or its answer holds no job id.
    pub async fn bulk_write_create(&self, request: &BulkWriteRequest) -> Result<JobId, Error> {
        let module = request.resources.first().map_or("", |resource| resource.module.as_str());
        let call = Call::new(Method::Post, "/crm/bulk/v8/write")
            .json(request.body().to_string().into_bytes())
            .price(Category::Data, BULK_WRITE_JOB)
            .module(module);
        let answer = self.execute(&call).await?;
        if !matches!(answer.status, 200..=299) {
            return Err(Refusal::read(&answer.body).into_error(&call, answer.status));
        }
        if let Some(refusal) = Refusal::hidden_in(&answer.body) {
            return Err(refusal.into_error(&call, answer.status));
        }
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match json::id(&unwrapped(&value)["details"]["id"]) {
            Some(id) => Ok(JobId::from(id)),
            None => Err(call.unclear("no job id in the answer")),
        }
    }

    /// Asks how far a job is. A completed job may have refused rows; the result file says which.
    ///
    /// # Errors
    ///
    /// `RESOURCE_NOT_FOUND` for a job that is unknown or too old, and those of every call.
    pub async fn bulk_write_status(&self, id: &JobId) -> Result<BulkWriteJob, Error> {
        let call = Call::get(format!("/crm/bulk/v8/write/{}", segment(id.as_str())))
            .price(Category::Polls, CALL)
            .job(id.as_str());
        let value = self.fetch_value(&call).await?;
        let job = unwrapped(&value);
        if job["status"].is_null() {
            return Err(call.unclear("no job in the answer"));
        }
        Ok(BulkWriteJob::from_json(job))
    }

    /// Fetches a result file, going on after cuts; answers its size in bytes.
    ///
    /// A relative address is looked up at the download host first, then at the API host: sources
    /// differ on where it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Download`](crate::zoho::ErrorKind::Download) when it stays incomplete,
    /// [`ErrorKind::ForeignHost`](crate::zoho::ErrorKind::ForeignHost) when it lies outside of
    /// Zoho, and those of every call.
    pub async fn bulk_write_download(&self, url: &str, to: &Path) -> Result<u64, Error> {
        if url.contains("://") {
            return self.fetch_file(&Call::download(url), to).await;
        }
        let mut bases = self.download_bases().await?;
        let last = bases.pop().unwrap_or_default();
        let path = url.trim_start_matches('/');
        for base in bases {
            match self.fetch_file(&Call::download(&format!("{base}/{path}")).once(), to).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tracing::debug!(%error, "the result is looked up at the next host"),
            }
        }
        self.fetch_file(&Call::download(&format!("{last}/{path}")), to).await
    }
}

#[cfg(test)]
mod tests {
    use super::{BulkOperation, BulkWriteJob, BulkWriteRequest, BulkWriteResource, FieldMapping, JobState};
    use serde_json::json;

    #[test]
    fn a_request_says_only_what_is_set() {
        let mapping =
            |name: &str, index| FieldMapping { api_name: name.to_owned(), index, ..FieldMapping::default() };
        let request = BulkWriteRequest {
            operation: BulkOperation::Upsert,
            ignore_empty: false,
            resources: vec![BulkWriteResource {
                module: "Contacts".to_owned(),
                file_id: "48".into(),
                file_names: Vec::new(),
                find_by: Some("Email".to_owned()),
                field_mappings: vec![
                    mapping("Email", Some(0)),
                    FieldMapping { default_value: Some(json!("Import")), ..mapping("Lead_Source", None) },
                ],
            }],
        };
        assert_eq!(
            request.body()["resource"][0],
            json!({"type": "data", "module": {"api_name": "Contacts"}, "file_id": "48", "ignore_empty": false, "find_by": "Email",
                "field_mappings": [{"api_name": "Email", "index": 0},
                    {"api_name": "Lead_Source", "default_value": {"value": "Import"}}]})
        );
        assert_eq!(request.body()["operation"], "upsert");
    }

    #[test]
    fn counts_and_states_are_read() {
        let job = BulkWriteJob::from_json(
            &json!({"status": "COMPLETED", "result": {"download_url": "/v8/crm/org1/r.zip"},
            "resource": [{"status": "COMPLETED", "code": "SUCCESS", "module": {"api_name": "Contacts"},
                "file": {"name": "contacts.csv", "added_count": 2, "updated_count": "1", "skipped_count": 1, "total_count": 4}}]}),
        );
        assert_eq!(job.status, JobState::Completed);
        assert_eq!((job.files[0].added, job.files[0].updated, job.files[0].total), (2, 1, 4));
        let failed = BulkWriteJob::from_json(&json!({"status": "FAILED", "result": null,
            "resource": [{"status": "FAILED", "code": "INVALID_FILE_FORMAT", "message": "no CSV", "module": "Contacts", "file": {}}]}));
        let JobState::Failure(failure) = failed.status else { panic!("{failed:?}") };
        assert_eq!((failure.code.as_str(), failed.download_url), ("INVALID_FILE_FORMAT", None));
    }
}
