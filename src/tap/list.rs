//! Reading by the records API: pages of 200, for what Bulk Read and COQL refuse.
//!
//! Its page tokens promise nothing about rows that come and go between two pages: what follows may
//! move up, over the edge of a page already read. So a reading of more than one page is followed by
//! passes over the ids alone, each read by id where it is new, until one pass is proven whole.
//!
//! That no new id turns up proves nothing, because the same row can slip twice. What moves rows up is
//! a row before them that goes away. Either it had been listed: then the next pass lacks it. Or it
//! came during the pass: then it moved the others down first, and one was listed twice. So a pass is
//! whole if it lists no id twice and the next one lists all of its ids again.
//!
//! Past the reach of page tokens the walk is in the order of changes, each list beginning with the
//! second at which the one before it ended. A row that changes meanwhile moves to the end and is seen
//! twice, so the same argument holds. One second with more rows than a list reaches cannot be had.

use super::again;
use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::incremental::id_of;
use super::output::StreamOutput;
use super::plan::{MODIFIED_TIME, Way};
use super::reader::{Outcome, Reading};
use super::slices::selection;
use super::state::{Bounds, text};
use crate::codec::decode::JsonDecoder;
use crate::codec::time::epoch_seconds;
use crate::zoho;
use crate::zoho::api::records::{Converted, Page, RecordsQuery};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// Rows of a page. Source: "Get Records", `per_page`.
const PAGE: u32 = 200;
/// Rows that page tokens reach. Source: "Get Records", `page_token`.
const REACH: u64 = 100_000;
/// Passes over the ids before a module that loses rows during every one is given up as restless.
const MOST_PASSES: u32 = 10;

/// Reads the window, from its start: a page token does not outlive the ids seen before it.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
) -> Result<Outcome, Error> {
    let plan = reading.plan;
    reading.progress.begin_again();
    let decoder = JsonDecoder::new(&plan.columns);
    let mut listed = Listing::default();
    let mut walk = Walk::new(reading, selection(&plan.columns, Way::Records), false);
    loop {
        match walk.turn(context, reading).await? {
            Turn::Page(page) => {
                listed.add(&page);
                write(context, reading, output, &decoder, &page)?;
            }
            Turn::Later(second) => listed.goes_on_from(second),
            Turn::PastReach => {
                tracing::info!(stream = plan.stream, "past the reach of lists: by {MODIFIED_TIME}");
                walk = Walk::new(reading, selection(&plan.columns, Way::Records), true);
                listed = Listing { by_time: true, ..Listing::default() };
            }
            Turn::Refused(reason) => return Ok(Outcome::Refused(reason)),
            Turn::End => break,
        }
    }
    if walk.pages > 1 {
        catch_slipped(context, reading, output, listed).await?;
    }
    Ok(Outcome::Complete)
}

pub(super) fn refuses(error: &zoho::Error) -> bool {
    matches!(error.code(), Some("INVALID_REQUEST" | "LIMIT_EXCEEDED" | "PAGINATION_LIMIT_EXCEEDED"))
}

pub(super) fn query(reading: &Reading<'_>, fields: Vec<String>) -> RecordsQuery {
    RecordsQuery {
        module: reading.plan.module.clone(),
        fields,
        per_page: PAGE,
        sort_by: Some("id".into()),
        sort_order: Some("asc".into()),
        // Whether the server compares with `>` or `>=` is not documented: one second earlier does for both.
        modified_since: reading.progress.window.from.map(|from| from - TimeDelta::seconds(1)),
        converted: (reading.plan.module == "Leads").then_some(Converted::Both),
        ..RecordsQuery::default()
    }
}

pub(super) async fn next(
    context: &Context,
    reading: &Reading<'_>,
    query: &RecordsQuery,
) -> Result<Page, CallError<zoho::Error>> {
    context.observer.doing(&reading.plan.stream, "records API");
    context.call(context.client.records(query)).await
}

