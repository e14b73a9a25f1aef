//! Rows on their way into a batch: spooled to a file, so that memory stays flat.
//!
//! A batch is an ordered list of entries. Some are to be sent; others are decided already (refused by the
//! check, or written by an earlier run) and only wait for their turn in the results. The file has one line
//! per entry, with tab-separated parts; JSON written by us holds no raw tab, and the record, which may,
//! comes last.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::mapping::Route;
use super::outcome::Outcome;
use super::preflight::MatchKey;
use super::replay::Change;

/// How many entries that need no sending a batch holds for each row it may send.
const DECIDED_PER_ROW: usize = 4;

/// What is done with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send it with the route's operation.
    Send,
    /// Change the record that an earlier run inserted.
    Change(Change),
    /// Nothing; this is its outcome.
    Decided(Outcome),
}

/// One row of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Input line.
    pub line: u64,
    /// Hash of the stream's key.
    pub key: Option<u128>,
    /// Hash of the content.
    pub hash: u128,
    /// Identity within the batch.
    pub match_key: Option<MatchKey>,
    /// What is done with it.
    pub step: Step,
    /// The table version it carried.
    pub version: Option<i64>,
    /// Columns that are as they were accepted last; record calls leave them out.
    pub unchanged: Vec<u32>,
    /// Name of the row in results: a JSON object.
    pub identifier: String,
    /// The JSON object for a record call; empty for a decided entry.
    pub body: String,
    /// The record as it came, to be written to the rejects file if need be.
    pub record: String,
}

impl Entry {
    /// Whether it is to be sent.
    pub fn is_sent(&self) -> bool {
        !matches!(self.step, Step::Decided(_))
    }

    /// Ends the row's way here, with that outcome.
    pub fn decide(&mut self, outcome: Outcome) {
        self.step = Step::Decided(outcome);
        self.body.clear();
    }

    /// The entry without its texts.
    fn head(&self) -> Self {
        let Self { line, key, hash, match_key, version, .. } = *self;
        let (unchanged, step) = (self.unchanged.clone(), self.step.clone());
        let (identifier, body, record) = (String::new(), String::new(), String::new());
        Self { line, key, hash, match_key, step, version, unchanged, identifier, body, record }
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let hex =
            |number: Option<u128>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:032x}"));
        let unchanged: Vec<String> = self.unchanged.iter().map(u32::to_string).collect();
        let step = match &self.step {
            Step::Send => "-".to_owned(),
            Step::Change(Change::ById(id)) => format!("id {id}"),
            Step::Change(Change::ByMatch) => "match".to_owned(),
            Step::Decided(outcome) => serde_json::to_string(outcome)?,
        };
        writeln!(
            out,
            "{}\t{}\t{:032x}\t{}\t{step}\t{}\t{}\t{}\t{}\t{}",
            self.line,
            hex(self.key),
            self.hash,
            hex(self.match_key.map(|key| key.folded)),
            self.version.map(|version| version.to_string()).unwrap_or_default(),
            unchanged.join(","),
            self.identifier,
            self.body,
            self.record
        )
    }

    fn parse(line: &[u8], wanted: Parts) -> Option<Self> {
        let mut parts = line.strip_suffix(b"\n").unwrap_or(line).splitn(10, |byte| *byte == b'\t');
        let mut next = || std::str::from_utf8(parts.next()?).ok();
        let hex = |text: &str| u128::from_str_radix(text, 16).ok();
        let line = next()?.parse().ok()?;
        let key = hex(next()?);
        let hash = hex(next()?)?;
        // Only equality matters once the batch is closed; entries that differ in case alone never share one.
        let match_key = hex(next()?).map(|exact| MatchKey { exact, folded: exact });
        let step = match next()? {
            "-" => Step::Send,
            "match" => Step::Change(Change::ByMatch),
            text => match text.strip_prefix("id ") {
                Some(id) => Step::Change(Change::ById(id.to_owned())),
                None => Step::Decided(serde_json::from_str(text).ok()?),
            },
        };
        let version = next()?.parse().ok();
        let unchanged = next()?.split(',').filter_map(|place| place.parse().ok()).collect();
        let mut text = |wanted: bool| {
            let text = parts.next()?;
            if wanted { String::from_utf8(text.to_vec()).ok() } else { Some(String::new()) }
        };
        let (identifier, body, record) = (text(wanted.identifier)?, text(wanted.body)?, text(wanted.record)?);
        Some(Self { line, key, hash, match_key, step, version, unchanged, identifier, body, record })
    }
}

/// The texts of an entry that are wanted; the others are left empty, since most passes over a spool need
/// none of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    identifier: bool,
    body: bool,
    record: bool,
}

impl Parts {
    /// None of them.
    pub const HEAD: Self = Self { identifier: false, body: false, record: false };
    /// The name of the row.
    pub const NAME: Self = Self { identifier: true, ..Self::HEAD };
    /// What is sent.
    pub const BODY: Self = Self { body: true, ..Self::HEAD };
    /// All of them.
    pub const ALL: Self = Self { identifier: true, body: true, record: true };

