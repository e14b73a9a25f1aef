//! Reading rows: a module through a [`View`], one record through a [`Row`].

use super::{Body, Store, Table};
use crate::emulator::schema::Module;
use crate::emulator::value::{Id, Value};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// A module to read from.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The organisation it belongs to.
    pub store: &'a Store,
    /// Its fields.
    pub module: &'a Module,
    /// Its rows.
    pub table: &'a Table,
}

impl<'a> View<'a> {
    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.table.rows.len()
    }

    /// A row by id.
    pub fn get(&self, id: Id) -> Option<Row<'a>> {
        self.table.rows.get(&id).map(|body| Row { view: *self, id, body })
    }

    /// Every row, ids ascending; `rev()` walks downwards.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        self.rows_after(0)
    }

    /// The rows whose id is larger, ids ascending.
    pub fn rows_after(&self, id: Id) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        let view = *self;
        let range = (Bound::Excluded(id), Bound::Unbounded);
        self.table.rows.range(range).map(move |(id, body)| Row { view, id: *id, body })
    }

    /// The rows whose lookup field points at that record, oldest first.
    ///
    /// Quick for subform and linking modules, a scan for others.
    pub fn pointing(&self, field: u16, target: Id) -> Vec<Id> {
        let wanted = Value::Id(target);
        let mut ids = match self.table.indexes.get(&field) {
            Some(index) => {
                wanted.index_key(false).and_then(|key| index.get(&key).cloned()).unwrap_or_default()
            }
            None => self.rows().filter(|row| row.get(field) == wanted).map(|row| row.id).collect(),
        };
        ids.sort_unstable();
        ids
    }

    /// Whether [`View::holding`] can tell quickly which rows hold these texts.
    pub fn tells_quickly(&self, field: u16, values: &[Value]) -> bool {
        // The index folds case in another way than queries compare, where letters beyond ASCII are concerned.
        let plain = |value: &Value| matches!(value, Value::Text(text) if text.is_ascii());
        self.table.indexes.contains_key(&field)
            && !self.module.at(field).case_sensitive
            && values.iter().all(plain)
    }

    /// The rows that hold one of these values in an indexed field, ids ascending.
    pub fn holding(
        &self,
        field: u16,
        values: &[Value],
    ) -> impl DoubleEndedIterator<Item = Row<'a>> + use<'a> {
        let view = *self;
        let index = self.table.indexes.get(&field);
        let of = |value: &Value| index.and_then(|index| index.get(&value.index_key(false)?));
        let ids: BTreeSet<Id> = values.iter().filter_map(of).flatten().copied().collect();
        ids.into_iter().filter_map(move |id| view.get(id))
    }

    /// All ids in the order of a field, then of the id, both ascending; kept until the next write.
    pub fn sorted_by(&self, field: u16) -> Arc<Vec<Id>> {
        let mut kept = self.table.sorted.lock().expect("sorting does not panic");
        if let Some((version, by, ids)) = &*kept
            && (*version, *by) == (self.table.version, field)
        {
            return Arc::clone(ids);
        }
        let mut keyed: Vec<(Value, Id)> = self.rows().map(|row| (row.get(field), row.id)).collect();
        keyed.sort_by(|a, b| a.0.compare(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1)));
        let ids = Arc::new(keyed.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
        *kept = Some((self.table.version, field, Arc::clone(&ids)));
        ids
    }
}

/// A row to read from.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The module it belongs to.
    pub view: View<'a>,
    /// Its id.
    pub id: Id,
    body: &'a Body,
}

impl<'a> Row<'a> {
    /// The value of a field by place.
    pub fn get(&self, place: u16) -> Value {
        self.view.table.value(self.view.module, self.id, self.body, place)
    }

    /// The value of a field by name; empty when the module has no such field.
    pub fn by_name(&self, api_name: &str) -> Value {
        self.view.module.index_of(api_name).map_or(Value::Null, |place| self.get(place))
    }

    /// What lookups show for this row.
    pub fn name(&self) -> Option<String> {
        let value = self.get(self.view.module.display_index()?);
        value.as_text().map(str::to_owned)
    }

    /// The row a lookup field points at, if it is still there.
    pub fn target(&self, place: u16) -> Option<Row<'a>> {
        let module = self.view.module.at(place).lookup.as_deref()?;
        self.view.store.view(module)?.get(self.get(place).as_id()?)
    }
}
