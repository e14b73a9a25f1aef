//! Rows on their way into a batch: spooled to a file, so that memory stays flat.
//!
//! A batch is an ordered list of entries. Some are to be sent; others are decided already (refused by the
//! check, or written by an earlier run) and only wait for their turn in the results. What the file looks
//! like is in `spool`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::mapping::Route;
use super::outcome::Outcome;
use super::preflight::MatchKey;
use super::replay::Change;
use super::spool::{SpoolReader, SpoolWriter};

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
    Decided(Box<Outcome>),
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
    /// Which columns stand in it, where that was noted; not kept in the file.
    pub columns: Option<Vec<bool>>,
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
        self.step = Step::Decided(Box::new(outcome));
        self.body.clear();
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
    writer: SpoolWriter,
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
        let writer = SpoolWriter::create(&spool)?;
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
        self.writer.push(entry)?;
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

    /// Ends the file. It is not on the disk yet: whoever names it in the ledger sees to that first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(self) -> std::io::Result<ClosedBatch> {
        Ok(ClosedBatch {
            reader: self.writer.close()?,
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
#[derive(Debug)]
pub struct ClosedBatch {
    /// Its rows.
    pub reader: SpoolReader,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: u64, step: Step, key: Option<u128>) -> Entry {
        Entry {
            line,
            key: Some(7),
            hash: 9,
            match_key: key.map(|exact| MatchKey { exact, folded: exact % 100 }),
            step,
            version: Some(3),
            unchanged: vec![0, 7],
            identifier: "{}".to_owned(),
            body: "{}".to_owned(),
            columns: None,
            record: "{}".to_owned(),
        }
    }

    fn batch(folder: &Path) -> OpenBatch {
        OpenBatch::create("b".into(), Arc::new(crate::target::tests::route()), 1, folder, 5).unwrap()
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
