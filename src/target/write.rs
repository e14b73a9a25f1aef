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
use super::look::noted;
use super::mapping::Route;
use super::mapping::Source;
use super::nested;
use super::outcome::{Action, Outcome};
use super::plan::{self, Members, Scope};
use super::rehearsal;
use super::replay::Change;
use super::resolve::Parents;
use super::second::{Patience, unset};
use super::waiting::{Behind, Waiting};
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

/// A batch that has been sent: its rows have outcomes, but for those that wait.
#[derive(Debug)]
pub struct Written {
    /// The batch.
    pub batch: StoredBatch,
    /// Outcome by entry; that of entries which wait counts for nothing.
    pub outcomes: Vec<Outcome>,
    /// Entries that wait.
    pub waiting: Waiting,
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

/// What became of a unit by a call.
#[derive(Debug)]
pub(super) enum Fate {
    /// This.
    Told(Outcome),
    /// Nothing: it waits.
    Waits,
    /// Nobody knows; it is sent again, which does no harm.
    Again,
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
    pub patience: Patience,
    failed: AtomicBool,
}

impl Laid {
    /// Does what was found out about the unit before its call.
    pub fn heed(&mut self, note: &Note, way: Way) {
        let later = |place: usize| note.later.contains(&(place as u32));
        self.members.retain(|place, _| later(*place) == way.comes_second() && !note.leaves_out(*place));
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
    /// Writes a new batch; rows of records in `behind` wait.
    ///
    /// # Errors
    /// When a call fails for good, ends in doubt, or the run is told to stop; the ledger then knows.
    pub async fn write(&self, closed: ClosedBatch, behind: &Behind) -> Result<Written, Error> {
        let batch = StoredBatch {
            id: closed.id,
            run: self.run,
            lane: closed.lane,
            route: (*closed.route).clone(),
            spool: closed.spool,
            entries: closed.entries,
        };
        let mut reader = SpoolReader::open(&batch.spool)?;
        let scope = Scope { behind: Some(behind), ..Scope::default() };
        let calls = plan::plan(&mut reader, &batch.route, self.config.method, scope)?;
        if self.dry_run {
            return rehearsal::written(batch, &mut reader, &calls);
        }
        if !calls.is_empty() {
            self.ledger.add_batch(&self.org, &batch, &calls)?;
        }
        self.finish(batch, reader, calls, Patience::Waits, |_| true).await
    }

    /// Takes a batch that an earlier run left behind as far as it goes: rows whose parents are not there yet
    /// come again, since no STATE has passed them.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn recover(&self, batch: StoredBatch) -> Result<Written, Error> {
        let mut reader = reader_of(&batch)?;
        let calls = self.ledger.calls(&batch.id)?;
        let (calls, _) = self.awake(&batch, &mut reader, calls, &Behind::default())?;
        self.finish(batch, reader, calls, Patience::Waits, |_| true).await
    }

    /// Tries again what of a batch waits.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn resume(
        &self,
        batch: StoredBatch,
        behind: &Behind,
        patience: Patience,
    ) -> Result<Written, Error> {
        let mut reader = reader_of(&batch)?;
        let calls = self.ledger.calls(&batch.id)?;
        let (calls, waited) = self.awake(&batch, &mut reader, calls, behind)?;
        // What was done before is remembered, and may have been overwritten since.
        self.finish(batch, reader, calls, patience, |number| waited.contains(&number)).await
    }

    /// A batch all of whose rows have outcomes, as the ledger has it.
    ///
    /// # Errors
    /// When the spool cannot be read or the ledger fails.
    pub fn told(&self, batch: StoredBatch, effort: Effort) -> Result<Written, Error> {
        let mut told = Told::of(&batch);
        told.stored(self.ledger.outcomes(&batch.id)?);
        let outcomes = told.whole(&mut reader_of(&batch)?)?;
        Ok(Written { batch, outcomes, waiting: Waiting::default(), remembered: Vec::new(), effort })
    }

