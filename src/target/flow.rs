//! Batches on their way: filled, closed with their parents first, started when their module is free or made ready
//! behind the one before, settled.
//!
//! A part of the pipeline; what comes in and what goes out is not decided here.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::ahead::{InFlight, Turn};
use super::batch::{ClosedBatch, Entry, OpenBatch};
use super::config::Duplicates;
use super::error::Error;
use super::mapping::Route;
use super::outcome::Outcome;
use super::pipeline::Pipeline;
use super::waiting::Behind;
use super::write::Written;
use crate::aside::aside;

/// Results that wait for another module's before its batch is closed early.
const MOST_HELD_RESULTS: usize = 60_000;

impl<W: Write> Pipeline<W> {
    pub(super) async fn push(&mut self, route: Arc<Route>, lane: i64, mut entry: Entry) -> Result<(), Error> {
        let rejects = self.writer.config.duplicates == Duplicates::Reject && !route.is_of_subform();
        if rejects && self.open.get(&lane).is_some_and(|batch| batch.has_twin(&entry)) {
            entry.decide(Outcome::rejected(
                "DUPLICATE_DATA",
                route.match_on.first().cloned(),
                "a row before it in the batch has the same match value",
            ));
        }
        if route.remembers() && entry.is_sent() {
            self.memory.begin(lane, entry.key);
        }
        if self.open.get(&lane).is_some_and(|batch| !batch.takes(&entry)) {
            self.close(lane).await?;
        }
        let batch = match self.open.entry(lane) {
            std::collections::btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                self.batches += 1;
                let id = format!("r{}-b{}", self.writer.run, self.batches);
                vacant.insert(OpenBatch::create(id, route, lane, &self.writer.folder, entry.line)?)
            }
        };
        batch.push(&entry)?;
        if batch.is_full(self.writer.config.batch_rows, self.writer.config.batch_bytes) {
            self.close(lane).await?;
        }
        if self.reporter.held() > MOST_HELD_RESULTS {
            self.close_all().await?;
        }
        Ok(())
    }

    /// Closes the batch of a lane, those of its parents first, and waits until it may be the next one.
    pub(super) async fn close(&mut self, lane: i64) -> Result<(), Error> {
        let Some(module) = self.open.get(&lane).map(|batch| batch.route.module.clone()) else {
            return Ok(());
        };
        for lane in self.closing_order(lane) {
            if let Some(batch) = self.open.remove(&lane) {
                self.queue.push_back(batch.close()?);
            }
        }
        // The ledger judges by the rows of a run where its tap was: those seen again, which came first, have
        // to stand there before new ones do.
        self.replays.save()?;
        self.start_ready();
        while self.queue.iter().any(|batch| batch.route.module == module) {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    /// A lane after all open lanes that its rows may refer to.
    fn closing_order(&self, lane: i64) -> Vec<i64> {
        let mut order = vec![lane];
        let mut next = 0;
        while next < order.len() {
            if let Some(batch) = self.open.get(&order[next]) {
                // Rows of a subform need the records of their own module.
                let own = batch.route.is_of_subform().then_some(batch.route.module.as_str());
                for parent in batch.route.parents().chain(own) {
                    let lanes = self.open.iter().filter(|(_, open)| open.route.module == parent);
                    let new: Vec<i64> =
                        lanes.map(|(lane, _)| *lane).filter(|lane| !order.contains(lane)).collect();
                    order.extend(new);
                }
            }
            next += 1;
        }
        order.reverse();
        order
    }

    pub(super) async fn close_all(&mut self) -> Result<(), Error> {
        while let Some(lane) = self.open.keys().next().copied() {
            self.close(lane).await?;
        }
        Ok(())
    }

    pub(super) async fn close_aged(&mut self) -> Result<(), Error> {
        let age = self.writer.config.max_batch_age;
        let aged: Vec<i64> = self
            .open
            .iter()
            .filter(|(_, batch)| batch.opened.elapsed() >= age)
            .map(|(lane, _)| *lane)
            .collect();
        for lane in aged {
            self.close(lane).await?;
        }
        Ok(())
    }

    /// Starts every queued batch whose module is free, or has one in flight that lets it be made ready, and whose
    /// parents are written.
    pub(super) fn start_ready(&mut self) {
        let mut waiting = VecDeque::new();
        while let Some(batch) = self.queue.pop_front() {
            let module = batch.route.module.clone();
            let queued =
                |module: &str| waiting.iter().any(|before: &ClosedBatch| before.route.module == module);
            let is_written = |parent: &str| !self.in_flight.contains_key(parent) && !queued(parent);
            let behind = self.behind(&module);
            let may_start = !queued(&module) && batch.route.parents().all(is_written);
            let turn = match self.in_flight.get_mut(&module) {
                None if may_start => {
                    self.in_flight.insert(module, InFlight::new(&batch.route, batch.first_line));
                    None
                }
                Some(before) if may_start && behind.is_empty() && before.lets_ahead(&batch.route) => {
                    Some(before.follow(batch.first_line))
                }
                _ => {
                    waiting.push_back(batch);
                    continue;
                }
            };
            self.start(batch, behind, turn);
        }
        self.queue = waiting;
    }

    /// Writes a batch on a thread of its own: much of it is work, and as a task it would share a thread with
    /// the loop, which fills the next batch meanwhile.
    fn start(&mut self, batch: ClosedBatch, behind: Behind, turn: Option<Turn>) {
        let (writer, runtime) = (self.writer.clone(), Handle::current());
        // The thread starts here and now: a task that started it could wait until this loop does.
        let written = aside("batch", move || runtime.block_on(writer.write(batch, &behind, turn)));
        self.tasks.spawn(async move {
            written.await.map_err(|error| Error::Internal(format!("a batch cannot be written: {error}")))?
        });
    }

    pub(super) async fn wait_for_one(&mut self) -> Result<(), Error> {
        let shutdown = self.writer.shutdown.clone();
        tokio::select! {
            biased;
            done = self.tasks.join_next() => match done {
                Some(done) => self.on_written(done).await,
                None => Err(Error::Internal("a batch waits for nothing".to_owned())),
            },
            () = shutdown.cancelled() => Err(Error::Interrupted),
        }
    }

    pub(super) async fn on_written(
        &mut self,
        done: Result<Result<Written, Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        let written = done.map_err(|error| Error::Internal(format!("a writer stopped: {error}")))??;
        let first_line = self.landed(&written.batch.route.module);
        self.receive(written, first_line)?;
        self.start_ready();
        self.try_few().await
    }

    /// Takes the written batch of a module out of flight and lets the one behind it go; the line it held.
    pub(super) fn landed(&mut self, module: &str) -> u64 {
        let Some((line, next)) = self.in_flight.remove(module).map(InFlight::done) else { return 0 };
        if let Some(next) = next {
            self.in_flight.insert(module.to_owned(), next);
        }
        line
    }

    /// Reports a written batch and forgets it.
    pub(super) fn settle(&mut self, written: &mut Written, earlier: Option<&str>) -> Result<(), Error> {
        self.reporter.batch(written, earlier, &mut self.output)?;
        self.count_refused();
        // Told first, forgotten then: a kill in between tells twice, never not at all.
        self.reporter.flush()?;
        self.memory.end(written.batch.lane, &written.remembered);
        self.writer.ledger.finish_batch(&written.batch.id)?;
        let _ = std::fs::remove_file(&written.batch.spool);
        Ok(())
    }
}
