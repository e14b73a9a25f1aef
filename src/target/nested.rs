//! Rows inside of a record: subforms and multi-select lookups, by mapping and in the JSON of a record call.
//!
//! A list of objects becomes the rows of a subform, a list of ids or natural keys the links of a
//! multi-select lookup. Which of them the record has already is found out in `resolve`, before a call.
//! Follows the v8 pages "Insert Records" and "Bulk Write"; rows of the CRM's own limits are refused here.

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::columns::column;
use super::config::{ConfigError, FieldRule, RowsRule, child};
use super::mapping::{Pair, unknown_field};
use super::metadata::{Metadata, ModuleMeta};
use super::outcome::Outcome;
use super::path::Path;
use super::preflight::append;
use super::record::Record;
use super::route::{Column, Rows};
use crate::codec::value::plain_decimal;
use crate::zoho::types::{DataType, Field};

/// Most rows of one subform in one record. Source: Zoho CRM API, "Subforms".
const MOST_ROWS: usize = 100;

/// Rows as they stand in a row that is to be sent: members by field.
pub(super) type Items = Vec<Map<String, Value>>;

/// How a field takes rows, if it does: as its rule says, or as links of a multi-select lookup.
///
/// # Errors
/// [`ConfigError`] for what the subform does not have.
pub(super) fn rows(
    rule: &FieldRule,
    field: &Field,
    meta: &ModuleMeta,
    metadata: &Metadata,
) -> Result<Option<Box<Rows>>, ConfigError> {
    match (&rule.rows, &field.data_type) {
        (Some(rows), _) => Ok(Some(Box::new(of_subform(rows, field, metadata)?))),
        (None, DataType::MultiSelectLookup) => {
            links(rule, field, meta, metadata).map(|rows| rows.map(Box::new))
        }
        (None, _) => Ok(None),
    }
}

/// The rows of a subform.
///
/// # Errors
/// [`ConfigError`] when the field is none, or for what it does not have.
pub(super) fn of_subform(rule: &RowsRule, field: &Field, metadata: &Metadata) -> Result<Rows, ConfigError> {
    let behind = field.subform_module.as_deref().and_then(|name| metadata.get(name));
    let Some(behind) = behind else {
        return Err(ConfigError::new(&rule.pointer, format!("\"{}\" is not a subform", field.api_name)));
    };
    let mut columns = Vec::new();
    for one in &rule.fields {
        let field = behind.field(&one.to).ok_or_else(|| unknown_field(&one.to, &one.pointer, behind))?;
        let pair = Pair { rule: one.clone(), path: Path::free(&one.property), field };
        columns.push(column(pair, Default::default(), behind, metadata)?);
    }
    for (place, name) in rule.match_on.iter().enumerate() {
        if !columns.iter().any(|column| column.field == *name) {
            let pointer = format!("{}/{place}", child(&rule.pointer, "match_on"));
            return Err(ConfigError::new(pointer, format!("nothing goes to \"{name}\"")));
        }
    }
    Ok(Rows {
        module: behind.module.api_name.clone(),
        parent: "Parent_Id".to_owned(),
        columns,
        match_on: rule.match_on.clone(),
        delete_others: rule.delete_others,
    })
}

/// The links of a multi-select lookup: rows of its linking module, each with the other side.
fn links(
    rule: &FieldRule,
    field: &Field,
    meta: &ModuleMeta,
    metadata: &Metadata,
) -> Result<Option<Rows>, ConfigError> {
    let Some(linking) = field.linking_module.as_deref().and_then(|name| metadata.get(name)) else {
        return Ok(None);
    };
    let own = Some(meta.module.api_name.as_str());
    let lookups = || linking.fields.iter().filter(|field| field.lookup_module.is_some());
    let near = lookups().find(|field| field.lookup_module.as_deref() == own);
    let far = lookups().find(|field| near.is_none_or(|near| near.api_name != field.api_name));
    let (Some(near), Some(far)) = (near, far) else { return Ok(None) };
    let item = FieldRule { to: far.api_name.clone(), append: false, ..rule.clone() };
    let pair = Pair { rule: item, path: Path::plain(""), field: far };
    Ok(Some(Rows {
        module: linking.module.api_name.clone(),
        parent: near.api_name.clone(),
        columns: vec![column(pair, Default::default(), linking, metadata)?],
        match_on: vec![far.api_name.clone()],
        delete_others: !rule.append,
    }))
}