    async fn finish(
        &self,
        batch: StoredBatch,
        reader: SpoolReader,
        calls: Vec<Call>,
        patience: Patience,
        fresh: impl Fn(u32) -> bool,
    ) -> Result<Written, Error> {
        let mut told = Told::of(&batch);
        if calls.iter().any(|call| call.progress == Progress::Done) {
            told.stored(self.ledger.outcomes(&batch.id)?);
        }
        let may_wait = batch.route.waits() || calls.iter().any(|call| call.progress == Progress::Waiting);
        let job = Job {
            writer: self,
            batch: &batch,
            reader: Mutex::new(reader),
            parents: Mutex::default(),
            patience,
            failed: AtomicBool::new(false),
        };
        let mut effort = Effort::default();
        let first: Vec<Call> = calls.into_iter().filter(|call| !call.way.comes_second()).collect();
        job.find_parents(&first, &mut effort).await?;
        job.run_all(first, &mut told, &mut effort).await?;
        if may_wait {
            job.set_lookups(&mut told, &mut effort).await?;
        }
        let mut reader = job.reader.into_inner();
        let waiting = if may_wait { self.waiting(&batch, &mut reader)? } else { Waiting::default() };
        let outcomes = told.whole(&mut reader)?;
        let remembered = self.remember(&batch, &mut reader, &outcomes, |number| {
            fresh(number) && !waiting.entries.contains(&number)
        })?;
        Ok(Written { batch, outcomes, waiting, remembered, effort })
    }
}

/// Outcomes of a batch, by entry, as they come in.
pub(super) struct Told(Vec<Option<Outcome>>);

impl Told {
    fn of(batch: &StoredBatch) -> Self {
        Self(vec![None; batch.entries as usize])
    }

    fn stored(&mut self, rows: ByEntry) {
        rows.into_iter().for_each(|(entry, outcome)| self.put(entry, outcome));
    }

    fn put(&mut self, entry: u32, outcome: Outcome) {
        if let Some(slot) = self.0.get_mut(entry as usize) {
            *slot = Some(outcome);
        }
    }

    /// What became of a lookup in the second pass. The row itself is told of by the first.
    fn complete(&mut self, entry: u32, second: Outcome) {
        match self.0.get_mut(entry as usize) {
            Some(Some(first)) if second.success() => first.modified = second.modified.or(first.modified),
            _ => self.put(entry, second),
        }
    }

    /// Takes in what was decided before.
    fn whole(mut self, reader: &mut SpoolReader) -> Result<Vec<Outcome>, Error> {
        reader.each(|number, entry| -> Result<(), Error> {
            if let Step::Decided(outcome) = entry.step {
                self.put(number, outcome);
            }
            Ok(())
        })?;
        let lost = || Outcome::unknown("no call carried this row");
        Ok(self.0.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
    }
}

/// A reader that has seen the whole spool.
fn reader_of(batch: &StoredBatch) -> Result<SpoolReader, Error> {
    let mut reader = SpoolReader::open(&batch.spool)?;
    reader.each(|_, _| Ok::<(), std::io::Error>(()))?;
    Ok(reader)
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
    /// Runs calls side by side, all of the first pass or all of the second.
    pub(super) async fn run_all(
        &self,
        calls: Vec<Call>,
        told: &mut Told,
        effort: &mut Effort,
    ) -> Result<(), Error> {
        let open: Vec<Call> = calls
            .into_iter()
            .filter(|call| !matches!(call.progress, Progress::Done | Progress::Waiting))
            .collect();
        let second = open.first().is_some_and(|call| call.way.comes_second());
        let finished: Vec<Result<(ByEntry, Effort), Error>> =
            stream::iter(open).map(|call| self.run(call)).buffer_unordered(CALLS_AT_ONCE).collect().await;
        for result in first_error_first(finished) {
            let (rows, spent) = result?;
            for (entry, outcome) in rows {
                if second { told.complete(entry, outcome) } else { told.put(entry, outcome) }
            }
            effort.add(spent);
        }
        Ok(())
    }

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
            Way::Bulk | Way::BulkUpdate | Way::BulkInsert | Way::BulkLookups => {
                self.run_bulk(call, effort).await
            }
            Way::Look => self.run_look(call, effort).await,
            Way::Insert | Way::Update | Way::Upsert | Way::Lookups => self.run_records(call, effort).await,
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
        let route = &self.batch.route;
        way.comes_second() || way.is_harmless() && !route.adds_rows() || route.idempotent
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
        let fates = outcomes.into_iter().map(Fate::Told).collect();
        Ok(self.done_but(call, fates).await?.0)
    }

