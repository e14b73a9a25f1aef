//! What can be written where: the operations that the destination offers for data activation.
//!
//! One for each module and sync mode that the organisation's metadata allows, with the fields Zoho takes, those
//! it requires, and the keys by which records are found. Made from metadata alone: one call for the modules and
//! one for the fields of each. Follows Airbyte's page "Data activation" and Zoho's "Fields Metadata".

use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::config::Operation;
use super::error::Error;
use super::metadata::ModuleMeta;
use super::operation::{Choice, system_field, takes};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::zoho::Client;
use crate::zoho::types::{DataType, Field, Module};

/// Calls for fields under way at once.
const FIELD_CALLS: usize = 8;

/// The sync modes, each with what it means here.
pub const MODES: [(&str, Operation); 4] = [
    ("append", Operation::Insert),
    ("append_dedup", Operation::Upsert),
    ("update", Operation::Update),
    ("soft_delete", Operation::Delete),
];

/// Everything that can be done in this organisation: the payload of DESTINATION_CATALOG.
///
/// # Errors
/// Those of the metadata calls; a module that this user may not see is left out.
pub async fn operations(client: &Client) -> Result<Value, Error> {
    let modules = client.modules().await.map_err(|error| Error::zoho("cannot read the modules", error))?;
    let calls = modules.into_iter().filter(is_object).map(|module| async move {
        let fields = client.fields(&module.api_name).await;
        (module, fields)
    });
    let answers: Vec<_> = futures_util::stream::iter(calls).buffered(FIELD_CALLS).collect().await;
    let mut operations = Vec::new();
    for (module, fields) in answers {
        match fields {
            Ok(fields) => operations.extend(of_module(&ModuleMeta { module, fields, layouts: Vec::new() })),
            Err(error) if error.class() == ErrorClass::Permission => {
                tracing::warn!("{} is left out: {error}", module.api_name);
            }
            Err(error) => {
                return Err(Error::zoho(format!("cannot read the metadata of {}", module.api_name), error));
            }
        }
    }
    Ok(json!({"operations": operations}))
}

/// Whether rows can become records of a module: subforms and links are written with their own.
fn is_object(module: &Module) -> bool {
    let is_part = matches!(module.generated_type.as_str(), "subform" | "linking");
    module.api_supported && !is_part && (module.creatable || module.editable)
}

fn of_module(meta: &ModuleMeta) -> Vec<Value> {
    let module = &meta.module;
    let allowed = MODES.into_iter().filter(|(_, operation)| match operation {
        Operation::Insert => module.creatable,
        Operation::Update => module.editable,
        Operation::Delete => module.deletable,
        Operation::Upsert | Operation::Mirror => module.creatable && module.editable,
    });
    allowed.filter_map(|(mode, operation)| one(meta, mode, operation)).collect()
}

/// An operation; none where nothing would find a record, or nothing can be written.
fn one(meta: &ModuleMeta, mode: &str, operation: Operation) -> Option<Value> {
    let keys = keys(meta, operation);
    let match_on: Vec<String> = keys.iter().map(|field| field.api_name.clone()).collect();
    if match_on.is_empty() && operation != Operation::Insert {
        return None;
    }
    let choice = Choice { operation, match_on, idempotent: false, folds_case: false };
    let fields: Vec<&Field> = meta.fields.iter().filter(|field| takes(&choice, field)).collect();
    if fields.is_empty() {
        return None;
    }
    let creates = matches!(operation, Operation::Insert | Operation::Upsert);
    let required = fields.iter().filter(|field| creates && field.system_mandatory && field.api_name != "id");
    let required: Vec<&str> = required.map(|field| field.api_name.as_str()).collect();
    let property = |field: &&Field| {
        (field.api_name.clone(), property(field, required.contains(&field.api_name.as_str())))
    };
    let mut offered = json!({
        "object_name": meta.module.api_name,
        "sync_mode": mode,
        "json_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": fields.iter().map(property).collect::<Map<_, _>>(),
        },
    });
    let keys: Vec<[&str; 1]> = keys.iter().map(|field| [field.api_name.as_str()]).collect();
    if !keys.is_empty() {
        offered["matching_keys"] = json!(keys);
    }
    Some(offered)
}

