//! Runs in the ledger: which of the rows accepted before may come again, and which cannot any more.
//!
//! A tap that is started again sends its rows in the order of before, from one of the last STATEs on. So
//! the rows of earlier runs have an order: those of the latest run by line, then what runs before it had
//! left. Where a run saw rows again, what lies before the first of them is behind the tap; once the run
//! ended well, so is all up to the last. What lies after it may still come, even if that run ended well: a
//! tap that is killed right after a STATE looks like one that is done.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Ledger, Result, RunStart, signed};

/// A row of an earlier run in the order in which a tap sends rows again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The run.
    pub run: i64,
    /// Its input line.
    pub line: i64,
}

impl Place {
    /// Whether a tap sends this row before the other.
    pub fn is_before(self, other: Self) -> bool {
        self.run > other.run || self.run == other.run && self.line < other.line
    }
}

/// The first and the last row of earlier runs that a run saw again in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The first.
    pub first: Place,
    /// The last.
    pub last: Place,
}

impl Reach {
    /// A reach that begins and ends with one row.
    pub fn of(place: Place) -> Self {
        Self { first: place, last: place }
    }

    /// Takes in one more row.
    pub fn extend(&mut self, place: Place) {
        if place.is_before(self.first) {
            self.first = place;
        }
        if self.last.is_before(place) {
            self.last = place;
        }
    }
}

/// Rows of an organisation and source, less those whose batch is not finished.
const LOOSE_ROWS: &str = "lane IN (SELECT lane FROM lanes WHERE org = :org AND source = :source)
  AND (batch IS NULL OR batch NOT IN (SELECT batch FROM batches))";

impl Ledger {
    /// Begins a run on an organisation: forgets rows that cannot come again, readies the rest for lookups.
    /// `source` tells inputs apart that know nothing of each other; it is empty for a tap's.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn begin_run(&self, org: &str, source: &str, name: &str, replay_states: usize) -> Result<RunStart> {
        self.transact(|tx| {
            let last: Option<(i64, bool)> = tx
                .query_row(
                    "SELECT run, clean FROM runs WHERE org = ?1 AND source = ?2 ORDER BY run DESC LIMIT 1",
                    [org, source],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            if let Some((run, clean)) = last {
                forget_older(tx, org, source, run, clean)?;
                forget_own(tx, org, source, run, clean, replay_states)?;
                tx.execute(
                    "DELETE FROM states WHERE run IN (SELECT run FROM runs WHERE org = ?1 AND source = ?2)",
                    [org, source],
                )?;
            }
            let left: bool = tx.query_row(
                &format!("SELECT EXISTS (SELECT 1 FROM rows WHERE {LOOSE_ROWS})"),
                &[(":org", org), (":source", source)],
                |row| row.get(0),
            )?;
            let unclean = left || matches!(last, Some((_, false)));
            tx.execute_batch("DROP INDEX IF EXISTS rows_by_key")?;
            if unclean {
                // Only a run that looks rows up pays for the index.
                tx.execute_batch("CREATE INDEX rows_by_key ON rows (lane, key, hash)")?;
            }
            let fresh: bool = tx.query_row("SELECT count(*) = 0 FROM runs", [], |row| row.get(0))?;
            tx.execute("INSERT INTO runs (org, source, name) VALUES (?1, ?2, ?3)", [org, source, name])?;
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

    /// Forgets a run without rows: it says nothing about where a tap will start.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn forget_run(&self, run: i64) -> Result<()> {
        self.transact(|tx| {
            tx.execute("DELETE FROM runs WHERE run = ?1", [run])?;
            tx.execute("DELETE FROM states WHERE run = ?1", [run])?;
            Ok(())
        })
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
}

/// Of what runs before `run` had left: what that run has shown to be behind the tap.
fn forget_older(tx: &Transaction<'_>, org: &str, source: &str, run: i64, clean: bool) -> Result<()> {
    let lanes: Vec<i64> = tx
        .prepare("SELECT DISTINCT lane FROM rows WHERE run < ?3 AND lane IN (SELECT lane FROM lanes WHERE org = ?1 AND source = ?2)")?
        .query_map(params![org, source, run], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for lane in lanes {
        let behind = match reach(tx, run, lane)? {
            Some(reach) if clean => Some(Place { line: reach.last.line + 1, ..reach.last }),
            Some(reach) => Some(reach.first),
            // Rows came and were accepted, and none was an old one: the tap is past all of them.
            None if has_rows(tx, run, lane)? => Some(Place { run: i64::MIN, line: 0 }),
            None => None,
        };
        if let Some(behind) = behind {
            tx.execute(
                "DELETE FROM rows WHERE lane = ?1 AND run < ?2 AND (run > ?3 OR run = ?3 AND line < ?4)
                 AND (batch IS NULL OR batch NOT IN (SELECT batch FROM batches))",
                params![lane, run, behind.run, behind.line],
            )?;
        }
    }
    tx.execute(
        "DELETE FROM reach WHERE run IN (SELECT run FROM runs WHERE org = ?1 AND source = ?2)",
        [org, source],
    )?;
    Ok(())
}

fn reach(tx: &Transaction<'_>, run: i64, lane: i64) -> Result<Option<Reach>> {
    let query = "SELECT first_run, first_line, last_run, last_line FROM reach WHERE run = ?1 AND lane = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Reach {
            first: Place { run: row.get(0)?, line: row.get(1)? },
            last: Place { run: row.get(2)?, line: row.get(3)? },
        })
    };
    Ok(tx.query_row(query, params![run, lane], read).optional()?)
}

fn has_rows(tx: &Transaction<'_>, run: i64, lane: i64) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT 1 FROM rows WHERE run = ?1 AND lane = ?2 AND ok)";
    Ok(tx.query_row(query, params![run, lane], |row| row.get(0))?)
}

/// Of the last run's rows: after a clean one nothing comes again; after another, only what follows the
/// STATEs a tap may start from.
fn forget_own(
    tx: &Transaction<'_>,
    org: &str,
    source: &str,
    run: i64,
    clean: bool,
    replay_states: usize,
) -> Result<()> {
    let from: Option<i64> = if clean {
        Some(i64::MAX)
    } else {
        tx.query_row(
            "SELECT line FROM states WHERE run = ?1 ORDER BY line DESC LIMIT 1 OFFSET ?2",
            params![run, signed(replay_states as u64)],
            |row| row.get(0),
        )
        .optional()?
    };
    tx.execute(
        &format!("DELETE FROM rows WHERE run = :run AND line < :from AND {LOOSE_ROWS}"),
        rusqlite::named_params! {":run": run, ":from": from.unwrap_or(0), ":org": org, ":source": source},
    )?;
    Ok(())
}
