//! A batch to Zoho: its calls, one by one, until every row has an outcome.
//!
//! Before a call is sent the ledger says so; when it is answered the ledger has the outcomes. The same walk
//! serves a new batch and one that a killed run left behind: calls that are done are read back, jobs in
//! flight are polled to their end, calls that were never sent are sent. A call that may have been executed
//! is sent again only if that does no harm; otherwise the run ends in doubt.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::batch::{ClosedBatch, Entry, SpoolReader, Step};
use super::config::{Method, TargetConfig};
use super::error::Error;
use super::ledger::{Call, Ledger, Note, Progress, RowRecord, StoredBatch, Unit, Way};
use super::mapping::Route;
use super::mapping::Source;
use super::nested;
use super::outcome::{Action, Outcome};
use super::plan::{self, Members};
use super::rehearsal;
use super::resolve::Parents;
use crate::zoho::Client;

/// Record calls of one batch that are open at the same time. Zoho's second pool, for calls of more than ten
/// rows, holds ten for the whole organisation.
pub(super) const CALLS_AT_ONCE: usize = 5;

/// How often a call is sent when its answer is lost and repeating does no harm.
const ATTEMPTS: u32 = 5;

/// Pause before the second sending; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Input lines that an error about rows names.
const LINES_NAMED: usize = 10;

/// Writes batches; clones share everything.
#[derive(Clone)]
pub struct Writer {
    pub(super) client: Client,
    pub(super) ledger: Ledger,
    pub(super) config: Arc<TargetConfig>,
    pub(super) org: Arc<str>,
    pub(super) run: i64,
    pub(super) folder: PathBuf,
    pub(super) shutdown: CancellationToken,
    /// Held by the batch that creates missing parents.
    pub(super) creating: Arc<Mutex<()>>,
    /// Whether batches are only counted.
    pub(super) dry_run: bool,
}

/// A batch whose every row has an outcome.
#[derive(Debug)]
pub struct Written {
    /// The batch.
    pub batch: StoredBatch,
    /// Outcome by entry.
    pub outcomes: Vec<Outcome>,
    /// Keys of the rows that were sent, where they are remembered.
    pub remembered: Vec<u128>,
    /// What it took.
    pub effort: Effort,
}

/// What writing took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Bulk write jobs created.
    pub jobs: u64,
    /// Record calls sent.
    pub calls: u64,
    /// API credits spent on them.
    pub credits: u64,
}

impl Effort {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.calls += other.calls;
        self.credits += other.credits;
    }
}

/// Outcomes of some rows of a batch, by entry number.
pub(super) type ByEntry = Vec<(u32, Outcome)>;

/// A unit ready to be sent: its rows laid over each other.
#[derive(Debug)]
pub(super) struct Laid {
    /// Values by column.
    pub members: Members,
    /// The first entry, for its identity.
    pub first: Entry,
    /// Columns of which all its rows say that they did not change.
    pub unchanged: Vec<u32>,
    /// The record, where a look found it.
    pub id: Option<String>,
}

/// One batch being written.
pub(super) struct Job<'a> {
    pub writer: &'a Writer,
    pub batch: &'a StoredBatch,
    pub reader: Mutex<SpoolReader>,
    pub parents: Mutex<Parents>,
    failed: AtomicBool,
}

impl Laid {
    /// Does what a look found out.
    pub fn heed(&mut self, note: &Note) {
        self.members.retain(|place, _| !note.leaves_out(*place));
        self.id.clone_from(&note.id);
    }

    /// Leaves out what did not change, but for what finds the record or what a new one would need.
    pub fn drop_unchanged(&mut self, route: &Route) {
        for place in self.unchanged.drain(..) {
            let place = place as usize;
            let column = &route.columns[place];
            if !column.mandatory && !route.match_on.contains(&column.field) {
                self.members.remove(&place);
            }
        }
    }
}

impl Writer {
    /// Writes a new batch.
    ///
    /// # Errors
    /// When a call fails for good, ends in doubt, or the run is told to stop; the ledger then knows.
    pub async fn write(&self, closed: ClosedBatch) -> Result<Written, Error> {
        let batch = StoredBatch {
            id: closed.id,
            run: self.run,
            lane: closed.lane,
            route: (*closed.route).clone(),
            spool: closed.spool,
            entries: closed.entries,
        };
        let mut reader = SpoolReader::open(&batch.spool)?;
        let calls = plan::plan(&mut reader, &batch.route, self.config.method)?;
        if self.dry_run {
            return rehearsal::written(batch, &mut reader, &calls);
        }
        if !calls.is_empty() {
            self.ledger.add_batch(&self.org, &batch, &calls)?;
        }
        self.finish(batch, reader, calls).await
    }

