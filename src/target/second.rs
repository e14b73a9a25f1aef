//! Rows whose parents are not there yet, in one batch: what waits, and lookups that are set in a second pass.
//!
//! | where parents may come | a row without its parent |
//! | --- | --- |
//! | from a stream of the config | is not sent; its call stands in the ledger as waiting |
//! | and refer back to such rows (a lookup to the own module, or in a ring) | is written without the lookup; the call that sets it follows |
//! | from nowhere | is refused, the key named |
//!
//! What a call leaves for later is written down before it is sent, so that a run after a kill knows it. A
//! bulk job leaves all lookups of the second kind for later, since it looks for no parents before it runs.
//! When no more rows come, what still waits is refused; a row that was written without its lookup keeps its
//! record, which the outcome names.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::config::Method;
use super::error::Error;
use super::job::{Job, Laid};
use super::ledger::{Call, Note, Progress, Unit, Way};
use super::look::noted;
use super::lookup::{self, Found, Missing, Question, ask};
use super::mapping::Waits;
use super::outcome::{Action, Outcome};
use super::parents::{Parents, keys_at, lookup_at, slots};
use super::plan::{BULK_JOB_CREDITS, record_credits};
use super::resolve::plain;
use super::write::{Effort, Told};
use crate::zoho::api::bulk_write::MAX_ROWS_PER_FILE;
use crate::zoho::api::records::MAX_ROWS_PER_WRITE;

/// Whether parents may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// More rows may come: what lacks its parent waits.
    Waits,
    /// None will come: it is refused.
    Ends,
}

/// Keys by which it is found out, for one credit, whether any parents of a bulk job are there at all.
const SAMPLE: usize = 50;

/// What a unit lacks.
enum Lacks {
    /// Nothing that keeps it from being sent, but lookups in these columns are left out.
    Lookups(Vec<u32>),
    /// What it cannot be sent without.
    Parent,
}

