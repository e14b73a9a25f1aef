//! What was written to each key, remembered from run to run: rows that did not change are not sent again.
//!
//! Asked for by `only_changed`, `protect` and mirrors. Something is remembered only after it was accepted,
//! and forgotten when nobody knows what became of it. While a row of a key is under way the ledger is
//! behind, so later rows of that key are sent whole.

use std::collections::HashMap;

use super::batch::Entry;
use super::config::Nulls;
use super::config::Operation;
use super::error::Error;
use super::job::Job;
use super::ledger::{Call, Fingerprints, Ledger, LedgerError, Note, Progress, Seen, StoredBatch, Way};
use super::mapping::{Column, Route};
use super::outcome::{Action, Outcome};
use super::plan::{self, planned_call};
use super::preflight::Row;
use super::spool::SpoolReader;
use super::write::Writer;
use crate::codec::fingerprint::fingerprint;

/// Rows that are remembered in one transaction.
const GROUP: usize = 5_000;

/// A value that is never the same as another: what was sent is not what the field holds then.
pub(super) const NEVER_SAME: &str = "?";

/// What memory says of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nothing.
    New,
    /// It is what was accepted last.
    Unchanged(Outcome),
    /// Some of its columns are; these.
    Partly(Vec<u32>),
}

/// Compares rows with what was accepted last.
#[derive(Debug)]
pub struct Memory {
    ledger: Ledger,
    /// Rows under way, by lane and key.
    under_way: HashMap<(i64, u128), u32>,
}

impl Memory {
    /// Looks into `ledger`.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, under_way: HashMap::new() }
    }

    /// Compares a row that would be sent.
    ///
    /// # Errors
    /// When the ledger fails.
    pub fn judge(&self, lane: i64, memory: i64, route: &Route, row: &Row) -> Result<Judged, Error> {
        let compares = route.conduct.only_changed && route.operation != Operation::Delete;
        let Some(key) = row.key.filter(|_| compares) else { return Ok(Judged::New) };
        if self.under_way.contains_key(&(lane, key)) {
            return Ok(Judged::New);
        }
        let Some(known) = self.ledger.remembered(memory, key)? else { return Ok(Judged::New) };
        // A look at the CRM itself is to decide, if there is to be one.
        if route.conduct.compare_live {
            return Ok(Judged::New);
        }
        if known.hash == Some(row.hash) {
            return Ok(Judged::Unchanged(Outcome::new(Action::Unchanged).with_record(known.record_id)));
        }
        let mine = fingerprints(&row.body, route)?;
        let same = |column: &Column| {
            mine.get(&column.field)
                .is_some_and(|mine| mine != NEVER_SAME && known.fields.get(&column.field) == Some(mine))
        };
        let places = (0_u32..).zip(&route.columns).filter(|(_, column)| same(column)).map(|(place, _)| place);
        Ok(Judged::Partly(places.collect()))
    }

    /// Notes that a row is under way.
    pub fn begin(&mut self, lane: i64, key: Option<u128>) {
        if let Some(key) = key {
            *self.under_way.entry((lane, key)).or_default() += 1;
        }
    }

    /// Notes that rows have their outcomes, which the ledger has, too.
    pub fn end(&mut self, lane: i64, keys: &[u128]) {
        for key in keys {
            if let Some(count) = self.under_way.get_mut(&(lane, *key)) {
                *count -= 1;
                if *count == 0 {
                    self.under_way.remove(&(lane, *key));
                }
            }
        }
    }
}

/// Fingerprint of each field that a row carries.
///
/// # Errors
/// When the body is not what [`Route::map`] made.
pub fn fingerprints(body: &str, route: &Route) -> Result<Fingerprints, Error> {
    let mut all = Fingerprints::new();
    if body.is_empty() {
        return Ok(all);
    }
    for (place, raw) in plan::members(body, route)? {
        let column = &route.columns[place];
        let value = serde_json::from_str(raw.get()).map_err(|error| Error::Spool(error.into()))?;
        let depends = column.append || column.nulls == Nulls::SetIfEmpty;
        let mark = fingerprint(column.kind, &value).filter(|_| !depends);
        // The parent's own key is no id; it compares with itself alone.
        let mark = mark.map(|mark| if column.lookup.is_some() { format!("key:{mark}") } else { mark });
        all.insert(column.field.clone(), mark.unwrap_or_else(|| NEVER_SAME.to_owned()));
    }
    Ok(all)
}