    /// Takes a batch that an earlier run left behind to its end.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn recover(&self, batch: StoredBatch) -> Result<Written, Error> {
        let mut reader = SpoolReader::open(&batch.spool)?;
        reader.each(|_, _| Ok::<(), std::io::Error>(()))?;
        let calls = self.ledger.calls(&batch.id)?;
        self.finish(batch, reader, calls).await
    }

    async fn finish(
        &self,
        batch: StoredBatch,
        reader: SpoolReader,
        calls: Vec<Call>,
    ) -> Result<Written, Error> {
        let stored = if calls.iter().any(|call| call.progress == Progress::Done) {
            self.ledger.outcomes(&batch.id)?
        } else {
            Vec::new()
        };
        let job = Job {
            writer: self,
            batch: &batch,
            reader: Mutex::new(reader),
            parents: Mutex::default(),
            failed: AtomicBool::new(false),
        };
        let mut effort = Effort::default();
        job.find_parents(&calls, &mut effort).await?;
        let finished: Vec<Result<(ByEntry, Effort), Error>> =
            stream::iter(calls.into_iter().filter(|call| call.progress != Progress::Done))
                .map(|call| job.run(call))
                .buffer_unordered(CALLS_AT_ONCE)
                .collect()
                .await;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.entries as usize];
        let mut place = |entry: u32, outcome: Outcome| {
            if let Some(slot) = outcomes.get_mut(entry as usize) {
                *slot = Some(outcome);
            }
        };
        stored.into_iter().for_each(|(entry, outcome)| place(entry, outcome));
        for result in first_error_first(finished) {
            let (rows, spent) = result?;
            rows.into_iter().for_each(|(entry, outcome)| place(entry, outcome));
            effort.add(spent);
        }
        let mut reader = job.reader.into_inner();
        reader.each(|number, entry| -> Result<(), Error> {
            if let Step::Decided(outcome) = entry.step {
                place(number, outcome);
            }
            Ok(())
        })?;
        let outcomes: Vec<Outcome> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Outcome::unknown("no call carried this row")))
            .collect();
        let remembered = self.remember(&batch, &mut reader, &outcomes)?;
        Ok(Written { batch, outcomes, remembered, effort })
    }
}

/// A real failure tells more than the calls that were given up because of it.
pub(super) fn first_error_first<T>(mut results: Vec<Result<T, Error>>) -> Vec<Result<T, Error>> {
    results.sort_by_key(|result| match result {
        Err(Error::InDoubt { .. }) => 0,
        Err(Error::Interrupted) => 2,
        Err(_) => 1,
        Ok(_) => 3,
    });
    results
}

