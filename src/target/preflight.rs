//! A record to the row that will be sent, checked against field metadata before anything is spent.
//!
//! Only what Zoho is known to refuse is refused here: a missing mandatory value of a new record, a value
//! that the field cannot hold (`check`). What Zoho may take is left to Zoho.

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::config::{Nulls, Operation};
use super::mapping::{Column, Route, Source};
use super::outcome::{Action, Outcome};
use super::record::Record;
use crate::codec::encode::{Kind, push_string};
use crate::codec::encode_text::{canonical, scalar_text};

/// A record as it will be sent to one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The JSON object for a record call; a lookup by natural key is still the bare key.
    pub body: String,
    /// The match fields, or the key properties, for results: a JSON object.
    pub identifier: String,
    /// Which columns stand in it, the mark included.
    pub columns: Vec<bool>,
    /// Hash of the stream's key; `None` for a stream without any.
    pub key: Option<u128>,
    /// Hash of `body`.
    pub hash: u128,
    /// Hashes of the match values, as they are and without regard to case; `None` without match fields.
    pub match_key: Option<MatchKey>,
}

/// Identity of a row within its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchKey {
    /// Hash of the values.
    pub exact: u128,
    /// Hash of the values in lower case, where Zoho ignores case.
    pub folded: u128,
}

/// A row that is not to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Names the row.
    pub identifier: String,
    /// Hash of the stream's key, where the row has one and is meant for this module.
    pub key: Option<u128>,
    /// Why.
    pub outcome: Outcome,
}

impl Route {
    /// Maps one record.
    ///
    /// # Errors
    /// [`Refused`] with the outcome of a row that Zoho would not take, or that is not for this module.
    pub fn map(&self, record: &Record<'_>) -> Result<Row, Box<Refused>> {
        let identifier = self.identifier(record);
        let refuse = |outcome: Box<Outcome>| {
            let key = (!self.key_properties.is_empty()).then(|| hash(&self.key_text(record)));
            Box::new(Refused { identifier: identifier.clone(), key, outcome: *outcome })
        };
        if !self.when.is_met(record) {
            return Err(Box::new(Refused {
                identifier,
                key: None,
                outcome: Outcome {
                    message: Some("the `when` of the mapping is not met".to_owned()),
                    ..Outcome::new(Action::Skipped)
                },
            }));
        }
        let mut body = String::with_capacity(record.text().len() + 256);
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let before = body.len();
            append(column, record, &mut body).map_err(refuse)?;
            columns.push(body.len() > before || column.source == Source::Tag);
        }
        self.check_mandatory(record).map_err(refuse)?;
        body.push_str(if body.is_empty() { "{}" } else { "}" });
        let match_key = self.match_key(record).map_err(refuse)?;
        let key = if self.key_properties.is_empty() {
            match_key.map(|key| key.exact)
        } else {
            Some(hash(&self.key_text(record)))
        };
        Ok(Row { hash: hash(&body), key, match_key, identifier, body, columns })
    }

    /// A new record needs its mandatory fields; whether an upsert makes a new one is Zoho's to say.
    fn check_mandatory(&self, record: &Record<'_>) -> Result<(), Box<Outcome>> {
        if matches!(self.operation, Operation::Update | Operation::Delete) {
            return Ok(());
        }
        for column in self.columns.iter().filter(|column| column.mandatory) {
            let Source::Property(path) = &column.source else { continue };
            let missing = match record.at(path).as_deref() {
                None => self.operation == Operation::Insert,
                Some("null") => true,
                Some(json) if json.starts_with('"') => {
                    scalar_text(json).is_some_and(|text| text.trim().is_empty())
                }
                Some(_) => false,
            };
            if missing {
                return Err(refusal(
                    "MANDATORY_NOT_FOUND",
                    Some(column.field.clone()),
                    "required field not found",
                ));
            }
        }
        Ok(())
    }

    fn match_key(&self, record: &Record<'_>) -> Result<Option<MatchKey>, Box<Outcome>> {
        if self.match_on.is_empty() {
            return Ok(None);
        }
        let mut text = String::new();
        let mut found = false;
        for field in &self.match_on {
            let json = self.value_of(field, record);
            let value = json.as_deref().and_then(scalar_text);
            let value = value.as_deref().map_or("", str::trim);
            found |= !value.is_empty();
            text.push_str(value);
            text.push('\0');
        }
        // An insert without a value for its match field still creates a record; the others match nothing.
        if !found {
            return match self.operation {
                Operation::Insert => Ok(None),
                _ => Err(refusal(
                    "MANDATORY_NOT_FOUND",
                    self.match_on.first().cloned(),
                    "the row has no value to match on",
                )),
            };
        }
        let exact = hash(&text);
        let folded = if self.folds_case { hash(&text.to_lowercase()) } else { exact };
        Ok(Some(MatchKey { exact, folded }))
    }

    fn value_of<'a>(&self, field: &str, record: &'a Record<'_>) -> Option<Cow<'a, str>> {
        match &self.columns.get(self.column(field)?)?.source {
            Source::Property(path) => record.at(path),
            Source::Constant(_) | Source::Tag | Source::Record => None,
        }
    }

    /// The row's name in results: its match fields, else its key.
    fn identifier(&self, record: &Record<'_>) -> String {
        let mut names = String::new();
        for field in &self.match_on {
            if let Some(json) = self.value_of(field, record) {
                open_member(field, &mut names);
                names.push_str(&canonical(&json));
            }
        }
        if names.is_empty() {
            for property in &self.key_properties {
                open_member(property, &mut names);
                names.push_str(&canonical(record.get(property).unwrap_or("null")));
            }
        }
        names.push_str(if names.is_empty() { "{}" } else { "}" });
        names
    }

    fn key_text(&self, record: &Record<'_>) -> String {
        let mut text = String::new();
        for property in &self.key_properties {
            text.push_str(&record.get(property).map(canonical).unwrap_or_default());
            text.push('\0');
        }
        text
    }
}

