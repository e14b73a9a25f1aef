//! Reading by Bulk Read: a job writes a file of up to 200,000 rows, ascending by id. Follows Zoho's
//! pages "Bulk Read Overview" and following.
//!
//! More rows than one job takes are divided into windows over the id, each with its own job. A few
//! windows are under way at a time ([`flight`]), their rows are written strictly in order, and each
//! is a part of STATE from the moment on that its job exists. Where boundaries cannot be had
//! ([`windows`]), the next job starts behind the last id of a file, before that file is written.

mod file;
mod flight;
pub mod jobs;
pub mod windows;

use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::output::StreamOutput;
use super::plan::MODIFIED_TIME;
use super::reader::{Outcome, Reading};
use super::state::{Edge, Span, precedes, text};
use crate::codec::archive::CsvArchive;
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::zoho;
use crate::zoho::api::bulk_read::BulkReadQuery;
use file::ResultFile;
use flight::{Flight, Landed};
use serde_json::{Value, json};
use std::collections::VecDeque;
use windows::Windows;

/// Windows of a stream that have a job or a file at a time: enough to keep Zoho busy while one is
/// written, few enough that the files stay small change on any disk.
const WINDOWS_AT_ONCE: usize = 4;
/// Rows between two looks at whether we are told to stop.
const LOOK_EVERY: u64 = 1_024;

/// Reads what is left of the window. `rows` is how many rows that will be, if somebody counted.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    rows: Option<u64>,
) -> Result<Outcome, Error> {
    if reading.progress.spans.is_empty() {
        reading.progress.spans.push(Span::default());
    }
    let mut pipeline = Pipeline { context, lanes: VecDeque::new(), windows: Windows::new(rows) };
    let outcome = pipeline.run(reading, output).await?;
    reading.progress.spans.clear();
    Ok(outcome)
}

/// What a window has, besides what STATE holds of it.
#[derive(Default)]
struct Lane {
    flight: Option<Flight>,
    files: Vec<ResultFile>,
    has_failed: bool,
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.flight.is_none() && self.files.is_empty()
    }
}

/// The windows under way, in the order of the reading's spans.
struct Pipeline<'c> {
    context: &'c Context,
    lanes: VecDeque<Lane>,
    windows: Windows,
}

