//! The result file of a bulk read: rows to CSV to ZIP, one row at a time.
//!
//! Follows "Bulk Read, Download the result" and, where that page is silent, the API reference's
//! sections "CSV details" and "Emulator decisions". Memory does not grow with the number of rows.

use crate::emulator::filter::Filter;
use crate::emulator::path::Path;
use crate::emulator::store::View;
use crate::emulator::time::{self, Zone};
use crate::emulator::value::{Id, Value};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Seek, Write};
use zip::write::SimpleFileOptions;

/// Bytes of CSV collected before they go to the compressor.
const CHUNK: usize = 1 << 16;

/// Which rows and columns, and how they look.
#[derive(Debug)]
pub struct Export<'a> {
    /// Header and source of each column.
    pub columns: &'a [(String, Path)],
    /// Which rows; all when absent.
    pub filter: Option<&'a Filter<Path>>,
    /// Only rows with a larger id.
    pub after: Id,
    /// Matching rows to leave out.
    pub skip: u64,
    /// Most rows.
    pub limit: u64,
    /// The zone of the token's user, in which datetimes are written.
    pub zone: Zone,
    /// Starts the file with a byte order mark.
    pub byte_order_mark: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub count: u64,
    /// Whether another page has rows.
    pub more: bool,
    /// Id of the last row; what the page started after when there was none.
    pub last: Id,
}

impl Export<'_> {
    /// Writes a ZIP with one file of that name.
    ///
    /// # Errors
    /// When `target` cannot be written.
    pub fn write_zip(&self, view: View<'_>, name: &str, target: impl Write + Seek) -> io::Result<Written> {
        let mut zip = zip::ZipWriter::new(target);
        // The fastest level: a local emulator has more disk than time.
        zip.start_file(name, SimpleFileOptions::default().compression_level(Some(1)))?;
        let written = self.write_csv(view, &mut zip)?;
        zip.finish()?.flush()?;
        Ok(written)
    }

    fn write_csv(&self, view: View<'_>, target: &mut impl Write) -> io::Result<Written> {
        let mut out = String::with_capacity(CHUNK + CHUNK / 4);
        if self.byte_order_mark {
            out.push('\u{feff}');
        }
        self.push_header(&mut out);
        let matches = |path: &Filter<Path>, row| path.matches(&|path: &Path| Cow::Owned(path.value(row)));
        let found =
            view.rows_after(self.after).filter(|row| self.filter.is_none_or(|filter| matches(filter, *row)));
        let mut rows = found.skip(usize::try_from(self.skip).unwrap_or(usize::MAX));
        let (mut count, mut last) = (0, self.after);
        while count < self.limit {
            let Some(row) = rows.next() else { break };
            for (number, (_, path)) in self.columns.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                push_value(&mut out, &path.value(row), self.zone);
            }
            out.push_str("\r\n");
            if out.len() >= CHUNK {
                target.write_all(out.as_bytes())?;
                out.clear();
            }
            (count, last) = (count + 1, row.id);
        }
        target.write_all(out.as_bytes())?;
        Ok(Written { count, more: rows.next().is_some(), last })
    }

    fn push_header(&self, out: &mut String) {
        for (number, (name, _)) in self.columns.iter().enumerate() {
            if number > 0 {
                out.push(',');
            }
            push_text(out, name);
        }
        out.push_str("\r\n");
    }
}

/// One cell: lookups as bare ids, `;` between the values of a multi-select, nothing for empty.
fn push_value(out: &mut String, value: &Value, zone: Zone) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        // Writing to a String cannot fail.
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Id(id) => drop(write!(out, "{id}")),
        Value::Decimal(number) => out.push_str(number.as_str()),
        Value::Text(text) | Value::Json(text) => push_text(out, text),
        Value::Date(day) => time::push_date(out, *day),
        Value::DateTime(instant) => time::push_datetime(out, *instant, zone),
        Value::List(items) => push_text(out, &items.join(";")),
    }
}

/// RFC 4180: quotes around what has a comma, a quote or a line break, and quotes inside doubled.
fn push_text(out: &mut String, text: &str) {
    let special = |byte: u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !text.bytes().any(special) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for (number, part) in text.split('"').enumerate() {
        if number > 0 {
            out.push_str("\"\"");
        }
        out.push_str(part);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::directory;
    use crate::emulator::schema::Schema;
    use crate::emulator::store::Store;
    use std::io::Read;

    const BASE: Id = 4_876_000_000_000_000_000;

    fn store(leads: u64) -> Store {
        let schema = Schema::load(None, BASE).expect("built-in schema");
        let counts = [("Leads".to_owned(), leads)].into();
        Store::new(schema, directory::users(BASE, 5, "Australia/Sydney"), &counts, 1, BASE)
    }

    fn columns(store: &Store, names: &[&str]) -> Vec<(String, Path)> {
        let at = store.schema.position("Leads").expect("there");
        let path = |name: &str| Path::find(&store.schema, at, name.split('.')).expect(name);
        names.iter().map(|name| ((*name).to_owned(), path(name))).collect()
    }

    fn export<'a>(columns: &'a [(String, Path)], after: Id, limit: u64) -> Export<'a> {
        let zone = Zone::named("Australia/Sydney").expect("built in");
        Export { columns, filter: None, after, skip: 0, limit, zone, byte_order_mark: false }
    }

    fn records(zip: Vec<u8>) -> Vec<csv::StringRecord> {
        let mut archive = zip::ZipArchive::new(io::Cursor::new(zip)).expect("a zip");
        let mut text = String::new();
        archive.by_index(0).expect("one file").read_to_string(&mut text).expect("UTF-8");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        reader.records().collect::<Result<_, _>>().expect("CSV")
    }

    #[test]
    fn cells_read_back_as_they_were() {
        let store = store(300);
        let names =
            ["id", "Last_Name", "Description", "Owner", "Owner.last_name", "Modified_Time", "Annual_Revenue"];
        let columns = columns(&store, &names);
        let view = store.view("Leads").expect("there");
        let mut zip = io::Cursor::new(Vec::new());
        let written = export(&columns, 0, 1_000).write_zip(view, "1.csv", &mut zip).expect("writes");
        assert_eq!((written.count, written.more), (300, false));
        let records = records(zip.into_inner());
        assert_eq!(records[0], names[..]);
        for (row, record) in view.rows().zip(&records[1..]) {
            assert_eq!(&record[0], row.id.to_string());
            assert_eq!(&record[2], row.by_name("Description").as_text().unwrap_or_default());
            assert_eq!(time::parse_datetime(&record[5]), row.by_name("Modified_Time").as_instant());
        }
    }

    #[test]
    fn pages_join_without_gap() {
        let store = store(25);
        let columns = columns(&store, &["id"]);
        let view = store.view("Leads").expect("there");
        let (mut after, mut counts) = (0, Vec::new());
        loop {
            let page = export(&columns, after, 10);
            let written = page.write_zip(view, "1.csv", io::Cursor::new(Vec::new())).expect("writes");
            counts.push(written.count);
            after = written.last;
            if !written.more {
                break;
            }
        }
        assert_eq!(counts, [10, 10, 5]);
    }
}
