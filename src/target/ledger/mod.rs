//! What was intended, sent and answered: the memory that survives any crash.
//!
//! One SQLite file in `state_dir/target`, one process at a time. A batch is written down with its calls
//! before the first of them is sent; a call goes planned → intent → (bulk: submitted) → done, and its row
//! outcomes are stored in the same transaction that ends it. A call whose rows wait for parents stands
//! there as waiting; nothing of it was sent. So after a kill it is known of every row
//! whether it was never sent, may have been sent, or was answered. Rows stay as long as a tap may send
//! them again (`replay`).
//!
//! | table | holds |
//! | --- | --- |
//! | `identity` | a name of this file that no other has, for marks in the CRM |
//! | `runs` | org, source, start, end, clean or not |
//! | `states` | run and input line of the last STATE values printed |
//! | `files` | batch files that a run read: the place before their first row, the place of their last |
//! | `reach` | which rows of earlier runs a run saw again: the first and the last |
//! | `lanes` | number of each org, source, stream and module |
//! | `batches` | batches that are not finished: route, spool file |
//! | `calls` | their bulk jobs and record calls: rows, progress, job id, what was found out before |
//! | `rows` | outcome of every row sent, by key and content; `ok` is 1 for accepted, 2 for unknown, 3 for written but for lookups; `run` and `line` are where it was seen last, `from_run` and `from_line` where first |
//! | `known` | what was last written to each key, for routes that need it |

mod accepted;
mod batches;
mod files;
mod known;
mod runs;
mod types;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::zoho::private_file::make_folder;

pub use files::InFile;
pub use known::{Fingerprints, Gone, Remembered, Seen};
pub use runs::{Place, Reach};
pub use types::{Accepted, Call, Note, Progress, RowRecord, RunStart, StoredBatch, Unit, Way};

/// Moves when the tables change; an older file is refused rather than misread.
const VERSION: i64 = 4;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, org TEXT NOT NULL, name TEXT NOT NULL, clean INTEGER NOT NULL DEFAULT 0,
  source TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS states (run INTEGER NOT NULL, line INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (run INTEGER NOT NULL, before INTEGER NOT NULL, last INTEGER, file TEXT NOT NULL,
  PRIMARY KEY (run, before));
CREATE TABLE IF NOT EXISTS reach (run INTEGER NOT NULL, lane INTEGER NOT NULL, first_run INTEGER NOT NULL, first_line INTEGER NOT NULL,
  last_run INTEGER, last_line INTEGER, PRIMARY KEY (run, lane));
CREATE TABLE IF NOT EXISTS lanes (lane INTEGER PRIMARY KEY, org TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL DEFAULT '',
  UNIQUE (org, name));
CREATE TABLE IF NOT EXISTS batches (batch TEXT PRIMARY KEY, run INTEGER NOT NULL, org TEXT NOT NULL, lane INTEGER NOT NULL,
  route TEXT NOT NULL, spool TEXT NOT NULL, entries INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (batch TEXT NOT NULL, call INTEGER NOT NULL, way TEXT NOT NULL, units TEXT NOT NULL,
  progress TEXT NOT NULL, job TEXT, resent INTEGER NOT NULL DEFAULT 0, notes TEXT, PRIMARY KEY (batch, call));
CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, lane INTEGER NOT NULL, line INTEGER NOT NULL,
  key BLOB, hash BLOB NOT NULL, ok INTEGER NOT NULL, replayed INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL,
  batch TEXT, entry INTEGER, from_run INTEGER NOT NULL, from_line INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rows_partly ON rows (batch, entry) WHERE ok = 3;
INSERT INTO identity (name) SELECT lower(hex(randomblob(4))) WHERE NOT EXISTS (SELECT 1 FROM identity);
";

/// What version 1 lacks.
const FROM_VERSION_1: &str = "
ALTER TABLE runs ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE lanes ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN notes TEXT;
";

/// What version 2 lacks.
const FROM_VERSION_2: &str = "
ALTER TABLE rows ADD COLUMN from_run INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rows ADD COLUMN from_line INTEGER NOT NULL DEFAULT 0;
UPDATE rows SET from_run = run, from_line = line;
DROP TABLE reach;
";

/// The ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another target works with the same folder.
    #[error("another target is at work in `{}`", .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The file was written by another version.
    #[error("`{}` has version {found}, this program knows version {VERSION}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The folder cannot be made or opened.
    #[error("cannot use the folder `{}`", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("the ledger failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored text cannot be read back.
    #[error("the ledger holds what cannot be read")]
    Content(#[from] serde_json::Error),
    /// No such batch.
    #[error("there is no unfinished batch `{0}`")]
    NoBatch(String),
    /// Nothing of it is in doubt.
    #[error("nothing of `{0}` is in doubt")]
    NoDoubt(String),
}

impl Diagnostic for LedgerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Locked { .. }
            | Self::Version { .. }
            | Self::Folder { .. }
            | Self::NoBatch(_)
            | Self::NoDoubt(_) => ErrorClass::Config,
            Self::Sqlite(_) | Self::Content(_) => ErrorClass::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { .. } => Some("wait for it to end, or give each its own `state_dir`".to_owned()),
            Self::Version { .. } => Some("use the version that wrote it, or another `state_dir`".to_owned()),
            Self::Folder { .. } => {
                Some("`state_dir` must be a folder that this user may write to".to_owned())
            }
            Self::NoBatch(_) | Self::NoDoubt(_) => {
                Some("`zoho-crm jobs list` shows what is under way".to_owned())
            }
            _ => None,
        }
    }
}