impl Pipeline<'_> {
    async fn run(&mut self, reading: &mut Reading<'_>, output: &mut StreamOutput) -> Result<Outcome, Error> {
        while !reading.progress.spans.is_empty() {
            if let Some(reason) = self.launch(reading, output).await? {
                return Ok(Outcome::Refused(reason));
            }
            if !self.land(reading).await? {
                continue;
            }
            if let Some(reason) = self.objection(reading) {
                return Ok(Outcome::Refused(reason));
            }
            if self.goes_on(reading).await? {
                // What follows is asked for before this window is written.
                self.launch(reading, output).await?;
            }
            self.emit(reading, output)?;
            self.done(reading);
        }
        Ok(Outcome::Complete)
    }

    /// Gives the first windows their jobs. Answers why the first of them cannot have one.
    async fn launch(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Option<String>, Error> {
        for at in 0..WINDOWS_AT_ONCE {
            if self.lanes.len() == at {
                self.lanes.push_back(Lane::default());
            }
            if !self.lanes[at].is_idle() {
                continue;
            }
            let Some(span) = reading.progress.spans.get(at) else { break };
            let is_new = span.jobs.is_empty();
            if is_new {
                if span.up_to.is_none() {
                    self.windows.divide(self.context, reading).await?;
                }
                match create(self.context, reading, at).await {
                    Ok(job) => reading.progress.spans[at].jobs.push(job),
                    // It gets another chance when everything before it is written.
                    Err(NoJob::Refused(_) | NoJob::NoCredits(_)) if at > 0 => break,
                    Err(NoJob::Refused(reason)) => return Ok(Some(reason)),
                    Err(NoJob::NoCredits(error) | NoJob::Failed(error)) => return Err(error),
                }
                // The job is paid for: whoever goes on after us has to find it.
                output.checkpoint(reading.bookmark())?;
            }
            let jobs = reading.progress.spans[at].jobs.clone();
            self.lanes[at].flight =
                Some(Flight::launch(self.context, &reading.plan.stream, jobs, is_new, at));
        }
        Ok(None)
    }

    /// Waits for the files of the first window; answers whether they are here, or have to be asked for
    /// again.
    async fn land(&mut self, reading: &mut Reading<'_>) -> Result<bool, Error> {
        let stream = &reading.plan.stream;
        let (lane, span) = (&mut self.lanes[0], &mut reading.progress.spans[0]);
        let Some(flight) = &mut lane.flight else { return Ok(!lane.files.is_empty()) };
        let landed = flight.landed().await?;
        lane.flight = None;
        match landed {
            Landed::Files(files) => {
                lane.files = files;
                return Ok(true);
            }
            Landed::Failed(job_id, failure) if lane.has_failed => {
                let (stream, code, message) = (stream.clone(), failure.code, failure.message);
                return Err(Error::JobFailed { stream, job_id, code, message });
            }
            Landed::Failed(job, _) => {
                lane.has_failed = true;
                tracing::warn!(stream, job, "job failed, one more is tried");
            }
            Landed::Gone(job) => {
                tracing::warn!(
                    stream,
                    job,
                    "the job's result is no longer kept, its rows are asked for again"
                );
            }
        }
        (span.jobs, span.rows_out) = (Vec::new(), 0);
        Ok(false)
    }

    /// Why the files of the first window cannot be relied on: what follows hangs on their ids.
    fn objection(&self, reading: &Reading<'_>) -> Option<String> {
        let span = &reading.progress.spans[0];
        let after = reading.progress.floor().unwrap_or_default();
        let up_to = match &span.up_to {
            Some(Edge::Id(id)) => Some(id.as_str()),
            _ => reading.progress.window.bounds.upto.as_deref(),
        };
        for ResultFile { rows, more, .. } in &self.lanes[0].files {
            if *more && !rows.ascend {
                return Some("its rows do not ascend by id".into());
            }
            let (Some(first), Some(last)) = (rows.first.as_deref(), rows.last.as_deref()) else {
                if *more {
                    return Some("it has more rows, and hands over none".into());
                }
                continue;
            };
            let within = precedes(after.as_bytes(), first.as_bytes())
                && up_to.is_none_or(|up_to| !precedes(up_to.as_bytes(), last.as_bytes()));
            if rows.ascend && !within {
                return Some("it does not heed criteria on the id".into());
            }
        }
        None
    }

    /// Ends the first window where its files end, if rows were left out; the rest of it becomes the
    /// second one.
    async fn goes_on(&mut self, reading: &mut Reading<'_>) -> Result<bool, Error> {
        let ends = self.lanes[0].files.iter().filter(|file| file.more);
        let ends = ends.filter_map(|file| file.rows.last.clone().map(|last| (last, file.rows.count)));
        let end = ends.min_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        let Some((end, rows)) = end else { return Ok(false) };
        let edge = Some(Edge::Id(end.clone()));
        let rest = std::mem::replace(&mut reading.progress.spans[0].up_to, edge.clone());
        if rest == edge {
            return Ok(false);
        }
        if rest.is_none() {
            self.windows.took(self.context, reading, rows, &end).await?;
        }
        reading.progress.spans.insert(1, Span { up_to: rest, ..Span::default() });
        self.lanes.insert(1, Lane::default());
        Ok(true)
    }

    /// Writes the rows of the first window that are not out yet.
    fn emit(&self, reading: &mut Reading<'_>, output: &mut StreamOutput) -> Result<(), Error> {
        let context = self.context;
        context.observer.doing(&reading.plan.stream, "Bulk Read");
        output.extracted_at(&text(context.server_time()));
        tokio::task::block_in_place(|| {
            for file in &self.lanes[0].files {
                emit_file(context, reading, output, file)?;
            }
            context.observer.rows(&reading.plan.stream, output.rows());
            Ok(())
        })
    }

    /// The first window is written.
    fn done(&mut self, reading: &mut Reading<'_>) {
        let last =
            self.lanes.pop_front().and_then(|lane| lane.files.into_iter().find_map(|file| file.rows.last));
        let span = reading.progress.spans.remove(0);
        match span.up_to {
            Some(Edge::Id(id)) => reading.progress.after_id = Some(id),
            _ => reading.progress.after_id = last.or(reading.progress.after_id.take()),
        }
    }
}

