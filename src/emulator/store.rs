//! The rows of one organisation.
//!
//! A row made from the seed is only a number until it is written to; from then on its filled
//! fields are held. Readers walk ids upwards through a [`View`]; writers go through [`Store`],
//! which keeps indexes, system fields and the recycle bin true. The store knows neither JSON nor
//! HTTP and checks nothing: validation is in `write.rs`.

mod view;

pub use view::{Row, View};

use super::data::{ID_STEP, Plan, Span};
use super::directory::User;
use super::schema::{DataType, Module, Schema};
use super::value::{Id, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// A value for a field, by the field's place in its module.
pub type Change = (u16, Value);

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub now: i64,
    /// The writing user.
    pub user: Id,
}

/// A row as it is kept.
#[derive(Debug, Clone)]
enum Body {
    /// Still as the seed made it: its number.
    Base(u32),
    /// The filled fields by place, ascending.
    Held(Box<[Change]>),
}

/// A row that was deleted.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// Its id.
    pub id: Id,
    /// What lookups showed as its name.
    pub name: Option<String>,
    /// When it was deleted, seconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    /// Who deleted it.
    pub by: Id,
    /// Who had created it.
    pub created_by: Option<Id>,
    /// Removed from the recycle bin as well.
    pub permanent: bool,
    /// What it held, for a restore.
    body: Body,
}

type Index = HashMap<Box<str>, Vec<Id>>;
type SortedIds = Option<(u64, u16, Arc<Vec<Id>>)>;

/// The rows of one module.
#[derive(Debug)]
pub struct Table {
    rows: BTreeMap<Id, Body>,
    plan: Plan,
    /// What was deleted, oldest first.
    pub deleted: Vec<Deleted>,
    indexes: HashMap<u16, Index>,
    /// Rows that nobody may write to, as "record locking" has it.
    locked: BTreeSet<Id>,
    auto_number: u64,
    version: u64,
    sorted: Mutex<SortedIds>,
}

/// All modules of one organisation with their rows, and its users.
#[derive(Debug)]
pub struct Store {
    /// Modules and fields.
    pub schema: Schema,
    /// The users, oldest first; the first one owns the token.
    pub users: Vec<User>,
    tables: Vec<Table>,
    next_id: Id,
}

impl Store {
    /// An organisation with `counts` generated rows per module.
    ///
    /// `org_base` is the organisation's id prefix as a number.
    pub fn new(
        schema: Schema,
        users: Vec<User>,
        counts: &BTreeMap<String, u64>,
        seed: u64,
        org_base: Id,
    ) -> Self {
        let mut next_id = org_base + 1_000_000_001;
        let mut spans = BTreeMap::new();
        for module in &schema.modules {
            let count = counts.get(&module.api_name).copied().unwrap_or(0).min(50_000_000) as u32;
            spans.insert(module.api_name.clone(), Span { first: next_id, count });
            next_id += Id::from(count) * ID_STEP;
        }
        let active: Vec<Id> = users.iter().filter(|user| user.active).map(|user| user.id).collect();
        let tables = schema
            .modules
            .iter()
            .map(|module| {
                Table::new(module, Plan::new(seed, module, &spans, &active), spans[&module.api_name])
            })
            .collect();
        Self { schema, users, tables, next_id }
    }

