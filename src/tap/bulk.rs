//! Reading by Bulk Read: a job writes a file of up to 200,000 rows, ascending by id; the next job
//! starts after its last id. Follows Zoho's pages "Bulk Read Overview" and following.

use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::incremental::precedes;
use super::output::StreamOutput;
use super::plan::MODIFIED_TIME;
use super::reader::{Outcome, Reading};
use super::state::{JobProgress, text};
use crate::codec::archive::{ArchiveError, CsvArchive};
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::zoho;
use crate::zoho::api::bulk_read::{BulkReadQuery, BulkReadResult};
use crate::zoho::api::{JobFailure, JobState};
use crate::zoho::types::JobId;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Polls begin at this interval and double to [`LONGEST_POLL`].
const FIRST_POLL: Duration = Duration::from_millis(100);
const LONGEST_POLL: Duration = Duration::from_secs(30);
/// Rows between two looks at whether we are told to stop.
const LOOK_EVERY: u64 = 1_024;

/// What became of a job.
enum Awaited {
    Done(BulkReadResult),
    Failed(JobFailure),
    /// The server does not know it (any more).
    Gone,
}

/// Reads what is left of the window.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
) -> Result<Outcome, Error> {
    let mut failed = false;
    loop {
        let job = match reading.progress.job.clone() {
            Some(job) => job,
            None => match create(context, reading, output).await? {
                Ok(job) => job,
                Err(reason) => return Ok(Outcome::Refused(reason)),
            },
        };
        let result = match wait(context, reading, &job).await? {
            Awaited::Done(result) => result,
            Awaited::Failed(_) if !failed => {
                failed = true;
                tracing::warn!(stream = reading.plan.stream, job = job.id, "job failed, one more is tried");
                reading.progress.job = None;
                continue;
            }
            Awaited::Failed(JobFailure { code, message, .. }) => {
                let stream = reading.plan.stream.clone();
                return Err(Error::JobFailed { stream, job_id: job.id, code, message });
            }
            Awaited::Gone => {
                expired(reading, &job);
                continue;
            }
        };
        let last = match fetch(context, reading, &job, &result).await? {
            Some(file) => emit(context, reading, output, &job, &file)?,
            None => {
                expired(reading, &job);
                continue;
            }
        };
        match last {
            Some(last) => reading.progress.after_id = last.or(reading.progress.after_id.take()),
            None if result.more_records => {
                return Ok(Outcome::Refused("its rows do not ascend by id".into()));
            }
            None => {}
        }
        reading.progress.job = None;
        if !result.more_records {
            return Ok(Outcome::Complete);
        }
    }
}

fn expired(reading: &mut Reading<'_>, job: &JobProgress) {
    tracing::warn!(
        stream = reading.plan.stream,
        job = job.id,
        "the job's result is no longer kept, its rows are asked for again"
    );
    reading.progress.job = None;
}

async fn create(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
) -> Result<Result<JobProgress, String>, Error> {
    let query = BulkReadQuery {
        module: reading.plan.module.clone(),
        fields: reading.plan.fields(),
        criteria: criteria(reading),
        ..BulkReadQuery::default()
    };
    let id = match context.call(context.client.bulk_read_create(&query)).await {
        Err(CallError::Failed(error)) if refuses(&error) => return Ok(Err(error.to_string())),
        answer => answer.map_err(in_stream(&reading.plan.stream))?,
    };
    let job = JobProgress { id: id.to_string(), rows_out: 0 };
    tracing::debug!(stream = reading.plan.stream, job = job.id, "bulk read job is created");
    reading.progress.job = Some(job.clone());
    // The job is paid for: whoever goes on after us has to find it.
    output.checkpoint(reading.bookmark())?;
    Ok(Ok(job))
}

fn refuses(error: &zoho::Error) -> bool {
    const CODES: [&str; 12] = [
        "MODULE_NOT_SUPPORTED",
        "MODULE_NOT_AVAILABLE",
        "FIELD_NOT_SUPPORTED",
        "FIELD_NOT_AVAILABLE",
        "FIELD_IN_CRITERIA_NOT_AVAILABLE",
        "FIELD_IN_CRITERIA_NOT_SUPPORTED",
        "FIELD_COMPARATOR_IN_CRITERIA_NOT_SUPPORTED",
        "COMPARATOR_AND_VALUE_IN_CRITERIA_NOT_COMPATIBLE",
        "INVALID_CRITERIA",
        "JOB_NOT_SUPPORTED",
        "API_NOT_SUPPORTED",
        "OAUTH_SCOPE_MISMATCH",
    ];
    error.code().is_some_and(|code| CODES.contains(&code))
}

fn criteria(reading: &Reading<'_>) -> Option<Value> {
    let condition = |field: &str, comparator: &str, value: &str| json!({"field": {"api_name": field}, "comparator": comparator, "value": value});
    let from = reading.progress.window.from.map(text);
    let from = from.map(|time| format!("{}+00:00", time.trim_end_matches('Z')));
    let from = from.map(|time| condition(MODIFIED_TIME, "greater_equal", &time));
    let after = reading.progress.floor().map(|id| condition("id", "greater_than", id));
    let upto = &reading.progress.window.bounds.upto;
    let upto = upto.as_deref().map(|id| condition("id", "less_equal", id));
    let mut conditions: Vec<Value> = [from, after, upto].into_iter().flatten().collect();
    match conditions.len() {
        0 | 1 => conditions.pop(),
        _ => Some(json!({"group_operator": "and", "group": conditions})),
    }
}

