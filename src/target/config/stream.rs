//! What is done with the rows of a stream: module, operation, conditions, fields.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::read::{child, flag_at, known_keys, need_text, not_one_of, object, text_at, texts};
use super::{ConfigError, Result};
use crate::target::condition::Condition;
use crate::target::conduct::{self, Conduct};

/// What is done with the rows of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Create; rows that exist already, by a unique match field, are skipped.
    Insert,
    /// Change, never create.
    Update,
    /// Change or create.
    Upsert,
    /// Delete.
    Delete,
    /// Change or create, and delete what a whole table does not have any more.
    Mirror,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Mirror => "mirror",
        })
    }
}

/// What a value does to a field. An absent property always leaves the field alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// An explicit null empties the field.
    #[default]
    Clear,
    /// An explicit null leaves the field alone.
    Keep,
    /// A value is written only where the field is empty; a null leaves it alone.
    SetIfEmpty,
}

impl Nulls {
    fn read(value: Option<&Value>, pointer: &str) -> Result<Option<Self>> {
        Ok(Some(match text_at(value, pointer)? {
            None => return Ok(None),
            Some("clear") => Self::Clear,
            Some("keep") => Self::Keep,
            Some("set_if_empty") => Self::SetIfEmpty,
            Some(other) => return Err(not_one_of(pointer, other, "clear, keep, set_if_empty")),
        }))
    }
}

/// One module that a stream is written to.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamTarget {
    /// API name of the module.
    pub module: String,
    /// Which rows go there; the others are skipped.
    pub when: Condition,
    /// What is done; `None` means what key and metadata suggest.
    pub operation: Option<Operation>,
    /// Fields that find the existing record; empty means what key and metadata suggest.
    pub match_on: Vec<String>,
    /// Which property goes to which field; `None` means same names, all that exist.
    pub fields: Option<Vec<FieldRule>>,
    /// Fields with the same value in every row.
    pub constants: Map<String, Value>,
    /// What an explicit null does, where the field does not say it.
    pub nulls: Nulls,
    /// Whether the rows are rows of a subform of that module.
    pub rows_of: Option<RowsOf>,
    /// Name or id of the layout that records get.
    pub layout: Option<String>,
    /// Which automations run; `None` means what the whole config says.
    pub trigger: Option<Vec<String>>,
    /// How the stream deals with what is there already.
    pub conduct: Conduct,
    /// The field that gets a key made of the row, where an Airbyte platform's rows need one. It is no setting.
    pub row_key: Option<String>,
    /// JSON pointer of this object in the config, for errors.
    pub pointer: String,
}

impl StreamTarget {
    /// What a stream gets that the config does not name: the module of its name.
    pub fn by_name(stream: &str) -> Self {
        Self {
            module: stream.to_owned(),
            when: Condition::default(),
            operation: None,
            match_on: Vec::new(),
            fields: None,
            constants: Map::new(),
            nulls: Nulls::Clear,
            rows_of: None,
            layout: None,
            trigger: None,
            conduct: Conduct::default(),
            row_key: None,
            pointer: child("/streams", stream),
        }
    }
}

/// One property to one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldRule {
    /// The property of the stream, or a JSON pointer to something inside of one.
    pub property: String,
    /// API name of the field.
    pub to: String,
    /// For a lookup: the field of the parent that the property holds, instead of its id.
    pub lookup_by: Option<String>,
    /// For a lookup by natural key: parents that are not there are created, with these fields besides.
    pub create_missing: Option<Map<String, Value>>,
    /// What an explicit null does; `None` means what the stream says.
    pub nulls: Option<Nulls>,
    /// For a multi-select picklist: options are added to those the record has.
    pub append: bool,
    /// For a subform: how the rows in the property's list are written.
    pub rows: Option<RowsRule>,
    /// JSON pointer of the rule, for errors.
    pub pointer: String,
}

/// How rows of a subform are written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowsRule {
    /// Which member of a row goes to which field of the subform.
    pub fields: Vec<FieldRule>,
    /// Fields that find a row again among those the record has; without any, every row is a new one.
    pub match_on: Vec<String>,
    /// Whether rows that are not in the list are removed.
    pub delete_others: bool,
    /// JSON pointer of the rule, for errors.
    pub pointer: String,
}

/// For a stream whose rows are rows of a subform: where they belong.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsOf {
    /// The subform's field in the module.
    pub field: String,
    /// The property that holds the record's key.
    pub property: String,
    /// The field that has this key.
    pub key: String,
    /// How the rows are written.
    pub rule: RowsRule,
}

