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

use super::again;
use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::incremental::id_of;
use super::output::StreamOutput;
use super::plan::Way;
use super::reader::{Outcome, Reading};
use super::slices::selection;
use crate::codec::decode::JsonDecoder;
use crate::zoho;
use crate::zoho::api::records::{Converted, Page, RecordsQuery};
use chrono::TimeDelta;
use std::collections::HashSet;

/// Rows of a page. Source: "Get Records", `per_page`.
const PAGE: u32 = 200;
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
    let mut query = query(reading, selection(&plan.columns, Way::Records));
    let mut pages = 0;
    loop {
        let page = match next(context, reading, &query).await {
            Err(CallError::Failed(error)) if pages == 0 && refuses(&error) => {
                return Ok(Outcome::Refused(error.to_string()));
            }
            answer => answer.map_err(in_stream(&plan.stream))?,
        };
        pages += 1;
        listed.add(&page);
        write(context, reading, output, &decoder, &page)?;
        if !forward(&mut query, &page) {
            break;
        }
    }
    if pages > 1 {
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
    context.page(&reading.plan.stream, output, decoder, &page.records)?;
    if output.is_due() {
        output.checkpoint(reading.bookmark())?;
    }
    Ok(())
}

/// What one pass over the module listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    ids: HashSet<String>,
    repeated: usize,
}

impl Listing {
    pub fn add(&mut self, page: &Page) {
        for id in page.records.iter().filter_map(|record| id_of(record)) {
            if !self.ids.insert(id) {
                self.repeated += 1;
            }
        }
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
        let now = list_ids(context, reading).await?;
        let missing: Vec<String> = now.ids.difference(&seen).cloned().collect();
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
async fn list_ids(context: &Context, reading: &Reading<'_>) -> Result<Listing, Error> {
    let mut query = query(reading, vec!["id".to_owned()]);
    let mut listed = Listing::default();
    loop {
        let page = next(context, reading, &query).await.map_err(in_stream(&reading.plan.stream))?;
        listed.add(&page);
        if !forward(&mut query, &page) {
            return Ok(listed);
        }
    }
}
