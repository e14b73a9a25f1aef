//! Reading by the records API: pages of 200, for what Bulk Read and COQL refuse.
//!
//! Its page tokens promise nothing about rows that are deleted between two pages: what follows may
//! move up, over the edge of a page already read. So a reading of more than one page is followed by
//! passes over the ids alone, until one brings no id that has not been seen.

use super::error::Error;
use super::extract::{CallError, Context, Outcome, Reading, in_stream};
use super::incremental::id_of;
use super::state::text;
use crate::codec::decode::JsonDecoder;
use crate::zoho;
use crate::zoho::api::records::{Converted, Page, RecordsQuery};
use crate::zoho::types::RecordId;
use chrono::TimeDelta;
use std::collections::HashSet;
use std::io::Write;

/// Rows of a page. Source: "Get Records", `per_page`.
const PAGE: u32 = 200;
/// Ids asked for at once: as many as fit into 1,024 characters, the longest parameter of an address.
const IDS_PER_CALL: usize = 50;
/// Passes over the ids before a stream is given up as restless.
const MOST_PASSES: u32 = 10;

/// Reads the window, from its start: a page token does not outlive the ids seen before it.
pub(super) async fn read<W: Write>(
    context: &mut Context<W>,
    reading: &mut Reading<'_>,
) -> Result<Outcome, Error> {
    let plan = reading.plan;
    reading.progress.after_id = None;
    reading.progress.job = None;
    let decoder = JsonDecoder::new(&plan.columns);
    let mut seen = HashSet::new();
    let mut query = query(reading, plan.fields());
    let mut pages = 0;
    loop {
        let page = match next(context, reading, &query).await {
            Err(CallError::Failed(error)) if pages == 0 && refuses(&error) => {
                return Ok(Outcome::Refused(error.to_string()));
            }
            answer => answer.map_err(in_stream(&plan.stream))?,
        };
        pages += 1;
        seen.extend(page.records.iter().filter_map(|record| id_of(record)));
        write(context, reading, &decoder, &page)?;
        if !forward(&mut query, &page) {
            break;
        }
    }
    if pages > 1 {
        catch_slipped(context, reading, &decoder, &mut seen).await?;
    }
    Ok(Outcome::Complete)
}

fn refuses(error: &zoho::Error) -> bool {
    matches!(error.code(), Some("INVALID_REQUEST" | "LIMIT_EXCEEDED" | "PAGINATION_LIMIT_EXCEEDED"))
}

fn query(reading: &Reading<'_>, fields: Vec<String>) -> RecordsQuery {
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

async fn next<W: Write>(
    context: &Context<W>,
    reading: &Reading<'_>,
    query: &RecordsQuery,
) -> Result<Page, CallError<zoho::Error>> {
    context.observer.doing(&reading.plan.stream, "records API");
    context.call(context.client.records(query)).await
}

/// Turns to the next page; false when there is none.
fn forward(query: &mut RecordsQuery, page: &Page) -> bool {
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

fn write<W: Write>(
    context: &mut Context<W>,
    reading: &Reading<'_>,
    decoder: &JsonDecoder,
    page: &Page,
) -> Result<(), Error> {
    context.output.extracted_at(&text(context.server_time()));
    context.page(&reading.plan.stream, decoder, &page.records)?;
    if context.output.is_due() {
        context.output.checkpoint(reading.plan, &reading.bookmark())?;
    }
    Ok(())
}

async fn catch_slipped<W: Write>(
    context: &mut Context<W>,
    reading: &Reading<'_>,
    decoder: &JsonDecoder,
    seen: &mut HashSet<String>,
) -> Result<(), Error> {
    let stream = &reading.plan.stream;
    let mut missing = Vec::new();
    for _ in 0..MOST_PASSES {
        missing = unseen(context, reading, seen).await?;
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(stream, rows = missing.len(), "rows slipped between two pages and are read by id");
        for ids in missing.chunks(IDS_PER_CALL) {
            let query = RecordsQuery {
                ids: ids.iter().map(|id| RecordId::from(id.as_str())).collect(),
                modified_since: None,
                sort_by: None,
                sort_order: None,
                ..query(reading, reading.plan.fields())
            };
            let page = next(context, reading, &query).await.map_err(in_stream(stream))?;
            write(context, reading, decoder, &page)?;
        }
        seen.extend(missing.iter().cloned());
    }
    Err(Error::Restless { stream: stream.clone(), missing: missing.len(), passes: MOST_PASSES })
}

/// The ids of the window that have not been seen, by one pass over them.
async fn unseen<W: Write>(
    context: &Context<W>,
    reading: &Reading<'_>,
    seen: &HashSet<String>,
) -> Result<Vec<String>, Error> {
    let mut query = query(reading, vec!["id".to_owned()]);
    let mut missing = Vec::new();
    loop {
        let page = next(context, reading, &query).await.map_err(in_stream(&reading.plan.stream))?;
        missing
            .extend(page.records.iter().filter_map(|record| id_of(record)).filter(|id| !seen.contains(id)));
        if !forward(&mut query, &page) {
            return Ok(missing);
        }
    }
}