    fn is_head(self) -> bool {
        !(self.identifier || self.body || self.record)
    }
}

/// A batch that takes rows.
#[derive(Debug)]
pub struct OpenBatch {
    /// Its name.
    pub id: String,
    /// Where its rows go.
    pub route: Arc<Route>,
    /// Number of its lane in the ledger.
    pub lane: i64,
    /// The file with its rows.
    pub spool: PathBuf,
    /// When its first row came.
    pub opened: Instant,
    /// Line of its first entry.
    pub first_line: u64,
    /// Number of entries.
    pub entries: u32,
    /// Number of entries to be sent.
    pub to_send: usize,
    bytes: usize,
    keys: HashMap<u128, u128>,
    writer: BufWriter<File>,
}

impl OpenBatch {
    /// Opens a batch with a new spool file.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(
        id: String,
        route: Arc<Route>,
        lane: i64,
        folder: &Path,
        first_line: u64,
    ) -> std::io::Result<Self> {
        let spool = folder.join(format!("{id}.rows"));
        let writer = BufWriter::with_capacity(256 << 10, File::create(&spool)?);
        Ok(Self {
            id,
            route,
            lane,
            spool,
            opened: Instant::now(),
            first_line,
            entries: 0,
            to_send: 0,
            bytes: 0,
            keys: HashMap::new(),
            writer,
        })
    }

    /// Whether the entry may join: a row whose match value differs from another's only in case, or that
    /// changes a record another row creates, has to wait for the next batch, where order is kept.
    pub fn takes(&self, entry: &Entry) -> bool {
        let Some(key) = entry.match_key else { return true };
        match (&entry.step, self.keys.get(&key.folded)) {
            (Step::Decided(_), _) | (_, None) => true,
            (Step::Send, Some(exact)) => *exact == key.exact,
            (Step::Change(_), Some(_)) => false,
        }
    }

    /// Whether a row with the match value of the entry is in the batch already.
    pub fn has_twin(&self, entry: &Entry) -> bool {
        entry.step == Step::Send && entry.match_key.is_some_and(|key| self.keys.contains_key(&key.folded))
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, entry: &Entry) -> std::io::Result<()> {
        entry.write(&mut self.writer)?;
        self.entries += 1;
        self.bytes += entry.body.len();
        if entry.is_sent() {
            self.to_send += 1;
            if let Some(key) = entry.match_key {
                // A changed record takes no later row on top, hence a value that equals no other.
                let exact = if entry.step == Step::Send { key.exact } else { !key.exact };
                self.keys.insert(key.folded, exact);
            }
        }
        Ok(())
    }

    /// Whether the batch takes no more.
    pub fn is_full(&self, batch_rows: usize, batch_bytes: usize) -> bool {
        self.to_send >= batch_rows
            || self.bytes >= batch_bytes
            || self.entries as usize >= batch_rows.saturating_mul(DECIDED_PER_ROW)
    }

    /// Ends the file. It is on the disk before the ledger names it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(mut self) -> std::io::Result<ClosedBatch> {
        self.writer.flush()?;
        self.writer.get_ref().sync_data()?;
        Ok(ClosedBatch {
            id: self.id,
            route: self.route,
            lane: self.lane,
            spool: self.spool,
            first_line: self.first_line,
            entries: self.entries,
            to_send: self.to_send,
        })
    }
}

/// A batch that is complete and waits to be written.
#[derive(Debug, Clone)]
pub struct ClosedBatch {
    /// Its name.
    pub id: String,
    /// Where its rows go.
    pub route: Arc<Route>,
    /// Number of its lane in the ledger.
    pub lane: i64,
    /// The file with its rows.
    pub spool: PathBuf,
    /// Line of its first entry.
    pub first_line: u64,
    /// Number of entries.
    pub entries: u32,
    /// Number of entries to be sent.
    pub to_send: usize,
}

/// Reads a spool file, in order or by entry number.
#[derive(Debug)]
pub struct SpoolReader {
    file: BufReader<File>,
    offsets: Vec<u64>,
    /// What [`Parts::HEAD`] tells of each entry, once all were read: some hundred bytes each, so that only
    /// passes that need the texts read the file again.
    heads: Vec<Entry>,
    line: Vec<u8>,
}

