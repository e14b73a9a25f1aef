//! The order of things: lines in, batches filled and written, STATE values out.
//!
//! One loop owns everything that changes: streams, open batches, results, held STATE values. Writing runs
//! beside it on threads of its own, one batch per module at a time, while the next one is made ready and the one
//! after that fills. When a third batch of a module is full before the first is done, reading waits: memory
//! and disk stay bounded. A batch
//! of children closes the open batches of its parents first and waits for them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Source;
use super::ahead::InFlight;
use super::batch::{ClosedBatch, Entry, OpenBatch, Step};
use super::conduct::DeletedRows;
use super::deletes::Deletes;
use super::error::{Before, Error};
use super::family::Family;
use super::ingest::Streams;
use super::mapping::Route;
use super::memory::{Judged, Memory};
use super::metadata::Metadata;
use super::outcome::Outcome;
use super::platform::Platform;
use super::record::{Record, RecordLine};
use super::replay::{Change, Replays, Verdict};
use super::report::{self, Reporter};
use super::state::StateGate;
use super::waiting::Parked;
use super::write::{Writer, Written};
use crate::protocol::message::Message;
use crate::protocol::reader::{self, Chunk, Line};

/// How long calls in the air are waited for when the run is told to stop.
const GRACE: Duration = Duration::from_secs(4);

/// How often the lag of the confirmed STATE is logged.
const LAG_PAUSE: Duration = Duration::from_secs(30);

/// What the input thread sends.
pub type Input = mpsc::Receiver<Result<Chunk, reader::Error>>;

/// A run in progress.
pub struct Pipeline<W> {
    pub(super) writer: Writer,
    pub(super) metadata: Metadata,
    pub(super) reporter: Reporter,
    pub(super) replays: Replays,
    pub(super) memory: Memory,
    pub(super) deletes: Deletes,
    pub(super) deletes_under_way: Option<u64>,
    pub(super) output: W,
    pub(super) fresh: bool,
    pub(super) source: Source,
    pub(super) run_name: String,
    pub(super) input_name: String,
    /// The platform that the rows come from; none: a Singer tap.
    pub(super) platform: Option<Platform>,
    pub(super) streams: Streams,
    pub(super) gate: StateGate,
    pub(super) open: BTreeMap<i64, OpenBatch>,
    pub(super) queue: VecDeque<ClosedBatch>,
    pub(super) in_flight: HashMap<String, InFlight>,
    pub(super) parked: Parked,
    pub(super) family: Family,
    pub(super) tasks: JoinSet<Result<Written, Error>>,
    pub(super) batches: u64,
    /// Place of the line being taken: lines of the input, those of batch files counted where they were named.
    pub(super) lines: u64,
    /// Lines of batch files so far.
    pub(super) lines_of_files: u64,
    /// The batch file being read, as errors call it.
    pub(super) file_name: Option<String>,
    pub(super) next_lag: Option<Instant>,
    pub(super) states: u64,
    pub(super) left_out: u64,
    pub(super) last_row: u64,
    pub(super) last_state: u64,
}

impl<W: Write> Pipeline<W> {
    /// Reads the input to its end and writes all of it; on trouble, what was accepted before.
    ///
    /// # Errors
    /// The first failure. Everything in flight has been brought to a point the ledger knows.
    pub async fn drive(&mut self, mut input: Input) -> Result<(), Error> {
        let ended = match self.read(&mut input).await {
            Ok(()) => self.drain(true).await,
            // What came before the bad line is as good as ever.
            Err(error) if error.is_input() => match self.drain(false).await {
                Ok(()) => {
                    let state = self.gate.last_printed().map(str::to_owned);
                    let lines = error.lines_before(self.lines);
                    Err(error.with_before(Before { lines, state }))
                }
                Err(worse) => Err(worse),
            },
            Err(error) => Err(error),
        };
        if ended.is_err() {
            self.abandon().await;
        }
        self.replays.save()?;
        self.release_states()?;
        self.reporter.finish(&mut self.output)?;
        self.output.flush().map_err(Error::Output)?;
        ended
    }

    /// Whether a tap that starts from the last STATE will send nothing again.
    pub fn is_clean(&self) -> bool {
        let is_covered = self.platform.as_ref().is_none_or(Platform::is_covered);
        is_covered && self.last_state >= self.last_row
    }

    async fn read(&mut self, input: &mut Input) -> Result<(), Error> {
        while let Some(chunk) = self.next_chunk(input).await? {
            self.take(&chunk).await?;
        }
        Ok(())
    }

