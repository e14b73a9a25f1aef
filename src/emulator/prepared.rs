//! Files that were made beforehand and that Bulk Read hands out where they are just what a job asks
//! for: so that a measurement of a client does not measure the making of its input.
//!
//! The rows behind them are the generated ones, which answer everything else (counts, queries for
//! boundaries); a prepared file has to carry their ids and may carry any values.

use super::data::ID_STEP;
use super::filter::Filter;
use super::path::Path as FieldPath;
use super::store::{Row, View};
use super::value::Id;
use std::borrow::Cow;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// A file and what is known of its rows.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Where it is.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
    /// The id of the last of them.
    pub last: Id,
    first: Id,
}

impl Prepared {
    /// Looks through a zip file with one CSV, whose first column has the ids, ascending.
    ///
    /// # Errors
    /// When it is no such file, or the module's generated rows have other ids.
    pub fn open(path: &Path, view: View<'_>) -> io::Result<Self> {
        let mut zip = zip::ZipArchive::new(BufReader::new(std::fs::File::open(path)?))?;
        let mut csv = csv::ReaderBuilder::new().buffer_capacity(1 << 17).from_reader(zip.by_index(0)?);
        let mut row = csv::ByteRecord::new();
        let (mut rows, mut first, mut last) = (0, None, 0);
        while csv.read_byte_record(&mut row)? {
            let id = std::str::from_utf8(row.get(0).unwrap_or_default()).ok().and_then(|id| id.parse().ok());
            last = id.ok_or_else(|| io::Error::other("its first column should hold ids"))?;
            first.get_or_insert(last);
            rows += 1;
        }
        let first = first.unwrap_or_default();
        let follow = rows > 0 && last == first + (rows - 1) * ID_STEP;
        if !follow || view.get(first).is_none() || view.get(last).is_none() {
            let ids = view.rows().next().map(|row| format!("{}, {}", row.id, row.id + ID_STEP));
            let ids = ids.unwrap_or_else(|| "none: it has no rows".to_owned());
            return Err(io::Error::other(format!("its ids should be those of the generated rows ({ids} …)")));
        }
        Ok(Self { path: path.to_owned(), rows, last, first })
    }

    /// Whether its rows are just those that a job takes.
    pub fn answers(&self, view: View<'_>, filter: Option<&Filter<FieldPath>>, after: Id, limit: u64) -> bool {
        let takes = |row: Row<'_>| {
            let matches =
                |filter: &Filter<FieldPath>| filter.matches(&|path: &FieldPath| Cow::Owned(path.value(row)));
            row.id > after && filter.is_none_or(matches)
        };
        let taken = |id: Id| view.get(id).is_some_and(takes);
        let neighbour = taken(self.first - ID_STEP) || taken(self.last + ID_STEP);
        self.rows <= limit && taken(self.first) && taken(self.last) && !neighbour
    }
}
