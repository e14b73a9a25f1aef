//! Which stream and property goes to which module and field.
//!
//! A [`Route`] is made once per SCHEMA from the config, the stream's properties and Zoho's metadata, and
//! is then followed row by row. By default the stream names the module and a property the field; `_sdc_*`
//! is never sent; fields that Zoho does not take are left out with one warning. How a route's operation is
//! found when the config does not say it is in `operation`.

use super::columns::{column, constant, rank, tag};
use super::config::{ConfigError, FieldRule, Operation, RowsOf, StreamTarget, child};
use super::metadata::{Metadata, ModuleMeta};
use super::nested;
use super::operation;
use super::path::Path;
use super::relations::{is_user_lookup, layout, lookup_by, users_by};
pub use super::route::{Column, LookupBy, Route, Source, Waits};
use crate::diagnostic::similar;
use crate::zoho::types::Field;

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
    pub(super) path: Path,
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
    if let Some(rows_of) = &target.rows_of {
        return subform_rows(shape, target, rows_of, meta, metadata);
    }
    let (pairs, unknown) = match &target.fields {
        Some(rules) => (configured(shape, rules, meta)?, Vec::new()),
        None => by_name(shape, meta),
    };
    let when = target.when.resolved(shape)?;
    let mut choice = operation::choose(shape, target, meta, &pairs)?;
    let mut not_writable = Vec::new();
    let mut columns = columns_of(pairs, &mut choice, &mut not_writable, target, meta, metadata)?;
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
    let bulk = meta.takes_bulk_write() && choice.operation != Operation::Delete && unmapped.is_empty();
    let rows = || columns.iter().filter_map(|column| column.rows.as_ref());
    let adds_rows = rows().any(|rows| rows.match_on.is_empty());
    let route = Route {
        stream: shape.stream.to_owned(),
        module: meta.module.api_name.clone(),
        operation: choice.operation,
        idempotent: choice.idempotent && !adds_rows,
        folds_case: choice.folds_case,
        match_on: choice.match_on,
        when,
        trigger: target.trigger.clone(),
        conduct: target.conduct.clone(),
        mirror: target.operation == Some(Operation::Mirror),
        columns,
        key_properties: shape.key_properties.to_vec(),
        schema: shape.schema.to_owned(),
        bulk,
        waits_for_record: false,
    };
    Ok(Mapped { route, unknown, not_writable })
}

/// The columns of a route; properties whose field Zoho does not take are left out, or refused where the
/// config names them.
fn columns_of(
    pairs: Vec<Pair<'_>>,
    choice: &mut operation::Choice,
    not_writable: &mut Vec<String>,
    target: &StreamTarget,
    meta: &ModuleMeta,
    metadata: &Metadata,
) -> Result<Vec<Column>, ConfigError> {
    let mut columns = Vec::new();
    for pair in pairs {
        if !operation::takes(choice, pair.field) {
            if choice.operation == Operation::Delete {
                continue;
            }
            if target.fields.is_some() {
                return Err(refused(&pair, choice, target));
            }
            not_writable.push(pair.path.to_string());
            continue;
        }
        columns.push(column(pair, target.nulls, meta, metadata)?);
    }
    let constants = target.constants.iter().filter(|_| choice.operation != Operation::Delete);
    for (name, value) in constants {
        columns.push(constant(name, value, choice, target, meta)?);
    }
    if choice.operation != Operation::Delete {
        columns.extend(layout(target, meta)?);
    }
    if let Some(name) =
        target.conduct.batch_tag_field.as_ref().filter(|_| choice.operation != Operation::Delete)
    {
        columns.push(tag(name, &columns, choice, target, meta)?);
    }
    Ok(columns)
}

/// Holds the names of a target against the metadata, before any stream has told its properties.
///
/// # Errors
/// [`ConfigError`] for unknown modules, fields, layouts, and for lookups that are none.
pub fn check_names(target: &StreamTarget, metadata: &Metadata) -> Result<(), ConfigError> {
    let meta = metadata.get(&target.module).ok_or_else(|| unknown_module(target, metadata))?;
    let known =
        |name: &str, pointer: &str| meta.field(name).ok_or_else(|| unknown_field(name, pointer, meta));
    if let Some(rows_of) = &target.rows_of {
        let at = child(&target.pointer, "rows_of");
        known(&rows_of.key, &child(&at, "by"))?;
        return nested::of_subform(&rows_of.rule, known(&rows_of.field, &child(&at, "field"))?, metadata)
            .map(drop);
    }
    for rule in target.fields.iter().flatten() {
        let field = known(&rule.to, &rule.pointer)?;
        if nested::rows(rule, field, meta, metadata)?.is_some() {
            continue;
        }
        match &rule.lookup_by {
            Some(key) if is_user_lookup(field) => drop(users_by(key, rule, metadata)?),
            Some(key) => drop(lookup_by(key, rule, field, metadata)?),
            None => {}
        }
    }
    for (place, name) in target.match_on.iter().enumerate() {
        known(name, &format!("{}/{place}", child(&target.pointer, "match_on")))?;
    }
    for name in target.constants.keys() {
        known(name, &child(&child(&target.pointer, "constants"), name))?;
    }
    layout(target, meta).map(drop)
}