/// Turns to the next page; false when there is none.
pub(super) fn forward(query: &mut RecordsQuery, page: &Page) -> bool {
    match (&page.next_page_token, page.more_records) {
        (_, false) => return false,
        (Some(token), true) => {
            query.page = None;
            query.page_token = Some(token.clone());
        }
        (None, true) => query.page = Some(query.page.unwrap_or(1) + 1),
    }
    true
}

fn write(
    context: &Context,
    reading: &Reading<'_>,
    output: &mut StreamOutput,
    decoder: &JsonDecoder,
    page: &Page,
) -> Result<(), Error> {
    let bounds = &reading.progress.window.bounds;
    if *bounds == Bounds::default() {
        context.page(&reading.plan.stream, output, decoder, &page.records)?;
    } else {
        // Lists know no criteria on ids: a shard looks at every row and keeps its own.
        let is_ours = |record: &RawValue| id_of(record).is_some_and(|id| bounds.hold(&id));
        let ours: Vec<_> = page.records.iter().filter(|record| is_ours(record)).cloned().collect();
        context.page(&reading.plan.stream, output, decoder, &ours)?;
    }
    if output.is_due() {
        output.checkpoint(reading.bookmark())?;
    }
    Ok(())
}

/// A walk over all pages of the window: by id, as far as lists reach; or in the order of changes, where
/// each further list begins with the second at which the one before it ended.
struct Walk {
    query: RecordsQuery,
    by_time: bool,
    /// The second with which the present list began.
    since: Option<DateTime<Utc>>,
    /// When the last row seen was modified.
    last: Option<DateTime<Utc>>,
    pages: u32,
    is_done: bool,
}

/// What a walk came upon.
enum Turn {
    Page(Page),
    /// Another list begins with the rows of this second.
    Later(DateTime<Utc>),
    /// There are more rows than a list by id reaches.
    PastReach,
    /// The server does not take this list.
    Refused(String),
    End,
}

impl Walk {
    fn new(reading: &Reading<'_>, fields: Vec<String>, by_time: bool) -> Self {
        let mut query = query(reading, fields);
        if by_time {
            query.sort_by = Some(MODIFIED_TIME.into());
        }
        Self { query, by_time, since: None, last: None, pages: 0, is_done: false }
    }

    async fn turn(&mut self, context: &Context, reading: &Reading<'_>) -> Result<Turn, Error> {
        if self.is_done {
            return Ok(Turn::End);
        }
        match next(context, reading, &self.query).await {
            Ok(page) => {
                self.pages += 1;
                self.last = page.records.last().and_then(|record| modified(record)).or(self.last);
                self.is_done = !forward(&mut self.query, &page);
                Ok(Turn::Page(page))
            }
            Err(CallError::Failed(error)) if self.pages == 0 && refuses(&error) => {
                Ok(Turn::Refused(error.to_string()))
            }
            Err(CallError::Failed(error)) if error.code() == Some("PAGINATION_LIMIT_EXCEEDED") => {
                if self.by_time { self.later(reading, &error) } else { Ok(Turn::PastReach) }
            }
            Err(error) => Err(in_stream(&reading.plan.stream)(error)),
        }
    }

    /// Begins the next list.
    fn later(&mut self, reading: &Reading<'_>, limit: &zoho::Error) -> Result<Turn, Error> {
        let stream = reading.plan.stream.clone();
        let Some(last) = self.last.filter(|last| self.since.is_none_or(|since| since < *last)) else {
            let second = self.last.map(text).unwrap_or_default();
            let reach = limit.details()["limit"].as_u64().unwrap_or(REACH);
            return Err(Error::Crowded { stream, second, reach });
        };
        self.since = Some(last);
        self.query.modified_since = Some(last - TimeDelta::seconds(1));
        (self.query.page, self.query.page_token) = (None, None);
        Ok(Turn::Later(last))
    }
}

/// When a record was modified.
fn modified(record: &RawValue) -> Option<DateTime<Utc>> {
    let record: Value = serde_json::from_str(record.get()).ok()?;
    record[MODIFIED_TIME].as_str().and_then(epoch_seconds).and_then(|at| DateTime::from_timestamp(at, 0))
}

