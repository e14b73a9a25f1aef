//! Rows into files that BATCH messages name, instead of RECORD messages; off unless asked for.
//!
//! A file grows in a folder that only this process uses. It gets its own name when it is whole and on the disk,
//! and is announced then. Every STATE comes after the BATCH of all rows before it, so a run that is cut off leaves
//! behind no rows that a bookmark has passed; the next run on the same storage removes what it left unfinished.
//! Of a stream one file is open at a time. Nothing here removes a file that was announced.

use super::config::BatchConfig;
use super::spool::Spool;
use crate::protocol::batch::{Encoding, address_of, path_of};
use crate::protocol::edge::{Edge, End};
#[cfg(feature = "parquet")]
use crate::protocol::parquet::ParquetWriter;
use crate::protocol::state::State;
use crate::protocol::writer::{Frame, MessageWriter, RecordLines, WriteError};
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Most rows of a file. Source: Meltano SDK, `DEFAULT_BATCH_SIZE`.
const DEFAULT_ROWS: u64 = 10_000;

/// Says a sync as Singer, with rows in files.
pub struct BatchWriter<W: Write> {
    messages: MessageWriter<W>,
    encoding: Encoding,
    root: PathBuf,
    /// What the names of this run's files begin with, before stream and number.
    prefix: String,
    /// What they have in common that no other run's have.
    run: String,
    most_rows: u64,
    /// SCHEMAs by stream, for files with columns.
    schemas: BTreeMap<String, Value>,
    unfinished: Spool,
    /// In the order in which they were begun.
    open: Vec<Growing>,
    made: u64,
}

/// A file that grows.
struct Growing {
    stream: String,
    path: PathBuf,
    rows: u64,
    out: Bytes,
}

enum Bytes {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetWriter>),
}