impl FieldRule {
    /// A property to the field of that name.
    pub fn plain(property: &str, to: &str, pointer: String) -> Self {
        Self {
            property: property.to_owned(),
            to: to.to_owned(),
            lookup_by: None,
            create_missing: None,
            nulls: None,
            append: false,
            rows: None,
            pointer,
        }
    }
}

pub(super) fn streams(value: Option<&Value>) -> Result<BTreeMap<String, Vec<StreamTarget>>> {
    let mut streams = BTreeMap::new();
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(streams) };
    for (stream, value) in object(value, "/streams")? {
        let pointer = child("/streams", stream);
        let targets = match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(place, item)| stream_target(stream, item, &format!("{pointer}/{place}")))
                .collect::<Result<_>>()?,
            one => vec![stream_target(stream, one, &pointer)?],
        };
        streams.insert(stream.clone(), targets);
    }
    Ok(streams)
}

const STREAM_KEYS: [&str; 10] = [
    "module",
    "when",
    "operation",
    "match_on",
    "fields",
    "constants",
    "nulls",
    "rows_of",
    "layout",
    "trigger",
];

fn stream_target(stream: &str, value: &Value, pointer: &str) -> Result<StreamTarget> {
    let keys = object(value, pointer)?;
    known_keys(keys, &[&STREAM_KEYS[..], &conduct::KEYS].concat(), pointer, "a stream")?;
    let at = |key: &str| (keys.get(key), child(pointer, key));
    let text = |key: &str| text_at(keys.get(key), &child(pointer, key));
    let (when, when_pointer) = at("when");
    let (match_on, match_on_pointer) = at("match_on");
    let (nulls, nulls_pointer) = at("nulls");
    Ok(StreamTarget {
        module: text("module")?.unwrap_or(stream).to_owned(),
        when: Condition::read(when, &when_pointer)?,
        operation: operation(keys.get("operation"), &child(pointer, "operation"))?,
        match_on: texts(match_on, &match_on_pointer, "field names")?,
        fields: fields(keys.get("fields"), &child(pointer, "fields"))?,
        constants: match keys.get("constants") {
            None | Some(Value::Null) => Map::new(),
            Some(value) => object(value, &child(pointer, "constants"))?.clone(),
        },
        nulls: Nulls::read(nulls, &nulls_pointer)?.unwrap_or_default(),
        rows_of: rows_of(keys, pointer)?,
        layout: text("layout")?.map(str::to_owned),
        trigger: trigger(keys.get("trigger"), &child(pointer, "trigger"))?,
        conduct: Conduct::from_json(keys, pointer)?,
        row_key: None,
        pointer: pointer.to_owned(),
    })
}

/// Automations that a write may start. Source: Zoho CRM API, "Insert Records", `trigger`.
const TRIGGERS: [&str; 5] = ["workflow", "approval", "blueprint", "pathfinder", "orchestration"];

/// Reads a list of automations; an empty one means none.
pub(super) fn trigger(value: Option<&Value>, pointer: &str) -> Result<Option<Vec<String>>> {
    if value.is_none_or(Value::is_null) {
        return Ok(None);
    }
    let names = texts(value, pointer, "automations")?;
    match names.iter().position(|name| !TRIGGERS.contains(&name.as_str())) {
        Some(place) => Err(not_one_of(&format!("{pointer}/{place}"), &names[place], &TRIGGERS.join(", "))),
        None => Ok(Some(names)),
    }
}

fn operation(value: Option<&Value>, pointer: &str) -> Result<Option<Operation>> {
    Ok(match text_at(value, pointer)? {
        None => None,
        Some("insert") => Some(Operation::Insert),
        Some("update") => Some(Operation::Update),
        Some("upsert") => Some(Operation::Upsert),
        Some("delete") => Some(Operation::Delete),
        Some("mirror") => Some(Operation::Mirror),
        Some(other) => {
            return Err(not_one_of(pointer, other, "insert, update, upsert, delete, mirror"));
        }
    })
}

fn fields(value: Option<&Value>, pointer: &str) -> Result<Option<Vec<FieldRule>>> {
    let mut rules = Vec::new();
    match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => {
            for (place, item) in items.iter().enumerate() {
                let pointer = format!("{pointer}/{place}");
                let name = need_text(Some(item), &pointer)?;
                rules.push(FieldRule::plain(&name, &name, pointer));
            }
        }
        Some(value) => {
            for (property, value) in object(value, pointer)? {
                let pointer = child(pointer, property);
                match value {
                    Value::Array(items) => {
                        for (place, item) in items.iter().enumerate() {
                            rules.push(field_rule(property, item, format!("{pointer}/{place}"))?);
                        }
                    }
                    one => rules.push(field_rule(property, one, pointer)?),
                }
            }
        }
    }
    Ok(Some(rules))
}

