//! Rows read again by their ids: those that changed between two slices, or that a list let slip.
//!
//! All columns of a row come by one query where that is possible, else by slices until they fit
//! together. A row that is in no slice any more has been deleted meanwhile and is left out; the
//! stream `deleted_records` tells of it.

use super::delivery::Delivery;
use super::error::Error;
use super::extract::{Context, in_stream};
use super::incremental::{self, Asked};
use super::list;
use super::output::StreamOutput;
use super::plan::Way;
use super::reader::Reading;
use super::slices::{Slices, selection};
use super::wide::{File, extracted_now};
use crate::codec::decode::{DecodeError, JsonDecoder};
use crate::codec::merge::{Merger, Step};
use crate::codec::value::Kind;
use crate::zoho::api::records::{Page, RecordsQuery};
use crate::zoho::types::RecordId;
use std::time::Duration;

/// Ids asked for at once: as many as fit into 1,024 characters, the longest parameter of an address,
/// and as many as the stricter of two sources lets a query name.
pub(super) const IDS_PER_CALL: usize = 50;

/// Rounds over rows that keep changing before they are given up.
const MOST_ROUNDS: u32 = 8;
/// Pause between two rounds; doubles. Rows change when somebody works on them, for seconds at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads rows by their ids and writes those that are there.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    ids: Vec<String>,
) -> Result<(), Error> {
    for ids in ids.chunks(IDS_PER_CALL) {
        let mut ids = ids.to_vec();
        let mut pause = PAUSE;
        for round in 0..=MOST_ROUNDS {
            ids = attempt(context, reading, output, ids).await?;
            if ids.is_empty() {
                break;
            }
            if round == MOST_ROUNDS {
                let (stream, passes) = (reading.plan.stream.clone(), MOST_ROUNDS);
                return Err(Error::Restless { stream, moves: ids.len(), passes });
            }
            let rest = async {
                tokio::time::sleep(pause).await;
                Ok(())
            };
            context.call(rest).await.map_err(in_stream(&reading.plan.stream))?;
            pause *= 2;
        }
    }
    Ok(())
}

/// One round: answers the ids whose slices did not fit together.
async fn attempt(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    ids: Vec<String>,
) -> Result<Vec<String>, Error> {
    loop {
        let Some(slices) = by_id(reading) else {
            one_by_one(context, reading, output, &ids).await?;
            return Ok(Vec::new());
        };
        if let Some(pages) = pages(context, reading, &slices, &ids).await? {
            return merge(context, reading, output, &slices, pages);
        }
    }
}

/// The slices by which rows can be had by their ids; none when some column needs more than that.
fn by_id(reading: &Reading<'_>) -> Option<Slices> {
    let without_files = |delivery: &Delivery| Delivery { bulk_read: false, ..*delivery };
    let deliveries: Vec<_> = reading.plan.deliveries.iter().map(without_files).collect();
    let slices = |main| Slices::new(&reading.plan.columns, &deliveries, main, 0, &reading.learned);
    // A module that is read by lists probably knows no queries.
    let ways = match reading.progress.way {
        Way::Records => [Way::Records, Way::Coql],
        _ => [Way::Coql, Way::Records],
    };
    ways.into_iter().find_map(|main| slices(main).ok())
}

/// One page of each slice; none when something was refused and the columns are to be divided anew.
async fn pages(
    context: &Context,
    reading: &mut Reading<'_>,
    slices: &Slices,
    ids: &[String],
) -> Result<Option<Vec<Page>>, Error> {
    let mut pages = Vec::new();
    for slice in &slices.slices {
        let fields = selection(&slice.plan(&reading.plan.columns), slice.way);
        if slice.way == Way::Records {
            let query = RecordsQuery {
                ids: ids.iter().map(|id| RecordId::from(id.as_str())).collect(),
                modified_since: None,
                ..list::query(reading, fields)
            };
            let page = list::next(context, reading, &query).await;
            pages.push(page.map_err(in_stream(&reading.plan.stream))?);
            continue;
        }
        match incremental::ask_for(context, reading, &fields, ids).await? {
            Asked::Page(page) => pages.push(page),
            Asked::Learned => return Ok(None),
            Asked::Narrow | Asked::Refused(_) => {
                reading.learned.ways.push(Way::Coql);
                return Ok(None);
            }
        }
    }
    Ok(Some(pages))
}

/// Writes the rows that fit together; answers the others.
fn merge(
    context: &Context,
    reading: &Reading<'_>,
    output: &mut StreamOutput,
    slices: &Slices,
    pages: Vec<Page>,
) -> Result<Vec<String>, Error> {
    let plan = reading.plan;
    let decode = |source: DecodeError| Error::Decode { stream: plan.stream.clone(), source };
    let parts: Vec<_> = slices.slices.iter().map(|slice| slice.plan(&plan.columns)).collect();
    let mut merger: Merger<File> = Merger::new(&plan.columns, &parts);
    for (source, page) in pages.into_iter().enumerate() {
        merger.feed_page(source, page.records);
        merger.may_repeat(source);
        merger.finish(source);
    }
    extracted_now(context, output);
    let mut torn = Vec::new();
    loop {
        match merger.advance().map_err(decode)? {
            Step::Whole => output.record(|out| merger.write(out).map_err(decode))?,
            Step::Torn => torn.push(merger.id().to_owned()),
            Step::Needs(_) | Step::Disorder(_) | Step::Edge | Step::End => return Ok(torn),
        }
    }
}

/// The dearest way, and the last: a call for each row, which shows all of its fields.
async fn one_by_one(
    context: &Context,
    reading: &Reading<'_>,
    output: &mut StreamOutput,
    ids: &[String],
) -> Result<(), Error> {
    let plan = reading.plan;
    // Single records tell users by their full names.
    let columns = plan.columns.columns.iter().zip(&plan.deliveries);
    let mut unlike = columns.filter(|(column, delivery)| column.kind == Kind::Name && !delivery.records);
    if let Some((column, _)) = unlike.next() {
        let reasons = format!("the call for a single record tells no `{}`", column.name);
        return Err(Error::NoWay { stream: plan.stream.clone(), reasons });
    }
    let decoder = JsonDecoder::new(&plan.columns);
    for id in ids {
        let id = RecordId::from(id.as_str());
        let row = context.call(context.client.record(&plan.module, &id)).await;
        if let Some(row) = row.map_err(in_stream(&plan.stream))? {
            context.page(&plan.stream, output, &decoder, &[row])?;
        }
    }
    Ok(())
}