/// Appends the member of a column, if the record has it.
///
/// # Errors
/// The outcome of a row that Zoho would not take.
pub(super) fn append(column: &Column, record: &Record<'_>, body: &mut String) -> Result<(), Box<Outcome>> {
    let json = match &column.source {
        Source::Constant(json) => {
            open_member(&column.field, body);
            body.push_str(json);
            return Ok(());
        }
        Source::Property(path) => record.at(path),
        // Known once the row is in a batch.
        Source::Tag => return Ok(()),
        Source::Record => return append_row(column, record, body),
    };
    let Some(json) = json else { return Ok(()) };
    if json == "null" && (column.nulls != Nulls::Clear || column.rows.is_some()) {
        return Ok(());
    }
    open_member(&column.field, body);
    if let Some(users) = &column.users
        && let Some(email) = scalar_text(&json).filter(|text| !text.is_empty())
    {
        return write_user(users.id(&email, &column.field)?, body);
    }
    if let Some(rows) = &column.rows {
        let value = serde_json::from_str(&json).unwrap_or_default();
        return rows.write(&value, &column.field, body);
    }
    let start = body.len();
    column
        .kind
        .write_record_text(&json, body)
        .map_err(|mismatch| refusal("INVALID_DATA", Some(column.field.clone()), mismatch.to_string()))?;
    let passed = column.check.pass(&body[start..]);
    passed.map_err(|wrong| refusal("INVALID_DATA", Some(column.field.clone()), wrong))
}

/// Appends the record itself as the only row of a subform.
fn append_row(column: &Column, record: &Record<'_>, body: &mut String) -> Result<(), Box<Outcome>> {
    let Some(rows) = &column.rows else { return Ok(()) };
    open_member(&column.field, body);
    body.push('[');
    rows.write_item(record, body)?;
    body.push(']');
    Ok(())
}

fn write_user(id: &str, body: &mut String) -> Result<(), Box<Outcome>> {
    Kind::Lookup
        .write_record(&Value::from(id), body)
        .map_err(|mismatch| refusal("INVALID_DATA", None, mismatch.to_string()))
}

fn refusal(code: &str, field: Option<String>, message: impl Into<String>) -> Box<Outcome> {
    Box::new(Outcome::rejected(code, field, message))
}

fn open_member(name: &str, body: &mut String) {
    body.push(if body.is_empty() { '{' } else { ',' });
    push_string(name, body);
    body.push(':');
}

/// The first 128 bits of SHA-256.
pub fn hash(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::tests::route;
    use serde_json::json;

    fn map(route: &Route, record: Value) -> Result<Row, Box<Outcome>> {
        let text = record.to_string();
        let record = Record::parse(&text).expect("an object");
        route.map(&record).map_err(|refused| Box::new(refused.outcome))
    }

    #[test]
    fn absent_is_left_alone_and_null_clears() {
        let row =
            map(&route(), json!({"email": "a@x", "last_name": "A", "phone": null, "other": 1})).unwrap();
        assert_eq!(row.body, r#"{"Email":"a@x","Last_Name":"A","Phone":null}"#);
        assert_eq!(row.identifier, r#"{"Email":"a@x"}"#);
        let mut keep = route();
        keep.columns.iter_mut().for_each(|column| column.nulls = Nulls::Keep);
        let row = map(&keep, json!({"email": "a@x", "last_name": "A", "phone": null})).unwrap();
        assert_eq!(row.body, r#"{"Email":"a@x","Last_Name":"A"}"#);
    }

    #[test]
    fn what_zoho_would_refuse_is_refused_first() {
        let code = |record| {
            let outcome = map(&route(), record).expect_err("a bad row");
            (outcome.code.unwrap(), outcome.field.unwrap())
        };
        let mandatory = || "MANDATORY_NOT_FOUND".to_owned();
        let invalid = || "INVALID_DATA".to_owned();
        assert_eq!(code(json!({"email": "a", "last_name": null})), (mandatory(), "Last_Name".to_owned()));
        assert_eq!(code(json!({"last_name": "A"})), (mandatory(), "Email".to_owned()));
        assert_eq!(
            code(json!({"email": "a", "last_name": "é".repeat(21)})),
            (invalid(), "Last_Name".to_owned())
        );
        assert_eq!(code(json!({"email": "a", "age": "x"})), (invalid(), "Age".to_owned()));
        assert!(map(&route(), json!({"email": "a", "last_name": "é".repeat(20)})).is_ok());
        // An upsert may change a record that has its name already.
        assert!(map(&route(), json!({"email": "a"})).is_ok());
        let insert = Route { operation: Operation::Insert, ..route() };
        assert!(map(&insert, json!({"email": "a"})).is_err());
    }

    #[test]
    fn keys_tell_case_from_content() {
        let key = |email: &str| {
            map(&route(), json!({"email": email, "last_name": "A"})).unwrap().match_key.unwrap()
        };
        assert_eq!(key("A@x").folded, key("a@X").folded);
        assert_ne!(key("A@x").exact, key("a@X").exact);
        assert_eq!(key(" a@x").exact, key("a@x").exact);
    }
}
