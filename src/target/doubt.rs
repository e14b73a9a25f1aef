//! Rows whose call was cut before its answer, found again by the mark they carry.
//!
//! With a `batch_tag_field` every row carries the names of ledger and batch and its input line. What is
//! found by it was written. That nothing is found at once proves nothing, so it is looked for again until
//! `in_doubt_wait` has passed without a change. Then it depends: a record call is executed while its sender
//! waits or not at all, and is sent again; a bulk job may still be in its queue, and a person decides. Once
//! some rows of a call are there, the call was executed; those that never came are `unknown`, never sent again
//! by themselves.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::config::Operation;
use super::error::Error;
use super::job::{ByEntry, Job};
use super::ledger::{Call, Ledger, Progress, Way};
use super::mapping::{Route, Source};
use super::outcome::{Action, Outcome};
use super::spool::SpoolReader;
use super::write::Effort;
use crate::zoho;
use crate::zoho::api::coql::MAX_LIMIT;
use crate::zoho::credits::coql_price;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Lines of a call in doubt that are named.
const LINES_NAMED: usize = 10;

/// Where the first rows of a call stand: a batch file or else the input, and the line there. What cannot be
/// read is not named; the doubt is what has to be told.
pub(super) fn first_places(
    ledger: &Ledger,
    run: i64,
    call: &Call,
    reader: &mut SpoolReader,
) -> Vec<(Option<String>, u64)> {
    let mut files = ledger.files_of(run).ok();
    let mut places = Vec::new();
    for unit in call.units.iter().take(LINES_NAMED) {
        let Ok(head) = reader.head(unit[0]) else { continue };
        let found = files.as_mut().and_then(|files| files.at(head.line).ok().flatten());
        places.push(found.map_or((None, head.line), |found| (Some(found.name.to_owned()), found.line)));
    }
    places
}

impl Call {
    /// What it is called by whoever decides about it.
    pub(super) fn name(&self, batch: &str) -> String {
        format!("{batch}/{}", self.number)
    }

    /// Whether it may have been executed and may not be repeated.
    pub(super) fn is_in_doubt(&self, route: &Route) -> bool {
        self.progress == Progress::Intent && !route.may_repeat(self.way)
    }
}

impl Route {
    /// Whether sending the rows of a call again does no harm.
    pub fn may_repeat(&self, way: Way) -> bool {
        way.comes_second() || way.is_harmless() && !self.adds_rows() || self.idempotent
    }

    /// The place of the column that gets the mark.
    pub fn tag_place(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.source == Source::Tag)
    }
}

impl Job<'_> {
    /// What the marks of this batch begin with.
    fn tag_stem(&self) -> String {
        format!("{}-{}-", self.writer.ledger.name(), self.batch.id)
    }

    /// The mark of the row on an input line.
    pub(super) fn tag(&self, line: u64) -> String {
        format!("{}{line}", self.tag_stem())
    }

    /// Finds out what became of a call that may have been executed and may not be repeated.
    ///
    /// # Errors
    /// In doubt, when there is no mark, or nothing of a bulk job is found by it.
    pub(super) async fn settle_doubt(
        &self,
        call: &Call,
        source: Option<Box<zoho::Error>>,
        effort: &mut Effort,
    ) -> Result<ByEntry, Error> {
        let Some(place) = self.batch.route.tag_place() else {
            return Err(self.in_doubt(call, source).await);
        };
        let field = self.batch.route.columns[place].field.clone();
        let lines = self.first_lines(call).await?;
        tracing::info!(
            batch = self.batch.id,
            field,
            "rows whose answer was lost are looked for by their mark"
        );
        let found = self.look_until_quiet(&field, &lines, effort).await?;
        if !lines.iter().any(|line| found.contains_key(line)) {
            if !matches!(call.way, Way::Insert | Way::Update | Way::Upsert) {
                return Err(self.in_doubt(call, source).await);
            }
            tracing::info!(batch = self.batch.id, "none of them is in Zoho; they are sent again");
            let again = Call { progress: Progress::Planned, resent: true, ..call.clone() };
            self.save(&again)?;
            return Box::pin(self.run_call(again, effort)).await;
        }
        let outcomes = lines.iter().map(|line| match found.get(line) {
            // The mark is of this very sending.
            Some(id) => Outcome::new(self.marked()).with_record(Some(id.clone())),
            None => Outcome::unknown(
                "the answer to this row's call was lost; other rows of the call are in Zoho, this one is not",
            ),
        });
        let outcomes = outcomes.collect();
        self.done(call, outcomes).await
    }

    /// The error for a call that may have been executed and may not be repeated.
    pub(super) async fn in_doubt(&self, call: &Call, source: Option<Box<zoho::Error>>) -> Error {
        let mut reader = self.reader.lock().await;
        Error::InDoubt {
            call: call.name(&self.batch.id),
            module: self.batch.route.module.clone(),
            count: call.rows(),
            lines: first_places(&self.writer.ledger, self.batch.run, call, &mut reader),
            source,
        }
    }

    /// What was done for a row whose mark is there.
    pub(super) fn marked(&self) -> Action {
        match self.batch.route.operation {
            Operation::Insert => Action::Inserted,
            _ => Action::Written,
        }
    }

    /// Looks until every row is found or nothing has changed for `in_doubt_wait`.
    pub(super) async fn look_until_quiet(
        &self,
        field: &str,
        lines: &[u64],
        effort: &mut Effort,
    ) -> Result<HashMap<u64, String>, Error> {
        let (mut pause, mut known, mut changed) = (FIRST_PAUSE, 0, Instant::now());
        loop {
            let found = self.look_by_tag(field, effort).await?;
            let wait = self.writer.config.in_doubt_wait;
            if found.len() != known {
                (known, changed) = (found.len(), Instant::now());
            }
            let left = wait.saturating_sub(changed.elapsed());
            if left.is_zero() || lines.iter().all(|line| found.contains_key(line)) {
                return Ok(found);
            }
            tokio::select! {
                () = sleep(pause.min(left)) => {}
                () = self.writer.shutdown.cancelled() => return Err(Error::Interrupted),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Records that carry a mark of this batch: id by input line.
    async fn look_by_tag(&self, field: &str, effort: &mut Effort) -> Result<HashMap<u64, String>, Error> {
        let (module, stem) = (&self.batch.route.module, self.tag_stem());
        let mut found = HashMap::new();
        let mut last = String::from("0");
        loop {
            let query = format!(
                "select id, {field} from {module} where ({field} like '{stem}%' and id > {last}) order by id asc limit {MAX_LIMIT}"
            );
            let page = self.writer.client.coql(&query, MAX_LIMIT).await.map_err(|error| {
                Error::zoho(format!("cannot look for rows of batch `{}` in {module}", self.batch.id), error)
            })?;
            effort.credits += coql_price(MAX_LIMIT);
            for record in &page.records {
                let row: Value = serde_json::from_str(record.get()).unwrap_or_default();
                let Some(id) = row["id"].as_str() else { continue };
                last = id.to_owned();
                let line = row[field].as_str().and_then(|tag| tag.strip_prefix(&stem)?.parse().ok());
                found.extend(line.map(|line| (line, id.to_owned())));
            }
            if !page.more_records || page.records.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Input line of the first row of each unit: the one in its mark.
    pub(super) async fn first_lines(&self, call: &Call) -> Result<Vec<u64>, Error> {
        let mut reader = self.reader.lock().await;
        call.units.iter().map(|unit| Ok(reader.head(unit[0])?.line)).collect()
    }
}
