//! Reading by Bulk Read: a job writes a file of up to 200,000 rows, ascending by id. Follows Zoho's
//! pages "Bulk Read Overview" and following.
//!
//! More rows than one job takes are divided into windows over the id, each with its own job. A few
//! windows are under way at a time (`flight`), their rows are written strictly in order, and each
//! is a part of STATE from the moment on that its job exists. Where boundaries cannot be had
//! ([`windows`]), the next job starts behind the last id of a file, before that file is written. A
//! server that takes no criteria on ids is read by times of creation (`by_time`), and what these
//! cannot divide by `pages`.

mod by_time;
mod file;
mod flight;
pub mod jobs;
mod pages;
mod query;
pub mod windows;

use super::error::Error;
use super::extract::Context;
use super::output::StreamOutput;
use super::reader::{Outcome, Reading};
use super::slices::Slices;
use super::state::{Bounds, Edge, Span, precedes, text};
use super::wide::Wide;
use crate::codec::decode::{CsvDecoder, DecodeError};
use crate::codec::plan::RecordPlan;
use by_time::Cut;
use file::ResultFile;
use flight::{Flight, Landed};
use query::{NoJob, create, query};
use std::collections::VecDeque;
use windows::Windows;

/// The field by which windows are made where ids will not do: like them, it never changes.
const CREATED_TIME: &str = "Created_Time";
/// Windows of a stream that have a job or a file at a time: enough to keep Zoho busy while one is
/// written, few enough that the files stay small change on any disk.
const WINDOWS_AT_ONCE: usize = 4;
/// Rows between two looks at whether we are told to stop.
const LOOK_EVERY: u64 = 1_024;

/// Reads what is left of the window. `rows` is how many rows that will be, if somebody counted.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    slices: &Slices,
    rows: Option<u64>,
) -> Result<Outcome, Error> {
    let progress = &mut reading.progress;
    if progress.spans.is_empty() {
        progress.spans.push(Span::default());
    }
    let is_time = |span: &Span| matches!(span.up_to, Some(Edge::Created(_)));
    let by_time = progress.created_from.is_some() || progress.spans.iter().any(is_time);
    let wide = (!slices.is_single()).then(|| Wide::new(reading, slices, rows));
    let files = slices.files(&reading.plan.columns);
    let (lanes, windows) = (VecDeque::new(), Windows::new(rows));
    let mut pipeline = Pipeline { context, lanes, windows, by_time, files, wide };
    let outcome = pipeline.run(reading, output).await?;
    // What was learned concerns columns: the jobs that there are stay good.
    if outcome != Outcome::Learned {
        reading.progress.spans.clear();
    }
    Ok(outcome)
}

/// What a window has, besides what STATE holds of it.
#[derive(Default)]
struct Lane {
    flight: Option<Flight>,
    files: Vec<ResultFile>,
    /// Rows of the files, counted from one, that belong to the next window.
    skips: Vec<u64>,
    has_failed: bool,
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.flight.is_none() && self.files.is_empty()
    }
}

/// The windows under way, in the order of the reading's spans.
struct Pipeline<'c> {
    context: &'c Context,
    lanes: VecDeque<Lane>,
    windows: Windows,
    /// Windows are over the time of creation: the server takes no criteria on ids.
    by_time: bool,
    /// The columns of each job of a window.
    files: Vec<RecordPlan>,
    /// Puts the columns together, where several readings bring them.
    wide: Option<Wide<'c>>,
}

/// How far the first windows got their jobs.
enum Launched {
    /// As far as they can.
    Yes,
    /// The server does not take criteria on ids, or on times.
    NoCriteria(String),
    /// It does not take this way at all, or not with these columns.
    Refused(Outcome),
}

/// What to do after the first window's files are here.
enum Next {
    /// Write them.
    Write,
    /// Look at the first window again: it is another one now.
    Again,
    /// Give up this way.
    Refuse(String),
}