    /// Reads a module; its name may be in any case.
    pub fn view(&self, api_name: &str) -> Option<View<'_>> {
        self.schema.position(api_name).map(|at| self.view_at(at))
    }

    /// Reads a module by its place in the schema.
    pub fn view_at(&self, at: usize) -> View<'_> {
        View { store: self, module: &self.schema.modules[at], table: &self.tables[at] }
    }

    /// A user by id.
    pub fn user(&self, id: Id) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// A new id, larger than every one before.
    pub fn next_id(&mut self) -> Id {
        self.next_id += ID_STEP;
        self.next_id
    }

    /// Creates a row and fills its system fields.
    pub fn insert(&mut self, at: usize, changes: Vec<Change>, stamp: Stamp) -> Id {
        let id = self.next_id();
        let module = &self.schema.modules[at];
        let table = &mut self.tables[at];
        let mut fields: BTreeMap<u16, Value> = changes.into_iter().collect();
        table.auto_number += 1;
        for (place, field) in module.active() {
            let value = match (field.api_name.as_str(), field.data_type) {
                ("Created_Time" | "Modified_Time", _) => Value::DateTime(stamp.now),
                ("Created_By" | "Modified_By", _) => Value::Id(stamp.user),
                ("Owner", _) if !fields.contains_key(&place) => Value::Id(stamp.user),
                (_, DataType::Layout) if !fields.contains_key(&place) => Value::Id(module.layout_id),
                (_, DataType::Boolean) if !fields.contains_key(&place) => Value::Bool(false),
                (_, DataType::AutoNumber) => {
                    let prefix = field.prefix.as_deref().unwrap_or_default();
                    Value::text(format!("{prefix}{:05}", table.auto_number))
                }
                _ => continue,
            };
            fields.insert(place, value);
        }
        table.hold(module, id, fields);
        id
    }

    /// Changes fields of a row and its `Modified_Time`; false when there is no such row.
    pub fn update(&mut self, at: usize, id: Id, changes: Vec<Change>, stamp: Stamp) -> bool {
        let mut changes = changes;
        for (name, value) in
            [("Modified_Time", Value::DateTime(stamp.now)), ("Modified_By", Value::Id(stamp.user))]
        {
            if let Some(place) = self.schema.modules[at].index_of(name) {
                changes.push((place, value));
            }
        }
        self.set(at, id, changes)
    }

    /// Changes fields of a row and nothing else; false when there is no such row.
    pub fn set(&mut self, at: usize, id: Id, changes: Vec<Change>) -> bool {
        let module = &self.schema.modules[at];
        let table = &mut self.tables[at];
        let Some(mut fields) = table.materialise(module, id) else { return false };
        table.unindex(module, id);
        fields.extend(changes);
        table.hold(module, id, fields);
        true
    }

    /// Moves a row to the recycle bin, with its subform rows; false when there is no such row.
    pub fn delete(&mut self, at: usize, id: Id, stamp: Stamp) -> bool {
        let Some(row) = self.view_at(at).get(id) else { return false };
        let name = row.name();
        let created_by = row.by_name("Created_By").as_id();
        let module = &self.schema.modules[at];
        let table = &mut self.tables[at];
        table.unindex(module, id);
        let body = table.rows.remove(&id).expect("a row of the view is in the table");
        let (by, permanent) = (stamp.user, false);
        table.deleted.push(Deleted { id, name, at: stamp.now, by, created_by, permanent, body });
        table.version += 1;
        for child in self.children_modules(at) {
            for row in self.children(child, id) {
                self.delete(child, row, stamp);
            }
        }
        true
    }

    /// Takes a row out of the recycle bin, with its subform rows; false when it is not in there.
    pub fn restore(&mut self, at: usize, id: Id) -> bool {
        let table = &mut self.tables[at];
        let held = table.deleted.iter().rposition(|deleted| deleted.id == id && !deleted.permanent);
        let Some(held) = held else { return false };
        let Deleted { body, at: time, .. } = table.deleted.remove(held);
        table.rows.insert(id, body);
        table.version += 1;
        for (place, key) in table.index_keys(&self.schema.modules[at], id) {
            table.indexes.entry(place).or_default().entry(key).or_default().push(id);
        }
        for child in self.children_modules(at) {
            let (module, table) = (&self.schema.modules[child], &self.tables[child]);
            let Some(parent) = module.index_of("Parent_Id") else { continue };
            let gone = table.deleted.iter().filter(|row| row.at == time);
            let rows: Vec<Id> = gone
                .filter(|row| table.value(module, row.id, &row.body, parent).as_id() == Some(id))
                .map(|row| row.id)
                .collect();
            for row in rows {
                self.restore(child, row);
            }
        }
        true
    }

    /// The places of the modules whose rows belong to records of this module.
    fn children_modules(&self, at: usize) -> Vec<usize> {
        let parent = &self.schema.modules[at].api_name;
        let owned = |module: &Module| module.parent.as_ref() == Some(parent);
        (0..self.tables.len()).filter(|child| owned(&self.schema.modules[*child])).collect()
    }

    /// The subform rows of a record, oldest first.
    fn children(&self, child: usize, parent: Id) -> Vec<Id> {
        let view = self.view_at(child);
        view.module.index_of("Parent_Id").map(|field| view.pointing(field, parent)).unwrap_or_default()
    }

    /// The rows whose field has that value (or text, for lookups by name), smallest id first.
    ///
    /// The first search on a field builds an index, which later writes keep.
    pub fn find(&mut self, at: usize, field: u16, value: &Value) -> Vec<Id> {
        let module = &self.schema.modules[at];
        let table = &mut self.tables[at];
        table.ensure_index(module, field);
        let key = value.index_key(module.at(field).case_sensitive);
        let found = key.and_then(|key| table.indexes.get(&field).and_then(|index| index.get(&key)));
        let mut ids = found.cloned().unwrap_or_default();
        ids.sort_unstable();
        ids
    }

    /// Removes deleted rows from the recycle bin; they are listed as permanent from then on.
    pub fn purge(&mut self, at: usize, ids: &[String]) {
        for deleted in &mut self.tables[at].deleted {
            deleted.permanent |= ids.contains(&deleted.id.to_string());
        }
    }

    /// Locks a row, or opens it again.
    pub fn lock(&mut self, at: usize, id: Id, locked: bool) {
        let rows = &mut self.tables[at].locked;
        if locked {
            rows.insert(id);
        } else {
            rows.remove(&id);
        }
    }

    /// Whether a row is locked.
    pub fn is_locked(&self, at: usize, id: Id) -> bool {
        self.tables[at].locked.contains(&id)
    }

    /// Takes a deleted row off the list, as if it had never been.
    pub fn forget_deleted(&mut self, at: usize, id: Id) {
        self.tables[at].deleted.retain(|deleted| deleted.id != id);
    }

    /// Adds a field to a running module.
    pub fn add_field(&mut self, at: usize, field: super::schema::Field) {
        let id = self.next_id();
        self.schema.modules[at].add_field(field, id);
    }
}

