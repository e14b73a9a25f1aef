//! What the tap remembers between runs besides the STATE: one SQLite file in `state_dir/tap`.
//!
//! | table | holds | kept for |
//! | --- | --- | --- |
//! | `lanes` | number of each connection and stream | all |
//! | `ids` | ids that are out: live, or deleted when | restores; with reconcile also the live ones |
//! | `records` | the last record of each id, as it went out | deletes that come as marks |
//! | `hashes` | hash of the formula and rollup columns of each id | the refresh of these |
//!
//! A STATE may be older than this file: the run that wrote here was killed before its STATE was kept. So
//! what a follow-up pass changes carries the pass's time (`at`), and counts only if the STATE handed over
//! has come at least as far. What goes along with a module's own reading carries 0: an older STATE reads
//! those rows again by itself.

use crate::diagnostic::{Diagnostic, ErrorClass};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Moves when the tables change; a newer file is refused rather than misread.
const VERSION: i64 = 1;

/// How long to wait for another process (a shard on the same `state_dir`) to be done writing.
const PATIENCE: Duration = Duration::from_secs(60);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS lanes (lane INTEGER PRIMARY KEY, scope TEXT NOT NULL, stream TEXT NOT NULL,
  whole INTEGER NOT NULL DEFAULT 0, columns TEXT NOT NULL DEFAULT '{}', UNIQUE (scope, stream));
CREATE TABLE IF NOT EXISTS ids (lane INTEGER NOT NULL, id INTEGER NOT NULL, gone INTEGER, at INTEGER NOT NULL,
  PRIMARY KEY (lane, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ids_gone ON ids (lane, gone) WHERE gone IS NOT NULL;
CREATE INDEX IF NOT EXISTS ids_at ON ids (lane, at) WHERE at > 0;
CREATE TABLE IF NOT EXISTS records (lane INTEGER NOT NULL, id INTEGER NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (lane, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashes (lane INTEGER NOT NULL, id INTEGER NOT NULL, hash INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (lane, id)) WITHOUT ROWID;
";

/// Why memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The folder.
    #[error("the folder `{}` cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is of a newer version of this program.
    #[error("`{}` was written by a newer version ({found})", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The database.
    #[error("the tap's memory in `state_dir` cannot be used")]
    Database(#[from] rusqlite::Error),
    /// An id that is no number.
    #[error("`{id}` is not an id of Zoho's, which are numbers")]
    Id {
        /// The id.
        id: String,
    },
}

impl Diagnostic for MemoryError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Id { .. } => ErrorClass::Data,
            _ => ErrorClass::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::Database(_) | Self::Version { .. }).then(|| {
            "`tap/memory.sqlite` in `state_dir` may be removed; README, \"Deletes\", says what is forgotten then"
                .into()
        })
    }
}

type Result<T> = std::result::Result<T, MemoryError>;

/// The file.
#[derive(Clone)]
pub struct Memory {
    db: Arc<Mutex<Connection>>,
    scope: String,
    /// Lanes that this process made.
    made: Arc<Mutex<HashSet<i64>>>,
}

/// What is remembered of one stream.
#[derive(Clone)]
pub struct StreamMemory {
    memory: Memory,
    lane: i64,
    /// Nothing was remembered of this stream before this run.
    pub fresh: bool,
}

/// A row that went out as its module was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The record, where records are kept.
    pub record: Option<String>,
    /// The hash of its formula and rollup columns, where these are kept.
    pub hash: Option<u64>,
}

/// What rows that went out say of their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ids {
    /// Nothing: others are about to find out.
    Leave,
    /// That nothing is left of a delete that was remembered.
    #[default]
    Back,
    /// That they are live, as of the pass at that time, or 0.
    Live(i64),
}

/// An id that is known to be deleted, or whose last change may not have been heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The id.
    pub id: String,
    /// When it was deleted, below zero if for good; none: it is live. Unit: seconds since
    /// 1970-01-01T00:00:00Z.
    pub gone: Option<i64>,
    /// When a follow-up pass changed this. Unit: the same.
    pub at: i64,
}

/// How an id set differs from the one remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Ids remembered as live.
    pub live: u64,
    /// Those of them that are not there now.
    pub missing: Vec<String>,
    /// Ids that are there and not remembered as live.
    pub new: Vec<String>,
}

fn number(id: &str) -> Result<i64> {
    // Bits, not the value: ids of 19 digits may pass the largest signed number.
    id.parse::<u64>().map(u64::cast_signed).map_err(|_| MemoryError::Id { id: id.to_owned() })
}

fn name(number: i64) -> String {
    number.cast_unsigned().to_string()
}

