//! Rows that are known by id and have to come again: restored ones, ones nobody had seen, ones whose
//! formulas changed. By id ([`super::again`]) while that is cheaper, else by one reading of the whole module.

use super::again::{self, IDS_PER_CALL};
use super::error::Error;
use super::extract::{Context, in_stream};
use super::incremental::id_of;
use super::keeper::id_in;
use super::output::{Output, StreamOutput};
use super::plan::StreamPlan;
use super::reader::{self, Reading};
use super::slices::Learned;
use super::state::Bookmark;
use crate::zoho::api::records::{Converted, RecordsQuery};
use crate::zoho::types::RecordId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows by which a whole reading is priced when nobody counted.
const UNCOUNTED: u64 = 200_000;

/// Writes those of these rows that are there; answers their ids. `of`: how many rows the module has.
pub(super) async fn rows(
    context: &Context,
    plan: &StreamPlan,
    ids: &[String],
    of: Option<u64>,
    output: &mut StreamOutput,
) -> Result<HashSet<String>, Error> {
    let credits = ids.len().div_ceil(IDS_PER_CALL) as u64;
    let of = of.unwrap_or(UNCOUNTED);
    let (ways, _) = plan.ways(context.config.method, of, &Learned::default());
    let whole = ways.iter().map(|slices| slices.credits(of)).min().unwrap_or(u64::MAX);
    output.only(ids.iter().cloned());
    let read = if credits > whole {
        reader::sweep(context, plan, output).await.map(drop)
    } else {
        let mut reading = Reading::new(context, plan, Bookmark::default());
        again::read(context, &mut reading, output, ids.to_vec()).await
    };
    let missing = output.all();
    read?;
    Ok(ids.iter().filter(|id| !missing.contains(*id)).cloned().collect())
}

/// Which of these ids are there, in whatever view: also converted leads.
pub(super) async fn present(
    context: &Context,
    plan: &StreamPlan,
    ids: &[String],
    output: &Output,
) -> Result<HashSet<String>, Error> {
    let narrow = plan.narrowed(|_| false);
    let found: Arc<Mutex<HashSet<String>>> = Arc::default();
    let taken = found.clone();
    let taker = Box::new(move |record: &str| {
        taken.lock().unwrap_or_else(PoisonError::into_inner).insert(id_in(record).to_owned());
        Ok(())
    });
    let mut reading = Reading::new(context, &narrow, Bookmark::default());
    again::read(context, &mut reading, &mut output.diverted(&narrow.stream, taker), ids.to_vec()).await?;
    let mut found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    let rest: Vec<String> = ids.iter().filter(|id| !found.contains(*id)).cloned().collect();
    for ids in rest.chunks(IDS_PER_CALL) {
        let query = RecordsQuery {
            module: plan.module.clone(),
            fields: vec!["id".to_owned()],
            ids: ids.iter().map(|id| RecordId::from(id.as_str())).collect(),
            converted: (plan.module == "Leads").then_some(Converted::Both),
            ..RecordsQuery::default()
        };
        let page = context.call(context.client.records(&query)).await.map_err(in_stream(&plan.stream))?;
        found.extend(page.records.iter().filter_map(|record| id_of(record)));
    }
    Ok(found)
}
