//! The file with the rows of a batch: written once, in order, and read back by place.
//!
//! What most passes need of a row, its [`Head`], is kept in memory while the batch is under way, and read
//! from the file for one that a killed run left behind. The file has one line per row, with tab-separated
//! parts; JSON written by us holds no raw tab, and the record, which may, comes last.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::batch::{Entry, Step};
use super::outcome::Outcome;
use super::preflight::MatchKey;
use super::replay::Change;

/// Parts of a line.
const PARTS: usize = 10;

/// A buffer for writing; a smaller one would mean more calls than work.
const WRITE_BYTES: usize = 256 << 10;

/// A buffer for reading: a row and the way over its record to the next mostly lie within it.
const READ_BYTES: usize = 64 << 10;

/// What is known of a row without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Input line.
    pub line: u64,
    /// Hash of the stream's key.
    pub key: Option<u128>,
    /// Hash of the content.
    pub hash: u128,
    /// Identity within the batch. Rows that differ in case alone never share one.
    pub match_key: Option<u128>,
    /// What is done with it.
    pub step: Step,
    /// Which set of columns it carries, where that was noted.
    columns: Option<u32>,
    /// Where its line begins.
    start: u64,
    /// Where in the line the body begins, and its length.
    body: (u32, u32),
    /// Where the name ends among all names.
    name_end: u32,
}

/// The heads of a batch and what they refer to.
#[derive(Debug, Default)]
struct Heads {
    all: Vec<Head>,
    names: String,
    /// Sets of columns; nearly all rows of a batch have the same.
    columns: Vec<Vec<bool>>,
    /// Where the file ends.
    end: u64,
}

/// A spool file that takes rows.
#[derive(Debug)]
pub struct SpoolWriter {
    file: BufWriter<File>,
    heads: Heads,
    line: Vec<u8>,
}

/// A spool file that is complete.
#[derive(Debug)]
pub struct SpoolReader {
    file: BufReader<File>,
    /// Where the next byte is read, so that nobody has to ask the system for every row.
    place: u64,
    /// None until they were read.
    heads: Option<Heads>,
    line: Vec<u8>,
}

impl SpoolWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        Ok(Self { file, heads: Heads::default(), line: Vec::new() })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, entry: &Entry) -> std::io::Result<()> {
        self.line.clear();
        let body = write_line(entry, &mut self.line)?;
        self.file.write_all(&self.line)?;
        self.heads.push(entry, body, self.line.len());
        Ok(())
    }

    /// Ends the file. It is on the disk only after [`SpoolReader::sync`].
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(self) -> std::io::Result<SpoolReader> {
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let place = self.heads.end;
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(SpoolReader { file, place, heads: Some(self.heads), line: self.line })
    }
}

