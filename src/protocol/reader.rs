//! Lines of stdin, in chunks, with the place of each.
//!
//! Reading stdin blocks, so it happens on a thread of its own; what crosses to the async side is a
//! [`Chunk`] of whole lines, as many as one read gave, never a message per row. A byte order mark at the
//! start, blank lines, `\r\n` and a last line without newline are tolerated. A chunk does not look into
//! its lines; [`crate::protocol::message`] does.

use std::io::BufRead;

use memchr::memchr;

use super::message::{Message, MessageError};
use crate::diagnostic::{Diagnostic, ErrorClass, thousands};

/// Longest line taken, newline not counted. Meltano's own limit is 50 MiB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Line number, from 1; blank lines count.
    pub line: u64,
    /// Bytes before the line.
    pub offset: u64,
}

/// Whole lines, as they came.
#[derive(Debug)]
pub struct Chunk {
    start: Position,
    data: Vec<u8>,
}

/// One line without its newline.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Where it is.
    pub position: Position,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether a newline followed: without one, the input may have been cut.
    pub terminated: bool,
}

/// Input that is no Singer message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input could not be read.
    #[error("cannot read {input}")]
    Io {
        /// Name of the input.
        input: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file that is cut off, or whose bytes are not what was written.
    #[error("line {} of {input}: the file is cut off or damaged ({source})", thousands(*.line))]
    Damaged {
        /// Name of the input.
        input: String,
        /// The line that cannot be read.
        line: u64,
        /// The cause.
        source: std::io::Error,
    },
    /// A line beyond [`MAX_LINE_BYTES`].
    #[error("line {} of {input}: longer than {} MiB", thousands(*.line), MAX_LINE_BYTES >> 20)]
    TooLong {
        /// Name of the input.
        input: String,
        /// The line.
        line: u64,
    },
    /// A line that is no message.
    #[error("line {} of {input}{}: {cause}{}", thousands(.position.line), column(.cause), if *.cut { "; the input ends in the middle of it" } else { "" })]
    Message {
        /// Name of the input.
        input: String,
        /// The line.
        position: Position,
        /// What is wrong with it.
        cause: Box<MessageError>,
        /// Whether the line is the last one and has no newline.
        cut: bool,
    },
}

fn column(cause: &MessageError) -> String {
    cause.column().map_or_else(String::new, |column| format!(", column {}", thousands(column as u64)))
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Retriable,
            Self::Damaged { .. } | Self::TooLong { .. } | Self::Message { .. } => ErrorClass::Protocol,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Message { cut: true, .. } => Some(
                "the tap was stopped while it wrote this line; start it again from the last STATE".to_owned(),
            ),
            Self::Message { position, cause, .. } => cause.hint().or_else(|| {
                Some(format!("the line starts at byte {} of the input", thousands(position.offset)))
            }),
            Self::Damaged { .. } => {
                Some("the tap writes it anew when it is started from the last STATE".to_owned())
            }
            Self::Io { .. } | Self::TooLong { .. } => None,
        }
    }
}

impl Chunk {
    /// The lines that are not blank.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (mut position, mut rest) = (self.start, self.data.as_slice());
        let pieces = std::iter::from_fn(move || {
            let end = memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
            let (piece, behind) = rest.split_at(end);
            rest = behind;
            let bytes = piece.strip_suffix(b"\n").unwrap_or(piece);
            let line = Line { position, bytes, terminated: bytes.len() < piece.len() };
            position.line += 1;
            position.offset += piece.len() as u64;
            (!piece.is_empty()).then_some(line)
        });
        pieces.filter(|line| !line.bytes.trim_ascii().is_empty())
    }
}

impl<'a> Line<'a> {
    /// Parses the line.
    ///
    /// # Errors
    /// [`Error::Message`], with `input` as the name of where the line came from.
    pub fn parse(&self, input: &str) -> Result<Message<'a>, Error> {
        self.parse_with(input, Message::parse)
    }

    /// Parses the line by another protocol.
    ///
    /// # Errors
    /// [`Error::Message`], with `input` as the name of where the line came from.
    pub fn parse_with<T>(
        &self,
        input: &str,
        parse: impl FnOnce(&'a [u8]) -> Result<T, MessageError>,
    ) -> Result<T, Error> {
        parse(self.bytes).map_err(|cause| Error::Message {
            input: input.to_owned(),
            position: self.position,
            cut: !self.terminated
                && matches!(cause, MessageError::NotJson { .. } | MessageError::NotUtf8 { .. }),
            cause: Box::new(cause),
        })
    }
}