/// The fields by which a record is found: its id where it has to be there, what Zoho holds unique, and under
/// an upsert the field by which Zoho itself looks for duplicates. An insert needs none, and leaves alone what
/// it finds by a unique one.
fn keys(meta: &ModuleMeta, operation: Operation) -> Vec<&Field> {
    let by_id = matches!(operation, Operation::Update | Operation::Delete);
    let system = system_field(&meta.module.api_name).filter(|_| operation == Operation::Upsert);
    let is_key = |field: &&Field| match field.api_name.as_str() {
        "id" => by_id,
        name => (field.unique || field.external) && !is_computed(field) || Some(name) == system,
    };
    let mut keys: Vec<&Field> = meta.fields.iter().filter(is_key).collect();
    // What is surely one record comes first: a platform shows the first as its proposal.
    keys.sort_by_key(|field| (field.api_name != "id", !field.unique));
    keys
}

fn is_computed(field: &Field) -> bool {
    matches!(field.data_type, DataType::Formula | DataType::RollupSummary | DataType::AutoNumber)
}

/// The schema of a field, in what a platform can map to.
fn property(field: &Field, is_required: bool) -> Value {
    let (kind, format) = match &field.data_type {
        DataType::Integer => ("integer", None),
        DataType::Double | DataType::Currency | DataType::Percent => ("number", None),
        DataType::Boolean => ("boolean", None),
        DataType::Date => ("string", Some("date")),
        DataType::DateTime => ("string", Some("date-time")),
        DataType::MultiSelectPicklist
        | DataType::MultiSelectLookup
        | DataType::MultiUserLookup
        | DataType::Subform => ("array", None),
        _ => ("string", None),
    };
    let mut property = json!({"type": if is_required { json!(kind) } else { json!(["null", kind]) }});
    if let Some(format) = format {
        property["format"] = format.into();
    }
    if field.data_type == DataType::DateTime {
        property["airbyte_type"] = "timestamp_with_timezone".into();
    }
    if !field.field_label.is_empty() {
        property["title"] = field.field_label.as_str().into();
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, more: Value) -> Field {
        let mut json = json!({"api_name": name, "data_type": "text",
            "operation_type": {"web_create": true, "api_create": true, "web_update": true, "api_update": true}});
        json.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Field::from_json(&json)
    }

    #[test]
    fn a_module_offers_what_its_metadata_allows() {
        let module = Module {
            api_name: "Leads".into(),
            api_supported: true,
            creatable: true,
            editable: true,
            ..Module::default()
        };
        let fields = vec![
            field("id", json!({"data_type": "bigint"})),
            field("Last_Name", json!({"system_mandatory": true})),
            field("Email", json!({"data_type": "email"})),
            field("Code", json!({"unique": {"casesensitive": "false"}})),
            field("Sum", json!({"data_type": "formula"})),
        ];
        let offered = of_module(&ModuleMeta { module, fields, layouts: Vec::new() });
        let modes: Vec<&str> = offered.iter().filter_map(|one| one["sync_mode"].as_str()).collect();
        assert_eq!(modes, ["append", "append_dedup", "update"], "deleting is not allowed here");
        assert_eq!(offered[0]["json_schema"]["required"], json!(["Last_Name"]));
        assert_eq!(offered[1]["matching_keys"], json!([["Code"], ["Email"]]));
        assert_eq!(offered[2]["matching_keys"], json!([["id"], ["Code"]]));
        assert_eq!(offered[2]["json_schema"]["required"], json!([]));
        assert!(offered.iter().all(|one| one["json_schema"]["properties"]["Sum"].is_null()));
        assert!(offered[2]["json_schema"]["properties"]["id"].is_object());
    }
}
