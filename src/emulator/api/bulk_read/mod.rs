//! `/crm/bulk/{version}/read`: jobs that write a module into a zipped CSV.
//!
//! Follows "Bulk Read": create, status, download. What a query may say is in [`query`] and
//! [`criteria`], the file in [`export`], the times of a job in [`crate::emulator::jobs`]. The rows
//! are read at the moment the job starts to run. ICS files are not made.

pub mod criteria;
pub mod export;
pub mod query;

use super::bulk_write::request::callback;
use crate::emulator::coql::Refusal;
use crate::emulator::faults::Kind;
use crate::emulator::jobs::{JobTimes, Phase, Slot, Work, run_later};
use crate::emulator::prepared::Prepared;
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::state::{App, AppState, Call, Org};
use crate::emulator::store::View;
use crate::emulator::switches::{PageTokens, Switches};
use crate::emulator::time::{Zone, datetime_text};
use crate::emulator::value::Id;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path as UrlPath;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use export::{Export, Written};
use query::ReadQuery;
use serde_json::{Value as Json, json};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempPath;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// How long a result can be fetched, in milliseconds.
const KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// Bytes of a file that are read and sent at a time.
const SENT_BYTES: usize = 256 * 1024;

/// Credits of a create call.
const PRICE: u64 = 50;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/bulk/{version}/read", post(create))
        .route("/crm/bulk/{version}/read/{job}", get(status))
        .route("/crm/bulk/{version}/read/{job}/result", get(download))
}

/// One job.
#[derive(Debug)]
pub struct ReadJob {
    /// Its id.
    pub id: Id,
    /// When it waits, runs and ends.
    pub slot: Slot,
    created: i64,
    user: Id,
    zone: Zone,
    query: ReadQuery,
    fails: bool,
    outcome: Mutex<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Pending,
    Done { written: Written, file: ResultFile },
    Failed,
}

/// The file of a finished job.
#[derive(Debug)]
enum ResultFile {
    Made(TempPath),
    Prepared(PathBuf),
}

impl ResultFile {
    fn path(&self) -> &Path {
        match self {
            Self::Made(path) => path,
            Self::Prepared(path) => path,
        }
    }
}

/// Where the page behind a finished job starts.
#[derive(Debug, Clone)]
pub struct PageToken {
    query: ReadQuery,
    user: Id,
    issued: i64,
}

async fn create(call: Call, body: Bytes) -> Answer {
    let is_json = call.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if !is_json {
        return Err(Reply::error(415, "MEDIA_TYPE_NOT_SUPPORTED", "media type is not supported", json!({})));
    }
    let body = query::read_body(&body)?;
    call.charge(PRICE)?;
    let switches = call.app.switches();
    // Checked as Zoho does; nothing is sent there.
    callback(body.get("callback"))?;
    let now = call.app.clock.now_ms();
    let query = match body["query"]["page_token"].as_str() {
        Some(token) => continued(&call, &body["query"], token, now)?,
        None => query::parse(&body, &call.org.read().schema, &switches)?,
    };
    let id = call.org.write().next_id();
    let mut jobs = call.org.jobs();
    let mut slot = jobs.read_schedule.admit(now, JobTimes::of(&call, switches.jobs_side_by_side));
    if call.fired.get(Kind::StuckJob).is_some() {
        slot.ends = i64::MAX;
    }
    let job = ReadJob {
        id,
        slot,
        created: now,
        user: call.user,
        zone: call.zone,
        query,
        fails: call.fired.get(Kind::JobFailure).is_some(),
        outcome: Mutex::new(Outcome::Pending),
    };
    let job = Arc::new(job);
    jobs.reads.insert(id, Arc::clone(&job));
    jobs.enqueue(slot.starts, Work::Read(job));
    drop(jobs);
    run_later(&call.app, &call.org, slot.starts - now);
    let details = json!({
        "id": id.to_string(),
        "operation": "read",
        "state": "ADDED",
        "created_by": user(&call.org, call.user),
        "created_time": datetime_text(now / 1_000, call.zone),
    });
    let added = json!({"status": "success", "code": "ADDED_SUCCESSFULLY", "message": "Added successfully.",
        "details": details});
    Ok(Reply::json(201, &json!({"data": [added], "info": {}})))
}

pub(super) fn user(org: &Org, id: Id) -> Json {
    let name = org.read().user(id).map(crate::emulator::directory::User::full_name);
    json!({"id": id.to_string(), "name": name})
}

