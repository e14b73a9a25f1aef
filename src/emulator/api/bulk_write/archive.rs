//! An uploaded ZIP: its CSV files, their delimiter, header and number of rows.
//!
//! The file stays on disk; nothing but the facts about it is kept in memory. Follows "Bulk Write,
//! Upload a file" and its section on CSV files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use tempfile::TempPath;

/// Largest CSV taken out of one ZIP, in bytes: a guard against archives that only look small.
const MAX_CSV_BYTES: u64 = 2 << 30;

/// Signs between cells that Zoho recognises.
const DELIMITERS: [u8; 4] = *b",;:|";

/// One CSV of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFile {
    /// Name in the archive.
    pub name: String,
    /// The sign between cells.
    pub delimiter: u8,
    /// Names of the columns.
    pub header: Vec<String>,
    /// Rows without the header.
    pub rows: usize,
}

/// A file that was uploaded and can be named in jobs.
#[derive(Debug)]
pub struct Upload {
    path: TempPath,
    /// Its CSVs, in the order of the archive.
    pub files: Vec<CsvFile>,
}

impl Upload {
    /// Looks through an archive.
    ///
    /// # Errors
    /// When it is no ZIP or one of its files is no CSV in UTF-8.
    pub fn open(path: TempPath) -> io::Result<Self> {
        let mut archive = open_zip(&path)?;
        let mut files = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index(index)?;
            if entry.is_file() {
                let name = entry.name()?.into_owned();
                files.push(inspect(name, entry)?);
            }
        }
        drop(archive);
        Ok(Self { path, files })
    }

    /// The CSV that a job names; without a name, the only one there is.
    pub fn file(&self, name: Option<&str>) -> Option<&CsvFile> {
        match (name, self.files.as_slice()) {
            (Some(name), files) => files.iter().find(|file| file.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Calls `row` for each row of a CSV, with its place in the file.
    ///
    /// # Errors
    /// When the file cannot be read; [`Upload::open`] has read it once, so this is an accident of the
    /// machine.
    pub fn for_each_row(
        &self,
        file: &CsvFile,
        mut row: impl FnMut(usize, &csv::StringRecord),
    ) -> io::Result<()> {
        let mut archive = open_zip(&self.path)?;
        let entry = archive.by_name(&file.name)?;
        let mut reader = csv_reader(entry, file.delimiter);
        let mut record = csv::StringRecord::new();
        let mut number = 0;
        while reader.read_record(&mut record)? {
            row(number, &record);
            number += 1;
        }
        Ok(())
    }
}

fn open_zip(path: &Path) -> io::Result<zip::ZipArchive<BufReader<File>>> {
    Ok(zip::ZipArchive::new(BufReader::new(File::open(path)?))?)
}

fn csv_reader<R: Read>(source: R, delimiter: u8) -> csv::Reader<io::Take<R>> {
    csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(source.take(MAX_CSV_BYTES))
}

fn inspect(name: String, mut entry: impl Read) -> io::Result<CsvFile> {
    let mut head = [0; 65_536];
    let mut filled = 0;
    while filled < head.len() {
        match entry.read(&mut head[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let delimiter = delimiter(&head[..filled]);
    let mut reader = csv_reader(io::Read::chain(&head[..filled], entry), delimiter);
    let header =
        reader.headers()?.iter().map(|cell| cell.trim_start_matches('\u{feff}').trim().to_owned()).collect();
    let mut record = csv::StringRecord::new();
    let mut rows = 0;
    while reader.read_record(&mut record)? {
        rows += 1;
    }
    Ok(CsvFile { name, delimiter, header, rows })
}

/// The sign that stands most often in the first line outside of quotes; a comma when none does.
fn delimiter(head: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if quoted => {}
            byte => {
                if let Some(at) = DELIMITERS.iter().position(|delimiter| delimiter == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    let most = counts.into_iter().max().unwrap_or_default();
    counts.iter().position(|count| *count == most).map_or(b',', |at| DELIMITERS[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    fn upload(files: &[(&str, &str)]) -> io::Result<Upload> {
        let mut file = tempfile::NamedTempFile::new()?;
        let mut writer = zip::ZipWriter::new(&mut file);
        for (name, text) in files {
            writer.start_file(*name, SimpleFileOptions::default())?;
            writer.write_all(text.as_bytes())?;
        }
        writer.finish()?;
        Upload::open(file.into_temp_path())
    }

    #[test]
    fn header_delimiter_and_rows() {
        let upload = upload(&[("a.csv", "\u{feff}A;\"B,C\"\r\n1;\"x\ny\"\r\n2;\r\n"), ("b.csv", "Id\n")])
            .expect("opens");
        let file = upload.file(Some("a.csv")).expect("there").clone();
        assert_eq!((file.delimiter, file.rows), (b';', 2));
        assert_eq!(file.header, ["A", "B,C"]);
        assert_eq!(upload.file(Some("b.csv")).expect("there").rows, 0);
        assert!(upload.file(None).is_none(), "two files need a name");
        let mut cells = Vec::new();
        upload.for_each_row(&file, |number, row| cells.push((number, row[1].to_owned()))).expect("reads");
        assert_eq!(cells, [(0, "x\ny".to_owned()), (1, String::new())]);
    }

    #[test]
    fn not_a_zip() {
        let mut file = tempfile::NamedTempFile::new().expect("temp file");
        file.write_all(b"Id\n1\n").expect("writes");
        assert!(Upload::open(file.into_temp_path()).is_err());
    }
}
