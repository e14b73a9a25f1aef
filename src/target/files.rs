//! BATCH: rows from files, on the same way as those of RECORD messages.
//!
//! A file is read as the input is: in chunks, on a thread of its own, with its end and its damage noticed. Its
//! lines have places of their own after the BATCH, so no STATE that follows can pass them, and a replay finds
//! them by what they hold whichever file they come in.

use std::io::Write;
use std::path::Path;

use super::error::Error;
use super::pipeline::{Pipeline, Spot};
use super::read_aside;
use crate::protocol::batch::{BatchMessage, path_of};
use crate::protocol::message::RecordMessage;

impl<W: Write> Pipeline<W> {
    pub(super) async fn take_batch(&mut self, line: u64, message: &BatchMessage<'_>) -> Result<(), Error> {
        let stream = &message.stream;
        if self.streams.get(stream).is_none() {
            let what = format!("BATCH of stream \"{stream}\" comes before its SCHEMA");
            return Err(self.order(line, what, None));
        }
        for address in &message.manifest {
            let Some(path) = path_of(address) else {
                let what =
                    format!("BATCH of stream \"{stream}\" names `{address}`, which is not a local file");
                return Err(self.order(line, what, Some("let the tap write its files to `file://` storage")));
            };
            self.take_file(line, message, &path).await?;
        }
        Ok(())
    }

    async fn take_file(&mut self, line: u64, message: &BatchMessage<'_>, path: &Path) -> Result<(), Error> {
        let rows = message.encoding.open(path).map_err(|error| {
            let stream = &message.stream;
            let what = format!(
                "BATCH of stream \"{stream}\" names `{}`, which cannot be read: {error}",
                path.display()
            );
            self.order(line, what, Some("the tap writes it anew when it is started from the last STATE"))
        })?;
        let name = format!("`{}`", path.display());
        let (run, before) = (self.writer.run, self.lines);
        self.writer.ledger.begin_file(run, before, &path.display().to_string())?;
        let mut input = read_aside(rows, name.clone());
        self.file_name = Some(name.clone());
        while let Some(chunk) = self.next_chunk(&mut input).await? {
            for row in chunk.lines() {
                if self.writer.shutdown.is_cancelled() {
                    return Err(Error::Interrupted);
                }
                let line = row.position.line;
                self.lines = before + line;
                let record = row.parse_with(&name, |bytes| {
                    RecordMessage::bare(bytes, &message.stream, message.version)
                })?;
                self.take_record(Spot { line, place: self.lines }, record.into()).await?;
            }
            self.release_states()?;
        }
        self.file_name = None;
        self.lines_of_files += self.lines - before;
        Ok(self.writer.ledger.end_file(run, before, self.lines)?)
    }
}
