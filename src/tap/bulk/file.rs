//! The result of a bulk job: fetched, and proven whole before a row of it is used.

use super::super::error::Error;
use super::super::extract::{CallError, Context, in_stream};
use super::super::state::precedes;
use super::jobs::is_gone;
use crate::aside::aside;
use crate::codec::archive::{ArchiveError, CsvArchive};
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::value::Kind;
use crate::zoho::api::bulk_read::BulkReadResult;
use std::path::Path;
use tempfile::NamedTempFile;

/// A result on disk; gone when it is dropped.
#[derive(Debug)]
pub(in crate::tap) struct ResultFile {
    file: NamedTempFile,
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
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What is wrong with it, as an error of its stream.
    pub fn damaged(&self, stream: &str) -> impl Fn(ArchiveError) -> Error {
        let (stream, job_id) = (stream.to_owned(), self.job.clone());
        move |source| Error::Archive { stream: stream.clone(), job_id: job_id.clone(), source }
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
        let path = file.path().to_owned();
        let found = aside("prove", move || inspect(&path)).await.map_err(failed)?;
        drop(turn);
        match found {
            Ok(rows) if rows.count == result.count => {
                let (more, next_page_token) = (result.more_records, result.next_page_token.clone());
                return Ok(Some(ResultFile { file, job, rows, more, next_page_token }));
            }
            _ if again => again = false,
            Ok(rows) => {
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

/// Reads a file to its last byte, so that its checksum is compared, and looks at the ids.
fn inspect(path: &Path) -> Result<Rows, Unsound> {
    let csv = CsvArchive::open(path).and_then(CsvArchive::into_reader).map_err(Unsound::Archive)?;
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
    Ok(Rows { count: decoder.row_number(), first, last, ascend })
}

fn text(id: &[u8]) -> String {
    String::from_utf8_lossy(id).into_owned()
}
