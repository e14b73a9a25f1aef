//! The result of a bulk job: fetched, and proven whole before a row of it is used.

use super::super::error::Error;
use super::super::extract::{CallError, Context, in_stream};
use super::super::state::precedes;
use super::jobs::is_gone;
use crate::aside::aside;
use crate::codec::archive::{ArchiveError, Checksum, CsvArchive};
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::value::Kind;
use crate::zoho::api::bulk_read::BulkReadResult;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Most bytes a result may unpack to if it is kept unpacked once it is proven, which saves unpacking
/// it again. Unit: bytes. Twice the CSV of `docs/performance.md`: what is larger stays packed, so that
/// a disk has to hold so much for a file that waits, and no more.
const MAX_KEPT_UNPACKED: u64 = 256 << 20;

/// A result on disk; gone when it is dropped.
#[derive(Debug)]
pub(in crate::tap) struct ResultFile {
    file: NamedTempFile,
    /// What it has to hold if it is unpacked.
    unpacked: Option<Checksum>,
    /// The job that made it.
    pub job: String,
    /// What is known of its rows.
    pub rows: Rows,
    /// Whether the job left rows out, because they are more than one job takes.
    pub more: bool,
    /// The token by which those can be asked for.
    pub next_page_token: Option<String>,
}

/// What one pass over a file tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::tap) struct Rows {
    /// How many there are.
    pub count: u64,
    /// The id of the first row.
    pub first: Option<String>,
    /// The id of the last row.
    pub last: Option<String>,
    /// Whether the ids ascend from row to row.
    pub ascend: bool,
}

impl ResultFile {
    /// Its CSV, from the first byte; a packed one is unpacked by another thread, blocks ahead.
    pub fn csv(&self, stream: &str) -> Result<Box<dyn Read + Send>, Error> {
        let path = self.file.path();
        if let Some(checksum) = self.unpacked {
            let failed = |source| Error::File { path: path.to_owned(), source };
            return Ok(Box::new(checksum.hold(File::open(path).map_err(failed)?)));
        }
        let damaged = |source| Error::Archive { stream: stream.to_owned(), job_id: self.job.clone(), source };
        Ok(Box::new(CsvArchive::open(path).and_then(CsvArchive::into_reader).map_err(damaged)?))
    }
}

/// Downloads a result and proves it whole; once more if it is not. `None`: it is no longer kept.
/// `rank` says how many others of the stream are needed before it.
pub(in crate::tap) async fn fetch(
    context: &Context,
    stream: &str,
    job: &str,
    result: &BulkReadResult,
    rank: u32,
) -> Result<Option<ResultFile>, Error> {
    let mut again = true;
    loop {
        let spool = context.spool().await?;
        let failed = |source| Error::File { path: spool.to_owned(), source };
        let file = NamedTempFile::new_in(spool).map_err(failed)?;
        let download = context.client.bulk_read_download(&result.download_url, file.path(), rank);
        match context.call(download).await {
            Err(CallError::Failed(error)) if is_gone(&error) => return Ok(None),
            answer => answer.map_err(in_stream(stream))?,
        };
        let job = job.to_owned();
        let turn = context.proving.lock().await;
        let (path, beside) = (file.path().to_owned(), spool.to_owned());
        let found = aside("prove", move || inspect(&path, &beside)).await.map_err(failed)?;
        drop(turn);
        match found {
            Ok((rows, copy)) if rows.count == result.count => {
                let (more, next_page_token) = (result.more_records, result.next_page_token.clone());
                let (file, unpacked) = match copy {
                    Some((copy, checksum)) => {
                        // Nobody waits for the zip file to go: freeing its pages takes a while.
                        tokio::task::spawn_blocking(move || drop(file));
                        (copy, Some(checksum))
                    }
                    None => (file, None),
                };
                return Ok(Some(ResultFile { file, unpacked, job, rows, more, next_page_token }));
            }
            _ if again => again = false,
            Ok((rows, _)) => {
                let (stream, expected, found) = (stream.to_owned(), result.count, rows.count);
                return Err(Error::RowCount { stream, job_id: job, expected, found });
            }
            Err(Unsound::Archive(source)) => {
                return Err(Error::Archive { stream: stream.to_owned(), job_id: job, source });
            }
            Err(Unsound::Rows(source)) => return Err(Error::Decode { stream: stream.to_owned(), source }),
        }
    }
}

