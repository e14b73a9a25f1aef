//! What a job asks for, and whether the server takes it.

use super::super::error::Error;
use super::super::extract::{CallError, Context, in_stream};
use super::super::plan::{MODIFIED_TIME, Way};
use super::super::reader::Reading;
use super::super::slices::selection;
use super::super::state::Edge;
use super::CREATED_TIME;
use super::windows::literal;
use crate::codec::plan::RecordPlan;
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::zoho;
use crate::zoho::api::bulk_read::BulkReadQuery;
use serde_json::{Value, json};

/// Why a job could not be created.
pub(super) enum NoJob {
    /// The server does not take it: another way may do.
    Refused(String),
    /// The server does not take a column: the reading has learned it.
    Learned,
    /// The server does not take its criteria: others may do.
    Criteria(String),
    /// There are none left to pay for it.
    NoCredits(Error),
    Failed(Error),
}

/// Creates a job.
pub(super) async fn create(
    context: &Context,
    reading: &mut Reading<'_>,
    query: &BulkReadQuery,
) -> Result<String, NoJob> {
    let stream = &reading.plan.stream;
    match context.call(context.client.bulk_read_create(query)).await {
        Ok(job) => {
            tracing::debug!(stream, job = job.as_str(), "bulk read job is created");
            Ok(job.to_string())
        }
        Err(CallError::Failed(error)) if reading.learned.note(Way::BulkRead, &query.fields, &error) => {
            Err(NoJob::Learned)
        }
        Err(CallError::Failed(error)) if has_code(&error, &CRITERIA) && query.criteria.is_some() => {
            Err(NoJob::Criteria(error.to_string()))
        }
        Err(CallError::Failed(error)) if has_code(&error, &REFUSALS) || has_code(&error, &CRITERIA) => {
            Err(NoJob::Refused(error.to_string()))
        }
        Err(CallError::Failed(error)) if error.class() == ErrorClass::Quota => {
            Err(NoJob::NoCredits(in_stream(stream)(CallError::Failed(error))))
        }
        Err(error) => Err(NoJob::Failed(in_stream(stream)(error))),
    }
}

/// What the server says when it does not take this way for a stream.
const REFUSALS: [&str; 10] = [
    "MODULE_NOT_SUPPORTED",
    "MODULE_NOT_AVAILABLE",
    "FIELD_NOT_SUPPORTED",
    "FIELD_NOT_AVAILABLE",
    "JOB_NOT_SUPPORTED",
    "API_NOT_SUPPORTED",
    "OAUTH_SCOPE_MISMATCH",
    // Of a page that is no longer to be had, or not by number.
    "EXPIRED_VALUE",
    "PAGE_NOT_SUPPORTED",
    "PAGE_RANGE_EXCEEDED",
];
/// What it says when it does not take criteria.
const CRITERIA: [&str; 5] = [
    "FIELD_IN_CRITERIA_NOT_AVAILABLE",
    "FIELD_IN_CRITERIA_NOT_SUPPORTED",
    "FIELD_COMPARATOR_IN_CRITERIA_NOT_SUPPORTED",
    "COMPARATOR_AND_VALUE_IN_CRITERIA_NOT_COMPATIBLE",
    "INVALID_CRITERIA",
];

fn has_code(error: &zoho::Error, codes: &[&str]) -> bool {
    error.code().is_some_and(|code| codes.contains(&code))
}

/// What a job of a window asks for: these columns.
pub(super) fn query(reading: &Reading<'_>, columns: &RecordPlan, at: usize, by_time: bool) -> BulkReadQuery {
    let mut fields = selection(columns, Way::BulkRead);
    if by_time && !fields.iter().any(|field| field == CREATED_TIME) {
        fields.push(CREATED_TIME.to_owned());
    }
    let (module, criteria) = (reading.plan.module.clone(), criteria(reading, at));
    BulkReadQuery { module, fields, criteria, ..BulkReadQuery::default() }
}

/// What a window's job is limited to.
fn criteria(reading: &Reading<'_>, at: usize) -> Option<Value> {
    let condition = |field: &str, comparator: &str, value: &str| json!({"field": {"api_name": field}, "comparator": comparator, "value": value});
    let progress = &reading.progress;
    let before = at.checked_sub(1).and_then(|before| progress.spans[before].up_to.clone());
    let before = before.or(progress.created_from.map(Edge::Created));
    let before = before.or(progress.floor().map(|id| Edge::Id(id.to_owned())));
    let up_to = progress.spans[at].up_to.clone().or(progress.window.bounds.upto.clone().map(Edge::Id));
    let mut all = Vec::new();
    if let Some(from) = progress.window.from {
        all.push(condition(MODIFIED_TIME, "greater_equal", &literal(from)));
    }
    match before {
        Some(Edge::Id(id)) => all.push(condition("id", "greater_than", &id)),
        Some(Edge::Created(time)) => all.push(condition(CREATED_TIME, "greater_equal", &literal(time))),
        None => {}
    }
    match up_to {
        Some(Edge::Id(id)) => all.push(condition("id", "less_equal", &id)),
        Some(Edge::Created(time)) => all.push(condition(CREATED_TIME, "less_than", &literal(time))),
        None => {}
    }
    if all.len() < 2 { all.pop() } else { Some(json!({"group_operator": "and", "group": all})) }
}
