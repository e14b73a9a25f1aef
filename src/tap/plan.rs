//! What will be read of a stream, and by which way.
//!
//! A plan is made from the catalog (what is wanted) and the module's live metadata (what there is).
//! The ways differ in price and reach; see "Limits" and "API credits" of Zoho's v8 pages.

use super::config::Method;
use super::delivery::Delivery;
use super::names::LookupName;
use super::policy::FieldPolicy;
use super::schema;
use super::slices::{Learned, Slices};
use crate::codec::guard::Guard;
use crate::codec::plan::{Column, RecordPlan};
use crate::codec::value::Kind;
use crate::protocol::catalog::{CatalogEntry, INCREMENTAL};
use crate::protocol::schema::{object, project};
use crate::zoho::types::{DataType, Field};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The field by which Zoho tells what is new.
pub const MODIFIED_TIME: &str = "Modified_Time";

/// A way of reading a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Jobs that write a file; best for many rows.
    BulkRead,
    /// Queries; best for few.
    Coql,
    /// Pages of records; for what the others refuse.
    Records,
}

impl Way {
    /// Every way, the most robust first: it wins where prices are equal.
    pub const ALL: [Self; 3] = [Self::Coql, Self::BulkRead, Self::Records];

    /// The name in configuration and state.
    pub fn name(self) -> &'static str {
        match self {
            Self::BulkRead => "bulk_read",
            Self::Coql => "coql",
            Self::Records => "records",
        }
    }

    /// The name as people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::BulkRead => "Bulk Read",
            Self::Coql => "COQL",
            Self::Records => "records API",
        }
    }

    /// The way of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }
}

/// One selected stream, ready to be read.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// The key of its bookmark.
    pub tap_stream_id: String,
    /// The name its messages carry.
    pub stream: String,
    /// The module, by API name.
    pub module: String,
    /// Its properties and their kinds, `id` first.
    pub columns: RecordPlan,
    /// JSON Schema of its records.
    pub schema: Value,
    /// Who can deliver each property, in their order.
    pub deliveries: Vec<Delivery>,
    /// Properties that nobody asked for by name.
    pub by_default: Vec<String>,
    /// The property that tells what is new; none: full table.
    pub replication_key: Option<String>,
    /// What differs between catalog and Zoho, one sentence each.
    pub warnings: Vec<String>,
}

impl StreamPlan {
    /// Plans a stream of the catalog against the module's live fields, under the policy; `names`:
    /// whether names come with lookups.
    pub fn new(entry: &CatalogEntry, fields: &[Field], policy: &FieldPolicy, names: bool) -> Self {
        let mut draft = Draft { warnings: vanished(entry, fields, names), ..Draft::default() };
        let id = Field { api_name: "id".into(), data_type: DataType::BigInt, ..Field::default() };
        let id = fields.iter().find(|field| field.api_name == "id").unwrap_or(&id);
        draft.push(Column::new("id", Kind::Id), schema::property(id), Delivery::ALL);
        for field in fields.iter().filter(|field| field.api_name != "id" && wants(entry, field)) {
            let column = Column::new(&field.api_name, Kind::of(field));
            let guarded = policy.column(&entry.tap_stream_id, column, schema::property(field));
            let Some((column, property)) = guarded else { continue };
            draft.take(entry, column, property, Delivery::of(field));
            let name = LookupName::of(field, fields).filter(|name| names && wants_name(entry, name));
            let name = name.and_then(|name| policy.name(&entry.tap_stream_id, name));
            if let Some(LookupName { column, schema, delivery, .. }) = name {
                draft.take(entry, column, schema, delivery);
            }
        }
        let incremental = entry.method() == INCREMENTAL && draft.properties.contains_key(MODIFIED_TIME);
        Self {
            tap_stream_id: entry.tap_stream_id.clone(),
            stream: entry.stream_name().to_owned(),
            module: module_of(entry).to_owned(),
            columns: RecordPlan::new(draft.columns),
            schema: object(draft.properties),
            deliveries: draft.deliveries,
            by_default: draft.by_default,
            replication_key: incremental.then(|| MODIFIED_TIME.to_owned()),
            warnings: draft.warnings,
        }
    }

    /// The names of lookups that lists do not tell alike and that nobody asked for: what a module that
    /// only lists read goes without.
    pub fn names_beyond_lists(&self) -> Vec<String> {
        let columns = self.columns.columns.iter().zip(&self.deliveries);
        let names = columns.filter(|(column, delivery)| column.kind == Kind::Name && !delivery.records);
        let names = names.map(|(column, _)| column.name.clone());
        names.filter(|name| self.by_default.contains(name)).collect()
    }

