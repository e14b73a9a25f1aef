//! Changes made as if by other people, without a call to the API.
//!
//! [`Mutation`] is a list of them, given or drawn from a seed; `writer.rs` draws one after another for
//! as long as a client works. What Zoho leaves open about restores and merges is in the switches.

use super::api::write_records::some_row;
use super::convert::Rules;
use super::data::{Dice, mix};
use super::reply::Reply;
use super::schema::{DataType, Field};
use super::state::App;
use super::store::{Change, Stamp, Store};
use super::switches::{Merged, Switches};
use super::time::{Zone, parse_datetime};
use super::value::{Decimal, Id, Value};
use super::write;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// What is to change in one module; the keys apply in this order.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mutation {
    /// The module.
    pub module: String,
    /// Decides which rows.
    pub seed: u64,
    /// Rows to write as given: with `id` changed, without added.
    pub records: Vec<Map<String, Json>>,
    /// Rows to change: `Modified_Time` moves to now.
    pub change: usize,
    /// Whether to change every row.
    pub change_all: bool,
    /// Rows to add.
    pub insert: usize,
    /// Rows whose formulas and rollups come out otherwise; `Modified_Time` stays.
    pub recompute: usize,
    /// Rows to delete by id.
    pub delete_ids: Vec<String>,
    /// Rows to delete.
    pub delete: usize,
    /// Rows to remove from the recycle bin by id.
    pub purge_ids: Vec<String>,
    /// Rows to take out of the recycle bin by id.
    pub restore_ids: Vec<String>,
    /// Rows to take out of the recycle bin, by chance.
    pub restore: usize,
    /// Rows that nobody can write to from now on, by id.
    pub lock_ids: Vec<String>,
    /// Rows that are open again, by id.
    pub unlock_ids: Vec<String>,
    /// Pairs of ids: the second becomes a part of the first.
    pub merge_ids: Vec<(String, String)>,
    /// The `Modified_Time` of what is changed, instead of now.
    pub modified_time: Option<String>,
}

/// The rows that a mutation reached.
#[derive(Debug, Default)]
pub struct Changes {
    /// Changed rows, those with new formulas included.
    pub changed: Vec<Id>,
    /// New rows.
    pub inserted: Vec<Id>,
    /// Rows in the recycle bin, or gone for good.
    pub deleted: Vec<Id>,
    /// Rows that came back.
    pub restored: Vec<Id>,
}

impl Changes {
    /// The answer of the control call.
    pub fn to_json(&self) -> Json {
        let texts = |ids: &[Id]| ids.iter().map(Id::to_string).collect::<Vec<_>>();
        json!({"changed": texts(&self.changed), "inserted": texts(&self.inserted),
            "deleted": texts(&self.deleted), "restored": texts(&self.restored)})
    }
}

fn bad(message: &str) -> Reply {
    Reply::json(400, &json!({"error": message}))
}

impl Mutation {
    /// Makes the changes.
    ///
    /// # Errors
    /// When there is no such module, or a given record is refused.
    pub fn apply(&self, app: &App, store: &mut Store) -> Result<Changes, Reply> {
        let at = store.schema.position(&self.module).ok_or_else(|| bad("no such module"))?;
        let now = match &self.modified_time {
            Some(text) => {
                parse_datetime(text).ok_or_else(|| bad("`modified_time` is not an ISO 8601 datetime"))?
            }
            None => app.clock.now(),
        };
        let switches = app.switches();
        let mut work = Work::new(store, at, self.seed, now);
        let mut done = work.write_given(&self.records, &Rules::new(&switches, Zone::UTC, false))?;
        if self.change_all {
            done.changed.extend(work.all().into_iter().filter(|id| work.change_id(*id)).collect::<Vec<_>>());
        }
        done.changed.extend((0..self.change).filter_map(|_| work.change()).collect::<Vec<_>>());
        done.inserted.extend((0..self.insert).map(|_| work.insert()).collect::<Vec<_>>());
        done.changed.extend((0..self.recompute).filter_map(|_| work.recompute()).collect::<Vec<_>>());
        done.deleted = ids(&self.delete_ids);
        done.deleted.retain(|id| work.delete_id(*id));
        done.deleted.extend((0..self.delete).filter_map(|_| work.delete()).collect::<Vec<_>>());
        work.store.purge(at, &self.purge_ids);
        done.restored = ids(&self.restore_ids);
        done.restored.retain(|id| work.restore_id(*id, &switches));
        done.restored.extend((0..self.restore).filter_map(|_| work.restore(&switches)).collect::<Vec<_>>());
        for (kept, lost) in &self.merge_ids {
            if let (Ok(kept), Ok(lost)) = (kept.parse(), lost.parse())
                && work.merge(kept, lost, &switches)
            {
                done.changed.push(kept);
                done.deleted.push(lost);
            }
        }
        for (given, locked) in [(&self.lock_ids, true), (&self.unlock_ids, false)] {
            ids(given).into_iter().for_each(|id| work.store.lock(at, id, locked));
        }
        Ok(done)
    }
}

fn ids(texts: &[String]) -> Vec<Id> {
    texts.iter().filter_map(|id| id.parse().ok()).collect()
}

/// Somebody at work in one module.
pub(super) struct Work<'a> {
    store: &'a mut Store,
    at: usize,
    dice: Dice,
    stamp: Stamp,
}

impl<'a> Work<'a> {
    /// Another user than the client's, who works at `now`.
    pub(super) fn new(store: &'a mut Store, at: usize, seed: u64, now: i64) -> Self {
        let user = store.users[store.users.len().min(2) - 1].id;
        Self { store, at, dice: Dice::new(seed ^ 0x6d75_7461), stamp: Stamp { now, user } }
    }

