//! What a mapping says of other records: parents by natural key, users by e-mail address, layouts by name.

use std::sync::Arc;

use super::config::{ConfigError, FieldRule, StreamTarget, child};
use super::mapping::unknown_field;
use super::metadata::{Metadata, ModuleMeta};
use super::operation;
use super::route::{Column, LookupBy, Source};
use super::users::Users;
use crate::codec::encode::{Kind, push_string};
use crate::diagnostic::similar;
use crate::zoho::types::{DataType, Field};

/// Whether the field names a user.
pub(super) fn is_user_lookup(field: &Field) -> bool {
    matches!(field.data_type, DataType::OwnerLookup | DataType::UserLookup)
}

pub(super) fn users_by(key: &str, rule: &FieldRule, metadata: &Metadata) -> Result<Arc<Users>, ConfigError> {
    let pointer = child(&rule.pointer, "match");
    if key != "email" {
        return Err(ConfigError::new(&pointer, format!("users are not found by \"{key}\""))
            .with_hint("\"match\": \"email\" finds them"));
    }
    metadata.users().ok_or_else(|| ConfigError::new(pointer, "the users cannot be read"))
}

pub(super) fn lookup_by(
    key: &str,
    rule: &FieldRule,
    lookup: &Field,
    metadata: &Metadata,
) -> Result<LookupBy, ConfigError> {
    let pointer = child(&rule.pointer, "match");
    let Some(module) = lookup.lookup_module.as_deref() else {
        return Err(ConfigError::new(pointer, format!("\"{}\" is not a lookup", lookup.api_name)));
    };
    let parent = metadata
        .get(module)
        .ok_or_else(|| ConfigError::new(&pointer, format!("the fields of {module} cannot be read")))?;
    let field = parent.field(key).ok_or_else(|| unknown_field(key, &pointer, parent))?;
    let create = match &rule.create_missing {
        None => None,
        Some(others) => Some(new_parent(others, key, &child(&rule.pointer, "create_missing"), parent)?),
    };
    Ok(LookupBy {
        module: parent.module.api_name.clone(),
        field: field.api_name.clone(),
        numeric: Kind::of(field).is_number(),
        findable: finds_parent(parent, field),
        create,
        waits: None,
    })
}

/// The fields that a created parent gets besides its key: all that a new record needs.
fn new_parent(
    others: &serde_json::Map<String, serde_json::Value>,
    key: &str,
    pointer: &str,
    parent: &ModuleMeta,
) -> Result<String, ConfigError> {
    let mut body = String::from("{");
    for (name, value) in others {
        let pointer = child(pointer, name);
        let field = parent.field(name).ok_or_else(|| unknown_field(name, &pointer, parent))?;
        if !field.api_create {
            return Err(ConfigError::new(pointer, format!("Zoho does not take \"{name}\" of a new record")));
        }
        body.push_str(if body.len() > 1 { "," } else { "" });
        push_string(name, &mut body);
        body.push(':');
        Kind::of(field)
            .write_record(value, &mut body)
            .map_err(|mismatch| ConfigError::new(&pointer, mismatch.to_string()))?;
    }
    body.push('}');
    let given = |field: &&Field| field.api_name == key || others.contains_key(&field.api_name);
    let missing = parent.fields.iter().filter(|field| field.system_mandatory && !given(field));
    let missing: Vec<&str> = missing.map(|field| field.api_name.as_str()).collect();
    if missing.is_empty() {
        return Ok(body);
    }
    let module = &parent.module.api_name;
    Err(ConfigError::new(pointer, format!("a new record of {module} needs {}", missing.join(", ")))
        .with_hint(format!(
            "give it a value for all: {{\"create_missing\": {{\"{}\": \"unknown\"}}}}",
            missing[0]
        )))
}

/// The layout of a target, a constant of every row.
pub(super) fn layout(target: &StreamTarget, meta: &ModuleMeta) -> Result<Option<Column>, ConfigError> {
    let Some(wanted) = &target.layout else { return Ok(None) };
    let found = meta.layouts.iter().find(|layout| layout.name == *wanted || layout.id == *wanted);
    let Some(found) = found else {
        let names: Vec<&str> = meta.layouts.iter().map(|layout| layout.name.as_str()).collect();
        let error = ConfigError::new(
            child(&target.pointer, "layout"),
            format!("\"{wanted}\" is not a layout of {}", target.module),
        );
        return Err(error.with_hint(match similar(wanted, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("it has {}", names.join(", ")),
        }));
    };
    let mut json = String::new();
    let id = serde_json::Value::from(found.id.as_str());
    Kind::Lookup
        .write_record(&id, &mut json)
        .map_err(|error| ConfigError::new(child(&target.pointer, "layout"), error.to_string()))?;
    Ok(Some(Column {
        source: Source::Constant(json),
        field: "Layout".to_owned(),
        kind: Kind::Lookup,
        ..Column::of(&Field::default())
    }))
}

/// Whether a bulk job finds parents by that field: a unique one, or the one the module shows as its name.
fn finds_parent(parent: &ModuleMeta, field: &Field) -> bool {
    let name = operation::system_field(&parent.module.api_name).unwrap_or("Name");
    field.unique || field.api_name == "id" || field.api_name == name
}
