//! A zip with one CSV in it, written straight through the deflater: the upload of a bulk write.
//!
//! Rows are counted and the archive's size is known all the time, so that a batch can be cut before Zoho's
//! limits are passed. Reading archives is in `archive`. Follows the v8 page "Bulk Write, Upload".

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::{SimpleFileOptions, ZipWriter};

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

/// Writes rows of cells into a zipped CSV.
pub struct CsvZipWriter {
    csv: csv::Writer<ZipWriter<BufWriter<File>>>,
}

impl CsvZipWriter {
    /// Creates `path` with the entry `name` and its header row.
    ///
    /// # Errors
    /// [`WriteError`] when the file cannot be created or written.
    pub fn create(path: &Path, name: &str, header: &[&str]) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(WriteError)?;
        let mut zip = ZipWriter::new(BufWriter::new(file));
        zip.start_file(name, SimpleFileOptions::default()).map_err(|error| WriteError(error.into()))?;
        let mut csv = csv::Writer::from_writer(zip);
        csv.write_record(header).map_err(into_io)?;
        Ok(Self { csv })
    }

    /// Appends one row.
    ///
    /// # Errors
    /// [`WriteError`] when the disk refuses.
    pub fn write_row<'a>(&mut self, cells: impl IntoIterator<Item = &'a str>) -> Result<(), WriteError> {
        self.csv.write_record(cells.into_iter().map(str::as_bytes)).map_err(into_io)
    }

    /// Closes the archive; its size in bytes.
    ///
    /// # Errors
    /// [`WriteError`] when the disk refuses.
    pub fn finish(self) -> Result<u64, WriteError> {
        let zip = self.csv.into_inner().map_err(|error| WriteError(error.into_error()))?;
        let mut buffer = zip.finish().map_err(|error| WriteError(error.into()))?;
        buffer.flush().map_err(WriteError)?;
        let file = buffer.into_inner().map_err(|error| WriteError(error.into_error()))?;
        Ok(file.metadata().map_err(WriteError)?.len())
    }
}

fn into_io(error: csv::Error) -> WriteError {
    WriteError(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let rows = [["1", "a \"b\"\nc"], ["2", " é; "], ["", ""]];
        let mut writer = CsvZipWriter::create(&path, "a.csv", &["Id", "Text"]).unwrap();
        for row in rows {
            writer.write_row(row).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let mut text = String::new();
        archive.by_name("a.csv").unwrap().read_to_string(&mut text).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let read: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(read, rows);
    }
}
