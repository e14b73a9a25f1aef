//! Batches some of whose rows wait: for parents that later rows of the input may bring, or for earlier rows
//! of the same record that wait themselves.
//!
//! A part of the pipeline. Such a batch stays as it is, rows in its spool file and calls in the ledger, and
//! holds back every STATE after its first row. What comes after it in its stream is written as ever, but
//! told of later, so that RESULTs stay in input order. A batch with few rows that wait is tried again now
//! and then, after more of their parents were written; all are tried at the end of the input, as long as that
//! brings parents of others; then what waits is refused.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use super::error::Error;
use super::ledger::{Call, Progress, StoredBatch};
use super::pipeline::Pipeline;
use super::plan::{self, Scope};
use super::second::Patience;
use super::spool::SpoolReader;
use super::write::{Effort, Writer, Written};

/// Most rows of a batch that wait and are tried again before the input ends: looking up their parents costs
/// one credit for 50.
const FEW: usize = 1_000;

/// Entries of a batch that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Their numbers.
    pub entries: HashSet<u32>,
    /// Identity of their records, where the route matches any.
    pub keys: HashSet<u128>,
    /// Calls that they need: two for a row that has to be written and then gets a lookup, else one. It goes
    /// down whenever something was written.
    pub left: usize,
}

/// Records with rows that wait: what comes later for them waits, too.
#[derive(Debug, Default, Clone)]
pub struct Behind(Vec<Arc<HashSet<u128>>>);

impl Behind {
    /// Whether no rows wait.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether rows of a record wait.
    pub fn has(&self, key: u128) -> bool {
        self.0.iter().any(|keys| keys.contains(&key))
    }
}

/// Batches that are not settled yet, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Parked {
    batches: Vec<ParkedBatch>,
    /// Batches written so far, by module.
    written: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct ParkedBatch {
    batch: StoredBatch,
    first_line: u64,
    effort: Effort,
    /// Rows that wait.
    rows: usize,
    /// As in [`Waiting`].
    left: usize,
    keys: Arc<HashSet<u128>>,
    /// How often it was tried again.
    tries: u32,
    /// Batches of the modules it waits for that were written when it was tried last.
    seen: u64,
}

impl Parked {
    /// The line of the first row that is not told of.
    pub fn first_line(&self) -> Option<u64> {
        self.batches.iter().map(|parked| parked.first_line).min()
    }

    /// Records of a module with rows that wait in the first `most` batches.
    fn behind(&self, module: &str, most: usize) -> Behind {
        let first = self.batches.iter().take(most);
        let waiting = first.filter(|parked| parked.batch.route.module == module && !parked.keys.is_empty());
        Behind(waiting.map(|parked| Arc::clone(&parked.keys)).collect())
    }

    /// Batches written by now that may hold what a batch waits for.
    fn brought(&self, batch: &StoredBatch) -> u64 {
        // Its own module counts for lookups to it, and for earlier rows of its records.
        let own = Some(batch.route.module.as_str());
        let modules: HashSet<&str> = batch.route.parents().chain(own).collect();
        modules.iter().filter_map(|module| self.written.get(*module)).sum()
    }

    fn has_stream(&self, stream: &str) -> bool {
        self.batches.iter().any(|parked| parked.batch.route.stream == stream)
    }
}

impl<W: Write> Pipeline<W> {
    /// Records of a module with rows that wait.
    pub(super) fn behind(&self, module: &str) -> Behind {
        self.parked.behind(module, usize::MAX)
    }

    /// Takes a batch that was sent: settles it, or puts it with those that wait.
    pub(super) fn receive(&mut self, mut written: Written, first_line: u64) -> Result<(), Error> {
        let route = &written.batch.route;
        *self.parked.written.entry(route.module.clone()).or_default() += 1;
        if written.waiting.entries.is_empty() && !self.parked.has_stream(&route.stream) {
            return self.settle(&mut written, None);
        }
        self.memory.end(written.batch.lane, &written.remembered);
        if self.parked.batches.is_empty() {
            self.writer.ledger.index_outcomes()?;
        }
        let seen = self.parked.brought(&written.batch);
        self.parked.batches.push(ParkedBatch {
            first_line,
            effort: written.effort,
            rows: written.waiting.entries.len(),
            left: written.waiting.left,
            keys: Arc::new(written.waiting.keys),
            tries: 0,
            seen,
            batch: written.batch,
        });
        Ok(())
    }

    /// Tries batches again of which few rows wait, each time after twice as many batches of their parents.
    pub(super) async fn try_few(&mut self) -> Result<(), Error> {
        for place in 0..self.parked.batches.len() {
            let parked = &self.parked.batches[place];
            let brought = self.parked.brought(&parked.batch);
            if (1..=FEW).contains(&parked.rows) && brought >= parked.seen + (1 << parked.tries.min(32)) {
                self.try_again(place, Patience::Waits).await?;
            }
        }
        self.settle_parked()
    }

