//! Comparing all ids of a module with those remembered: for deletes that no list shows, because they
//! are too old, too many, or merges.

use super::bookmarks::Bookmarks;
use super::pass::{KEPT, Pass};
use crate::tap::by_id;
use crate::tap::error::Error;
use crate::tap::extract::Context;
use crate::tap::keeper::id_in;
use crate::tap::plan::StreamPlan;
use crate::tap::reader;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Arc, Mutex, PoisonError};

/// Compares, if it is due; says so if it ought to be and is not asked for.
pub(super) async fn run(pass: &mut Pass<'_>, bookmarks: &mut Bookmarks, cut: bool) -> Result<(), Error> {
    let stream = &pass.plan.stream;
    let old = pass.heard.is_some_and(|heard| pass.until - heard > KEPT);
    if old {
        tracing::warn!(
            stream,
            bookmark = super::pass::bookmark_key(pass.plan),
            "its bookmark is older than the 60 days for which Zoho lists deletes: some may be missing, which \
             only `reconcile` finds"
        );
    }
    if cut {
        tracing::warn!(
            stream,
            "Zoho's list does not show all deletes: some may be missing, which only `reconcile` finds"
        );
    }
    let Some(settings) =
        pass.context.config.reconcile.as_ref().filter(|_| pass.context.reconciles(pass.plan))
    else {
        return Ok(());
    };
    let first = !pass.memory.is_whole()?;
    if !(is_due(pass.context, pass.plan, bookmarks, pass.until) || first || old || cut) {
        return Ok(());
    }
    if first && pass.memory.fresh && pass.context.is_read_whole(pass.plan)? {
        tracing::info!(stream, "all ids are remembered; the next comparison finds what is missing");
        pass.memory.make_whole()?;
        bookmarks.reconciled.insert(pass.plan.module.clone(), pass.until);
        return Ok(());
    }
    let percent = settings.max_missing_percent;
    let ids = ids(pass).await?;
    if first {
        tracing::info!(
            stream,
            ids = ids.len(),
            "all ids are remembered; the next comparison finds what is missing"
        );
        pass.memory.found(ids.iter().map(|id| (id.as_str(), None)), pass.until.timestamp())?;
        pass.memory.make_whole()?;
    } else {
        compare(pass, &ids, percent).await?;
    }
    bookmarks.reconciled.insert(pass.plan.module.clone(), pass.until);
    Ok(())
}

/// Whether ids are compared by what the settings ask for.
pub(in crate::tap) fn is_due(
    context: &Context,
    plan: &StreamPlan,
    bookmarks: &Bookmarks,
    now: DateTime<Utc>,
) -> bool {
    let settings = context.config.reconcile.as_ref().filter(|_| context.reconciles(plan));
    settings.is_some_and(|settings| {
        let last = bookmarks.reconciled.get(&plan.module);
        settings.now || last.is_none_or(|last| now - *last >= TimeDelta::days(settings.every_days.into()))
    })
}

/// All ids of the module, by the cheapest way.
async fn ids(pass: &Pass<'_>) -> Result<Vec<String>, Error> {
    let narrow = pass.plan.narrowed(|_| false);
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let taken = ids.clone();
    let taker = Box::new(move |record: &str| {
        taken.lock().unwrap_or_else(PoisonError::into_inner).push(id_in(record).to_owned());
        Ok(())
    });
    let before = pass.context.client.usage().credits.total();
    let mut output = pass.shared().diverted(&narrow.stream, taker);
    let ways = reader::sweep(pass.context, &narrow, &mut output).await?;
    let credits = pass.context.client.usage().credits.total() - before;
    let ids = std::mem::take(&mut *ids.lock().unwrap_or_else(PoisonError::into_inner));
    let ways: Vec<&str> = ways.iter().map(|way| way.label()).collect();
    let (stream, ways) = (&narrow.stream, ways.join(", "));
    tracing::info!(stream, ids = ids.len(), ways, credits, "all ids are read for comparison");
    Ok(ids)
}

async fn compare(pass: &mut Pass<'_>, ids: &[String], percent: u8) -> Result<(), Error> {
    let difference = pass.memory.difference(ids)?;
    let missing = difference.missing.len() as u64;
    if missing * 100 > difference.live * u64::from(percent) {
        let stream = pass.plan.stream.clone();
        return Err(Error::MassDelete { stream, missing, known: difference.live, percent });
    }
    // Asked for one by one, whatever the view: only then is a row called deleted.
    let there = by_id::present(pass.context, pass.plan, &difference.missing, pass.shared()).await?;
    let at = pass.until.timestamp();
    let gone: Vec<&String> = difference.missing.iter().filter(|id| !there.contains(*id)).collect();
    for id in &gone {
        pass.missing(id, at)?;
    }
    pass.memory.found(gone.iter().map(|id| (id.as_str(), Some(at))), at)?;
    let back = pass.again(&difference.new, Some(ids.len() as u64)).await?;
    let (stream, new) = (&pass.plan.stream, back.len());
    tracing::info!(stream, missing, deleted = gone.len(), new, "ids are compared");
    Ok(())
}