impl SpoolReader {
    /// Opens a spool file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        Ok(Self { file, place: 0, heads: None, line: Vec::new() })
    }

    /// Waits until a file that was written in this run is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.get_ref().sync_data()
    }

    /// The heads of all rows.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn heads(&mut self) -> std::io::Result<&[Head]> {
        Ok(&self.known()?.all)
    }

    /// The head of a row.
    ///
    /// # Errors
    /// When the file cannot be read or has no such row.
    pub fn head(&mut self, number: u32) -> std::io::Result<&Head> {
        self.heads()?.get(number as usize).ok_or_else(|| broken("an entry is missing"))
    }

    /// The name of a row in results: a JSON object.
    ///
    /// # Errors
    /// When the file cannot be read or has no such row.
    pub fn name(&mut self, number: u32) -> std::io::Result<&str> {
        let heads = self.known()?;
        let end = |place: usize| heads.all.get(place).map(|head| head.name_end as usize);
        let place = number as usize;
        let start = if place == 0 { Some(0) } else { end(place - 1) };
        let name = start.zip(end(place)).and_then(|(start, end)| heads.names.get(start..end));
        name.ok_or_else(|| broken("an entry is missing"))
    }

    /// The columns that a row carries, where they were noted.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn columns(&mut self, number: u32) -> std::io::Result<Option<&[bool]>> {
        let heads = self.known()?;
        let set = heads.all.get(number as usize).and_then(|head| heads.columns.get(head.columns? as usize));
        Ok(set.map(Vec::as_slice))
    }

    /// Length of all that is sent, which a CSV of it is shorter than.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn body_bytes(&mut self) -> std::io::Result<usize> {
        Ok(self.heads()?.iter().map(|head| head.body.1 as usize).sum())
    }

    /// The JSON object that is sent for a row; empty if none is.
    ///
    /// # Errors
    /// When the file cannot be read or has no such row.
    pub fn body(&mut self, number: u32) -> std::io::Result<&str> {
        let (start, (at, length)) = {
            let head = self.head(number)?;
            (head.start, head.body)
        };
        self.fill(start + u64::from(at), length as usize)?;
        std::str::from_utf8(&self.line).map_err(|_| broken("an entry cannot be read"))
    }

    /// All of a row.
    ///
    /// # Errors
    /// When the file cannot be read or has no such row.
    pub fn entry(&mut self, number: u32) -> std::io::Result<Entry> {
        let start = self.head(number)?.start;
        let heads = self.known()?;
        let end = heads.all.get(number as usize + 1).map_or(heads.end, |next| next.start);
        self.fill(start, (end - start) as usize)?;
        read_line(&self.line).map(|(entry, _)| entry).ok_or_else(|| broken("an entry cannot be read"))
    }

    /// Calls `visit` with every row and its number.
    ///
    /// # Errors
    /// When the file cannot be read, or `visit` fails.
    pub fn each<E: From<std::io::Error>>(
        &mut self,
        mut visit: impl FnMut(u32, Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = self.heads()?.len() as u32;
        (0..count).try_for_each(|number| visit(number, self.entry(number)?))
    }

    /// Reads so many bytes from there on into `line`.
    fn fill(&mut self, from: u64, length: usize) -> std::io::Result<()> {
        // Moving within the buffer costs nothing; most rows are read one after the other.
        let way = i64::try_from(from).and_then(|to| i64::try_from(self.place).map(|here| to - here));
        self.file.seek_relative(way.map_err(|_| broken("the file is too long"))?)?;
        self.place = from;
        self.line.resize(length, 0);
        self.file.read_exact(&mut self.line)?;
        self.place += length as u64;
        Ok(())
    }

    fn known(&mut self) -> std::io::Result<&Heads> {
        if self.heads.is_none() {
            self.heads = Some(self.read_heads()?);
        }
        self.heads.as_ref().ok_or_else(|| broken("it has no rows"))
    }

    fn read_heads(&mut self) -> std::io::Result<Heads> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut heads = Heads::default();
        loop {
            self.line.clear();
            let length = self.file.read_until(b'\n', &mut self.line)?;
            if length == 0 {
                self.place = heads.end;
                return Ok(heads);
            }
            let (entry, body) = read_line(&self.line).ok_or_else(|| broken("an entry cannot be read"))?;
            heads.push(&entry, body, length);
        }
    }
}

impl Heads {
    fn push(&mut self, entry: &Entry, body: (u32, u32), length: usize) {
        self.names.push_str(&entry.identifier);
        let columns = entry.columns.as_ref().map(|set| {
            let known = self.columns.iter().position(|known| known == set);
            known.unwrap_or_else(|| {
                self.columns.push(set.clone());
                self.columns.len() - 1
            })
        });
        self.all.push(Head {
            line: entry.line,
            key: entry.key,
            hash: entry.hash,
            match_key: entry.match_key.map(|key| key.folded),
            step: entry.step.clone(),
            columns: columns.map(|set| set as u32),
            start: self.end,
            body,
            name_end: self.names.len() as u32,
        });
        self.end += length as u64;
    }
}

/// Writes a row as a line; says where in it the body is.
fn write_line(entry: &Entry, out: &mut Vec<u8>) -> std::io::Result<(u32, u32)> {
    write!(out, "{}\t", entry.line)?;
    push_hex(entry.key, out);
    push_hex(Some(entry.hash), out);
    push_hex(entry.match_key.map(|key| key.folded), out);
    match &entry.step {
        Step::Send => out.push(b'-'),
        Step::Change(Change::ById(id)) => write!(out, "id {id}")?,
        Step::Change(Change::ByMatch) => out.extend_from_slice(b"match"),
        Step::Decided(outcome) => serde_json::to_writer(&mut *out, outcome)?,
    }
    out.push(b'\t');
    if let Some(version) = entry.version {
        write!(out, "{version}")?;
    }
    out.push(b'\t');
    for (number, place) in entry.unchanged.iter().enumerate() {
        write!(out, "{}{place}", if number > 0 { "," } else { "" })?;
    }
    out.push(b'\t');
    out.extend_from_slice(entry.identifier.as_bytes());
    out.push(b'\t');
    let body = out.len();
    for (text, end) in [(&entry.body, b'\t'), (&entry.record, b'\n')] {
        out.extend_from_slice(text.as_bytes());
        out.push(end);
    }
    Ok((body as u32, entry.body.len() as u32))
}

