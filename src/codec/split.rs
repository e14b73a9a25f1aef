//! CSV to rows of cells, in one buffer that is used again and again.
//!
//! Follows RFC 4180 and, where files do not, the reading of the `csv` crate, which tests hold it
//! against: `\r`, `\n` and `\r\n` end a row, empty lines are passed over, a quote in the middle of a cell
//! is a quote, a file may end within quotes. Zoho's own rules are not known here.

use super::bytes::{end_of_cell, quote};
use std::io::{self, Read};
use std::ops::Range;

/// Size of the buffer to begin with; a longer row makes it grow. Unit: bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Longest row that is taken. Unit: bytes. 200 columns ("Bulk Read, Limitations") of 32,000
/// characters of four bytes ("Field Meta Data") are less.
const MAX_ROW_BYTES: usize = 64 << 20;

/// Why a row cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The bytes cannot be read; a damaged archive shows here.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The row has more or fewer cells than the first one.
    #[error("it has {found} cells, the header has {expected}")]
    Cells {
        /// Cells of this row.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// The row has no end within reason.
    #[error("it is longer than {} MiB", MAX_ROW_BYTES >> 20)]
    TooLong,
}

/// Splits what it reads into rows.
pub(super) struct Splitter<R> {
    input: R,
    buffer: Vec<u8>,
    /// What is read and not yet split.
    rest: Range<usize>,
    at_end: bool,
    /// Where the current row stands in the buffer.
    row: Range<usize>,
    cells: Vec<Range<usize>>,
    /// Cells of the first row.
    expected: Option<usize>,
}

/// How far a row got.
enum Split {
    /// It is whole and ends here.
    Whole(usize),
    /// Its end has not been read yet.
    Cut,
}