impl Table {
    fn new(module: &Module, plan: Plan, span: Span) -> Self {
        let rows = (0..span.count).map(|row| (span.id(row), Body::Base(row))).collect();
        let mut table = Self {
            rows,
            plan,
            deleted: Vec::new(),
            indexes: HashMap::new(),
            locked: BTreeSet::new(),
            auto_number: u64::from(span.count),
            version: 0,
            sorted: Mutex::new(None),
        };
        // Subform and linking rows are always asked for by their owner.
        if matches!(module.generated_type.as_str(), "subform" | "linking") {
            for (place, field) in module.active() {
                if field.data_type == DataType::Lookup {
                    table.ensure_index(module, place);
                }
            }
        }
        table
    }

    fn value(&self, module: &Module, id: Id, body: &Body, place: u16) -> Value {
        let field = module.at(place);
        if field.system && field.api_name == "id" {
            return Value::Id(id);
        }
        if field.full_name.is_some() {
            return self.full_name(module, id, body);
        }
        if let Body::Held(fields) = body
            && field.formula_of.is_some()
            && let Ok(at) = fields.binary_search_by_key(&place, |(place, _)| *place)
        {
            // Recomputed since: no longer what its source says.
            return fields[at].1.clone();
        }
        if let Some(source) = field.formula_of.as_deref().and_then(|name| module.index_of(name)) {
            return self.value(module, id, body, source);
        }
        let value = match body {
            Body::Base(row) => self.plan.value(*row, place),
            Body::Held(fields) => match fields.binary_search_by_key(&place, |(place, _)| *place) {
                Ok(at) => fields[at].1.clone(),
                Err(_) => Value::Null,
            },
        };
        // A check box is never empty.
        if value.is_null() && field.data_type == DataType::Boolean { Value::Bool(false) } else { value }
    }

