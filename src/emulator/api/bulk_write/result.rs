//! The result file of a bulk write: a ZIP with one CSV per input.
//!
//! Follows "Bulk Write, Result". Nothing there promises order or number of rows, nor that cells come
//! back letter by letter: the `bulk_write_…` switches break each of these.

use super::request::Request;
use super::run::{FileResult, RowResult};
use crate::emulator::data::Dice;
use crate::emulator::switches::Switches;
use std::fs::File;
use std::io;
use zip::write::SimpleFileOptions;

/// Writes the result of a job into `file`; `modules` are the names of its resources' modules.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    file: File,
    request: &Request,
    modules: &[String],
    files: &[FileResult],
    switches: &Switches,
    seed: u64,
) -> io::Result<()> {
    let mut zip = zip::ZipWriter::new(file);
    for ((resource, module), result) in request.resources.iter().zip(modules).zip(files) {
        let name = resource.file.name.rsplit('/').next().unwrap_or_default();
        zip.start_file(format!("{module}-{name}"), SimpleFileOptions::default().compression_level(Some(1)))?;
        let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut zip);
        let titles = result.titles.iter().map(String::as_str);
        csv.write_record(titles.chain(["STATUS", "RECORD_ID", "ERRORS"]))?;
        for row in told(&result.rows, switches, seed) {
            let id = row.id.map(|id| id.to_string()).unwrap_or_default();
            let cells = row.cells.iter().map(|cell| altered(cell, switches));
            let state = [row.status.as_str().to_owned(), id, row.errors.clone()];
            csv.write_record(cells.chain(state))?;
        }
        csv.flush()?;
    }
    zip.finish()?;
    Ok(())
}

/// The rows as the switches want them told.
fn told<'a>(rows: &'a [RowResult], switches: &Switches, seed: u64) -> Vec<&'a RowResult> {
    let mut told: Vec<&RowResult> = Vec::with_capacity(rows.len());
    for (number, row) in (1_u64..).zip(rows) {
        let times = match Some(number) {
            dropped if dropped == switches.bulk_write_dropped_row => 0,
            repeated if repeated == switches.bulk_write_repeated_row => 2,
            _ => 1,
        };
        told.extend(std::iter::repeat_n(row, times));
    }
    if switches.bulk_write_shuffled_result {
        let mut dice = Dice::new(seed);
        for at in (1..told.len()).rev() {
            told.swap(at, dice.below(at as u64 + 1) as usize);
        }
    }
    told
}

/// Runs of white space become one blank, as text that went through a spreadsheet looks.
fn altered(cell: &str, switches: &Switches) -> String {
    if switches.bulk_write_altered_cells {
        cell.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        cell.to_owned()
    }
}
