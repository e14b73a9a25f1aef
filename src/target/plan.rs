//! A closed batch to the calls that write it: what goes by bulk job, what by record call.
//!
//! Rows that share a match value become one unit. Units are grouped by the set of fields they carry, since
//! a bulk file writes all of its columns: an absent field has to be left alone while a null clears. A group
//! goes by bulk job where that is allowed and cheaper, everything else by record calls of 100.
//!
//! | way | price | source |
//! | --- | --- | --- |
//! | record call | 1 credit per 10 rows, rounded up | Zoho CRM API, credits of insert, update, upsert |
//! | keys it has to look up | 1 credit per 50 | "COQL"; parents once per batch, records by their own key |
//! | bulk write | 500 credits per file of up to 25,000 rows | "Bulk Write"; break-even at 5,000 rows without lookups |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::batch::Step;
use super::config::{Method, Nulls, Operation};
use super::error::Error;
use super::ledger::{Call, Progress, Unit, Way};
use super::lookup;
use super::mapping::{Column, Route};
use super::nested;
use super::parents::{self, Slot};
use super::spool::SpoolReader;
use super::waiting::Behind;
use super::write::Effort;
use crate::codec::json;
use crate::zoho::api::bulk_write::{MAX_COLUMNS, MAX_ROWS_PER_FILE};
use crate::zoho::api::records::MAX_ROWS_PER_WRITE;
use crate::zoho::credits::delete_price;

/// Credits of one bulk write job. Source: Zoho CRM API, credits per call.
pub const BULK_JOB_CREDITS: u64 = 500;

/// Credits of record calls that write so many rows.
pub fn record_credits(rows: u64) -> u64 {
    rows.div_ceil(10)
}

/// Members of a row, in order of the JSON.
pub type Members = BTreeMap<usize, Box<serde_json::value::RawValue>>;

/// Which rows of a batch are planned, and which of them have to wait.
#[derive(Debug, Default, Clone, Copy)]
pub struct Scope<'a> {
    /// Only these entries, if any are named.
    pub only: Option<&'a HashSet<u32>>,
    /// Records with earlier rows that wait.
    pub behind: Option<&'a Behind>,
}

/// Plans the calls of a batch.
///
/// # Errors
/// When the spool file cannot be read.
pub fn plan(
    reader: &mut SpoolReader,
    route: &Route,
    method: Method,
    scope: Scope<'_>,
) -> Result<Vec<Call>, Error> {
    let mut units: Vec<(Unit, Kinds)> = Vec::new();
    let mut by_key: HashMap<u128, usize> = HashMap::new();
    let mut waiting: HashSet<u32> = HashSet::new();
    for number in 0..reader.heads()?.len() as u32 {
        if scope.only.is_some_and(|only| !only.contains(&number)) {
            continue;
        }
        let Some(kinds) = Kinds::of(reader, number, route)? else { continue };
        let head = reader.head(number)?;
        let known = head.match_key;
        if known.is_some_and(|key| scope.behind.is_some_and(|behind| behind.has(key))) {
            waiting.insert(number);
        }
        if let Some(&place) = known.and_then(|key| by_key.get(&key)).filter(|_| head.step == Step::Send) {
            let (unit, all) = &mut units[place];
            unit.push(number);
            all.join(&kinds);
        } else {
            if let Some(key) = known {
                by_key.insert(key, units.len());
            }
            units.push((vec![number], kinds));
        }
    }
    drop(by_key);
    let (waiting, units): (Vec<_>, Vec<_>) =
        units.into_iter().partition(|(unit, _)| unit.iter().any(|number| waiting.contains(number)));
    let mut calls = calls(units, route, method);
    if !waiting.is_empty() {
        let units = waiting.into_iter().map(|(unit, _)| unit).collect();
        let call = planned_call(calls.len() as u32, record_way(route), units);
        calls.push(Call { progress: Progress::Waiting, ..call });
    }
    Ok(calls)
}

/// What decides the way of a unit.
struct Kinds {
    way: Way,
    columns: Vec<bool>,
    /// Hashes of the natural keys of parents, by column.
    keys: Keys,
}

/// Hashes of natural keys, by column.
type Keys = Vec<(Slot, u64)>;

fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Kinds {
    /// None for a row that is not sent.
    fn of(reader: &mut SpoolReader, number: u32, route: &Route) -> Result<Option<Self>, Error> {
        let way = match &reader.head(number)?.step {
            Step::Decided(_) => return Ok(None),
            Step::Change(super::replay::Change::ById(_)) => Way::Update,
            Step::Change(super::replay::Change::ByMatch) => Way::Upsert,
            Step::Send => record_way(route),
        };
        let names_no_parent = |column: &Column| column.lookup.is_none() && column.rows.is_none();
        if route.columns.iter().all(names_no_parent)
            && let Some(columns) = reader.columns(number)?
        {
            return Ok(Some(Self { way, columns: columns.to_vec(), keys: Keys::new() }));
        }
        Self::read(way, reader.body(number)?, route).map(Some)
    }

    /// By looking at what is sent.
    fn read(way: Way, body: &str, route: &Route) -> Result<Self, Error> {
        let mut columns = vec![false; route.columns.len()];
        let mut keys = Keys::new();
        for (place, value) in walk(body, route)? {
            let column = &route.columns[place];
            let names_parent = column.lookup.is_some() && value != "null";
            // A bulk job leaves such a lookup to the second pass.
            columns[place] = !(names_parent && column.comes_second());
            if names_parent {
                keys.push(((place, None), hashed(value)));
            }
            let Some(rows) = &column.rows else { continue };
            for item in nested::items(value) {
                for (inner, column) in nested::keyed(rows) {
                    let key = item.get(&column.field).filter(|key| !key.is_null());
                    keys.extend(key.map(|key| ((place, Some(inner)), hashed(&key.to_string()))));
                }
            }
        }
        if let Some(place) = route.tag_place() {
            columns[place] = true;
        }
        Ok(Self { way, columns, keys })
    }

    fn join(&mut self, later: &Self) {
        for (have, new) in self.columns.iter_mut().zip(&later.columns) {
            *have |= new;
        }
        self.keys.extend(&later.keys);
    }
}

/// The record call of a route's operation.
pub fn record_way(route: &Route) -> Way {
    if route.looks() {
        return Way::Look;
    }
    match route.operation {
        Operation::Insert => Way::Insert,
        Operation::Update => Way::Update,
        Operation::Upsert | Operation::Mirror => Way::Upsert,
        Operation::Delete => Way::Delete,
    }
}

/// The members of a body by column.
///
/// # Errors
/// When the body is not what [`Route::map`] made.
pub fn members(body: &str, route: &Route) -> Result<Members, Error> {
    let object: HashMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(body).map_err(|source| Error::Spool(source.into()))?;
    Ok(object.into_iter().filter_map(|(field, value)| Some((route.column(&field)?, value))).collect())
}

/// The members of a body by column, in the order of the columns, each as its text.
///
/// # Errors
/// When the body is not what [`Route::map`] made.
pub fn walk<'a>(body: &'a str, route: &Route) -> std::io::Result<Vec<(usize, &'a str)>> {
    let mut found = Vec::with_capacity(route.columns.len());
    let mut members = json::Members::of(body);
    // They stand in the order of the columns.
    let mut next = 0;
    for (field, value) in members.by_ref() {
        let behind = route.columns[next..].iter().position(|column| column.field == field);
        if let Some(place) = behind.map(|at| next + at).or_else(|| route.column(field)) {
            found.push((place, value));
            next = place + 1;
        }
    }
    let cut = || std::io::Error::new(std::io::ErrorKind::InvalidData, "a row is cut");
    if !found.is_sorted_by_key(|(place, _)| *place) {
        found.sort_by_key(|(place, _)| *place);
    }
    members.was_whole().then_some(found).ok_or_else(cut)
}

/// Credits of looking up the distinct keys of some rows; with `only`, of those columns alone.
fn lookup_credits<'a>(keys: impl Iterator<Item = &'a Keys>, only: impl Fn(Slot) -> bool) -> u64 {
    let mut distinct: BTreeMap<Slot, HashSet<u64>> = BTreeMap::new();
    for (place, key) in keys.flatten().filter(|(place, _)| only(*place)) {
        distinct.entry(*place).or_default().insert(*key);
    }
    distinct.values().map(|keys| lookup::price(keys.len())).sum()
}

/// Whether missing parents of a column are created.
fn creates(route: &Route, slot: Slot) -> bool {
    parents::lookup_at(route, slot).is_some_and(|lookup| lookup.create.is_some())
}

/// Whether each row of a record call is looked up by its own key.
fn looks_up_itself(route: &Route, columns: &[bool]) -> bool {
    let by_field =
        route.operation == Operation::Update && route.match_on.first().is_none_or(|name| name != "id");
    let gives_way = |(column, present): (&Column, &bool)| {
        let has_rows = column.rows.as_ref().is_some_and(|rows| !rows.match_on.is_empty());
        *present && (column.nulls == Nulls::SetIfEmpty || has_rows && route.operation != Operation::Insert)
    };
    by_field || route.looks() || route.columns.iter().zip(columns).any(gives_way)
}

