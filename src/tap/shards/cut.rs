//! Makes a shard plan: finds the ids that divide each selected stream into equal parts.
//!
//! A stream costs a count and, for each boundary, a query of one row at an offset. Rows that come and
//! go later make the parts unequal, and nothing else.

use super::file::ShardPlan;
use crate::protocol::catalog::{Catalog, CatalogEntry};
use crate::protocol::state::State;
use crate::tap::TapConfig;
use crate::tap::bulk::windows::boundaries;
use crate::tap::discover::skips;
use crate::tap::error::Error;
use crate::tap::extract::{Context, Inputs, is_of_a_module};
use crate::tap::forecast::{Nobody, STREAMS_AT_ONCE, known_plan};
use crate::tap::planner::survey;
use crate::tap::reader::Reading;
use crate::tap::state::Bookmark;
use crate::zoho::Client;
use futures_util::StreamExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Fewest rows of a shard. A query brings as many for its least price, so dividing costs nothing more.
const FEWEST_ROWS: u64 = 200;

/// A plan, and what it divides.
#[derive(Debug)]
pub struct Cut {
    /// The plan.
    pub plan: ShardPlan,
    /// Each stream, with its rows if it is divided.
    pub streams: Vec<(String, Option<u64>)>,
}

/// Divides every selected stream that can be.
///
/// # Errors
/// Those of a sync before its first row.
pub async fn cut(
    client: Client,
    config: TapConfig,
    state_dir: PathBuf,
    catalog: &Catalog,
    shards: usize,
) -> Result<Cut, Error> {
    let (observer, shutdown) = (Arc::new(Nobody), CancellationToken::new());
    let state = State::default();
    let context = Context::new(Inputs { client, config, state_dir, observer, shutdown, state })?;
    let selected: Vec<Arc<CatalogEntry>> =
        catalog.streams.iter().filter(|entry| entry.is_selected()).cloned().map(Arc::new).collect();
    let (streams, _) = context.prepare(&selected).await?;
    let looks = streams.clone().into_iter().map(|entry| {
        let context = context.clone();
        async move { divided(&context, &entry, shards as u64).await }
    });
    let looks: Vec<_> = futures_util::stream::iter(looks).buffered(STREAMS_AT_ONCE).collect().await;
    let mut cut = Cut { plan: ShardPlan::new(shards), streams: Vec::new() };
    for (entry, look) in streams.iter().zip(looks) {
        let (rows, ids) = match look {
            Err(Error::Stream { source, .. }) if skips(&source) => (None, Vec::new()),
            look => look?.map_or((None, Vec::new()), |(rows, ids)| (Some(rows), ids)),
        };
        cut.plan.divide(&entry.tap_stream_id, ids);
        cut.streams.push((entry.stream_name().to_owned(), rows));
    }
    Ok(cut)
}

/// How many rows a stream has and where it is divided; none if it is not.
async fn divided(
    context: &Context,
    entry: &CatalogEntry,
    shards: u64,
) -> Result<Option<(u64, Vec<String>)>, Error> {
    if !is_of_a_module(entry) || shards < 2 {
        return Ok(None);
    }
    let plan = known_plan(context, entry).await?;
    // ACTIVATE_VERSION speaks of all rows of a stream, which one shard does not know.
    if context.config.activate_version && plan.replication_key.is_none() {
        return Ok(None);
    }
    let reading = Reading::new(context, &plan, Bookmark::default());
    let rows = survey(context, &reading).await?.expected.rows();
    let Some(rows) = rows.filter(|rows| *rows >= shards * FEWEST_ROWS) else { return Ok(None) };
    Ok(boundaries(context, &reading, rows, shards).await?.map(|ids| (rows, ids)))
}
