//! Rows of a bulk write job that has ended without telling what became of them: the job failed, or its
//! result does not name them.
//!
//! | the row | is |
//! | --- | --- |
//! | may be sent again without harm | sent again, by record calls; a failed job as a whole |
//! | carries a mark (`batch_tag_field`) | looked for by it, until nothing has changed for `in_doubt_wait` |
//! | is inserted with a value that Zoho holds unique | looked for by that; a record older than the job is another's |
//! | none of these | `unknown` |
//!
//! Unlike a call whose answer was lost (`doubt`), a job that has ended writes nothing any more: what is not
//! found was not written, and is rejected.

use chrono::{DateTime, Utc};
use tokio::time::sleep;

use super::config::Operation;
use super::error::Error;
use super::job::{ByEntry, Fate, Job};
use super::ledger::{Call, Progress};
use super::lookup::{Found, Question, ask};
use super::outcome::{Action, Outcome};
use super::write::Effort;
use crate::zoho::api::JobFailure;
use crate::zoho::api::bulk_write::BulkWriteJob;
use crate::zoho::types::JobId;

/// Tells when a record was made.
const CREATED: &str = "Created_Time";

impl Job<'_> {
    /// Stores what the result of a job tells, and finds out about the rest.
    pub(super) async fn told_by_job(
        &self,
        call: Call,
        job: &BulkWriteJob,
        outcomes: Vec<Outcome>,
        effort: &mut Effort,
    ) -> Result<ByEntry, Error> {
        let is_unknown = |outcome: &Outcome| outcome.action == Action::Unknown;
        let unclear = outcomes.iter().any(is_unknown);
        let sought = match unclear && !self.may_repeat(call.way) {
            true => self.seek(&call, job, effort).await?,
            false => None,
        };
        let mut sought = sought.map(Vec::into_iter);
        let fate = |outcome: Outcome| {
            let found = sought.as_mut().and_then(Iterator::next);
            match (is_unknown(&outcome), found) {
                (true, _) if self.may_repeat(call.way) => Fate::Again,
                (true, Some(found)) => Fate::Told(found.unwrap_or_else(|| not_named(&outcome))),
                _ if self.lacks_parent(&call, &outcome) => Fate::Waits,
                _ => Fate::Told(outcome),
            }
        };
        let fates = outcomes.into_iter().map(fate).collect();
        let (mut rows, again) = self.done_but(&call, fates).await?;
        rows.extend(self.run_one_by_one(again, effort).await?);
        Ok(rows)
    }

    /// Finds out about the rows of a failed job that may not be sent again.
    pub(super) async fn after_failed_job(
        &self,
        call: Call,
        job: &BulkWriteJob,
        failure: &JobFailure,
        effort: &mut Effort,
    ) -> Result<ByEntry, Error> {
        tracing::warn!(code = failure.code, "the bulk write job failed; its rows are looked for");
        let code = Some(failure.code.clone()).filter(|code| !code.is_empty());
        let failed = Outcome {
            job_id: call.job.clone(),
            ..Outcome::unknown(format!("the bulk write job failed: {}", failure.message))
        };
        let outcomes = match self.seek(&call, job, effort).await? {
            None => vec![Outcome { code, ..failed }; call.units.len()],
            Some(found) => {
                let unwritten = Outcome {
                    code: Some(code.unwrap_or_else(|| "CANNOT_PROCESS".to_owned())),
                    action: Action::Rejected,
                    ..failed
                };
                found.into_iter().map(|found| found.unwrap_or_else(|| unwritten.clone())).collect()
            }
        };
        self.done(&call, outcomes).await
    }

    /// A job that failed again and again: the next run creates it anew.
    pub(super) fn given_up(&self, mut call: Call, id: &JobId, failure: &JobFailure) -> Result<Error, Error> {
        call.progress = Progress::Intent;
        call.job = None;
        self.save(&call)?;
        Ok(Error::Job {
            job: id.to_string(),
            module: self.batch.route.module.clone(),
            code: failure.code.clone(),
            message: failure.message.clone(),
        })
    }

    /// What became of each unit, `None` for those that are not there; nothing where that cannot be known.
    async fn seek(
        &self,
        call: &Call,
        job: &BulkWriteJob,
        effort: &mut Effort,
    ) -> Result<Option<Vec<Option<Outcome>>>, Error> {
        let route = &self.batch.route;
        if let Some(place) = route.tag_place() {
            let lines = self.first_lines(call).await?;
            let found = self.look_until_quiet(&route.columns[place].field, &lines, effort).await?;
            let marked = |line: &u64| Some(self.there(self.marked(), call, found.get(line)?));
            return Ok(Some(lines.iter().map(marked).collect()));
        }
        let unique = route.columns.iter().position(|column| column.unique && column.field != "id");
        match (unique, job.created) {
            (Some(place), Some(created)) if route.operation == Operation::Insert => {
                self.seek_by_value(call, place, created, effort).await
            }
            _ => Ok(None),
        }
    }

    /// Looks for the records of an insert by a value that only they can have.
    async fn seek_by_value(
        &self,
        call: &Call,
        place: usize,
        created: DateTime<Utc>,
        effort: &mut Effort,
    ) -> Result<Option<Vec<Option<Outcome>>>, Error> {
        let column = &self.batch.route.columns[place];
        let mut keys = Vec::with_capacity(call.units.len());
        for unit in &call.units {
            let Some(key) = self.key_of(unit, place).await? else { return Ok(None) };
            keys.push(key);
        }
        let more = [CREATED.to_owned()];
        let question = Question {
            module: &self.batch.route.module,
            field: &column.field,
            numeric: column.kind.is_number(),
            more: &more,
        };
        let mut found = Found::default();
        ask(&self.writer.client, question, &found.unknown(keys.iter().cloned()), &mut found, effort).await?;
        if !found.missing(&keys).is_empty() {
            // What was written a moment ago may not be found yet.
            tokio::select! {
                () = sleep(self.writer.config.in_doubt_wait) => {}
                () = self.writer.shutdown.cancelled() => return Err(Error::Interrupted),
            }
            let missing = found.missing(&keys);
            ask(&self.writer.client, question, &missing, &mut found, effort).await?;
        }
        let outcome = |key: &String| {
            let id = found.id(key).ok()?.to_owned();
            let since = found.record(&id)?.get(CREATED)?.as_str()?;
            if DateTime::parse_from_rfc3339(since).is_ok_and(|since| since >= created) {
                return Some(self.there(Action::Inserted, call, &id));
            }
            let text = format!("another record has {} \"{key}\"", column.field);
            let field = Some(column.field.clone());
            Some(Outcome::rejected("DUPLICATE_DATA", field, text).with_record(Some(id)))
        };
        Ok(Some(keys.iter().map(outcome).collect()))
    }

    fn there(&self, action: Action, call: &Call, id: &str) -> Outcome {
        Outcome { job_id: call.job.clone(), ..Outcome::new(action) }.with_record(Some(id.to_owned()))
    }
}

/// A row that the result of its job does not name, and that is not there.
fn not_named(outcome: &Outcome) -> Outcome {
    Outcome {
        job_id: outcome.job_id.clone(),
        ..Outcome::rejected("CANNOT_PROCESS", None, "the job has ended, and the row is not in Zoho")
    }
}
