//! What leaves the tap: messages, and the state that is true at each moment.

use super::config::TapConfig;
use super::error::Error;
use super::plan::StreamPlan;
use super::state::Bookmark;
use crate::protocol::state::State;
use crate::protocol::writer::{MessageWriter, RecordHead};
use serde_json::Value;
use std::io::Write;
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
}

/// Messages out, with the state that belongs to them.
pub struct Output<W: Write> {
    writer: MessageWriter<W>,
    state: State,
    head: RecordHead,
    stream: String,
    rows: u64,
    rows_since_state: u64,
    last_state: Instant,
    state_rows: u64,
    state_every: Duration,
    last_value: Value,
}

impl<W: Write> Output<W> {
    /// Output on `out`, starting from the state of the run before.
    pub fn new(out: W, state: State, config: &TapConfig) -> Self {
        Self {
            writer: MessageWriter::new(out),
            state,
            head: RecordHead::new("", ""),
            stream: String::new(),
            rows: 0,
            rows_since_state: 0,
            last_state: Instant::now(),
            state_rows: config.state_rows.max(1),
            state_every: Duration::from_secs(config.state_seconds),
            last_value: Value::Null,
        }
    }

    /// The state as it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records written since the stream began.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Says in the state which stream is being read.
    pub fn syncing(&mut self, tap_stream_id: &str) {
        self.state.set_currently_syncing(Some(tap_stream_id));
    }

    /// Begins a stream with its SCHEMA.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn begin(
        &mut self,
        stream: &str,
        schema: &Value,
        keys: &[String],
        cursor: &[String],
    ) -> Result<(), Error> {
        self.stream = stream.to_owned();
        self.rows = 0;
        Ok(self.writer.schema(stream, schema, keys, cursor)?)
    }

    /// Sets the instant that following records carry as `time_extracted`.
    pub fn extracted_at(&mut self, time: &str) {
        self.head = RecordHead::new(&self.stream, time);
    }

    /// Writes one record; `json` appends exactly one JSON object.
    ///
    /// # Errors
    /// When `json` fails or stdout does.
    pub fn record<E>(&mut self, json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), Error>
    where
        Error: From<E>,
    {
        let buffer = self.writer.begin_record(&self.head);
        let start = buffer.len();
        if let Err(error) = json(buffer) {
            // Whole lines only: what was begun of this one must not go out.
            buffer.truncate(start);
            self.writer.abandon_record(&self.head);
            return Err(error.into());
        }
        self.writer.end_record(&self.head)?;
        self.rows += 1;
        self.rows_since_state += 1;
        Ok(())
    }

    /// Whether it is time for a STATE.
    pub fn is_due(&self) -> bool {
        self.rows_since_state >= self.state_rows || self.last_state.elapsed() >= self.state_every
    }

    /// Puts a bookmark into the state and emits it, unless it is the one that is already out and no
    /// record followed.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn checkpoint(&mut self, plan: &StreamPlan, bookmark: &Bookmark) -> Result<(), Error> {
        self.bookmark(&plan.tap_stream_id, bookmark.to_value(plan.replication_key.as_deref()))
    }

    /// The same for a bookmark of another form.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn bookmark(&mut self, tap_stream_id: &str, bookmark: Value) -> Result<(), Error> {
        self.state.set_bookmark(tap_stream_id, bookmark);
        self.emit()
    }

    /// Ends the run: the last STATE names no stream.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn end(&mut self) -> Result<(), Error> {
        self.state.set_currently_syncing(None);
        self.emit()
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.writer.flush()?)
    }

    fn emit(&mut self) -> Result<(), Error> {
        let value = self.state.to_value();
        self.last_state = Instant::now();
        if value == self.last_value && self.rows_since_state == 0 {
            return self.flush();
        }
        self.writer.state(&value)?;
        self.last_value = value;
        self.rows_since_state = 0;
        Ok(())
    }
}
