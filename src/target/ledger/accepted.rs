//! Rows accepted earlier, looked up when a tap sends them again.

use std::collections::HashMap;

use rusqlite::params;

use super::runs::{Place, Reach};
use super::{Accepted, Ledger, Result, signed};

impl Ledger {
    /// The latest accepted row of a key.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn latest(&self, lane: i64, key: u128) -> Result<Option<Accepted>> {
        self.accepted(
            "SELECT id, run, from_run, from_line, hash, replayed, outcome, ok = 3, EXISTS
             (SELECT 1 FROM rows newer WHERE newer.lane = rows.lane AND newer.key = rows.key AND newer.ok = 2
              AND (newer.run, newer.line, newer.id) > (rows.run, rows.line, rows.id))
             FROM rows WHERE lane = ?1 AND key = ?2 AND ok IN (1, 3) ORDER BY run DESC, line DESC, id DESC LIMIT 1",
            params![lane, key.to_be_bytes()],
        )
    }

    /// The first accepted row without a key, of runs before `run`, after skipping `taken` equal ones.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn keyless(&self, lane: i64, hash: u128, run: i64, taken: u64) -> Result<Option<Accepted>> {
        self.accepted(
            "SELECT id, run, from_run, from_line, hash, replayed, outcome, ok = 3, 0 FROM rows
             WHERE lane = ?1 AND key IS NULL AND hash = ?2 AND ok IN (1, 3) AND run < ?3
             ORDER BY from_run, from_line, id LIMIT 1 OFFSET ?4",
            params![lane, hash.to_be_bytes(), run, signed(taken)],
        )
    }

    fn accepted(&self, sql: &str, params: impl rusqlite::Params) -> Result<Option<Accepted>> {
        let db = self.db();
        let mut query = db.prepare_cached(sql)?;
        let mut rows = query.query(params)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Accepted {
            id: row.get(0)?,
            run: row.get(1)?,
            place: Place { run: row.get(2)?, line: row.get(3)? },
            hash: u128::from_be_bytes(row.get(4)?),
            replayed: row.get(5)?,
            outcome: serde_json::from_str(&row.get::<_, String>(6)?)?,
            partly: row.get(7)?,
            overtaken: row.get(8)?,
        }))
    }

    /// Records rows seen again as rows of this run, number in the ledger and new input line, and how far
    /// each lane has come.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take_over(&self, run: i64, rows: &[(i64, u64)], reaches: &HashMap<i64, Reach>) -> Result<()> {
        self.transact(|tx| {
            let mut update = tx.prepare_cached(
                "UPDATE rows SET run = ?2, line = ?3, replayed = 1, batch = NULL, entry = NULL WHERE id = ?1",
            )?;
            for (id, line) in rows {
                update.execute(params![id, run, signed(*line)])?;
            }
            let mut reached =
                tx.prepare_cached("INSERT OR REPLACE INTO reach VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (lane, Reach { first, last }) in reaches {
                let (last_run, last_line) = last.map(|last| (last.run, last.line)).unzip();
                reached.execute(params![run, lane, first.run, first.line, last_run, last_line])?;
            }
            Ok(())
        })
    }
}