const FIELD_KEYS: [&str; 6] = ["to", "match", "create_missing", "nulls", "append", "rows"];

fn field_rule(property: &str, value: &Value, pointer: String) -> Result<FieldRule> {
    let keys = match value {
        Value::String(to) => return Ok(FieldRule::plain(property, to, pointer)),
        Value::Object(keys) => keys,
        _ => {
            return Err(ConfigError::new(
                pointer,
                "must be a field name, or an object with `to` and what else is to be said",
            ));
        }
    };
    known_keys(keys, &FIELD_KEYS, &pointer, "a field")?;
    let to = need_text(keys.get("to"), &child(&pointer, "to"))?;
    let lookup_by = text_at(keys.get("match"), &child(&pointer, "match"))?.map(str::to_owned);
    let create_missing = create_missing(keys.get("create_missing"), &child(&pointer, "create_missing"))?;
    if create_missing.is_some() && lookup_by.is_none() {
        return Err(ConfigError::new(
            child(&pointer, "create_missing"),
            "only a lookup by natural key can create what is missing",
        )
        .with_hint("name the field of the parent with `match`"));
    }
    Ok(FieldRule {
        lookup_by,
        create_missing,
        nulls: Nulls::read(keys.get("nulls"), &child(&pointer, "nulls"))?,
        append: flag_at(keys.get("append"), &child(&pointer, "append"))?,
        rows: rows_rule(keys.get("rows"), &child(&pointer, "rows"))?,
        ..FieldRule::plain(property, &to, pointer)
    })
}

const ROWS_KEYS: [&str; 3] = ["fields", "match_on", "others"];

fn rows_rule(value: Option<&Value>, pointer: &str) -> Result<Option<RowsRule>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let keys = object(value, pointer)?;
    known_keys(keys, &ROWS_KEYS, pointer, "the rows of a subform")?;
    let delete_others = match text_at(keys.get("others"), &child(pointer, "others"))? {
        None | Some("keep") => false,
        Some("delete") => true,
        Some(other) => return Err(not_one_of(&child(pointer, "others"), other, "keep, delete")),
    };
    let rule = RowsRule {
        fields: fields(keys.get("fields"), &child(pointer, "fields"))?.unwrap_or_default(),
        match_on: texts(keys.get("match_on"), &child(pointer, "match_on"), "field names")?,
        delete_others,
        pointer: pointer.to_owned(),
    };
    if rule.fields.is_empty() {
        return Err(ConfigError::new(child(pointer, "fields"), "the rows need fields"));
    }
    if rule.delete_others && rule.match_on.is_empty() {
        return Err(ConfigError::new(child(pointer, "others"), "other rows are known only by `match_on`"));
    }
    Ok(Some(rule))
}

/// `{"field": subform, "by": {property: field of the module}}`; fields and match are those of the stream.
fn rows_of(entry: &Map<String, Value>, pointer: &str) -> Result<Option<RowsOf>> {
    let Some(value) = entry.get("rows_of").filter(|value| !value.is_null()) else { return Ok(None) };
    let at = child(pointer, "rows_of");
    let keys = object(value, &at)?;
    known_keys(keys, &["field", "by"], &at, "`rows_of`")?;
    let by = object(keys.get("by").unwrap_or(&Value::Null), &child(&at, "by"))?;
    let mut by = by.iter();
    let (Some((property, key)), None) = (by.next(), by.next()) else {
        return Err(ConfigError::new(
            child(&at, "by"),
            "names one property and the field that has its value",
        ));
    };
    let rule = RowsRule {
        fields: fields(entry.get("fields"), &child(pointer, "fields"))?.unwrap_or_default(),
        match_on: texts(entry.get("match_on"), &child(pointer, "match_on"), "field names")?,
        delete_others: false,
        pointer: pointer.to_owned(),
    };
    if rule.fields.is_empty() {
        return Err(ConfigError::new(child(pointer, "fields"), "the rows need fields"));
    }
    Ok(Some(RowsOf {
        field: need_text(keys.get("field"), &child(&at, "field"))?,
        property: property.clone(),
        key: need_text(Some(key), &child(&child(&at, "by"), property))?,
        rule,
    }))
}

/// `true`, or the fields that a created parent gets besides its key.
fn create_missing(value: Option<&Value>, pointer: &str) -> Result<Option<Map<String, Value>>> {
    match value {
        Some(Value::Object(fields)) => Ok(Some(fields.clone())),
        other => Ok(flag_at(other, pointer)?.then(Map::new)),
    }
}
