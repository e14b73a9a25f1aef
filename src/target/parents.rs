//! Parents named by a natural key: found for all rows of a batch together, and created where they are to be.
//!
//! A parent named by many rows costs once; a bulk job resolves by itself and needs this only for parents that
//! are to be created. A row whose parent is not there is refused with the key named, never sent without it,
//! unless it waits (`second`).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::error::Error;
use super::job::{Job, Laid};
use super::ledger::{Call, Progress};
use super::lookup::{Found, Missing, Question, ask};
use super::mapping::{Column, LookupBy, Route};
use super::nested;
use super::outcome::Outcome;
use super::plan::record_credits;
use super::resolve::{plain, push_member};
use super::write::Effort;
use crate::codec::encode::{push_string, scalar};
use crate::zoho::api::records::{MAX_ROWS_PER_WRITE, WriteCall};

/// A column, or a column of the rows that one holds.
pub(super) type Slot = (usize, Option<usize>);

/// Parents found for a batch, by column.
pub(super) type Parents = BTreeMap<Slot, Found>;

/// How the parents of a column are found, if by a natural key.
pub(super) fn lookup_at(route: &Route, (place, inner): Slot) -> Option<&LookupBy> {
    let column = &route.columns[place];
    match inner {
        None => column.lookup.as_ref(),
        Some(inner) => column.rows.as_ref()?.columns[inner].lookup.as_ref(),
    }
}

/// All columns whose parents are found by a natural key.
pub(super) fn slots(route: &Route) -> Vec<Slot> {
    let inner = |(place, column): (usize, &Column)| {
        let nested =
            column.rows.iter().flat_map(|rows| nested::keyed(rows)).map(|(inner, _)| (place, Some(inner)));
        let own = column.lookup.iter().map(|_| (place, None));
        own.chain(nested).collect::<Vec<Slot>>()
    };
    route.columns.iter().enumerate().flat_map(inner).collect()
}

/// The natural keys of a row in a column.
pub(super) fn keys_at(laid: &Laid, route: &Route, (place, inner): Slot) -> Vec<String> {
    let Some(raw) = laid.members.get(&place) else { return Vec::new() };
    let (Some(inner), Some(rows)) = (inner, &route.columns[place].rows) else { return vec![plain(raw)] };
    let field = &rows.columns[inner].field;
    nested::items(raw.get()).iter().filter_map(|item| item.get(field).and_then(scalar)).collect()
}

/// How often the creation of parents is tried: each time, what is missing is looked up anew.
const CREATE_ATTEMPTS: u32 = 3;

/// Keys held in memory before they are asked for.
const KEYS_AT_ONCE: usize = 25_000;

impl Job<'_> {
    /// Finds the parents that the calls of a batch need, all at once.
    pub(super) async fn find_parents(&self, calls: &[Call], effort: &mut Effort) -> Result<(), Error> {
        let route = &self.batch.route;
        for slot in slots(route) {
            let creates = lookup_at(route, slot).is_some_and(|lookup| lookup.create.is_some());
            let needed = |call: &&Call| {
                let open = matches!(call.progress, Progress::Planned | Progress::Intent);
                open && (!call.way.is_bulk() || creates)
            };
            let mut keys = Vec::new();
            for unit in calls.iter().filter(needed).flat_map(|call| &call.units) {
                keys.extend(keys_at(&self.lay(unit).await?, route, slot));
                if keys.len() >= KEYS_AT_ONCE {
                    self.learn(slot, std::mem::take(&mut keys), effort).await?;
                }
            }
            self.learn(slot, keys, effort).await?;
        }
        Ok(())
    }

    /// Finds the parents of rows that were meant for a bulk job; those of others are known already.
    pub(super) async fn learn_all(&self, laid: &[Laid], effort: &mut Effort) -> Result<(), Error> {
        let route = &self.batch.route;
        for slot in slots(route) {
            let keys: Vec<String> = laid.iter().flat_map(|one| keys_at(one, route, slot)).collect();
            self.learn(slot, keys, effort).await?;
        }
        Ok(())
    }

    /// Asks for parents that are not known yet, and creates those that are to be.
    pub(super) async fn learn(
        &self,
        slot: Slot,
        keys: Vec<String>,
        effort: &mut Effort,
    ) -> Result<(), Error> {
        let Some(lookup) = lookup_at(&self.batch.route, slot) else { return Ok(()) };
        let mut parents = self.parents.lock().await;
        let found = parents.entry(slot).or_default();
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
}

pub(super) fn push_parent(
    field: &str,
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
            let mut outcome = missing.outcome(field, &lookup.module, &lookup.field, key);
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