/// The query of a job that sends a token and nothing else.
fn continued(call: &Call, query: &Json, token: &str, now: i64) -> Result<ReadQuery, Reply> {
    if query.as_object().is_some_and(|query| query.len() > 1) {
        let message = "page_token cannot be combined with other keys";
        return Err(Refusal::new("QUERY_NOT_SUPPORTED", message, json!({"api_name": "page_token"})).into());
    }
    let known = call.org.jobs().read_tokens.get(token).cloned();
    let known = known.filter(|known| known.user == call.user);
    let Some(known) = known else {
        return Err(Refusal::new("INVALID_REQUEST", "the page token is not valid", json!({})).into());
    };
    if now - known.issued >= KEPT_MS || call.fired.get(Kind::ExpiredPageToken).is_some() {
        return Err(Refusal::new(
            "EXPIRED_VALUE",
            "the page token has expired",
            json!({"api_name": "page_token"}),
        )
        .into());
    }
    Ok(known.query)
}

impl ReadJob {
    /// Reads the rows. To be called once, off the async threads.
    pub fn run(&self, app: &App, org: &Org) {
        let outcome =
            if self.fails { Outcome::Failed } else { self.export(app, org).unwrap_or(Outcome::Failed) };
        if let Outcome::Done { written, .. } = &outcome
            && written.more
        {
            let query = self.query.next_page(written, app.switches().page_tokens == PageTokens::Keyset);
            let token = PageToken { query, user: self.user, issued: app.clock.now_ms() };
            org.jobs().read_tokens.insert(self.next_page_token(), token);
        }
        *self.outcome() = outcome;
    }

    fn export(&self, app: &App, org: &Org) -> io::Result<Outcome> {
        let store = org.read();
        if let Some(prepared) = self.prepared(org, store.view_at(self.query.module)) {
            let written = Written { count: prepared.rows, more: false, last: prepared.last };
            return Ok(Outcome::Done { written, file: ResultFile::Prepared(prepared.path.clone()) });
        }
        let (file, path) = tempfile::NamedTempFile::new_in(&app.spool)?.into_parts();
        let export = Export {
            columns: &self.query.columns,
            filter: self.query.filter.as_ref(),
            after: self.query.after,
            skip: self.query.skip,
            limit: self.query.page_size,
            zone: self.zone,
            byte_order_mark: app.switches().bulk_read_byte_order_mark,
        };
        let written =
            export.write_zip(store.view_at(self.query.module), &format!("{}.csv", self.id), file)?;
        Ok(Outcome::Done { written, file: ResultFile::Made(path) })
    }

    /// The prepared file that is just what this job asks for.
    fn prepared<'o>(&self, org: &'o Org, view: View<'_>) -> Option<&'o Prepared> {
        let ReadQuery { module, after, skip, page_size, .. } = self.query;
        let files = org.prepared.iter().filter(|(of, _)| *of == module && skip == 0);
        let mut files = files.map(|(_, file)| file);
        files.find(|file| file.answers(view, self.query.filter.as_ref(), after, page_size))
    }

    /// Opaque to clients; the id in it is only for people who debug.
    fn next_page_token(&self) -> String {
        let mixed = crate::emulator::data::mix(self.id);
        format!("{:x}{:016x}{:016x}", self.id, mixed, crate::emulator::data::mix(mixed))
    }

    fn state(&self, now: i64) -> &'static str {
        match self.slot.phase(now) {
            Phase::Added => "ADDED",
            Phase::Queued => "QUEUED",
            Phase::Running => "IN PROGRESS",
            Phase::Ended => match *self.outcome() {
                Outcome::Pending => "IN PROGRESS",
                Outcome::Failed => "FAILURE",
                Outcome::Done { .. } => "COMPLETED",
            },
        }
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().expect("nothing panics while it holds the outcome of a job")
    }

    fn describe(&self, call: &Call, now: i64, switches: &Switches) -> Json {
        let state = self.state(now);
        let mut job = json!({
            "id": self.id.to_string(),
            "operation": "read",
            "state": state,
            "file_type": "csv",
            "query": self.query.echo,
            "created_by": user(&call.org, self.user),
            "created_time": datetime_text(self.created / 1_000, self.zone),
        });
        if let Some(result) = self.result(call.version, state, switches) {
            job["result"] = result;
        }
        job
    }

    fn result(&self, version: u8, state: &str, switches: &Switches) -> Option<Json> {
        let mut result = json!({
            "page": self.query.page,
            "per_page": self.query.page_size,
            "count": 0,
            "download_url": format!("/crm/bulk/v{version}/read/{}/result", self.id),
            "more_records": false,
        });
        match (&*self.outcome(), state) {
            (Outcome::Failed, "FAILURE") => {
                Some(json!({"error_message": {"status": "error", "code": "INTERNAL_ERROR",
                "message": "the job could not be completed", "details": {}}}))
            }
            (Outcome::Done { written, .. }, "COMPLETED") => {
                result["count"] = written.count.into();
                result["more_records"] = written.more.into();
                if written.more {
                    result["next_page_token"] = self.next_page_token().into();
                }
                Some(result)
            }
            _ => switches.bulk_read_early_result.then_some(result),
        }
    }
}