impl<W: Write> BatchWriter<W> {
    /// A writer of messages on `out` and of files as the settings say; `began` goes into their names.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn open(out: W, config: &BatchConfig, began: DateTime<Utc>) -> Result<Self, WriteError> {
        let root = &config.storage.root;
        let unusable = |source| WriteError::File { path: root.into(), source };
        let path = path_of(root).ok_or_else(|| unusable(io::ErrorKind::Unsupported.into()))?;
        let path = std::path::absolute(path).map_err(unusable)?;
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let growing = path.join(".unfinished");
        Spool::sweep_in(&growing).map_err(unusable)?;
        let unfinished = Spool::open_in(&growing).map_err(unusable)?;
        let own = unfinished.path().file_name().unwrap_or_default().to_string_lossy();
        let run = format!("{}-{}", began.format("%Y%m%dT%H%M%SZ"), own.trim_start_matches(".tmp"));
        Ok(Self {
            messages: MessageWriter::new(out),
            encoding: config.encoding.encoding(),
            root: path,
            prefix: config.storage.prefix.clone().unwrap_or_default(),
            run,
            most_rows: config.batch_size.unwrap_or(DEFAULT_ROWS).max(1),
            schemas: BTreeMap::new(),
            unfinished,
            open: Vec::new(),
            made: 0,
        })
    }

    /// Adds lines to the file of a stream; says of each file that is full that it is there.
    fn add(&mut self, stream: &str, mut lines: &[u8]) -> Result<(), WriteError> {
        while !lines.is_empty() {
            let place = match self.open.iter().position(|file| file.stream == stream) {
                Some(place) => place,
                None => self.begin(stream)?,
            };
            let file = &mut self.open[place];
            let (bytes, rows) = head(lines, self.most_rows - file.rows);
            file.write(&lines[..bytes])?;
            file.rows += rows;
            lines = &lines[bytes..];
            if file.rows >= self.most_rows {
                self.announce(place)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, stream: &str) -> Result<usize, WriteError> {
        self.made += 1;
        let name = stream.replace(['/', '\\'], "_");
        let name = format!(
            "{}tap-zoho-crm--{name}-{}-{}.{}",
            self.prefix,
            self.run,
            self.made,
            self.encoding.extension()
        );
        let schema = self.schemas.get(stream).unwrap_or(&Value::Null);
        self.open.push(Growing::create(stream, self.unfinished.path().join(name), self.encoding, schema)?);
        Ok(self.open.len() - 1)
    }

    /// Finishes a file and says that it is there.
    fn announce(&mut self, place: usize) -> Result<(), WriteError> {
        let Growing { stream, path, out, .. } = self.open.remove(place);
        let whole = self.root.join(path.file_name().unwrap_or_default());
        let finish = || -> io::Result<()> {
            out.finish()?.sync_all()?;
            std::fs::rename(&path, &whole)?;
            // The name has to be on the disk, too.
            File::open(&self.root)?.sync_all()
        };
        finish().map_err(|source| WriteError::File { path: whole.clone(), source })?;
        self.messages.batch(&stream, self.encoding, &[address_of(&whole)])
    }

    /// Finishes the file of a stream, if it has one, and says that it is there.
    fn announce_of(&mut self, stream: &str) -> Result<(), WriteError> {
        match self.open.iter().position(|file| file.stream == stream) {
            Some(place) => self.announce(place),
            None => Ok(()),
        }
    }

    fn announce_all(&mut self) -> Result<(), WriteError> {
        while !self.open.is_empty() {
            self.announce(0)?;
        }
        Ok(())
    }
}

/// How many bytes, and how many, of at most so many lines.
fn head(lines: &[u8], most: u64) -> (usize, u64) {
    let ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.take(usize::try_from(most).unwrap_or(usize::MAX)).fold((0, 0), |(_, rows), end| (end, rows + 1))
}

impl Growing {
    fn create(stream: &str, path: PathBuf, encoding: Encoding, schema: &Value) -> Result<Self, WriteError> {
        let out = Bytes::create(&path, encoding, schema)
            .map_err(|source| WriteError::File { path: path.clone(), source })?;
        Ok(Self { stream: stream.to_owned(), path, rows: 0, out })
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        let written = match &mut self.out {
            Bytes::Plain(file) => file.write_all(lines),
            Bytes::Gzip(file) => file.write_all(lines),
            #[cfg(feature = "parquet")]
            Bytes::Parquet(file) => file.write(lines),
        };
        written.map_err(|source| WriteError::File { path: self.path.clone(), source })
    }
}

impl Bytes {
    fn create(path: &Path, encoding: Encoding, schema: &Value) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        match encoding {
            Encoding::Jsonl => Ok(Self::Plain(file)),
            Encoding::JsonlGzip => Ok(Self::Gzip(Box::new(GzEncoder::new(file, Compression::fast())))),
            #[cfg(feature = "parquet")]
            Encoding::Parquet | Encoding::ParquetGzip => {
                let gzip = encoding == Encoding::ParquetGzip;
                Ok(Self::Parquet(Box::new(ParquetWriter::new(file, schema, gzip)?)))
            }
            #[cfg(not(feature = "parquet"))]
            Encoding::Parquet | Encoding::ParquetGzip => {
                let _ = schema;
                Err(io::Error::new(io::ErrorKind::Unsupported, crate::protocol::batch::NO_PARQUET))
            }
        }
    }

    fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(file) => file.finish()?,
            #[cfg(feature = "parquet")]
            Self::Parquet(file) => file.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<W: Write + Send> Edge for BatchWriter<W> {
    fn frame(&self) -> Frame {
        Frame::Bare
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
        // Rows so far are under the SCHEMA before.
        self.announce_of(stream)?;
        self.schemas.insert(stream.to_owned(), schema.clone());
        self.messages.schema(stream, schema, keys, cursor)
    }

    fn records(&mut self, stream: &str, lines: &mut RecordLines, _: u64) -> Result<(), WriteError> {
        let added = self.add(stream, lines.as_bytes());
        lines.clear();
        added
    }

    fn state(&mut self, _: Option<&str>, state: &State) -> Result<(), WriteError> {
        self.announce_all()?;
        self.messages.state(&state.to_value())
    }

    /// The rows of a file have no version, so nothing may be said of those of others; settings see to it.
    fn activate_version(&mut self, _: &str, _: i64) -> Result<(), WriteError> {
        Ok(())
    }

    fn ended(&mut self, stream: &str, _: End<'_>, _: &State) -> Result<(), WriteError> {
        self.announce_of(stream)
    }

    fn finish(&mut self, _: &State) -> Result<(), WriteError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.announce_all()?;
        self.messages.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_divided_at_their_ends() {
        let lines = b"{}\n{\"a\":1}\n{}\n";
        assert_eq!(head(lines, 1), (3, 1));
        assert_eq!(head(lines, 2), (11, 2));
        assert_eq!(head(lines, 9), (lines.len(), 3));
        assert_eq!(head(lines, 0), (0, 0));
    }
}