    fn some_row(&mut self) -> Option<Id> {
        some_row(self.store.view_at(self.at), self.dice.below(u64::MAX))
    }

    fn write_given(&mut self, records: &[Map<String, Json>], rules: &Rules) -> Result<Changes, Reply> {
        let mut done = Changes::default();
        for (index, record) in records.iter().enumerate() {
            let problem = |problem: write::Problem| Reply::json(400, &problem.to_json(index));
            match record.get("id").and_then(Json::as_str).and_then(|id| id.parse::<Id>().ok()) {
                Some(id) => {
                    write::update(self.store, self.at, id, record, rules, self.stamp).map_err(problem)?;
                    done.changed.push(id);
                }
                None => {
                    let id =
                        write::insert(self.store, self.at, record, rules, self.stamp).map_err(problem)?;
                    done.inserted.push(id);
                }
            }
        }
        Ok(done)
    }

    pub(super) fn change(&mut self) -> Option<Id> {
        let id = self.some_row()?;
        self.change_id(id).then_some(id)
    }

    fn all(&self) -> Vec<Id> {
        self.store.view_at(self.at).rows().map(|row| row.id).collect()
    }

    fn change_id(&mut self, id: Id) -> bool {
        let value = Value::text(format!("changed {:x}", self.dice.below(1 << 32)));
        let changes = text_field(self.store, self.at).map(|place| (place, value));
        self.store.update(self.at, id, changes.into_iter().collect(), self.stamp)
    }

    /// A new row with every mandatory field filled.
    pub(super) fn insert(&mut self) -> Id {
        let number = mix(self.dice.below(u64::MAX)) >> 16;
        let mut changes = Vec::new();
        let needed = |field: &Field| field.mandatory && !field.data_type.is_rows();
        for (place, field) in self.store.schema.modules[self.at].active().filter(|(_, field)| needed(field)) {
            let target = field.lookup.as_deref().and_then(|name| self.store.view(name));
            let value = match target {
                Some(view) => some_row(view, number).map_or(Value::Null, Value::Id),
                None => Value::text(format!("new {number:x}")),
            };
            changes.push((place, value));
        }
        self.store.insert(self.at, changes, self.stamp)
    }

    /// Gives the computed fields of a row other values, as the passing of time or a change in another
    /// module does.
    pub(super) fn recompute(&mut self) -> Option<Id> {
        let id = self.some_row()?;
        let dice = &mut self.dice;
        let module = &self.store.schema.modules[self.at];
        let changes: Vec<Change> =
            module.active().filter_map(|(place, field)| Some((place, computed(field, dice)?))).collect();
        (!changes.is_empty() && self.store.set(self.at, id, changes)).then_some(id)
    }

    pub(super) fn delete(&mut self) -> Option<Id> {
        let id = self.some_row()?;
        self.delete_id(id).then_some(id)
    }

    fn delete_id(&mut self, id: Id) -> bool {
        self.store.delete(self.at, id, self.stamp)
    }

    pub(super) fn restore(&mut self, switches: &Switches) -> Option<Id> {
        let deleted = &self.store.view_at(self.at).table.deleted;
        let bin: Vec<Id> = deleted.iter().filter(|row| !row.permanent).map(|row| row.id).collect();
        let id = *bin.get(self.dice.below(bin.len() as u64) as usize)?;
        self.restore_id(id, switches).then_some(id)
    }

    fn restore_id(&mut self, id: Id, switches: &Switches) -> bool {
        let back = self.store.restore(self.at, id);
        if back && switches.restore_moves_modified_time {
            self.store.update(self.at, id, Vec::new(), self.stamp);
        }
        back
    }

    /// The kept record is changed, the lost one goes as the switch says. Lookups to the lost one are
    /// left as they are.
    fn merge(&mut self, kept: Id, lost: Id, switches: &Switches) -> bool {
        if kept == lost || self.store.view_at(self.at).get(kept).is_none() || !self.delete_id(lost) {
            return false;
        }
        self.store.update(self.at, kept, Vec::new(), self.stamp);
        match switches.merged {
            Merged::Recycle => {}
            Merged::Permanent => self.store.purge(self.at, &[lost.to_string()]),
            Merged::Unlisted => self.store.forget_deleted(self.at, lost),
        }
        true
    }
}

/// The first plain text field that is neither unique nor made by Zoho.
fn text_field(store: &Store, at: usize) -> Option<u16> {
    let plain = |field: &Field| {
        field.data_type == DataType::Text
            && field.is_writable()
            && !field.unique
            && !field.system
            && field.api_name != "Tag"
    };
    store.schema.modules[at].active().find(|(_, field)| plain(field)).map(|(place, _)| place)
}

/// Another value of a formula or rollup; `None` for every other field.
fn computed(field: &Field, dice: &mut Dice) -> Option<Value> {
    let returns = match field.data_type {
        DataType::Formula => field.formula.as_deref().unwrap_or("double"),
        DataType::RollupSummary => field.rollup.as_deref().unwrap_or("integer"),
        _ => return None,
    };
    let number = dice.below(1_000_000);
    Some(match returns {
        "string" | "text" => Value::text(format!("recomputed {number}")),
        "boolean" => Value::Bool(number.is_multiple_of(2)),
        "date" => Value::Date(i32::try_from(number % 40_000).unwrap_or_default()),
        "datetime" => Value::DateTime(1_700_000_000 + i64::try_from(number).unwrap_or_default()),
        "integer" => Value::Int(i64::try_from(number).unwrap_or_default()),
        _ => Decimal::parse(&format!("{}.{:02}", number / 100, number % 100))
            .map_or(Value::Null, Value::Decimal),
    })
}
