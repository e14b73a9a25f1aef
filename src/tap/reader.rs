//! Reads one module: takes up its bookmark, then one way of reading after another until all is out.
//!
//! A way that refuses before its first row gives way to the next one. Ids ascend with every way but
//! the records API, so COQL and Bulk Read can take over from each other in the middle of a stream.

use super::error::Error;
use super::extract::Context;
use super::glance::{Start, start};
use super::output::StreamOutput;
use super::plan::{StreamPlan, Way};
use super::planner::{Expected, Offers, Outlook, expect};
use super::slices::{Learned, Slices};
use super::state::{Bookmark, Bounds, Progress, text};
use super::{bulk, incremental, list, wide};
use crate::protocol::catalog::CatalogEntry;
use crate::zoho::api::records::Page;
use chrono::{DateTime, Utc};
use serde_json::Value;

/// How a way of reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything in the window is out.
    Complete,
    /// There is more than this way is good for; so many rows are left.
    Large(u64),
    /// The server refuses this way for this stream, for this reason.
    Refused(String),
    /// The server taught something about columns: they are divided anew.
    Learned,
}

/// The reading of one stream: its plan, its bookmark and how far it is.
pub(super) struct Reading<'a> {
    pub plan: &'a StreamPlan,
    pub done: Option<DateTime<Utc>>,
    pub progress: Progress,
    /// The first page of a query, where somebody has looked already.
    pub first_page: Option<Page>,
    pub learned: Learned,
}

impl<'a> Reading<'a> {
    /// Takes up the unfinished reading of the bookmark, or begins a new one.
    pub fn new(context: &Context, plan: &'a StreamPlan, bookmark: Bookmark) -> Self {
        let fields = plan.fingerprint();
        let now = context.server_time();
        let mut window = bookmark.window(&context.config, now);
        if plan.replication_key.is_none() {
            window.from = None;
        }
        window.bounds = context.bounds(plan);
        let done = bookmark.replication_key_value;
        let fresh = Progress::new(window, fields.clone());
        let progress = match bookmark.in_progress {
            None => fresh,
            Some(mut unfinished) => match reason_to_begin_again(&unfinished, &fresh, done) {
                None => {
                    tracing::info!(stream = plan.stream, "goes on where the run before it stopped");
                    unfinished.window.bounds = context.bounds(plan);
                    unfinished
                }
                Some(reason) => {
                    tracing::warn!(
                        stream = plan.stream,
                        "{reason} since the unfinished run: it begins again"
                    );
                    fresh
                }
            },
        };
        if let Some(done) = done.filter(|done| *done > now) {
            tracing::warn!(
                stream = plan.stream,
                "its bookmark {} lies in the future: what changes before then is not read",
                text(done)
            );
        }
        let refused = progress.refused.iter().map(|name| (Way::BulkRead, name.clone())).collect();
        let coql_columns = context.coql_columns.get().copied();
        let learned = Learned { coql_columns, refused, ..Learned::default() };
        Self { plan, done, progress, first_page: None, learned }
    }

    /// The bookmark that is true now.
    pub fn bookmark(&self) -> Value {
        let mut progress = self.progress.clone();
        let refused = self.learned.refused.iter().filter(|(way, _)| *way == Way::BulkRead);
        progress.refused = refused.map(|(_, name)| name.clone()).collect();
        self.to_value(Bookmark { replication_key_value: self.done, in_progress: Some(progress) })
    }

    /// The bookmark once everything is out.
    fn complete(&self) -> Value {
        let until = self.progress.window.until;
        self.to_value(Bookmark {
            replication_key_value: self.plan.replication_key.as_ref().map(|_| until),
            in_progress: None,
        })
    }

    /// Whether it is a new one and of every id: neither the rest of another nor one of several shards.
    pub fn is_whole(&self) -> bool {
        !self.progress.is_begun() && self.progress.window.bounds == Bounds::default()
    }

    fn to_value(&self, bookmark: Bookmark) -> Value {
        bookmark.to_value(self.plan.replication_key.as_deref())
    }
}

