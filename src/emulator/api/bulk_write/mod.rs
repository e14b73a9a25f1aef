//! Jobs that write the rows of uploaded CSV files.
//!
//! Follows "Bulk Write": upload, create, status, result. The body of a create call is checked in
//! [`request`], the uploaded file in [`archive`]; [`run`] writes the rows and [`result`] the file that
//! says what became of them.

pub mod archive;
pub mod pattern;
pub mod request;
pub mod result;
pub mod run;

use crate::emulator::api::bulk_read::{not_found, user, zip_part};
use crate::emulator::convert::Rules as CellRules;
use crate::emulator::coql::Refusal;
use crate::emulator::faults::{Action, Kind, RowCode};
use crate::emulator::jobs::{JobTimes, Phase, Slot, Work, run_later};
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::state::{App, AppState, Call, Org};
use crate::emulator::store::Stamp;
use crate::emulator::switches::Switches;
use crate::emulator::time::{Zone, datetime_text};
use crate::emulator::value::Id;
use archive::Upload;
use axum::Router;
use axum::body::Bytes;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path as UrlPath};
use axum::response::Response;
use axum::routing::{get, post};
use request::Request;
use run::{FileResult, RowStatus};
use serde_json::{Value as Json, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tempfile::TempPath;

/// Largest ZIP, in bytes.
const MAX_ZIP: usize = 25 * 1024 * 1024;

/// How long a result can be fetched, in milliseconds.
const KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// Credits of a create call.
const PRICE: u64 = 500;

/// The routes of this file.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/upload", post(upload))
        .route("/crm/bulk/{version}/write", post(create))
        .route("/crm/bulk/{version}/write/{job}", get(status))
        // The only path of Zoho's that is not under /crm.
        .route("/{version}/crm/{org}/bulk-write/{job}/{file}", get(download))
}

/// One job.
#[derive(Debug)]
pub struct WriteJob {
    id: Id,
    slot: Slot,
    created: i64,
    user: Id,
    zone: Zone,
    request: Request,
    /// After how many rows it fails, if it does.
    fails: Option<usize>,
    /// Rows that are refused, if a fault says so.
    row_errors: Option<Action>,
    outcome: Mutex<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Pending,
    Done { files: Vec<FileResult>, zip: TempPath },
    Failed,
}

async fn upload(call: Call, multipart: Result<Multipart, MultipartRejection>) -> Answer {
    let switches = call.app.switches();
    call.charge(switches.bulk_call_credits[2])?;
    if call.header("feature") != Some("bulk-write")
        || call.header("x-crm-org") != Some(call.org.zgid.as_str())
    {
        return Err(wrong_headers());
    }
    let bytes = file_of(multipart).await.ok_or_else(wrong_format)?;
    if bytes.len() > MAX_ZIP {
        return Err(Reply::error(413, "FILE_TOO_LARGE", "File size too large to process", json!({})));
    }
    let app = Arc::clone(&call.app);
    let opened = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::NamedTempFile::new_in(&app.spool)?;
        file.write_all(&bytes)?;
        Upload::open(file.into_temp_path())
    });
    let upload = opened.await.ok().and_then(Result::ok).ok_or_else(wrong_format)?;
    let id = call.org.write().next_id().to_string();
    call.org.jobs().uploads.insert(id.clone(), (call.app.clock.now_ms(), Arc::new(upload)));
    let details = json!({"file_id": id, "created_time": datetime_text(call.app.clock.now(), call.zone)});
    let body = json!({"status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded.", "details": details});
    Ok(Reply::json(200, &body))
}

/// The first part that has anything in it, whatever its name.
async fn file_of(multipart: Result<Multipart, MultipartRejection>) -> Option<Bytes> {
    let mut multipart = multipart.ok()?;
    while let Ok(Some(part)) = multipart.next_field().await {
        let bytes = part.bytes().await.ok()?;
        if !bytes.is_empty() {
            return Some(bytes);
        }
    }
    None
}

fn wrong_headers() -> Reply {
    let error = "check if headers [feature, X-CRM-ORG] are present and valid";
    let body = json!({"ERROR_CODE": 400, "ERROR_MESSAGE": "Bad Request", "x-error": error, "info": "Forbidden",
        "x-info": "Link not valid", "http_status": "400"});
    Reply::json(400, &body)
}