fn emit_file(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    file: &ResultFile,
) -> Result<(), Error> {
    let plan = reading.plan;
    let decode = |source: DecodeError| Error::Decode { stream: plan.stream.clone(), source };
    let damaged = file.damaged(&plan.stream);
    let mut archive = CsvArchive::open(file.path()).map_err(&damaged)?;
    let mut decoder = CsvDecoder::new(archive.csv().map_err(&damaged)?, &plan.columns).map_err(decode)?;
    while decoder.advance().map_err(decode)? {
        if decoder.row_number() <= reading.progress.spans[0].rows_out {
            continue;
        }
        output.record(|out| decoder.write(out).map_err(decode))?;
        reading.progress.spans[0].rows_out = decoder.row_number();
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
    Ok(())
}

/// Why a job could not be created.
enum NoJob {
    /// The server does not take it: another way may do.
    Refused(String),
    /// There are none left to pay for it.
    NoCredits(Error),
    Failed(Error),
}

/// Creates the job of a window.
async fn create(context: &Context, reading: &Reading<'_>, at: usize) -> Result<String, NoJob> {
    let stream = &reading.plan.stream;
    let query = BulkReadQuery {
        module: reading.plan.module.clone(),
        fields: reading.plan.fields(),
        criteria: criteria(reading, at),
        ..BulkReadQuery::default()
    };
    match context.call(context.client.bulk_read_create(&query)).await {
        Ok(job) => {
            tracing::debug!(stream, job = job.as_str(), "bulk read job is created");
            Ok(job.to_string())
        }
        Err(CallError::Failed(error)) if refuses(&error) => Err(NoJob::Refused(error.to_string())),
        Err(CallError::Failed(error)) if error.class() == ErrorClass::Quota => {
            Err(NoJob::NoCredits(in_stream(stream)(CallError::Failed(error))))
        }
        Err(error) => Err(NoJob::Failed(in_stream(stream)(error))),
    }
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

/// What a window's job is limited to.
fn criteria(reading: &Reading<'_>, at: usize) -> Option<Value> {
    let condition = |field: &str, comparator: &str, value: &str| json!({"field": {"api_name": field}, "comparator": comparator, "value": value});
    let progress = &reading.progress;
    let before = at.checked_sub(1).and_then(|before| progress.spans[before].up_to.clone());
    let before = before.or(progress.floor().map(|id| Edge::Id(id.to_owned())));
    let mut all = Vec::new();
    if let Some(from) = progress.window.from.map(text) {
        let from = format!("{}+00:00", from.trim_end_matches('Z'));
        all.push(condition(MODIFIED_TIME, "greater_equal", &from));
    }
    if let Some(Edge::Id(id)) = before {
        all.push(condition("id", "greater_than", &id));
    }
    let up_to = match &progress.spans[at].up_to {
        Some(Edge::Id(id)) => Some(id),
        _ => progress.window.bounds.upto.as_ref(),
    };
    if let Some(id) = up_to {
        all.push(condition("id", "less_equal", id));
    }
    if all.len() < 2 { all.pop() } else { Some(json!({"group_operator": "and", "group": all})) }
}
