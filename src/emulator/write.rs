//! From the JSON of one record to a change of the store: checks, conversion, uniqueness.
//!
//! Used by the record calls and, row by row, by bulk write. Rules and codes follow section
//! "Records: insert, update, upsert, delete" of the API reference. Nothing is written until all of a
//! record is known to be good.

use super::convert::{Rules, convert, expected};
use super::reply::envelope;
use super::schema::{DataType, Field, Module};
use super::store::{Change, Stamp, Store};
use super::value::{Id, Value};
use serde_json::{Map, Value as Json, json};

/// Most rows of one subform in one record. Source: API reference, "Subforms and linking modules".
const MOST_SUBFORM_ROWS: usize = 100;

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Zoho's code, such as `INVALID_DATA`.
    pub code: &'static str,
    /// Zoho's words for it.
    pub message: &'static str,
    /// The field, or a path below it such as `Owner.id`.
    pub api_name: String,
    /// Further keys of `details`.
    pub details: Box<Map<String, Json>>,
}

impl Problem {
    /// A problem with a field.
    pub fn new(code: &'static str, message: &'static str, api_name: &str, details: Json) -> Self {
        let details = match details {
            Json::Object(map) => map,
            _ => Map::new(),
        };
        Self { code, message, api_name: api_name.to_owned(), details: Box::new(details) }
    }

    /// `INVALID_DATA` with more to say.
    pub fn invalid(api_name: &str, details: Json) -> Self {
        Self::new("INVALID_DATA", "invalid data", api_name, details)
    }

    fn mandatory(api_name: &str) -> Self {
        Self::new("MANDATORY_NOT_FOUND", "required field not found", api_name, json!({}))
    }

    fn below(mut self, field: &str, index: usize) -> Self {
        self.api_name = format!("{field}[{index}].{}", self.api_name);
        self
    }

    /// The element of `data` for the record at that place of the request.
    pub fn to_json(&self, index: usize) -> Json {
        let mut details = Map::new();
        let name = self.api_name.rsplit(['.', ' ']).find(|part| *part != "id").unwrap_or(&self.api_name);
        details.insert("api_name".into(), name.into());
        details.insert("json_path".into(), format!("$.data[{index}].{}", self.api_name).into());
        details.extend((*self.details).clone());
        envelope(self.code, self.message, Json::Object(details))
    }
}

/// A record that passed every check but uniqueness.
#[derive(Debug, Default)]
pub struct Draft {
    /// Values of the record's own fields.
    pub changes: Vec<Change>,
    children: Vec<Children>,
}

/// Changes to the rows behind a subform or multi-select lookup.
#[derive(Debug)]
struct Children {
    at: usize,
    /// The field of the rows that points at the record.
    parent: u16,
    insert: Vec<Vec<Change>>,
    update: Vec<(Id, Vec<Change>)>,
    remove: Vec<Id>,
    /// Rows that are not named go.
    replace: bool,
}

/// Checks and creates a record.
///
/// # Errors
/// The first problem found; nothing is written then.
pub fn insert(
    store: &mut Store,
    at: usize,
    record: &Map<String, Json>,
    rules: &Rules,
    stamp: Stamp,
) -> Result<Id, Problem> {
    let draft = prepare(store, at, record, None, rules)?;
    check_unique(store, at, &draft, None)?;
    Ok(commit(store, at, draft, None, stamp))
}

/// Checks and changes a record that exists.
///
/// # Errors
/// The first problem found; nothing is written then.
pub fn update(
    store: &mut Store,
    at: usize,
    id: Id,
    record: &Map<String, Json>,
    rules: &Rules,
    stamp: Stamp,
) -> Result<(), Problem> {
    if store.view_at(at).get(id).is_none() {
        return Err(Problem::new(
            "INVALID_DATA",
            "the id given seems to be invalid",
            "id",
            json!({"id": id.to_string()}),
        ));
    }
    if store.is_locked(at, id) {
        // A bulk file has another word for it.
        let code = if rules.cells { "BLOCKED_RECORD" } else { "RECORD_LOCKED" };
        return Err(Problem::new(code, "the record is locked", "id", json!({"id": id.to_string()})));
    }
    let draft = prepare(store, at, record, Some(id), rules)?;
    check_unique(store, at, &draft, Some(id))?;
    commit(store, at, draft, Some(id), stamp);
    Ok(())
}

