//! Batches and calls in the ledger: written down before they are sent, ended with their outcomes.

use std::collections::HashSet;
use std::path::PathBuf;

use rusqlite::{Transaction, params};

use super::{Call, Ledger, Progress, Result, RowRecord, StoredBatch, Way, signed};
use crate::target::outcome::{Action, Outcome};

impl Ledger {
    /// The organisations that have unfinished batches.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn orgs(&self) -> Result<Vec<String>> {
        self.texts("SELECT DISTINCT org FROM batches ORDER BY org")
    }

    /// The spool files of all unfinished batches.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn spools(&self) -> Result<HashSet<PathBuf>> {
        Ok(self.texts("SELECT spool FROM batches")?.into_iter().map(PathBuf::from).collect())
    }

    /// Writes a batch down before anything of it is sent.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn add_batch(&self, org: &str, batch: &StoredBatch, calls: &[Call]) -> Result<()> {
        let route = serde_json::to_string(&batch.route)?;
        self.transact(|tx| {
            tx.execute(
                "INSERT INTO batches (batch, run, org, lane, route, spool, entries) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![batch.id, batch.run, org, batch.lane, route, batch.spool.to_string_lossy(), batch.entries],
            )?;
            calls.iter().try_for_each(|call| insert_call(tx, &batch.id, call))
        })
    }

    /// The batches of an organisation that are not finished, oldest first.
    ///
    /// # Errors
    /// When SQLite fails or a route cannot be read.
    pub fn open_batches(&self, org: &str) -> Result<Vec<StoredBatch>> {
        let db = self.db();
        let mut query = db.prepare(
            "SELECT batch, run, lane, route, spool, entries FROM batches WHERE org = ?1 ORDER BY rowid",
        )?;
        let mut rows = query.query([org])?;
        let mut batches = Vec::new();
        while let Some(row) = rows.next()? {
            batches.push(StoredBatch {
                id: row.get(0)?,
                run: row.get(1)?,
                lane: row.get(2)?,
                route: serde_json::from_str(&row.get::<_, String>(3)?)?,
                spool: PathBuf::from(row.get::<_, String>(4)?),
                entries: row.get(5)?,
            });
        }
        Ok(batches)
    }

    /// The calls of a batch, in order.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn calls(&self, batch: &str) -> Result<Vec<Call>> {
        let db = self.db();
        let mut query = db.prepare(
            "SELECT call, way, units, progress, job, resent, notes FROM calls WHERE batch = ?1 ORDER BY call",
        )?;
        let mut rows = query.query([batch])?;
        let mut calls = Vec::new();
        while let Some(row) = rows.next()? {
            calls.push(Call {
                number: row.get(0)?,
                way: Way::parse(&row.get::<_, String>(1)?),
                units: serde_json::from_str(&row.get::<_, String>(2)?)?,
                progress: Progress::parse(&row.get::<_, String>(3)?),
                job: row.get(4)?,
                resent: row.get(5)?,
                notes: match row.get::<_, Option<String>>(6)? {
                    Some(text) => serde_json::from_str(&text)?,
                    None => Vec::new(),
                },
            });
        }
        Ok(calls)
    }

    /// Moves a call on; `job` and `resent` go with it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn set_progress(&self, batch: &str, call: &Call) -> Result<()> {
        self.db().execute(
            "UPDATE calls SET progress = ?3, job = ?4, resent = ?5 WHERE batch = ?1 AND call = ?2",
            params![batch, call.number, call.progress.as_str(), call.job, call.resent],
        )?;
        Ok(())
    }

    /// Replaces a call that was not sent by others, which get free numbers.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn replace_call(&self, batch: &str, number: u32, others: &mut [Call]) -> Result<()> {
        self.transact(|tx| {
            let last: u32 =
                tx.query_row("SELECT max(call) FROM calls WHERE batch = ?1", [batch], |row| row.get(0))?;
            for (other, free) in others.iter_mut().zip(last + 1..) {
                other.number = free;
            }
            tx.execute("DELETE FROM calls WHERE batch = ?1 AND call = ?2", params![batch, number])?;
            others.iter().try_for_each(|call| insert_call(tx, batch, call))
        })
    }

    /// Ends a call with the outcomes of its rows.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn finish_call(&self, batch: &StoredBatch, call: &Call, rows: &[RowRecord]) -> Result<()> {
        self.transact(|tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO rows (run, lane, line, key, hash, ok, outcome, batch, entry, from_run, from_line)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?1, ?3)",
            )?;
            for row in rows {
                insert.execute(params![
                    batch.run,
                    batch.lane,
                    signed(row.line),
                    row.key.map(u128::to_be_bytes),
                    row.hash.to_be_bytes(),
                    standing(&row.outcome),
                    serde_json::to_string(&row.outcome)?,
                    batch.id,
                    row.entry
                ])?;
            }
            tx.execute(
                "UPDATE calls SET progress = 'done' WHERE batch = ?1 AND call = ?2",
                params![batch.id, call.number],
            )?;
            Ok(())
        })
    }

    /// Outcomes stored for a batch, by entry.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn outcomes(&self, batch: &str) -> Result<Vec<(u32, Outcome)>> {
        let db = self.db();
        let mut query = db.prepare("SELECT entry, outcome FROM rows WHERE batch = ?1")?;
        let mut rows = query.query([batch])?;
        let mut outcomes = Vec::new();
        while let Some(row) = rows.next()? {
            outcomes.push((row.get(0)?, serde_json::from_str(&row.get::<_, String>(1)?)?));
        }
        Ok(outcomes)
    }

    /// Forgets a finished batch; its rows stay.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn finish_batch(&self, batch: &str) -> Result<()> {
        self.transact(|tx| {
            tx.execute("DELETE FROM calls WHERE batch = ?1", [batch])?;
            tx.execute("DELETE FROM batches WHERE batch = ?1", [batch])?;
            Ok(())
        })
    }
}

/// What column `ok` says: 0 nothing was written, 1 all was, 2 nobody knows.
fn standing(outcome: &Outcome) -> u8 {
    match outcome.action {
        Action::Unknown => 2,
        _ => u8::from(outcome.success()),
    }
}

fn insert_call(tx: &Transaction<'_>, batch: &str, call: &Call) -> Result<()> {
    let notes = (!call.notes.is_empty()).then(|| serde_json::to_string(&call.notes)).transpose()?;
    tx.execute(
        "INSERT INTO calls (batch, call, way, units, progress, job, resent, notes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            batch,
            call.number,
            call.way.as_str(),
            serde_json::to_string(&call.units)?,
            call.progress.as_str(),
            call.job,
            call.resent,
            notes
        ],
    )?;
    Ok(())
}