pub(super) type Result<T, E = LedgerError> = std::result::Result<T, E>;

/// The ledger; clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    db: Arc<Mutex<Connection>>,
    folder: Arc<PathBuf>,
    name: Arc<str>,
    _lock: Arc<File>,
}

impl Ledger {
    /// Opens the ledger of a state folder and keeps others out of it.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] while another process has it; else when folder or file cannot be used.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let folder = state_dir.join("target");
        let failed = |source| LedgerError::Folder { folder: folder.clone(), source };
        make_folder(&folder.join("spool")).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked { folder: state_dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let path = crate::written::ledger_file(state_dir);
        let mut db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // An intent has to be on the disk before its call is sent.
        db.pragma_update(None, "synchronous", "FULL")?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > VERSION {
            return Err(LedgerError::Version { path, found });
        }
        upgrade(&mut db, found)?;
        let name = db.query_row("SELECT name FROM identity", [], |row| row.get::<_, String>(0))?;
        Ok(Self {
            db: Arc::new(Mutex::new(db)),
            folder: Arc::new(folder),
            name: Arc::from(name),
            _lock: Arc::new(lock),
        })
    }

    /// Folder of the files that hold the rows of batches.
    pub fn spool_folder(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// A name that no other ledger has.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held rolled its transaction back; the connection is sound.
        self.db.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut db = self.db();
        let transaction = db.transaction()?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    pub(super) fn texts(&self, sql: &str) -> Result<Vec<String>> {
        let db = self.db();
        let mut query = db.prepare(sql)?;
        let texts = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(texts)
    }

    /// The number of a lane: rows of one stream to one module, from one source.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn lane(&self, org: &str, source: &str, name: &str) -> Result<i64> {
        let db = self.db();
        let name = if source.is_empty() { name.to_owned() } else { format!("{source}: {name}") };
        let mut known = db.prepare_cached("SELECT lane FROM lanes WHERE org = ?1 AND name = ?2")?;
        if let Some(lane) = known.query_row([org, &name], |row| row.get(0)).optional()? {
            return Ok(lane);
        }
        db.execute("INSERT INTO lanes (org, name, source) VALUES (?1, ?2, ?3)", [org, &name, source])?;
        Ok(db.last_insert_rowid())
    }
}

/// Makes the tables, from those of an older version where there are any: all of it or, after a kill, nothing.
fn upgrade(db: &mut Connection, found: i64) -> Result<()> {
    let tx = db.transaction()?;
    if found == 1 {
        tx.execute_batch(FROM_VERSION_1)?;
    }
    if (1..=2).contains(&found) {
        tx.execute_batch(FROM_VERSION_2)?;
    }
    tx.execute_batch(TABLES)?;
    tx.execute_batch(known::TABLE)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}

/// SQLite's integers are signed; no line number comes near their end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of version 2 that changed since.
    const VERSION_2: &str = "
CREATE TABLE runs (run INTEGER PRIMARY KEY, org TEXT NOT NULL, name TEXT NOT NULL, clean INTEGER NOT NULL DEFAULT 0,
  source TEXT NOT NULL DEFAULT '');
CREATE TABLE reach (run INTEGER NOT NULL, lane INTEGER NOT NULL, first_run INTEGER NOT NULL, first_line INTEGER NOT NULL,
  last_run INTEGER NOT NULL, last_line INTEGER NOT NULL, PRIMARY KEY (run, lane));
CREATE TABLE rows (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, lane INTEGER NOT NULL, line INTEGER NOT NULL,
  key BLOB, hash BLOB NOT NULL, ok INTEGER NOT NULL, replayed INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL,
  batch TEXT, entry INTEGER);
INSERT INTO runs (org, name) VALUES ('org', 'x');
INSERT INTO rows (run, lane, line, hash, ok, outcome) VALUES (1, 1, 7, zeroblob(16), 1, '{\"action\":\"inserted\"}');
PRAGMA user_version = 2;
";

    #[test]
    fn rows_of_an_older_ledger_are_known_in_this_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("target")).unwrap();
        let path = crate::written::ledger_file(folder.path());
        Connection::open(&path).unwrap().execute_batch(VERSION_2).unwrap();
        for _ in 0..2 {
            let ledger = Ledger::open(folder.path()).unwrap();
            let found = ledger.keyless(1, 0, 2, 0).unwrap().expect("the row");
            assert_eq!(found.place, Place { run: 1, line: 7 });
        }
    }

    #[test]
    fn an_upgrade_that_fails_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch(VERSION_2).unwrap();
        // The last statement of the step finds no table.
        db.execute_batch("DROP TABLE reach").unwrap();
        upgrade(&mut db, 2).unwrap_err();
        let columns = "SELECT count(*) FROM pragma_table_info('rows') WHERE name = 'from_run'";
        assert_eq!(db.query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        assert_eq!(db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), 2);
    }

    #[test]
    fn the_name_of_a_forgotten_run_is_not_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let begin = || ledger.begin_run("org", "", "same second", 3).unwrap();
        let first = begin();
        ledger.forget_run(first.run).unwrap();
        let second = begin();
        assert!(first.fresh && second.fresh && !second.unclean);
        assert_ne!(ledger.run_name(first.run).unwrap(), ledger.run_name(second.run).unwrap());
    }
}