impl Job<'_> {
    /// The calls that take the place of a record call some of whose rows lack parents, if any do.
    pub(super) async fn without_parents(
        &self,
        call: &Call,
        laid: &[Laid],
        effort: &mut Effort,
    ) -> Result<Option<Vec<Call>>, Error> {
        let route = &self.batch.route;
        if !route.waits() || call.progress != Progress::Planned {
            return Ok(None);
        }
        self.learn_all(laid, effort).await?;
        let waits = self.patience == Patience::Waits;
        let known = match route.waits_for_record && waits {
            true => Some(self.known(laid, call.way, effort).await?),
            false => None,
        };
        let parents = self.parents.lock().await;
        let (mut ready, mut waiting, mut changed) = (Vec::new(), Vec::new(), false);
        for (place, (unit, one)) in call.units.iter().zip(laid).enumerate() {
            let mut note = call.notes.get(place).cloned().unwrap_or_default();
            let no_record = known.as_ref().is_some_and(|known| matches!(self.id_of(one, known), Ok(None)));
            match self.lacks(one, call.way, &parents) {
                Lacks::Parent if waits => waiting.push((unit.clone(), note)),
                _ if no_record => waiting.push((unit.clone(), note)),
                Lacks::Parent => ready.push((unit.clone(), note)),
                Lacks::Lookups(later) => {
                    changed |= !later.is_empty();
                    note.later.extend(later);
                    ready.push((unit.clone(), note));
                }
            }
        }
        if waiting.is_empty() && !changed {
            return Ok(None);
        }
        let mut calls = Vec::new();
        if !ready.is_empty() {
            calls.push(Call { resent: call.resent, ..noted(call.way, &ready) });
        }
        if !waiting.is_empty() {
            calls.push(Call { progress: Progress::Waiting, ..noted(call.way, &waiting) });
        }
        Ok(Some(calls))
    }

    fn lacks(&self, laid: &Laid, way: Way, parents: &Parents) -> Lacks {
        let route = &self.batch.route;
        let mut later = Vec::new();
        for slot in slots(route) {
            let waits = lookup_at(route, slot).and_then(|lookup| lookup.waits);
            let (Some(waits), Some(found)) = (waits, parents.get(&slot)) else { continue };
            let missing = |key: String| !key.is_empty() && found.id(&key) == Err(Missing::None);
            if !keys_at(laid, route, slot).into_iter().any(missing) {
                continue;
            }
            if waits == Waits::Row || way.comes_second() {
                return Lacks::Parent;
            }
            later.push(slot.0 as u32);
        }
        Lacks::Lookups(later)
    }

    /// What takes the place of a bulk job of whose parents none is there: its rows wait, or are looked up one
    /// by one once none will come. A job would refuse them all, for its full price.
    pub(super) async fn without_any_parent(
        &self,
        call: &Call,
        effort: &mut Effort,
    ) -> Result<Option<Vec<Call>>, Error> {
        let waits = self.patience == Patience::Waits;
        if call.progress != Progress::Planned || !waits && !self.may_fall_back() {
            return Ok(None);
        }
        let route = &self.batch.route;
        for slot in slots(route) {
            let counts = match lookup_at(route, slot).and_then(|lookup| lookup.waits) {
                Some(Waits::Row) => !call.way.comes_second(),
                Some(Waits::Lookup) => call.way.comes_second(),
                None => false,
            };
            if !counts {
                continue;
            }
            let mut sample = BTreeSet::new();
            for unit in &call.units {
                sample.extend(
                    keys_at(&self.lay(unit).await?, route, slot).into_iter().filter(|key| !key.is_empty()),
                );
                if sample.len() >= SAMPLE {
                    break;
                }
            }
            // Each row has one; a row without a key waits for nothing.
            let all_named = sample.len() >= SAMPLE.min(call.units.len());
            let sample: Vec<String> = sample.into_iter().take(SAMPLE).collect();
            self.learn(slot, sample.clone(), effort).await?;
            let parents = self.parents.lock().await;
            let none = parents.get(&slot).is_some_and(|found| found.missing(&sample).len() == sample.len());
            if none && all_named && !sample.is_empty() {
                let mut others = match waits {
                    true => call.parts(call.way, &call.units, call.units.len()),
                    false => self.by_records(call, &call.units),
                };
                if waits {
                    others.iter_mut().for_each(|call| call.progress = Progress::Waiting);
                }
                return Ok(Some(others));
            }
        }
        Ok(None)
    }

    /// Whether a bulk job refused a row because of a parent that may still come.
    pub(super) fn lacks_parent(&self, call: &Call, outcome: &Outcome) -> bool {
        let route = &self.batch.route;
        let blamed = outcome.field.as_ref().and_then(|field| route.column(field));
        let lookup = blamed.and_then(|place| route.columns[place].lookup.as_ref());
        let waits = lookup.and_then(|lookup| lookup.waits);
        let refused = outcome.action == Action::Rejected && self.patience == Patience::Waits;
        refused && (waits == Some(Waits::Row) || waits.is_some() && call.way.comes_second())
    }

    /// The columns that a unit was written without.
    pub(super) async fn left_for_later(
        &self,
        call: &Call,
        place: usize,
        outcome: &Outcome,
    ) -> Result<Vec<u32>, Error> {
        let columns = &self.batch.route.columns;
        if call.way.comes_second() || !outcome.is_written() || !columns.iter().any(|one| one.comes_second()) {
            return Ok(Vec::new());
        }
        if !call.way.is_bulk() {
            return Ok(call.notes.get(place).map(|note| note.later.clone()).unwrap_or_default());
        }
        let laid = self.lay(&call.units[place]).await?;
        let named =
            laid.members.iter().filter(|(place, raw)| columns[**place].comes_second() && raw.get() != "null");
        Ok(named.map(|(place, _)| *place as u32).collect())
    }

    /// The second pass: sets the lookups of rows that were written without them.
    pub(super) async fn set_lookups(&self, told: &mut Told, effort: &mut Effort) -> Result<(), Error> {
        let ledger = &self.writer.ledger;
        let (mut calls, mut units, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for call in ledger.calls(&self.batch.id)?.into_iter().filter(|call| call.way.comes_second()) {
            match call.progress {
                Progress::Planned | Progress::Waiting => {
                    numbers.push(call.number);
                    units.extend(call.units.into_iter().zip(call.notes));
                }
                Progress::Intent | Progress::Submitted => calls.push(call),
                Progress::Done => {}
            }
        }
        if !units.is_empty() {
            self.name_records(&mut units, effort).await?;
            let mut planned = self.plan_second(units).await?;
            ledger.replace_calls(&self.batch.id, &numbers, &mut planned)?;
            calls.extend(planned);
        }
        self.parents.lock().await.values_mut().for_each(Found::forget_missing);
        self.find_parents(&calls, effort).await?;
        self.run_all(calls, told, effort).await
    }

    /// Looks up records whose id the first pass did not tell.
    async fn name_records(&self, units: &mut [(Unit, Note)], effort: &mut Effort) -> Result<(), Error> {
        let route = &self.batch.route;
        let Some(place) = route.match_on.first().and_then(|field| route.column(field)) else { return Ok(()) };
        let column = &route.columns[place];
        let mut keys = BTreeMap::new();
        for (number, (unit, _)) in units.iter().enumerate().filter(|(_, (_, note))| note.id.is_none()) {
            keys.extend(self.key_of(unit, place).await?.map(|key| (number, key)));
        }
        let question = Question {
            module: &route.module,
            field: &column.field,
            numeric: column.kind.is_number(),
            more: &[],
        };
        let mut found = Found::default();
        let wanted = found.unknown(keys.values().cloned());
        ask(&self.writer.client, question, &wanted, &mut found, effort).await?;
        for (number, key) in keys {
            units[number].1.id = found.id(&key).ok().map(str::to_owned);
        }
        Ok(())
    }

    /// The calls of the second pass, by bulk job where that is cheaper.
    async fn plan_second(&self, units: Vec<(Unit, Note)>) -> Result<Vec<Call>, Error> {
        let (route, method) = (&self.batch.route, self.writer.config.method);
        let mut groups: BTreeMap<Vec<u32>, Vec<(Unit, Note)>> = BTreeMap::new();
        for (unit, note) in units {
            groups.entry(note.later.clone()).or_default().push((unit, note));
        }
        let mut calls = Vec::new();
        for (later, group) in groups {
            let named = group.iter().all(|(_, note)| note.id.is_some());
            let fits = later.iter().all(|place| route.columns[*place as usize].fits_bulk());
            let can = route.bulk && route.trigger.is_none() && fits && named && method != Method::Records;
            if can
                && (method == Method::Bulk || self.by_records_costs(&later, &group).await? > BULK_JOB_CREDITS)
            {
                calls.extend(group.chunks(MAX_ROWS_PER_FILE).map(|some| noted(Way::BulkLookups, some)));
            } else {
                calls.extend(group.chunks(MAX_ROWS_PER_WRITE).map(|some| noted(Way::Lookups, some)));
            }
        }
        Ok(calls)
    }

    /// Credits of record calls that set lookups.
    async fn by_records_costs(&self, later: &[u32], group: &[(Unit, Note)]) -> Result<u64, Error> {
        let mut keys: BTreeMap<u32, HashSet<String>> = BTreeMap::new();
        for (unit, _) in group {
            let laid = self.lay(unit).await?;
            for place in later {
                let key = laid.members.get(&(*place as usize)).map(|raw| plain(raw));
                keys.entry(*place).or_default().extend(key);
            }
        }
        let lookups: u64 = keys.values().map(|keys| lookup::price(keys.len())).sum();
        Ok(record_credits(group.len() as u64) + lookups)
    }
}

/// What is told of a row whose lookup could not be set.
pub(super) fn unset(outcome: Outcome, note: &Note) -> Outcome {
    let why = outcome.message.as_deref().unwrap_or("Zoho refused it");
    let message = Some(format!("{why}; the row is written without it"));
    Outcome { message, partly: true, ..outcome }.with_record(note.id.clone())
}
