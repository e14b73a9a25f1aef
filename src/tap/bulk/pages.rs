//! The pages of one query, job after job: for what criteria cannot divide.
//!
//! The next page is asked for by the token of the one before it, or by number where there is none.
//! Both may go by position: a row deleted between two pages then moves the others up, and one slips.
//! So the pages are read again and again until two passes prove each other whole, by the argument of
//! [`super::super::list`]; a pass writes only what is new. A pass costs the same whichever columns it
//! asks for, so every pass asks for all of them.

use super::super::error::Error;
use super::super::output::StreamOutput;
use super::super::reader::Reading;
use super::flight::{Flight, Landed};
use super::query::{NoJob, create, query};
use super::{Pipeline, write_rows};
use crate::zoho::api::bulk_read::BulkReadQuery;
use std::collections::HashSet;

/// Passes over the pages before a module that loses rows during every one is given up as restless.
const MOST_PASSES: u32 = 5;

/// What one pass listed.
#[derive(Debug, Default)]
struct Pass {
    ids: HashSet<u64>,
    repeated: usize,
    jobs: u32,
}

impl Pass {
    /// Notes an id.
    fn note(&mut self, id: u64) {
        if !self.ids.insert(id) {
            self.repeated += 1;
        }
    }

    /// Signs that rows moved during this pass, judged by the pass after it.
    fn moves(&self, next: &Self) -> usize {
        self.repeated + self.ids.difference(&next.ids).count()
    }
}

impl Pipeline<'_> {
    /// Reads the first window by pages. Answers why the server has none, if so.
    pub(super) async fn pages(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
    ) -> Result<Option<String>, Error> {
        tracing::info!(stream = reading.plan.stream, "rows that no criteria divide: page after page");
        // The pages of one pass belong together: whoever goes on after us begins with the first.
        (reading.progress.spans[0].jobs, reading.progress.spans[0].rows_out) = (Vec::new(), 0);
        output.checkpoint(reading.bookmark())?;
        let (mut seen, mut before): (HashSet<u64>, Option<Pass>) = (HashSet::new(), None);
        let mut moves = 0;
        for _ in 0..MOST_PASSES {
            let now = match self.pass(reading, output, &mut seen).await? {
                Ok(pass) => pass,
                Err(reason) => return Ok(Some(reason)),
            };
            let proven = now.jobs == 1 || before.as_ref().is_some_and(|before| before.moves(&now) == 0);
            if proven {
                return Ok(None);
            }
            moves = before.map_or(0, |before| before.moves(&now));
            before = Some(now);
        }
        Err(Error::Restless { stream: reading.plan.stream.clone(), moves, passes: MOST_PASSES })
    }

    /// One pass over all pages; writes the rows that are new.
    async fn pass(
        &mut self,
        reading: &mut Reading<'_>,
        output: &mut StreamOutput,
        seen: &mut HashSet<u64>,
    ) -> Result<Result<Pass, String>, Error> {
        let mut pass = Pass::default();
        let mut ask = query(reading, &reading.plan.columns, 0, self.by_time);
        loop {
            let mut has_failed = false;
            let landed = loop {
                let job = match self.ask(reading, &mut ask, pass.jobs).await? {
                    Ok(job) => job,
                    Err(reason) => return Ok(Err(reason)),
                };
                let stream = &reading.plan.stream;
                let mut flight = Flight::launch(self.context, stream, vec![job], true, 0);
                match flight.landed().await? {
                    Landed::Files(files) => break files,
                    Landed::Failed(..) | Landed::Gone(..) if !has_failed => has_failed = true,
                    Landed::Failed(job_id, failure) => {
                        let (stream, code, message) = (stream.clone(), failure.code, failure.message);
                        return Err(Error::JobFailed { stream, job_id, code, message });
                    }
                    Landed::Gone(job) => return Ok(Err(format!("the result of job `{job}` is gone"))),
                }
            };
            pass.jobs += 1;
            for file in &landed {
                let mut is_new = |id: &[u8]| {
                    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
                    id.is_none_or(|id| {
                        pass.note(id);
                        seen.insert(id)
                    })
                };
                write_rows(self.context, reading, output, file, |_, id| is_new(id))?;
            }
            let Some(file) = landed.first().filter(|file| file.more) else { return Ok(Ok(pass)) };
            ask.page_token.clone_from(&file.next_page_token);
        }
    }

    /// Creates the job of the next page: by token, else by number.
    async fn ask(
        &mut self,
        reading: &mut Reading<'_>,
        ask: &mut BulkReadQuery,
        pages: u32,
    ) -> Result<Result<String, String>, Error> {
        ask.page = (pages > 0).then_some(pages + 1);
        loop {
            match create(self.context, reading, ask).await {
                Ok(job) => return Ok(Ok(job)),
                Err(NoJob::Refused(_) | NoJob::Criteria(_)) if ask.page_token.is_some() => {
                    ask.page_token = None
                }
                Err(NoJob::Refused(reason) | NoJob::Criteria(reason)) => return Ok(Err(reason)),
                Err(NoJob::Learned) => {
                    return Ok(Err("it takes the first page and refuses a column of the next".into()));
                }
                Err(NoJob::NoCredits(error) | NoJob::Failed(error)) => return Err(error),
            }
        }
    }
}