/// Cuts a blocking reader into chunks of whole lines.
#[derive(Debug)]
pub struct ChunkReader<R> {
    input: R,
    name: String,
    next: Position,
    carry: Vec<u8>,
    started: bool,
    ended: bool,
    max_line_bytes: usize,
}

impl<R: BufRead> ChunkReader<R> {
    /// Reads `input`, which errors call `name`. A buffer of some 256 KiB in `input` makes good chunks.
    pub fn new(input: R, name: impl Into<String>) -> Self {
        Self {
            input,
            name: name.into(),
            next: Position { line: 1, offset: 0 },
            carry: Vec::new(),
            started: false,
            ended: false,
            max_line_bytes: MAX_LINE_BYTES,
        }
    }

    /// Waits for at least one whole line and returns all that are there; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Io`] when reading fails, [`Error::TooLong`] for an endless line.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        while !self.ended {
            // A byte order mark is cut off after reading, hence the three bytes of slack.
            let before = self.carry.len().saturating_sub(3);
            let taken = self.fill()?;
            self.ended = taken == 0;
            if let Some(newline) = self.carry.iter().skip(before).rposition(|&byte| byte == b'\n') {
                let rest = self.carry.split_off(before.min(self.carry.len()) + newline + 1);
                return Ok(Some(self.take(rest)));
            }
            if self.carry.len() > self.max_line_bytes {
                return Err(Error::TooLong { input: self.name.clone(), line: self.next.line });
            }
        }
        if self.carry.is_empty() { Ok(None) } else { Ok(Some(self.take(Vec::new()))) }
    }

    /// Moves what the reader has into `carry`; the number of bytes read.
    fn fill(&mut self) -> Result<usize, Error> {
        let bytes = loop {
            match self.input.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.unreadable(source)),
                Ok(bytes) => break bytes,
            }
        };
        let taken = bytes.len();
        self.carry.extend_from_slice(bytes);
        self.input.consume(taken);
        if !self.started && (self.carry.len() >= 3 || taken == 0) {
            self.started = true;
            if self.carry.starts_with(b"\xef\xbb\xbf") {
                self.carry.drain(..3);
                self.next.offset = 3;
            }
        }
        Ok(taken)
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let input = self.name.clone();
        match source.kind() {
            InvalidData | InvalidInput | UnexpectedEof => {
                Error::Damaged { input, line: self.next.line, source }
            }
            _ => Error::Io { input, source },
        }
    }

    fn take(&mut self, rest: Vec<u8>) -> Chunk {
        self.started = true;
        let chunk = Chunk { start: self.next, data: std::mem::replace(&mut self.carry, rest) };
        self.next.line += chunk.data.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.next.offset += chunk.data.len() as u64;
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn read(input: &[u8], capacity: usize) -> Vec<(u64, u64, Vec<u8>, bool)> {
        let mut reader = ChunkReader::new(BufReader::with_capacity(capacity, input), "stdin");
        let mut lines = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            lines.extend(chunk.lines().map(|line| {
                (line.position.line, line.position.offset, line.bytes.to_vec(), line.terminated)
            }));
        }
        lines
    }

    #[test]
    fn places_survive_a_mark_blank_lines_and_a_missing_newline() {
        let input = b"\xef\xbb\xbf{}\n\n  \r\n[1]\r\nlast";
        let want = vec![
            (1, 3, b"{}".to_vec(), true),
            (4, 11, b"[1]\r".to_vec(), true),
            (5, 16, b"last".to_vec(), false),
        ];
        assert_eq!(read(input, 4), want);
        assert_eq!(read(input, 1), want);
        assert_eq!(read(input, 4096), want);
        assert!(read(b"", 8).is_empty());
    }

    #[test]
    fn an_endless_line_is_refused() {
        let input = vec![b'x'; 100];
        let mut reader = ChunkReader::new(BufReader::with_capacity(10, input.as_slice()), "stdin");
        reader.max_line_bytes = 50;
        assert!(matches!(reader.next_chunk(), Err(Error::TooLong { line: 1, .. })));
    }

    #[test]
    fn an_error_names_the_line_and_says_when_the_input_was_cut() {
        let input = br#"{"type":"RECORD","stream":"a","rec"#;
        let line = Line { position: Position { line: 18_204, offset: 9 }, bytes: input, terminated: false };
        let error = line.parse("stdin").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("line 18,204 of stdin, column 34: "), "{text}");
        assert!(text.ends_with("the input ends in the middle of it"), "{text}");
        assert_eq!(error.class(), ErrorClass::Protocol);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(text in "[a\n\r é]{0,60}", capacity in 1usize..20) {
            prop_assert_eq!(read(text.as_bytes(), capacity), read(text.as_bytes(), 4096));
        }
    }
}