    /// At the end of the input: writes what waits, and, if it is `whole`, refuses what waits for nothing.
    pub(super) async fn end_waiting(&mut self, whole: bool) -> Result<(), Error> {
        let left = |parked: &Parked| parked.batches.iter().map(|one| one.left).sum::<usize>();
        // The first time all are tried: parents may have been written while their children were under way.
        let mut begun = false;
        loop {
            let before = left(&self.parked);
            self.try_all(Patience::Waits, !begun).await?;
            begun = true;
            if left(&self.parked) == before {
                break;
            }
        }
        if whole && left(&self.parked) > 0 {
            self.try_all(Patience::Ends, true).await?;
        }
        self.settle_parked()
    }

    async fn try_all(&mut self, patience: Patience, even_if_nothing_came: bool) -> Result<(), Error> {
        for place in 0..self.parked.batches.len() {
            let parked = &self.parked.batches[place];
            let came = even_if_nothing_came || self.parked.brought(&parked.batch) > parked.seen;
            if parked.rows > 0 && came {
                self.try_again(place, patience).await?;
            }
        }
        Ok(())
    }

    async fn try_again(&mut self, place: usize, patience: Patience) -> Result<(), Error> {
        let parked = &self.parked.batches[place];
        let behind = self.parked.behind(&parked.batch.route.module, place);
        let seen = self.parked.brought(&parked.batch);
        let written = Box::pin(self.writer.resume(parked.batch.clone(), &behind, patience)).await?;
        let parked = &mut self.parked.batches[place];
        if written.waiting.left < parked.left {
            *self.parked.written.entry(written.batch.route.module.clone()).or_default() += 1;
        }
        parked.rows = written.waiting.entries.len();
        parked.left = written.waiting.left;
        parked.keys = Arc::new(written.waiting.keys);
        parked.tries += 1;
        parked.seen = seen;
        parked.effort.add(written.effort);
        self.memory.end(written.batch.lane, &written.remembered);
        Ok(())
    }

    /// Settles batches of which no row waits, nor one before them in their stream.
    fn settle_parked(&mut self) -> Result<(), Error> {
        let mut waiting: HashSet<String> = HashSet::new();
        let mut place = 0;
        while let Some(parked) = self.parked.batches.get(place) {
            let stream = &parked.batch.route.stream;
            if parked.rows > 0 || waiting.contains(stream) {
                waiting.insert(stream.clone());
                place += 1;
                continue;
            }
            let mut written = self.writer.told(parked.batch.clone(), parked.effort)?;
            self.settle(&mut written, None)?;
            self.parked.batches.remove(place);
        }
        self.release_states()
    }
}

impl Writer {
    /// Plans the waiting rows of a batch anew, all but those of the second pass; gives its calls, and the
    /// entries that waited.
    ///
    /// # Errors
    /// When the spool cannot be read or the ledger fails.
    pub(super) fn awake(
        &self,
        batch: &StoredBatch,
        reader: &mut SpoolReader,
        calls: Vec<Call>,
        behind: &Behind,
    ) -> Result<(Vec<Call>, HashSet<u32>), Error> {
        let waits = |call: &Call| call.progress == Progress::Waiting;
        let entries = |call: &Call| call.units.iter().flatten().copied().collect::<Vec<u32>>();
        let waited: HashSet<u32> = calls
            .iter()
            .filter(|call| waits(call) || call.way.comes_second() && call.progress != Progress::Done)
            .flat_map(entries)
            .collect();
        let (asleep, mut calls): (Vec<Call>, Vec<Call>) =
            calls.into_iter().partition(|call| waits(call) && !call.way.comes_second());
        if !asleep.is_empty() {
            let only: HashSet<u32> = asleep.iter().flat_map(entries).collect();
            let scope = Scope { only: Some(&only), behind: Some(behind) };
            let mut planned = plan::plan(reader, &batch.route, self.config.method, scope)?;
            let numbers: Vec<u32> = asleep.iter().map(|call| call.number).collect();
            self.ledger.replace_calls(&batch.id, &numbers, &mut planned)?;
            calls.extend(planned);
        }
        Ok((calls, waited))
    }

    /// The entries of a batch that wait.
    ///
    /// # Errors
    /// When the spool cannot be read or the ledger fails.
    pub(super) fn waiting(&self, batch: &StoredBatch, reader: &mut SpoolReader) -> Result<Waiting, Error> {
        let calls = self.ledger.calls(&batch.id)?;
        let mut waiting = Waiting::default();
        for call in calls.iter().filter(|call| call.progress == Progress::Waiting) {
            waiting.left += if call.way.comes_second() { call.units.len() } else { 2 * call.units.len() };
            waiting.entries.extend(call.units.iter().flatten());
        }
        if !waiting.entries.is_empty() {
            for &number in &waiting.entries {
                waiting.keys.extend(reader.head(number)?.match_key);
            }
        }
        Ok(waiting)
    }
}