impl Memory {
    /// Opens the file, for the connection and shard that `scope` names.
    ///
    /// # Errors
    /// When folder or file cannot be used.
    pub fn open(state_dir: &Path, scope: &str) -> Result<Self> {
        let folder = state_dir.join("tap");
        let mut builder = std::fs::DirBuilder::new();
        // Records are kept here: for nobody else's eyes.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(&folder)
            .map_err(|source| MemoryError::Folder { folder: folder.clone(), source })?;
        let path = folder.join("memory.sqlite");
        let db = Connection::open(&path)?;
        db.busy_timeout(PATIENCE)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > VERSION {
            return Err(MemoryError::Version { path, found });
        }
        if found < VERSION {
            db.execute_batch(TABLES)?;
            db.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(Self { db: Arc::new(Mutex::new(db)), scope: scope.to_owned(), made: Arc::default() })
    }

    /// What is remembered of a stream.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn stream(&self, tap_stream_id: &str) -> Result<StreamMemory> {
        let db = self.db();
        let find = || -> rusqlite::Result<Option<i64>> {
            db.query_row(
                "SELECT lane FROM lanes WHERE scope = ?1 AND stream = ?2",
                [&self.scope, tap_stream_id],
                |row| row.get(0),
            )
            .optional()
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = match find()? {
            Some(lane) => lane,
            None => {
                let new = "INSERT OR IGNORE INTO lanes (scope, stream) VALUES (?1, ?2)";
                db.execute(new, [&self.scope, tap_stream_id])?;
                let lane = find()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                made.insert(lane);
                lane
            }
        };
        Ok(StreamMemory { memory: self.clone(), lane, fresh: made.contains(&lane) })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held rolled its transaction back; the connection is sound.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transact<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut db = self.db();
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl StreamMemory {
    /// Remembers rows that went out, their hashes as of the pass at `at`, or 0.
    ///
    /// # Errors
    /// When the database cannot be used, or an id is no number.
    pub fn keep(&self, rows: &[Kept], ids: Ids, at: i64) -> Result<()> {
        self.memory.transact(|tx| {
            let mut live = tx.prepare_cached("INSERT OR REPLACE INTO ids VALUES (?1, ?2, NULL, ?3)")?;
            let mut found = tx.prepare_cached("DELETE FROM ids WHERE lane = ?1 AND id = ?2")?;
            let mut record = tx.prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)")?;
            let mut hash = tx.prepare_cached("INSERT OR REPLACE INTO hashes VALUES (?1, ?2, ?3, ?4)")?;
            for row in rows {
                let id = number(&row.id)?;
                match ids {
                    Ids::Leave => 0,
                    Ids::Back => found.execute(params![self.lane, id])?,
                    Ids::Live(at) => live.execute(params![self.lane, id, at])?,
                };
                if let Some(text) = &row.record {
                    record.execute(params![self.lane, id, text])?;
                }
                if let Some(value) = row.hash {
                    hash.execute(params![self.lane, id, value.cast_signed(), at])?;
                }
            }
            Ok(())
        })
    }

    /// Says what the columns of the records are now, each with what distinguishes its values. What is kept
    /// of columns that are gone, or that are now under another policy, is forgotten.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn columns(&self, now: &BTreeMap<String, String>) -> Result<()> {
        self.memory.transact(|tx| {
            let known = "SELECT columns FROM lanes WHERE lane = ?1";
            let before: String = tx.query_row(known, [self.lane], |row| row.get(0))?;
            let before: BTreeMap<String, String> = serde_json::from_str(&before).unwrap_or_default();
            for (column, _) in before.iter().filter(|(column, form)| now.get(*column) != Some(*form)) {
                let path = format!("$.\"{column}\"");
                let forget = "UPDATE records SET record = json_remove(record, ?2) WHERE lane = ?1";
                tx.execute(forget, params![self.lane, path])?;
            }
            if before != *now {
                let text = serde_json::to_string(now).unwrap_or_default();
                tx.execute("UPDATE lanes SET columns = ?2 WHERE lane = ?1", params![self.lane, text])?;
            }
            Ok(())
        })
    }

    /// Whether all ids of the module are remembered, by an earlier reconcile.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn is_whole(&self) -> Result<bool> {
        let db = self.memory.db();
        Ok(db.query_row("SELECT whole FROM lanes WHERE lane = ?1", [self.lane], |row| row.get(0))?)
    }

