//! Reading records: list, one, count, full data. Follows section "Records: GET" of the API reference.

use super::paging::{self, Cursor, TOKEN_LIFE};
use super::{instant_header, module, page_params};
use crate::emulator::render::{Form, push_record, push_row};
use crate::emulator::reply::{Answer, Reply, push_json_text};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Row, View};
use crate::emulator::switches::PageTokens;
use crate::emulator::time::datetime_text;
use crate::emulator::value::{Id, Value};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::json;
use std::fmt::Write as _;

const MOST_FIELDS: usize = 50;
/// How far `page` reaches.
const PAGE_REACH: usize = 2_000;
/// Most ids in one call.
const MOST_IDS: usize = 100;

/// The reading routes; the writing ones on the same paths are in `write_records.rs`.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/{module}", get(list))
        .route("/crm/{version}/{module}/{id}", get(single))
        .route("/crm/{version}/{module}/actions/count", get(count))
        .route("/crm/{version}/{module}/{id}/actions/fetch_full_data", get(full_data))
}

/// What a list call asks for.
struct Query {
    places: Vec<u16>,
    /// The field to sort by; the id when absent.
    sort: Option<u16>,
    ascending: bool,
    per_page: usize,
    page: usize,
    cursor: Option<Cursor>,
    filter: Filter,
}

/// Which rows a list call shows.
struct Filter {
    since: Option<(u16, i64)>,
    strict: bool,
    converted: Option<(u16, bool)>,
    ids: Option<Vec<Id>>,
}

impl Filter {
    fn shows(&self, row: Row<'_>) -> bool {
        let recent = self.since.is_none_or(|(place, since)| {
            let modified = row.get(place).as_instant().unwrap_or(i64::MIN);
            if self.strict { modified > since } else { modified >= since }
        });
        recent
            && self.converted.is_none_or(|(place, wanted)| row.get(place) == Value::Bool(wanted))
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&row.id))
    }
}

/// `GET /crm/v8/{module}`.
async fn list(call: Call, Path((_, name)): Path<(String, String)>) -> Answer {
    call.charge(if call.params.get("cvid").is_some() { 3 } else { 1 })?;
    if call.params.get("cvid").is_some() || call.params.get("sort_by").is_some() {
        call.heavy()?;
    }
    let store = call.org.read();
    let view = module(&call, &store, &name)?;
    let query = query(&call, view)?;
    let (rows, more) = page_of(&call, view, &query)?;
    if rows.is_empty() {
        return Ok(Reply::empty(if query.filter.since.is_some() { 304 } else { 204 }));
    }
    let form = Form { zone: call.zone, cut: true, emails: call.version >= 3 };
    let mut out = String::with_capacity(rows.len() * (query.places.len() * 32 + 64));
    out.push_str("{\"data\":[");
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        push_row(&mut out, *row, &query.places, form);
    }
    out.push_str("],\"info\":");
    push_info(&mut out, &call, &query, &rows, more);
    out.push('}');
    Ok(Reply::text(200, out))
}

fn query(call: &Call, view: View<'_>) -> Result<Query, Reply> {
    let names = call.params.list("fields");
    if names.is_empty() && call.version >= 3 {
        return Err(Reply::param_missing("fields"));
    }
    if names.len() > MOST_FIELDS {
        let details = json!({"param_name": "fields", "limit": MOST_FIELDS});
        return Err(Reply::limit_exceeded(details, "the number of fields exceeds the limit"));
    }
    let (page, per_page) = page_params(call)?;
    let cursor = match call.params.get("page_token") {
        Some(_) if call.params.get("page").is_some() => return Err(ambiguous("page", "page_token")),
        Some(token) => Some(paging::decode(call, token)?),
        None => None,
    };
    if cursor.is_none() && page * per_page > PAGE_REACH {
        let message = "page reaches the first 2000 records only, use page_token";
        return Err(Reply::error(
            400,
            "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
            message,
            json!({"param_name": "page", "limit": PAGE_REACH}),
        ));
    }
    let reach = call.app.switches().page_token_reach;
    if cursor.is_some_and(|cursor| cursor.offset >= reach as usize) {
        let details = json!({"param_name": "page_token", "limit": reach});
        let message = format!("page_token reaches the first {reach} records only");
        return Err(Reply::error(400, "PAGINATION_LIMIT_EXCEEDED", &message, details));
    }
    Ok(Query {
        places: places(view, &names),
        sort: sort_field(call, view)?,
        ascending: call.params.get("sort_order") == Some("asc"),
        per_page,
        page,
        cursor,
        filter: filter(call, view)?,
    })
}