impl<R: Read> Splitter<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES],
            rest: 0..0,
            at_end: false,
            row: 0..0,
            cells: Vec::new(),
            expected: None,
        }
    }

    /// Goes to the next row; false at the end.
    ///
    /// # Errors
    /// [`SplitError`].
    pub fn advance(&mut self) -> Result<bool, SplitError> {
        if self.expected.is_none() {
            self.pass_byte_order_mark()?;
        }
        loop {
            self.pass_line_ends();
            if self.rest.is_empty() {
                if self.at_end {
                    self.cells.clear();
                    return Ok(false);
                }
                self.read_more()?;
                continue;
            }
            match self.split() {
                Split::Whole(end) => {
                    self.row = self.rest.start..end;
                    self.rest.start = end;
                    break;
                }
                Split::Cut => self.read_more()?,
            }
        }
        let (found, expected) = (self.cells.len(), *self.expected.get_or_insert(self.cells.len()));
        if found == expected { Ok(true) } else { Err(SplitError::Cells { found, expected }) }
    }

    /// The cells of the current row, without their quotes.
    pub fn cells(&self) -> impl Iterator<Item = &[u8]> {
        self.cells.iter().map(|cell| &self.buffer[self.row.start + cell.start..self.row.start + cell.end])
    }

    /// One cell of the current row.
    #[inline]
    pub fn cell(&self, place: usize) -> Option<&[u8]> {
        let cell = self.cells.get(place)?;
        self.buffer.get(self.row.start + cell.start..self.row.start + cell.end)
    }

    /// The current row, in which the cells stand at [`Splitter::places`]; between them is rubbish.
    pub fn row(&self) -> &[u8] {
        &self.buffer[self.row.clone()]
    }

    /// Where each cell stands in [`Splitter::row`].
    pub fn places(&self) -> &[Range<usize>] {
        &self.cells
    }

    /// What it reads.
    pub fn into_input(self) -> R {
        self.input
    }

    /// Splits the row that begins where the rest does.
    fn split(&mut self) -> Split {
        self.cells.clear();
        let bytes = &mut self.buffer[self.rest.clone()];
        let mut at = 0;
        loop {
            let (cell, end) = match bytes.get(at) {
                Some(b'"') => match quoted(bytes, at, self.at_end) {
                    Some(found) => found,
                    None => return Split::Cut,
                },
                _ => {
                    let end = end_of_cell(bytes, at);
                    (at..end, end)
                }
            };
            match bytes.get(end) {
                Some(b',') => {
                    self.cells.push(cell);
                    at = end + 1;
                }
                None if !self.at_end => return Split::Cut,
                _ => {
                    self.cells.push(cell);
                    break self.whole(end);
                }
            }
        }
    }

    fn whole(&mut self, end: usize) -> Split {
        let row = &mut self.buffer[self.rest.start..self.rest.start + end];
        for cell in &mut self.cells {
            // Only now, since a row that is cut is split again.
            if cell.start > 0 && row[cell.start - 1] == b'"' {
                unquote(row, cell);
            }
        }
        Split::Whole(self.rest.start + end)
    }

    fn pass_line_ends(&mut self) {
        let rest = &self.buffer[self.rest.clone()];
        self.rest.start += rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    }

    fn pass_byte_order_mark(&mut self) -> Result<(), SplitError> {
        while self.rest.len() < 3 && !self.at_end {
            self.read_more()?;
        }
        if self.buffer[self.rest.clone()].starts_with("\u{feff}".as_bytes()) {
            self.rest.start += 3;
        }
        Ok(())
    }

    /// Reads behind the rest, which moves to the front of the buffer when there is no room.
    fn read_more(&mut self) -> Result<(), SplitError> {
        if self.rest.end == self.buffer.len() {
            if self.rest.start > 0 {
                self.buffer.copy_within(self.rest.clone(), 0);
                self.rest = 0..self.rest.len();
            } else if self.buffer.len() < MAX_ROW_BYTES {
                self.buffer.resize(self.buffer.len() * 2, 0);
            } else {
                return Err(SplitError::TooLong);
            }
        }
        loop {
            match self.input.read(&mut self.buffer[self.rest.end..]) {
                Ok(read) => {
                    self.at_end = read == 0;
                    self.rest.end += read;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A cell that begins with the quote at `at`: what stands behind that quote, and where the cell ends.
/// None if that has not been read yet.
fn quoted(bytes: &[u8], at: usize, at_end: bool) -> Option<(Range<usize>, usize)> {
    let mut from = at + 1;
    loop {
        let found = quote(bytes, from);
        match bytes.get(found + 1) {
            Some(b'"') if found < bytes.len() => from = found + 2,
            Some(b',' | b'\n' | b'\r') => return Some((at + 1..found, found + 1)),
            None if !at_end => return None,
            // What follows the closing quote belongs to the cell.
            _ => {
                let end = end_of_cell(bytes, (found + 1).min(bytes.len()));
                return Some((at + 1..end, end));
            }
        }
    }
}

/// Takes out of a cell, which stood behind a quote, the quotes that do not belong to its text.
fn unquote(row: &mut [u8], cell: &mut Range<usize>) {
    let mut to = quote(&row[..cell.end], cell.start);
    let mut from = to;
    let mut within = true;
    while from < cell.end {
        if within && row[from] == b'"' {
            from += 1;
            if from < cell.end && row[from] == b'"' {
                row[to] = b'"';
                (from, to) = (from + 1, to + 1);
            } else {
                within = false;
            }
            continue;
        }
        let end = if within { quote(&row[..cell.end], from) } else { cell.end };
        row.copy_within(from..end, to);
        (to, from) = (to + end - from, end);
    }
    cell.end = to;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out so many bytes at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let some = self.1.min(self.0.len()).min(out.len());
            out[..some].copy_from_slice(&self.0[..some]);
            self.0 = &self.0[some..];
            Ok(some)
        }
    }

    fn ours(text: &[u8], step: usize) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let mut splitter = Splitter::new(Slowly(text, step));
        let mut rows = Vec::new();
        while splitter.advance().map_err(|error| error.to_string())? {
            rows.push(splitter.cells().map(<[u8]>::to_vec).collect());
        }
        Ok(rows)
    }

    fn theirs(text: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, String> {
        let reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text);
        let cells = |row: csv::ByteRecord| row.iter().map(<[u8]>::to_vec).collect();
        let rows = reader.into_byte_records().map(|row| row.map(cells).map_err(|_| String::new()));
        rows.collect()
    }

    #[test]
    fn rows_longer_than_the_buffer_are_taken() {
        let long = format!("a,\"{}\"\nb,c\n", "x\n\"\"".repeat(BUFFER_BYTES));
        let rows = ours(long.as_bytes(), 100_000).expect("splits");
        assert_eq!((rows.len(), rows[0][1].len()), (2, 3 * BUFFER_BYTES));
        assert_eq!(Ok(rows), theirs(long.as_bytes()));
    }

    #[test]
    fn a_row_of_other_length_is_told() {
        let error = ours(b"a,b\n1,2\n3\n", 9).expect_err("lacks a cell");
        assert_eq!(error, "it has 1 cells, the header has 2");
    }

    proptest! {
        #[test]
        fn any_bytes_split_as_the_csv_crate_splits_them(
            text in proptest::collection::vec(prop_oneof![
                Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b' '), any::<u8>()
            ], 0..60),
            step in 1usize..20,
        ) {
            let (ours, theirs) = (ours(&text, step), theirs(&text));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            if theirs.is_ok() {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
