//! Formula and rollup fields: Zoho works them out by itself, without moving `Modified_Time`, so an
//! increment misses their changes. On a schedule of its own only these columns are read, held against
//! the hashes of what went out last, and the rows in which they differ come again, whole: a target takes
//! what a record leaves out for empty.

use super::by_id;
use super::error::Error;
use super::extract::Context;
use super::keeper::{hash_of, id_in};
use super::memory::Ids;
use super::output::Output;
use super::plan::StreamPlan;
use super::reader;
use super::state::text;
use crate::codec::time::epoch_seconds;
use crate::protocol::state::StateError;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The key of its bookmark.
pub(super) const BOOKMARK: &str = "formula_refresh";

/// Refreshes every module that was read in this run and is due.
pub(super) async fn run(context: &Context, output: &Output) -> Result<(), Error> {
    if context.config.refresh.is_none() {
        return Ok(());
    }
    let mut bookmarks = bookmarks(context)?;
    for plan in context.read_plans() {
        let (last, now) = (bookmarks.get(&plan.module).copied(), context.server_time());
        let columns = due(context, &plan, last, now);
        if columns.is_empty() {
            continue;
        }
        // Always a later second: memory tells by it what was heard of.
        let until = last.map_or(now, |last| now.max(last + TimeDelta::seconds(1)));
        if !context.is_read_whole(&plan)? {
            module(context, &plan, columns, output, last, until).await?;
        }
        bookmarks.insert(plan.module.clone(), until);
        let mut bookmark = output.stream(BOOKMARK, BOOKMARK);
        let times = bookmarks.iter().map(|(module, time)| (module.clone(), text(*time).into()));
        bookmark.checkpoint(json!({"modules": times.collect::<Map<_, _>>()}))?;
        bookmark.close()?;
    }
    Ok(())
}

/// The columns of a module that are to be refreshed now, the last time having been then.
pub(super) fn due(
    context: &Context,
    plan: &StreamPlan,
    last: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<String> {
    let hours = context.config.refresh.as_ref().map_or(0, |settings| settings.every_hours);
    match last {
        Some(last) if now - last < TimeDelta::hours(hours.into()) => Vec::new(),
        _ => context.refreshed(plan),
    }
}

/// The bookmarks, one for each module.
pub(super) fn bookmarks(context: &Context) -> Result<BTreeMap<String, DateTime<Utc>>, StateError> {
    let modules = context.state.bookmark(BOOKMARK).and_then(|bookmark| bookmark.get("modules"));
    let modules = modules.and_then(Value::as_object).into_iter().flatten();
    let instant = |(module, value): (&String, &Value)| {
        let seconds = value.as_str().and_then(epoch_seconds);
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let pointer = format!("/bookmarks/{BOOKMARK}/modules/{module}");
        time.map(|time| (module.clone(), time))
            .ok_or_else(|| StateError::new(pointer, value, "a time with its offset"))
    };
    modules.map(instant).collect()
}

async fn module(
    context: &Context,
    plan: &StreamPlan,
    columns: Vec<String>,
    output: &Output,
    last: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> Result<(), Error> {
    let before = context.client.usage().credits.total();
    let (changed, rows) = changed(context, plan, &columns, output, last).await?;
    if !changed.is_empty() {
        let mut again = output.stream(&plan.tap_stream_id, &plan.stream);
        let cursor: Vec<String> = plan.replication_key.iter().cloned().collect();
        again.begin(&plan.schema, &["id".to_owned()], &cursor)?;
        again.keep(Some(context.follow_up_keeper(plan, Ids::Leave, until.timestamp())?));
        let read = by_id::rows(context, plan, &changed, Some(rows), &mut again).await;
        let closed = again.close();
        read?;
        closed?;
    }
    let credits = context.client.usage().credits.total() - before;
    let (stream, columns, changed) = (&plan.stream, columns.join(", "), changed.len());
    tracing::info!(stream, columns, rows, changed, credits, "formulas and rollups are refreshed");
    Ok(())
}

/// The ids of the rows in which a column differs from what went out last, and the number of all rows.
async fn changed(
    context: &Context,
    plan: &StreamPlan,
    columns: &[String],
    output: &Output,
    last: Option<DateTime<Utc>>,
) -> Result<(Vec<String>, u64), Error> {
    let narrow = plan.narrowed(|name| columns.iter().any(|column| column == name));
    let memory = context.memory(plan)?;
    let heard = last.map_or(0, |last| last.timestamp());
    let changed: Arc<Mutex<(Vec<String>, u64)>> = Arc::default();
    let (taken, columns) = (changed.clone(), columns.to_vec());
    let taker = Box::new(move |record: &str| {
        let id = id_in(record);
        let differs = memory.hash(id, heard)? != Some(hash_of(record, &columns));
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.1 += 1;
        if differs {
            taken.0.push(id.to_owned());
        }
        Ok(())
    });
    reader::sweep(context, &narrow, &mut output.diverted(&narrow.stream, taker)).await?;
    let mut changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *changed))
}