impl Job<'_> {
    async fn run(&self, call: Call) -> Result<(ByEntry, Effort), Error> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let mut effort = Effort::default();
        let finished = self.run_call(call, &mut effort).await;
        if finished.is_err() {
            // Calls in the air are waited for, new ones are not started.
            self.failed.store(true, Ordering::Relaxed);
        }
        Ok((finished?, effort))
    }

    pub(super) async fn run_call(&self, mut call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        if call.progress == Progress::Intent {
            if !self.may_repeat(call.way) {
                return self.settle_doubt(&call, None, effort).await;
            }
            call.resent = true;
        }
        let marked =
            (self.batch.route.tag_place().is_some() && !self.may_repeat(call.way)).then(|| call.clone());
        let ended = match call.way {
            Way::Bulk | Way::BulkUpdate | Way::BulkInsert => self.run_bulk(call, effort).await,
            Way::Look => self.run_look(call, effort).await,
            Way::Insert | Way::Update | Way::Upsert => self.run_records(call, effort).await,
            Way::Delete => self.run_delete(call, effort).await,
        };
        match (ended, marked) {
            (Err(Error::InDoubt { source, .. }), Some(call)) => {
                self.settle_doubt(&call, source, effort).await
            }
            (ended, _) => ended,
        }
    }

    /// Whether sending the rows of a call again does no harm.
    pub fn may_repeat(&self, way: Way) -> bool {
        way.is_harmless() && !self.batch.route.adds_rows() || self.batch.route.idempotent
    }

    /// Notes in the ledger that the call is about to be sent, unless the run is told to stop.
    pub fn intend(&self, call: &mut Call) -> Result<(), Error> {
        if self.writer.shutdown.is_cancelled() {
            return Err(Error::Interrupted);
        }
        call.progress = Progress::Intent;
        self.save(call)
    }

    /// Stores how far a call is.
    pub fn save(&self, call: &Call) -> Result<(), Error> {
        Ok(self.writer.ledger.set_progress(&self.batch.id, call)?)
    }

    /// Stores the outcomes of a call's units and gives them by entry.
    pub async fn done(&self, call: &Call, outcomes: Vec<Outcome>) -> Result<ByEntry, Error> {
        let mut rows = Vec::with_capacity(outcomes.len());
        {
            let mut reader = self.reader.lock().await;
            for (unit, outcome) in call.units.iter().zip(&outcomes) {
                for &number in unit {
                    let entry = reader.entry(number)?;
                    rows.push(RowRecord {
                        entry: number,
                        line: entry.line,
                        key: entry.key,
                        hash: entry.hash,
                        outcome: outcome.clone(),
                    });
                }
            }
        }
        self.writer.ledger.finish_call(self.batch, call, &rows)?;
        Ok(rows.into_iter().map(|row| (row.entry, row.outcome)).collect())
    }

    /// Reads the rows of a unit and lays the later over the earlier.
    pub async fn lay(&self, unit: &Unit) -> Result<Laid, Error> {
        let mut reader = self.reader.lock().await;
        let first = reader.entry(unit[0])?;
        let mut members = plan::members(&first.body, &self.batch.route)?;
        let mut unchanged = first.unchanged.clone();
        for &number in &unit[1..] {
            let entry = reader.entry(number)?;
            for (place, later) in plan::members(&entry.body, &self.batch.route)? {
                // Rows of a subform that came one by one belong together.
                let of_subform = self.batch.route.columns[place].source == Source::Record;
                let both =
                    members.get(&place).filter(|_| of_subform).and_then(|one| nested::joined(one, &later));
                members.insert(place, both.unwrap_or(later));
            }
            unchanged.retain(|place| entry.unchanged.contains(place));
        }
        if let Some(place) = self.batch.route.tag_place() {
            let tag = serde_json::value::to_raw_value(&self.tag(first.line));
            members.insert(place, tag.map_err(|error| Error::Spool(error.into()))?);
        }
        Ok(Laid { members, first, unchanged, id: None })
    }

    /// After a failed sending: returns when the call is to be sent again, which then is the second time.
    ///
    /// # Errors
    /// In doubt, or the failure itself; the ledger knows what it means for the next run.
    pub async fn after_failure(
        &self,
        call: &mut Call,
        error: crate::zoho::Error,
        doing: &str,
        attempt: u32,
    ) -> Result<(), Error> {
        if error.in_doubt() && !self.may_repeat(call.way) {
            return Err(self.in_doubt(call, Some(Box::new(error))).await);
        }
        if error.in_doubt() && attempt < ATTEMPTS && !self.writer.shutdown.is_cancelled() {
            tracing::warn!(%error, attempt, "the answer was lost; the rows are sent again, which does no harm");
            call.resent = true;
            self.save(call)?;
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
            return Ok(());
        }
        if !error.in_doubt() && !call.resent {
            call.progress = Progress::Planned;
            self.save(call)?;
        }
        Err(Error::zoho(doing, error))
    }

    /// The error for a call that may have been executed and may not be repeated.
    pub async fn in_doubt(&self, call: &Call, source: Option<Box<crate::zoho::Error>>) -> Error {
        let mut lines = Vec::new();
        let mut reader = self.reader.lock().await;
        for unit in call.units.iter().take(LINES_NAMED) {
            lines.extend(reader.entry(unit[0]).map(|entry| entry.line));
        }
        Error::InDoubt {
            batch: self.batch.id.clone(),
            module: self.batch.route.module.clone(),
            count: call.units.iter().map(|unit| unit.len() as u64).sum(),
            lines,
            source,
        }
    }

    /// Sends by record calls what a bulk job would not take.
    pub(super) async fn run_instead(
        &self,
        call: &Call,
        mut others: Vec<Call>,
        effort: &mut Effort,
    ) -> Result<ByEntry, Error> {
        self.writer.ledger.replace_call(&self.batch.id, call.number, &mut others)?;
        let mut outcomes = Vec::new();
        for other in others {
            outcomes.extend(Box::pin(self.run_call(other, effort)).await?);
        }
        Ok(outcomes)
    }

    /// Whether rows may be sent by record calls although a bulk job was planned.
    pub(super) fn may_fall_back(&self) -> bool {
        self.writer.config.method == Method::Auto
    }
}

/// The outcome of a row that was sent twice: whether the first sending created it is not known. An update
/// creates nothing, so it stays an update.
pub(super) fn after_resend(outcome: Outcome, call: &Call) -> Outcome {
    match outcome.action {
        Action::Inserted | Action::Updated | Action::Skipped | Action::Unchanged
            if call.resent && !call.way.is_harmless() =>
        {
            Outcome { action: Action::Written, ..outcome }
        }
        _ => outcome,
    }
}