impl Job<'_> {
    /// Takes rows out of an upsert of which only some fields changed: their records are changed by id, with
    /// those fields alone. By upsert, a record that somebody deleted would be created again in part.
    pub(super) async fn with_known_ids(&self, call: &Call) -> Result<Option<Vec<Call>>, Error> {
        if call.way != Way::Upsert || call.progress != Progress::Planned {
            return Ok(None);
        }
        let (mut units, mut notes, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for unit in &call.units {
            let laid = self.lay(unit).await?;
            let known = match laid.first.key.filter(|_| !laid.unchanged.is_empty()) {
                Some(key) => {
                    let lane = self.writer.memory_lane(&self.batch.route)?;
                    self.writer.ledger.remembered(lane, key)?.and_then(|known| known.record_id)
                }
                None => None,
            };
            match known {
                Some(id) => {
                    units.push(unit.clone());
                    notes.push(Note { id: Some(id), omit: laid.unchanged, ..Note::default() });
                }
                None => rest.push(unit.clone()),
            }
        }
        if units.is_empty() {
            return Ok(None);
        }
        let mut calls = vec![Call { notes, ..planned_call(0, Way::Update, units) }];
        if !rest.is_empty() {
            calls.push(planned_call(0, Way::Upsert, rest));
        }
        Ok(Some(calls))
    }
}

impl Writer {
    /// The lane under which a route's rows are remembered: that of the tap, wherever they come from.
    ///
    /// # Errors
    /// When the ledger fails.
    pub(super) fn memory_lane(&self, route: &Route) -> Result<i64, LedgerError> {
        self.ledger.lane(&self.org, "", &route.lane())
    }

    /// Remembers those rows of a batch that `which` names; gives the keys of those that were under way.
    ///
    /// # Errors
    /// When the spool cannot be read or the ledger fails.
    pub(super) fn remember(
        &self,
        batch: &StoredBatch,
        reader: &mut SpoolReader,
        outcomes: &[Outcome],
        which: impl Fn(u32) -> bool,
    ) -> Result<Vec<u128>, Error> {
        if !batch.route.remembers() {
            return Ok(Vec::new());
        }
        let lane = self.memory_lane(&batch.route)?;
        let mut sent = Vec::new();
        let mut group = Vec::new();
        reader.each(|number, entry| -> Result<(), Error> {
            if !which(number) {
                return Ok(());
            }
            if entry.is_sent() {
                sent.extend(entry.key);
            }
            group.extend(seen(entry, &batch.route, &outcomes[number as usize])?);
            if group.len() >= GROUP {
                self.ledger.remember(lane, &batch.route.module, &std::mem::take(&mut group))?;
            }
            Ok(())
        })?;
        self.ledger.remember(lane, &batch.route.module, &group)?;
        Ok(sent)
    }
}

fn seen(entry: Entry, route: &Route, outcome: &Outcome) -> Result<Option<Seen>, Error> {
    let Some(key) = entry.key else { return Ok(None) };
    Ok(Some(Seen {
        key,
        hash: entry.hash,
        fields: fingerprints(&entry.body, route)?,
        version: entry.version,
        identifier: entry.identifier,
        outcome: outcome.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::conduct::Conduct;
    use crate::target::record::Record;
    use serde_json::json;

    #[test]
    fn only_what_changed_is_left_and_rows_under_way_are_sent_whole() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let route = Route {
            conduct: Conduct { only_changed: true, ..Conduct::default() },
            ..crate::target::tests::route()
        };
        let row = |phone: &str| {
            let record = json!({"email": "a@x", "last_name": "A", "phone": phone});
            route.map(&Record::parse(&record.to_string()).unwrap()).unwrap()
        };
        let (old, new) = (row("1"), row("2"));
        let accepted = Seen {
            key: old.key.unwrap(),
            hash: old.hash,
            fields: fingerprints(&old.body, &route).unwrap(),
            version: None,
            identifier: old.identifier.clone(),
            outcome: Outcome::new(Action::Inserted).with_record(Some("5".to_owned())),
        };
        ledger.remember(9, "Contacts", &[accepted]).unwrap();
        let mut memory = Memory::new(ledger);
        let judged = memory.judge(1, 9, &route, &old).unwrap();
        assert!(matches!(judged, Judged::Unchanged(outcome) if outcome.record_id.as_deref() == Some("5")));
        assert_eq!(memory.judge(1, 9, &route, &new).unwrap(), Judged::Partly(vec![0, 1]));
        memory.begin(1, new.key);
        assert_eq!(memory.judge(1, 9, &route, &old).unwrap(), Judged::New, "the ledger is behind");
        memory.end(1, &[new.key.unwrap()]);
        assert!(matches!(memory.judge(1, 9, &route, &old).unwrap(), Judged::Unchanged(_)));
    }
}