impl SpoolReader {
    /// Opens a spool file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: BufReader::with_capacity(64 << 10, File::open(path)?),
            offsets: vec![0],
            heads: Vec::new(),
            line: Vec::new(),
        })
    }

    /// Calls `visit` with every entry and its number.
    ///
    /// # Errors
    /// When the file cannot be read, or `visit` fails.
    pub fn each<E: From<std::io::Error>>(
        &mut self,
        visit: impl FnMut(u32, Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_of(Parts::ALL, visit)
    }

    /// Calls `visit` with these parts of every entry and its number.
    ///
    /// # Errors
    /// When the file cannot be read, or `visit` fails.
    pub fn each_of<E: From<std::io::Error>>(
        &mut self,
        parts: Parts,
        mut visit: impl FnMut(u32, Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let known = !self.heads.is_empty();
        if known && parts.is_head() {
            return (0..).zip(&self.heads).try_for_each(|(number, head)| visit(number, head.clone()));
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.offsets.truncate(1);
        let mut heads = Vec::new();
        let mut number = 0;
        while let Some((entry, length)) = self.next(parts)? {
            let end = self.offsets.last().copied().unwrap_or(0) + length;
            self.offsets.push(end);
            if !known {
                heads.push(entry.head());
            }
            visit(number, entry)?;
            number += 1;
        }
        if !known {
            self.heads = heads;
        }
        Ok(())
    }

    /// The entry of that number; [`SpoolReader::each`] has to have run before.
    ///
    /// # Errors
    /// When the file cannot be read or has no such entry.
    pub fn entry(&mut self, number: u32) -> std::io::Result<Entry> {
        self.parts(Parts::ALL, number)
    }

    /// These parts of the entry of that number; [`SpoolReader::each`] has to have run before.
    ///
    /// # Errors
    /// When the file cannot be read or has no such entry.
    pub fn parts(&mut self, parts: Parts, number: u32) -> std::io::Result<Entry> {
        if let Some(head) = self.heads.get(number as usize).filter(|_| parts.is_head()) {
            return Ok(head.clone());
        }
        let offset = *self.offsets.get(number as usize).ok_or_else(|| broken("an entry is missing"))?;
        let here = self.file.stream_position()?;
        // Moving within the buffer costs nothing; most entries are read one after the other.
        let way = i64::try_from(offset).and_then(|to| i64::try_from(here).map(|from| to - from));
        self.file.seek_relative(way.map_err(|_| broken("the file is too long"))?)?;
        self.next(parts)?.map(|(entry, _)| entry).ok_or_else(|| broken("an entry is missing"))
    }

    fn next(&mut self, parts: Parts) -> std::io::Result<Option<(Entry, u64)>> {
        self.line.clear();
        let length = self.file.read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(None);
        }
        let entry = Entry::parse(&self.line, parts).ok_or_else(|| broken("an entry cannot be read"))?;
        Ok(Some((entry, length as u64)))
    }
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("the spool file is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::outcome::Action;

    fn entry(line: u64, step: Step, key: Option<u128>) -> Entry {
        Entry {
            line,
            key: Some(7),
            hash: 9,
            match_key: key.map(|exact| MatchKey { exact, folded: exact % 100 }),
            step,
            version: Some(3),
            unchanged: vec![0, 7],
            identifier: "{\"Email\":\"a\"}".to_owned(),
            body: "{\"a\":\"x\\ty\"}".to_owned(),
            record: "{\"a\":\t\"x\"}".to_owned(),
        }
    }

    fn batch(folder: &Path) -> OpenBatch {
        OpenBatch::create("b".into(), Arc::new(crate::target::tests::route()), 1, folder, 5).unwrap()
    }

    #[test]
    fn entries_come_back_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = batch(folder.path());
        let entries = [
            entry(5, Step::Send, Some(1)),
            entry(6, Step::Change(Change::ById("77".into())), None),
            entry(7, Step::Decided(Outcome::rejected("X", None, "tab\there")), None),
            entry(9, Step::Change(Change::ByMatch), None),
        ];
        for one in &entries {
            open.push(one).unwrap();
        }
        let closed = open.close().unwrap();
        assert_eq!((closed.entries, closed.to_send, closed.first_line), (4, 3, 5));
        let mut reader = SpoolReader::open(&closed.spool).unwrap();
        let mut seen = 0;
        reader
            .each(|number, read| {
                let want = &entries[number as usize];
                assert_eq!((read.version, &read.unchanged), (Some(3), &want.unchanged));
                assert_eq!((read.line, &read.step, &read.record), (want.line, &want.step, &want.record));
                seen += 1;
                std::io::Result::Ok(())
            })
            .unwrap();
        assert_eq!(seen, 4);
        for number in [3, 0, 2, 1] {
            assert_eq!(reader.entry(number).unwrap().line, entries[number as usize].line);
        }
        assert!(reader.entry(4).is_err());
        let Step::Decided(outcome) = reader.entry(2).unwrap().step else { panic!("not decided") };
        assert_eq!((outcome.action, outcome.message.as_deref()), (Action::Rejected, Some("tab\there")));
    }

    #[test]
    fn rows_that_differ_in_case_only_do_not_share_a_batch() {
        let folder = tempfile::tempdir().unwrap();
        let mut open = batch(folder.path());
        open.push(&entry(1, Step::Send, Some(101))).unwrap();
        assert!(open.takes(&entry(2, Step::Send, Some(101))));
        assert!(!open.takes(&entry(2, Step::Send, Some(201))));
        assert!(open.takes(&entry(2, Step::Send, Some(102))));
        open.push(&entry(3, Step::Change(Change::ByMatch), Some(303))).unwrap();
        assert!(!open.takes(&entry(4, Step::Send, Some(303))));
    }
}
