//! Runs in the ledger: which of the rows accepted before may come again, and which cannot any more.
//!
//! A tap that is started again sends its rows in the order of before, from one of the STATEs on that were
//! printed last, whichever run printed them. So the rows of earlier runs have an order, their place: the
//! run and the line that first sent them. It stays when a later run sees them again.
//!
//! What a run sent or saw again before such a STATE is behind it, and so is what was there before that run
//! began and lies before the first row that it saw again. What is behind all of these STATEs is forgotten;
//! the one printed last may stand before others, where its run itself began with an older one.
//! Once a run ended well, all up to the last row seen again is behind the tap. What lies after it may still
//! come: a tap that is killed right after a STATE looks like one that is done.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Ledger, Result, RunStart, signed};

/// Where a row stands in the order in which a tap sends rows: who first sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The run.
    pub run: i64,
    /// Its input line.
    pub line: i64,
}

impl Place {
    /// After all rows.
    const END: Self = Self { run: i64::MAX, line: i64::MAX };
}

/// The rows of earlier runs that a run saw again in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The first, be it with new content.
    pub first: Place,
    /// The last of those with the same content.
    pub last: Option<Place>,
}

impl Reach {
    /// Takes in one more row; `same` if its content is that of before.
    pub fn extend(reach: Option<Self>, place: Place, same: bool) -> Self {
        let (first, last) = reach.map_or((place, None), |reach| (reach.first.min(place), reach.last));
        Self { first, last: last.max(same.then_some(place)) }
    }
}

/// Rows whose batch is finished.
const IS_LOOSE: &str = "(batch IS NULL OR batch NOT IN (SELECT batch FROM batches))";

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
            match last {
                Some((run, true)) => forget_done(tx, org, source, run)?,
                Some((_, false)) => forget_behind(tx, org, source, replay_states)?,
                None => {}
            }
            let left: bool = tx.query_row(
                &format!(
                    "SELECT EXISTS (SELECT 1 FROM rows JOIN lanes USING (lane) WHERE org = ?1 AND source = ?2 AND {IS_LOOSE})"
                ),
                [org, source],
                |row| row.get(0),
            )?;
            let unclean = left || matches!(last, Some((_, false)));
            tx.execute_batch("DROP INDEX IF EXISTS rows_by_key; DROP INDEX IF EXISTS rows_by_batch")?;
            if unclean {
                // Only a run that looks rows up pays for the index.
                tx.execute_batch("CREATE INDEX rows_by_key ON rows (lane, key, hash)")?;
            }
            let fresh: bool = tx.query_row("SELECT count(*) = 0 FROM runs WHERE org <> ''", [], |row| row.get(0))?;
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
            // Its number stays taken, or a run that begins in the same second would have the name of this one
            // and write over its results.
            tx.execute("DELETE FROM runs WHERE org = ''", [])?;
            tx.execute("UPDATE runs SET org = '' WHERE run = ?1", [run])?;
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

    /// Notes that STATE values up to an input line were printed; of all runs, those are remembered from
    /// which a tap may start: the last one and `replay_states` before it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn states_printed(&self, run: i64, lines: &[u64], replay_states: usize) -> Result<()> {
        self.transact(|tx| {
            for line in lines.iter().rev().take(replay_states + 1).rev() {
                tx.execute("INSERT INTO states (run, line) VALUES (?1, ?2)", params![run, signed(*line)])?;
            }
            tx.execute(
                &format!(
                    "DELETE FROM states WHERE {OF_SAME_TAP} AND (run, line) NOT IN
                     (SELECT run, line FROM states WHERE {OF_SAME_TAP} ORDER BY run DESC, line DESC LIMIT ?2)"
                ),
                params![run, signed(replay_states as u64 + 1)],
            )?;
            Ok(())
        })
    }
}

/// States of the organisation and source of run `?1`.
const OF_SAME_TAP: &str =
    "run IN (SELECT one.run FROM runs one JOIN runs other USING (org, source) WHERE other.run = ?1)";

/// After a run that ended well: what it sent or saw again, and what lies before that.
fn forget_done(tx: &Transaction<'_>, org: &str, source: &str, run: i64) -> Result<()> {
    for lane in lanes(tx, org, source)? {
        forget_outdated(tx, lane, run)?;
        let last = reach(tx, run, lane)?.and_then(|reach| reach.last);
        let behind = match last {
            Some(last) => Some(Place { line: last.line + 1, ..last }),
            None => beginning(tx, run, lane)?,
        };
        if let Some(behind) = behind {
            forget_left(tx, lane, run, behind)?;
        }
        forget_seen(tx, lane, run, i64::MAX, Place::END)?;
    }
    tx.execute(&format!("DELETE FROM states WHERE {OF_SAME_TAP}"), [run])?;
    tx.execute(&format!("DELETE FROM reach WHERE {OF_SAME_TAP}"), [run])?;
    Ok(())
}

