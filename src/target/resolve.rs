//! A row to the JSON of its record call: ids in the place of keys, and what gives way to values that are there.
//!
//! The records themselves are looked up here, where an update is not by id or their values and rows decide
//! what is sent; parents are in `parents`.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::batch::Step;
use super::config::{Nulls, Operation};
use super::error::Error;
use super::job::{Job, Laid};
use super::ledger::{Unit, Way};
use super::lookup::{Found, Missing, Question, ask};
use super::mapping::Column;
use super::nested;
use super::outcome::Outcome;
use super::parents::{Parents, push_parent};
use super::plan::Members;
use super::replay::Change;
use super::route::Rows;
use super::write::Effort;
use crate::codec::encode::{push_string, scalar};

/// What is known about the records that rows go to.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Place of the column that finds the record.
    key: Option<usize>,
    found: Found,
    /// The rows they have, by column.
    rows: BTreeMap<usize, RowsThere>,
}

/// Rows of a subform that are there: id and key, by record.
type RowsThere = HashMap<String, Vec<(String, String)>>;

/// Records whose rows are asked for in one query. Source: Zoho CRM API, "COQL, Limitations".
const PARENTS_PER_QUERY: usize = 50;

/// Rows of one page, for one credit.
const ROWS_PER_QUERY: u32 = 200;

impl Job<'_> {
    /// The text of a unit's value in a column.
    pub(super) async fn key_of(&self, unit: &Unit, place: usize) -> Result<Option<String>, Error> {
        let laid = self.lay(unit).await?;
        Ok(laid.members.get(&place).map(|raw| plain(raw)).filter(|key| !key.is_empty()))
    }

    /// Looks up the records themselves: those of an update that is not by id, and those whose values or rows
    /// decide what is sent.
    pub(super) async fn known(&self, laid: &[Laid], way: Way, effort: &mut Effort) -> Result<Known, Error> {
        let route = &self.batch.route;
        // A look has seen to it.
        let looked = route.looks() && way != Way::Upsert;
        let present = |place: usize| laid.iter().any(|one| one.members.contains_key(&place));
        let columns = || route.columns.iter().enumerate().filter(|(place, _)| present(*place));
        let rows = |column: &Column| column.rows.as_ref().is_some_and(|rows| !rows.match_on.is_empty());
        let rows: Vec<usize> = match way {
            Way::Insert => Vec::new(),
            _ => columns().filter(|(_, column)| rows(column)).map(|(place, _)| place).collect(),
        };
        let more: Vec<String> = columns()
            .filter(|(_, column)| column.nulls == Nulls::SetIfEmpty && !looked)
            .map(|(_, column)| column.field.clone())
            .collect();
        let key = route.match_on.first().and_then(|field| route.column(field)).filter(|_| !looked);
        let by_field = |place: usize| way == Way::Update && route.columns[place].field != "id";
        let mut known = Known { key, ..Known::default() };
        if let Some(place) = key
            && (by_field(place) && route.operation == Operation::Update
                || !more.is_empty()
                || !rows.is_empty())
        {
            let column = &route.columns[place];
            let question = Question {
                module: &route.module,
                field: &column.field,
                numeric: column.kind.is_number() && column.field != "id",
                more: &more,
            };
            let keys = known
                .found
                .unknown(laid.iter().filter_map(|one| one.members.get(&place)).map(|raw| plain(raw)));
            ask(&self.writer.client, question, &keys, &mut known.found, effort).await?;
        }
        for place in rows {
            let ids: Vec<String> =
                laid.iter().filter_map(|one| self.id_of(one, &known).ok().flatten()).collect();
            let column = &route.columns[place];
            if let Some(rows) = &column.rows {
                let found = self.rows_there(rows, &ids, effort).await?;
                known.rows.insert(place, found);
            }
        }
        Ok(known)
    }

    /// The rows that records have in a subform or linking module, by record.
    async fn rows_there(&self, rows: &Rows, ids: &[String], effort: &mut Effort) -> Result<RowsThere, Error> {
        let mut there = RowsThere::new();
        for some in ids.chunks(PARENTS_PER_QUERY) {
            let mut last = String::from("0");
            loop {
                let query = rows_query(rows, some, &last);
                let page = self.writer.client.coql(&query, ROWS_PER_QUERY).await.map_err(|error| {
                    Error::zoho(format!("cannot look up the rows of {}", rows.module), error)
                })?;
                effort.credits += 1;
                for record in &page.records {
                    let Ok(row) = serde_json::from_str::<Map<String, Value>>(record.get()) else { continue };
                    let parent = row.get(&rows.parent).and_then(|parent| parent.get("id")).and_then(scalar);
                    if let (Some(id), Some(parent)) = (row.get("id").and_then(scalar), parent) {
                        last.clone_from(&id);
                        there.entry(parent).or_default().push((id, rows.key(&row).unwrap_or_default()));
                    }
                }
                if !page.more_records || page.records.is_empty() {
                    break;
                }
            }
        }
        Ok(there)
    }

    /// Puts ids in the place of keys and leaves out what must give way; the JSON of the row.
    pub(super) fn body(
        &self,
        laid: &Laid,
        way: Way,
        parents: &Parents,
        known: &Known,
    ) -> Result<String, Box<Outcome>> {
        let route = &self.batch.route;
        let mut body = String::from("{");
        let by_id = match &laid.first.step {
            Step::Change(Change::ById(id)) => Some(id.clone()),
            _ => laid.id.clone(),
        };
        if let Some(id) = &by_id {
            push_member("id", &mut body);
            push_string(id, &mut body);
        }
        let own = self.id_of(laid, known)?;
        let there = own.as_deref().and_then(|id| known.found.record(id));
        for (place, raw) in &laid.members {
            let column = &route.columns[*place];
            if let Some(rows) = &column.rows {
                push_member(&column.field, &mut body);
                let there = own.as_ref().and_then(|id| known.rows.get(place)?.get(id));
                push_rows(*place, rows, raw, parents, there, &mut body)?;
            } else if let Some(lookup) = &column.lookup {
                push_member(&column.field, &mut body);
                push_parent(&column.field, lookup, &plain(raw), parents.get(&(*place, None)), &mut body)?;
            } else if known.key == Some(*place)
                && way == Way::Update
                && by_id.is_none()
                && column.field != "id"
            {
                let module = &route.module;
                let missing =
                    || Box::new(Missing::None.outcome(&column.field, module, &column.field, &plain(raw)));
                push_member("id", &mut body);
                push_string(own.as_deref().ok_or_else(missing)?, &mut body);
            } else if column.nulls != Nulls::SetIfEmpty
                || there.is_none_or(|there| is_empty(there.get(&column.field)))
            {
                push_member(&column.field, &mut body);
                body.push_str(raw.get());
            }
        }
        push_appended(&laid.members, &route.columns, &mut body);
        body.push('}');
        Ok(body)
    }

    /// The id of the record that a row goes to, where it is known and there.
    pub(super) fn id_of(&self, laid: &Laid, known: &Known) -> Result<Option<String>, Box<Outcome>> {
        if let Step::Change(Change::ById(id)) = &laid.first.step {
            return Ok(Some(id.clone()));
        }
        if let Some(id) = &laid.id {
            return Ok(Some(id.clone()));
        }
        let Some((place, raw)) = known.key.and_then(|place| Some((place, laid.members.get(&place)?))) else {
            return Ok(None);
        };
        let (column, key) = (&self.batch.route.columns[place], plain(raw));
        match known.found.id(&key) {
            Ok(id) => Ok(Some(id.to_owned())),
            Err(Missing::None) => Ok(None),
            Err(several) => {
                let module = &self.batch.route.module;
                Err(Box::new(several.outcome(&column.field, module, &column.field, &key)))
            }
        }
    }
}

