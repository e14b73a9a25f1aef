//! One bulk write job: file, upload, create, poll, result.
//!
//! Follows the v8 page "Bulk Write". The match field comes first among the mapped columns, because the
//! result repeats only the first three. Empty cells clear (`ignore_empty` false); rows that must leave a
//! field alone are in another job.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::ahead::Stored;
use super::config::Operation;
use super::error::Error;
use super::job::{ByEntry, Job, Laid, after_resend};
use super::ledger::{Call, Progress, Unit, Way};
use super::mapping::{Column, LookupBy, Route};
use super::matching::{self, IDENTIFYING_COLUMNS, Identity};
use super::outcome::Outcome;
use super::plan::{self, BULK_JOB_CREDITS};
use super::write::Effort;
use crate::codec::archive::{ArchiveError, CsvArchive};
use crate::codec::archive_write::{CsvZipWriter, Level, MAX_ZIP_BYTES};
use crate::codec::encode::Kind;
use crate::codec::encode_csv::push_cell;
use crate::zoho;
use crate::zoho::api::JobState;
use crate::zoho::api::bulk_write::{
    BulkOperation, BulkWriteJob, BulkWriteRequest, BulkWriteResource, FieldMapping,
};
use crate::zoho::api::records::MAX_ROWS_PER_WRITE;
use crate::zoho::types::{FileId, JobId};

/// Pause before the first question after a job, when none was measured yet; each further one comes when
/// half as much time again is over.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Uploads slower than this are worth more work on making them small. Unit: bytes a second. Source: our
/// own measurement: level 6 takes 3 s more than level 1 for 127 MB of CSV and saves 5 MB.
const SLOW_LINE: u64 = 1_500_000;

/// How often a failed job is created again, where that does no harm.
const JOB_ATTEMPTS: u32 = 3;

/// The file of a job, and what its rows are known by in the result.
#[derive(Debug)]
pub(super) struct Upload {
    path: PathBuf,
    bytes: u64,
    columns: Vec<usize>,
    /// Whether ids stand before them.
    by_id: bool,
    identities: Vec<Identity>,
    /// Units that no CSV can carry.
    not_in_csv: Vec<Unit>,
    /// Where Zoho has it, once it was uploaded and until a job took it.
    stored: Option<Stored>,
}

impl Upload {
    /// Whether one job can take it.
    pub fn is_sendable(&self) -> bool {
        self.bytes <= MAX_ZIP_BYTES && self.not_in_csv.is_empty()
    }
}

