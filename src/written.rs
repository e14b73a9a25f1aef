//! What the target last wrote to each record, for the tap that reads it back.
//!
//! The target keeps this in its ledger in `state_dir`; the tap only reads, also while a target is at work.
//! It stands beside both because neither imports the other. Nothing here decides what an echo is for: it
//! only says whether a record still is exactly what we wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::DateTime;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde_json::Value;

use crate::codec::fingerprint::is_marked;

/// The target's ledger in a state folder.
pub fn ledger_file(state_dir: &Path) -> PathBuf {
    state_dir.join("target").join("ledger.sqlite")
}

/// Reads what was written.
#[derive(Debug)]
pub struct Written {
    db: Mutex<Connection>,
}

impl Written {
    /// Opens the ledger of a state folder; `None` where no target has ever worked there, or an older one.
    pub fn open(state_dir: &Path) -> Option<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(ledger_file(state_dir), flags).ok()?;
        let has_table = db.prepare("SELECT modified FROM known LIMIT 0").is_ok();
        has_table.then(|| Self { db: Mutex::new(db) })
    }

    /// Whether a record, as the tap reads it, is what we wrote: it was not modified since, and every field
    /// that we wrote and that was read holds the same value. What cannot be told is no.
    pub fn is_echo(&self, record: &Value) -> bool {
        let (Some(id), Some(modified)) = (record["id"].as_str(), record["Modified_Time"].as_str()) else {
            return false;
        };
        let Ok(modified) = DateTime::parse_from_rfc3339(modified) else { return false };
        self.fields(id, modified.timestamp()).is_some_and(|fields| {
            !fields.is_empty()
                && fields
                    .iter()
                    .all(|(name, mark)| record.get(name).is_none_or(|value| is_marked(mark, value)))
        })
    }

    /// The marks of the fields last written to a record, if that is when it was last modified.
    fn fields(&self, id: &str, modified: i64) -> Option<BTreeMap<String, String>> {
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = db
            .prepare_cached(
                "SELECT fields FROM known WHERE record_id = ?1 AND modified = ?2 AND hash IS NOT NULL",
            )
            .ok()?;
        let text: String = query.query_row((id, modified), |row| row.get(0)).optional().ok()??;
        serde_json::from_str(&text).ok()
    }
}