/// Checks a record and converts its values; `target` is the row it changes, if there is one.
///
/// # Errors
/// The first problem found.
pub fn prepare(
    store: &Store,
    at: usize,
    record: &Map<String, Json>,
    target: Option<Id>,
    rules: &Rules,
) -> Result<Draft, Problem> {
    let module = &store.schema.modules[at];
    if target.is_none() {
        require_mandatory(module, record)?;
        if !rules.cells {
            require_layout(module, record)?;
        }
    }
    let mut draft = Draft::default();
    for (key, json) in record {
        let Some(place) = module.index_of(key) else {
            if rules.reject_unknown_keys && !key.starts_with('$') && key != "_delete" {
                return Err(Problem::invalid(key, json!({})));
            }
            continue;
        };
        let field = module.at(place);
        if field.data_type.is_rows() {
            draft.children.extend(rows_of(store, module, field, json, target, rules)?);
            continue;
        }
        if !field.is_writable() {
            if rules.reject_read_only && key != "id" {
                return Err(Problem::invalid(key, json!({"reason": "read only"})));
            }
            continue;
        }
        let mut value = convert(store, field, json, rules)?;
        if field.mandatory && value.is_null() {
            return Err(Problem::invalid(key, json!({"expected_data_type": expected(field)})));
        }
        if appends(record, key)
            && let Some(row) = target.and_then(|id| store.view_at(at).get(id))
        {
            value = appended(row.get(place), value);
        }
        draft.changes.push((place, value));
    }
    Ok(draft)
}