impl Job<'_> {
    /// Sends the rows of a call by bulk job, or waits for the job that carries them.
    pub(super) async fn run_bulk(&self, mut call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        if let Some(others) = self.without_any_parent(&call, effort).await? {
            return self.run_instead(&call, others, effort).await;
        }
        let ready = self.ready.lock().await.remove(&call.number);
        let mut upload = match ready {
            Some(upload) => upload,
            None => self.make_file(&call).await?,
        };
        if !upload.is_sendable() {
            return self.split(&call, upload, effort).await;
        }
        for attempt in 1.. {
            if call.progress != Progress::Submitted {
                match self.submit(&mut call, &mut upload, effort).await {
                    Ok(()) => {}
                    Err(Error::Zoho { source, .. }) if self.may_fall_back() && refuses_bulk(&source) => {
                        tracing::info!(module = %self.batch.route.module, code = source.code(), "bulk write is refused, record calls are used");
                        return self.run_instead(&call, self.by_records(&call, &call.units), effort).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            let id = JobId::from(call.job.clone().unwrap_or_default());
            let job = self.poll(&id).await?;
            let JobState::Failure(failure) = &job.status else {
                let mut outcomes = self.read_result(&job, &id, &call, &upload).await?;
                self.name_keys(&call.units, &mut outcomes).await?;
                let _ = std::fs::remove_file(&upload.path);
                return self.told_by_job(call, &job, outcomes, effort).await;
            };
            if !self.may_repeat(call.way) {
                return self.after_failed_job(call, &job, failure, effort).await;
            }
            if attempt >= JOB_ATTEMPTS {
                return Err(self.given_up(call, &id, failure)?);
            }
            tracing::warn!(job = %id, code = failure.code, "the bulk write job failed and is created again");
            call = Call { progress: Progress::Intent, job: None, resent: true, ..call };
        }
        Err(Error::Internal("an endless loop ended".to_owned()))
    }

    /// Says of rows that were refused because of a parent which one they named.
    async fn name_keys(&self, units: &[Unit], outcomes: &mut [Outcome]) -> Result<(), Error> {
        let route = &self.batch.route;
        for (unit, outcome) in units.iter().zip(outcomes) {
            let blamed = outcome.field.as_ref().and_then(|field| route.column(field));
            let Some((place, lookup)) =
                blamed.and_then(|place| Some((place, route.columns[place].lookup.as_ref()?)))
            else {
                continue;
            };
            if let Some(key) = self.key_of(unit, place).await? {
                let LookupBy { module, field, .. } = lookup;
                let said = outcome.message.take().unwrap_or_default();
                outcome.message =
                    Some(format!("{module} has no record, or several, with {field} \"{key}\" ({said})"));
            }
        }
        Ok(())
    }

    pub(super) async fn make_file(&self, call: &Call) -> Result<Upload, Error> {
        let route = &self.batch.route;
        let by_id = matches!(call.way, Way::BulkUpdate | Way::BulkLookups);
        let laid = self.laid(call, 0).await?;
        // All units of a bulk call carry the same columns; those of the match come first.
        let columns: Vec<usize> = laid.members.keys().copied().collect();
        let fields = columns.iter().map(|place| route.columns[*place].field.as_str());
        let header: Vec<&str> = by_id.then_some("id").into_iter().chain(fields).collect();
        let path = self.writer.folder.join(format!("{}-{}.zip", self.batch.id, call.number));
        let expected = self.reader.lock().await.body_bytes()?;
        let heavy = self.writer.heavy.lock().await;
        let mut file = CsvZipWriter::new(&path, &self.file_name(), &header, self.level(), expected);
        let mut identities = Vec::with_capacity(call.units.len());
        let mut not_in_csv = Vec::new();
        let mut cells = vec![String::new(); columns.len()];
        let comes_second = route.columns.iter().any(Column::comes_second);
        let is_plain = call.notes.is_empty() && !by_id && route.tag_place().is_none() && !comes_second;
        let mut reader = self.reader.lock().await;
        for (number, unit) in call.units.iter().enumerate() {
            if let ([number], true) = (unit.as_slice(), is_plain) {
                match write_plain(route, &columns, reader.body(*number)?, file.csv())? {
                    Some(identity) => identities.push(identity),
                    None => not_in_csv.push(unit.clone()),
                }
                continue;
            }
            drop(reader);
            let laid = self.laid(call, number).await?;
            let fits = columns.iter().zip(&mut cells).try_for_each(|(place, cell)| {
                cell.clear();
                laid.members
                    .get(place)
                    .map_or(Ok(()), |value| route.columns[*place].kind.write_cell(value, cell))
            });
            reader = self.reader.lock().await;
            if fits.is_err() {
                not_in_csv.push(unit.clone());
                continue;
            }
            let id = laid.id.as_deref().filter(|_| by_id);
            let row = || id.into_iter().chain(cells.iter().map(String::as_str));
            file.write_row(row());
            identities.push(Identity::of(row()));
        }
        drop(reader);
        let bytes = file.finish()?;
        drop(heavy);
        Ok(Upload { path, bytes, columns, by_id, identities, not_in_csv, stored: None })
    }

    /// How hard to deflate: as the settings say, else hard only where the line is slower than that.
    fn level(&self) -> Level {
        let slow = self.writer.upload_speed.load(Ordering::Relaxed) < SLOW_LINE;
        Level::new(self.writer.config.compression_level.unwrap_or(if slow { 6 } else { 1 }))
    }

    /// A unit of a call as it is sent.
    async fn laid(&self, call: &Call, number: usize) -> Result<Laid, Error> {
        let mut laid = self.lay(&call.units[number]).await?;
        if let Some(note) = call.notes.get(number) {
            laid.heed(note, call.way);
        }
        if !call.way.comes_second() {
            let columns = &self.batch.route.columns;
            laid.members.retain(|place, raw| !columns[*place].comes_second() || raw.get() == "null");
        }
        Ok(laid)
    }

    /// The route as this kind of job goes it.
    fn route_of(&self, way: Way) -> Cow<'_, Route> {
        let route = &self.batch.route;
        match way {
            Way::BulkUpdate | Way::BulkLookups => Cow::Owned(Route {
                operation: Operation::Update,
                match_on: vec!["id".to_owned()],
                ..route.clone()
            }),
            // Zoho skips what is there meanwhile, where it can tell.
            Way::BulkInsert => Cow::Owned(Route {
                operation: Operation::Insert,
                match_on: route
                    .match_on
                    .iter()
                    .filter(|name| route.idempotent && *name != "id")
                    .cloned()
                    .collect(),
                ..route.clone()
            }),
            _ => Cow::Borrowed(route),
        }
    }

    fn file_name(&self) -> String {
        format!("{}.csv", self.batch.id)
    }

    /// Makes smaller files of one that is too large; what no CSV can carry goes by record calls.
    async fn split(&self, call: &Call, upload: Upload, effort: &mut Effort) -> Result<ByEntry, Error> {
        let _ = std::fs::remove_file(&upload.path);
        let mut others = self.by_records(call, &upload.not_in_csv);
        let rest: Vec<Unit> =
            call.units.iter().filter(|unit| !upload.not_in_csv.contains(unit)).cloned().collect();
        let parts = 1 + (upload.bytes / MAX_ZIP_BYTES) as usize;
        if parts > 1 && rest.len() < 2 {
            return Err(Error::Internal("one row does not fit into a bulk write file".to_owned()));
        }
        others.extend(call.parts(call.way, &rest, rest.len().div_ceil(parts)));
        self.run_instead(call, others, effort).await
    }

    pub(super) fn by_records(&self, call: &Call, units: &[Unit]) -> Vec<Call> {
        let way = match call.way {
            Way::BulkUpdate => Way::Update,
            Way::BulkInsert => Way::Insert,
            Way::BulkLookups => Way::Lookups,
            _ => plan::record_way(&self.batch.route),
        };
        call.parts(way, units, MAX_ROWS_PER_WRITE)
    }

    /// Uploads the file. That alone writes nothing; only the create call needs an intent.
    pub(super) async fn store(&self, upload: &mut Upload) -> Result<(), Error> {
        let writer = self.writer;
        let module = &self.batch.route.module;
        if writer.shutdown.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let begun = Instant::now();
        let file =
            writer.client.bulk_write_upload(&upload.path, &writer.org).await.map_err(|error| {
                Error::zoho(format!("cannot upload a bulk write file for {module}"), error)
            })?;
        let speed = upload.bytes as f64 / begun.elapsed().as_secs_f64().max(1e-6);
        writer.upload_speed.store(speed as u64, Ordering::Relaxed);
        upload.stored = Some(Stored::now(file));
        Ok(())
    }

    /// Creates the job, of a file uploaded before or now; the ledger knows before and after.
    async fn submit(&self, call: &mut Call, upload: &mut Upload, effort: &mut Effort) -> Result<(), Error> {
        let file = loop {
            match upload.stored.take().and_then(Stored::fresh) {
                Some(file) => break file,
                None => self.store(upload).await?,
            }
        };
        let (writer, module) = (self.writer, &self.batch.route.module);
        let request = self.request(file, upload, call.way);
        self.intend(call)?;
        let mut attempt = 1;
        loop {
            match writer.client.bulk_write_create(&request).await {
                Ok(id) => {
                    effort.jobs += 1;
                    effort.credits += BULK_JOB_CREDITS;
                    call.progress = Progress::Submitted;
                    call.job = Some(id.to_string());
                    return self.save(call);
                }
                Err(error) => {
                    let doing = format!("cannot create a bulk write job for {module}");
                    self.after_failure(call, error, &doing, attempt).await?;
                }
            }
            attempt += 1;
        }
    }

    fn request(&self, file_id: FileId, upload: &Upload, way: Way) -> BulkWriteRequest {
        let route = self.route_of(way);
        let ids = usize::from(upload.by_id);
        let id = FieldMapping { api_name: "id".to_owned(), index: Some(0), ..FieldMapping::default() };
        let mapping = |(index, place): (usize, &usize)| {
            let column = &route.columns[*place];
            let find_by = match &column.lookup {
                Some(lookup) => Some(lookup.field.clone()),
                None => (column.kind == Kind::Lookup).then(|| "id".to_owned()),
            };
            FieldMapping {
                api_name: column.field.clone(),
                index: Some(index + ids),
                find_by,
                format: column.kind.bulk_format().map(str::to_owned),
                ..FieldMapping::default()
            }
        };
        BulkWriteRequest {
            operation: match route.operation {
                Operation::Insert => BulkOperation::Insert,
                Operation::Update => BulkOperation::Update,
                Operation::Upsert | Operation::Mirror | Operation::Delete => BulkOperation::Upsert,
            },
            ignore_empty: false,
            resources: vec![BulkWriteResource {
                module: route.module.clone(),
                file_id,
                file_names: vec![self.file_name()],
                find_by: route.match_on.first().cloned(),
                field_mappings: upload
                    .by_id
                    .then_some(id)
                    .into_iter()
                    .chain(upload.columns.iter().enumerate().map(mapping))
                    .collect(),
            }],
        }
    }

    /// Asks for the job until it is done; a job in a queue may take its time. The first question comes when
    /// three quarters of the last job's time are over: fewer questions, and less waiting for nothing. If the job
    /// is done by then, nobody knows since when, so the next one is asked for sooner.
    async fn poll(&self, id: &JobId) -> Result<BulkWriteJob, Error> {
        let begun = Instant::now();
        let expected = Duration::from_micros(self.writer.job_micros.load(Ordering::Relaxed));
        let (mut pause, mut next) = if expected.is_zero() {
            (FIRST_PAUSE, FIRST_PAUSE / 2)
        } else {
            (expected * 3 / 4, expected / 8)
        };
        let mut questions = 0;
        loop {
            tokio::select! {
                () = sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)) => {}
                () = self.writer.shutdown.cancelled() => return Err(Error::Interrupted),
            }
            questions += 1;
            (pause, next) = (next, (next * 3 / 2).min(LONGEST_PAUSE));
            let job = self
                .writer
                .client
                .bulk_write_status(id)
                .await
                .map_err(|error| Error::zoho(format!("cannot ask for bulk write job `{id}`"), error))?;
            if matches!(job.status, JobState::Completed | JobState::Failure(_)) {
                let took = begun.elapsed().as_micros() as u64;
                let expected = if questions == 1 { took * 2 / 3 } else { took };
                self.writer.job_micros.store(expected, Ordering::Relaxed);
                return Ok(job);
            }
            if let Some(limit) = self.writer.config.job_timeout.filter(|limit| begun.elapsed() > *limit) {
                let module = self.batch.route.module.clone();
                return Err(Error::JobTimeout { job: id.to_string(), module, seconds: limit.as_secs() });
            }
        }
    }

    async fn read_result(
        &self,
        job: &BulkWriteJob,
        id: &JobId,
        call: &Call,
        upload: &Upload,
    ) -> Result<Vec<Outcome>, Error> {
        let Some(url) = &job.download_url else {
            return Ok(vec![
                Outcome {
                    job_id: Some(id.to_string()),
                    ..Outcome::unknown("the job has no result file")
                };
                call.units.len()
            ]);
        };
        let path = upload.path.with_extension("result.zip");
        self.writer.client.bulk_write_download(url, &path).await.map_err(|error| {
            Error::zoho(format!("cannot download the result of bulk write job `{id}`"), error)
        })?;
        let wrong = |source: ArchiveError| Error::Result { job: id.to_string(), source: Box::new(source) };
        let mut archive = CsvArchive::open(&path).map_err(wrong)?;
        let csv = archive.csv().map_err(wrong)?;
        let route = self.route_of(call.way);
        let columns = (upload.columns.len() + usize::from(upload.by_id)).min(IDENTIFYING_COLUMNS);
        let outcomes = matching::outcomes(csv, &upload.identities, columns, &route, id.as_str())
            .map_err(|error| wrong(ArchiveError::Damaged { path: path.clone(), source: error.into() }))?;
        let _ = std::fs::remove_file(&path);
        let told = |(place, outcome): (usize, Outcome)| {
            let outcome = after_resend(outcome, call);
            match call.notes.get(place) {
                Some(note) => note.told(outcome),
                None => outcome,
            }
        };
        Ok(outcomes.into_iter().enumerate().map(told).collect())
    }
}