/// The fields asked for that a list can show; without a wish (v2), all of them.
fn places(view: View<'_>, names: &[&str]) -> Vec<u16> {
    let in_lists = |place: &u16| !view.module.at(*place).data_type.is_rows();
    if names.is_empty() {
        return view.module.active().map(|(place, _)| place).filter(in_lists).collect();
    }
    let mut places: Vec<u16> = Vec::with_capacity(names.len());
    for place in names.iter().filter_map(|name| view.module.index_of(name)).filter(in_lists) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn ambiguous(one: &str, other: &str) -> Reply {
    let details = json!({"ambiguity_due_to": [{"param_name": one}, {"param_name": other}]});
    Reply::error(400, "AMBIGUITY_DURING_PROCESSING", "ambiguity while processing the request", details)
}

fn sort_field(call: &Call, view: View<'_>) -> Result<Option<u16>, Reply> {
    if !matches!(call.params.get("sort_order"), None | Some("asc" | "desc")) {
        return Err(Reply::invalid_param("sort_order", "invalid value for the parameter"));
    }
    let Some(name) = call.params.get("sort_by") else { return Ok(None) };
    if call.params.get("cvid").is_some() {
        return Err(ambiguous("cvid", "sort_by"));
    }
    let known = call.version == 2 || matches!(name, "id" | "Created_Time" | "Modified_Time");
    match view.module.index_of(name).filter(|_| known) {
        Some(_) if name == "id" => Ok(None),
        Some(place) => Ok(Some(place)),
        None => Err(Reply::invalid_param("sort_by", "the given field cannot be sorted by")),
    }
}

fn filter(call: &Call, view: View<'_>) -> Result<Filter, Reply> {
    let since = instant_header(call, "if-modified-since")?;
    let modified = view.module.index_of("Modified_Time");
    let converted = match call.params.get("converted") {
        None | Some("false") => Some(false),
        Some("true") => Some(true),
        Some("both") => None,
        Some(_) => return Err(Reply::invalid_param("converted", "invalid value for the parameter")),
    };
    let ids = call.params.get("ids").map(|_| {
        let ids: Option<Vec<Id>> = call.params.list("ids").iter().map(|id| id.parse().ok()).collect();
        let message = "the id given seems to be invalid";
        let unreadable =
            || Reply::error(400, "UNABLE_TO_PARSE_DATA_TYPE", message, json!({"param_name": "ids"}));
        let ids = ids.ok_or_else(unreadable)?;
        if ids.len() > MOST_IDS {
            return Err(Reply::limit_exceeded(
                json!({"param_name": "ids", "limit": MOST_IDS}),
                "too many ids",
            ));
        }
        Ok(ids)
    });
    Ok(Filter {
        since: modified.zip(since),
        strict: call.app.switches().modified_since_strict,
        converted: view.module.index_of("Converted__s").zip(converted),
        ids: ids.transpose()?,
    })
}

type Page<'a> = (Vec<Row<'a>>, bool);

/// The rows of the page, and whether there are more behind it.
fn page_of<'a>(call: &Call, view: View<'a>, query: &Query) -> Result<Page<'a>, Reply> {
    let keyset = call.app.switches().page_tokens == PageTokens::Keyset;
    let skip = match query.cursor {
        Some(_) if keyset => 0,
        Some(cursor) => cursor.offset,
        None => (query.page - 1) * query.per_page,
    };
    let after = query.cursor.filter(|_| keyset);
    let passed = |row: &Row<'_>| {
        after.is_none_or(|cursor| {
            let at = (key(*row, query.sort), row.id);
            let last = (cursor.last_key, cursor.last_id);
            if query.ascending { at > last } else { at < last }
        })
    };
    let mut rows: Box<dyn Iterator<Item = Row<'a>> + 'a> = match (&query.filter.ids, query.sort) {
        (Some(ids), None) => {
            let mut ids = ids.clone();
            ids.sort_unstable();
            ids.dedup();
            turned(
                ids.into_iter().filter_map(move |id| view.get(id)).collect::<Vec<_>>().into_iter(),
                query.ascending,
            )
        }
        (_, None) => turned(view.rows(), query.ascending),
        (_, Some(place)) => {
            let ids = view.sorted_by(place);
            let at = move |number: usize| view.get(ids[number]);
            turned((0..view.count()).filter_map(at), query.ascending)
        }
    };
    let mut shown = rows.by_ref().filter(|row| passed(row) && query.filter.shows(*row)).skip(skip);
    let page: Vec<Row<'a>> = shown.by_ref().take(query.per_page).collect();
    let more = shown.next().is_some();
    Ok((page, more))
}

