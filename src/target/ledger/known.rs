//! What was last written to each key, kept from run to run for the routes that need it.
//!
//! | column | holds |
//! | --- | --- |
//! | `hash` | of the content last accepted; null when nobody knows what is there |
//! | `fields` | fingerprint of each field last accepted |
//! | `modified` | when Zoho says the record changed by that, where it said so |
//! | `version` | table version under which the key was last seen, accepted or not |
//! | `wrote` | whether anything was ever accepted for the key |

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension, params};

use super::{Ledger, Result};
use crate::target::outcome::{Action, Outcome};

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS known (lane INTEGER NOT NULL, key BLOB NOT NULL, module TEXT NOT NULL, record_id TEXT, hash BLOB,
  fields TEXT, modified INTEGER, version INTEGER, wrote INTEGER NOT NULL DEFAULT 0, identifier TEXT NOT NULL,
  PRIMARY KEY (lane, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_by_record ON known (record_id, module);
";

/// Fingerprint by field.
pub type Fingerprints = BTreeMap<String, String>;

/// What is known about a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The record.
    pub record_id: Option<String>,
    /// Hash of the content last accepted.
    pub hash: Option<u128>,
    /// Its fields.
    pub fields: Fingerprints,
}

/// A row with its outcome, to be remembered.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Hash of its key.
    pub key: u128,
    /// Hash of its content.
    pub hash: u128,
    /// The fields it carried; empty when it was not sent.
    pub fields: Fingerprints,
    /// The table version it carried.
    pub version: Option<i64>,
    /// Its name in results.
    pub identifier: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// A key that a mirror does not find in its source any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Hash of the key.
    pub key: u128,
    /// The record, where it is known.
    pub record_id: Option<String>,
    /// Its name in results: the match fields.
    pub identifier: String,
}

impl Ledger {
    /// What is known about a key.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remembered(&self, lane: i64, key: u128) -> Result<Option<Remembered>> {
        let db = self.db();
        let mut query =
            db.prepare_cached("SELECT record_id, hash, fields FROM known WHERE lane = ?1 AND key = ?2")?;
        let mut rows = query.query(params![lane, key.to_be_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let fields: Option<String> = row.get(2)?;
        Ok(Some(Remembered {
            record_id: row.get(0)?,
            hash: row.get::<_, Option<_>>(1)?.map(u128::from_be_bytes),
            fields: fields.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default(),
        }))
    }

    /// Remembers rows in their order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn remember(&self, lane: i64, module: &str, rows: &[Seen]) -> Result<()> {
        self.transact(|tx| {
            let mut known = tx.prepare_cached("SELECT fields FROM known WHERE lane = ?1 AND key = ?2")?;
            let mut accept = tx.prepare_cached(
                "INSERT INTO known (lane, key, module, record_id, hash, fields, version, wrote, identifier, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9)
                 ON CONFLICT DO UPDATE SET record_id = coalesce(?4, record_id), hash = ?5, fields = ?6, modified = ?9,
                 version = coalesce(?7, version), wrote = 1, identifier = ?8",
            )?;
            let mut see = tx.prepare_cached(
                "INSERT INTO known (lane, key, module, record_id, version, identifier) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET record_id = coalesce(?4, record_id), version = coalesce(?5, version)",
            )?;
            let mut doubt =
                tx.prepare_cached("UPDATE known SET hash = NULL, fields = NULL WHERE lane = ?1 AND key = ?2")?;
            let mut remove = tx.prepare_cached("DELETE FROM known WHERE lane = ?1 AND key = ?2")?;
            for row in rows {
                let key = row.key.to_be_bytes();
                let accepted = matches!(row.outcome.action, Action::Inserted | Action::Updated | Action::Written);
                // The record is gone; the next row of its key is a new one.
                let gone = row.outcome.action == Action::Rejected && row.outcome.field.as_deref() == Some("id");
                if row.outcome.action == Action::Deleted || gone {
                    remove.execute(params![lane, key])?;
                } else if accepted && !row.outcome.replayed {
                    let before: Option<Option<String>> =
                        known.query_row(params![lane, key], |row| row.get(0)).optional()?;
                    let mut fields: Fingerprints =
                        before.flatten().map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default();
                    fields.extend(row.fields.clone());
                    accept.execute(params![lane, key, module, row.outcome.record_id, row.hash.to_be_bytes(),
                        serde_json::to_string(&fields)?, row.version, row.identifier, row.outcome.modified])?;
                } else {
                    see.execute(params![lane, key, module, row.outcome.record_id, row.version, row.identifier])?;
                    if row.outcome.action == Action::Unknown {
                        doubt.execute(params![lane, key])?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Keys written earlier that no row of the table version carried.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn gone(&self, lane: i64, version: i64) -> Result<Vec<Gone>> {
        let db = self.db();
        let mut query = db.prepare(
            "SELECT key, record_id, identifier FROM known
             WHERE lane = ?1 AND wrote AND (version IS NULL OR version <> ?2) ORDER BY record_id, key",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Gone {
                key: u128::from_be_bytes(row.get(0)?),
                record_id: row.get(1)?,
                identifier: row.get(2)?,
            })
        };
        Ok(query.query_map(params![lane, version], read)?.collect::<Result<_, _>>()?)
    }

    /// Keys that rows of the table version carried: record, where it is known, by name in results.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn there(&self, lane: i64, version: i64) -> Result<HashMap<String, Option<String>>> {
        let db = self.db();
        let mut query =
            db.prepare("SELECT identifier, record_id FROM known WHERE lane = ?1 AND version = ?2")?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(query.query_map(params![lane, version], read)?.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key: u128, hash: u128, version: i64, action: Action) -> Seen {
        Seen {
            key,
            hash,
            fields: [(format!("F{hash}"), hash.to_string())].into(),
            version: Some(version),
            identifier: format!("{{\"k\":{key}}}"),
            outcome: Outcome::new(action).with_record(Some(format!("9{key}"))),
        }
    }

    #[test]
    fn only_what_was_accepted_counts_and_what_was_seen_is_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let remember = |rows: &[Seen]| ledger.remember(1, "Contacts", rows).unwrap();
        remember(&[seen(1, 10, 1, Action::Inserted), seen(2, 20, 1, Action::Inserted)]);
        remember(&[seen(1, 11, 1, Action::Updated), seen(3, 30, 1, Action::Rejected)]);
        let one = ledger.remembered(1, 1).unwrap().unwrap();
        assert_eq!((one.hash, one.fields.len()), (Some(11), 2));
        assert_eq!(ledger.remembered(1, 3).unwrap().unwrap().hash, None);
        // Refused rows are there in the source; keys never written are no business of ours.
        remember(&[seen(1, 12, 2, Action::Rejected)]);
        let gone: Vec<u128> = ledger.gone(1, 2).unwrap().iter().map(|gone| gone.key).collect();
        assert_eq!(gone, [2]);
        assert_eq!(ledger.remembered(1, 1).unwrap().unwrap().hash, Some(11));
        remember(&[seen(1, 12, 2, Action::Unknown), seen(2, 0, 2, Action::Deleted)]);
        assert_eq!(ledger.remembered(1, 1).unwrap().unwrap().hash, None);
        assert_eq!(ledger.remembered(1, 2).unwrap(), None);
    }
}