/// Writes the row of a body; none if no CSV can carry it.
fn write_plain(
    route: &Route,
    columns: &[usize],
    body: &str,
    csv: &mut Vec<u8>,
) -> Result<Option<Identity>, Error> {
    let members = plan::walk(body, route)?;
    let mut members = members.iter().peekable();
    let mut first: [String; IDENTIFYING_COLUMNS] = Default::default();
    let start = csv.len();
    // Columns and members both stand in the order of the route.
    for (number, place) in columns.iter().enumerate() {
        if number > 0 {
            csv.push(b',');
        }
        while members.next_if(|(member, _)| member < place).is_some() {}
        let Some((_, value)) = members.next_if(|(member, _)| member == place) else { continue };
        let kind = route.columns[*place].kind;
        let written = match first.get_mut(number) {
            Some(cell) => {
                let raw: &RawValue =
                    serde_json::from_str(value).map_err(|error| Error::Spool(error.into()))?;
                kind.write_cell(raw, cell).map(|()| push_cell(cell, csv))
            }
            None => kind.write_record_csv(value, csv),
        };
        if written.is_err() {
            csv.truncate(start);
            return Ok(None);
        }
    }
    csv.push(b'\n');
    Ok(Some(Identity::of(first.iter().take(columns.len()).map(String::as_str))))
}

/// Whether Zoho refused the job for what it is, so that record calls may still do.
fn refuses_bulk(error: &zoho::Error) -> bool {
    const CODES: [&str; 9] = [
        "MODULE_NOT_AVAILABLE",
        "MODULE_NOT_SUPPORTED",
        "NOT_SUPPORTED",
        "INVALID_MODULE",
        "INVALID_FIELD",
        "FIELD_NOT_SUPPORTED",
        "MANDATORY_FIELDS_NOT_MAPPED",
        "HEADER_LIMIT_EXCEEDED",
        "INVALID_FORMAT",
    ];
    !error.in_doubt() && error.code().is_some_and(|code| CODES.contains(&code))
}