fn is_absent(record: &Map<String, Json>, name: &str) -> bool {
    match record.get(name) {
        None | Some(Json::Null) => true,
        Some(Json::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// What the record's layout asks for; one that names none is not held to any.
fn require_layout(module: &Module, record: &Map<String, Json>) -> Result<(), Problem> {
    let id = record.get("Layout").and_then(|layout| layout.get("id").unwrap_or(layout).as_str());
    let Some(place) = id.and_then(|id| id.parse().ok()).and_then(|id| module.layout_at(id)) else {
        return Ok(());
    };
    match module.layouts[place].required.iter().find(|name| is_absent(record, name)) {
        Some(name) => Err(Problem::mandatory(name)),
        None => Ok(()),
    }
}

fn require_mandatory(module: &Module, record: &Map<String, Json>) -> Result<(), Problem> {
    let is_absent = |field: &Field| is_absent(record, &field.api_name);
    // The parent of a subform row is filled in when it is written with its record.
    let given = |field: &Field| field.api_name != "Parent_Id" || module.parent.is_none();
    match module.active().find(|(_, field)| field.mandatory && given(field) && is_absent(field)) {
        Some((_, field)) => Err(Problem::mandatory(&field.api_name)),
        None => Ok(()),
    }
}

fn appends(record: &Map<String, Json>, key: &str) -> bool {
    record.get("$append_values").and_then(|fields| fields.get(key)) == Some(&Json::Bool(true))
}

fn appended(old: Value, new: Value) -> Value {
    match (old, new) {
        (Value::List(old), Value::List(new)) => {
            let more = new.iter().filter(|item| !old.contains(item)).cloned();
            Value::List(old.iter().cloned().chain(more).collect())
        }
        (old, Value::Null) => old,
        (_, new) => new,
    }
}

/// Reads the rows sent for a subform or multi-select lookup.
fn rows_of(
    store: &Store,
    module: &Module,
    field: &Field,
    json: &Json,
    target: Option<Id>,
    rules: &Rules,
) -> Result<Option<Children>, Problem> {
    let rows = match json {
        Json::Null => return Ok(None),
        Json::Array(rows) if rows.len() <= MOST_SUBFORM_ROWS => rows,
        Json::Array(_) => {
            let details = json!({"limit": MOST_SUBFORM_ROWS});
            return Err(Problem::new("LIMIT_EXCEEDED", "too many subform rows", &field.api_name, details));
        }
        _ => return Err(Problem::invalid(&field.api_name, json!({"expected_data_type": "jsonarray"}))),
    };
    let behind = field.subform.as_deref().or(field.linking.as_deref());
    let Some(at) = behind.and_then(|name| store.schema.position(name)) else { return Ok(None) };
    let Some(parent) = parent_field(&store.schema.modules[at], module) else { return Ok(None) };
    let replace = rules.replace_subform_rows && field.data_type == DataType::Subform;
    let mut children =
        Children { at, parent, insert: Vec::new(), update: Vec::new(), remove: Vec::new(), replace };
    for (index, row) in rows.iter().enumerate() {
        children.read(store, row, target, rules).map_err(|problem| problem.below(&field.api_name, index))?;
    }
    Ok(Some(children))
}

/// The lookup of a subform or linking module that points at its owner.
pub fn parent_field(child: &Module, owner: &Module) -> Option<u16> {
    child.index_of("Parent_Id").or_else(|| {
        let mut lookups = child.active().filter(|(_, field)| field.data_type == DataType::Lookup);
        lookups.find(|(_, field)| field.lookup.as_ref() == Some(&owner.api_name)).map(|(place, _)| place)
    })
}

impl Children {
    fn read(&mut self, store: &Store, row: &Json, target: Option<Id>, rules: &Rules) -> Result<(), Problem> {
        let Json::Object(row) = row else {
            return Err(Problem::invalid("id", json!({"expected_data_type": "jsonobject"})));
        };
        let mut row = row.clone();
        let parent = store.schema.modules[self.at].at(self.parent).api_name.clone();
        row.remove(&parent);
        let id = match row.get("id") {
            None | Some(Json::Null) => {
                // The owner's id is not known yet; anything there satisfies the check for it.
                let mut checked = row.clone();
                checked.insert(parent.clone(), json!("0"));
                require_mandatory(&store.schema.modules[self.at], &checked)?;
                self.insert.push(prepare(store, self.at, &row, Some(0), rules)?.changes);
                return Ok(());
            }
            Some(id) => id.as_str().and_then(|text| text.parse::<Id>().ok()),
        };
        let view = store.view_at(self.at);
        let owned = id.and_then(|id| view.get(id)).filter(|row| row.get(self.parent).as_id() == target);
        let Some(owned) = owned else { return Err(Problem::invalid("id", json!({}))) };
        if row.contains_key("_delete") {
            self.remove.push(owned.id);
        } else {
            self.update.push((owned.id, prepare(store, self.at, &row, Some(owned.id), rules)?.changes));
        }
        Ok(())
    }

    fn commit(self, store: &mut Store, owner: Id, stamp: Stamp) {
        if self.replace {
            let kept: Vec<Id> = self.update.iter().map(|(id, _)| *id).collect();
            for id in store.view_at(self.at).pointing(self.parent, owner) {
                if !kept.contains(&id) {
                    store.delete(self.at, id, stamp);
                }
            }
        }
        for id in self.remove {
            store.delete(self.at, id, stamp);
        }
        for (id, changes) in self.update {
            store.update(self.at, id, changes, stamp);
        }
        for mut changes in self.insert {
            changes.push((self.parent, Value::Id(owner)));
            store.insert(self.at, changes, stamp);
        }
    }
}

/// Refuses a value of a unique field that another row has.
///
/// # Errors
/// `DUPLICATE_DATA` with the other row in `details.duplicate_record`.
pub fn check_unique(store: &mut Store, at: usize, draft: &Draft, own: Option<Id>) -> Result<(), Problem> {
    for (place, value) in &draft.changes {
        if !store.schema.modules[at].at(*place).unique || value.is_null() {
            continue;
        }
        if let Some(other) = store.find(at, *place, value).into_iter().find(|id| Some(*id) != own) {
            return Err(duplicate(store, at, *place, other));
        }
    }
    Ok(())
}

/// The `DUPLICATE_DATA` problem for a field whose value another row has.
pub fn duplicate(store: &Store, at: usize, place: u16, other: Id) -> Problem {
    let view = store.view_at(at);
    let owner = view.get(other).and_then(|row| row.by_name("Owner").as_id()).and_then(|id| store.user(id));
    let owner = owner.map(|user| json!({"name": user.full_name(), "id": user.id.to_string()}));
    let module = json!({"api_name": view.module.api_name, "id": view.module.id.to_string()});
    let record = json!({"id": other.to_string(), "module": module, "Owner": owner});
    let details = json!({"id": other.to_string(), "duplicate_record": record});
    Problem::new("DUPLICATE_DATA", "duplicate data", &view.module.at(place).api_name, details)
}

/// Writes a draft: into the row `target`, or as a new row.
pub fn commit(store: &mut Store, at: usize, draft: Draft, target: Option<Id>, stamp: Stamp) -> Id {
    let id = match target {
        Some(id) => {
            store.update(at, id, draft.changes, stamp);
            id
        }
        None => store.insert(at, draft.changes, stamp),
    };
    for children in draft.children {
        children.commit(store, id, stamp);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::directory;
    use crate::emulator::schema::Schema;

    const BASE: Id = 4_876_000_000_000_000_000;
    const STAMP: Stamp = Stamp { now: 1_800_000_000, user: BASE + 225_013 };

    fn store() -> Store {
        let counts = [("Accounts", 3), ("Contacts", 3), ("Products", 3)];
        let counts = counts.map(|(name, count)| (name.to_owned(), count)).into();
        let schema = Schema::load(None, BASE).expect("built-in schema");
        Store::new(schema, directory::users(BASE, 3, "Australia/Sydney"), &counts, 1, BASE)
    }

    fn add(store: &mut Store, module: &str, record: Json) -> Result<Id, Problem> {
        let at = store.schema.position(module).expect(module);
        insert(store, at, record.as_object().expect("an object"), &Rules::default(), STAMP)
    }

    #[test]
    fn problems_name_field_and_path() {
        let mut store = store();
        let problem = add(&mut store, "Leads", json!({"First_Name": "A"})).expect_err("no last name");
        assert_eq!(
            problem.to_json(3).to_string(),
            r#"{"code":"MANDATORY_NOT_FOUND","details":{"api_name":"Last_Name","json_path":"$.data[3].Last_Name"},"message":"required field not found","status":"error"}"#
        );
    }

    #[test]
    fn unique_fields_refuse_a_second_row() {
        let mut store = store();
        let first = add(&mut store, "Contacts", json!({"Last_Name": "A", "Email": "a@x.test"})).expect("new");
        let problem =
            add(&mut store, "Contacts", json!({"Last_Name": "B", "Email": "A@X.test"})).expect_err("taken");
        assert_eq!(problem.code, "DUPLICATE_DATA");
        assert_eq!(problem.details["duplicate_record"]["id"], json!(first.to_string()));
        let at = store.schema.position("Contacts").expect("there");
        let same = json!({"Email": "a@x.test"});
        update(&mut store, at, first, same.as_object().expect("object"), &Rules::default(), STAMP)
            .expect("its own value");
    }

    #[test]
    fn subform_rows_are_added_changed_and_removed() {
        let mut store = store();
        let lines = json!([{"Item": "one", "Quantity": 1.5}, {"Item": "two"}]);
        let id = add(&mut store, "Everything", json!({"Name": "E", "Lines": lines})).expect("new");
        let at = store.schema.position("Everything").expect("there");
        let child = store.schema.position("Everything_Lines").expect("there");
        let parent = store.schema.modules[child].index_of("Parent_Id").expect("there");
        let rows = store.view_at(child).pointing(parent, id);
        assert_eq!(rows.len(), 2);
        let change = json!({"Lines": [{"id": rows[0].to_string(), "Item": "uno"}, {"id": rows[1].to_string(), "_delete": null}, {"Item": "three"}]});
        update(&mut store, at, id, change.as_object().expect("object"), &Rules::default(), STAMP)
            .expect("good");
        let left = store.view_at(child).pointing(parent, id);
        let items: Vec<Value> =
            left.iter().filter_map(|row| Some(store.view_at(child).get(*row)?.by_name("Item"))).collect();
        assert_eq!(items, [Value::text("uno"), Value::text("three")]);
    }
}