fn wrong_format() -> Reply {
    let message = "invalid file format. only zip format is supported";
    Reply::error(400, "INVALID_FILE_FORMAT", message, json!({}))
}

async fn create(call: Call, body: Bytes) -> Answer {
    if !call.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Reply::error(415, "MEDIA_TYPE_NOT_SUPPORTED", "media type is not supported", json!({})));
    }
    let body: Json = serde_json::from_slice(&body).unwrap_or_default();
    call.charge(PRICE)?;
    let switches = call.app.switches();
    let known = call.org.jobs().uploads.clone();
    let oldest = call.app.clock.now_ms() - i64::from(switches.bulk_write_upload_seconds) * 1_000;
    let uploads =
        |id: &str| known.get(id).filter(|(at, _)| *at > oldest).map(|(_, upload)| Arc::clone(upload));
    let request = {
        let store = call.org.read();
        let rules = request::Rules {
            schema: &store.schema,
            uploads: &uploads,
            iso_dates: switches.bulk_write_iso_dates,
            linking_rows: switches.bulk_write_linking_rows as usize,
        };
        request::parse(&body, &rules)?
    };
    let now = call.app.clock.now_ms();
    let id = call.org.write().next_id();
    let mut jobs = call.org.jobs();
    let mut slot = jobs.write_schedule.admit(now, JobTimes::of(&call, switches.jobs_side_by_side));
    if call.fired.get(Kind::StuckJob).is_some() {
        slot.ends = i64::MAX;
    }
    let job = Arc::new(WriteJob {
        id,
        slot,
        created: now,
        user: call.user,
        zone: call.zone,
        request,
        fails: call.fired.get(Kind::JobFailure).map(|action| action.rows.unwrap_or(0)),
        row_errors: call.fired.get(Kind::RowErrors).cloned(),
        outcome: Mutex::new(Outcome::Pending),
    });
    jobs.writes.insert(id, Arc::clone(&job));
    jobs.enqueue(slot.starts, Work::Write(job));
    drop(jobs);
    run_later(&call.app, &call.org, slot.starts - now);
    let details = json!({"id": id.to_string(), "created_by": user(&call.org, call.user)});
    Ok(Reply::json(
        201,
        &json!({"status": "success", "code": "SUCCESS", "message": "success", "details": details}),
    ))
}

async fn status(call: Call, UrlPath((_, job)): UrlPath<(String, String)>) -> Answer {
    let switches = call.app.switches();
    call.charge(switches.bulk_call_credits[0])?;
    let job = find(&call, &job)?;
    Ok(Reply::json(200, &job.describe(&call, &switches)))
}

async fn download(
    call: Call,
    UrlPath((_, _, job, _)): UrlPath<(String, String, String, String)>,
) -> Result<Response, Reply> {
    call.charge(call.app.switches().bulk_call_credits[1])?;
    let now = call.app.clock.now_ms();
    let found = find(&call, &job)?;
    let expired =
        now >= found.slot.ends.saturating_add(KEPT_MS) || call.fired.get(Kind::ExpiredResult).is_some();
    if expired || found.slot.phase(now) != Phase::Ended {
        return Err(not_found(&job));
    }
    let range = call.header("range").map(str::to_owned);
    let name = format!("{job}.zip");
    let work = tokio::task::spawn_blocking(move || match &*found.outcome() {
        Outcome::Done { zip, .. } => zip_part(zip, &name, range.as_deref()),
        _ => Err(io::ErrorKind::NotFound.into()),
    });
    work.await.ok().and_then(Result::ok).ok_or_else(|| not_found(&job))
}

fn find(call: &Call, job: &str) -> Result<Arc<WriteJob>, Reply> {
    let found = job.parse::<Id>().ok().and_then(|id| call.org.jobs().writes.get(&id).cloned());
    found.ok_or_else(|| not_found(job))
}

impl WriteJob {
    /// Writes the rows. To be called once, off the async threads.
    pub fn run(&self, app: &App, org: &Org) {
        let switches = app.switches();
        let outcome = self.write(app, org, &switches).ok().filter(|_| self.fails.is_none());
        *self.outcome() = outcome.unwrap_or(Outcome::Failed);
    }

