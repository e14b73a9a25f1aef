//! The start of a reading: its fields, and for an increment a first look whether there is anything new.
//!
//! Most streams have not changed since their bookmark, and then nobody needs to know what their rows
//! look like. So the first page of an increment is asked for with the fields of an earlier call, which
//! costs nothing but the page itself. If it is empty, that was all. If it is not, the fields are asked
//! for as always, and the page is good if they are still the same: no row goes out by fields that were
//! not seen in the same run, so a new field is never late.

use super::error::Error;
use super::extract::{Context, in_stream};
use super::incremental::{self, Asked};
use super::plan::{StreamPlan, Way, module_of};
use super::planner::{Offer, Offers, expect};
use super::reader::Reading;
use super::slices::Learned;
use super::state::{Bookmark, Progress};
use crate::protocol::catalog::CatalogEntry;
use crate::zoho::api::records::Page;
use crate::zoho::credits::CALL;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::time::Instant;

/// How old the fields of a first look may be; they need not be right.
const LOOK_WITH: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How a reading starts.
pub(super) struct Start {
    pub plan: StreamPlan,
    /// What the first look showed, if there was one.
    pub glance: Option<Glance>,
}

/// A reading whose first page is here.
pub(super) struct Glance {
    done: Option<DateTime<Utc>>,
    progress: Progress,
    page: Page,
    learned: Learned,
}

impl Glance {
    /// The reading goes on from here.
    pub fn into_reading(self, plan: &StreamPlan) -> Reading<'_> {
        let mut progress = self.progress;
        progress.fields = plan.fingerprint();
        Reading { plan, done: self.done, progress, first_page: Some(self.page), learned: self.learned }
    }
}

/// Finds out what is to be read.
pub(super) async fn start(context: &Context, entry: &CatalogEntry) -> Result<Start, Error> {
    let looked = match look(context, entry).await? {
        Some((plan, glance)) if glance.page.records.is_empty() => {
            return Ok(Start { plan, glance: Some(glance) });
        }
        looked => looked,
    };
    context.plan(CALL);
    let fields = context.call(context.client.fields(module_of(entry))).await;
    let plan = StreamPlan::new(
        entry,
        &fields.map_err(in_stream(entry.stream_name()))?,
        &context.policy,
        context.config.lookup_names,
    );
    let same = |(looked, _): &(StreamPlan, Glance)| looked.fingerprint() == plan.fingerprint();
    let glance = looked.filter(same).map(|(_, glance)| glance);
    Ok(Start { plan, glance })
}

/// Asks for the first page of an increment; none for other readings, and where COQL is not the way.
async fn look(context: &Context, entry: &CatalogEntry) -> Result<Option<(StreamPlan, Glance)>, Error> {
    let Some(known) = context.client.known_fields(module_of(entry), LOOK_WITH) else { return Ok(None) };
    let plan = StreamPlan::new(entry, &known.value, &context.policy, context.config.lookup_names);
    let bookmark = Bookmark::read(&context.state, &plan.tap_stream_id, plan.replication_key.as_deref())?;
    // Whoever keeps a stream's records may hand them out again later, and needs its fields as they are.
    let is_kept = context.keeps(&plan);
    if bookmark.replication_key_value.is_none() || bookmark.in_progress.is_some() || is_kept {
        return Ok(None);
    }
    let (clock, began) = (context.client.server_time(), Instant::now());
    let mut reading = Reading::new(context, &plan, bookmark);
    let outlook = expect(context, &reading).await?;
    let offers = Offers::new(&plan, context.config.method, &outlook, &reading.learned);
    let is_query = |offer: &Offer| offer.way() == Way::Coql && offer.slices.is_single();
    let is_query = offers.able.first().is_some_and(is_query);
    if reading.progress.window.from.is_none() || !is_query {
        return Ok(None);
    }
    let asked = incremental::first_page(context, &mut reading, outlook.expected.rows()).await?;
    let Asked::Page(page) = asked else { return Ok(None) };
    if clock.is_none() {
        set_clock(context, &mut reading, began);
    }
    let Reading { done, progress, learned, .. } = reading;
    Ok(Some((plan, Glance { done, progress, page, learned })))
}

/// The page was the first word of the server in this run: the next bookmark is not what our clock said
/// before it, but the server's time then. That is at least as long before its last word as we waited.
fn set_clock(context: &Context, reading: &mut Reading<'_>, began: Instant) {
    let now = context.server_time();
    let waited = TimeDelta::from_std(began.elapsed()).unwrap_or(TimeDelta::MAX);
    // The `Date` header has whole seconds.
    let then = now.checked_sub_signed(waited + TimeDelta::seconds(1)).unwrap_or(DateTime::UNIX_EPOCH);
    reading.progress.window.until = reading.done.map_or(then, |done| done.max(then));
}