impl Rows {
    /// Appends the JSON list for a value of the source.
    ///
    /// # Errors
    /// The outcome of a row that Zoho would not take.
    pub(super) fn write(&self, value: &Value, field: &str, body: &mut String) -> Result<(), Box<Outcome>> {
        let refused =
            |text: String| Box::new(Outcome::rejected("INVALID_DATA", Some(field.to_owned()), text));
        let Value::Array(items) = value else {
            return Err(refused(format!("{value} is not a list of rows")));
        };
        if items.len() > MOST_ROWS {
            let text = format!("{} rows, Zoho takes {MOST_ROWS}", items.len());
            return Err(Box::new(Outcome::rejected("LIMIT_EXCEEDED", Some(field.to_owned()), text)));
        }
        body.push('[');
        for (place, item) in items.iter().enumerate() {
            let wrapped;
            let item = match item {
                Value::Object(members) => members,
                scalar => {
                    wrapped = Map::from_iter([(String::new(), scalar.clone())]);
                    &wrapped
                }
            };
            body.push_str(if place > 0 { "," } else { "" });
            self.write_item(&Record::from(item), body).map_err(|outcome| numbered(outcome, place, field))?;
        }
        body.push(']');
        Ok(())
    }

    /// Appends the JSON object of one row.
    ///
    /// # Errors
    /// The outcome of a row that Zoho would not take.
    pub(super) fn write_item(&self, item: &Record<'_>, body: &mut String) -> Result<(), Box<Outcome>> {
        let mut members = String::new();
        for column in &self.columns {
            append(column, item, &mut members)?;
        }
        body.push_str(if members.is_empty() { "{" } else { &members });
        body.push('}');
        Ok(())
    }

    /// What a row is found again by; `None` without `match_on`.
    pub(super) fn key(&self, item: &Map<String, Value>) -> Option<String> {
        if self.match_on.is_empty() {
            return None;
        }
        let mut key = String::new();
        for name in &self.match_on {
            key.push_str(&text_of(item.get(name)));
            key.push('\0');
        }
        Some(key)
    }
}

/// A refusal with the place of the row that it is about.
fn numbered(mut outcome: Box<Outcome>, place: usize, field: &str) -> Box<Outcome> {
    let said = outcome.message.take().unwrap_or_default();
    outcome.message = Some(format!("row {} of {field}: {said}", place + 1));
    outcome
}

/// Rows of one record, the later laid over the earlier where they are the same.
pub(super) fn merged(rows: &Rows, items: Items) -> Items {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut merged = Items::new();
    for item in items {
        match rows.key(&item).map(|key| (places.get(&key).copied(), key)) {
            Some((Some(place), _)) => merged[place].extend(item),
            Some((None, key)) => {
                places.insert(key, merged.len());
                merged.push(item);
            }
            None => merged.push(item),
        }
    }
    merged
}

/// The rows of a list as it stands in a row's body; null is none.
pub(super) fn items(list: &str) -> Items {
    serde_json::from_str(list).unwrap_or_default()
}

/// Puts the lists of two rows of the stream together.
pub(super) fn joined(earlier: &RawValue, later: &RawValue) -> Option<Box<RawValue>> {
    let inner = |raw: &str| raw.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let both: Vec<String> =
        [inner(earlier.get())?, inner(later.get())?].into_iter().filter(|part| !part.is_empty()).collect();
    RawValue::from_string(format!("[{}]", both.join(","))).ok()
}

/// A value as text: numbers by value, lookups by id.
fn text_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => {
            let text = number.to_string();
            plain_decimal(&text).unwrap_or(text)
        }
        Some(Value::Object(members)) => text_of(members.get("id")),
        Some(other) => other.to_string(),
    }
}

/// Whether a column's value in a row is the natural key of a parent.
pub(super) fn keyed(rows: &Rows) -> impl Iterator<Item = (usize, &Column)> {
    rows.columns.iter().enumerate().filter(|(_, column)| column.lookup.is_some())
}
