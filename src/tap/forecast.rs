//! What a sync would read and spend, before it spends anything: the plan of `zoho-crm plan`.
//!
//! It makes the same choices as the sync (see [`super::planner`]) from the same metadata, catalog and
//! state, and keeps what it had to ask Zoho for, so that the sync need not ask again.

use super::config::{DeletedForm, TapConfig};
use super::deletes::{self, Bookmarks, reconcile};
use super::discover::{Skipped, skips};
use super::error::Error;
use super::extract::{Context, Inputs, KNOWN_FOR, in_stream};
use super::output::Observer;
use super::plan::{StreamPlan, Way, module_of};
use super::planner::{Expected, Offer, Offers, OwnPrice, expect, own_price, survey};
use super::price::{coql_unknown, jobs};
use super::reader::Reading;
use super::refresh;
use super::shards::claim;
use super::state::Bookmark;
use crate::diagnostic::thousands;
use crate::protocol::catalog::{Catalog, CatalogEntry};
use crate::protocol::state::State;
use crate::zoho::{Allowance, Client, Spent};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Streams looked at side by side; the client's gates may allow fewer.
pub(super) const STREAMS_AT_ONCE: usize = 10;
/// Polls of a job that takes a minute: at 0.1 s, 0.2 s and so on, then every 30 s.
const POLLS_PER_JOB: u64 = 10;
/// How long the polls of a run tell how long Zoho's jobs take.
const POLLS_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What one stream would cost.
#[derive(Debug, Clone)]
pub struct StreamForecast {
    /// The stream.
    pub stream: String,
    /// What it reads starts here; none: everything.
    pub since: Option<DateTime<Utc>>,
    /// How many rows.
    pub expected: Expected,
    /// What the ways ask; none for streams that are read in one way only.
    pub offers: Vec<Offer>,
    /// Why a way is out of the question, one sentence each.
    pub refused: Vec<String>,
    /// The way that will be taken; none: the stream has a way of its own.
    pub choice: Option<Way>,
    /// Credits of its data.
    pub credits: u64,
    /// Bulk jobs.
    pub jobs: u64,
    /// Credits of its metadata.
    pub metadata: u64,
    /// What the figures do not say.
    pub note: Option<String>,
}

/// What a sync would cost.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// The selected streams, in the order of the catalog.
    pub streams: Vec<StreamForecast>,
    /// Streams that are selected and cannot be read.
    pub skipped: Vec<Skipped>,
    /// Polls that a job took in the last run that had some; none: there was none lately.
    pub polls_per_job: Option<u64>,
    /// What finding all this out cost.
    pub spent: Spent,
    /// What may be spent.
    pub allowance: Allowance,
}

impl Forecast {
    /// Credits of records.
    pub fn data(&self) -> u64 {
        self.streams.iter().map(|stream| stream.credits).sum()
    }

    /// Credits of metadata: organisation and modules are known by now, fields are asked for in the run
    /// that reads them.
    pub fn metadata(&self) -> u64 {
        self.streams.iter().map(|stream| stream.metadata).sum()
    }

    /// Credits of the run, without polls.
    pub fn total(&self) -> u64 {
        self.data() + self.metadata()
    }

    /// Bulk jobs.
    pub fn jobs(&self) -> u64 {
        self.streams.iter().map(|stream| stream.jobs).sum()
    }

    /// Credits of asking how far the jobs are, as many as last time, else as if each took a minute.
    /// Nobody knows: a job may queue for hours.
    pub fn polls(&self) -> u64 {
        self.jobs() * self.polls_per_job.unwrap_or(POLLS_PER_JOB)
    }

    /// Whether the run, its polls included, would stay within what may be spent; none: nobody knows.
    pub fn fits(&self) -> Option<bool> {
        self.allowance.spendable().map(|spendable| self.total() + self.polls() <= spendable)
    }
}

/// Looks at every selected stream.
///
/// # Errors
/// Those of a sync before its first row.
pub async fn forecast(
    client: Client,
    config: TapConfig,
    state_dir: PathBuf,
    catalog: &Catalog,
    state: State,
) -> Result<Forecast, Error> {
    let (observer, shutdown) = (Arc::new(Nobody), CancellationToken::new());
    let state = claim(config.shard.as_deref(), state)?;
    let context = Context::new(Inputs { client, config, state_dir, observer, shutdown, state })?;
    let selected: Arc<[Arc<CatalogEntry>]> =
        catalog.streams.iter().filter(|entry| entry.is_selected()).cloned().map(Arc::new).collect();
    let (mut streams, mut skipped) = context.prepare(&selected).await?;
    if context.config.deleted_records == DeletedForm::Mark {
        streams.retain(|entry| entry.tap_stream_id != deletes::STREAM);
        streams.push(Arc::new(deletes::entry()));
    }
    let tells_deletes = streams.iter().any(|entry| entry.tap_stream_id == deletes::STREAM);
    let looks = streams
        .clone()
        .into_iter()
        .map(|entry| look_at(context.clone(), entry, Arc::clone(&selected), tells_deletes));
    let looks: Vec<_> = futures_util::stream::iter(looks).buffered(STREAMS_AT_ONCE).collect().await;
    let mut forecasts = Vec::new();
    for (entry, look) in streams.iter().zip(looks) {
        match look {
            Err(Error::Stream { source, .. }) if skips(&source) => {
                skipped.push(Skipped { module: entry.stream_name().to_owned(), reason: source.to_string() });
            }
            look => forecasts.push(look?),
        }
    }
    let (spent, allowance) = (context.client.usage().credits, context.client.allowance());
    let polls_per_job = context.client.known_polls_per_job(POLLS_LIFE);
    Ok(Forecast { streams: forecasts, skipped, polls_per_job, spent, allowance })
}