    fn full_name(&self, module: &Module, id: Id, body: &Body) -> Value {
        let part = |name| module.index_of(name).map(|place| self.value(module, id, body, place));
        let (first, last) = (part("First_Name").unwrap_or_default(), part("Last_Name").unwrap_or_default());
        match (first.as_text(), last.as_text()) {
            (Some(first), Some(last)) => Value::text(format!("{first} {last}")),
            (one, other) => Value::text(one.or(other).unwrap_or_default()),
        }
    }

    /// The filled fields of a row, computed ones left out.
    fn materialise(&self, module: &Module, id: Id) -> Option<BTreeMap<u16, Value>> {
        let body = self.rows.get(&id)?;
        let stored = module.active().filter(|(_, field)| {
            field.api_name != "id" && field.full_name.is_none() && field.formula_of.is_none()
        });
        Some(stored.map(|(place, _)| (place, self.value(module, id, body, place))).collect())
    }

    fn hold(&mut self, module: &Module, id: Id, fields: BTreeMap<u16, Value>) {
        let filled = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
        self.rows.insert(id, Body::Held(filled));
        self.version += 1;
        for (place, key) in self.index_keys(module, id) {
            self.indexes.entry(place).or_default().entry(key).or_default().push(id);
        }
    }

    fn unindex(&mut self, module: &Module, id: Id) {
        for (place, key) in self.index_keys(module, id) {
            let Some(index) = self.indexes.get_mut(&place) else { continue };
            if let Some(ids) = index.get_mut(&key) {
                ids.retain(|held| *held != id);
                if ids.is_empty() {
                    index.remove(&key);
                }
            }
        }
    }

    fn index_keys(&self, module: &Module, id: Id) -> Vec<(u16, Box<str>)> {
        let Some(body) = self.rows.get(&id) else { return Vec::new() };
        let keys = self.indexes.keys().filter_map(|place| {
            let key = self.value(module, id, body, *place).index_key(module.at(*place).case_sensitive)?;
            Some((*place, key))
        });
        keys.collect()
    }

