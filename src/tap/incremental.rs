//! Reading by COQL: pages of ascending ids, each starting after the last one's last id, so that no
//! change between two pages can hide a row. Follows Zoho's page "COQL Overview".

use super::error::Error;
use super::extract::{CallError, Context, in_stream};
use super::output::StreamOutput;
use super::plan::{MODIFIED_TIME, Way};
use super::reader::{Outcome, Reading};
use super::slices::selection;
use super::state::{precedes, text};
use crate::codec::decode::JsonDecoder;
use crate::zoho;
use crate::zoho::api::records::Page;
use crate::zoho::types::RecordId;
use serde_json::value::RawValue;

/// Rows of the first page of a reading of unknown size: the most that one credit buys.
pub(super) const FIRST_PAGE: u32 = 200;
/// Rows of a full page: the most that COQL gives at once, for three credits.
const FULL_PAGE: u32 = 2_000;

/// Reads what is left of the window. `rows` is how many rows that will be, if somebody counted.
pub(super) async fn read(
    context: &Context,
    reading: &mut Reading<'_>,
    output: &mut StreamOutput,
    rows: Option<u64>,
) -> Result<Outcome, Error> {
    let plan = reading.plan;
    // Whatever Bulk Read was about to do, this way goes on from the last id that is out.
    reading.progress.spans.clear();
    reading.progress.created_from = None;
    let decoder = JsonDecoder::new(&plan.columns);
    let fields = selection(&plan.columns, Way::Coql);
    let (mut left, mut full, mut first) = (rows, FULL_PAGE, true);
    loop {
        let page = match reading.first_page.take() {
            Some(page) => page,
            None => match next(context, reading, &fields, limit(left, first).min(full)).await? {
                Asked::Page(page) => page,
                Asked::Narrow => {
                    full = FIRST_PAGE;
                    continue;
                }
                Asked::Learned => return Ok(Outcome::Learned),
                Asked::Refused(reason) => return Ok(Outcome::Refused(reason)),
            },
        };
        let Some(last) = page.records.last() else { return Ok(Outcome::Complete) };
        if !ascends(reading.progress.after_id.as_deref(), &page.records) {
            return Ok(Outcome::Refused("its rows do not ascend by id".into()));
        }
        let last = id_of(last);
        context.page(&plan.stream, output, &decoder, &page.records)?;
        reading.progress.after_id = last;
        if !page.more_records {
            return Ok(Outcome::Complete);
        }
        if output.is_due() {
            output.checkpoint(reading.bookmark())?;
        }
        left = left.map(|left| left.saturating_sub(page.records.len() as u64));
        match left {
            // There are more than was expected: how many is found out anew.
            Some(0) => (left, first) = (None, true),
            None if !first && has_choice(context, reading) => {
                return Ok(Outcome::Large(count(context, reading, reading.progress.floor()).await?));
            }
            _ => first = false,
        }
    }
}

/// What the server said to a query.
pub(super) enum Asked {
    Page(Page),
    /// It gives 200 rows at once, as servers before v8 do.
    Narrow,
    /// It said something new about the columns, which the reading has learned.
    Learned,
    /// It does not take such queries, for this reason.
    Refused(String),
}

/// Asks for the page that [`read`] begins with.
pub(super) async fn first_page(
    context: &Context,
    reading: &mut Reading<'_>,
    rows: Option<u64>,
) -> Result<Asked, Error> {
    let fields = selection(&reading.plan.columns, Way::Coql);
    next(context, reading, &fields, limit(rows, true)).await
}

/// Rows to ask for: what is left, as far as is known.
pub(super) fn limit(left: Option<u64>, first: bool) -> u32 {
    match left {
        None if first => FIRST_PAGE,
        Some(..=200) => FIRST_PAGE,
        Some(201..=1_000) => 1_000,
        _ => FULL_PAGE,
    }
}

async fn next(
    context: &Context,
    reading: &mut Reading<'_>,
    fields: &[String],
    limit: u32,
) -> Result<Asked, Error> {
    let after = reading.progress.floor().map(str::to_owned);
    ask(context, reading, fields, after.as_deref(), limit).await
}

/// Asks for some columns of the rows that follow an id.
pub(super) async fn ask(
    context: &Context,
    reading: &mut Reading<'_>,
    fields: &[String],
    after: Option<&str>,
    limit: u32,
) -> Result<Asked, Error> {
    let query = query(reading, after, &fields.join(", "), &format!(" order by id asc limit {limit}"));
    answer(context, reading, fields, &query, limit).await
}

