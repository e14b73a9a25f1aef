//! Messages to stdout: buffered, whole lines only, flushed at STATE and at the end.
//!
//! The only place in the crate that writes to stdout. A reader that is gone is
//! [`WriteError::Closed`]: the run ends quietly, since nobody is left to read a complaint.

use super::batch::Encoding;
use crate::diagnostic::{Diagnostic, ErrorClass};
use chrono::DateTime;
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;

/// Why a message could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The other end of the pipe is closed.
    #[error("the reader of stdout is gone")]
    Closed,
    /// A batch file cannot be written: a full disk, say.
    #[error("cannot write the batch file `{}`", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Writing failed: a full disk behind a redirection, say.
    #[error("writing to stdout failed")]
    Io(#[source] io::Error),
}

impl Diagnostic for WriteError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Closed => ErrorClass::Closed,
            Self::File { .. } | Self::Io(_) => ErrorClass::Retriable,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Io(error) }
    }
}

/// Size to which a pipe is enlarged: the most that Linux grants without privilege. Unit: bytes. Source:
/// pipe(7), `/proc/sys/fs/pipe-max-size`.
const PIPE_BYTES: usize = 1 << 20;

/// Makes room for four blocks in a pipe, so that writer and reader wait for each other less. What is no pipe,
/// or may not be enlarged, stays as it is.
pub fn enlarge_pipe(out: impl std::os::fd::AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(out, PIPE_BYTES);
    #[cfg(not(target_os = "linux"))]
    let _ = (out, PIPE_BYTES);
}

/// Writes Singer messages, one JSON object a line.
pub struct MessageWriter<W: Write> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> MessageWriter<W> {
    /// A writer on `out`, which need not buffer by itself.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn out(&self) -> &W {
        &self.out
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

    /// ACTIVATE_VERSION: the stream's records of other versions are gone.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn activate_version(&mut self, stream: &str, version: i64) -> Result<(), WriteError> {
        self.line(&serde_json::json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": version}))
    }

    /// BATCH: rows of a stream stand in these files, which are whole.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn batch(&mut self, stream: &str, encoding: Encoding, manifest: &[String]) -> Result<(), WriteError> {
        self.line(&serde_json::json!({
            "type": "BATCH", "stream": stream, "encoding": encoding.to_json(), "manifest": manifest,
        }))
    }

    /// RECORD lines that were gathered elsewhere, in one piece.
    ///
    /// # Errors
    /// When the reader is gone or writing fails.
    pub fn records(&mut self, lines: &mut RecordLines) -> Result<(), WriteError> {
        self.write_out()?;
        let written = self.out.write_all(&lines.bytes);
        lines.bytes.clear();
        Ok(written?)
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

    pub(super) fn line(&mut self, message: &Value) -> Result<(), WriteError> {
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

/// What stands around a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Frame {
    /// `{"type":"RECORD","stream":…,"record":…,"time_extracted":…}`
    #[default]
    Singer,
    /// `{"type":"RECORD","record":{"stream":…,"data":…,"emitted_at":…}}`
    Airbyte,
    /// The record alone, as batch files hold it.
    Bare,
}

/// RECORD lines of one stream, gathered before they go out together: whole lines only.
#[derive(Debug, Default)]
pub struct RecordLines {
    frame: Frame,
    bytes: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
    version: Option<i64>,
}

impl RecordLines {
    /// Bytes gathered before they go out: a quarter of the size to which a Linux pipe can be enlarged
    /// without privilege, since several streams gather at once.
    const BLOCK_BYTES: usize = 256 * 1024;

    /// No lines yet, each of this form.
    pub fn new(frame: Frame) -> Self {
        Self { frame, ..Self::default() }
    }

    /// Sets the version that the records of every [`head`](Self::head) from now on carry.
    pub fn version(&mut self, version: i64) {
        self.version = Some(version);
    }

    /// Sets what stands around the records that follow; `time_extracted` is an RFC 3339 instant.
    pub fn head(&mut self, stream: &str, time_extracted: &str) {
        let stream = Value::from(stream);
        (self.before, self.after) = match self.frame {
            Frame::Singer => {
                let version =
                    self.version.map(|version| format!(",\"version\":{version}")).unwrap_or_default();
                (
                    format!("{{\"type\":\"RECORD\",\"stream\":{stream},\"record\":").into(),
                    format!("{version},\"time_extracted\":{}}}\n", Value::from(time_extracted)).into(),
                )
            }
            Frame::Airbyte => {
                let instant = DateTime::parse_from_rfc3339(time_extracted).unwrap_or_default();
                (
                    format!("{{\"type\":\"RECORD\",\"record\":{{\"stream\":{stream},\"data\":").into(),
                    format!(",\"emitted_at\":{}}}}}\n", instant.timestamp_millis()).into(),
                )
            }
            Frame::Bare => (Vec::new(), b"\n".to_vec()),
        };
    }

    /// Adds one record; `json` appends exactly one JSON object.
    ///
    /// # Errors
    /// When `json` fails; then nothing is added.
    pub fn record<E>(&mut self, json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.before);
        let written = json(&mut self.bytes);
        match &written {
            Ok(()) => self.bytes.extend_from_slice(&self.after),
            Err(_) => self.bytes.truncate(start),
        }
        written
    }

    /// The lines gathered, each with its newline.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the lines gathered.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Whether enough is gathered to hand it on.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= Self::BLOCK_BYTES
    }

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_of_json() {
        let mut writer = MessageWriter::new(Vec::new());
        let mut lines = RecordLines::default();
        lines.head("Le\"ads", "2026-03-01T00:00:00Z");
        lines.record(|out| out.write_all(br#"{"id":"1"}"#)).expect("is written");
        let begun = |out: &mut Vec<u8>| {
            out.push(b'{');
            Err("given up")
        };
        lines.record(begun).expect_err("is given up");
        writer.records(&mut lines).expect("writes");
        writer.state(&serde_json::json!({"bookmarks": {}})).expect("writes");
        assert_eq!(
            String::from_utf8_lossy(&writer.out),
            "{\"type\":\"RECORD\",\"stream\":\"Le\\\"ads\",\"record\":{\"id\":\"1\"},\
             \"time_extracted\":\"2026-03-01T00:00:00Z\"}\n\
             {\"type\":\"STATE\",\"value\":{\"bookmarks\":{}}}\n"
        );
    }

    #[test]
    fn an_airbyte_record_has_its_instant_in_milliseconds() {
        let mut lines = RecordLines::new(Frame::Airbyte);
        lines.head("Leads", "2026-03-01T00:00:00Z");
        lines.record(|out| out.write_all(br#"{"id":"1"}"#)).expect("is written");
        assert_eq!(
            String::from_utf8_lossy(&lines.bytes),
            "{\"type\":\"RECORD\",\"record\":{\"stream\":\"Leads\",\"data\":{\"id\":\"1\"},\"emitted_at\":1772323200000}}\n"
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