/// Fields that a new record needs and no column feeds.
fn unmapped_mandatory(columns: &[Column], operation: Operation, meta: &ModuleMeta) -> Vec<String> {
    if matches!(operation, Operation::Update | Operation::Delete) {
        return Vec::new();
    }
    let unmapped = |field: &&Field| {
        field.system_mandatory && columns.iter().all(|column| column.field != field.api_name)
    };
    meta.fields.iter().filter(unmapped).map(|field| field.api_name.clone()).collect()
}

/// The route of a stream whose rows are rows of a subform of records that are there.
fn subform_rows(
    shape: StreamShape<'_>,
    target: &StreamTarget,
    rows_of: &RowsOf,
    meta: &ModuleMeta,
    metadata: &Metadata,
) -> Result<Mapped, ConfigError> {
    let at = child(&target.pointer, "rows_of");
    let key = meta.field(&rows_of.key).ok_or_else(|| unknown_field(&rows_of.key, &at, meta))?;
    let field = meta.field(&rows_of.field).ok_or_else(|| unknown_field(&rows_of.field, &at, meta))?;
    let path = Path::resolve(&rows_of.property, shape, &child(&at, "by"))?;
    for rule in &rows_of.rule.fields {
        Path::resolve(&rule.property, shape, &rule.pointer)?;
    }
    let rows = nested::of_subform(&rows_of.rule, field, metadata)?;
    let idempotent = !rows.match_on.is_empty();
    let columns = vec![
        Column { source: Source::Property(path), mandatory: false, ..Column::of(key) },
        Column { source: Source::Record, rows: Some(Box::new(rows)), ..Column::of(field) },
    ];
    let route = Route {
        stream: shape.stream.to_owned(),
        module: meta.module.api_name.clone(),
        operation: Operation::Update,
        idempotent,
        folds_case: !key.case_sensitive && key.api_name != "id",
        match_on: vec![rows_of.key.clone()],
        when: target.when.resolved(shape)?,
        trigger: target.trigger.clone(),
        conduct: target.conduct.clone(),
        mirror: false,
        columns,
        key_properties: shape.key_properties.to_vec(),
        schema: shape.schema.to_owned(),
        bulk: false,
        waits_for_record: false,
    };
    Ok(Mapped { route, unknown: Vec::new(), not_writable: Vec::new() })
}

/// The pairs a config lists.
fn configured<'a>(
    shape: StreamShape<'_>,
    rules: &[FieldRule],
    meta: &'a ModuleMeta,
) -> Result<Vec<Pair<'a>>, ConfigError> {
    let mut pairs: Vec<Pair<'a>> = Vec::new();
    for rule in rules {
        let path = Path::resolve(&rule.property, shape, &rule.pointer)?;
        for inner in rule.rows.iter().flat_map(|rows| &rows.fields) {
            path.check_item(&Path::free(&inner.property), shape, &inner.pointer)?;
        }
        let field = meta.field(&rule.to).ok_or_else(|| unknown_field(&rule.to, &rule.pointer, meta))?;
        if pairs.iter().any(|pair| pair.rule.to == rule.to) {
            return Err(ConfigError::new(&rule.pointer, format!("\"{}\" gets two values", rule.to)));
        }
        pairs.push(Pair { rule: rule.clone(), path, field });
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
                rule: FieldRule::plain(property, &field.api_name, child("/streams", shape.stream)),
                path: Path::plain(property),
                field,
            }),
            None => unknown.push(property.clone()),
        }
    }
    (pairs, unknown)
}

/// Properties about the transport, not of the record.
fn is_ours(property: &str) -> bool {
    ["_sdc_", "_ab_", "_airbyte_"].iter().any(|start| property.starts_with(start))
        || property == super::report::REJECTED_PROPERTY
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
                layouts: Vec::new(),
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
                layouts: Vec::new(),
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
            error(&["id"], serde_json::json!({"operation": "insert", "match_on": ["id"]}))
                .contains("cannot match on \"id\"")
        );
    }
}
