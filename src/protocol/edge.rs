//! The edge: what a sync says, whichever protocol it is said in.
//!
//! A sync knows streams, blocks of records and bookmarks. [`MessageWriter`] says them as Singer,
//! [`airbyte::Speaker`](super::airbyte::Speaker) as Airbyte; nothing behind this trait differs between the two.

use super::state::State;
use super::writer::{Frame, MessageWriter, RecordLines, WriteError};
use crate::diagnostic::Diagnostic;
use serde_json::Value;
use std::io::Write;

/// How the reading of a stream ended.
#[derive(Clone, Copy)]
pub enum End<'a> {
    /// All of it is out.
    Complete,
    /// Some of it could not be read.
    Failed(&'a dyn Diagnostic),
    /// It was told to stop.
    Stopped,
}

/// Says what happens in a sync. Every call writes whole lines.
pub trait Edge: Send {
    /// What stands around a record.
    fn frame(&self) -> Frame;

    /// A stream is being read from now on; one that ended may be taken up again.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn started(&mut self, stream: &str) -> Result<(), WriteError>;

    /// What the records of a stream look like.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        keys: &[String],
        cursor: &[String],
    ) -> Result<(), WriteError>;

    /// So many records of a stream.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn records(&mut self, stream: &str, lines: &mut RecordLines, rows: u64) -> Result<(), WriteError>;

    /// The bookmark of a stream moved, or with no stream the whole state. Everything is flushed after it.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn state(&mut self, stream: Option<&str>, state: &State) -> Result<(), WriteError>;

    /// Records of other versions of a stream are gone.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn activate_version(&mut self, stream: &str, version: i64) -> Result<(), WriteError>;

    /// A stream is not read any longer.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn ended(&mut self, stream: &str, end: End<'_>, state: &State) -> Result<(), WriteError>;

    /// Nothing of any stream follows.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn finish(&mut self, state: &State) -> Result<(), WriteError>;

    /// Hands everything on.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    fn flush(&mut self) -> Result<(), WriteError>;
}

/// Singer: streams begin with their SCHEMA, a STATE is whole, and nothing tells how a stream ended.
impl<W: Write + Send> Edge for MessageWriter<W> {
    fn frame(&self) -> Frame {
        Frame::Singer
    }

    fn started(&mut self, _: &str) -> Result<(), WriteError> {
        Ok(())
    }

    fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        keys: &[String],
        cursor: &[String],
    ) -> Result<(), WriteError> {
        Self::schema(self, stream, schema, keys, cursor)
    }

    fn records(&mut self, _: &str, lines: &mut RecordLines, _: u64) -> Result<(), WriteError> {
        Self::records(self, lines)
    }

    fn state(&mut self, _: Option<&str>, state: &State) -> Result<(), WriteError> {
        Self::state(self, &state.to_value())
    }

    fn activate_version(&mut self, stream: &str, version: i64) -> Result<(), WriteError> {
        Self::activate_version(self, stream, version)
    }

    fn ended(&mut self, _: &str, _: End<'_>, _: &State) -> Result<(), WriteError> {
        Ok(())
    }

    fn finish(&mut self, _: &State) -> Result<(), WriteError> {
        Self::flush(self)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        Self::flush(self)
    }
}