fn find(call: &Call, job: &str) -> Result<Arc<ReadJob>, Reply> {
    let found = job.parse::<Id>().ok().and_then(|id| call.org.jobs().reads.get(&id).cloned());
    found.ok_or_else(|| not_found(job))
}

pub(super) fn not_found(job: &str) -> Reply {
    Reply::error(404, "RESOURCE_NOT_FOUND", "the resource is not found", json!({"resource": job}))
}

async fn status(call: Call, UrlPath((_, job)): UrlPath<(String, String)>) -> Answer {
    let switches = call.app.switches();
    call.charge(switches.bulk_call_credits[0])?;
    let job = find(&call, &job)?;
    Ok(Reply::json(200, &json!({"data": [job.describe(&call, call.app.clock.now_ms(), &switches)]})))
}

async fn download(call: Call, UrlPath((_, job)): UrlPath<(String, String)>) -> Result<Response, Reply> {
    call.charge(call.app.switches().bulk_call_credits[1])?;
    let now = call.app.clock.now_ms();
    if !call.org.meter.download(now) {
        return Err(Reply::too_many_requests());
    }
    let found = find(&call, &job)?;
    let expired =
        now >= found.slot.ends.saturating_add(KEPT_MS) || call.fired.get(Kind::ExpiredResult).is_some();
    if expired || found.state(now) != "COMPLETED" {
        return Err(not_found(&job));
    }
    let range = call.header("range").map(str::to_owned);
    let name = format!("{}.zip", found.id);
    let work = tokio::task::spawn_blocking(move || match &*found.outcome() {
        Outcome::Done { file, .. } => zip_part(file.path(), &name, range.as_deref()),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    work.await.ok().and_then(Result::ok).ok_or_else(|| not_found(&job))
}

/// A file, or the part of it that a `Range` header asks for, read as it is sent.
pub(super) fn zip_part(path: &Path, name: &str, range: Option<&str>) -> io::Result<Response> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let disposition = format!("attachment; filename={name}");
    let with_headers = |reply: Reply| {
        reply.with_header("accept-ranges", "bytes").with_header("content-disposition", disposition.clone())
    };
    let (status, from, length) = match range.and_then(|range| range.strip_prefix("bytes=")) {
        None => (200, 0, size),
        Some(range) => match byte_range(range, size) {
            Some((from, to)) => (206, from, to - from + 1),
            None => {
                let refused = with_headers(Reply::empty(416));
                return Ok(refused.with_header("content-range", format!("bytes */{size}")).into_response());
            }
        },
    };
    file.seek(SeekFrom::Start(from))?;
    let mut reply = with_headers(Reply::bytes(status, "application/zip", Vec::new()))
        .with_header("content-length", length.to_string());
    if status == 206 {
        let part = format!("bytes {from}-{}/{size}", from + length - 1);
        reply = reply.with_header("content-range", part);
    }
    let body = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(length), SENT_BYTES);
    let mut response = reply.into_response();
    *response.body_mut() = Body::from_stream(body);
    Ok(response)
}

/// First and last byte of `5-9`, `5-` or `-5`; `None` when the file has no such part.
fn byte_range(range: &str, size: u64) -> Option<(u64, u64)> {
    let (from, to) = range.split_once('-')?;
    let last = size.checked_sub(1)?;
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => (from, to.min(last)),
        (Ok(from), Err(_)) if to.is_empty() => (from, last),
        (Err(_), Ok(count)) if from.is_empty() && count > 0 => (size.saturating_sub(count), last),
        _ => return None,
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::byte_range;

    #[test]
    fn ranges() {
        assert_eq!(byte_range("0-", 10), Some((0, 9)));
        assert_eq!(byte_range("4-5", 10), Some((4, 5)));
        assert_eq!(byte_range("4-99", 10), Some((4, 9)));
        assert_eq!(byte_range("-3", 10), Some((7, 9)));
        for bad in ["10-", "5-4", "-", "x-y", "-0"] {
            assert_eq!(byte_range(bad, 10), None, "{bad}");
        }
        assert_eq!(byte_range("0-", 0), None);
    }
}
