//! Divides what one bulk job does not take into windows that several jobs read side by side.
//!
//! Where a window ends is found by COQL: one row at an offset, for one credit per 100,000 rows. A
//! boundary decides how large a window is and nothing else: windows follow each other without a gap
//! wherever they end, and one that turns out too large goes on by itself.

use super::super::error::Error;
use super::super::extract::{CallError, Context, in_stream};
use super::super::incremental::{id_of, query, refuses, select};
use super::super::plan::MODIFIED_TIME;
use super::super::reader::Reading;
use super::super::state::{Edge, Span, precedes, text};
use super::CREATED_TIME;
use crate::codec::time::epoch_seconds;
use crate::zoho;
use crate::zoho::api::bulk_read::MAX_ROWS_PER_JOB;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

/// Rows that an offset reaches. Source: "Query API, Limitations"; older servers 10,000.
const REACH: u64 = 100_000;
const REACH_BEFORE_V7: u64 = 10_000;

/// Credits of finding the boundaries for so many rows, besides the jobs: for the planner.
pub fn boundary_credits(rows: u64) -> u64 {
    let windows = rows.div_ceil(MAX_ROWS_PER_JOB).max(1);
    (windows - 1) * rows.div_ceil(windows).div_ceil(REACH)
}

/// What is known about the rows that no window with an end holds yet.
#[derive(Debug)]
pub(in crate::tap) struct Windows {
    /// How many they are, if anybody counted.
    left: Option<u64>,
    /// Rows that one job takes.
    page: u64,
    /// Rows that an offset reaches; none when the server gives no boundaries.
    reach: Option<u64>,
}

impl Windows {
    /// `rows`: how many are left to read, if anybody counted.
    pub fn new(rows: Option<u64>) -> Self {
        Self { left: rows, page: MAX_ROWS_PER_JOB, reach: Some(REACH) }
    }

    /// A job took so many rows of what has no end and left some: that is how many one job takes.
    /// `rest` is where it left off.
    pub async fn took(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        rows: u64,
        rest: &Edge,
    ) -> Result<(), Error> {
        self.page = self.page.min(rows.max(1));
        self.left = match (self.left, rest) {
            (Some(left), _) => Some(left.saturating_sub(rows)),
            (None, Edge::Id(id)) => {
                self.count(context, reading, &query(reading, Some(id), COUNT, "")).await?
            }
            (None, Edge::Created(time)) => {
                let query = created_query(reading, COUNT, vec![created(">=", *time)], "");
                self.count(context, reading, &query).await?
            }
        };
        Ok(())
    }

    /// Whether a file whose ids ascend to `last` holds every row of its window that was created before
    /// `end`: those it lacks have larger ids. False, too, if nobody can tell.
    pub async fn is_whole_before(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        end: DateTime<Utc>,
        last: &str,
    ) -> Result<bool, Error> {
        let from = reading.progress.created_from.map(|from| created(">=", from));
        let conditions = [created("<", end), format!("id > '{last}'")].into_iter().chain(from);
        let query = created_query(reading, COUNT, conditions.collect(), "");
        Ok(self.count(context, reading, &query).await? == Some(0))
    }

    /// A count by COQL, for one credit; none where the server does not answer such queries.
    async fn count(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        query: &str,
    ) -> Result<Option<u64>, Error> {
        if self.reach.is_none() {
            return Ok(None);
        }
        match context.call(context.client.coql_count(query)).await {
            Err(CallError::Failed(error)) if refuses(&error) => {
                self.reach = None;
                Ok(None)
            }
            answer => Ok(Some(answer.map_err(in_stream(&reading.plan.stream))?)),
        }
    }

    /// Divides the last window if it is known to be more than one job takes.
    pub async fn divide(
        &mut self,
        context: &Context,
        reading: &mut Reading<'_>,
        by_time: bool,
    ) -> Result<(), Error> {
        let (Some(left), Some(_)) = (self.left, self.reach) else { return Ok(()) };
        // Changes move rows into an increment while it is read: some room saves a whole job.
        let page = match reading.progress.window.from {
            Some(_) => (self.page - self.page / 20).max(1),
            None => self.page,
        };
        let windows = left.div_ceil(page);
        if windows < 2 {
            return Ok(());
        }
        let rows = left.div_ceil(windows);
        let start = start_of_last(reading, by_time);
        let Some(end) = self.hop(context, reading, start, rows, by_time).await? else {
            self.left = None;
            return Ok(());
        };
        self.left = Some(left - rows);
        let last = reading.progress.spans.len().saturating_sub(1);
        reading.progress.spans.insert(last, Span { up_to: Some(end), ..Span::default() });
        Ok(())
    }

