//! Windows over the time of creation, for servers that take no criteria on ids.
//!
//! Such a window holds what was created from one second on and before another; every row is in exactly
//! one. Its file has all of it unless there is more than one job takes. Then the file is cut: a count
//! proves that it has everything created before its youngest row, which is written, and the rest is
//! the next window. Where no count is to be had, the window is divided at the median and read anew.
//! A single second that is too much for a job is left to [`super::pages`].

use super::super::error::Error;
use super::super::reader::Reading;
use super::super::state::{Edge, Span};
use super::file::ResultFile;
use super::{CREATED_TIME, Lane, Pipeline};
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::time::epoch_seconds;
use crate::codec::value::Kind;
use chrono::{DateTime, Utc};

/// What became of a window that is read by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its file is all of it.
    Whole,
    /// The window ends where its file is sure to be whole; the rest follows as a window of its own.
    Shortened,
    /// Two windows took its place; its file is of no use.
    Divided,
    /// It cannot be divided: only the pages of one job after another hold it.
    Pages,
}

impl Pipeline<'_> {
    /// Turns from ids to times. A first file that began at the very start is kept.
    pub(super) fn turn_to_time(&mut self, reading: &mut Reading<'_>) {
        tracing::info!(stream = reading.plan.stream, "no criteria on ids: windows over {CREATED_TIME}");
        self.by_time = true;
        let first = self.lanes.pop_front().unwrap_or_default();
        self.lanes.clear();
        let progress = &mut reading.progress;
        let says = reading.plan.columns.position(CREATED_TIME).is_some();
        let keeps = says && progress.floor().is_none() && !first.files.is_empty();
        let span = progress.spans.drain(..).next().filter(|_| keeps).unwrap_or_default();
        progress.begin_again();
        progress.spans.push(Span { up_to: None, ..span });
        self.lanes.push_back(if keeps { first } else { Lane::default() });
    }

    /// Sees to it that the file of the first window is all of it.
    pub(super) async fn cut_by_time(&mut self, reading: &mut Reading<'_>) -> Result<Cut, Error> {
        let [file] = self.lanes[0].files.as_slice() else { return Ok(Cut::Pages) };
        if !file.more {
            return Ok(Cut::Whole);
        }
        let times = tokio::task::block_in_place(|| created_times(file, &reading.plan.stream))?;
        let (Some(oldest), Some(youngest)) = (times.iter().min().copied(), times.iter().max().copied())
        else {
            return Ok(Cut::Pages);
        };
        let (rows, ascend, last) = (file.rows.count, file.rows.ascend, file.rows.last.clone());
        let end = match &reading.progress.spans[0].up_to {
            Some(Edge::Created(end)) => Some(*end),
            _ => None,
        };
        if let Some(end) = end.filter(|end| youngest >= end.timestamp()) {
            // An earlier run has shortened it.
            self.lanes[0].skips = skips(&times, end);
            return Ok(Cut::Whole);
        }
        if youngest > oldest
            && ascend
            && let (Some(cut), Some(last)) = (instant(youngest), last)
            && self.windows.is_whole_before(self.context, reading, cut, &last).await?
        {
            self.lanes[0].skips = skips(&times, cut);
            if end.is_none() {
                let rows = rows.saturating_sub(self.lanes[0].skips.len() as u64);
                self.windows.took(self.context, reading, rows, &Edge::Created(cut)).await?;
            }
            self.insert_second(reading, cut);
            return Ok(Cut::Shortened);
        }
        Ok(self.divide_by_time(reading, times, end))
    }

    fn divide_by_time(
        &mut self,
        reading: &mut Reading<'_>,
        mut times: Vec<i64>,
        end: Option<DateTime<Utc>>,
    ) -> Cut {
        times.sort_unstable();
        let oldest = times[0];
        let median = times[times.len() / 2].max(oldest + 1);
        // All rows known so far may be of the last second of the window.
        let cut = if end.is_some_and(|end| end.timestamp() <= median) { oldest } else { median };
        let is_behind = |start: DateTime<Utc>| cut > start.timestamp();
        match instant(cut).filter(|_| reading.progress.created_from.is_none_or(is_behind)) {
            Some(cut) => {
                self.lanes[0] = Lane::default();
                (reading.progress.spans[0].jobs, reading.progress.spans[0].rows_out) = (Vec::new(), 0);
                self.insert_second(reading, cut);
                Cut::Divided
            }
            None => Cut::Pages,
        }
    }

    /// Ends the first window before `cut`; the rest of it becomes the second one.
    fn insert_second(&mut self, reading: &mut Reading<'_>, cut: DateTime<Utc>) {
        let spans = &mut reading.progress.spans;
        let rest = spans[0].up_to.replace(Edge::Created(cut));
        spans.insert(1, Span { up_to: rest, ..Span::default() });
        self.lanes.insert(1, Lane::default());
    }
}

fn instant(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

/// The rows, counted from one, that were created at `end` or later: they belong to the next window.
fn skips(times: &[i64], end: DateTime<Utc>) -> Vec<u64> {
    let end = end.timestamp();
    (1..).zip(times).filter(|(_, time)| **time >= end).map(|(row, _)| row).collect()
}

/// When each row of a file was created; nothing if the file does not say so of every row.
fn created_times(file: &ResultFile, stream: &str) -> Result<Vec<i64>, Error> {
    let decode = |source: DecodeError| Error::Decode { stream: stream.to_owned(), source };
    let plan = RecordPlan::new([Column::new(CREATED_TIME, Kind::Text)]);
    let mut decoder = match CsvDecoder::new(file.csv(stream)?, &plan) {
        Err(DecodeError::MissingColumn(_)) => return Ok(Vec::new()),
        decoder => decoder.map_err(decode)?,
    };
    let mut times = Vec::new();
    while decoder.advance().map_err(decode)? {
        match std::str::from_utf8(decoder.cell(0)).ok().and_then(epoch_seconds) {
            Some(time) => times.push(time),
            None => return Ok(Vec::new()),
        }
    }
    Ok(times)
}
