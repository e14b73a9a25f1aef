//! Zoho's list of deleted records of one module. Follows its page "Get Deleted Records".
//!
//! It shows 60 days of the recycle bin and 120 days of what is gone for good. It promises no order, so
//! one of several pages is read until nothing left it between two passes: only an entry that leaves the
//! list (its row is restored, or gone for good) can move others past a page; that nothing new turned up
//! would not show it. And it may end at 2,000 rows: then its two parts are read apart.

use crate::tap::error::Error;
use crate::tap::extract::{CallError, Context, in_stream};
use crate::tap::plan::StreamPlan;
use crate::zoho::api::deleted::{DeletedKind, DeletedRecord};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// Passes before a list that changes under every one of them is taken as it is.
const MOST_PASSES: u32 = 10;

/// Rows at which a list may end without saying so. Source: the page numbers of "Get Records" reach no
/// further; whether those of this list do is not documented.
const CEILING: usize = 2_000;

type Entries = BTreeMap<(String, String, Option<DateTime<Utc>>), DeletedRecord>;

/// What the list told.
pub(super) struct Listed {
    /// Its entries, every one once.
    pub entries: Vec<DeletedRecord>,
    /// Whether there may be more that it does not show.
    pub cut: bool,
}

/// Reads the list since an instant.
pub(super) async fn read(
    context: &Context,
    plan: &StreamPlan,
    since: Option<DateTime<Utc>>,
) -> Result<Listed, Error> {
    let mut whole = Reading { context, plan, since, entries: Entries::new() };
    let mut cut = whole.settle(DeletedKind::All).await?;
    if cut {
        tracing::warn!(
            stream = plan.stream,
            "the list of deleted records ends at {CEILING} rows; the bin and what is gone for good are read apart"
        );
        cut = whole.settle(DeletedKind::Recycle).await? | whole.settle(DeletedKind::Permanent).await?;
    }
    Ok(Listed { entries: whole.entries.into_values().collect(), cut })
}

struct Reading<'a> {
    context: &'a Context,
    plan: &'a StreamPlan,
    since: Option<DateTime<Utc>>,
    entries: Entries,
}

impl Reading<'_> {
    /// Reads until a pass lists all that the one before it listed; answers whether the list was cut.
    async fn settle(&mut self, kind: DeletedKind) -> Result<bool, Error> {
        let mut before = None::<Entries>;
        for _ in 0..MOST_PASSES {
            let (now, pages, cut) = self.pass(kind).await?;
            self.entries.extend(now.clone());
            let whole = before.is_some_and(|before| before.keys().all(|key| now.contains_key(key)));
            if cut || pages <= 1 || whole {
                return Ok(cut);
            }
            before = Some(now);
        }
        let stream = &self.plan.stream;
        tracing::warn!(
            stream,
            "the list of deleted records changes faster than it can be read and is taken as it is"
        );
        Ok(true)
    }

    async fn pass(&self, kind: DeletedKind) -> Result<(Entries, u32, bool), Error> {
        let (mut all, mut number) = (Entries::new(), 1);
        loop {
            let call = self.context.client.deleted(&self.plan.module, kind, self.since, number);
            let page = match self.context.call(call).await {
                Err(CallError::Failed(error))
                    if number > 1 && error.code() == Some("DISCRETE_PAGINATION_LIMIT_EXCEEDED") =>
                {
                    return Ok((all, number, true));
                }
                answer => answer.map_err(in_stream(&self.plan.stream))?,
            };
            let key = |record: &DeletedRecord| {
                (record.id.to_string(), record.deletion_type.clone(), record.deleted_time)
            };
            all.extend(page.records.into_iter().map(|record| (key(&record), record)));
            if !page.more_records {
                let cut = all.len() == CEILING;
                return Ok((all, number, cut));
            }
            number += 1;
        }
    }
}
