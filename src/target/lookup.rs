//! Records found by a field of theirs: parents by natural key, targets of an update by key.
//!
//! Bulk Write does this by itself (`find_by`); for record calls COQL is asked, 50 values a query, which is
//! what all versions of the limits page agree on. A key that finds nothing, or more than one record, is
//! reported, never guessed. Which keys are asked for, and when, is in `resolve`. Follows the v8 page "COQL".

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use super::error::Error;
use super::outcome::Outcome;
use super::write::Effort;
use crate::codec::encode::scalar;
use crate::zoho::Client;

/// Values of one `in` list. Source: Zoho CRM API, "COQL, Limitations" (50 in one place, 100 in another).
const VALUES_PER_QUERY: usize = 50;

/// Rows asked for: more than values, so that a key found twice shows.
const ROWS_PER_QUERY: u32 = 200;

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Module of the records.
    pub module: &'a str,
    /// Their field.
    pub field: &'a str,
    /// Whether values are written without quotes.
    pub numeric: bool,
    /// Further fields that are wanted.
    pub more: &'a [String],
}

/// What was found: ids by key.
#[derive(Debug, Default)]
pub struct Found {
    ids: HashMap<String, Vec<String>>,
    /// Keys that were asked for.
    asked: HashSet<String>,
    /// The records, where further fields were wanted.
    records: HashMap<String, Map<String, Value>>,
    /// Why a missing record could not be created.
    refused: HashMap<String, String>,
}

/// A key without exactly one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// No record has it.
    None,
    /// Several have it.
    Several,
}

impl Missing {
    /// The outcome of a row that names such a key.
    pub fn outcome(self, column: &str, module: &str, field: &str, key: &str) -> Outcome {
        let (code, text) = match self {
            Self::None => ("RESOURCE_NOT_FOUND", format!("no record of {module} has {field} \"{key}\"")),
            Self::Several => {
                ("AMBIGUOUS_KEY", format!("more than one record of {module} has {field} \"{key}\""))
            }
        };
        Outcome::rejected(code, Some(column.to_owned()), text)
    }
}

impl Found {
    /// The id of the one record with that key.
    ///
    /// # Errors
    /// [`Missing`] when there is not exactly one.
    pub fn id(&self, key: &str) -> Result<&str, Missing> {
        let exact = self.ids.get(key);
        match exact.or_else(|| self.ids.get(&folded(key))).map(Vec::as_slice) {
            Some([id]) => Ok(id),
            Some([_, _, ..]) => Err(Missing::Several),
            Some([]) | None => Err(Missing::None),
        }
    }

    /// The record of an id, with the further fields that were wanted.
    pub fn record(&self, id: &str) -> Option<&Map<String, Value>> {
        self.records.get(id)
    }

    /// Those of `keys` that nobody asked for yet, each once.
    pub fn unknown(&self, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        let new = keys.into_iter().filter(|key| !key.is_empty() && !self.asked.contains(key));
        new.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Forgets that some keys were not found: records may have come meanwhile.
    pub fn forget_missing(&mut self) {
        let ids = &self.ids;
        self.asked.retain(|key| ids.contains_key(key) || ids.contains_key(&folded(key)));
    }

    /// Those of `keys` that no record has.
    pub fn missing(&self, keys: &[String]) -> Vec<String> {
        keys.iter().filter(|key| self.id(key) == Err(Missing::None)).cloned().collect()
    }

    /// Notes that a missing record was created.
    pub fn created(&mut self, key: &str, id: &str) {
        self.add(key.to_owned(), id);
    }

    /// Notes why a missing record was not created.
    pub fn refuse(&mut self, key: &str, why: String) {
        self.refused.insert(key.to_owned(), why);
    }

    /// Why a missing record was not created, if that was tried.
    pub fn refusal(&self, key: &str) -> Option<&str> {
        self.refused.get(key).map(String::as_str)
    }

    fn add(&mut self, key: String, id: &str) {
        let fold = folded(&key);
        for name in [Some(fold).filter(|fold| *fold != key), Some(key)].into_iter().flatten() {
            let ids = self.ids.entry(name).or_default();
            if ids.iter().all(|known| known != id) {
                ids.push(id.to_owned());
            }
        }
    }
}

/// Zoho compares text without regard to case; an exact hit counts first.
fn folded(key: &str) -> String {
    format!("\0{}", key.trim().to_lowercase())
}

/// Finds the records of `keys` and adds them to what was found before.
///
/// # Errors
/// When a query fails.
pub async fn ask(
    client: &Client,
    question: Question<'_>,
    keys: &[String],
    found: &mut Found,
    effort: &mut Effort,
) -> Result<(), Error> {
    for some in keys.chunks(VALUES_PER_QUERY) {
        let query = query(question, some);
        let page = client.coql(&query, ROWS_PER_QUERY).await.map_err(|error| {
            Error::zoho(format!("cannot look up {} of {}", question.field, question.module), error)
        })?;
        effort.credits += 1;
        for record in &page.records {
            let Ok(Value::Object(row)) = serde_json::from_str::<Value>(record.get()) else { continue };
            let (Some(id), Some(key)) =
                (row.get("id").and_then(scalar), row.get(question.field).and_then(scalar))
            else {
                continue;
            };
            found.add(key, &id);
            if !question.more.is_empty() {
                found.records.insert(id, row);
            }
        }
        found.asked.extend(some.iter().cloned());
    }
    Ok(())
}

/// Credits of the queries for so many keys.
pub fn price(keys: usize) -> u64 {
    keys.div_ceil(VALUES_PER_QUERY) as u64
}

fn query(question: Question<'_>, keys: &[String]) -> String {
    let literal = |key: &String| {
        if question.numeric {
            key.clone()
        } else {
            format!("'{}'", key.replace('\\', "\\\\").replace('\'', "\\'"))
        }
    };
    let list: Vec<String> = keys.iter().map(literal).collect();
    let mut fields = vec!["id"];
    fields.extend((question.field != "id").then_some(question.field));
    fields.extend(question.more.iter().map(String::as_str).filter(|name| *name != question.field));
    format!(
        "select {fields} from {module} where {field} in ({list}) limit {ROWS_PER_QUERY}",
        fields = fields.join(", "),
        field = question.field,
        module = question.module,
        list = list.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_unless_they_are_numbers() {
        let question = Question { module: "Accounts", field: "Name", numeric: false, more: &[] };
        let text = query(question, &["O'Neil".into(), "b\\".into()]);
        assert_eq!(text, r"select id, Name from Accounts where Name in ('O\'Neil', 'b\\') limit 200");
        assert!(query(Question { numeric: true, ..question }, &["7".into()]).contains("in (7)"));
    }

    #[test]
    fn one_record_or_none() {
        let mut found = Found::default();
        found.add("ALFKI".into(), "1");
        found.add("twin".into(), "2");
        found.add("twin".into(), "3");
        found.add("Case".into(), "4");
        found.add("case".into(), "5");
        assert_eq!(found.id("ALFKI"), Ok("1"));
        assert_eq!(found.id("alfki"), Ok("1"));
        assert_eq!(found.id("Case"), Ok("4"));
        assert_eq!(found.id("CASE"), Err(Missing::Several));
        assert_eq!(found.id("twin"), Err(Missing::Several));
        assert_eq!(found.id("nope"), Err(Missing::None));
    }
}
