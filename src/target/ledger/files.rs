//! Batch files in the ledger: which row stood where, for results of this run and of one that was killed.
//!
//! Rows are known by their place among all lines of a run. A file takes as many places as it has lines, after
//! the BATCH that names it. A file without an end was being read when its run ended.

use rusqlite::{OptionalExtension, params};

use super::{Ledger, Result, signed};

/// Where a row of a batch file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFile<'a> {
    /// The file.
    pub name: &'a str,
    /// Its line, from 1.
    pub line: u64,
}

/// The batch files of one run; rows are asked for in their order, so one file is kept at hand.
#[derive(Debug)]
pub struct Files {
    ledger: Ledger,
    run: i64,
    /// Whether there is any.
    any: bool,
    current: Option<Known>,
}

#[derive(Debug)]
struct Known {
    before: i64,
    last: i64,
    file: String,
}

impl Ledger {
    /// Notes that a run reads a batch file, whose first line has the place after `before`. What runs left that
    /// nobody will be told of any more is forgotten.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn begin_file(&self, run: i64, before: u64, file: &str) -> Result<()> {
        self.transact(|tx| {
            tx.execute(
                "DELETE FROM files WHERE run <> ?1 AND run NOT IN (SELECT run FROM batches)",
                params![run],
            )?;
            tx.execute(
                "INSERT OR REPLACE INTO files (run, before, file) VALUES (?1, ?2, ?3)",
                params![run, signed(before), file],
            )?;
            Ok(())
        })
    }

    /// Notes that a batch file came to its end.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn end_file(&self, run: i64, before: u64, last: u64) -> Result<()> {
        self.db().execute(
            "UPDATE files SET last = ?3 WHERE run = ?1 AND before = ?2",
            params![run, signed(before), signed(last)],
        )?;
        Ok(())
    }

    /// The batch files of a run.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn files_of(&self, run: i64) -> Result<Files> {
        let query = "SELECT EXISTS (SELECT 1 FROM files WHERE run = ?1)";
        let any = self.db().query_row(query, [run], |row| row.get(0))?;
        Ok(Files { ledger: self.clone(), run, any, current: None })
    }
}

impl Files {
    /// The file and the line of a row; nothing if it came as a RECORD.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn at(&mut self, place: u64) -> Result<Option<InFile<'_>>> {
        if !self.any {
            return Ok(None);
        }
        let place = signed(place);
        let holds = |known: &Known| known.before < place && place <= known.last;
        if !self.current.as_ref().is_some_and(holds) {
            self.current = self.find(place)?.filter(holds);
        }
        let found = self.current.as_ref();
        Ok(found.map(|known| InFile {
            name: &known.file,
            line: u64::try_from(place - known.before).unwrap_or_default(),
        }))
    }

    fn find(&self, place: i64) -> Result<Option<Known>> {
        let query = "SELECT before, last, file FROM files WHERE run = ?1 AND before < ?2 ORDER BY before DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| {
            let last: Option<i64> = row.get(1)?;
            Ok(Known { before: row.get(0)?, last: last.unwrap_or(i64::MAX), file: row.get(2)? })
        };
        Ok(self.ledger.db().query_row(query, params![self.run, place], read).optional()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_line_of_the_file_that_was_read_there() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.files_of(1).unwrap().at(3).unwrap(), None);
        for (before, last, file) in [(2, Some(5), "a"), (5, Some(7), "b"), (9, None, "c")] {
            ledger.begin_file(1, before, file).unwrap();
            if let Some(last) = last {
                ledger.end_file(1, before, last).unwrap();
            }
        }
        let mut files = ledger.files_of(1).unwrap();
        let mut at = |place| files.at(place).unwrap().map(|found| (found.name.to_owned(), found.line));
        let found: Vec<_> = (1..12).map(&mut at).collect();
        let row = |file: &str, line| Some((file.to_owned(), line));
        let wanted = [
            None,
            None,
            row("a", 1),
            row("a", 2),
            row("a", 3),
            row("b", 1),
            row("b", 2),
            None,
            None,
            row("c", 1),
            row("c", 2),
        ];
        assert_eq!(found, wanted);
        // A later run forgets what nobody will be told of.
        ledger.begin_file(2, 1, "d").unwrap();
        assert_eq!(ledger.files_of(1).unwrap().at(3).unwrap(), None);
    }
}
