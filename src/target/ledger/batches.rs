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

    /// Replaces calls that were not sent by others, which get free numbers.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn replace_calls(&self, batch: &str, numbers: &[u32], others: &mut [Call]) -> Result<()> {
        self.transact(|tx| {
            add_calls(tx, batch, others)?;
            for number in numbers {
                tx.execute("DELETE FROM calls WHERE batch = ?1 AND call = ?2", params![batch, number])?;
            }
            Ok(())
        })
    }

    /// Ends a call with the outcomes of its rows; `others` are the calls of rows that are not done by it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn finish_call(
        &self,
        batch: &StoredBatch,
        call: &Call,
        rows: &[RowRecord],
        others: &mut [Call],
    ) -> Result<()> {
        self.transact(|tx| {
            match call.way.comes_second() {
                true => complete_rows(tx, batch, rows)?,
                false => insert_rows(tx, batch, rows)?,
            }
            add_calls(tx, &batch.id, others)?;
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

    /// Makes the outcomes of single batches quick to find, for a run that asks for many.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn index_outcomes(&self) -> Result<()> {
        Ok(self.db().execute_batch("CREATE INDEX IF NOT EXISTS rows_by_batch ON rows (batch, entry)")?)
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

/// What column `ok` says: 0 nothing was written, 1 all was, 2 nobody knows, 3 all but lookups was.
fn standing(row: &RowRecord) -> u8 {
    match row.outcome.action {
        Action::Unknown => 2,
        _ if row.partly => 3,
        _ => u8::from(row.outcome.success()),
    }
}

fn insert_rows(tx: &Transaction<'_>, batch: &StoredBatch, rows: &[RowRecord]) -> Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO rows (run, lane, line, key, hash, ok, outcome, batch, entry, from_run, from_line)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?1, ?3)",
    )?;
    // Rows without a key are matched one by one: the same row may not count twice.
    let mut complete = tx.prepare_cached(
        "DELETE FROM rows WHERE lane = ?1 AND key IS NULL AND hash = ?2 AND ok = 3
         AND json_extract(outcome, '$.record_id') = ?3",
    )?;
    for row in rows {
        if let Some(record) = row.completes.as_ref().filter(|_| row.outcome.success()) {
            complete.execute(params![batch.lane, row.hash.to_be_bytes(), record])?;
        }
        insert.execute(params![
            batch.run,
            batch.lane,
            signed(row.line),
            row.key.map(u128::to_be_bytes),
            row.hash.to_be_bytes(),
            standing(row),
            serde_json::to_string(&row.outcome)?,
            batch.id,
            row.entry
        ])?;
    }
    Ok(())
}

/// The second pass: what became of the lookups of rows that were written without them.
fn complete_rows(tx: &Transaction<'_>, batch: &StoredBatch, rows: &[RowRecord]) -> Result<()> {
    let mut set = tx.prepare_cached(
        "UPDATE rows SET ok = 1, outcome = iif(?3 IS NULL, outcome, json_set(outcome, '$.modified', ?3))
         WHERE batch = ?1 AND entry = ?2 AND ok = 3",
    )?;
    let mut fail =
        tx.prepare_cached("UPDATE rows SET outcome = ?3 WHERE batch = ?1 AND entry = ?2 AND ok = 3")?;
    for row in rows {
        if row.outcome.success() {
            set.execute(params![batch.id, row.entry, row.outcome.modified])?;
        } else {
            fail.execute(params![batch.id, row.entry, serde_json::to_string(&row.outcome)?])?;
        }
    }
    Ok(())
}

/// Adds calls under free numbers.
fn add_calls(tx: &Transaction<'_>, batch: &str, calls: &mut [Call]) -> Result<()> {
    let last: Option<u32> =
        tx.query_row("SELECT max(call) FROM calls WHERE batch = ?1", [batch], |row| row.get(0))?;
    for (call, free) in calls.iter_mut().zip(last.map_or(0, |last| last + 1)..) {
        call.number = free;
        insert_call(tx, batch, call)?;
    }
    Ok(())
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
