//! Which stream and property goes to which module and field.
//!
//! A [`Route`] is made once per SCHEMA from the config, the stream's properties and Zoho's metadata, and
//! is then followed row by row. By default the stream names the module and a property the field; `_sdc_*`
//! is never sent; fields that Zoho does not take are left out with one warning. How a route's operation is
//! found when the config does not say it is in `operation`.

use serde::{Deserialize, Serialize};

use super::config::{ConfigError, FieldRule, Nulls, Operation, StreamTarget, child};
use super::metadata::{Metadata, ModuleMeta};
use super::operation;
use crate::codec::encode::Kind;
use crate::diagnostic::similar;
use crate::zoho::types::Field;

/// Where the rows of a stream go, and how each value is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    /// The stream.
    pub stream: String,
    /// API name of the module.
    pub module: String,
    /// What is done with a row.
    pub operation: Operation,
    /// The fields that find the existing record, in order; empty for an insert that matches nothing.
    pub match_on: Vec<String>,
    /// Whether sending a row twice does no harm.
    pub idempotent: bool,
    /// Whether Zoho's match ignores upper and lower case.
    pub folds_case: bool,
    /// What an explicit null does.
    pub nulls: Nulls,
    /// The fields sent; those of `match_on` come first.
    pub columns: Vec<Column>,
    /// Properties that identify a row of the stream.
    pub key_properties: Vec<String>,
    /// The stream's JSON Schema as it came, for the file of rejected rows.
    pub schema: String,
    /// Whether Bulk Write takes this module and operation.
    pub bulk: bool,
}

/// One field of a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    /// Where the value comes from.
    pub source: Source,
    /// API name of the field.
    pub field: String,
    /// How values are written.
    pub kind: Kind,
    /// For a lookup by the parent's natural key.
    pub lookup: Option<LookupBy>,
    /// Most characters of a text, most digits of a whole number.
    pub max_length: Option<u32>,
    /// Whether a new record needs it.
    pub mandatory: bool,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A property of the stream.
    Property(String),
    /// The same JSON in every row, as text.
    Constant(String),
}

/// A parent found by a field of its own instead of its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupBy {
    /// Module of the parent.
    pub module: String,
    /// The field that holds the natural key.
    pub field: String,
    /// Whether its values are numbers.
    pub numeric: bool,
}

impl Route {
    /// Name under which the ledger keeps the rows of this route.
    pub fn lane(&self) -> String {
        format!("{}>{}", self.stream, self.module)
    }

    /// The place of a field among the columns.
    pub fn column(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.field == field)
    }

    /// Modules whose rows have to be written before those of this route.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.columns
            .iter()
            .filter_map(|column| column.lookup.as_ref())
            .map(|lookup| lookup.module.as_str())
            .filter(|module| *module != self.module)
    }

    /// The route in words: `upsert by Email`.
    pub fn describe(&self) -> String {
        if self.match_on.is_empty() {
            self.operation.to_string()
        } else {
            format!("{} by {}", self.operation, self.match_on.join(", "))
        }
    }
}

/// What a SCHEMA says that matters here.
#[derive(Debug, Clone, Copy)]
pub struct StreamShape<'a> {
    /// The stream.
    pub stream: &'a str,
    /// Names of the properties, in order.
    pub properties: &'a [String],
    /// Names of the key properties.
    pub key_properties: &'a [String],
    /// The JSON Schema as text.
    pub schema: &'a str,
}

/// A finished route and what a person should know about it.
#[derive(Debug)]
pub struct Mapped {
    /// The route.
    pub route: Route,
    /// Properties that have no field of their name.
    pub unknown: Vec<String>,
    /// Properties whose field Zoho does not take in this operation.
    pub not_writable: Vec<String>,
}

/// A property and the field it was matched with.
pub(super) struct Pair<'a> {
    pub(super) rule: FieldRule,
    pub(super) field: &'a Field,
}

