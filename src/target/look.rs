//! A look into the CRM before rows are sent: which records they mean, and what those hold now.
//!
//! Needed where Zoho's own matching does not do: several match fields in order of priority, an `id` that may
//! be missing, `compare_live` and `protect`. The records are asked for by COQL, 50 keys for a credit; then
//! the call gives way to others that update by id and insert the rest. What was found out stands in the
//! ledger with them, so that a run after a crash goes on from there. Between the look and the write somebody
//! may still change a record; with bulk jobs that time is longer.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};

use super::config::{Method, Nulls, Operation};
use super::error::Error;
use super::job::{ByEntry, CALLS_AT_ONCE, Job, Laid, first_error_first};
use super::ledger::{Call, Fingerprints, Note, Unit, Way};
use super::lookup::{Found, Missing, Question, ask};
use super::mapping::{Column, Route, Source};
use super::memory::NEVER_SAME;
use super::outcome::{Action, Outcome};
use super::plan::{self, BULK_JOB_CREDITS, planned_call, record_credits};
use super::resolve::{is_empty, plain};
use super::write::Effort;
use crate::codec::fingerprint::fingerprint;
use crate::zoho::api::bulk_write::MAX_ROWS_PER_FILE;
use crate::zoho::api::records::MAX_ROWS_PER_WRITE;

/// Units with what was found out about them, by whether they create a record, and by their columns.
type Groups = BTreeMap<(bool, Vec<usize>), Vec<(Unit, Note)>>;

/// What a look says of a unit.
enum Verdict {
    /// There is nothing to send.
    Decided(Outcome),
    /// Change this record.
    Update(Note),
    /// Create one.
    Insert(Note),
}

impl Route {
    /// Whether rows are looked up before they are sent.
    pub fn looks(&self) -> bool {
        let by_several = self.match_on.len() > 1;
        let by_missing_id =
            self.operation == Operation::Upsert && self.match_on.iter().any(|name| name == "id");
        self.operation != Operation::Delete
            && !self.match_on.is_empty()
            && (by_several || by_missing_id || self.conduct.looks_first())
    }

    /// Fields whose present values decide what is sent.
    fn looked_at(&self) -> Vec<String> {
        let wanted = |column: &&Column| {
            (self.conduct.looks_first() && is_compared(column)) || column.nulls == Nulls::SetIfEmpty
        };
        self.columns.iter().filter(wanted).map(|column| column.field.clone()).collect()
    }
}

/// Whether the value of a column can be compared with what a record holds.
fn is_compared(column: &Column) -> bool {
    let plain = column.lookup.is_none() && column.rows.is_none();
    plain && column.source != Source::Tag && !column.append && column.field != "id"
}

