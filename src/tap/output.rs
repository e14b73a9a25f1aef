//! What leaves the tap: messages, and the state that is true at each moment.
//!
//! Streams are read side by side. Each gathers its RECORD lines in a [`StreamOutput`] of its own and
//! hands them on in blocks; [`Output`] holds what all share, behind one lock that is taken once for
//! a block: stdout and the whole state. A stream's rows go out before the bookmark that covers them.

use super::config::TapConfig;
use super::error::Error;
use super::keeper::{Keeper, id_in};
use crate::protocol::edge::{Edge, End};
use crate::protocol::state::State;
use crate::protocol::writer::{Frame, RecordLines, WriteError};
use crate::written::Written;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Tells whoever watches (a progress bar, a log) how a run goes.
pub trait Observer: Send + Sync {
    /// A stream begins.
    fn started(&self, stream: &str);
    /// The number of rows a stream is expected to have became known.
    fn expects(&self, stream: &str, rows: u64);
    /// What a stream is doing: `Bulk Read, job 4876… queued`.
    fn doing(&self, stream: &str, what: &str);
    /// The number of rows of a stream that are out, in this run.
    fn rows(&self, stream: &str, rows: u64);
    /// A stream is all out.
    fn finished(&self, stream: &str, rows: u64);
    /// A stream ended before it was all out.
    fn stopped(&self, stream: &str);
}

/// stdout and the state of a run, shared by its streams.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Mutex<Sink>,
    frame: Frame,
    /// Rows that went out since the last STATE, whichever stream's.
    rows_since_state: AtomicU64,
    state_rows: u64,
    state_every: Duration,
    /// A trial ends a stream after so many records, and has no STATE.
    trial: Option<u64>,
    /// What our own target wrote, which increments leave out.
    written: Option<Written>,
    /// Records left out.
    echoes: AtomicU64,
}

struct Sink {
    edge: Box<dyn Edge>,
    state: State,
    last_value: Value,
    /// The streams being read, by the ids of the catalog, the one that began first in front.
    reading: Vec<String>,
}

impl Output {
    /// Output by way of `edge`, starting from the state of the run before.
    pub fn new(edge: Box<dyn Edge>, state: State, config: &TapConfig) -> Self {
        let frame = edge.frame();
        let sink = Sink { edge, state, last_value: Value::Null, reading: Vec::new() };
        Self {
            shared: Arc::new(Shared {
                sink: Mutex::new(sink),
                frame,
                rows_since_state: AtomicU64::new(0),
                state_rows: config.state_rows.max(1),
                state_every: Duration::from_secs(config.state_seconds),
                trial: config.trial,
                written: None,
                echoes: AtomicU64::new(0),
            }),
        }
    }