/// What one pass over the module listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    ids: HashSet<String>,
    repeated: usize,
    /// In the order of changes rather than of ids.
    by_time: bool,
    /// Where the present list began: what it repeats of the one before it is no sign of anything.
    tie: Option<DateTime<Utc>>,
    tied: HashSet<String>,
}

impl Listing {
    pub fn add(&mut self, page: &Page) {
        for record in &page.records {
            let Some(id) = id_of(record) else { continue };
            let is_tied = self.tie.is_some_and(|tie| modified(record).is_some_and(|at| at <= tie));
            let is_first_of_list = !is_tied || self.tied.insert(id.clone());
            if !(self.ids.insert(id) || is_tied && is_first_of_list) {
                self.repeated += 1;
            }
        }
    }

    fn goes_on_from(&mut self, second: DateTime<Utc>) {
        self.tie = Some(second);
        self.tied.clear();
    }

    /// Signs that rows moved during this pass, judged by the pass after it.
    fn moves(&self, next: &Self) -> usize {
        self.repeated + self.ids.difference(&next.ids).count()
    }
}

/// Makes passes over the ids until one is proven whole, and reads what they show to have slipped.
pub(super) async fn catch_slipped(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    first: Listing,
) -> Result<(), Error> {
    let stream = &reading.plan.stream;
    let (mut seen, mut before, mut moves) = (first.ids.clone(), first, 0);
    for _ in 0..MOST_PASSES {
        let now = list_ids(context, reading, before.by_time).await?;
        let mut missing: Vec<String> = now.ids.difference(&seen).cloned().collect();
        missing.retain(|id| reading.progress.window.bounds.hold(id));
        if !missing.is_empty() {
            tracing::info!(
                stream,
                rows = missing.len(),
                "rows came or slipped between two pages, read by id"
            );
        }
        again::read(context, reading, output, missing).await?;
        moves = before.moves(&now);
        if moves == 0 {
            return Ok(());
        }
        seen.extend(now.ids.iter().cloned());
        before = now;
    }
    Err(Error::Restless { stream: stream.clone(), moves, passes: MOST_PASSES })
}

/// One pass over the ids of the window.
async fn list_ids(context: &Context, reading: &Reading<'_>, by_time: bool) -> Result<Listing, Error> {
    let by = by_time.then_some(MODIFIED_TIME);
    let fields = ["id"].into_iter().chain(by).map(str::to_owned).collect();
    let mut walk = Walk::new(reading, fields, by_time);
    let mut listed = Listing { by_time, ..Listing::default() };
    loop {
        match walk.turn(context, reading).await? {
            Turn::Page(page) => listed.add(&page),
            Turn::Later(second) => listed.goes_on_from(second),
            Turn::PastReach => {
                // It grew beyond the reach since the pass before.
                walk = Walk::new(reading, vec!["id".to_owned(), MODIFIED_TIME.to_owned()], true);
                listed = Listing { by_time: true, ..Listing::default() };
            }
            Turn::Refused(reason) => {
                return Err(Error::NoWay { stream: reading.plan.stream.clone(), reasons: reason });
            }
            Turn::End => return Ok(listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(rows: &[(&str, i64)]) -> Page {
        let record = |(id, at): &(&str, i64)| {
            let at = DateTime::from_timestamp(*at, 0).map(text);
            serde_json::value::to_raw_value(&json!({"id": id, MODIFIED_TIME: at})).expect("JSON")
        };
        Page { records: rows.iter().map(record).collect(), ..Page::default() }
    }

    #[test]
    fn what_a_list_repeats_of_the_one_before_it_is_no_move_and_all_else_is() {
        let mut listed = Listing { by_time: true, ..Listing::default() };
        listed.add(&page(&[("1", 10), ("2", 20), ("3", 20)]));
        listed.goes_on_from(DateTime::from_timestamp(20, 0).expect("an instant"));
        listed.add(&page(&[("2", 20), ("3", 20), ("4", 30)]));
        assert_eq!(listed.repeated, 0);
        // Modified after it was listed; and twice in one list.
        listed.add(&page(&[("1", 40)]));
        listed.add(&page(&[("2", 20)]));
        assert_eq!(listed.repeated, 2);
    }
}