    /// Stores the outcomes of a call's units and gives them by entry, and the calls that send some of them
    /// again. Lookups that come second are planned with it.
    pub async fn done_but(&self, call: &Call, fates: Vec<Fate>) -> Result<(ByEntry, Vec<Call>), Error> {
        let mut rows = Vec::with_capacity(fates.len());
        let (mut waiting, mut again, mut second) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (unit, fate)) in call.units.iter().zip(fates).enumerate() {
            let outcome = match fate {
                Fate::Waits => {
                    waiting.push(unit.clone());
                    continue;
                }
                Fate::Again => {
                    again.push(unit.clone());
                    continue;
                }
                Fate::Told(outcome) => outcome,
            };
            let outcome = match call.notes.get(place).filter(|_| call.way.comes_second()) {
                Some(note) if !outcome.success() => unset(outcome, note),
                _ => outcome,
            };
            let later = self.left_for_later(call, place, &outcome).await?;
            let mut reader = self.reader.lock().await;
            for &number in unit {
                rows.push(row_record(number, &reader.entry(number)?, &outcome, !later.is_empty()));
            }
            if !later.is_empty() {
                second.push((unit.clone(), Note { id: outcome.record_id, later, ..Note::default() }));
            }
        }
        let mut others = self.by_records(call, &again);
        others.iter_mut().for_each(|call| call.resent = true);
        let resent = others.len();
        let asleep = call.parts(call.way, &waiting, waiting.len()).into_iter();
        others.extend(asleep.map(|call| Call { progress: Progress::Waiting, ..call }));
        if !second.is_empty() {
            others.push(noted(Way::Lookups, &second));
        }
        self.writer.ledger.finish_call(self.batch, call, &rows, &mut others)?;
        others.truncate(resent);
        Ok((rows.into_iter().map(|row| (row.entry, row.outcome)).collect(), others))
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
        self.writer.ledger.replace_calls(&self.batch.id, &[call.number], &mut others)?;
        self.run_one_by_one(others, effort).await
    }

    /// Runs calls that the ledger has, one after the other.
    pub(super) async fn run_one_by_one(
        &self,
        others: Vec<Call>,
        effort: &mut Effort,
    ) -> Result<ByEntry, Error> {
        let mut outcomes = Vec::new();
        for other in others.into_iter().filter(|other| other.progress != Progress::Waiting) {
            outcomes.extend(Box::pin(self.run_call(other, effort)).await?);
        }
        Ok(outcomes)
    }

    /// Whether rows may be sent by record calls although a bulk job was planned.
    pub(super) fn may_fall_back(&self) -> bool {
        self.writer.config.method == Method::Auto
    }
}

fn row_record(number: u32, entry: &Entry, outcome: &Outcome, partly: bool) -> RowRecord {
    let completes = match (&entry.key, &entry.step) {
        (None, Step::Change(Change::ById(id))) => Some(id.clone()),
        _ => None,
    };
    let (line, key, hash) = (entry.line, entry.key, entry.hash);
    RowRecord { entry: number, line, key, hash, outcome: outcome.clone(), partly, completes }
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