    /// Says that all ids of the module are remembered.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn make_whole(&self) -> Result<()> {
        self.memory.db().execute("UPDATE lanes SET whole = 1 WHERE lane = ?1", [self.lane])?;
        Ok(())
    }

    /// The last record of an id.
    ///
    /// # Errors
    /// When the database cannot be used, or the id is no number.
    pub fn record(&self, id: &str) -> Result<Option<String>> {
        let id = number(id)?;
        let db = self.memory.db();
        let mut query = db.prepare_cached("SELECT record FROM records WHERE lane = ?1 AND id = ?2")?;
        Ok(query.query_row(params![self.lane, id], |row| row.get(0)).optional()?)
    }

    /// Remembers of ids that they are deleted since then, or live (none), as of the pass at `at`.
    ///
    /// # Errors
    /// When the database cannot be used, or an id is no number.
    pub fn found<'i>(&self, ids: impl IntoIterator<Item = (&'i str, Option<i64>)>, at: i64) -> Result<()> {
        self.memory.transact(|tx| {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO ids VALUES (?1, ?2, ?3, ?4)")?;
            for (id, gone) in ids {
                put.execute(params![self.lane, number(id)?, gone, at])?;
            }
            Ok(())
        })
    }

    /// What is known of an id.
    ///
    /// # Errors
    /// When the database cannot be used, or the id is no number.
    pub fn known(&self, id: &str) -> Result<Option<Known>> {
        let number = number(id)?;
        let db = self.memory.db();
        let mut query = db.prepare_cached("SELECT gone, at FROM ids WHERE lane = ?1 AND id = ?2")?;
        let known = query.query_row(params![self.lane, number], |row| {
            Ok(Known { id: id.to_owned(), gone: row.get(0)?, at: row.get(1)? })
        });
        Ok(known.optional()?)
    }

    /// Ids that may have to be told again: deleted since `restorable` or later, so that somebody may
    /// have restored them, or changed by a pass after `heard`, the bookmark that was handed over.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn open_ends(&self, restorable: i64, heard: i64) -> Result<Vec<Known>> {
        let db = self.memory.db();
        let mut query = db.prepare_cached(
            "SELECT id, gone, at FROM ids WHERE lane = ?1 AND gone >= ?2
             UNION SELECT id, gone, at FROM ids WHERE lane = ?1 AND at > ?3 AND at > 0 ORDER BY id",
        )?;
        let known = query.query_map(params![self.lane, restorable, heard], |row| {
            Ok(Known { id: name(row.get(0)?), gone: row.get(1)?, at: row.get(2)? })
        })?;
        Ok(known.collect::<std::result::Result<_, _>>()?)
    }

    /// The ids that are remembered as deleted.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn gone(&self) -> Result<HashSet<String>> {
        let db = self.memory.db();
        let mut query = db.prepare_cached("SELECT id FROM ids WHERE lane = ?1 AND gone IS NOT NULL")?;
        let ids = query.query_map([self.lane], |row| Ok(name(row.get(0)?)))?;
        Ok(ids.collect::<std::result::Result<_, _>>()?)
    }

    /// Forgets what nobody can need any more: deletes before `listed` that `heard` covers, and, unless
    /// the live ids are kept, ids that are live again.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub fn tidy(&self, listed: i64, heard: i64, keeps_live: bool) -> Result<()> {
        self.memory.transact(|tx| {
            let old = "lane = ?1 AND abs(gone) < ?2 AND at <= ?3";
            for table in ["records", "hashes"] {
                let gone =
                    format!("DELETE FROM {table} WHERE lane = ?1 AND id IN (SELECT id FROM ids WHERE {old})");
                tx.execute(&gone, params![self.lane, listed, heard])?;
            }
            tx.execute(&format!("DELETE FROM ids WHERE {old}"), params![self.lane, listed, heard])?;
            if !keeps_live {
                tx.execute(
                    "DELETE FROM ids WHERE lane = ?1 AND gone IS NULL AND at <= ?2",
                    params![self.lane, heard],
                )?;
            }
            Ok(())
        })
    }

    /// Holds the ids that are there now against the remembered ones.
    ///
    /// # Errors
    /// When the database cannot be used, or an id is no number.
    pub fn difference(&self, now: &[String]) -> Result<Difference> {
        let mut there =
            now.iter().map(|id| number(id).map(|id| (id, false))).collect::<Result<HashMap<_, _>>>()?;
        let db = self.memory.db();
        let mut query =
            db.prepare_cached("SELECT id FROM ids WHERE lane = ?1 AND gone IS NULL ORDER BY id")?;
        let mut difference = Difference::default();
        for id in query.query_map([self.lane], |row| row.get::<_, i64>(0))? {
            let id = id?;
            difference.live += 1;
            match there.get_mut(&id) {
                Some(seen) => *seen = true,
                None => difference.missing.push(name(id)),
            }
        }
        difference.new = there.iter().filter(|(_, seen)| !**seen).map(|(id, _)| name(*id)).collect();
        difference.new.sort_unstable();
        Ok(difference)
    }

    /// The hash of an id, if one counts that was remembered up to `heard`.
    ///
    /// # Errors
    /// When the database cannot be used, or the id is no number.
    pub fn hash(&self, id: &str, heard: i64) -> Result<Option<u64>> {
        let id = number(id)?;
        let db = self.memory.db();
        let mut query =
            db.prepare_cached("SELECT hash FROM hashes WHERE lane = ?1 AND id = ?2 AND at <= ?3")?;
        let hash = query.query_row(params![self.lane, id, heard], |row| row.get::<_, i64>(0)).optional()?;
        Ok(hash.map(i64::cast_unsigned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> (tempfile::TempDir, StreamMemory) {
        let folder = tempfile::tempdir().expect("a folder");
        let stream = Memory::open(folder.path(), "me").and_then(|memory| memory.stream("Leads"));
        let stream = stream.expect("opens");
        assert!(stream.fresh);
        (folder, stream)
    }

    fn kept(id: &str) -> Kept {
        Kept { id: id.into(), record: Some(format!("{{\"id\":\"{id}\"}}")), hash: Some(u64::MAX) }
    }

    #[test]
    fn rows_are_remembered_from_one_run_to_the_next() {
        let (folder, stream) = memory();
        stream.keep(&[kept("1"), kept("18446744073709551615")], Ids::Live(0), 0).expect("keeps");
        let again =
            Memory::open(folder.path(), "me").and_then(|memory| memory.stream("Leads")).expect("opens");
        assert!(!again.fresh);
        assert_eq!(again.record("1").expect("reads").as_deref(), Some("{\"id\":\"1\"}"));
        assert_eq!(again.hash("18446744073709551615", 0).expect("reads"), Some(u64::MAX));
        assert_eq!(again.difference(&[]).expect("compares").live, 2);
        let other =
            Memory::open(folder.path(), "other").and_then(|memory| memory.stream("Leads")).expect("opens");
        assert!(other.fresh && other.record("1").expect("reads").is_none());
        assert!(again.keep(&[kept("x")], Ids::Back, 0).is_err(), "no id of Zoho's");
    }

    #[test]
    fn what_a_pass_changed_counts_once_a_state_has_come_as_far() {
        let (_folder, stream) = memory();
        stream.found([("1", Some(50)), ("2", None)], 100).expect("keeps");
        let ids = |heard| {
            let ends = stream.open_ends(40, heard).expect("reads");
            ends.into_iter().map(|known| known.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(99), ["1", "2"], "nobody may have heard of 2");
        assert_eq!(ids(100), ["1"], "1 may still be restored");
        stream.tidy(60, 99, false).expect("tidies");
        assert_eq!(ids(99), ["1", "2"]);
        stream.tidy(60, 100, false).expect("tidies");
        assert_eq!(ids(99), [""; 0]);
        stream.keep(&[kept("3")], Ids::Live(100), 100).expect("keeps");
        assert_eq!(stream.hash("3", 99).expect("reads"), None);
        assert_eq!(stream.hash("3", 100).expect("reads"), Some(u64::MAX));
    }

    #[test]
    fn what_may_no_longer_leave_is_forgotten() {
        let (_folder, stream) = memory();
        let columns = |names: &[(&str, &str)]| {
            names
                .iter()
                .map(|(name, form)| ((*name).to_owned(), (*form).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        stream.columns(&columns(&[("id", "Id"), ("A", "Text"), ("B", "Decimal")])).expect("notes");
        let record = r#"{"id":"1","A":"secret","B":12345678901234567890.123456789}"#.to_owned();
        stream
            .keep(&[Kept { id: "1".into(), record: Some(record), hash: None }], Ids::Back, 0)
            .expect("keeps");
        stream.columns(&columns(&[("id", "Id"), ("A", "Text masked"), ("B", "Decimal")])).expect("notes");
        let left = stream.record("1").expect("reads").expect("is kept");
        assert_eq!(left, r#"{"id":"1","B":12345678901234567890.123456789}"#, "and numbers keep their digits");
    }

    #[test]
    fn id_sets_are_compared() {
        let (_folder, stream) = memory();
        stream.keep(&[kept("1"), kept("2"), kept("3")], Ids::Live(0), 0).expect("keeps");
        stream.found([("3", Some(5))], 9).expect("keeps");
        let difference = stream.difference(&["2".into(), "3".into(), "4".into()]).expect("compares");
        let expected = Difference { live: 2, missing: vec!["1".into()], new: vec!["3".into(), "4".into()] };
        assert_eq!(difference, expected);
    }
}