impl Pipeline<'_> {
    async fn run(&mut self, reading: &mut Reading<'_>, output: &mut StreamOutput) -> Result<Outcome, Error> {
        while !reading.progress.spans.is_empty() {
            match self.launch(reading, output).await? {
                Launched::Refused(outcome) => return Ok(outcome),
                Launched::NoCriteria(reason) => match self.other_criteria(reading, output).await? {
                    true => continue,
                    false => return Ok(Outcome::Refused(reason)),
                },
                Launched::Yes => {}
            }
            if !self.land(reading).await? {
                continue;
            }
            match self.follow_up(reading, output).await? {
                Next::Write => {
                    if let Some(outcome) = self.emit(reading, output).await? {
                        return Ok(outcome);
                    }
                    self.done(reading);
                }
                Next::Again => {}
                Next::Refuse(reason) => return Ok(Outcome::Refused(reason)),
            }
        }
        Ok(Outcome::Complete)
    }

    /// Judges the files of the first window, and has what they leave out asked for before they are
    /// written.
    async fn follow_up(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Next, Error> {
        if let Some(reason) = self.objection(reading) {
            return Ok(Next::Refuse(reason));
        }
        let goes_on = match self.by_time {
            false => self.goes_on(reading).await?,
            true => match self.cut_by_time(reading).await? {
                Cut::Whole => false,
                Cut::Shortened => true,
                Cut::Divided => return Ok(Next::Again),
                Cut::Pages => {
                    let refused = self.page_after_page(reading, output).await?;
                    return Ok(refused.map_or(Next::Again, Next::Refuse));
                }
            },
        };
        if goes_on && matches!(self.launch(reading, output).await?, Launched::NoCriteria(_)) {
            // Nobody knows yet where this window has to end.
            self.other_criteria(reading, output).await?;
            return Ok(Next::Again);
        }
        Ok(Next::Write)
    }

    /// Goes on without the criteria that were refused; answers whether that can be.
    async fn other_criteria(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<bool, Error> {
        if reading.progress.window.bounds != Bounds::default() || self.wide.is_some() {
            // A shard is a range of ids, and slices are merged by them.
            return Ok(false);
        }
        if !self.by_time {
            self.turn_to_time(reading);
            return Ok(true);
        }
        // No criteria at all: everything, page after page.
        self.by_time = false;
        reading.progress.begin_again();
        reading.progress.spans.push(Span::default());
        self.lanes.clear();
        Ok(self.page_after_page(reading, output).await?.is_none())
    }

    /// Reads the first window by pages; answers why it cannot.
    async fn page_after_page(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Option<String>, Error> {
        let refused = self.pages(reading, output).await?;
        if refused.is_none() {
            self.done(reading);
        }
        Ok(refused)
    }

    /// Gives the first windows their jobs.
    async fn launch(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Launched, Error> {
        for at in 0..WINDOWS_AT_ONCE {
            if self.lanes.len() == at {
                self.lanes.push_back(Lane::default());
            }
            if !self.lanes[at].is_idle() {
                continue;
            }
            let Some(span) = reading.progress.spans.get(at) else { break };
            let is_new = span.jobs.len() != self.files.len();
            if is_new {
                if span.up_to.is_none() && span.jobs.is_empty() {
                    self.windows.divide(self.context, reading, self.by_time).await?;
                }
                match self.create_jobs(reading, output, at).await? {
                    None => {}
                    Some(NoJob::Criteria(reason)) => return Ok(Launched::NoCriteria(reason)),
                    // It gets another chance when everything before it is written.
                    Some(NoJob::Refused(_) | NoJob::NoCredits(_)) if at > 0 => break,
                    Some(NoJob::Learned) => return Ok(Launched::Refused(Outcome::Learned)),
                    Some(NoJob::Refused(reason)) => return Ok(Launched::Refused(Outcome::Refused(reason))),
                    Some(NoJob::NoCredits(error) | NoJob::Failed(error)) => return Err(error),
                }
            }
            let jobs = reading.progress.spans[at].jobs.clone();
            let flight = Flight::launch(self.context, &reading.plan.stream, jobs, is_new, at);
            self.lanes[at].flight = Some(flight);
        }
        Ok(Launched::Yes)
    }

    /// Creates the jobs that a window lacks; answers why one cannot be had. A column that is refused
    /// leaves the slices before its own as they were, so their jobs stay good.
    async fn create_jobs(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
        at: usize,
    ) -> Result<Option<NoJob>, Error> {
        if reading.progress.spans[at].jobs.len() > self.files.len() {
            reading.progress.spans[at].jobs.clear();
        }
        for columns in self.files.iter().skip(reading.progress.spans[at].jobs.len()) {
            let ask = query(reading, columns, at, self.by_time);
            match create(self.context, reading, &ask).await {
                Ok(job) => reading.progress.spans[at].jobs.push(job),
                Err(reason) => return Ok(Some(reason)),
            }
            // The job is paid for: whoever goes on after us has to find it.
            output.checkpoint(reading.bookmark())?;
        }
        Ok(None)
    }

    /// Waits for the files of the first window; answers whether they are here, or have to be asked for
    /// again.
    async fn land(&mut self, reading: &mut Reading<'_>) -> Result<bool, Error> {
        let stream = &reading.plan.stream;
        let (lane, span) = (&mut self.lanes[0], &mut reading.progress.spans[0]);
        let Some(flight) = &mut lane.flight else { return Ok(!lane.files.is_empty()) };
        let landed = flight.landed().await?;
        lane.flight = None;
        match landed {
            Landed::Files(files) => {
                lane.files = files;
                return Ok(true);
            }
            Landed::Failed(job_id, failure) if lane.has_failed => {
                let (stream, code, message) = (stream.clone(), failure.code, failure.message);
                return Err(Error::JobFailed { stream, job_id, code, message });
            }
            Landed::Failed(job, _) => {
                lane.has_failed = true;
                tracing::warn!(stream, job, "job failed, one more is tried");
            }
            Landed::Gone(job) => {
                tracing::warn!(
                    stream,
                    job,
                    "the job's result is no longer kept, its rows are asked for again"
                );
            }
        }
        (span.jobs, span.rows_out) = (Vec::new(), 0);
        Ok(false)
    }

    /// Why the files of the first window cannot be relied on: what follows hangs on their ids.
    fn objection(&self, reading: &Reading<'_>) -> Option<String> {
        if self.by_time {
            return None;
        }
        let span = &reading.progress.spans[0];
        let after = reading.progress.floor().unwrap_or_default();
        let up_to = match &span.up_to {
            Some(Edge::Id(id)) => Some(id.as_str()),
            _ => reading.progress.window.bounds.upto.as_deref(),
        };
        for ResultFile { rows, more, .. } in &self.lanes[0].files {
            if *more && !rows.ascend {
                return Some("its rows do not ascend by id".into());
            }
            let (Some(first), Some(last)) = (rows.first.as_deref(), rows.last.as_deref()) else {
                if *more {
                    return Some("it has more rows, and hands over none".into());
                }
                continue;
            };
            // Slices are taken up again by an id within their files.
            let goes_on = self.wide.is_some() && span.rows_out > 0;
            let within = (goes_on || precedes(after.as_bytes(), first.as_bytes()))
                && up_to.is_none_or(|up_to| !precedes(up_to.as_bytes(), last.as_bytes()));
            if rows.ascend && !within {
                return Some("it does not heed criteria on the id".into());
            }
        }
        None
    }

    /// Ends the first window where its files end, if rows were left out; the rest of it becomes the
    /// second one.
    async fn goes_on(&mut self, reading: &mut Reading<'_>) -> Result<bool, Error> {
        let ends = self.lanes[0].files.iter().filter(|file| file.more);
        let ends = ends.filter_map(|file| file.rows.last.clone().map(|last| (last, file.rows.count)));
        let end = ends.min_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
        let Some((end, rows)) = end else { return Ok(false) };
        let edge = Some(Edge::Id(end));
        let rest = std::mem::replace(&mut reading.progress.spans[0].up_to, edge.clone());
        if rest == edge {
            return Ok(false);
        }
        if let (None, Some(edge)) = (&rest, &edge) {
            self.windows.took(self.context, reading, rows, edge).await?;
        }
        reading.progress.spans.insert(1, Span { up_to: rest, ..Span::default() });
        self.lanes.insert(1, Lane::default());
        Ok(true)
    }

    /// Writes the rows of the first window that are not out yet. Answers what follows if it cannot.
    async fn emit(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Option<Outcome>, Error> {
        let Lane { files, skips, .. } = &self.lanes[0];
        let Some(wide) = &mut self.wide else {
            for file in files {
                write_rows(self.context, reading, output, file, |row, _| skips.binary_search(&row).is_err())?;
            }
            return Ok(None);
        };
        let open = |file: &ResultFile| file.csv(&reading.plan.stream);
        let files = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        self.context.observer.doing(&reading.plan.stream, "Bulk Read");
        let up_to = match &reading.progress.spans[0].up_to {
            Some(Edge::Id(id)) => Some(id.clone()),
            _ => None,
        };
        wide.window(self.context, reading, output, files, up_to.as_deref()).await
    }

    /// The first window is written.
    fn done(&mut self, reading: &mut Reading<'_>) {
        let files = self.lanes.pop_front().map(|lane| lane.files).unwrap_or_default();
        let span = reading.progress.spans.remove(0);
        match span.up_to {
            Some(Edge::Id(id)) => reading.progress.after_id = Some(id),
            Some(Edge::Created(time)) => reading.progress.created_from = Some(time),
            None if self.by_time => {}
            None => {
                let last = files.into_iter().filter_map(|file| file.rows.last);
                let last = last.max_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
                reading.progress.after_id = last.or(reading.progress.after_id.take());
            }
        }
    }
}

/// Writes the rows of a file that are not out yet and that `takes` takes, by number and id.
fn write_rows(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    file: &ResultFile,
    mut takes: impl FnMut(u64, &[u8]) -> bool,
) -> Result<(), Error> {
    let plan = reading.plan;
    let decode = |source: DecodeError| Error::Decode { stream: plan.stream.clone(), source };
    context.observer.doing(&plan.stream, "Bulk Read");
    output.extracted_at(&text(context.server_time()));
    let id = plan.columns.position("id").expect("every plan begins with the id");
    tokio::task::block_in_place(|| {
        let mut decoder = CsvDecoder::new(file.csv(&plan.stream)?, &plan.columns).map_err(decode)?;
        while decoder.advance().map_err(decode)? {
            let row = decoder.row_number();
            if row <= reading.progress.spans[0].rows_out || !takes(row, decoder.cell(id)) {
                continue;
            }
            output.record(|out| decoder.write(out).map_err(decode))?;
            if !reading.progress.spans[0].jobs.is_empty() {
                reading.progress.spans[0].rows_out = row;
            }
            if row.is_multiple_of(LOOK_EVERY) {
                context.observer.rows(&plan.stream, output.rows());
                if context.shutdown.is_cancelled() {
                    return Err(Error::Interrupted);
                }
            }
            if output.is_due() {
                output.checkpoint(reading.bookmark())?;
            }
        }
        context.observer.rows(&plan.stream, output.rows());
        Ok(())
    })
}