    /// Waits for lines, of whichever input; meanwhile written batches are settled and aged ones closed.
    pub(super) async fn next_chunk(&mut self, input: &mut Input) -> Result<Option<Chunk>, Error> {
        let shutdown = self.writer.shutdown.clone();
        loop {
            let lag = *self.next_lag.get_or_insert_with(|| Instant::now() + LAG_PAUSE);
            let age = self.writer.config.max_batch_age;
            let oldest = self.open.values().map(|batch| batch.opened + age).min();
            let wake = oldest.map_or(lag, |oldest| oldest.min(lag));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Error::Interrupted),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.on_written(done).await?,
                () = sleep_until(wake) => {
                    self.close_aged().await?;
                    if Instant::now() >= lag {
                        self.log_lag();
                        self.next_lag = None;
                    }
                }
                chunk = input.recv() => return Ok(chunk.transpose()?),
            }
        }
    }

    async fn take(&mut self, chunk: &Chunk) -> Result<(), Error> {
        for line in chunk.lines() {
            if self.writer.shutdown.is_cancelled() {
                return Err(Error::Interrupted);
            }
            self.lines = line.position.line + self.lines_of_files;
            self.take_line(line).await?;
        }
        self.release_states()
    }

    async fn take_line(&mut self, line: Line<'_>) -> Result<(), Error> {
        let at = Spot { line: line.position.line, place: self.lines };
        let place = at.place;
        let message = match &self.platform {
            None => match RecordLine::read(line.bytes) {
                Some(row) => return self.take_record(at, row).await,
                None => line.parse(&self.input_name)?,
            },
            Some(platform) => {
                let parsed = line.parse_with(&self.input_name, |bytes| platform.inbound.parse(bytes))?;
                let Some(message) = parsed else { return Ok(()) };
                message
            }
        };
        match message {
            Message::Record(message) => self.take_record(at, message.into()).await,
            Message::State(value) => {
                if let Some(platform) = &mut self.platform {
                    platform.seal(value.get(), place);
                }
                self.gate.hold(place, value.get());
                self.last_state = place;
                Ok(())
            }
            Message::Schema(message) => self.take_schema(at.line, &message).await,
            Message::ActivateVersion { stream, version } => {
                let routes =
                    self.streams.get(&stream).map(|stream| stream.routes.as_slice()).unwrap_or_default();
                for (_, lane) in routes.iter().filter(|(route, _)| route.mirror) {
                    self.deletes.activate(*lane, place, version);
                }
                Ok(())
            }
            Message::Batch(message) => self.take_batch(at.line, &message).await,
        }
    }

    pub(super) fn order(&self, line: u64, what: String, hint: Option<&str>) -> Error {
        Error::Order { input: self.reading_name(), line, what, hint: hint.map(str::to_owned), before: None }
    }

    /// The name of the batch file being read, or else of the input.
    fn reading_name(&self) -> String {
        self.file_name.as_ref().unwrap_or(&self.input_name).clone()
    }

    pub(super) async fn take_record(&mut self, at: Spot, row: RecordLine<'_>) -> Result<(), Error> {
        let (name, version) = (row.stream.clone(), row.version);
        let Some(stream) = self.streams.get_mut(&name) else {
            let lacks =
                if self.platform.is_some() { "is not in the catalog" } else { "comes before its SCHEMA" };
            return Err(self.order(at.line, format!("RECORD of stream \"{name}\" {lacks}"), None));
        };
        let input = || self.file_name.as_ref().unwrap_or(&self.input_name).clone();
        let wrong = |what: String| Error::Record { input: input(), line: at.line, what, before: None };
        let unread = |error| wrong(format!("the record cannot be read: {error}"));
        let mut record = row.record(&mut stream.keys).map_err(unread)?;
        stream.check(&name, &record).map_err(wrong)?;
        let mut routes = stream.routes.clone();
        let keyed = self.platform.as_mut().and_then(|platform| platform.take(&name, &record));
        if let Some(text) = &keyed {
            record = Record::parse(text).map_err(unread)?;
        }
        // A row that one module rejected goes to that module again, not to the others.
        if let Some(module) = report::rejected_by(&record) {
            routes.retain(|(route, _)| route.module == module);
        }
        if routes.is_empty() {
            self.left_out += 1;
            return Ok(());
        }
        for (route, lane) in routes {
            let row = Incoming { line: at.place, record: &record, version };
            if let Some(entry) = self.take_row(&route, lane, row)? {
                self.push(route, lane, entry).await?;
            }
        }
        self.last_row = at.place;
        Ok(())
    }

    /// One record on its way to one module; none if it waits until the others are written.
    fn take_row(&mut self, route: &Arc<Route>, lane: i64, row: Incoming<'_>) -> Result<Option<Entry>, Error> {
        if route.mirror {
            self.deletes.saw(lane, row.line, row.version);
        }
        match route.on_deleted(row.record) {
            Some(DeletedRows::Delete) => {
                let deleting = Arc::new(route.deleting());
                let entry = self.entry(&deleting, lane, row)?;
                self.hold_delete(lane, &deleting, &entry)?;
                Ok(None)
            }
            Some(_) => {
                let mut entry = self.entry(route, lane, row)?;
                entry.decide(Outcome::left_deleted());
                Ok(Some(entry))
            }
            None => {
                let entry = self.entry(route, lane, row)?;
                self.deletes.bring_back(lane, entry.key);
                Ok(Some(entry))
            }
        }
    }

    /// Maps, checks and compares a record: the row as it joins its batch.
    fn entry(&mut self, route: &Arc<Route>, lane: i64, incoming: Incoming<'_>) -> Result<Entry, Error> {
        let Incoming { line, record, version } = incoming;
        let record_text = record.text().to_owned();
        let row = match route.map(record) {
            Ok(row) => row,
            Err(refused) => {
                return Ok(Entry {
                    line,
                    key: refused.key,
                    version,
                    unchanged: Vec::new(),
                    hash: 0,
                    match_key: None,
                    step: Step::Decided(Box::new(refused.outcome)),
                    identifier: refused.identifier,
                    body: String::new(),
                    columns: None,
                    record: record_text,
                });
            }
        };
        let record_id = report::written_as(record);
        let mut step = match self.replays.judge(lane, line, route, &row)? {
            Verdict::Send => record_id.map_or(Step::Send, |id| Step::Change(Change::ById(id))),
            Verdict::Change(change) => Step::Change(change),
            Verdict::Replayed(outcome) => Step::Decided(Box::new(outcome)),
        };
        let mut unchanged = Vec::new();
        if route.remembers() && step == Step::Send {
            match self.memory.judge(lane, self.writer.memory_lane(route)?, route, &row)? {
                Judged::New => {}
                Judged::Unchanged(outcome) => step = Step::Decided(Box::new(outcome)),
                Judged::Partly(places) => unchanged = places,
            }
        }
        let body = if matches!(step, Step::Decided(_)) { String::new() } else { row.body };
        Ok(Entry {
            line,
            key: row.key,
            version,
            unchanged,
            hash: row.hash,
            match_key: row.match_key,
            step,
            identifier: row.identifier,
            body,
            columns: Some(row.columns),
            record: record_text,
        })
    }

    /// Writes what was accepted, deletes last; `whole` says that the input came to its end.
    async fn drain(&mut self, whole: bool) -> Result<(), Error> {
        self.finish_batches().await?;
        self.end_waiting(whole).await?;
        self.send_deletes(whole).await?;
        self.release_states()
    }

    /// Writes every open batch.
    pub(super) async fn finish_batches(&mut self) -> Result<(), Error> {
        self.close_all().await?;
        while !self.tasks.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(())
    }

    /// Gives up: nothing new is sent, calls in the air are waited for a moment. Batches that are not
    /// written stay where they are, so that no STATE passes their rows.
    async fn abandon(&mut self) {
        self.writer.shutdown.cancel();
        let deadline = Instant::now() + GRACE;
        loop {
            match timeout_at(deadline, self.tasks.join_next()).await {
                Ok(Some(Ok(Ok(written)))) => {
                    let route = written.batch.route.clone();
                    let line = self.landed(&route.module);
                    if let Err(error) = self.receive(written, line) {
                        self.in_flight.insert(route.module.clone(), InFlight::new(&route, line));
                        tracing::warn!(%error, "the results of a batch could not be told");
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    tracing::warn!("calls in the air are left; the next run sees to them");
                    return;
                }
            }
        }
    }

    /// Prints the STATE values that are true by now.
    pub(super) fn release_states(&mut self) -> Result<(), Error> {
        let open = self.open.values().map(|batch| batch.first_line);
        let queued = self.queue.iter().map(|batch| batch.first_line);
        let deletes = self.deletes.first_line().into_iter().chain(self.deletes_under_way);
        let held = deletes.chain(self.parked.first_line());
        let pending = open
            .chain(queued)
            .chain(self.in_flight.values().map(|flight| flight.first_line))
            .chain(held)
            .min();
        if self.gate.waiting_since().is_none_or(|line| pending.is_some_and(|pending| line >= pending)) {
            return Ok(());
        }
        let released = self.gate.release(pending);
        // Rows seen again have to stand in the ledger before a STATE moves past them.
        self.replays.save()?;
        for (line, value) in &released {
            let given_back = self.platform.as_mut().map(|platform| platform.give_back(value, *line));
            let value = given_back.as_deref().unwrap_or(value);
            writeln!(self.output, "{value}").map_err(Error::Output)?;
        }
        self.output.flush().map_err(Error::Output)?;
        self.states += released.len() as u64;
        let lines: Vec<u64> = released.iter().map(|(line, _)| *line).collect();
        let writer = &self.writer;
        Ok(writer.ledger.states_printed(writer.run, &lines, writer.config.replay_states)?)
    }

    fn log_lag(&self) {
        if let Some(line) = self.gate.waiting_since() {
            tracing::info!(
                read = self.lines,
                confirmed_before = line,
                "rows wait for their outcome; the STATE after them is held"
            );
        }
    }
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// In its own file or input, for people.
    pub line: u64,
    /// Among all lines of the run: what rows, STATEs and the ledger go by.
    pub place: u64,
}

/// A record as it came.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    line: u64,
    record: &'a Record<'a>,
    version: Option<i64>,
}
