//! Runs a checked query on a store.
//!
//! Rows come in id order unless the query says otherwise. Order by id, ascending or not, and order by
//! one column of the module walk a sorted list and stop when the page is full; bounds that the
//! `where` clause puts on that column decide where the walk starts. Texts that an indexed column has to
//! hold are looked up. Anything else sorts all matches.

use super::ast::Aggregate;
use super::check::{Output, Plan};
use super::total::Total;
use crate::emulator::filter::Filter;
use crate::emulator::path::Path;
use crate::emulator::store::{Row, Store, View};
use crate::emulator::value::{Decimal, Id, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// One page of an answer.
#[derive(Debug)]
pub struct Page<T> {
    /// At most as many as the query's limit.
    pub rows: Vec<T>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// Runs a query without aggregates.
pub fn rows<'a>(plan: &Plan, store: &'a Store) -> Page<Row<'a>> {
    let view = store.view_at(plan.module);
    let id = view.module.index_of("id");
    let is_id = |path: &Path| path.own_place() == id;
    let matching = |row: &Row<'a>| matches(&plan.filter, *row);
    let one_column = match plan.order_by.as_slice() {
        [] => None,
        [(path, descending)] => Some((path, *descending)),
        // The id only settles ties, which it does anyway.
        [(path, false), (last, false)] if is_id(last) => Some((path, false)),
        _ => return sorted(plan, view.rows().filter(matching)),
    };
    let candidates = || candidates(plan, view, &is_id);
    match one_column {
        None => page(plan, candidates().filter(matching)),
        Some((path, false)) if is_id(path) => page(plan, candidates().filter(matching)),
        Some((path, true)) if is_id(path) => page(plan, candidates().rev().filter(matching)),
        Some((path, descending)) => match path.own_place() {
            Some(place) => in_column_order(plan, view, place, descending),
            None => sorted(plan, view.rows().filter(matching)),
        },
    }
}

fn matches(filter: &Filter<Path>, row: Row<'_>) -> bool {
    filter.matches(&|path| Cow::Owned(path.value(row)))
}

/// Rows among which all that match are, ids ascending.
fn candidates<'a>(
    plan: &Plan,
    view: View<'a>,
    is_id: &impl Fn(&Path) -> bool,
) -> Box<dyn DoubleEndedIterator<Item = Row<'a>> + 'a> {
    let is_quick = |path: &Path, values: &[Value]| {
        path.own_place().is_some_and(|place| view.tells_quickly(place, values))
    };
    match plan.filter.among(&is_quick) {
        Some((path, values)) => Box::new(view.holding(path.first_place(), values)),
        None => Box::new(in_id_range(view, plan.filter.bounds(is_id))),
    }
}

fn in_id_range<'a>(
    view: View<'a>,
    (low, high): (Option<&Value>, Option<&Value>),
) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
    let after = low.and_then(Value::as_id).unwrap_or(0).saturating_sub(1);
    let last = high.and_then(Value::as_id).unwrap_or(Id::MAX);
    view.rows_after(after).filter(move |row| row.id <= last)
}

/// Walks the ids that the store keeps in the order of one column.
fn in_column_order<'a>(plan: &Plan, view: View<'a>, place: u16, descending: bool) -> Page<Row<'a>> {
    let ids = view.sorted_by(place);
    let (low, high) = plan.filter.bounds(&|path: &Path| path.own_place() == Some(place));
    let value = |id: &Id| view.get(*id).map_or(Value::Null, |row| row.get(place));
    let from = low.map_or(0, |low| ids.partition_point(|id| value(id).compare(low) == Some(Ordering::Less)));
    let to = high.map_or(ids.len(), |high| {
        ids.partition_point(|id| value(id).compare(high) != Some(Ordering::Greater))
    });
    let range = &ids[from.min(to)..to];
    let found = |id: &Id| view.get(*id).filter(|row| matches(&plan.filter, *row));
    if descending {
        page(plan, range.iter().rev().filter_map(found))
    } else {
        page(plan, range.iter().filter_map(found))
    }
}

