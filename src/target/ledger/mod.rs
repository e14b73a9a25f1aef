//! What was intended, sent and answered: the memory that survives any crash.
//!
//! One SQLite file in `state_dir/target`, one process at a time. A batch is written down with its calls
//! before the first of them is sent; a call goes planned → intent → (bulk: submitted) → done, and its row
//! outcomes are stored in the same transaction that ends it. So after a kill it is known of every row
//! whether it was never sent, may have been sent, or was answered. Rows stay as long as a tap may send
//! them again (`replay`).
//!
//! | table | holds |
//! | --- | --- |
//! | `runs` | org, start, end, clean or not |
//! | `states` | input line of the last STATE values printed |
//! | `lanes` | number of each org, stream and module |
//! | `batches` | batches that are not finished: route, spool file |
//! | `calls` | their bulk jobs and record calls: rows, progress, job id |
//! | `rows` | outcome of every row sent, by key and content |

mod accepted;
mod batches;
mod types;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::diagnostic::{Diagnostic, ErrorClass};

pub use types::{Accepted, Call, Progress, RowRecord, RunStart, StoredBatch, Unit, Way};

/// Moves when the tables change; an older file is refused rather than misread.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, org TEXT NOT NULL, name TEXT NOT NULL, clean INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS states (run INTEGER NOT NULL, line INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lanes (lane INTEGER PRIMARY KEY, org TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (org, name));
CREATE TABLE IF NOT EXISTS batches (batch TEXT PRIMARY KEY, run INTEGER NOT NULL, org TEXT NOT NULL, lane INTEGER NOT NULL,
  route TEXT NOT NULL, spool TEXT NOT NULL, entries INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (batch TEXT NOT NULL, call INTEGER NOT NULL, way TEXT NOT NULL, units TEXT NOT NULL,
  progress TEXT NOT NULL, job TEXT, resent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (batch, call));
CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, lane INTEGER NOT NULL, line INTEGER NOT NULL,
  key BLOB, hash BLOB NOT NULL, ok INTEGER NOT NULL, replayed INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL,
  batch TEXT, entry INTEGER);
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
}

impl Diagnostic for LedgerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Locked { .. } | Self::Version { .. } | Self::Folder { .. } | Self::NoBatch(_) => {
                ErrorClass::Config
            }
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
            Self::NoBatch(_) => Some("`zoho-crm jobs list` shows what is under way".to_owned()),
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
        std::fs::create_dir_all(folder.join("spool")).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked { folder: state_dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let path = folder.join("ledger.sqlite");
        let db = Connection::open(&path)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // An intent has to be on the disk before its call is sent.
        db.pragma_update(None, "synchronous", "FULL")?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > VERSION {
            return Err(LedgerError::Version { path, found });
        }
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "user_version", VERSION)?;
        Ok(Self { db: Arc::new(Mutex::new(db)), folder: Arc::new(folder), _lock: Arc::new(lock) })
    }

    /// Folder of the files that hold the rows of batches.
    pub fn spool_folder(&self) -> PathBuf {
        self.folder.join("spool")
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

    /// Begins a run on an organisation: forgets rows that cannot come again, readies the rest for lookups.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn begin_run(&self, org: &str, name: &str, replay_states: usize) -> Result<RunStart> {
        self.transact(|tx| {
            let last: Option<(i64, bool)> = tx
                .query_row(
                    "SELECT run, clean FROM runs WHERE org = ?1 ORDER BY run DESC LIMIT 1",
                    [org],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let unclean = matches!(last, Some((_, false)));
            if let Some((run, clean)) = last {
                forget_rows(tx, org, run, clean, replay_states)?;
            }
            tx.execute_batch("DROP INDEX IF EXISTS rows_by_key")?;
            if unclean {
                // Only a run that looks rows up pays for the index.
                tx.execute_batch("CREATE INDEX rows_by_key ON rows (lane, key, hash)")?;
            }
            let fresh: bool = tx.query_row("SELECT count(*) = 0 FROM runs", [], |row| row.get(0))?;
            tx.execute("INSERT INTO runs (org, name) VALUES (?1, ?2)", [org, name])?;
            Ok(RunStart { run: tx.last_insert_rowid(), fresh, unclean })
        })
    }

    /// Ends a run. It is clean when it ended well and nothing was accepted after its last STATE.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn end_run(&self, run: i64, clean: bool) -> Result<()> {
        self.db().execute("UPDATE runs SET clean = ?2 WHERE run = ?1", params![run, clean])?;
        Ok(())
    }

    /// Forgets a run in which nothing happened.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn forget_run(&self, run: i64) -> Result<()> {
        self.db().execute("DELETE FROM runs WHERE run = ?1", [run])?;
        Ok(())
    }

    /// The name of a run.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn run_name(&self, run: i64) -> Result<String> {
        let db = self.db();
        let name =
            db.query_row("SELECT name FROM runs WHERE run = ?1", [run], |row| row.get(0)).optional()?;
        // Two runs may begin in one second.
        Ok(name.map_or_else(|| run.to_string(), |name: String| format!("{name}-{run}")))
    }

    pub(super) fn texts(&self, sql: &str) -> Result<Vec<String>> {
        let db = self.db();
        let mut query = db.prepare(sql)?;
        let texts = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(texts)
    }

    /// Notes that STATE values up to an input line were printed; `keep` of them are remembered.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn states_printed(&self, run: i64, lines: &[u64], keep: usize) -> Result<()> {
        self.transact(|tx| {
            for line in lines.iter().rev().take(keep + 1).rev() {
                tx.execute("INSERT INTO states (run, line) VALUES (?1, ?2)", params![run, signed(*line)])?;
            }
            tx.execute(
                "DELETE FROM states WHERE run = ?1 AND line NOT IN
                 (SELECT line FROM states WHERE run = ?1 ORDER BY line DESC LIMIT ?2)",
                params![run, signed(keep as u64 + 1)],
            )?;
            Ok(())
        })
    }

    /// The number of a lane.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn lane(&self, org: &str, name: &str) -> Result<i64> {
        let db = self.db();
        db.execute("INSERT OR IGNORE INTO lanes (org, name) VALUES (?1, ?2)", [org, name])?;
        Ok(db.query_row("SELECT lane FROM lanes WHERE org = ?1 AND name = ?2", [org, name], |row| {
            row.get(0)
        })?)
    }
}

/// After a clean run nothing comes again; after another, only what follows the STATEs a tap may start from.
fn forget_rows(tx: &Transaction<'_>, org: &str, run: i64, clean: bool, replay_states: usize) -> Result<()> {
    let of_org = "lane IN (SELECT lane FROM lanes WHERE org = ?1) AND (batch IS NULL OR batch NOT IN (SELECT batch FROM batches))";
    if clean {
        tx.execute(&format!("DELETE FROM rows WHERE {of_org}"), [org])?;
    } else {
        let from: Option<i64> = tx
            .query_row(
                "SELECT line FROM states WHERE run = ?1 ORDER BY line DESC LIMIT 1 OFFSET ?2",
                params![run, signed(replay_states as u64)],
                |row| row.get(0),
            )
            .optional()?;
        tx.execute(
            &format!("DELETE FROM rows WHERE run = ?2 AND line < ?3 AND {of_org}"),
            params![org, run, from.unwrap_or(0)],
        )?;
    }
    tx.execute("DELETE FROM states WHERE run IN (SELECT run FROM runs WHERE org = ?1)", [org])?;
    Ok(())
}

/// SQLite's integers are signed; no line number comes near their end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