/// Why what is left of an unfinished reading would not do, if so.
fn reason_to_begin_again(
    unfinished: &Progress,
    fresh: &Progress,
    done: Option<DateTime<Utc>>,
) -> Option<&'static str> {
    if unfinished.fields != fresh.fields {
        return Some("the selected fields changed");
    }
    // The bookmark it would leave covers everything since the start; `None` is the first record.
    let moved_back = done.is_none() && fresh.window.from < unfinished.window.from;
    moved_back.then_some("`start_date` moved back")
}

/// Reads the module of a stream; answers by which ways.
pub(super) async fn read(
    context: &Context,
    entry: &CatalogEntry,
    output: &mut StreamOutput,
) -> Result<String, Error> {
    let Start { mut plan, glance } = start(context, entry).await?;
    context.complete(&mut plan);
    for warning in &plan.warnings {
        tracing::warn!(stream = plan.stream, "{warning}");
    }
    let cursor: Vec<String> = plan.replication_key.iter().cloned().collect();
    output.begin(&plan.schema, &["id".to_owned()], &cursor)?;
    output.keep(context.keeper(&plan)?);
    let bookmark = Bookmark::read(&context.state, &plan.tap_stream_id, plan.replication_key.as_deref())?;
    let mut reading = match glance {
        Some(glance) => glance.into_reading(&plan),
        None => Reading::new(context, &plan, bookmark),
    };
    let is_full = reading.progress.window.from.is_none() && reading.is_whole();
    // It speaks of all rows of a stream, which a shard does not know.
    let is_shard = reading.progress.window.bounds != Bounds::default();
    if context.config.activate_version && plan.replication_key.is_none() && !is_shard {
        output.versioned(reading.progress.window.until);
    }
    let mut outlook = None;
    let read = loop {
        match by_ways(context, &mut reading, output, &mut outlook).await {
            Ok(Ended::Complete(ways)) => break Ok(ways),
            Ok(Ended::TooDear(names)) => {
                let Reading { done, progress, learned, .. } = reading;
                plan = plan.narrowed(|name| names.iter().all(|dear| dear != name));
                output.begin(&plan.schema, &["id".to_owned()], &cursor)?;
                reading = Reading { plan: &plan, done, progress, first_page: None, learned };
            }
            Err(error) => break Err(error),
        }
    };
    // Whatever went wrong: what is out stays out, and the next run goes on from here.
    let bookmark = if read.is_ok() { reading.complete() } else { reading.bookmark() };
    if read.is_ok() {
        output.activate_version()?;
    }
    if is_full && read.is_ok() {
        context.client.keep_rows(&plan.module, None, output.rows());
    }
    let ended = output.checkpoint(bookmark);
    let ways = read?;
    ended?;
    context.is_read(&plan);
    let labels: Vec<&str> = ways.iter().map(|way| way.label()).collect();
    Ok(labels.join(", "))
}

/// Reads every row of a plan's module, whatever was read before and without a bookmark: for follow-up
/// passes, whose output is diverted or lets only some rows out.
pub(super) async fn sweep(
    context: &Context,
    plan: &StreamPlan,
    output: &mut StreamOutput,
) -> Result<Vec<Way>, Error> {
    let mut plan = plan.clone();
    loop {
        let mut reading = Reading::new(context, &plan, Bookmark::default());
        match by_ways(context, &mut reading, output, &mut None).await? {
            Ended::Complete(ways) => return Ok(ways),
            Ended::TooDear(names) => plan = plan.narrowed(|name| names.iter().all(|dear| dear != name)),
        }
    }
}

/// How a stream came to its end, or to a stop.
enum Ended {
    /// By these ways.
    Complete(Vec<Way>),
    /// These columns are refused by every way, or every cheap one, and nobody asked for them by name.
    TooDear(Vec<String>),
}

