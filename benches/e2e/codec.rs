//! The codec alone as a program: `read FILE.zip` and `write LEVEL FILE.zip < LINES`.

use super::reference;
use std::io;
use std::path::Path;
use zoho_crm_connector::codec::archive::CsvArchive;
use zoho_crm_connector::codec::archive_write::CsvZipWriter;
use zoho_crm_connector::codec::decode::CsvDecoder;
use zoho_crm_connector::codec::encode;
use zoho_crm_connector::protocol::message::Message;
use zoho_crm_connector::protocol::reader::ChunkReader;
use zoho_crm_connector::protocol::writer::{MessageWriter, RecordLines};

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

/// RECORD lines on stdin to zip files of as many rows as one upload takes.
fn write(level: u32, zip: &Path) {
    let _ = level;
    let columns: Vec<(&str, encode::Kind)> = reference::names().zip(reference::kinds()).collect();
    let header: Vec<&str> = reference::names().collect();
    let mut file = CsvZipWriter::create(zip, "Leads.csv", &header).expect("creates");
    let mut cells = vec![String::new(); columns.len()];
    let mut reader = ChunkReader::new(io::stdin().lock(), "stdin");
    while let Some(chunk) = reader.next_chunk().expect("reads") {
        for line in chunk.lines() {
            let Message::Record(message) = line.parse("stdin").expect("a message") else { continue };
            let record: std::collections::HashMap<&str, &serde_json::value::RawValue> =
                serde_json::from_str(message.record.get()).expect("an object");
            for ((name, kind), cell) in columns.iter().zip(&mut cells) {
                cell.clear();
                let value = serde_json::from_str(record[name].get()).expect("a value");
                let mut body = String::new();
                kind.write_record(&value, &mut body).expect("fits");
                let raw = serde_json::value::RawValue::from_string(body).expect("is JSON");
                kind.write_cell(&raw, cell).expect("fits into a cell");
            }
            file.write_row(cells.iter().map(String::as_str)).expect("writes");
        }
    }
    file.finish().expect("writes");
}
