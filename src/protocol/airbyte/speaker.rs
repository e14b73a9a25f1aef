//! A sync as Airbyte messages: records, a state for each stream, and how far each stream is.
//!
//! A stream is STARTED once, RUNNING with its first record, and has at least one STATE before COMPLETE.
//! Nothing of a stream may follow its terminal status. Where rows of a stream may come again after it was
//! read (restored records follow the stream of deletes), all terminal statuses wait for the end of the run.

use super::message;
use crate::protocol::edge::{Edge, End};
use crate::protocol::state::State;
use crate::protocol::writer::{Frame, MessageWriter, RecordLines, WriteError};
use serde_json::{Value, json};
use std::io::Write;

/// Says a sync in Airbyte's words.
pub struct Speaker<W: Write> {
    writer: MessageWriter<W>,
    /// In the order in which they began.
    streams: Vec<(String, Told)>,
    /// Whether rows may follow the end of a stream.
    is_late: bool,
    now: fn() -> i64,
}

/// What was told of a stream.
#[derive(Default)]
struct Told {
    is_running: bool,
    rows: u64,
    rows_since_state: u64,
    last_state: Option<Value>,
    /// How it ended: whether it is complete.
    ended: Option<bool>,
    is_closed: bool,
}

impl<W: Write> Speaker<W> {
    /// A speaker on `out`. `is_late`: rows of a stream may follow its end. `now` counts milliseconds.
    pub fn new(out: W, is_late: bool, now: fn() -> i64) -> Self {
        Self { writer: MessageWriter::new(out), streams: Vec::new(), is_late, now }
    }

    fn told(&mut self, stream: &str) -> Result<&mut Told, WriteError> {
        let place = match self.streams.iter().position(|(name, _)| name == stream) {
            Some(place) => place,
            None => {
                self.writer.line(&message::stream_status(stream, "STARTED", (self.now)()))?;
                self.streams.push((stream.to_owned(), Told::default()));
                self.streams.len() - 1
            }
        };
        Ok(&mut self.streams[place].1)
    }

    /// The STATE of a stream, unless it is out already and no record followed. Two states in a row are
    /// never the same: a platform takes that for a source that does not move.
    fn say_state(&mut self, stream: &str, state: &State) -> Result<(), WriteError> {
        let bookmark = state.bookmark(stream).filter(|bookmark| *bookmark != &json!({}));
        let bookmark = bookmark.cloned().unwrap_or_else(|| json!({"complete": true}));
        let told = self.told(stream)?;
        let is_same = told.last_state.as_ref() == Some(&bookmark);
        if is_same && told.rows_since_state == 0 {
            return Ok(());
        }
        let mut blob = bookmark.clone();
        if is_same {
            blob["records"] = told.rows.into();
        }
        // A double, and always with its point.
        let count = json!(std::mem::take(&mut told.rows_since_state) as f64);
        told.last_state = Some(bookmark);
        self.writer.line(&json!({"type": "STATE", "state": {"type": "STREAM",
            "stream": {"stream_descriptor": {"name": stream}, "stream_state": blob},
            "sourceStats": {"recordCount": count}}}))
    }

    /// The last words on a stream.
    fn close(&mut self, place: usize, state: &State) -> Result<(), WriteError> {
        let (stream, told) = &mut self.streams[place];
        let stream = stream.clone();
        if std::mem::replace(&mut told.is_closed, true) {
            return Ok(());
        }
        let is_complete = told.ended.unwrap_or(false);
        if is_complete && (told.last_state.is_none() || told.rows_since_state > 0) {
            self.say_state(&stream, state)?;
        }
        let status = if is_complete { "COMPLETE" } else { "INCOMPLETE" };
        self.writer.line(&message::stream_status(&stream, status, (self.now)()))
    }
}

impl<W: Write + Send> Edge for Speaker<W> {
    fn frame(&self) -> Frame {
        Frame::Airbyte
    }

    fn started(&mut self, stream: &str) -> Result<(), WriteError> {
        self.told(stream).map(drop)
    }

