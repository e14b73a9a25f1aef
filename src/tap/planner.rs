//! Which way a stream is read by: how many rows are expected, what each way asks for them, and why a
//! way is out of the question. The sync and `zoho-crm plan` both choose here.
//!
//! What is expected decides the choice and nothing else: however wrong it is, a reading ends when
//! Zoho has no more rows, and changes its way when there are more than the choice was good for.

use super::config::Method;
use super::error::Error;
use super::extract::{Context, is_of_a_module};
use super::incremental;
use super::plan::{StreamPlan, Way};
use super::reader::Reading;
use super::slices::{Learned, Slices};
use super::{deletes, small};
use crate::protocol::catalog::CatalogEntry;
use crate::zoho::credits::{CALL, DELETED_PAGE};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;

/// How long the size of a module is good for a choice. It grows, so the choice is looked at again when
/// it is passed.
const SIZE_LIFE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a count is good that was made to be paid once: for the plan, and the sync after it.
const COUNT_LIFE: Duration = Duration::from_secs(3_600);

/// How many rows are expected, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Zoho, just now.
    Counted(u64),
    /// An earlier count or an earlier reading.
    Known(u64, DateTime<Utc>),
    /// Nobody: the first pages tell.
    Unknown,
}

impl Expected {
    /// How many, if anybody knows.
    pub fn rows(self) -> Option<u64> {
        match self {
            Self::Counted(rows) | Self::Known(rows, _) => Some(rows),
            Self::Unknown => None,
        }
    }
}

/// What is known of a reading before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// How many rows.
    pub expected: Expected,
    /// The ways that Zoho refused when it was asked, and what it said.
    pub refused: Vec<(Way, String)>,
}

impl From<Expected> for Outlook {
    fn from(expected: Expected) -> Self {
        Self { expected, refused: Vec::new() }
    }
}

/// A way of reading and what it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The way, and who brings the columns that it does not.
    pub slices: Slices,
    /// Its price for the rows that are expected.
    pub credits: u64,
}

impl Offer {
    /// The main way.
    pub fn way(&self) -> Way {
        self.slices.main
    }
}

/// What every way offers for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offers {
    /// The ways that can deliver every selected field, the cheapest first.
    pub able: Vec<Offer>,
    /// Of each other way why it cannot.
    pub refused: Vec<String>,
}

impl Offers {
    /// The offers for a stream of so many rows; a number that nobody knows counts as small.
    pub fn new(plan: &StreamPlan, method: Method, outlook: &Outlook, learned: &Learned) -> Self {
        let rows = outlook.expected.rows().unwrap_or(0);
        let mut learned = learned.clone();
        learned.ways.extend(outlook.refused.iter().map(|(way, _)| *way));
        let (ways, mut refused) = plan.ways(method, rows, &learned);
        refused.extend(outlook.refused.iter().map(|(way, reason)| format!("{}: {reason}", way.label())));
        let offer = |slices: Slices| Offer { credits: slices.credits(rows), slices };
        Self { able: ways.into_iter().map(offer).collect(), refused }
    }

    /// Whether there is more than one way, COQL among them: only then is counting of any use, or
    /// possible.
    fn leave_a_choice(&self) -> bool {
        self.able.len() > 1 && self.able.iter().any(|offer| offer.way() == Way::Coql)
    }
}

/// What a stream of no module asks, which is read in one way whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnPrice {
    /// The least it costs.
    pub credits: u64,
    /// What makes it more.
    pub note: &'static str,
}

/// The price of a stream that is of no module; none for the others.
pub(super) fn own_price(entry: &CatalogEntry, selected: &[Arc<CatalogEntry>]) -> Option<OwnPrice> {
    match entry.tap_stream_id.as_str() {
        name if let Some(small) = small::find(name) => {
            Some(OwnPrice { credits: small.credits(selected), note: small.note })
        }
        deletes::STREAM => {
            let modules = selected.iter().filter(|entry| is_of_a_module(entry)).count() as u64;
            Some(OwnPrice {
                credits: modules * DELETED_PAGE,
                note: "one page a module; each further one costs 2",
            })
        }
        _ => None,
    }
}

/// How many rows a reading will bring, at the least price. What is known will do; an increment is most
/// often small, so its first page tells; a reading that somebody began tells nothing. What is left are
/// first and full readings, which are counted for one credit.
pub(super) async fn expect(context: &Context, reading: &Reading<'_>) -> Result<Outlook, Error> {
    if reading.progress.is_begun() {
        return Ok(Expected::Unknown.into());
    }
    let since = reading.progress.window.from;
    let life = if since.is_some() { COUNT_LIFE } else { SIZE_LIFE };
    if let Some(known) = known(context, reading, life) {
        return Ok(known.into());
    }
    let offers =
        Offers::new(reading.plan, context.config.method, &Expected::Unknown.into(), &reading.learned);
    if since.is_some() || !offers.leave_a_choice() {
        return Ok(Expected::Unknown.into());
    }
    count(context, reading).await
}

/// The same for a plan: what somebody counted within the hour is not counted again.
pub(super) async fn survey(context: &Context, reading: &Reading<'_>) -> Result<Outlook, Error> {
    match known(context, reading, COUNT_LIFE) {
        Some(known) => Ok(known.into()),
        None => count(context, reading).await,
    }
}

/// What is remembered of the size of a reading; a part of one was never measured.
fn known(context: &Context, reading: &Reading<'_>, life: Duration) -> Option<Expected> {
    let (module, since) = (&reading.plan.module, reading.progress.window.from);
    let known = context.client.known_rows(module, since, life).filter(|_| reading.is_whole());
    known.map(|known| Expected::Known(known.value, known.at))
}

/// Counts what a reading will bring, and keeps it for the run that follows. Where COQL does not take
/// the module, the records API counts, but only the whole of it.
async fn count(context: &Context, reading: &Reading<'_>) -> Result<Outlook, Error> {
    let (client, module) = (&context.client, &reading.plan.module);
    let since = reading.progress.window.from;
    context.plan(CALL);
    let (rows, refused) = match incremental::count(context, reading, reading.progress.floor()).await {
        Ok(rows) => (Some(rows), Vec::new()),
        Err(Error::Stream { source, .. }) if incremental::refuses(&source) => {
            let is_whole = since.is_none() && reading.is_whole();
            let rows = match is_whole {
                true => {
                    context.plan(CALL);
                    context.call(client.count(module)).await.ok()
                }
                false => None,
            };
            (rows, vec![(Way::Coql, source.to_string())])
        }
        Err(error) => return Err(error),
    };
    if let Some(rows) = rows.filter(|_| reading.is_whole()) {
        client.keep_rows(module, since, rows);
    }
    Ok(Outlook { expected: rows.map_or(Expected::Unknown, Expected::Counted), refused })
}