/// Makes the route of one stream to one module.
///
/// # Errors
/// [`ConfigError`] for unknown modules, fields and properties, for fields Zoho does not take, and when the
/// operation needs a match field that cannot be found.
pub fn compile(
    shape: StreamShape<'_>,
    target: &StreamTarget,
    metadata: &Metadata,
) -> Result<Mapped, ConfigError> {
    let meta = metadata.get(&target.module).ok_or_else(|| unknown_module(target, metadata))?;
    let (pairs, unknown) = match &target.fields {
        Some(rules) => (configured(shape, rules, meta)?, Vec::new()),
        None => by_name(shape, meta),
    };
    let choice = operation::choose(shape, target, meta, &pairs)?;
    let mut not_writable = Vec::new();
    let mut columns = Vec::new();
    for pair in pairs {
        if !operation::takes(&choice, pair.field) {
            if target.fields.is_some() {
                return Err(refused(&pair, &choice, target));
            }
            not_writable.push(pair.rule.property);
            continue;
        }
        columns.push(column(pair, metadata)?);
    }
    for (name, value) in &target.constants {
        columns.push(constant(name, value, &choice, target, meta)?);
    }
    if columns.is_empty() {
        return Err(nothing_to_write(shape, target));
    }
    let unmapped = unmapped_mandatory(&columns, choice.operation, meta);
    if choice.operation == Operation::Insert && !unmapped.is_empty() {
        return Err(ConfigError::new(
            &target.pointer,
            format!(
                "no property of stream \"{}\" goes to {}, which {} needs",
                shape.stream,
                unmapped.join(", "),
                target.module
            ),
        ));
    }
    columns.sort_by_key(|column| rank(column, &choice.match_on, shape));
    let bulk = meta.takes_bulk_write()
        && choice.match_on.len() <= 1
        && unmapped.is_empty()
        && columns.iter().all(|column| column.kind != Kind::Nested);
    let route = Route {
        stream: shape.stream.to_owned(),
        module: meta.module.api_name.clone(),
        operation: choice.operation,
        idempotent: choice.idempotent,
        folds_case: choice.folds_case,
        match_on: choice.match_on,
        nulls: target.nulls,
        columns,
        key_properties: shape.key_properties.to_vec(),
        schema: shape.schema.to_owned(),
        bulk,
    };
    Ok(Mapped { route, unknown, not_writable })
}

/// Fields that a new record needs and no column feeds.
fn unmapped_mandatory(columns: &[Column], operation: Operation, meta: &ModuleMeta) -> Vec<String> {
    if operation == Operation::Update {
        return Vec::new();
    }
    let unmapped = |field: &&Field| {
        field.system_mandatory && columns.iter().all(|column| column.field != field.api_name)
    };
    meta.fields.iter().filter(unmapped).map(|field| field.api_name.clone()).collect()
}

/// Columns that tell rows apart come first: a bulk result repeats only three.
fn rank(column: &Column, match_on: &[String], shape: StreamShape<'_>) -> usize {
    let place = match_on.iter().position(|field| *field == column.field);
    let is_key =
        matches!(&column.source, Source::Property(property) if shape.key_properties.contains(property));
    match (place, is_key, &column.source, column.kind) {
        (Some(place), ..) => place,
        (None, true, ..) => 100,
        (None, false, Source::Property(_), Kind::Text | Kind::Integer | Kind::BigInteger) => 101,
        (None, false, Source::Property(_), _) => 102,
        (None, false, Source::Constant(_), _) => 103,
    }
}

/// The pairs a config lists.
fn configured<'a>(
    shape: StreamShape<'_>,
    rules: &[FieldRule],
    meta: &'a ModuleMeta,
) -> Result<Vec<Pair<'a>>, ConfigError> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    for rule in rules {
        if !shape.properties.contains(&rule.property) {
            let error = ConfigError::new(
                &rule.pointer,
                format!("\"{}\" is not a property of stream \"{}\"", rule.property, shape.stream),
            );
            let near = similar(&rule.property, shape.properties.iter().map(String::as_str));
            return Err(error.with_hint(match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("its SCHEMA has {}", shape.properties.join(", ")),
            }));
        }
        let field = meta.field(&rule.to).ok_or_else(|| unknown_field(&rule.to, &rule.pointer, meta))?;
        if pairs.iter().any(|pair| pair.rule.to == rule.to) {
            return Err(ConfigError::new(&rule.pointer, format!("\"{}\" gets two values", rule.to)));
        }
        pairs.push(Pair { rule: rule.clone(), field });
    }
    Ok(pairs)
}

/// The pairs that same names make, and the properties left over.
fn by_name<'a>(shape: StreamShape<'_>, meta: &'a ModuleMeta) -> (Vec<Pair<'a>>, Vec<String>) {
    let mut pairs = Vec::new();
    let mut unknown = Vec::new();
    for property in shape.properties.iter().filter(|property| !is_ours(property)) {
        match meta.field(property) {
            Some(field) => pairs.push(Pair {
                rule: FieldRule {
                    property: property.clone(),
                    to: field.api_name.clone(),
                    lookup_by: None,
                    pointer: child("/streams", shape.stream),
                },
                field,
            }),
            None => unknown.push(property.clone()),
        }
    }
    (pairs, unknown)
}