    /// Leaves out of increments what our own target wrote.
    #[must_use]
    pub fn ignoring(mut self, written: Option<Written>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.written = written;
        }
        self
    }

    /// Records that were left out as echoes of our own writes.
    pub fn echoes(&self) -> u64 {
        self.shared.echoes.load(Ordering::Relaxed)
    }

    /// The output of one stream, which is being read from now on.
    pub fn stream(&self, tap_stream_id: &str, stream: &str) -> StreamOutput {
        self.with(|sink| sink.begin(tap_stream_id));
        StreamOutput {
            output: self.clone(),
            tap_stream_id: tap_stream_id.to_owned(),
            stream: stream.to_owned(),
            lines: RecordLines::new(self.shared.frame),
            gathered: 0,
            rows: 0,
            version: None,
            last_state: Instant::now(),
            keeper: None,
            course: Course::Out,
        }
    }

    /// An output whose records go to `taker` instead of stdout, without messages and bookmarks: for
    /// readings whose rows are only looked at.
    pub(super) fn diverted(&self, stream: &str, taker: Taker) -> StreamOutput {
        StreamOutput {
            output: self.clone(),
            tap_stream_id: String::new(),
            stream: stream.to_owned(),
            lines: RecordLines::default(),
            gathered: 0,
            rows: 0,
            last_state: Instant::now(),
            keeper: None,
            version: None,
            course: Course::Taken(taker),
        }
    }

    /// Ends the run: the last STATE names no stream.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn end(&self) -> Result<(), Error> {
        self.with(|sink| {
            sink.reading.clear();
            self.shared.emit(sink, None)
        })
    }

    /// Says of a selected stream why nothing of it is read.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn unread(&self, stream: &str, reason: &Error) -> Result<(), Error> {
        Ok(self.with(|sink| {
            sink.edge.started(stream)?;
            sink.edge.ended(stream, End::Failed(reason), &sink.state)
        })?)
    }

    /// Nothing of any stream follows; hands on what is buffered.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn finish(&self) -> Result<(), Error> {
        Ok(self.with(|sink| sink.edge.finish(&sink.state))?)
    }

    /// Acts under the lock. stdout may block for as long as its reader pleases: the runtime is told,
    /// so that other tasks (signals above all) go on.
    fn with<T>(&self, act: impl FnOnce(&mut Sink) -> T) -> T {
        tokio::task::block_in_place(|| act(&mut self.shared.lock()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Emits the state, unless it is the one that is already out and no record followed.
    fn emit(&self, sink: &mut Sink, stream: Option<&str>) -> Result<(), Error> {
        if self.trial.is_some() {
            return Ok(sink.edge.flush()?);
        }
        sink.state.set_currently_syncing(sink.reading.first().map(String::as_str));
        let value = sink.state.to_value();
        if value == sink.last_value && self.rows_since_state.load(Ordering::Relaxed) == 0 {
            return Ok(sink.edge.flush()?);
        }
        sink.edge.state(stream, &sink.state)?;
        sink.last_value = value;
        self.rows_since_state.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn records(
        &self,
        sink: &mut Sink,
        stream: &str,
        lines: &mut RecordLines,
        rows: u64,
    ) -> Result<(), WriteError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.rows_since_state.fetch_add(rows, Ordering::Relaxed);
        sink.edge.records(stream, lines, rows)
    }
}

impl Sink {
    fn begin(&mut self, tap_stream_id: &str) {
        self.reading.push(tap_stream_id.to_owned());
    }

    fn end(&mut self, tap_stream_id: &str) {
        self.reading.retain(|reading| reading != tap_stream_id);
    }
}

/// Takes records that are only looked at, each a JSON object.
pub(super) type Taker = Box<dyn FnMut(&str) -> Result<(), Error> + Send + Sync>;

/// Where records go.
enum Course {
    /// Out.
    Out,
    /// Out, if their ids are among these; the bookmark stays.
    Some(HashSet<String>),
    /// To somebody who looks at them.
    Taken(Taker),
}

/// What leaves the tap of one stream: its messages in their order, and its bookmark.
pub struct StreamOutput {
    output: Output,
    tap_stream_id: String,
    stream: String,
    lines: RecordLines,
    /// Records in `lines`.
    gathered: u64,
    rows: u64,
    /// The version of a stream that is read whole.
    version: Option<i64>,
    last_state: Instant,
    keeper: Option<Keeper>,
    course: Course,
}

impl StreamOutput {
    /// What all streams of the run share.
    pub fn shared(&self) -> &Output {
        &self.output
    }

    /// Lets a keeper see the records that follow.
    pub(super) fn keep(&mut self, keeper: Option<Keeper>) {
        self.keeper = keeper;
    }

    /// Lets only records of these ids out, and no bookmark, until [`StreamOutput::all`].
    pub(super) fn only(&mut self, ids: impl IntoIterator<Item = String>) {
        self.course = Course::Some(ids.into_iter().collect());
    }

    /// Lets all records out again; answers the ids that did not come.
    pub(super) fn all(&mut self) -> HashSet<String> {
        match std::mem::replace(&mut self.course, Course::Out) {
            Course::Some(ids) => ids,
            Course::Out | Course::Taken(_) => HashSet::new(),
        }
    }

    /// Counts rows that went out by another stream.
    pub(super) fn count(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Begins the stream with its SCHEMA.
    ///
    /// # Errors
    /// When stdout fails, or a trial wants no more than that.
    pub fn begin(&mut self, schema: &Value, keys: &[String], cursor: &[String]) -> Result<(), Error> {
        self.hand_on(|own, sink| {
            sink.edge.started(&own.stream)?;
            Ok(sink.edge.schema(&own.stream, schema, keys, cursor)?)
        })?;
        self.check_trial()
    }

    /// Gives the stream a version, since it is read whole: the instant at which that began. A reading
    /// that goes on after a crash has the same one.
    pub fn versioned(&mut self, began: DateTime<Utc>) {
        self.version = Some(began.timestamp_millis());
        self.lines.version(began.timestamp_millis());
    }

    /// Says that records of other versions are gone: the stream is out, whole.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn activate_version(&mut self) -> Result<(), Error> {
        let Some(version) = self.version else { return Ok(()) };
        self.hand_on(|own, sink| Ok(sink.edge.activate_version(&own.stream, version)?))
    }

    fn check_trial(&self) -> Result<(), Error> {
        let enough = self.output.shared.trial.is_some_and(|most| self.rows >= most);
        if enough { Err(Error::TrialDone) } else { Ok(()) }
    }

    /// Records written since the stream began.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Sets the instant that following records carry as `time_extracted`.
    pub fn extracted_at(&mut self, time: &str) {
        self.lines.head(&self.stream, time);
    }

    /// Writes one record; `json` appends exactly one JSON object.
    ///
    /// # Errors
    /// When `json` fails, stdout does, or a trial has enough.
    pub fn record<E>(&mut self, json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), Error>
    where
        Error: From<E>,
    {
        self.rows += 1;
        let mut record = Vec::new();
        match &mut self.course {
            // A table that is read whole has to be whole: only increments have echoes.
            Course::Out if self.output.shared.written.is_some() && self.version.is_none() => {
                json(&mut record)?;
                if self.is_echo(&record) {
                    self.rows -= 1;
                    return self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.see(0, &mut record));
                }
            }
            Course::Out => return self.out(json),
            Course::Taken(taker) => {
                json(&mut record)?;
                return taker(utf8(&record));
            }
            Course::Some(ids) => {
                json(&mut record)?;
                if !ids.remove(id_in(utf8(&record))) {
                    self.rows -= 1;
                    return Ok(());
                }
            }
        }
        self.out::<Error>(|out| {
            out.extend_from_slice(&record);
            Ok(())
        })
    }

    fn out<E>(&mut self, json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), Error>
    where
        Error: From<E>,
    {
        let keeper = &mut self.keeper;
        self.lines.record(|out| {
            let start = out.len();
            json(out)?;
            keeper.as_mut().map_or(Ok(()), |keeper| keeper.see(start, out))
        })?;
        self.gathered += 1;
        if self.lines.is_full() {
            self.flush()?;
        }
        self.check_trial()
    }

    /// Whether a record is what our own target wrote last; it is counted then.
    fn is_echo(&self, text: &[u8]) -> bool {
        let shared = &self.output.shared;
        let Ok(record) = serde_json::from_slice(text) else { return false };
        let echo = shared.written.as_ref().is_some_and(|written| written.is_echo(&record));
        shared.echoes.fetch_add(u64::from(echo), Ordering::Relaxed);
        echo
    }

    /// Writes one record that is ready, past the keeper and never an echo.
    ///
    /// # Errors
    /// When stdout fails.
    pub(super) fn ready(&mut self, record: &str) -> Result<(), Error> {
        let keeper = self.keeper.take();
        self.rows += 1;
        let written = self.out::<Error>(|out| {
            out.extend_from_slice(record.as_bytes());
            Ok(())
        });
        self.keeper = keeper;
        written
    }

    /// Whether it is time for a STATE.
    pub fn is_due(&self) -> bool {
        if !matches!(self.course, Course::Out) {
            return false;
        }
        let shared = &self.output.shared;
        shared.rows_since_state.load(Ordering::Relaxed) + self.gathered >= shared.state_rows
            || self.last_state.elapsed() >= shared.state_every
    }

    /// Puts the bookmark that is true now into the state and emits it, after all records so far.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn checkpoint(&mut self, bookmark: Value) -> Result<(), Error> {
        if !matches!(self.course, Course::Out) {
            return self.flush();
        }
        self.last_state = Instant::now();
        self.hand_on(|stream, sink| {
            sink.state.set_bookmark(&stream.tap_stream_id, bookmark);
            stream.output.shared.emit(sink, Some(&stream.stream))
        })
    }

    /// Hands on what is gathered.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.hand_on(|_, _| Ok(()))
    }

    /// Hands on what is gathered: the stream is read.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn close(self) -> Result<(), Error> {
        self.close_as(End::Complete)
    }

    /// Hands on what is gathered: the stream is read, or given up.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn close_as(mut self, end: End<'_>) -> Result<(), Error> {
        self.hand_on(|own, sink| {
            sink.end(&own.tap_stream_id);
            Ok(sink.edge.ended(&own.stream, end, &sink.state)?)
        })
    }

    /// Hands on what is gathered and acts, under one lock.
    fn hand_on(&mut self, act: impl FnOnce(&Self, &mut Sink) -> Result<(), Error>) -> Result<(), Error> {
        if matches!(self.course, Course::Taken(_)) {
            return Ok(());
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.flush()?;
        }
        let mut lines = std::mem::take(&mut self.lines);
        let rows = std::mem::take(&mut self.gathered);
        let output = self.output.clone();
        let done = output.with(|sink| {
            output.shared.records(sink, &self.stream, &mut lines, rows)?;
            act(self, sink)
        });
        self.lines = lines;
        done
    }
}

fn utf8(record: &[u8]) -> &str {
    std::str::from_utf8(record).expect("the codec writes UTF-8")
}