impl Job<'_> {
    /// Looks up the records of a call and sends its rows by the calls that follow from it.
    pub(super) async fn run_look(&self, call: Call, effort: &mut Effort) -> Result<ByEntry, Error> {
        let mut laid = Vec::with_capacity(call.units.len());
        for unit in &call.units {
            laid.push(self.lay(unit).await?);
        }
        let found = self.look(&laid, effort).await?;
        let (mut decided, mut outcomes) = (Vec::new(), Vec::new());
        let mut groups: Groups = BTreeMap::new();
        for (unit, one) in call.units.iter().zip(&laid) {
            let (creates, note) = match self.verdict(one, &found)? {
                Verdict::Decided(outcome) => {
                    decided.push(unit.clone());
                    outcomes.push(outcome);
                    continue;
                }
                Verdict::Update(note) => (false, note),
                Verdict::Insert(note) => (true, note),
            };
            let columns = one.members.keys().copied().filter(|place| !note.leaves_out(*place)).collect();
            groups.entry((creates, columns)).or_default().push((unit.clone(), note));
        }
        drop(laid);
        let decided = planned_call(0, Way::Look, decided);
        let mut others = vec![decided];
        others.extend(self.following(groups));
        self.writer.ledger.replace_calls(&self.batch.id, &[call.number], &mut others)?;
        let mut done = self.done(&others[0], outcomes).await?;
        let rest: Vec<Result<(ByEntry, Effort), Error>> = stream::iter(others.into_iter().skip(1))
            .map(|other| async move {
                let mut spent = Effort::default();
                let rows = Box::pin(self.run_call(other, &mut spent)).await?;
                Ok((rows, spent))
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .collect()
            .await;
        for ended in first_error_first(rest) {
            let (rows, spent) = ended?;
            done.extend(rows);
            effort.add(spent);
        }
        Ok(done)
    }

    /// The calls for units of the same kind and columns: by bulk job where that is cheaper.
    fn following(&self, groups: Groups) -> Vec<Call> {
        let (route, method) = (&self.batch.route, self.writer.config.method);
        let mut calls = Vec::new();
        let mut singles: BTreeMap<bool, Vec<(Unit, Note)>> = BTreeMap::new();
        for ((creates, columns), units) in groups {
            let mut present = vec![false; route.columns.len()];
            columns.iter().for_each(|place| present[*place] = true);
            let can = plan::can_bulk(route, &present) && method != Method::Records;
            let pays = method == Method::Bulk || record_credits(units.len() as u64) > BULK_JOB_CREDITS;
            if can && pays {
                let way = if creates { Way::BulkInsert } else { Way::BulkUpdate };
                calls.extend(units.chunks(MAX_ROWS_PER_FILE).map(|units| noted(way, units)));
            } else {
                singles.entry(creates).or_default().extend(units);
            }
        }
        for (creates, mut units) in singles {
            // Groups were taken apart; the record calls follow the input again.
            units.sort_by_key(|(unit, _)| unit[0]);
            let way = if creates { Way::Insert } else { Way::Update };
            calls.extend(units.chunks(MAX_ROWS_PER_WRITE).map(|units| noted(way, units)));
        }
        calls
    }

    /// Records by each match field, with the fields that are looked at.
    async fn look(&self, laid: &[Laid], effort: &mut Effort) -> Result<Vec<(usize, Found)>, Error> {
        let route = &self.batch.route;
        let more = route.looked_at();
        let mut all = Vec::new();
        for field in &route.match_on {
            let Some(place) = route.column(field) else { continue };
            let mut found = Found::default();
            // An id is believed, unless the values behind it matter.
            if field != "id" || !more.is_empty() {
                let numeric = field == "id" || route.columns[place].kind.is_number();
                let question = Question { module: &route.module, field, numeric, more: &more };
                let keys = found.unknown(laid.iter().filter_map(|one| text(one, place)));
                ask(&self.writer.client, question, &keys, &mut found, effort).await?;
            }
            all.push((place, found));
        }
        Ok(all)
    }

    fn verdict(&self, laid: &Laid, found: &[(usize, Found)]) -> Result<Verdict, Error> {
        let route = &self.batch.route;
        let own_id = route.column("id").map(|place| place as u32);
        let nothing = Note { omit: own_id.into_iter().collect(), ..Note::default() };
        for (place, found) in found {
            let Some(key) = text(laid, *place) else { continue };
            let column = &route.columns[*place];
            let id = match found.id(&key) {
                Ok(id) => id.to_owned(),
                Err(Missing::None) if column.field == "id" => key.clone(),
                Err(Missing::None) => continue,
                Err(several) => {
                    let outcome = several.outcome(&column.field, &route.module, &column.field, &key);
                    return Ok(Verdict::Decided(outcome));
                }
            };
            if route.operation == Operation::Insert {
                return Ok(Verdict::Decided(Outcome::new(Action::Skipped).with_record(Some(id))));
            }
            return match found.record(&id) {
                Some(record) => self.compared(laid, Note { id: Some(id), ..nothing }, record),
                None => Ok(Verdict::Update(Note { id: Some(id), ..nothing })),
            };
        }
        if route.operation != Operation::Update {
            return Ok(Verdict::Insert(nothing));
        }
        let names = route.match_on.join(", ");
        Ok(Verdict::Decided(Outcome::rejected(
            "RESOURCE_NOT_FOUND",
            route.match_on.first().cloned(),
            format!("no record of {} has this {names}", route.module),
        )))
    }

    /// Leaves out what the record holds already, and what somebody else changed.
    fn compared(&self, laid: &Laid, mut note: Note, record: &Map<String, Value>) -> Result<Verdict, Error> {
        let route = &self.batch.route;
        let last = if route.conduct.protect { self.last_written(laid)? } else { Fingerprints::new() };
        let mut differs = false;
        for (place, raw) in &laid.members {
            let column = &route.columns[*place];
            let live = record.get(&column.field).unwrap_or(&Value::Null);
            if column.nulls == Nulls::SetIfEmpty && !is_empty(Some(live)) {
                note.omit.push(*place as u32);
            } else if !is_compared(column) || !route.conduct.looks_first() {
                differs |= column.source != Source::Tag && column.field != "id";
            } else {
                let mine = serde_json::from_str(raw.get()).map_err(|error| Error::Spool(error.into()))?;
                let (live, mine) = (fingerprint(column.kind, live), fingerprint(column.kind, &mine));
                let written = last.get(&column.field).filter(|mark| *mark != NEVER_SAME);
                if live == mine {
                    if route.conduct.compare_live {
                        note.omit.push(*place as u32);
                    }
                } else if written.is_some_and(|written| live.as_ref() != Some(written)) {
                    note.omit.push(*place as u32);
                    note.kept.push(column.field.clone());
                } else {
                    differs = true;
                }
            }
        }
        if differs {
            return Ok(Verdict::Update(note));
        }
        let outcome = note.told(Outcome::new(Action::Unchanged).with_record(note.id.clone()));
        Ok(Verdict::Decided(outcome))
    }

    /// Fingerprints of what was last written to the key of a unit.
    fn last_written(&self, laid: &Laid) -> Result<Fingerprints, Error> {
        let Some(key) = laid.first.key else { return Ok(Fingerprints::new()) };
        let lane = self.writer.memory_lane(&self.batch.route)?;
        Ok(self.writer.ledger.remembered(lane, key)?.map(|known| known.fields).unwrap_or_default())
    }
}

impl Note {
    /// Whether a column is not sent.
    pub fn leaves_out(&self, place: usize) -> bool {
        self.omit.contains(&(place as u32))
    }

    /// Adds to an outcome which fields were left to others.
    pub fn told(&self, outcome: Outcome) -> Outcome {
        if self.kept.is_empty() || outcome.message.is_some() {
            return outcome;
        }
        let message = format!("left alone, since somebody changed them: {}", self.kept.join(", "));
        Outcome { message: Some(message), ..outcome }
    }
}

pub(super) fn noted(way: Way, units: &[(Unit, Note)]) -> Call {
    let (units, notes) = units.iter().cloned().unzip();
    Call { notes, ..planned_call(0, way, units) }
}

fn text(laid: &Laid, place: usize) -> Option<String> {
    laid.members.get(&place).map(|raw| plain(raw)).filter(|text| !text.trim().is_empty())
}