/// Properties about the transport, not of the record.
fn is_ours(property: &str) -> bool {
    property.starts_with("_sdc_") || property == super::report::REJECTED_PROPERTY
}

fn column(pair: Pair<'_>, metadata: &Metadata) -> Result<Column, ConfigError> {
    let lookup = match &pair.rule.lookup_by {
        None => None,
        Some(key) => Some(lookup_by(key, &pair, metadata)?),
    };
    Ok(Column {
        source: Source::Property(pair.rule.property),
        field: pair.field.api_name.clone(),
        // The natural key of a parent travels as text, whatever it is at home.
        kind: if lookup.is_some() { Kind::Text } else { Kind::of(pair.field) },
        lookup,
        max_length: if pair.rule.lookup_by.is_some() { None } else { pair.field.length },
        mandatory: pair.field.system_mandatory,
    })
}

fn lookup_by(key: &str, pair: &Pair<'_>, metadata: &Metadata) -> Result<LookupBy, ConfigError> {
    let pointer = child(&pair.rule.pointer, "match");
    let Some(module) = pair.field.lookup_module.as_deref() else {
        return Err(ConfigError::new(pointer, format!("\"{}\" is not a lookup", pair.field.api_name)));
    };
    let parent = metadata
        .get(module)
        .ok_or_else(|| ConfigError::new(&pointer, format!("the fields of {module} cannot be read")))?;
    let field = parent.field(key).ok_or_else(|| unknown_field(key, &pointer, parent))?;
    Ok(LookupBy {
        module: parent.module.api_name.clone(),
        field: field.api_name.clone(),
        numeric: Kind::of(field).is_number(),
    })
}

fn constant(
    name: &str,
    value: &serde_json::Value,
    choice: &operation::Choice,
    target: &StreamTarget,
    meta: &ModuleMeta,
) -> Result<Column, ConfigError> {
    let pointer = child(&child(&target.pointer, "constants"), name);
    let field = meta.field(name).ok_or_else(|| unknown_field(name, &pointer, meta))?;
    if !operation::takes(choice, field) {
        return Err(ConfigError::new(
            pointer,
            format!("Zoho does not take \"{name}\" under {}", choice.operation),
        ));
    }
    let kind = Kind::of(field);
    let mut json = String::new();
    kind.write_record(value, &mut json)
        .map_err(|mismatch| ConfigError::new(&pointer, mismatch.to_string()))?;
    Ok(Column {
        source: Source::Constant(json),
        field: field.api_name.clone(),
        kind,
        lookup: None,
        max_length: field.length,
        mandatory: field.system_mandatory,
    })
}

fn unknown_module(target: &StreamTarget, metadata: &Metadata) -> ConfigError {
    let error = ConfigError::new(
        child(&target.pointer, "module"),
        format!("\"{}\" is not a module that this user can write", target.module),
    );
    match similar(&target.module, metadata.module_names()) {
        Some(near) => error.with_hint(format!("did you mean \"{near}\"? `zoho-crm modules` lists all")),
        None => error.with_hint(format!(
            "name the module in the config, {{\"streams\": {{\"{0}\": {{\"module\": …}}}}}}, or leave the stream out with \"{0}\": []",
            target.pointer.rsplit('/').next().unwrap_or(&target.module)
        )),
    }
}

pub(super) fn unknown_field(name: &str, pointer: &str, meta: &ModuleMeta) -> ConfigError {
    let module = &meta.module.api_name;
    let listing = format!("`zoho-crm fields {module}` lists all {}", meta.fields.len());
    ConfigError::new(pointer, format!("\"{name}\" is not a field of {module}")).with_hint(
        match similar(name, meta.fields.iter().map(|field| field.api_name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"? {listing}"),
            None => listing,
        },
    )
}

fn refused(pair: &Pair<'_>, choice: &operation::Choice, target: &StreamTarget) -> ConfigError {
    ConfigError::new(
        &pair.rule.pointer,
        format!(
            "Zoho does not take \"{}\" of {} under {}",
            pair.field.api_name, target.module, choice.operation
        ),
    )
}