    /// What stands so many rows behind `start`; none if nothing does, or if the server does not tell.
    async fn hop(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        start: Option<Edge>,
        mut rows: u64,
        by_time: bool,
    ) -> Result<Option<Edge>, Error> {
        let mut at = start;
        while let (Some(reach), true) = (self.reach, rows > 0) {
            let step = rows.min(reach);
            let query = at_offset(reading, at.as_ref(), step - 1, by_time);
            let page = match context.call(context.client.coql(&query, 1)).await {
                Err(CallError::Failed(error)) if refuses(&error) => {
                    self.reach = smaller_reach(&error, reach);
                    continue;
                }
                answer => answer.map_err(in_stream(&reading.plan.stream))?,
            };
            let found = page.records.first().and_then(|record| edge(record, by_time));
            let Some(found) = found.and_then(|found| behind(at.as_ref(), found)) else { return Ok(None) };
            at = Some(found);
            rows -= step;
        }
        Ok(at.filter(|_| rows == 0))
    }
}

/// The last ids of all parts but the last when so many rows are divided into equal parts; none where the
/// server does not tell them, or there are not so many.
pub(in crate::tap) async fn boundaries(
    context: &Context,
    reading: &Reading<'_>,
    rows: u64,
    parts: u64,
) -> Result<Option<Vec<String>>, Error> {
    let mut windows = Windows::new(Some(rows));
    let mut ids: Vec<String> = Vec::new();
    for part in 1..parts {
        let step = rows * part / parts - rows * (part - 1) / parts;
        let start = ids.last().cloned().map(Edge::Id);
        match windows.hop(context, reading, start, step, false).await? {
            Some(Edge::Id(id)) => ids.push(id),
            _ => return Ok(None),
        }
    }
    Ok(Some(ids))
}

const COUNT: &str = "COUNT(id)";

/// A time as queries take it.
pub(super) fn literal(time: DateTime<Utc>) -> String {
    format!("{}+00:00", text(time).trim_end_matches('Z'))
}

fn created(comparator: &str, time: DateTime<Utc>) -> String {
    format!("{CREATED_TIME} {comparator} '{}'", literal(time))
}

/// A query of the rows of the window that meet conditions on their time of creation.
fn created_query(reading: &Reading<'_>, columns: &str, conditions: Vec<String>, tail: &str) -> String {
    let from = reading.progress.window.from.map(|from| format!("{MODIFIED_TIME} >= '{}'", literal(from)));
    select(&reading.plan.module, columns, conditions.into_iter().chain(from), tail)
}

fn at_offset(reading: &Reading<'_>, at: Option<&Edge>, offset: u64, by_time: bool) -> String {
    let tail = |column: &str| format!(" order by {column} asc limit 1 offset {offset}");
    match at {
        Some(Edge::Created(time)) => {
            created_query(reading, CREATED_TIME, vec![created(">=", *time)], &tail(CREATED_TIME))
        }
        None if by_time => created_query(reading, CREATED_TIME, Vec::new(), &tail(CREATED_TIME)),
        Some(Edge::Id(id)) => query(reading, Some(id), "id", &tail("id")),
        None => query(reading, None, "id", &tail("id")),
    }
}

fn edge(record: &RawValue, by_time: bool) -> Option<Edge> {
    if !by_time {
        return id_of(record).map(Edge::Id);
    }
    let row: Value = serde_json::from_str(record.get()).ok()?;
    let seconds = row[CREATED_TIME].as_str().and_then(epoch_seconds)?;
    DateTime::from_timestamp(seconds, 0).map(Edge::Created)
}

/// An edge that is really behind the one before it: seconds can hold many rows, ids cannot.
fn behind(before: Option<&Edge>, found: Edge) -> Option<Edge> {
    match (before, found) {
        (Some(Edge::Created(before)), Edge::Created(found)) => {
            Some(Edge::Created(found.max(*before + TimeDelta::seconds(1))))
        }
        (Some(Edge::Id(before)), Edge::Id(found)) => {
            precedes(before.as_bytes(), found.as_bytes()).then_some(Edge::Id(found))
        }
        (_, found) => Some(found),
    }
}

/// What to try after a refused offset: what the server says, else what older ones have.
fn smaller_reach(error: &zoho::Error, reach: u64) -> Option<u64> {
    let told = error.details()["limit"].as_u64().filter(|limit| (1..reach).contains(limit));
    let told = told.or((reach > REACH_BEFORE_V7).then_some(REACH_BEFORE_V7));
    told.filter(|_| error.code() == Some("LIMIT_EXCEEDED"))
}

fn start_of_last(reading: &Reading<'_>, by_time: bool) -> Option<Edge> {
    let progress = &reading.progress;
    match progress.spans.iter().rev().nth(1) {
        Some(span) => span.up_to.clone(),
        None if by_time => progress.created_from.map(Edge::Created),
        None => progress.floor().map(|id| Edge::Id(id.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_cost_a_credit_for_100_000_rows() {
        for (rows, credits) in [(0, 0), (200_000, 0), (200_001, 2), (400_000, 2), (500_000, 4)] {
            assert_eq!(boundary_credits(rows), credits, "{rows}");
        }
    }
}