/// What is known of a reading before it begins.
async fn outlook_of(context: &Context, reading: &Reading<'_>) -> Result<Outlook, Error> {
    let outlook = match context.config.trial {
        // The cheapest way to so few.
        Some(most) => Expected::Counted(most).into(),
        None => expect(context, reading).await?,
    };
    let choice = Offers::new(reading.plan, context.config.method, &outlook, &reading.learned).able;
    context.plan(choice.first().map_or(0, |offer| offer.credits));
    match outlook.expected.rows() {
        Some(rows) => context.observer.expects(&reading.plan.stream, rows),
        None => context.plan_at_least(),
    }
    Ok(outlook)
}

/// Reads a stream by one way after another until it is complete.
async fn by_ways(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    outlook: &mut Option<Outlook>,
) -> Result<Ended, Error> {
    let outlook = match outlook {
        Some(outlook) => outlook,
        None => outlook.insert(outlook_of(context, reading).await?),
    };
    let mut used = Vec::new();
    loop {
        let Offers { able, refused } =
            Offers::new(reading.plan, context.config.method, outlook, &reading.learned);
        let resumed =
            able.iter().find(|offer| offer.slices.main == Way::BulkRead && reading.progress.has_jobs());
        let Some(slices) = resumed.or(able.first()).map(|offer| &offer.slices) else {
            let names = reading.plan.names_beyond_lists();
            if !names.is_empty() {
                let stream = &reading.plan.stream;
                tracing::warn!(stream, "{} left out: only lists read this module", names.join(", "));
                return Ok(Ended::TooDear(names));
            }
            let (stream, reasons) = (reading.plan.stream.clone(), refused.join("; "));
            return Err(Error::NoWay { stream, reasons });
        };
        let (way, rows) = (slices.main, outlook.expected.rows());
        let dear = too_dear(reading.plan, slices, rows);
        if !dear.is_empty() {
            return Ok(Ended::TooDear(dear));
        }
        reading.progress.way = way;
        context.observer.doing(&reading.plan.stream, way.label());
        let before = output.rows();
        let outcome = match way {
            Way::BulkRead => bulk::read(context, reading, output, slices, rows).await?,
            _ if !slices.is_single() => wide::read(context, reading, output, slices, rows).await?,
            Way::Coql => incremental::read(context, reading, output, rows).await?,
            Way::Records => list::read(context, reading, output).await?,
        };
        if output.rows() > before {
            for slice in &slices.slices {
                if !used.contains(&slice.way) {
                    used.push(slice.way);
                }
            }
        }
        match outcome {
            Outcome::Complete => return Ok(Ended::Complete(used)),
            Outcome::Large(left) => outlook.expected = Expected::Counted(left),
            Outcome::Learned => share(context, reading),
            Outcome::Refused(reason) => {
                let label = way.label();
                tracing::debug!(stream = reading.plan.stream, way = label, reason, "this way is refused");
                outlook.refused.push((way, reason));
            }
        }
    }
}

/// Tells what the server taught about columns, and the other streams what is good for all.
fn share(context: &Context, reading: &Reading<'_>) {
    tracing::info!(
        stream = reading.plan.stream,
        learned = ?reading.learned,
        "the server takes other columns than its pages say, they are divided anew"
    );
    if let Some(columns) = reading.learned.coql_columns {
        context.coql_columns.get_or_init(|| columns);
    }
}

/// The columns of which it only turned out now that they are dear, unless somebody asked for them by
/// name; tells of them and their price.
fn too_dear(plan: &StreamPlan, slices: &Slices, rows: Option<u64>) -> Vec<String> {
    let dear = slices.dear(&plan.columns).into_iter();
    let dear: Vec<String> =
        dear.filter(|name| plan.by_default.iter().any(|it| it == name)).map(str::to_owned).collect();
    let price = match rows {
        Some(rows) => format!("{} credits", slices.dear_credits(rows)),
        None => format!("{} credits per 1,000 rows", slices.dear_credits(1_000)),
    };
    for field in &dear {
        tracing::warn!(
            stream = plan.stream,
            "field `{field}` is left out: only the records API delivers it, for {price}; to have it anyway, \
             mark it as selected in the catalog"
        );
    }
    dear
}
