//! Divides what one bulk job does not take into windows that several jobs read side by side.
//!
//! Where a window ends is found by COQL: one row at an offset, for one credit per 100,000 rows. A
//! boundary decides how large a window is and nothing else: windows follow each other without a gap
//! wherever they end, and one that turns out too large goes on by itself.

use super::super::error::Error;
use super::super::extract::{CallError, Context, in_stream};
use super::super::incremental::{count, id_of, query, refuses};
use super::super::reader::Reading;
use super::super::state::{Edge, Span, precedes};
use crate::zoho;
use crate::zoho::api::bulk_read::MAX_ROWS_PER_JOB;

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

    /// A job took so many rows of what has no end, up to this id, and left some: that is how many one
    /// job takes.
    pub async fn took(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        rows: u64,
        end: &str,
    ) -> Result<(), Error> {
        self.page = self.page.min(rows.max(1));
        self.left = match self.left {
            Some(left) => Some(left.saturating_sub(rows)),
            None if self.reach.is_none() => None,
            None => match count(context, reading, Some(end)).await {
                Ok(left) => Some(left),
                Err(Error::Stream { source, .. }) if refuses(&source) => {
                    self.reach = None;
                    None
                }
                Err(error) => return Err(error),
            },
        };
        Ok(())
    }

    /// Divides the last window if it is known to be more than one job takes; answers whether it did.
    pub async fn divide(&mut self, context: &Context, reading: &mut Reading<'_>) -> Result<bool, Error> {
        let (Some(left), Some(_)) = (self.left, self.reach) else { return Ok(false) };
        // Changes move rows into an increment while it is read: some room saves a whole job.
        let page = match reading.progress.window.from {
            Some(_) => (self.page - self.page / 20).max(1),
            None => self.page,
        };
        let windows = left.div_ceil(page);
        if windows < 2 {
            return Ok(false);
        }
        let rows = left.div_ceil(windows);
        let start = start_of_last(reading);
        let Some(end) = self.hop(context, reading, start.as_deref(), rows).await? else {
            self.left = None;
            return Ok(false);
        };
        self.left = Some(left - rows);
        let last = reading.progress.spans.len().saturating_sub(1);
        reading.progress.spans.insert(last, Span { up_to: Some(Edge::Id(end)), ..Span::default() });
        Ok(true)
    }

    /// The id of the row that is so many rows behind `start`; none if there is none, or if the server
    /// does not tell.
    async fn hop(
        &mut self,
        context: &Context,
        reading: &Reading<'_>,
        start: Option<&str>,
        mut rows: u64,
    ) -> Result<Option<String>, Error> {
        let mut at = start.map(str::to_owned);
        while let (Some(reach), true) = (self.reach, rows > 0) {
            let step = rows.min(reach);
            let tail = format!(" order by id asc limit 1 offset {}", step - 1);
            let query = query(reading, at.as_deref(), "id", &tail);
            let page = match context.call(context.client.coql(&query, 1)).await {
                Err(CallError::Failed(error)) if refuses(&error) => {
                    self.reach = smaller_reach(&error, reach);
                    continue;
                }
                answer => answer.map_err(in_stream(&reading.plan.stream))?,
            };
            let found = page.records.first().and_then(|record| id_of(record));
            let follows = |id: &String| precedes(at.as_deref().unwrap_or_default().as_bytes(), id.as_bytes());
            let Some(id) = found.filter(follows) else { return Ok(None) };
            at = Some(id);
            rows -= step;
        }
        Ok(at.filter(|_| rows == 0))
    }
}

/// What to try after a refused offset.
fn smaller_reach(error: &zoho::Error, reach: u64) -> Option<u64> {
    (error.code() == Some("LIMIT_EXCEEDED") && reach > REACH_BEFORE_V7).then_some(REACH_BEFORE_V7)
}

fn start_of_last(reading: &Reading<'_>) -> Option<String> {
    let progress = &reading.progress;
    match progress.spans.iter().rev().nth(1).map(|span| &span.up_to) {
        Some(Some(Edge::Id(id))) => Some(id.clone()),
        Some(_) => None,
        None => progress.floor().map(str::to_owned),
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
