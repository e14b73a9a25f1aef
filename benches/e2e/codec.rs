//! The codec alone as a program: `read FILE.zip` and `write LEVEL FILE.zip < LINES`.

use super::reference;
use std::io;
use std::path::Path;
use zoho_crm_connector::codec::archive::CsvArchive;
use zoho_crm_connector::codec::archive_write::{CsvZipWriter, Level, MAX_ROWS_PER_FILE};
use zoho_crm_connector::codec::decode::CsvDecoder;
use zoho_crm_connector::codec::encode_csv::CsvEncoder;
use zoho_crm_connector::protocol::reader::ChunkReader;
use zoho_crm_connector::protocol::writer::{MessageWriter, RecordLines, enlarge_pipe};
use zoho_crm_connector::target::record::{Keys, RecordLine};

/// What the CSV of one file is expected to take.
const EXPECTED_BYTES: usize = 32 << 20;

/// Runs the part that the arguments name; false if they name none.
pub fn run(arguments: &[String]) -> bool {
    match arguments {
        [read, zip] if read == "read" => self::read(Path::new(zip)),
        [write, level, zip] if write == "write" => {
            self::write(level.parse().expect("a level"), Path::new(zip))
        }
        _ => return false,
    }
    true
}

/// A bulk file to RECORD lines.
fn read(zip: &Path) {
    let input = CsvArchive::open(zip).and_then(CsvArchive::into_reader).expect("opens");
    let mut decoder = CsvDecoder::new(input, &reference::plan()).expect("has the columns");
    enlarge_pipe(io::stdout());
    let mut out = MessageWriter::new(io::stdout().lock());
    let mut lines = RecordLines::default();
    lines.head("Leads", "2026-03-01T00:00:00Z");
    while decoder.advance().expect("is CSV") {
        lines.record(|out| decoder.write(out)).expect("is of its types");
        if lines.is_full() {
            out.records(&mut lines).expect("writes");
        }
    }
    out.records(&mut lines).and_then(|()| out.flush()).expect("writes");
}

/// RECORD lines on stdin to zip files of as many rows as one upload takes, `FILE.zip`, `FILE.1.zip` and
/// so on. A file is deflated on its own thread while the next one fills.
fn write(level: u8, zip: &Path) {
    let columns = reference::names().map(str::to_owned).zip(reference::kinds());
    let (encoder, header) = (CsvEncoder::new(columns), reference::names().collect::<Vec<_>>());
    let (send, files) = std::sync::mpsc::sync_channel::<CsvZipWriter>(0);
    let deflater = std::thread::spawn(move || files.iter().try_for_each(|file| file.finish().map(drop)));
    let mut number = 0;
    let mut next = || {
        number += 1;
        let path =
            if number == 1 { zip.to_owned() } else { zip.with_extension(format!("{}.zip", number - 1)) };
        CsvZipWriter::new(&path, "Leads.csv", &header, Level::new(level), EXPECTED_BYTES)
    };
    let (mut file, mut rows) = (next(), 0);
    let mut keys = Keys::default();
    let mut reader = ChunkReader::new(io::stdin().lock(), "stdin");
    while let Some(chunk) = reader.next_chunk().expect("reads") {
        for line in chunk.lines() {
            let Some(row) = RecordLine::read(line.bytes) else { continue };
            let record = row.record(&mut keys).expect("an object");
            if rows == MAX_ROWS_PER_FILE {
                send.send(std::mem::replace(&mut file, next())).expect("the deflater lives");
                rows = 0;
            }
            encoder.row(|name| record.get(name), file.csv()).expect("fits");
            rows += 1;
        }
    }
    send.send(file).expect("the deflater lives");
    drop(send);
    deflater.join().expect("no panic").expect("writes");
}