/// Appends the rows of a subform: those that are there with their ids, the others as new ones.
fn push_rows(
    place: usize,
    rows: &Rows,
    raw: &RawValue,
    parents: &Parents,
    there: Option<&Vec<(String, String)>>,
    body: &mut String,
) -> Result<(), Box<Outcome>> {
    let mut resolved = nested::Items::new();
    for mut item in nested::items(raw.get()) {
        for (inner, column) in nested::keyed(rows) {
            let Some(lookup) = &column.lookup else { continue };
            let Some(key) = item.get(&column.field).and_then(scalar) else { continue };
            let mut id = String::new();
            push_parent(&column.field, lookup, &key, parents.get(&(place, Some(inner))), &mut id)?;
            item.insert(column.field.clone(), serde_json::from_str(&id).unwrap_or_default());
        }
        resolved.push(item);
    }
    let mut left: Vec<&(String, String)> = there.into_iter().flatten().collect();
    let mut list: Vec<Value> = Vec::new();
    for mut item in nested::merged(rows, resolved) {
        let known = rows.key(&item).and_then(|key| left.iter().position(|(_, there)| *there == key));
        if let Some(at) = known {
            item.insert("id".to_owned(), left.remove(at).0.clone().into());
        }
        list.push(item.into());
    }
    if rows.delete_others {
        list.extend(left.iter().map(|(id, _)| serde_json::json!({"id": id, "_delete": null})));
    }
    body.push_str(&Value::from(list).to_string());
    Ok(())
}

/// The query for the rows of some records.
fn rows_query(rows: &Rows, parents: &[String], after: &str) -> String {
    let mut fields = vec!["id", rows.parent.as_str()];
    fields.extend(rows.match_on.iter().map(String::as_str).filter(|name| *name != rows.parent));
    let ids: Vec<String> = parents.iter().map(|id| format!("'{id}'")).collect();
    format!(
        "select {} from {} where ({} in ({}) and id > {after}) order by id asc limit {ROWS_PER_QUERY}",
        fields.join(", "),
        rows.module,
        rows.parent,
        ids.join(", ")
    )
}

pub(super) fn push_member(name: &str, body: &mut String) {
    if body.len() > 1 {
        body.push(',');
    }
    push_string(name, body);
    body.push(':');
}

/// Says which multi-select picklists keep the options they have.
fn push_appended(members: &Members, columns: &[Column], body: &mut String) {
    let mut list = String::from("{");
    for (place, raw) in members {
        if columns[*place].append && columns[*place].rows.is_none() && raw.get() != "null" {
            push_member(&columns[*place].field, &mut list);
            list.push_str("true");
        }
    }
    if list.len() > 1 {
        push_member("$append_values", body);
        body.push_str(&list);
        body.push('}');
    }
}

/// Whether a field of a record holds nothing.
pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// The text of a JSON scalar, or the id of a lookup; null is empty.
pub(super) fn plain(raw: &RawValue) -> String {
    let text = raw.get();
    if text == "null" {
        return String::new();
    }
    serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())
}