    /// API names of the fields, in the order of the properties.
    pub fn fields(&self) -> Vec<String> {
        self.columns.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The same stream with only these of its properties, and the id.
    pub fn narrowed(&self, keep: impl Fn(&str) -> bool) -> Self {
        let keep = |name: &str| name == "id" || keep(name);
        let columns = self.columns.columns.iter().zip(&self.deliveries);
        let kept = columns.filter(|(column, _)| keep(&column.name));
        let (columns, deliveries): (Vec<_>, Vec<_>) =
            kept.map(|(column, way)| (column.clone(), *way)).unzip();
        let columns = RecordPlan::new(columns);
        Self { columns, deliveries, schema: project(&self.schema, keep), ..self.clone() }
    }

    /// The properties that Zoho works out by itself, which does not move `Modified_Time`.
    pub fn worked_out(&self) -> Vec<String> {
        let types = ["formula", "rollup_summary"];
        let is_one = |name: &&String| {
            let zoho_type = self.schema["properties"][name.as_str()]["x-zoho-type"].as_str();
            zoho_type.is_some_and(|zoho_type| types.contains(&zoho_type))
        };
        let names: Vec<String> = self.fields();
        names.iter().filter(is_one).cloned().collect()
    }

    /// The properties, each with what distinguishes its values from those of an earlier run.
    pub fn forms(&self) -> BTreeMap<String, String> {
        let form = |column: &Column| match &column.guard {
            None => format!("{:?}", column.kind),
            Some(Guard::Mask) => "masked".to_owned(),
            Some(Guard::Hash(key)) => format!("hashed {:?}", key.print()),
        };
        self.columns.columns.iter().map(|column| (column.name.clone(), form(column))).collect()
    }

    /// Changes when the selected fields, their kinds or what is kept back of them do.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for column in &self.columns.columns {
            hash.update(format!("{}:{:?};", column.name, column.kind));
            match &column.guard {
                None => {}
                Some(Guard::Mask) => hash.update("masked;"),
                Some(Guard::Hash(key)) => hash.update(key.print()),
            }
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// How the stream can be read, by each way as the main one, cheapest for `rows` rows first; and of
    /// each other way why it cannot.
    pub fn ways(&self, method: Method, rows: u64, learned: &Learned) -> (Vec<Slices>, Vec<String>) {
        let mut refused = Vec::new();
        let mut ways: Vec<Slices> = Way::ALL
            .into_iter()
            .filter(|way| wanted(method, *way) && !learned.ways.contains(way))
            .filter_map(|way| match Slices::new(&self.columns, &self.deliveries, way, rows, learned) {
                Ok(slices) => Some(slices),
                Err(objection) => {
                    refused.push(format!("{}: {objection}", way.label()));
                    None
                }
            })
            .collect();
        ways.sort_by_key(|slices| slices.credits(rows));
        (ways, refused)
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    properties: Map<String, Value>,
    columns: Vec<Column>,
    deliveries: Vec<Delivery>,
    by_default: Vec<String>,
    warnings: Vec<String>,
}

impl Draft {
    fn push(&mut self, column: Column, property: Value, delivery: Delivery) {
        self.properties.insert(column.name.clone(), property);
        self.columns.push(column);
        self.deliveries.push(delivery);
    }

    /// Takes in a property that the catalog may know, and what differs from it.
    fn take(&mut self, entry: &CatalogEntry, column: Column, property: Value, delivery: Delivery) {
        self.warnings.extend(retyped(entry, &column.name, &property));
        if !entry.is_property_asked_for(&column.name) {
            self.by_default.push(column.name.clone());
        }
        self.push(column, property, delivery);
    }
}

fn wanted(method: Method, way: Way) -> bool {
    match method {
        Method::Auto => true,
        Method::BulkRead => way == Way::BulkRead,
        Method::Coql => way == Way::Coql,
        Method::Records => way == Way::Records,
    }
}

/// The module that a stream reads: discovery notes it, because a stream can be renamed.
pub fn module_of(entry: &CatalogEntry) -> &str {
    entry.stream_metadata("zoho-module").and_then(Value::as_str).unwrap_or(&entry.tap_stream_id)
}

/// Why a field cannot be a property of its module's stream; none: it can.
pub fn unsupported(field: &Field) -> Option<&'static str> {
    match field.data_type {
        DataType::Subform => Some("its rows are a stream of their own"),
        DataType::MultiSelectLookup | DataType::MultiUserLookup => {
            Some("its links are a stream of their own, the linking module")
        }
        _ if field.virtual_field => Some("it has no value of its own"),
        _ => None,
    }
}

/// Whether a field is read unless somebody says otherwise: all but those that only the records API
/// delivers, at a price of several credits for a thousand rows.
pub fn selected_by_default(field: &Field) -> bool {
    unsupported(field).is_none() && !Delivery::of(field).is_dear()
}

fn wants(entry: &CatalogEntry, field: &Field) -> bool {
    let listed = entry.properties().any(|property| property == field.api_name);
    match unsupported(field) {
        Some(_) => false,
        None if field.api_name == MODIFIED_TIME => true,
        None if listed => entry.is_property_selected(&field.api_name),
        // A field that is newer than the catalog appears by itself.
        None => !entry.is_closed && selected_by_default(field),
    }
}

/// Names come with their fields, unless the catalog says otherwise.
fn wants_name(entry: &CatalogEntry, name: &LookupName) -> bool {
    let listed = entry.properties().any(|property| property == name.column.name);
    !listed && !entry.is_closed || entry.is_property_selected(&name.column.name)
}

fn vanished(entry: &CatalogEntry, fields: &[Field], names: bool) -> Vec<String> {
    let of_lookups: Vec<String> =
        fields.iter().filter_map(|field| Some(LookupName::of(field, fields)?.column.name)).collect();
    let is_there = |name: &str| name == "id" || fields.iter().any(|field| field.api_name == name);
    let sentence = |name: &str| match of_lookups.iter().any(|of_lookup| of_lookup == name) {
        true if names || !entry.is_property_asked_for(name) => None,
        true => Some(format!("`{name}` of the catalog is left out, because `lookup_names` is off")),
        false => Some(format!("field `{name}` of the catalog is no longer there and is left out")),
    };
    let gone = entry.properties().filter(|name| entry.is_property_selected(name) && !is_there(name));
    gone.filter_map(sentence).collect()
}

fn retyped(entry: &CatalogEntry, name: &str, now: &Value) -> Option<String> {
    let before = entry.schema.get("properties")?.get(name)?;
    let form = |schema: &Value| (schema["type"].clone(), schema["format"].clone());
    let listed = before.get("type").is_some();
    (listed && form(before) != form(now)).then(|| {
        format!(
            "field `{name}` is of another type than in the catalog: {} now, {} there",
            now["type"], before["type"]
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(of: &[(&str, &str)]) -> Vec<Field> {
        of.iter()
            .map(|(name, data_type)| Field::from_json(&json!({"api_name": name, "data_type": data_type})))
            .collect()
    }

    fn entry(properties: Value) -> CatalogEntry {
        serde_json::from_value(json!({"tap_stream_id": "Leads", "schema": {"properties": properties},
            "replication_method": "INCREMENTAL", "key_properties": ["id"], "metadata": []}))
        .expect("reads")
    }

    #[test]
    fn new_fields_appear_and_vanished_ones_are_named() {
        let live =
            fields(&[("id", "bigint"), ("New", "text"), ("Modified_Time", "datetime"), ("N", "integer")]);
        let plan = StreamPlan::new(
            &entry(json!({"id": {}, "Old": {}, "N": {"type": ["null", "string"]}})),
            &live,
            &FieldPolicy::default(),
            false,
        );
        assert_eq!(plan.fields(), ["id", "New", "Modified_Time", "N"]);
        assert_eq!(plan.replication_key.as_deref(), Some("Modified_Time"));
        assert_eq!(
            plan.warnings,
            [
                "field `Old` of the catalog is no longer there and is left out",
                "field `N` is of another type than in the catalog: [\"null\",\"integer\"] now, [\"null\",\"string\"] there"
            ]
        );
    }

    #[test]
    fn the_cheapest_way_that_can_comes_first() {
        let learned = Learned::default();
        let plan = StreamPlan::new(
            &entry(json!({})),
            &fields(&[("id", "bigint"), ("A", "text")]),
            &FieldPolicy::default(),
            false,
        );
        assert_eq!(plan.ways(Method::Auto, 500, &learned).0[0].main, Way::Coql);
        assert_eq!(plan.ways(Method::Auto, 200_000, &learned).0[0].main, Way::BulkRead);
        let files = fields(&[("id", "bigint"), ("F", "fileupload")]);
        let plan = StreamPlan::new(&entry(json!({"F": {}})), &files, &FieldPolicy::default(), false);
        let (ways, refused) = plan.ways(Method::Auto, 500, &learned);
        assert_eq!(ways.iter().map(|way| way.main).collect::<Vec<_>>(), [Way::Records]);
        assert_eq!(refused, ["COQL: delivers no selected field", "Bulk Read: delivers no selected field"]);
        let plan = plan.narrowed(|name| name != "F");
        assert_eq!((plan.fields(), plan.deliveries.len()), (vec!["id".to_owned()], 1));
    }
}