/// Whether a bulk job writes these rows for fewer credits than record calls do, lookups included.
fn bulk_is_cheaper(file: &[(Unit, Keys)], columns: &[bool], route: &Route) -> bool {
    let rows = file.len() as u64;
    let keys = || file.iter().map(|(_, keys)| keys);
    let itself = if looks_up_itself(route, columns) { lookup::price(file.len()) } else { 0 };
    let by_records = record_credits(rows) + itself + lookup_credits(keys(), |_| true);
    // A job finds parents by itself, but makes none.
    let creates = |slot: Slot| creates(route, slot);
    BULK_JOB_CREDITS + lookup_credits(keys(), creates) < by_records
}

fn calls(units: Vec<(Unit, Kinds)>, route: &Route, method: Method) -> Vec<Call> {
    let mut groups: BTreeMap<Vec<bool>, Vec<(Unit, Keys)>> = BTreeMap::new();
    let mut singles: Vec<(Way, Unit)> = Vec::new();
    for (unit, kinds) in units {
        if kinds.way == record_way(route) && can_bulk(route, &kinds.columns) && method != Method::Records {
            groups.entry(kinds.columns).or_default().push((unit, kinds.keys));
        } else {
            singles.push((kinds.way, unit));
        }
    }
    let mut planned: Vec<(Way, Vec<Unit>)> = Vec::new();
    for (columns, group) in groups {
        for file in chunks(group, MAX_ROWS_PER_FILE) {
            let bulk = method == Method::Bulk || bulk_is_cheaper(&file, &columns, route);
            let units = file.into_iter().map(|(unit, _)| unit);
            if bulk {
                let way = if route.looks() { Way::Look } else { Way::Bulk };
                planned.push((way, units.collect()));
            } else {
                singles.extend(units.map(|unit| (record_way(route), unit)));
            }
        }
    }
    // Groups were taken apart; the record calls follow the input again.
    singles.sort_by_key(|(_, unit)| unit[0]);
    for way in [Way::Insert, Way::Update, Way::Upsert, Way::Delete, Way::Look] {
        let of_way: Vec<Unit> =
            singles.iter().filter(|(one, _)| *one == way).map(|(_, unit)| unit.clone()).collect();
        planned.extend(chunks(of_way, MAX_ROWS_PER_WRITE).map(|units| (way, units)));
    }
    let calls = planned.into_iter().enumerate();
    calls.map(|(number, (way, units))| planned_call(number as u32, way, units)).collect()
}

/// What calls will cost, lookups included; what they create besides is not known before.
///
/// # Errors
/// When the spool file cannot be read.
pub fn price(reader: &mut SpoolReader, route: &Route, calls: &[Call]) -> Result<Effort, Error> {
    let by_records: HashSet<u32> = calls
        .iter()
        .filter(|call| !call.way.is_bulk())
        .flat_map(|call| call.units.iter().flatten().copied())
        .collect();
    let mut keys: Vec<Keys> = Vec::new();
    let (mut themselves, mut second) = (0, 0);
    let comes_second = |(place, _): Slot| route.columns[place].comes_second();
    let creates = |slot: Slot| creates(route, slot);
    for number in 0..reader.heads()?.len() as u32 {
        let Some(mut kinds) = Kinds::of(reader, number, route)? else { continue };
        second += u64::from(kinds.keys.iter().any(|(slot, _)| comes_second(*slot)));
        if by_records.contains(&number) {
            themselves += usize::from(looks_up_itself(route, &kinds.columns));
        } else {
            kinds.keys.retain(|(slot, _)| creates(*slot) || comes_second(*slot));
        }
        keys.push(kinds.keys);
    }
    let looks = if route.looks() { route.match_on.len() as u64 } else { 1 };
    let mut effort = Effort::default();
    for call in calls {
        let job = call.way == Way::Look && record_credits(call.units.len() as u64) > BULK_JOB_CREDITS;
        if call.way.is_bulk() || job {
            effort.jobs += 1;
            effort.credits += BULK_JOB_CREDITS;
        } else {
            effort.calls += 1;
            effort.credits += match call.way {
                Way::Delete => delete_price(call.units.len()),
                _ => record_credits(call.units.len() as u64),
            };
        }
    }
    effort.credits += lookup_credits(keys.iter(), |_| true) + lookup::price(themselves) * looks;
    // At most: a parent that is there already needs no second pass.
    effort.calls += second.div_ceil(MAX_ROWS_PER_WRITE as u64);
    effort.credits += record_credits(second);
    Ok(effort)
}