    fn ensure_index(&mut self, module: &Module, place: u16) {
        if self.indexes.contains_key(&place) {
            return;
        }
        let case_sensitive = module.at(place).case_sensitive;
        let mut index = Index::new();
        for (id, body) in &self.rows {
            if let Some(key) = self.value(module, *id, body, place).index_key(case_sensitive) {
                index.entry(key).or_default().push(*id);
            }
        }
        self.indexes.insert(place, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::directory;

    const BASE: Id = 4_876_000_000_000_000_000;
    const STAMP: Stamp = Stamp { now: 1_800_000_000, user: BASE + 225_013 };

    fn store(counts: &[(&str, u64)]) -> Store {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let schema = Schema::load(None, BASE).expect("built-in schema");
        Store::new(schema, directory::users(BASE, 5, "Australia/Sydney"), &counts, 1, BASE)
    }

    fn place(store: &Store, module: &str, field: &str) -> (usize, u16) {
        let at = store.schema.position(module).expect(module);
        (at, store.schema.modules[at].index_of(field).expect(field))
    }

    #[test]
    fn ids_ascend_with_creation() {
        let mut store = store(&[("Leads", 10), ("Contacts", 10)]);
        let (at, last_name) = place(&store, "Leads", "Last_Name");
        let id = store.insert(at, vec![(last_name, Value::text("Ng"))], STAMP);
        let view = store.view("Leads").expect("there");
        let ids: Vec<Id> = view.rows().map(|row| row.id).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((ids.len(), ids.last()), (11, Some(&id)));
        assert_eq!(view.get(id).expect("inserted").by_name("Modified_Time"), Value::DateTime(STAMP.now));
    }

    #[test]
    fn an_update_changes_only_what_it_names() {
        let mut store = store(&[("Leads", 3)]);
        let (at, company) = place(&store, "Leads", "Company");
        let read = |store: &Store| {
            let row = store.view("Leads").expect("there").rows().next().expect("a row");
            (row.id, row.view.module.active().map(|(place, _)| row.get(place)).collect::<Vec<_>>())
        };
        let (id, before) = read(&store);
        assert!(store.update(at, id, vec![(company, Value::text("New"))], STAMP));
        let (_, after) = read(&store);
        let module = &store.schema.modules[at];
        for (place, field) in module.active() {
            let changed = before[usize::from(place)] != after[usize::from(place)];
            let may = ["Company", "Modified_Time", "Modified_By"].contains(&field.api_name.as_str());
            assert!(!changed || may, "{}", field.api_name);
        }
        assert!(!store.update(at, 1, Vec::new(), STAMP));
    }

    #[test]
    fn indexes_follow_writes() {
        let mut store = store(&[("Contacts", 50)]);
        let (at, email) = place(&store, "Contacts", "Email");
        let value = Value::text("A@x.test");
        assert!(store.find(at, email, &value).is_empty());
        let id = store.insert(at, vec![(email, value.clone())], STAMP);
        assert_eq!(store.find(at, email, &Value::text("a@X.test")), [id]);
        store.update(at, id, vec![(email, Value::Null)], STAMP);
        assert!(store.find(at, email, &value).is_empty());
        let known = store
            .view_at(at)
            .rows()
            .find(|row| !row.get(email).is_null())
            .map(|row| (row.id, row.get(email)));
        let (id, value) = known.expect("most have one");
        assert_eq!(store.find(at, email, &value), [id]);
    }

    #[test]
    fn deleting_takes_the_subform_rows_along() {
        let mut store = store(&[("Everything", 5), ("Everything_Lines", 20)]);
        let (at, parent) = place(&store, "Everything_Lines", "Parent_Id");
        let owner =
            store.view_at(at).rows().next().expect("a line").get(parent).as_id().expect("has a parent");
        let lines = store.view_at(at).pointing(parent, owner).len();
        let (module, _) = place(&store, "Everything", "Name");
        assert!(lines > 0 && store.delete(module, owner, STAMP));
        assert_eq!(store.view_at(at).count(), 20 - lines);
        assert_eq!(store.view_at(module).table.deleted.len(), 1);
        assert!(!store.delete(module, owner, STAMP));
        assert!(store.restore(module, owner));
        assert_eq!(store.view_at(at).pointing(parent, owner).len(), lines);
    }

    #[test]
    fn a_restored_row_is_as_it_was_and_a_purged_one_stays_gone() {
        let mut store = store(&[("Leads", 3)]);
        let (at, name) = place(&store, "Leads", "Last_Name");
        let ids: Vec<Id> = store.view_at(at).rows().map(|row| row.id).collect();
        let before = store.view_at(at).get(ids[0]).map(|row| row.get(name));
        for id in &ids[..2] {
            store.delete(at, *id, STAMP);
        }
        store.purge(at, &[ids[1].to_string()]);
        assert!(store.restore(at, ids[0]) && !store.restore(at, ids[0]) && !store.restore(at, ids[1]));
        assert_eq!(store.view_at(at).get(ids[0]).map(|row| row.get(name)), before);
        assert_eq!(store.view_at(at).table.deleted.len(), 1);
    }
}
