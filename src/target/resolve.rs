//! Keys to ids, before rows are sent: parents by natural key, the record itself, what it holds now.
//!
//! The keys of all record calls of a batch are asked for together, so that a parent named by many rows costs
//! once; a bulk job resolves by itself and needs this only for parents that are to be created. A row whose
//! parent is not there is refused with the key named, never sent without it.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::batch::Step;
use super::config::{Nulls, Operation};
use super::error::Error;
use super::ledger::{Call, Progress, Unit, Way};
use super::lookup::{Found, Missing, Question, ask};
use super::mapping::{Column, LookupBy};
use super::outcome::Outcome;
use super::plan::{Members, record_credits};
use super::replay::Change;
use super::write::{Effort, Job, Laid};
use crate::codec::encode::push_string;
use crate::zoho::api::records::{MAX_ROWS_PER_WRITE, WriteCall};

/// Parents found for a batch, by column.
pub(super) type Parents = BTreeMap<usize, Found>;

/// How often the creation of parents is tried: each time, what is missing is looked up anew.
const CREATE_ATTEMPTS: u32 = 3;

/// What is known about the records that rows go to.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Place of the column that finds the record.
    key: Option<usize>,
    found: Found,
}

impl Job<'_> {
    /// Finds the parents that the calls of a batch need, all at once.
    pub(super) async fn find_parents(&self, calls: &[Call], effort: &mut Effort) -> Result<(), Error> {
        for (place, column) in self.batch.route.columns.iter().enumerate() {
            let Some(lookup) = &column.lookup else { continue };
            let needed = |call: &&Call| {
                let open = matches!(call.progress, Progress::Planned | Progress::Intent);
                open && (!call.way.is_bulk() || lookup.create.is_some())
            };
            let mut keys = Vec::new();
            for unit in calls.iter().filter(needed).flat_map(|call| &call.units) {
                keys.extend(self.key_of(unit, place).await?);
                if keys.len() >= KEYS_AT_ONCE {
                    self.learn(place, lookup, std::mem::take(&mut keys), effort).await?;
                }
            }
            self.learn(place, lookup, keys, effort).await?;
        }
        Ok(())
    }

    /// Asks for parents that are not known yet, and creates those that are to be.
    pub(super) async fn learn(
        &self,
        place: usize,
        lookup: &LookupBy,
        keys: impl IntoIterator<Item = String>,
        effort: &mut Effort,
    ) -> Result<(), Error> {
        let mut parents = self.parents.lock().await;
        let found = parents.entry(place).or_default();
        let unknown = found.unknown(keys);
        if unknown.is_empty() {
            return Ok(());
        }
        let question =
            Question { module: &lookup.module, field: &lookup.field, numeric: lookup.numeric, more: &[] };
        ask(&self.writer.client, question, &unknown, found, effort).await?;
        let missing = found.missing(&unknown);
        match &lookup.create {
            Some(others) if !missing.is_empty() => self.create(lookup, others, missing, found, effort).await,
            _ => Ok(()),
        }
    }

    /// Creates parents. Other batches may need the same ones, so one does it at a time.
    async fn create(
        &self,
        lookup: &LookupBy,
        others: &str,
        mut missing: Vec<String>,
        found: &mut Found,
        effort: &mut Effort,
    ) -> Result<(), Error> {
        let _turn = self.writer.creating.lock().await;
        let client = &self.writer.client;
        let question =
            Question { module: &lookup.module, field: &lookup.field, numeric: lookup.numeric, more: &[] };
        for attempt in 1.. {
            // Another batch, or a call whose answer was lost, may have made them meanwhile.
            ask(client, question, &missing, found, effort).await?;
            missing = found.missing(&missing);
            match self.create_once(lookup, others, &missing, found, effort).await {
                Err(error) if error.in_doubt() && attempt < CREATE_ATTEMPTS => {
                    tracing::warn!(%error, "the answer was lost; missing parents are looked up again");
                }
                Err(error) => {
                    return Err(Error::zoho(format!("cannot create records of {}", lookup.module), error));
                }
                Ok(()) => break,
            }
        }
        Ok(())
    }

    async fn create_once(
        &self,
        lookup: &LookupBy,
        others: &str,
        missing: &[String],
        found: &mut Found,
        effort: &mut Effort,
    ) -> Result<(), crate::zoho::Error> {
        for keys in missing.chunks(MAX_ROWS_PER_WRITE) {
            let write = WriteCall {
                module: lookup.module.clone(),
                duplicate_check_fields: vec![lookup.field.clone()],
                trigger: self.batch.route.trigger.clone(),
                idempotent: false,
                rows: keys.iter().filter_map(|key| parent_row(lookup, others, key)).collect(),
            };
            let answers = self.writer.client.upsert(&write).await?;
            effort.calls += 1;
            effort.credits += record_credits(keys.len() as u64);
            for (key, answer) in keys.iter().zip(answers) {
                match answer.id {
                    Some(id) if answer.success => found.created(key, id.as_str()),
                    _ => found.refuse(key, format!("{} ({})", answer.message, answer.code)),
                }
            }
        }
        Ok(())
    }

    /// The text of a unit's value in a column.
    pub(super) async fn key_of(&self, unit: &Unit, place: usize) -> Result<Option<String>, Error> {
        let laid = self.lay(unit).await?;
        Ok(laid.members.get(&place).map(|raw| plain(raw)).filter(|key| !key.is_empty()))
    }

    /// Looks up the records themselves: those of an update that is not by id, and those whose values decide
    /// what is sent.
    pub(super) async fn known(&self, laid: &[Laid], way: Way, effort: &mut Effort) -> Result<Known, Error> {
        let route = &self.batch.route;
        // A look has seen to it.
        let looked = route.looks() && way != Way::Upsert;
        let key = route.match_on.first().and_then(|field| route.column(field));
        let Some(key) = key.filter(|_| !looked) else {
            return Ok(Known::default());
        };
        let gives_way = |place: &usize| route.columns[*place].nulls == Nulls::SetIfEmpty;
        let more: Vec<String> = (0..route.columns.len())
            .filter(|place| gives_way(place) && laid.iter().any(|one| one.members.contains_key(place)))
            .map(|place| route.columns[place].field.clone())
            .collect();
        let column = &route.columns[key];
        let by_field = way == Way::Update && column.field != "id" && route.operation == Operation::Update;
        if !by_field && more.is_empty() {
            return Ok(Known::default());
        }
        let question = Question {
            module: &route.module,
            field: &column.field,
            numeric: column.kind.is_number(),
            more: &more,
        };
        let mut found = Found::default();
        let keys = found.unknown(laid.iter().filter_map(|one| one.members.get(&key)).map(|raw| plain(raw)));
        ask(&self.writer.client, question, &keys, &mut found, effort).await?;
        Ok(Known { key: Some(key), found })
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
        let own = if by_id.is_some() { None } else { self.own_id(laid, known)? };
        let there = own.as_deref().and_then(|id| known.found.record(id));
        for (place, raw) in &laid.members {
            let column = &route.columns[*place];
            if let Some(lookup) = &column.lookup {
                push_member(&column.field, &mut body);
                push_parent(column, lookup, &plain(raw), parents.get(place), &mut body)?;
            } else if known.key == Some(*place) && way == Way::Update && by_id.is_none() {
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

    /// The id of the record that a row goes to, where it was looked up and is there.
    fn own_id(&self, laid: &Laid, known: &Known) -> Result<Option<String>, Box<Outcome>> {
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

/// Keys held in memory before they are asked for.
const KEYS_AT_ONCE: usize = 25_000;

fn push_parent(
    column: &Column,
    lookup: &LookupBy,
    key: &str,
    found: Option<&Found>,
    body: &mut String,
) -> Result<(), Box<Outcome>> {
    if key.is_empty() {
        body.push_str("null");
        return Ok(());
    }
    match found.map_or(Err(Missing::None), |found| found.id(key)) {
        Ok(id) => {
            body.push_str("{\"id\":");
            push_string(id, body);
            body.push('}');
            Ok(())
        }
        Err(missing) => {
            let mut outcome = missing.outcome(&column.field, &lookup.module, &lookup.field, key);
            if let (Some(text), Some(why)) =
                (&mut outcome.message, found.and_then(|found| found.refusal(key)))
            {
                text.push_str(&format!(", and it could not be created: {why}"));
            }
            Err(Box::new(outcome))
        }
    }
}

/// The row of a parent that is to be created.
fn parent_row(lookup: &LookupBy, others: &str, key: &str) -> Option<Box<RawValue>> {
    let mut body = others.strip_suffix('}')?.to_owned();
    push_member(&lookup.field, &mut body);
    if lookup.numeric {
        body.push_str(key);
    } else {
        push_string(key, &mut body);
    }
    body.push('}');
    RawValue::from_string(body).ok()
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
        if columns[*place].append && raw.get() != "null" {
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