    /// The catalog has told it.
    fn schema(&mut self, _: &str, _: &Value, _: &[String], _: &[String]) -> Result<(), WriteError> {
        Ok(())
    }

    fn records(&mut self, stream: &str, lines: &mut RecordLines, rows: u64) -> Result<(), WriteError> {
        let now = self.now;
        let told = self.told(stream)?;
        told.rows += rows;
        told.rows_since_state += rows;
        if !std::mem::replace(&mut told.is_running, true) {
            self.writer.line(&message::stream_status(stream, "RUNNING", now()))?;
        }
        self.writer.records(lines)
    }

    fn state(&mut self, stream: Option<&str>, state: &State) -> Result<(), WriteError> {
        if let Some(stream) = stream {
            self.say_state(stream, state)?;
        }
        self.writer.flush()
    }

    fn activate_version(&mut self, _: &str, _: i64) -> Result<(), WriteError> {
        Ok(())
    }

    fn ended(&mut self, stream: &str, end: End<'_>, state: &State) -> Result<(), WriteError> {
        let is_complete = matches!(end, End::Complete);
        let told = self.told(stream)?;
        told.ended = Some(told.ended.unwrap_or(true) && is_complete);
        if let End::Failed(error) = end {
            self.writer.line(&message::error(error, Some(stream), (self.now)()))?;
        }
        let place = self.streams.iter().position(|(name, _)| name == stream);
        if let Some(place) = place.filter(|_| !self.is_late) {
            self.close(place, state)?;
        }
        self.writer.flush()
    }

    fn finish(&mut self, state: &State) -> Result<(), WriteError> {
        for place in 0..self.streams.len() {
            self.close(place, state)?;
        }
        self.writer.flush()
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(speaker: &Speaker<Vec<u8>>) -> Vec<String> {
        let text = String::from_utf8_lossy(speaker.writer.out());
        let short = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("a message");
            match message["type"].as_str() {
                Some("TRACE") => message["trace"]["stream_status"]["status"].to_string(),
                Some("STATE") => format!(
                    "{} {}",
                    message["state"]["stream"]["stream_state"],
                    message["state"]["sourceStats"]["recordCount"]
                ),
                _ => "RECORD".to_owned(),
            }
        };
        text.lines().map(short).collect()
    }

    fn records(speaker: &mut Speaker<Vec<u8>>, rows: u64) {
        let mut lines = RecordLines::new(Frame::Airbyte);
        lines.head("Leads", "2026-03-01T00:00:00Z");
        for _ in 0..rows {
            lines.record(|out| out.write_all(b"{}")).expect("is written");
        }
        speaker.records("Leads", &mut lines, rows).expect("writes");
    }

    #[test]
    fn a_stream_has_a_state_and_nothing_follows_its_end() {
        let mut speaker = Speaker::new(Vec::new(), false, || 0);
        let state = State::default();
        speaker.started("Leads").expect("writes");
        records(&mut speaker, 2);
        speaker.ended("Leads", End::Complete, &state).expect("writes");
        speaker.finish(&state).expect("writes");
        assert_eq!(
            said(&speaker),
            ["\"STARTED\"", "\"RUNNING\"", "RECORD", "RECORD", "{\"complete\":true} 2.0", "\"COMPLETE\""]
        );
    }

    #[test]
    fn two_states_in_a_row_differ_and_late_rows_come_before_the_end() {
        let mut speaker = Speaker::new(Vec::new(), true, || 0);
        let mut state = State::default();
        state.set_bookmark("Leads", json!({"at": 1}));
        speaker.state(Some("Leads"), &state).expect("writes");
        speaker.state(Some("Leads"), &state).expect("writes");
        speaker.ended("Leads", End::Complete, &state).expect("writes");
        records(&mut speaker, 1);
        speaker.ended("Leads", End::Complete, &state).expect("writes");
        speaker.finish(&state).expect("writes");
        assert_eq!(
            said(&speaker),
            [
                "\"STARTED\"",
                "{\"at\":1} 0.0",
                "\"RUNNING\"",
                "RECORD",
                "{\"at\":1,\"records\":1} 1.0",
                "\"COMPLETE\""
            ]
        );
    }
}