/// A call of which nothing was sent.
pub fn planned_call(number: u32, way: Way, units: Vec<Unit>) -> Call {
    Call { number, way, units, notes: Vec::new(), progress: Progress::Planned, job: None, resent: false }
}

/// Whether Bulk Write takes rows with these columns; a create needs every mandatory field mapped.
pub(super) fn can_bulk(route: &Route, present: &[bool]) -> bool {
    let mandatory = route.operation == Operation::Update
        || route.columns.iter().zip(present).all(|(column, present)| !column.mandatory || *present);
    let matched = route.match_on.iter().all(|field| route.column(field).is_some_and(|place| present[place]));
    // Which automations run can only be said to record calls.
    let fits = |(column, present): (&Column, &bool)| !present || column.fits_bulk();
    let plain = route.bulk && route.trigger.is_none() && route.columns.iter().zip(present).all(fits);
    plain
        && mandatory
        && (matched || route.looks())
        && present.iter().filter(|present| **present).count() <= MAX_COLUMNS
}

fn chunks<T>(mut items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        if items.is_empty() {
            return None;
        }
        let rest = items.split_off(size.min(items.len()));
        Some(std::mem::replace(&mut items, rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::mapping::LookupBy;
    use crate::target::tests::route;

    fn unit(number: u32, columns: [bool; 4]) -> (Unit, Kinds) {
        (vec![number], Kinds { way: Way::Upsert, columns: columns.to_vec(), keys: Keys::new() })
    }

    fn shape(calls: &[Call]) -> Vec<(Way, usize)> {
        calls.iter().map(|call| (call.way, call.units.len())).collect()
    }

    #[test]
    fn groups_below_break_even_go_by_record_calls() {
        let all = [true; 4];
        let few = [true, true, false, false];
        let units: Vec<_> = (0..6_000).map(|n| unit(n, if n % 60 == 0 { few } else { all })).collect();
        let calls = calls(units, &route(), Method::Auto);
        assert_eq!(shape(&calls), [(Way::Bulk, 5_900), (Way::Upsert, 100)]);
        assert!(calls[0].number < calls[1].number);
    }

    #[test]
    fn lookups_count_in_the_price() {
        let mut route = route();
        let parent = |create: Option<&str>| LookupBy {
            module: "Accounts".to_owned(),
            field: "Key".to_owned(),
            numeric: false,
            findable: true,
            create: create.map(str::to_owned),
            waits: None,
        };
        let units = |rows: u32, parents: u32| -> Vec<_> {
            let keys = |n: u32| vec![((2, None), u64::from(n % parents))];
            (0..rows).map(|n| (vec![n], Kinds { keys: keys(n), ..unit(n, [true; 4]).1 })).collect()
        };
        let ways = |route: &Route, rows, parents| calls(units(rows, parents), route, Method::Auto)[0].way;
        route.columns[2].lookup = Some(parent(None));
        // 440 credits of calls and 88 of lookups against 500.
        assert_eq!(ways(&route, 4_400, 4_400), Way::Bulk);
        assert_eq!(ways(&route, 4_400, 100), Way::Upsert);
        route.columns[2].lookup = Some(parent(Some("{}")));
        assert_eq!(ways(&route, 4_400, 4_400), Way::Upsert, "what is to be created is looked up either way");
    }

    #[test]
    fn a_method_can_be_forced() {
        let units = || (0..250).map(|n| unit(n, [true; 4])).collect();
        assert_eq!(shape(&calls(units(), &route(), Method::Bulk)), [(Way::Bulk, 250)]);
        let by_records = [(Way::Upsert, 100), (Way::Upsert, 100), (Way::Upsert, 50)];
        assert_eq!(shape(&calls(units(), &route(), Method::Auto)), by_records);
        assert_eq!(shape(&calls(units(), &route(), Method::Records)), by_records);
    }

    #[test]
    fn a_create_without_its_mandatory_field_is_no_bulk_job() {
        let units = vec![unit(0, [true, false, true, true]), unit(1, [true; 4])];
        assert_eq!(shape(&calls(units, &route(), Method::Bulk)), [(Way::Bulk, 1), (Way::Upsert, 1)]);
    }
}
