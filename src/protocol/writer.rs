//! Messages to stdout: buffered, whole lines only, flushed at STATE and at the end.
//!
//! The only place in the crate that writes to stdout. A reader that is gone is
//! [`WriteError::Closed`]: the run ends quietly, since nobody is left to read a complaint.

use crate::diagnostic::{Diagnostic, ErrorClass};
use serde_json::Value;
use std::io::{self, Write};

/// Why a message could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The other end of the pipe is closed.
    #[error("the reader of stdout is gone")]
    Closed,
    /// Writing failed: a full disk behind a redirection, say.
    #[error("writing to stdout failed")]
    Io(#[source] io::Error),
}

impl Diagnostic for WriteError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Closed => ErrorClass::Closed,
            Self::Io(_) => ErrorClass::Retriable,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Io(error) }
    }
}

/// Writes Singer messages, one JSON object a line.
pub struct MessageWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> MessageWriter<W> {
    /// Bytes gathered before they go out: the size a Linux pipe can be enlarged to without privilege.
    const BUFFER_BYTES: usize = 1024 * 1024;

    /// A writer on `out`, which need not buffer by itself.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::with_capacity(Self::BUFFER_BYTES + 64 * 1024) }
    }

    /// SCHEMA. `key_properties` is always there, `[]` when the stream has no key.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn schema(
        &mut self,
        stream: &str,
        schema: &Value,
        key_properties: &[String],
        bookmark_properties: &[String],
    ) -> Result<(), WriteError> {
        let mut message = serde_json::json!({
            "type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": key_properties,
        });
        if !bookmark_properties.is_empty() {
            message["bookmark_properties"] = bookmark_properties.into();
        }
        self.line(&message)
    }

    /// Begins a RECORD and returns the buffer to which exactly one JSON object has to be appended.
    pub fn begin_record(&mut self, head: &RecordHead) -> &mut Vec<u8> {
        self.buffer.extend_from_slice(&head.before);
        &mut self.buffer
    }

    /// Ends the RECORD that [`MessageWriter::begin_record`] began.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn end_record(&mut self, head: &RecordHead) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(&head.after);
        if self.buffer.len() >= Self::BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    /// Takes back what [`MessageWriter::begin_record`] began, when nothing was appended to it.
    pub fn abandon_record(&mut self, head: &RecordHead) {
        let length = self.buffer.len().saturating_sub(head.before.len());
        self.buffer.truncate(length);
    }

    /// STATE, after which everything is flushed.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn state(&mut self, value: &Value) -> Result<(), WriteError> {
        self.line(&serde_json::json!({"type": "STATE", "value": value}))?;
        self.flush()
    }

    /// One JSON document that is no message: a catalog, a bare STATE value of a target.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn document(&mut self, text: &str) -> Result<(), WriteError> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b'\n');
        self.flush()
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.write_out()?;
        Ok(self.out.flush()?)
    }

    fn line(&mut self, message: &Value) -> Result<(), WriteError> {
        serde_json::to_writer(&mut self.buffer, message).map_err(|error| WriteError::Io(error.into()))?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), WriteError> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        Ok(written?)
    }
}

/// What stands before and after the record in every RECORD line of one stream and one reading.
pub struct RecordHead {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl RecordHead {
    /// The head for `stream`; `time_extracted` is an RFC 3339 instant.
    pub fn new(stream: &str, time_extracted: &str) -> Self {
        let before = format!("{{\"type\":\"RECORD\",\"stream\":{},\"record\":", Value::from(stream));
        let after = format!(",\"time_extracted\":{}}}\n", Value::from(time_extracted));
        Self { before: before.into_bytes(), after: after.into_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_of_json() {
        let mut writer = MessageWriter::new(Vec::new());
        let head = RecordHead::new("Le\"ads", "2026-03-01T00:00:00Z");
        writer.begin_record(&head).extend_from_slice(br#"{"id":"1"}"#);
        writer.end_record(&head).expect("writes");
        writer.state(&serde_json::json!({"bookmarks": {}})).expect("writes");
        assert_eq!(
            String::from_utf8_lossy(&writer.out),
            "{\"type\":\"RECORD\",\"stream\":\"Le\\\"ads\",\"record\":{\"id\":\"1\"},\
             \"time_extracted\":\"2026-03-01T00:00:00Z\"}\n\
             {\"type\":\"STATE\",\"value\":{\"bookmarks\":{}}}\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_told_apart() {
        let closed = WriteError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.class(), ErrorClass::Closed);
        let full = WriteError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.class(), ErrorClass::Retriable);
    }
}