/// Asks for some columns of the rows with these ids.
pub(super) async fn ask_for(
    context: &Context,
    reading: &mut Reading<'_>,
    fields: &[String],
    ids: &[String],
) -> Result<Asked, Error> {
    let (columns, module) = (fields.join(", "), &reading.plan.module);
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let ids = ids.join(", ");
    let query =
        format!("select {columns} from {module} where id in ({ids}) order by id asc limit {FIRST_PAGE}");
    answer(context, reading, fields, &query, FIRST_PAGE).await
}

async fn answer(
    context: &Context,
    reading: &mut Reading<'_>,
    fields: &[String],
    query: &str,
    limit: u32,
) -> Result<Asked, Error> {
    match context.call(context.client.coql(query, limit)).await {
        Err(CallError::Failed(error)) if reading.learned.note(Way::Coql, fields, &error) => {
            Ok(Asked::Learned)
        }
        Err(CallError::Failed(error)) if limit > FIRST_PAGE && error.code() == Some("LIMIT_EXCEEDED") => {
            Ok(Asked::Narrow)
        }
        Err(CallError::Failed(error)) if refuses(&error) => Ok(Asked::Refused(error.to_string())),
        answer => answer.map(Asked::Page).map_err(in_stream(&reading.plan.stream)),
    }
}

/// Whether Bulk Read could take over.
pub(super) fn has_choice(context: &Context, reading: &Reading<'_>) -> bool {
    let (ways, _) = reading.plan.ways(context.config.method, 0, &reading.learned);
    ways.iter().any(|slices| slices.main == Way::BulkRead)
}

/// Counts what follows an id in the window; costs one credit.
pub(super) async fn count(
    context: &Context,
    reading: &Reading<'_>,
    after: Option<&str>,
) -> Result<u64, Error> {
    let query = query(reading, after, "COUNT(id)", "");
    context.call(context.client.coql_count(&query)).await.map_err(in_stream(&reading.plan.stream))
}

/// Whether the server refuses COQL for this module or these fields, or the token lacks its scope:
/// another way may still do.
pub(super) fn refuses(error: &zoho::Error) -> bool {
    const CODES: [&str; 9] = [
        "INVALID_QUERY",
        "INVALID_MODULE",
        "LIMIT_EXCEEDED",
        "SYNTAX_ERROR",
        "NOT_SUPPORTED",
        "MODULE_NOT_SUPPORTED",
        "API_NOT_SUPPORTED",
        "INVALID_DATA",
        "OAUTH_SCOPE_MISMATCH",
    ];
    error.code().is_some_and(|code| CODES.contains(&code))
}

/// A query of what follows an id in the window.
pub(super) fn query(reading: &Reading<'_>, after: Option<&str>, columns: &str, tail: &str) -> String {
    let module = &reading.plan.module;
    let window = &reading.progress.window;
    let from = window.from.map(text);
    let from = from.map(|time| format!("{MODIFIED_TIME} >= '{}+00:00'", time.trim_end_matches('Z')));
    let after = after.map(|id| format!("id > '{id}'"));
    let upto = window.bounds.upto.as_ref().map(|id| format!("id <= '{id}'"));
    select(module, columns, [from, after, upto].into_iter().flatten(), tail)
}

/// A query of the rows that meet all conditions.
pub(super) fn select(
    module: &str,
    columns: &str,
    conditions: impl Iterator<Item = String>,
    tail: &str,
) -> String {
    // More than two conditions have to be bracketed pairwise.
    let condition = conditions.reduce(|one, other| format!("({one} and {other})"));
    let condition = condition.unwrap_or_else(|| "id is not null".to_owned());
    format!("select {columns} from {module} where {condition}{tail}")
}

/// The id of a record of an answer.
pub(super) fn id_of(record: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: RecordId,
    }
    serde_json::from_str(record.get()).ok().map(|Identified { id }| id.to_string())
}

/// Whether the ids follow each other upwards, after `before`; what the next page hangs on.
fn ascends(before: Option<&str>, records: &[Box<RawValue>]) -> bool {
    let mut last = before.unwrap_or_default().to_owned();
    records.iter().all(|record| match id_of(record) {
        Some(id) => {
            precedes(last.as_bytes(), id.as_bytes()) && {
                last = id;
                true
            }
        }
        None => false,
    })
}