/// After one that did not: what lies before all STATEs that a tap may start from.
fn forget_behind(tx: &Transaction<'_>, org: &str, source: &str, replay_states: usize) -> Result<()> {
    let states: Vec<(i64, i64)> = tx
        .prepare(
            "SELECT run, line FROM states JOIN runs USING (run) WHERE org = ?1 AND source = ?2
             ORDER BY run DESC, line DESC LIMIT ?3",
        )?
        .query_map(params![org, source, signed(replay_states as u64 + 1)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let Some((run, line)) = states.last().copied().filter(|_| states.len() > replay_states) else {
        return Ok(());
    };
    let mut later: Vec<i64> = states.iter().map(|(later, _)| *later).filter(|later| *later > run).collect();
    later.dedup();
    for lane in lanes(tx, org, source)? {
        forget_outdated(tx, lane, run)?;
        let begun: Option<Vec<Place>> =
            later.iter().map(|run| beginning(tx, *run, lane)).collect::<Result<_>>()?;
        let Some(begun) = begun else { continue };
        let behind = begun.into_iter().min().unwrap_or(Place::END);
        if let Some(first) = beginning(tx, run, lane)? {
            forget_left(tx, lane, run, first.min(behind))?;
        }
        forget_seen(tx, lane, run, line, behind)?;
    }
    tx.execute(&format!("DELETE FROM reach WHERE {OF_SAME_TAP} AND run < ?1"), [run])?;
    Ok(())
}

fn lanes(tx: &Transaction<'_>, org: &str, source: &str) -> Result<Vec<i64>> {
    let mut query = tx.prepare("SELECT lane FROM lanes WHERE org = ?1 AND source = ?2")?;
    Ok(query.query_map([org, source], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn reach(tx: &Transaction<'_>, run: i64, lane: i64) -> Result<Option<Reach>> {
    let query = "SELECT first_run, first_line, last_run, last_line FROM reach WHERE run = ?1 AND lane = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        let last: (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
        Ok(Reach {
            first: Place { run: row.get(0)?, line: row.get(1)? },
            last: last.0.zip(last.1).map(|(run, line)| Place { run, line }),
        })
    };
    Ok(tx.query_row(query, params![run, lane], read).optional()?)
}

/// Where a run began, as far as its rows show: at the first old one; past all of them if it saw none.
fn beginning(tx: &Transaction<'_>, run: i64, lane: i64) -> Result<Option<Place>> {
    if let Some(reach) = reach(tx, run, lane)? {
        return Ok(Some(reach.first));
    }
    let query = "SELECT EXISTS (SELECT 1 FROM rows WHERE run = ?1 AND lane = ?2 AND ok = 1)";
    let has_rows: bool = tx.query_row(query, params![run, lane], |row| row.get(0))?;
    Ok(has_rows.then_some(Place { run, line: 0 }))
}

/// Rows of a lane that runs before `run` left, up to a place.
fn forget_left(tx: &Transaction<'_>, lane: i64, run: i64, behind: Place) -> Result<()> {
    tx.execute(
        &format!("DELETE FROM rows WHERE lane = ?1 AND run < ?2 AND (from_run, from_line) < (?3, ?4) AND {IS_LOOSE}"),
        params![lane, run, behind.run, behind.line],
    )?;
    Ok(())
}

/// Rows of a lane that `run` sent or saw again before a line, up to a place.
fn forget_seen(tx: &Transaction<'_>, lane: i64, run: i64, line: i64, behind: Place) -> Result<()> {
    tx.execute(
        &format!("DELETE FROM rows WHERE lane = ?1 AND run = ?2 AND line < ?3 AND (from_run, from_line) < (?4, ?5) AND {IS_LOOSE}"),
        params![lane, run, line, behind.run, behind.line],
    )?;
    Ok(())
}

/// Rows that runs before `run` left and whose key has got other content since: were they kept longer than
/// that content, they would pass for what the record holds.
fn forget_outdated(tx: &Transaction<'_>, lane: i64, run: i64) -> Result<()> {
    tx.execute(
        &format!(
            "DELETE FROM rows WHERE lane = ?1 AND run < ?2 AND key IS NOT NULL AND {IS_LOOSE} AND EXISTS
             (SELECT 1 FROM rows newer WHERE newer.lane = ?1 AND newer.key = rows.key AND newer.run >= ?2 AND newer.ok <> 0)"
        ),
        params![lane, run],
    )?;
    Ok(())
}