async fn look_at(
    context: Context,
    entry: Arc<CatalogEntry>,
    selected: Arc<[Arc<CatalogEntry>]>,
    tells_deletes: bool,
) -> Result<StreamForecast, Error> {
    match own_price(&entry, &selected) {
        Some(price) => Ok(own_way(&entry, price)),
        None => module(&context, &entry, tells_deletes).await,
    }
}

/// A stream that is read in one way, whatever its size.
fn own_way(entry: &CatalogEntry, price: OwnPrice) -> StreamForecast {
    StreamForecast {
        stream: entry.stream_name().to_owned(),
        since: None,
        expected: Expected::Unknown,
        offers: Vec::new(),
        refused: Vec::new(),
        choice: None,
        credits: price.credits,
        jobs: 0,
        metadata: 0,
        note: Some(price.note.to_owned()),
    }
}

/// The plan of a stream, by fields that may be a day old.
pub(super) async fn known_plan(context: &Context, entry: &CatalogEntry) -> Result<StreamPlan, Error> {
    let (client, module) = (&context.client, module_of(entry));
    let fields = match client.known_fields(module, KNOWN_FOR) {
        Some(known) => known.value,
        None => context.call(client.fields(module)).await.map_err(in_stream(entry.stream_name()))?,
    };
    Ok(StreamPlan::new(entry, &fields, &context.policy, context.config.lookup_names))
}

async fn module(
    context: &Context,
    entry: &CatalogEntry,
    tells_deletes: bool,
) -> Result<StreamForecast, Error> {
    let plan = known_plan(context, entry).await?;
    let bookmark = Bookmark::read(&context.state, &plan.tap_stream_id, plan.replication_key.as_deref())?;
    let reading = Reading::new(context, &plan, bookmark);
    let since = reading.progress.window.from;
    let outlook = survey(context, &reading).await?;
    let offers = |plan: &StreamPlan| Offers::new(plan, context.config.method, &outlook, &reading.learned);
    let mut offered = offers(&plan);
    let without = plan.names_beyond_lists();
    if offered.able.is_empty() && !without.is_empty() {
        offered = offers(&plan.narrowed(|name| without.iter().all(|it| it != name)));
    }
    let Offers { able, refused } = offered;
    let expected = outlook.expected;
    let choice = able.first();
    let credits = match (choice, expected.rows()) {
        (None, _) => 0,
        (Some(offer), Some(_)) => offer.credits,
        (Some(_), None) => coql_unknown(0).0,
    };
    let choice = choice.map(Offer::way);
    let windows = jobs(expected.rows().unwrap_or(0));
    let files = able.first().map_or(0, |offer| offer.slices.count(Way::BulkRead));
    let is_quiet = since.is_some() && expected.rows() == Some(0);
    let nothing = choice.is_none().then(|| "nothing can deliver it as it is selected".to_owned());
    let passes = if choice.is_some() { passes(context, &plan, tells_deletes).await? } else { Vec::new() };
    let told = passes.iter().map(|pass| format!("{}, for {} credits", pass.what, thousands(pass.credits)));
    let notes: Vec<String> = nothing.into_iter().chain(told).collect();
    Ok(StreamForecast {
        stream: plan.stream.clone(),
        since,
        expected,
        jobs: windows * files + passes.iter().map(|pass| pass.jobs).sum::<u64>(),
        offers: able,
        refused,
        choice,
        credits: credits + passes.iter().map(|pass| pass.credits).sum::<u64>(),
        metadata: u64::from(!is_quiet),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    })
}

/// A reading of a whole module that follows its own.
struct WholePass {
    what: &'static str,
    credits: u64,
    jobs: u64,
}

/// What is due once the module is read.
async fn passes(context: &Context, plan: &StreamPlan, tells_deletes: bool) -> Result<Vec<WholePass>, Error> {
    let (now, mut due) = (context.server_time(), Vec::new());
    // What was read whole is neither compared nor refreshed in the same run.
    if context.is_read_whole(plan)? {
        return Ok(Vec::new());
    }
    if tells_deletes && reconcile::is_due(context, plan, &Bookmarks::read(&context.state)?, now) {
        due.push(("ids are compared", plan.narrowed(|_| false)));
    }
    let last = refresh::bookmarks(context)?.get(&plan.module).copied();
    let columns = refresh::due(context, plan, last, now);
    if !columns.is_empty() {
        let narrow = plan.narrowed(|name| columns.iter().any(|column| column == name));
        due.push(("formulas and rollups are read again", narrow));
    }
    let mut passes = Vec::new();
    for (what, plan) in due {
        let reading = Reading::new(context, &plan, Bookmark::default());
        let outlook = expect(context, &reading).await?;
        let offers = Offers::new(&plan, context.config.method, &outlook, &reading.learned);
        let cheapest = offers.able.first();
        let credits = cheapest.map_or(0, |offer| offer.credits);
        let files = cheapest.map_or(0, |offer| offer.slices.count(Way::BulkRead));
        passes.push(WholePass { what, credits, jobs: files * jobs(outlook.expected.rows().unwrap_or(0)) });
    }
    Ok(passes)
}

/// Nobody watches a plan being made.
pub(super) struct Nobody;

impl Observer for Nobody {
    fn started(&self, _: &str) {}
    fn expects(&self, _: &str, _: u64) {}
    fn doing(&self, _: &str, _: &str) {}
    fn rows(&self, _: &str, _: u64) {}
    fn finished(&self, _: &str, _: u64) {}
    fn stopped(&self, _: &str) {}
}
