//! A batch to Zoho: its calls, one by one, until every row has an outcome.
//!
//! The same walk serves a new batch, one that a killed run left behind and one whose rows waited: calls that
//! are done are read back, jobs in flight are polled to their end, calls that were never sent are sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::ahead::{Ready, Turn};
use super::batch::{ClosedBatch, Step};
use super::config::TargetConfig;
use super::error::Error;
use super::job::{ByEntry, Job};
use super::ledger::{Call, Ledger, Progress, StoredBatch};
use super::outcome::Outcome;
use super::plan::{self, Scope};
use super::rehearsal;
use super::second::Patience;
use super::spool::SpoolReader;
use super::waiting::{Behind, Waiting};
use crate::zoho::Client;

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
    /// Held while a bulk file is made, which has its rows in memory: one at a time, whatever their modules.
    pub(super) heavy: Arc<Mutex<()>>,
    /// Whether batches are only counted.
    pub(super) dry_run: bool,
    /// Bytes a second of the last upload; a fast line until one was measured.
    pub(super) upload_speed: Arc<AtomicU64>,
    /// Microseconds that the last bulk job took to its end; 0 until one was measured.
    pub(super) job_micros: Arc<AtomicU64>,
}

/// A batch that has been sent: its rows have outcomes, but for those that wait.
#[derive(Debug)]
pub struct Written {
    /// The batch.
    pub batch: StoredBatch,
    /// Its rows.
    pub reader: SpoolReader,
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

impl Writer {
    /// Writes a new batch; rows of records in `behind` wait. One that has to wait for its turn makes its files
    /// first.
    ///
    /// # Errors
    /// When a call fails for good, ends in doubt, or the run is told to stop; the ledger then knows.
    pub(super) async fn write(
        &self,
        closed: ClosedBatch,
        behind: &Behind,
        turn: Option<Turn>,
    ) -> Result<Written, Error> {
        let batch = StoredBatch {
            id: closed.id,
            run: self.run,
            lane: closed.lane,
            route: (*closed.route).clone(),
            spool: closed.spool,
            entries: closed.entries,
        };
        let mut reader = closed.reader;
        let scope = Scope { behind: Some(behind), ..Scope::default() };
        let calls = plan::plan(&mut reader, &batch.route, self.config.method, scope)?;
        let mut ready = Ready::new();
        if let Some(turn) = turn {
            (reader, ready) = self.make_ready(&batch, reader, &calls, turn).await?;
        }
        if self.dry_run {
            return rehearsal::written(batch, reader, &calls);
        }
        if !calls.is_empty() {
            // The file is on the disk before the ledger names it.
            reader.sync()?;
            self.ledger.add_batch(&self.org, &batch, &calls)?;
        }
        self.finish(batch, reader, (calls, ready), Patience::Waits, |_| true).await
    }

    /// Takes a batch that an earlier run left behind as far as it goes: rows whose parents are not there yet
    /// come again, since no STATE has passed them.
    ///
    /// # Errors
    /// As for a new batch.
    pub async fn recover(&self, batch: StoredBatch) -> Result<Written, Error> {
        let mut reader = SpoolReader::open(&batch.spool)?;
        let calls = self.ledger.calls(&batch.id)?;
        let (calls, _) = self.awake(&batch, &mut reader, calls, &Behind::default())?;
        self.finish(batch, reader, (calls, Ready::new()), Patience::Waits, |_| true).await
    }

    /// Tries again what of a batch waits.
    ///
    /// # Errors
    /// As for a new batch.
    pub async fn resume(
        &self,
        batch: StoredBatch,
        behind: &Behind,
        patience: Patience,
    ) -> Result<Written, Error> {
        let mut reader = SpoolReader::open(&batch.spool)?;
        let calls = self.ledger.calls(&batch.id)?;
        let (calls, waited) = self.awake(&batch, &mut reader, calls, behind)?;
        // What was done before is remembered, and may have been overwritten since.
        let calls = (calls, Ready::new());
        self.finish(batch, reader, calls, patience, |number| waited.contains(&number)).await
    }

    /// A batch all of whose rows have outcomes, as the ledger has it.
    ///
    /// # Errors
    /// When the spool cannot be read or the ledger fails.
    pub fn told(&self, batch: StoredBatch, effort: Effort) -> Result<Written, Error> {
        let mut told = Told::of(&batch);
        told.stored(self.ledger.outcomes(&batch.id)?);
        let mut reader = SpoolReader::open(&batch.spool)?;
        let outcomes = told.whole(&mut reader)?;
        Ok(Written { batch, reader, outcomes, waiting: Waiting::default(), remembered: Vec::new(), effort })
    }

    async fn finish(
        &self,
        batch: StoredBatch,
        reader: SpoolReader,
        (calls, ready): (Vec<Call>, Ready),
        patience: Patience,
        fresh: impl Fn(u32) -> bool,
    ) -> Result<Written, Error> {
        let mut told = Told::of(&batch);
        if calls.iter().any(|call| call.progress == Progress::Done) {
            told.stored(self.ledger.outcomes(&batch.id)?);
        }
        let may_wait = batch.route.waits() || calls.iter().any(|call| call.progress == Progress::Waiting);
        let job = Job { ready: Mutex::new(ready), ..Job::new(self, &batch, reader, patience) };
        let mut effort = Effort::default();
        let first: Vec<Call> = calls.into_iter().filter(|call| !call.way.comes_second()).collect();
        job.find_parents(&first, &mut effort).await?;
        job.run_all(first, &mut told, &mut effort).await?;
        if may_wait {
            job.set_lookups(&mut told, &mut effort).await?;
        }
        let mut reader = job.into_reader();
        let waiting = if may_wait { self.waiting(&batch, &mut reader)? } else { Waiting::default() };
        let outcomes = told.whole(&mut reader)?;
        let remembered = self.remember(&batch, &mut reader, &outcomes, |number| {
            fresh(number) && !waiting.entries.contains(&number)
        })?;
        Ok(Written { batch, reader, outcomes, waiting, remembered, effort })
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

    pub(super) fn put(&mut self, entry: u32, outcome: Outcome) {
        if let Some(slot) = self.0.get_mut(entry as usize) {
            *slot = Some(outcome);
        }
    }

    /// What became of a lookup in the second pass. The row itself is told of by the first.
    pub(super) fn complete(&mut self, entry: u32, second: Outcome) {
        match self.0.get_mut(entry as usize) {
            Some(Some(first)) if second.success() => first.modified = second.modified.or(first.modified),
            _ => self.put(entry, second),
        }
    }

    /// Takes in what was decided before.
    fn whole(mut self, reader: &mut SpoolReader) -> Result<Vec<Outcome>, Error> {
        for (number, head) in (0..).zip(reader.heads()?) {
            if let Step::Decided(outcome) = &head.step {
                self.put(number, (**outcome).clone());
            }
        }
        let lost = || Outcome::unknown("no call carried this row");
        Ok(self.0.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
    }
}
