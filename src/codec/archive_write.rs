//! A zip with one CSV in it: the upload of a bulk write.
//!
//! The CSV of one file (25,000 rows at most, and as many bytes as a batch may have) is gathered and
//! deflated in one piece by libdeflate, which takes less than half of zlib's time for the same size. The
//! zip around it is written here: one entry, sizes known, no extensions. Reading archives is in
//! `archive`. Follows the v8 page "Bulk Write, Upload" and PKWARE's APPNOTE 6.3, sections 4.3.7 to 4.3.16.

use super::encode_csv::push_cell;
use libdeflater::{CompressionLvl, Compressor};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Most data rows in one bulk write file. Source: Zoho CRM API, "Bulk Write, Limitations".
pub const MAX_ROWS_PER_FILE: usize = 25_000;

/// Most columns in one bulk write file. Source: as above.
pub const MAX_COLUMNS_PER_FILE: usize = 200;

/// Most bytes of a bulk write zip. Source: as above ("25 MB"; the smaller reading is taken).
pub const MAX_ZIP_BYTES: u64 = 25_000_000;

/// The archive could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the bulk write file")]
pub struct WriteError(#[source] std::io::Error);

/// How hard to try to make an upload small.
///
/// The levels of `zip`, 1 to 9, each no larger than what `zip` makes of it: from 6 on one level more of
/// libdeflate's, whose 6 is a trifle larger than zlib's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Level {
    /// A level from 1, fastest, to 9, smallest; others are brought into that range.
    pub fn new(level: u8) -> Self {
        Self(level.clamp(1, 9))
    }

    fn compressor(self) -> Compressor {
        let level = i32::from(self.0) + i32::from(self.0 >= 6);
        Compressor::new(CompressionLvl::new(level).unwrap_or_default())
    }
}

/// Gathers rows of cells and makes a zipped CSV of them.
#[derive(Debug)]
pub struct CsvZipWriter {
    path: PathBuf,
    name: String,
    csv: Vec<u8>,
    level: Level,
}

impl CsvZipWriter {
    /// A writer of the archive `path` with the entry `name`, whose first row is the header; the CSV will have
    /// some `expected` bytes.
    pub fn new(path: &Path, name: &str, header: &[&str], level: Level, expected: usize) -> Self {
        // Growing would copy the rows again and again; pages that nothing is written to are never had.
        let csv = Vec::with_capacity(expected);
        let mut writer = Self { path: path.to_owned(), name: name.to_owned(), csv, level };
        writer.write_row(header.iter().copied());
        writer
    }

    /// Appends one row.
    pub fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) {
        for (number, cell) in cells.into_iter().enumerate() {
            if number > 0 {
                self.csv.push(b',');
            }
            push_cell(cell, &mut self.csv);
        }
        self.csv.push(b'\n');
    }

    /// The CSV so far, for rows that are written by [`super::encode_csv`].
    pub fn csv(&mut self) -> &mut Vec<u8> {
        &mut self.csv
    }

    /// Deflates and writes the archive; its size in bytes. Takes its time: to be called where that
    /// holds nobody up.
    ///
    /// # Errors
    /// [`WriteError`] when the disk refuses.
    pub fn finish(self) -> Result<u64, WriteError> {
        let mut compressor = self.level.compressor();
        let bound = compressor.deflate_compress_bound(self.csv.len());
        // Nearly all files take a quarter of their CSV; the memory has to be set to zero first.
        let mut deflated = vec![0; bound / 2];
        let length = compressor.deflate_compress(&self.csv, &mut deflated).or_else(|_| {
            deflated.resize(bound, 0);
            compressor
                .deflate_compress(&self.csv, &mut deflated)
                .map_err(|_| WriteError(std::io::ErrorKind::InvalidData.into()))
        })?;
        let entry = Entry {
            name: &self.name,
            checksum: libdeflater::crc32(&self.csv),
            deflated: size(length)?,
            inflated: size(self.csv.len())?,
        };
        let mut file = File::create(&self.path).map_err(WriteError)?;
        let (head, foot) = (entry.head(), entry.foot());
        for part in [&head[..], &deflated[..length], &foot] {
            file.write_all(part).map_err(WriteError)?;
        }
        Ok((head.len() + length + foot.len()) as u64)
    }
}

/// A size in a zip without extensions: below 4 GiB.
fn size(bytes: usize) -> Result<u32, WriteError> {
    u32::try_from(bytes).map_err(|_| WriteError(std::io::ErrorKind::FileTooLarge.into()))
}

/// What the headers say of the only entry.
struct Entry<'a> {
    name: &'a str,
    checksum: u32,
    deflated: u32,
    inflated: u32,
}

impl Entry<'_> {
    /// The fields that both headers share: version 2.0, names in UTF-8, deflated, 1980-01-01.
    fn shared(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        for short in [20, 1 << 11, 8, 0, (1 << 5) | 1_u16] {
            bytes.extend_from_slice(&short.to_le_bytes());
        }
        for long in [self.checksum, self.deflated, self.inflated] {
            bytes.extend_from_slice(&long.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&0_u16.to_le_bytes());
        bytes
    }

    /// The local file header.
    fn head(&self) -> Vec<u8> {
        [b"PK\x03\x04", &self.shared()[..], self.name.as_bytes()].concat()
    }

    /// The central directory and its end.
    fn foot(&self) -> Vec<u8> {
        // Made by version 2.0; no comment, first disk, no attributes, the entry begins at byte 0.
        let header = [b"PK\x01\x02\x14\x00", &self.shared()[..], &[0; 14], self.name.as_bytes()].concat();
        let directory = (30 + self.name.len()) as u64 + u64::from(self.deflated);
        let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
        end.extend_from_slice(&(header.len() as u32).to_le_bytes());
        end.extend_from_slice(&(directory as u32).to_le_bytes());
        end.extend_from_slice(&[0; 2]);
        [header, end].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let noise: String = (0..3_000_u32).map(|n| char::from(n.wrapping_mul(n) as u8 % 94 + 33)).collect();
        let rows = [["1", "a \"b\"\nc"], ["2", " é; "], ["", ""], ["3", &noise]];
        let mut writer = CsvZipWriter::new(&path, "é.csv", &["Id", "Text"], Level::new(6), 0);
        for row in rows {
            writer.write_row(row);
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let mut text = String::new();
        archive.by_name("é.csv").unwrap().read_to_string(&mut text).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let read: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(read, rows);
    }
}