async fn wait(context: &Context, reading: &Reading<'_>, job: &JobProgress) -> Result<Awaited, Error> {
    let stream = &reading.plan.stream;
    let id = JobId::from(job.id.as_str());
    let mut interval = FIRST_POLL;
    loop {
        let status = match context.call(context.client.bulk_read_status(&id)).await {
            Err(CallError::Failed(error)) if is_gone(&error) => return Ok(Awaited::Gone),
            answer => answer.map_err(in_stream(stream))?,
        };
        let doing = match status.state {
            JobState::Completed => match status.result {
                Some(result) => return Ok(Awaited::Done(result)),
                None => "finishing",
            },
            JobState::Failure(failure) => return Ok(Awaited::Failed(failure)),
            JobState::InProgress => "running",
            JobState::Added | JobState::Queued => "queued",
        };
        context.observer.doing(stream, &format!("Bulk Read, {doing}"));
        context.pause(interval).await?;
        interval = (interval * 2).min(LONGEST_POLL);
    }
}

fn is_gone(error: &zoho::Error) -> bool {
    error.status() == Some(404) || matches!(error.code(), Some("RESOURCE_NOT_FOUND" | "EXPIRED_VALUE"))
}

/// Downloads the result and proves it whole; once more if it is not. `None`: it is no longer kept.
async fn fetch(
    context: &Context,
    reading: &Reading<'_>,
    job: &JobProgress,
    result: &BulkReadResult,
) -> Result<Option<NamedTempFile>, Error> {
    let stream = &reading.plan.stream;
    let mut again = true;
    loop {
        context.observer.doing(stream, "Bulk Read, downloading");
        let file = spool(context)?;
        match context.call(context.client.bulk_read_download(&result.download_url, file.path(), 0)).await {
            Err(CallError::Failed(error)) if is_gone(&error) => return Ok(None),
            answer => answer.map_err(in_stream(stream))?,
        };
        match tokio::task::block_in_place(|| CsvArchive::open(file.path())?.verify()) {
            Ok(rows) if rows == result.count => return Ok(Some(file)),
            _ if again => again = false,
            Ok(found) => {
                let (stream, job_id) = (stream.clone(), job.id.clone());
                return Err(Error::RowCount { stream, job_id, expected: result.count, found });
            }
            Err(source) => return Err(damaged(reading, job)(source)),
        }
    }
}

fn spool(context: &Context) -> Result<NamedTempFile, Error> {
    let dir = context.spool_dir();
    let made = std::fs::create_dir_all(&dir).and_then(|()| NamedTempFile::new_in(&dir));
    made.map_err(|source| Error::File { path: dir, source })
}

fn damaged(reading: &Reading<'_>, job: &JobProgress) -> impl FnOnce(ArchiveError) -> Error {
    let (stream, job_id) = (reading.plan.stream.clone(), job.id.clone());
    |source| Error::Archive { stream, job_id, source }
}

/// Writes the rows of the file that are not out yet. Answers the last id, or none when the ids do
/// not ascend, so that nothing can be said about what follows.
fn emit(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    job: &JobProgress,
    file: &NamedTempFile,
) -> Result<Option<Option<String>>, Error> {
    let plan = reading.plan;
    let decode = |source: DecodeError| Error::Decode { stream: plan.stream.clone(), source };
    context.observer.doing(&plan.stream, "Bulk Read");
    output.extracted_at(&text(context.server_time()));
    tokio::task::block_in_place(|| {
        let mut archive = CsvArchive::open(file.path()).map_err(damaged(reading, job))?;
        let csv = archive.csv().map_err(damaged(reading, job))?;
        let mut decoder = CsvDecoder::new(csv, &plan.columns).map_err(decode)?;
        let id = plan.columns.position("id").expect("every plan begins with the id");
        let mut last = Vec::new();
        let mut ascends = true;
        while decoder.advance().map_err(decode)? {
            ascends &= precedes(&last, decoder.cell(id));
            last.clear();
            last.extend_from_slice(decoder.cell(id));
            if decoder.row_number() <= job.rows_out {
                continue;
            }
            output.record(|out| decoder.write(out).map_err(decode))?;
            reading.progress.job = Some(JobProgress { id: job.id.clone(), rows_out: decoder.row_number() });
            if decoder.row_number().is_multiple_of(LOOK_EVERY) {
                context.observer.rows(&plan.stream, output.rows());
                if context.shutdown.is_cancelled() {
                    return Err(Error::Interrupted);
                }
            }
            if output.is_due() {
                output.checkpoint(reading.bookmark())?;
            }
        }
        context.observer.rows(&plan.stream, output.rows());
        let last = (!last.is_empty()).then(|| String::from_utf8_lossy(&last).into_owned());
        Ok(ascends.then_some(last))
    })
}