fn nothing_to_write(shape: StreamShape<'_>, target: &StreamTarget) -> ConfigError {
    ConfigError::new(
        &target.pointer,
        format!("no property of stream \"{}\" has a field of its name in {}", shape.stream, target.module),
    )
    .with_hint(format!(
        "say which goes where: {{\"streams\": {{\"{}\": {{\"fields\": {{…}}}}}}}}",
        shape.stream
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoho::types::{DataType, Module};

    fn field(name: &str, data_type: DataType) -> Field {
        Field { api_name: name.to_owned(), data_type, api_create: true, api_update: true, ..Field::default() }
    }

    fn metadata() -> Metadata {
        let module =
            |name: &str| Module { api_name: name.to_owned(), api_supported: true, ..Module::default() };
        let unique = Field { unique: true, ..field("Northwind_Id", DataType::Text) };
        let name = Field { system_mandatory: true, ..field("Last_Name", DataType::Text) };
        let account =
            Field { lookup_module: Some("Accounts".to_owned()), ..field("Account_Name", DataType::Lookup) };
        let created =
            Field { api_create: false, api_update: false, ..field("Created_Time", DataType::DateTime) };
        Metadata::of(vec![
            ModuleMeta {
                module: module("Contacts"),
                fields: vec![
                    Field { api_create: false, ..field("id", DataType::BigInt) },
                    name,
                    field("Email", DataType::Email),
                    field("Phone", DataType::Phone),
                    account,
                    created,
                    unique.clone(),
                ],
            },
            ModuleMeta {
                module: module("Accounts"),
                fields: vec![unique, field("Account_Name", DataType::Text)],
            },
        ])
    }

    fn compile_with(
        keys: &[&str],
        properties: &[&str],
        target: serde_json::Value,
    ) -> Result<Mapped, ConfigError> {
        let config = serde_json::json!({"streams": {"Contacts": target}});
        let config = crate::target::TargetConfig::from_json(&config)?;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (properties, key_properties) = (owned(properties), owned(keys));
        let shape = StreamShape {
            stream: "Contacts",
            properties: &properties,
            key_properties: &key_properties,
            schema: "{}",
        };
        compile(shape, &config.streams["Contacts"][0], &metadata())
    }

    #[test]
    fn a_record_of_our_own_tap_is_updated_by_id() {
        let properties = ["id", "Last_Name", "Created_Time", "Other", "_sdc_batched_at"];
        let mapped = compile_with(&["id"], &properties, serde_json::json!({})).unwrap();
        assert_eq!(mapped.route.describe(), "update by id");
        assert!(mapped.route.idempotent);
        assert_eq!(mapped.not_writable, ["Created_Time"]);
        assert_eq!(mapped.unknown, ["Other"]);
        assert_eq!(mapped.route.columns[0].field, "id");
    }

    #[test]
    fn a_unique_key_field_is_upserted() {
        let rules = serde_json::json!({"fields": {"name": "Last_Name", "key": ["Northwind_Id",
            {"to": "Account_Name", "match": "Northwind_Id"}]}});
        let route = compile_with(&["key"], &["name", "key"], rules).unwrap().route;
        assert_eq!(route.describe(), "upsert by Northwind_Id");
        assert_eq!(route.columns[0].field, "Northwind_Id");
        assert_eq!(route.parents().collect::<Vec<_>>(), ["Accounts"]);
        assert!(route.bulk && route.idempotent);
    }

    #[test]
    fn an_upsert_by_a_field_that_is_not_unique_cannot_be_repeated() {
        let target = serde_json::json!({"operation": "upsert"});
        let route = compile_with(&[], &["Last_Name", "Email"], target).unwrap().route;
        assert_eq!((route.describe().as_str(), route.idempotent), ("upsert by Email", false));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let error = |keys: &[&str], target| {
            let error = compile_with(keys, &["id", "Last_Name", "Phone"], target).expect_err("must fail");
            format!("{error} | {}", error.hint.clone().unwrap_or_default())
        };
        let none = error(&[], serde_json::json!({}));
        assert!(
            none.contains("cannot tell what to do with stream") && none.contains("\"match_on\""),
            "{none}"
        );
        let fone = error(&[], serde_json::json!({"fields": {"Phone": "Fone"}}));
        assert!(fone.contains("/streams/Contacts/fields/Phone: \"Fone\" is not a field of Contacts | did you mean \"Phone\"?"), "{fone}");
        assert!(error(&[], serde_json::json!({"module": "Contact"})).contains("did you mean \"Contacts\"?"));
        assert!(
            error(&[], serde_json::json!({"fields": ["Last_Nam"]})).contains("is not a property of stream")
        );
        assert!(
            error(&[], serde_json::json!({"operation": "insert", "fields": ["Phone"]})).contains("Last_Name")
        );
        assert!(
            error(&["id"], serde_json::json!({"operation": "upsert", "match_on": ["id"]}))
                .contains("cannot match on \"id\"")
        );
    }
}