fn push_hex(number: Option<u128>, out: &mut Vec<u8>) {
    match number {
        None => out.push(b'-'),
        Some(number) => {
            let digit = |place: u32| b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
            out.extend((0..32).rev().map(digit));
        }
    }
    out.push(b'\t');
}

/// Reads a line; says where in it the body is.
fn read_line(line: &[u8]) -> Option<(Entry, (u32, u32))> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let mut parts = text.splitn(PARTS, '\t');
    let mut next = || parts.next();
    let hex = |text: &str| u128::from_str_radix(text, 16).ok();
    let line = next()?.parse().ok()?;
    let key = hex(next()?);
    let hash = hex(next()?)?;
    let match_key = hex(next()?).map(|exact| MatchKey { exact, folded: exact });
    let step = match next()? {
        "-" => Step::Send,
        "match" => Step::Change(Change::ByMatch),
        text => match text.strip_prefix("id ") {
            Some(id) => Step::Change(Change::ById(id.to_owned())),
            None => Step::Decided(Box::new(serde_json::from_str::<Outcome>(text).ok()?)),
        },
    };
    let version = next()?.parse().ok();
    let unchanged = next()?.split(',').filter_map(|place| place.parse().ok()).collect();
    let (identifier, body, record) = (next()?, next()?, next()?);
    let place = (body.as_ptr() as usize - text.as_ptr() as usize) as u32;
    let at = (place, body.len() as u32);
    let [identifier, body, record] = [identifier, body, record].map(str::to_owned);
    let columns = None;
    Some((
        Entry { line, key, hash, match_key, step, version, unchanged, identifier, body, columns, record },
        at,
    ))
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("the spool file is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::outcome::Action;

    fn entry(line: u64, step: Step) -> Entry {
        Entry {
            line,
            key: Some(7),
            hash: 9 << 100,
            match_key: Some(MatchKey { exact: 1, folded: 2 }),
            step,
            version: Some(3),
            unchanged: vec![0, 7],
            identifier: format!("{{\"Email\":\"{line}\"}}"),
            body: "{\"a\":\"x\\ty\"}".to_owned(),
            columns: Some(vec![true, false]),
            record: "{\"a\":\t\"x\"}".to_owned(),
        }
    }

    #[test]
    fn rows_come_back_in_any_order_from_memory_and_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.rows");
        let mut writer = SpoolWriter::create(&path).unwrap();
        let entries = [
            entry(5, Step::Send),
            entry(6, Step::Change(Change::ById("77".into()))),
            entry(7, Step::Decided(Box::new(Outcome::rejected("X", None, "tab\there")))),
            entry(9, Step::Change(Change::ByMatch)),
        ];
        for one in &entries {
            writer.push(one).unwrap();
        }
        let written = writer.close().unwrap();
        written.sync().unwrap();
        for (mut reader, columns) in
            [(written, Some(&[true, false][..])), (SpoolReader::open(&path).unwrap(), None)]
        {
            for number in [3, 0, 2, 1] {
                let want = &entries[number as usize];
                let same = Some(MatchKey { exact: 2, folded: 2 });
                let bare = Entry { match_key: same, columns: None, ..want.clone() };
                assert_eq!(reader.entry(number).unwrap(), bare);
                assert_eq!(reader.body(number).unwrap(), want.body);
                assert_eq!(reader.name(number).unwrap(), want.identifier);
                assert_eq!(reader.columns(number).unwrap(), columns);
                let head = reader.head(number).unwrap();
                assert_eq!((head.line, head.hash, head.match_key), (want.line, want.hash, Some(2)));
            }
            assert!(reader.entry(4).is_err() && reader.name(4).is_err());
            let mut seen = 0;
            reader
                .each(|number, read| {
                    assert_eq!(read.step, entries[number as usize].step);
                    seen += 1;
                    std::io::Result::Ok(())
                })
                .unwrap();
            assert_eq!(seen, 4);
            let Step::Decided(outcome) = &reader.head(2).unwrap().step else { panic!("not decided") };
            assert_eq!((outcome.action, outcome.message.as_deref()), (Action::Rejected, Some("tab\there")));
        }
    }
}
