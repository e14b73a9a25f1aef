//! One batch being written: its calls, one by one, until every row has an outcome or waits.
//!
//! Before a call is sent the ledger says so; when it is answered the ledger has the outcomes. A call that may
//! have been executed is sent again only if that does no harm; otherwise the run ends in doubt. How each kind
//! of call is sent is in `records`, `bulk`, `look` and `removal`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;

use super::ahead::Ready;
use super::batch::{Entry, Step};
use super::config::Method;
use super::error::Error;
use super::ledger::{Call, Note, Progress, RowRecord, StoredBatch, Unit, Way};
use super::look::noted;
use super::mapping::{Route, Source};
use super::nested;
use super::outcome::{Action, Outcome};
use super::parents::Parents;
use super::plan::{self, Members};
use super::replay::Change;
use super::second::{Patience, unset};
use super::spool::{Head, SpoolReader};
use super::write::{Effort, Told, Writer};

/// Record calls of one batch that are open at the same time. Zoho's second pool, for calls of more than ten
/// rows, holds ten for the whole organisation.
pub(super) const CALLS_AT_ONCE: usize = 5;

/// How often a call is sent when its answer is lost and repeating does no harm.
const ATTEMPTS: u32 = 5;

/// Pause before the second sending; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

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
    pub failed: AtomicBool,
    pub ready: Mutex<Ready>,
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

impl<'a> Job<'a> {
    pub fn new(writer: &'a Writer, batch: &'a StoredBatch, reader: SpoolReader, patience: Patience) -> Self {
        Self {
            writer,
            batch,
            reader: Mutex::new(reader),
            parents: Mutex::default(),
            patience,
            failed: AtomicBool::new(false),
            ready: Mutex::default(),
        }
    }

    pub fn into_reader(self) -> SpoolReader {
        self.reader.into_inner()
    }

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
        self.batch.route.may_repeat(way)
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
            let partly = !later.is_empty();
            if partly {
                let note = Note { id: outcome.record_id.clone(), later, ..Note::default() };
                second.push((unit.clone(), note));
            }
            let Some((last, others)) = unit.split_last() else { continue };
            let mut reader = self.reader.lock().await;
            for &number in others {
                rows.push(row_record(number, reader.head(number)?, outcome.clone(), partly));
            }
            rows.push(row_record(*last, reader.head(*last)?, outcome, partly));
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

fn row_record(number: u32, head: &Head, outcome: Outcome, partly: bool) -> RowRecord {
    let completes = match (&head.key, &head.step) {
        (None, Step::Change(Change::ById(id))) => Some(id.clone()),
        _ => None,
    };
    let (line, key, hash) = (head.line, head.key, head.hash);
    RowRecord { entry: number, line, key, hash, outcome, partly, completes }
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