fn turned<'a>(
    rows: impl DoubleEndedIterator<Item = Row<'a>> + 'a,
    ascending: bool,
) -> Box<dyn Iterator<Item = Row<'a>> + 'a> {
    if ascending { Box::new(rows) } else { Box::new(rows.rev()) }
}

fn key(row: Row<'_>, sort: Option<u16>) -> i64 {
    sort.map_or(0, |place| row.get(place).as_instant().unwrap_or(i64::MIN))
}

fn push_info(out: &mut String, call: &Call, query: &Query, rows: &[Row<'_>], more: bool) {
    let start = query.cursor.map_or((query.page - 1) * query.per_page, |cursor| cursor.offset);
    let sort = query.sort.map_or("id", |place| rows[0].view.module.at(place).api_name.as_str());
    let order = if query.ascending { "asc" } else { "desc" };
    let page = if query.cursor.is_some() { 1 } else { query.page };
    let _ = write!(
        out,
        "{{\"per_page\":{},\"count\":{},\"page\":{page},\"sort_by\":\"{sort}\",\"sort_order\":\"{order}\",\"more_records\":{more}",
        query.per_page,
        rows.len()
    );
    if call.version >= 3 {
        let now = call.app.clock.now();
        let last = rows.last().filter(|_| more);
        let token = last.map(|row| {
            let (offset, last_key) = (start + rows.len(), key(*row, query.sort));
            paging::encode(
                Cursor { offset, last_key, last_id: row.id, created: now },
                paging::fingerprint(call),
            )
        });
        out.push_str(",\"next_page_token\":");
        match &token {
            Some(token) => push_json_text(out, token),
            None => out.push_str("null"),
        }
        out.push_str(",\"previous_page_token\":null,\"page_token_expiry\":");
        match token {
            Some(_) => push_json_text(out, &datetime_text(now + TOKEN_LIFE, call.zone)),
            None => out.push_str("null"),
        }
    }
    out.push_str(",\"call\":false,\"email\":false}");
}

/// `GET /crm/v8/{module}/{id}`.
async fn single(call: Call, Path((_, name, id)): Path<(String, String, String)>) -> Answer {
    one(&call, &name, &id)
}

/// `GET /crm/v8/{module}/{id}/actions/fetch_full_data`: what lists cut, whole.
async fn full_data(call: Call, Path((_, name, id)): Path<(String, String, String)>) -> Answer {
    one(&call, &name, &id)
}

fn one(call: &Call, name: &str, id: &str) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let view = module(call, &store, name)?;
    let invalid = || {
        let details = json!({"resource_path_index": 1, "id": id});
        Reply::error(400, "INVALID_DATA", "the id given seems to be invalid", details)
    };
    let id: Id = id.parse().map_err(|_| invalid())?;
    let Some(row) = view.get(id) else {
        return if call.app.switches().unknown_record_204 { Ok(Reply::empty(204)) } else { Err(invalid()) };
    };
    let names = call.params.list("fields");
    let places: Vec<u16> = match names.as_slice() {
        [] => view.module.active().map(|(place, _)| place).collect(),
        names => names.iter().filter_map(|name| view.module.index_of(name)).collect(),
    };
    let form = Form { zone: call.zone, cut: false, emails: call.version >= 3 };
    let mut out = String::from("{\"data\":[");
    push_record(&mut out, row, &places, form);
    out.push_str("]}");
    Ok(Reply::text(200, out))
}

/// `GET /crm/v8/{module}/actions/count`: what the list shows, converted Leads left out.
async fn count(call: Call, Path((_, name)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let view = module(&call, &store, &name)?;
    if call.params.get("cvid").is_some() && call.params.get("criteria").is_some() {
        return Err(ambiguous("cvid", "criteria"));
    }
    let count = match view.module.index_of("Converted__s") {
        Some(place) => view.rows().filter(|row| row.get(place) != Value::Bool(true)).count(),
        None => view.count(),
    };
    Ok(Reply::json(200, &json!({"count": count})))
}