/// Why a file is not taken.
#[derive(Debug)]
enum Unsound {
    Archive(ArchiveError),
    Rows(DecodeError),
}

/// Reads a file to its last byte, so that its checksum is compared, and looks at the ids. Answers
/// with the unpacked file in `spool`, if it is one to keep.
fn inspect(path: &Path, spool: &Path) -> Result<(Rows, Option<(NamedTempFile, Checksum)>), Unsound> {
    let archive = CsvArchive::open(path).map_err(Unsound::Archive)?;
    let checksum = archive.checksum();
    let csv = archive.into_reader().map_err(Unsound::Archive)?;
    let csv = Keeping { csv, copy: NamedTempFile::new_in(spool).ok(), room: MAX_KEPT_UNPACKED };
    let plan = RecordPlan::new([Column::new("id", Kind::Id)]);
    let mut decoder = CsvDecoder::new(csv, &plan).map_err(Unsound::Rows)?;
    let (mut first, mut last, mut ascend) = (None, Vec::new(), true);
    while decoder.advance().map_err(Unsound::Rows)? {
        let id = decoder.cell(0);
        ascend &= precedes(&last, id);
        first.get_or_insert_with(|| text(id));
        last.clear();
        last.extend_from_slice(id);
    }
    let last = first.is_some().then(|| text(&last));
    let rows = Rows { count: decoder.row_number(), first, last, ascend };
    Ok((rows, decoder.into_input().copy.map(|copy| (copy, checksum))))
}

/// Hands on what it reads, and keeps a copy of it as long as there is room for one.
struct Keeping<R> {
    csv: R,
    copy: Option<NamedTempFile>,
    /// Bytes that the copy may still grow by.
    room: u64,
}

impl<R: Read> Read for Keeping<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.csv.read(out)?;
        let Some(copy) = &mut self.copy else { return Ok(read) };
        match self.room.checked_sub(read as u64) {
            Some(room) if copy.write_all(&out[..read]).is_ok() => self.room = room,
            _ => self.copy = None,
        }
        Ok(read)
    }
}

fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_or_not_there() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for (room, is_kept) in [(400_000, true), (399_999, false), (0, false)] {
            let copy = NamedTempFile::new().ok();
            let mut keeping = Keeping { csv: text.as_slice(), copy, room };
            let mut read = Vec::new();
            keeping.read_to_end(&mut read).expect("reads");
            assert!(read == text);
            let copy = keeping.copy.map(|copy| std::fs::read(copy.path()).expect("is there"));
            assert_eq!(copy == Some(text.clone()), is_kept, "{room}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_copy_that_cannot_be_written_is_done_without() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opens");
        let copy = NamedTempFile::new().expect("temp file").into_temp_path();
        let copy = Some(NamedTempFile::from_parts(full, copy));
        let mut keeping = Keeping { csv: b"Id\n1\n".as_slice(), copy, room: 100 };
        let mut read = String::new();
        keeping.read_to_string(&mut read).expect("reads");
        assert!(read == "Id\n1\n" && keeping.copy.is_none());
    }

    #[test]
    fn a_copy_that_the_disk_lost_a_part_of_is_no_end_of_the_rows() {
        let spool = tempfile::tempdir().expect("a folder");
        let zipped = spool.path().join("result.zip");
        let mut zip = zip::ZipWriter::new(File::create(&zipped).expect("creates"));
        zip.start_file("1.csv", zip::write::SimpleFileOptions::default()).expect("starts");
        zip.write_all(b"Id\n1\n2\n").expect("writes");
        zip.finish().expect("finishes");
        let (rows, copy) = inspect(&zipped, spool.path()).expect("sound");
        let (file, checksum) = copy.expect("room");
        let (job, more, next_page_token) = ("1".to_owned(), false, None);
        let result = ResultFile { file, unpacked: Some(checksum), job, rows, more, next_page_token };
        let read = || io::read_to_string(result.csv("Leads").expect("opens"));
        assert_eq!(read().expect("whole"), "Id\n1\n2\n");
        result.file.as_file().set_len(5).expect("is cut at the end of a row");
        assert!(read().expect_err("is cut").to_string().starts_with("5 bytes with checksum"));
    }
}