fn page<T>(plan: &Plan, found: impl Iterator<Item = T>) -> Page<T> {
    let mut rows: Vec<T> = found.skip(plan.offset).take(plan.limit + 1).collect();
    let more = rows.len() > plan.limit;
    rows.truncate(plan.limit);
    Page { rows, more }
}

fn sorted<'a>(plan: &Plan, found: impl Iterator<Item = Row<'a>>) -> Page<Row<'a>> {
    let keys = |row: Row<'a>| plan.order_by.iter().map(|(path, _)| path.value(row)).collect::<Vec<_>>();
    let mut keyed: Vec<(Vec<Value>, Row<'a>)> = found.map(|row| (keys(row), row)).collect();
    keyed.sort_by(|left, right| {
        let directions = plan.order_by.iter().map(|(_, descending)| *descending);
        compare_all(&left.0, &right.0, directions).then(left.1.id.cmp(&right.1.id))
    });
    page(plan, keyed.into_iter().map(|(_, row)| row))
}

fn compare_all(left: &[Value], right: &[Value], descending: impl Iterator<Item = bool>) -> Ordering {
    let orders = left.iter().zip(right).zip(descending).map(|((left, right), descending)| {
        let order = left.compare(right).unwrap_or(Ordering::Equal);
        if descending { order.reverse() } else { order }
    });
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Runs a query with `group by` or aggregates: one list of values per group, as selected.
pub fn groups(plan: &Plan, store: &Store) -> Page<Vec<Value>> {
    let view = store.view_at(plan.module);
    let mut groups: BTreeMap<Vec<Option<Box<str>>>, Vec<Cell>> = BTreeMap::new();
    for row in view.rows().filter(|row| matches(&plan.filter, *row)) {
        let key = plan.group_by.iter().map(|path| path.value(row).index_key(false)).collect();
        let cells = groups
            .entry(key)
            .or_insert_with(|| plan.columns.iter().map(|column| Cell::new(column, row)).collect());
        for (cell, column) in cells.iter_mut().zip(&plan.columns) {
            cell.add(column, row);
        }
    }
    let mut rows: Vec<Vec<Value>> =
        groups.into_values().map(|cells| cells.into_iter().map(Cell::finish).collect()).collect();
    if plan.group_by.is_empty()
        && rows.is_empty()
        && plan.columns.iter().all(|c| c.aggregate == Some(Aggregate::Count))
    {
        rows.push(vec![Value::Int(0); plan.columns.len()]);
    }
    rows.sort_by(|left, right| {
        let pick =
            |row: &[Value]| plan.group_order.iter().map(|(at, _)| row[*at].clone()).collect::<Vec<_>>();
        compare_all(&pick(left), &pick(right), plan.group_order.iter().map(|(_, descending)| *descending))
    });
    page(plan, rows.into_iter())
}

/// One value of a group while its rows come in.
enum Cell {
    /// The same in all rows.
    Fixed(Value),
    Extreme(Value, Ordering),
    Count(u64),
    Sum {
        total: Total,
        count: u64,
        mean: bool,
    },
}

impl Cell {
    fn new(column: &Output, row: Row<'_>) -> Self {
        match column.aggregate {
            None => Self::Fixed(column.path.value(row)),
            Some(Aggregate::Min) => Self::Extreme(Value::Null, Ordering::Less),
            Some(Aggregate::Max) => Self::Extreme(Value::Null, Ordering::Greater),
            Some(Aggregate::Count) => Self::Count(0),
            Some(Aggregate::Sum) => Self::Sum { total: Total::ZERO, count: 0, mean: false },
            Some(Aggregate::Avg) => Self::Sum { total: Total::ZERO, count: 0, mean: true },
        }
    }

    fn add(&mut self, column: &Output, row: Row<'_>) {
        if matches!(self, Self::Fixed(_)) {
            return;
        }
        let value = column.path.value(row);
        if value.is_null() {
            return;
        }
        match self {
            Self::Fixed(_) => {}
            Self::Extreme(best, wanted) => {
                if best.is_null() || value.compare(best) == Some(*wanted) {
                    *best = value;
                }
            }
            Self::Count(count) => *count += 1,
            Self::Sum { total, count, .. } => {
                let sum = number(&value).and_then(|number| total.plus(number));
                // A sum beyond 38 digits keeps what it has; no field of Zoho is that large.
                *total = sum.unwrap_or(*total);
                *count += 1;
            }
        }
    }

    fn finish(self) -> Value {
        match self {
            Self::Fixed(value) | Self::Extreme(value, _) => value,
            Self::Count(count) => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Self::Sum { count: 0, .. } => Value::Null,
            Self::Sum { total, count, mean } => {
                let number = if mean { total.divided_by(count).unwrap_or(total) } else { total };
                Decimal::parse(&number.to_string()).map_or(Value::Null, Value::Decimal)
            }
        }
    }
}

fn number(value: &Value) -> Option<Total> {
    match value {
        Value::Int(number) => Total::parse(&number.to_string()),
        Value::Decimal(number) => Total::parse(number.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::coql::check::{Limits, check};
    use crate::emulator::coql::parser::parse;
    use crate::emulator::directory;
    use crate::emulator::schema::Schema;

    const BASE: Id = 4_876_000_000_000_000_000;

    fn store(leads: u64) -> Store {
        let counts =
            [("Leads".to_owned(), leads), ("Deals".to_owned(), leads), ("Accounts".to_owned(), 5)].into();
        let schema = Schema::load(None, BASE).expect("built-in schema");
        Store::new(schema, directory::users(BASE, 5, "Australia/Sydney"), &counts, 1, BASE)
    }

    fn plan(store: &Store, query: &str) -> Plan {
        check(&parse(query).expect(query), &store.schema, &Limits::default()).expect(query)
    }

    fn ids(store: &Store, query: &str) -> (Vec<Id>, bool) {
        let page = rows(&plan(store, query), store);
        (page.rows.iter().map(|row| row.id).collect(), page.more)
    }

    fn code(store: &Store, query: &str) -> &'static str {
        check(&parse(query).expect(query), &store.schema, &Limits::default()).expect_err(query).code
    }

    #[test]
    fn keyset_pages_meet_every_row_once() {
        let store = store(450);
        let (mut seen, mut last) = (Vec::new(), 0);
        loop {
            let query = format!("select id from Leads where id > '{last}' order by id asc limit 200");
            let (page, more) = ids(&store, &query);
            last = *page.last().expect("not empty");
            seen.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(seen, store.view("Leads").expect("there").rows().map(|row| row.id).collect::<Vec<_>>());
    }

    #[test]
    fn an_index_changes_no_answer() {
        let mut store = store(300);
        let at = store.schema.modules.iter().position(|module| module.api_name == "Leads").expect("there");
        let email = store.schema.modules[at].index_of("Email").expect("there");
        let known = store.view_at(at).rows().map(|row| row.get(email));
        let known: Vec<String> =
            known.filter_map(|value| Some(value.as_text()?.to_uppercase())).take(3).collect();
        let list = format!("('{}', 'nobody@x.test', '{}', '{}')", known[0], known[1], known[2]);
        let queries = ["", " order by id asc", " order by id desc", " limit 1, 1"]
            .map(|rest| format!("select id from Leads where Email in {list} and id is not null{rest}"));
        let scanned = queries.each_ref().map(|query| ids(&store, query));
        assert!(scanned[0].0.len() >= 3, "{scanned:?}");
        store.find(at, email, &Value::text("x"));
        assert!(store.view_at(at).tells_quickly(email, &[Value::text("x")]));
        assert_eq!(queries.each_ref().map(|query| ids(&store, query)), scanned);
    }

    #[test]
    fn offsets_and_descending_ids() {
        let store = store(10);
        let (all, more) = ids(&store, "select id from Leads where id is not null");
        assert_eq!((all.len(), more), (10, false));
        let (page, more) =
            ids(&store, "select id from Leads where id is not null order by id desc limit 2, 3");
        assert_eq!((page, more), (vec![all[7], all[6], all[5]], true));
    }

    #[test]
    fn every_way_of_ordering_agrees() {
        let store = store(300);
        let by = |order: &str| {
            let clause = "Modified_Time >= '2020-01-01T00:00:00+00:00'";
            ids(&store, &format!("select id from Leads where {clause} order by {order} limit 300")).0
        };
        let walked = by("Modified_Time asc, id asc");
        assert_eq!(walked.len(), 300);
        assert_eq!(walked, by("Modified_Time"), "the id settles ties");
        // Three columns take the way that sorts all matches.
        assert_eq!(walked, by("Modified_Time, id, Last_Name"));
        let view = store.view("Leads").expect("there");
        let time = |id: &Id| view.get(*id).expect("there").by_name("Modified_Time").as_instant();
        assert!(walked.is_sorted_by_key(time));
        assert!(by("Modified_Time desc").iter().rev().is_sorted_by_key(time));
    }

    #[test]
    fn aggregates_add_up() {
        let store = store(40);
        let plan = plan(
            &store,
            "select Stage, COUNT(id), SUM(Amount) as total from Deals where id is not null \
             group by Stage order by Stage",
        );
        let groups = groups(&plan, &store).rows;
        let counted: i64 = groups
            .iter()
            .map(|row| match row[1] {
                Value::Int(count) => count,
                _ => 0,
            })
            .sum();
        assert_eq!(counted, 40);
        assert!(groups.windows(2).all(|pair| pair[0][0].compare(&pair[1][0]) == Some(Ordering::Less)));
    }

    #[test]
    fn lookups_lead_to_other_modules() {
        let store = store(20);
        let query = "select Deal_Name, Account_Name.Account_Name, Owner.last_name from Deals where Owner.email like '%zylker%'";
        let plan = plan(&store, query);
        let page = rows(&plan, &store);
        assert!(!page.rows.is_empty());
        for row in page.rows {
            let target = row.target(row.view.module.index_of("Account_Name").expect("there"));
            let name = target.map_or(Value::Null, |account| account.by_name("Account_Name"));
            assert_eq!(plan.columns[1].path.value(row), name);
            assert!(!plan.columns[2].path.value(row).is_null());
        }
    }

    #[test]
    fn refusals() {
        let store = store(1);
        for (query, wanted) in [
            ("select id from Nope where id is not null", "INVALID_MODULE"),
            ("select id from Notes where id is not null", "INVALID_MODULE"),
            ("select Nope from Leads where id is not null", "INVALID_QUERY"),
            ("select id from Leads where Last_Name > 'a'", "INVALID_QUERY"),
            ("select id from Leads where Created_Time > 'yesterday'", "INVALID_QUERY"),
            ("select id from Leads where Description like '%a%'", "INVALID_QUERY"),
            ("select id from Leads where Last_Name not like 'a%'", "INVALID_QUERY"),
            ("select id from Leads where id is not null limit 2001", "LIMIT_EXCEEDED"),
            ("select id from Leads where id is not null limit 99999, 2", "LIMIT_EXCEEDED"),
            ("select Email, Email from Leads where id is not null", "DUPLICATE_DATA"),
            ("select Email as a, Phone as a from Leads where id is not null", "DUPLICATE_ALIAS"),
            ("select SUM(Last_Name) from Leads where id is not null", "INVALID_DATA"),
            ("select Last_Name, COUNT(id) from Leads where id is not null", "INVALID_QUERY"),
        ] {
            assert_eq!(code(&store, query), wanted, "{query}");
        }
    }
}