    fn write(&self, app: &App, org: &Org, switches: &Switches) -> io::Result<Outcome> {
        let rules = CellRules::new(switches, self.zone, true);
        let stamp = Stamp { now: app.clock.now(), user: self.user };
        let strike = || app.faults.strike(self.row_errors.as_ref(), &RowCode::OF_BULK);
        let files = if app.blind_writes {
            run::blind(&self.request, org)?
        } else {
            let most = self.fails.unwrap_or(usize::MAX);
            run::run(&self.request, org, &rules, stamp, &strike, most)?
        };
        let modules = {
            let store = org.read();
            let name = |resource: &request::Resource| store.schema.modules[resource.module].api_name.clone();
            self.request.resources.iter().map(name).collect::<Vec<_>>()
        };
        let (file, zip) = tempfile::NamedTempFile::new_in(&app.spool)?.into_parts();
        result::write(file, &self.request, &modules, &files, switches, app.seed ^ self.id)?;
        Ok(Outcome::Done { files, zip })
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().expect("nothing panics while it holds the outcome of a job")
    }

    fn describe(&self, call: &Call, switches: &Switches) -> Json {
        let outcome = self.outcome();
        let phase = self.slot.phase(call.app.clock.now_ms());
        let running = if switches.bulk_write_spaced_state { "IN PROGRESS" } else { "INPROGRESS" };
        let (status, files) = match (phase, &*outcome) {
            (Phase::Added | Phase::Queued, _) => ("ADDED", None),
            (Phase::Running, _) | (Phase::Ended, Outcome::Pending) => (running, None),
            (Phase::Ended, Outcome::Failed) => ("FAILED", None),
            (Phase::Ended, Outcome::Done { files, .. }) => ("COMPLETED", Some(files)),
        };
        let modules = call
            .org
            .read()
            .schema
            .modules
            .iter()
            .map(|module| (module.api_name.clone(), module.id))
            .collect::<Vec<_>>();
        let resources = self.request.resources.iter().enumerate().map(|(number, resource)| {
            let (name, id) = &modules[resource.module];
            resource.describe(name, *id, status, files.and_then(|files| files.get(number)))
        });
        let resources: Vec<Json> = resources.collect();
        let mut job = json!({
            "id": self.id.to_string(),
            "operation": self.request.operation.as_str(),
            "status": status,
            "character_encoding": self.request.encoding,
            "created_by": user(&call.org, self.user),
            "created_time": datetime_text(self.created / 1_000, self.zone),
            "resource": resources,
        });
        if let Some(callback) = &self.request.callback {
            job["callback"] = callback.clone();
        }
        if status == "COMPLETED" {
            job["result"] = json!({"download_url": self.url(call, switches)});
        }
        job
    }

    fn url(&self, call: &Call, switches: &Switches) -> String {
        let (id, org) = (self.id, &call.org.zgid);
        if switches.bulk_write_relative_url {
            format!("/v7/crm/org{org}/bulk-write/{id}/{id}.zip")
        } else {
            format!("{}/v2/crm/{org}/bulk-write/{id}/{id}.zip", call.app.base_url)
        }
    }
}

impl request::Resource {
    /// The resource as the status call shows it.
    fn describe(&self, module: &str, id: Id, status: &str, result: Option<&FileResult>) -> Json {
        let count = |wanted| result.map_or(0, |result| result.count(wanted));
        let mappings: Vec<&Json> = self.mappings.iter().map(|mapping| &mapping.echo).collect();
        json!({
            "status": status,
            "code": if status == "FAILED" { "CANNOT_PROCESS" } else { "SUCCESS" },
            "type": "data",
            "module": {"api_name": module, "id": id.to_string()},
            "ignore_empty": self.ignore_empty,
            "field_mappings": mappings,
            "file": {
                "status": status,
                "name": self.file.name,
                "added_count": count(RowStatus::Added),
                "updated_count": count(RowStatus::Updated),
                "skipped_count": count(RowStatus::Skipped) + count(RowStatus::Unprocessed),
                "total_count": result.map_or(0, |result| result.rows.len()),
            },
        })
    }
}
