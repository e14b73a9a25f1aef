//! Zoho's metadata to a catalog: one stream for each module that the API supports and the user may
//! see, plus `deleted_records` and those of [`super::small`].

use super::config::{Depth, TapConfig};
use super::error::Error;
use super::extract::learn_org;
use super::names::LookupName;
use super::plan::{MODIFIED_TIME, selected_by_default, unsupported};
use super::policy::FieldPolicy;
use super::{deletes, schema, small};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::protocol::catalog::{Catalog, CatalogEntry, FULL_TABLE, INCREMENTAL};
use crate::protocol::schema::object;
use crate::zoho::Client;
use crate::zoho::types::{DataType, Field, Module};
use futures_util::StreamExt;
use serde_json::{Map, json};

/// Calls for fields under way at once: the largest pool of any edition; the client's gates hold them
/// to that of the organisation.
const FIELD_CALLS: usize = 25;

/// What discovery found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The streams.
    pub catalog: Catalog,
    /// Modules that are there and cannot be read.
    pub skipped: Vec<Skipped>,
}

/// A module that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The module, by API name.
    pub module: String,
    /// What Zoho said.
    pub reason: String,
}

/// The modules that can be streams.
pub fn readable(modules: Vec<Module>) -> impl Iterator<Item = Module> {
    modules.into_iter().filter(|module| module.api_supported && module.viewable)
}

/// Builds the catalog.
///
/// # Errors
/// When the list of modules cannot be had, or a module's fields fail for another reason than that
/// the user may not see them.
pub async fn discover(client: &Client, config: &TapConfig) -> Result<Discovery, Error> {
    let policy = FieldPolicy::new(config)?;
    let org = learn_org(client).await?;
    let modules = readable(client.modules().await?).filter(|module| config.streams.takes(&module.api_name));
    let mut discovery = match config.discover {
        Depth::Full => with_fields(client, modules, config.lookup_names, &policy).await?,
        Depth::Lazy => {
            let streams = modules.map(|module| open_entry(&module)).collect();
            Discovery { catalog: Catalog { streams }, skipped: Vec::new() }
        }
    };
    let extra = small::entries(org.as_ref()).chain([deletes::entry()]);
    discovery.catalog.streams.extend(extra.filter(|entry| config.streams.takes(&entry.tap_stream_id)));
    for entry in &mut discovery.catalog.streams {
        policy.entry(entry)?;
    }
    Ok(discovery)
}

/// The streams of these modules with their fields, one call for each.
async fn with_fields(
    client: &Client,
    modules: impl Iterator<Item = Module>,
    lookup_names: bool,
    policy: &FieldPolicy,
) -> Result<Discovery, Error> {
    let calls = modules.map(|module| async move {
        let fields = client.fields(&module.api_name).await;
        (module, fields)
    });
    let answers: Vec<_> = futures_util::stream::iter(calls).buffered(FIELD_CALLS).collect().await;
    let mut discovery = Discovery::default();
    for (module, fields) in answers {
        match fields {
            Ok(fields) if fields.is_empty() => discovery.skip(&module, "it has no fields"),
            Ok(fields) => {
                let names = fields.iter().filter_map(|field| LookupName::of(field, &fields));
                let names: Vec<_> = names.filter(|_| lookup_names).collect();
                let mut entry = module_entry(&module, &fields, &names);
                policy.names(&mut entry, names);
                discovery.catalog.streams.push(entry);
            }
            Err(error) if skips(&error) => discovery.skip(&module, &error.to_string()),
            Err(error) => return Err(Error::in_stream(&module.api_name)(error)),
        }
    }
    Ok(discovery)
}

impl Discovery {
    fn skip(&mut self, module: &Module, reason: &str) {
        self.skipped.push(Skipped { module: module.api_name.clone(), reason: reason.to_owned() });
    }
}

/// Whether a refusal means that this module is not for us, and the others still are.
pub fn skips(error: &crate::zoho::Error) -> bool {
    let code = matches!(
        error.code(),
        Some(
            "INVALID_MODULE"
                | "NOT_SUPPORTED"
                | "MODULE_NOT_SUPPORTED"
                | "MODULE_NOT_AVAILABLE"
                | "API_NOT_SUPPORTED"
        )
    );
    // A missing scope is no property of a module: it would silently empty the catalog.
    let scope = error.code() == Some("OAUTH_SCOPE_MISMATCH");
    code || error.class() == ErrorClass::Permission && !scope
}

fn module_entry(module: &Module, fields: &[Field], names: &[LookupName]) -> CatalogEntry {
    let incremental = fields.iter().any(|field| field.api_name == MODIFIED_TIME);
    let method = if incremental { INCREMENTAL } else { FULL_TABLE };
    let mut properties = Map::new();
    let id = json!({"type": "string", "x-zoho-type": "bigint"});
    properties.insert("id".into(), id);
    for field in fields {
        properties.insert(field.api_name.clone(), schema::property(field));
        for name in names_of(field, names) {
            properties.insert(name.column.name.clone(), name.schema.clone());
        }
    }
    let mut entry = CatalogEntry {
        tap_stream_id: module.api_name.clone(),
        stream: module.api_name.clone(),
        key_properties: vec!["id".into()],
        schema: object(properties),
        replication_method: Some(method.into()),
        replication_key: incremental.then(|| MODIFIED_TIME.into()),
        ..CatalogEntry::default()
    };
    let mut stream = json!({
        "inclusion": "available",
        "selected-by-default": true,
        "table-key-properties": ["id"],
        "forced-replication-method": method,
        "zoho-module": module.api_name,
        "zoho-generated-type": module.generated_type,
    });
    if let Some(parent) = &module.parent_module {
        stream["zoho-parent-module"] = parent.as_str().into();
    }
    if incremental {
        stream["valid-replication-keys"] = json!([MODIFIED_TIME]);
    }
    entry.push_metadata(&[], stream);
    if !fields.iter().any(|field| field.api_name == "id") {
        entry.push_metadata(&["properties", "id"], json!({"inclusion": "automatic"}));
    }
    for field in fields {
        entry.push_metadata(&["properties", &field.api_name], field_metadata(module, field));
        for name in names_of(field, names) {
            entry.push_metadata(&["properties", &name.column.name], name_metadata(name));
        }
    }
    entry
}

/// Those of these names that come with a field: one or none.
fn names_of<'n>(field: &Field, names: &'n [LookupName]) -> impl Iterator<Item = &'n LookupName> {
    names.iter().filter(move |name| name.column.field == field.api_name)
}

fn name_metadata(name: &LookupName) -> serde_json::Value {
    json!({"inclusion": "available", "selected-by-default": true,
        "zoho-note": format!("comes with `{}`; a change of the name alone does not bring the record again", name.column.field)})
}

/// A stream whose fields are asked for by the sync that reads it.
fn open_entry(module: &Module) -> CatalogEntry {
    let id = json!({"type": "string", "x-zoho-type": "bigint"});
    let mut schema = object(Map::from_iter([("id".to_owned(), id)]));
    schema["additionalProperties"] = true.into();
    let mut entry = CatalogEntry {
        tap_stream_id: module.api_name.clone(),
        stream: module.api_name.clone(),
        key_properties: vec!["id".into()],
        schema,
        // Full table where it turns out that nothing tells what is new.
        replication_method: Some(INCREMENTAL.into()),
        ..CatalogEntry::default()
    };
    entry.push_metadata(
        &[],
        json!({"inclusion": "available", "selected-by-default": true, "table-key-properties": ["id"],
               "zoho-module": module.api_name, "zoho-generated-type": module.generated_type,
               "zoho-note": "listed without its fields (`discover: lazy`): the sync asks for them and reads those that cost next to nothing"}),
    );
    entry.push_metadata(&["properties", "id"], json!({"inclusion": "automatic"}));
    entry
}

/// Whether the field says which records a row stands between: the parent of a subform row, both ends of
/// a link. Without it the row is of no use.
fn joins(module: &Module, field: &Field) -> bool {
    match module.generated_type.as_str() {
        "subform" => field.api_name == "Parent_Id",
        "linking" => matches!(field.data_type, DataType::Lookup | DataType::UserLookup) && !is_stamp(field),
        _ => false,
    }
}

/// Whether the field tells who wrote the row, or whose it is.
fn is_stamp(field: &Field) -> bool {
    matches!(field.api_name.as_str(), "Owner" | "Created_By" | "Modified_By")
}

fn field_metadata(module: &Module, field: &Field) -> serde_json::Value {
    let automatic = matches!(field.api_name.as_str(), "id" | MODIFIED_TIME) || joins(module, field);
    let reason = unsupported(field);
    let inclusion = match reason {
        _ if automatic => "automatic",
        Some(_) => "unsupported",
        None => "available",
    };
    let mut metadata = json!({"inclusion": inclusion, "zoho-data-type": field.data_type.as_str()});
    match reason {
        Some(reason) => metadata["zoho-note"] = reason.into(),
        None => {
            let is_selected = selected_by_default(field);
            metadata["selected-by-default"] = is_selected.into();
            if !is_selected {
                metadata["zoho-note"] =
                    "only the records API delivers it, at 5 credits for 1,000 rows".into();
            }
        }
    }
    let related =
        field.lookup_module.as_ref().or(field.subform_module.as_ref()).or(field.linking_module.as_ref());
    if let Some(module) = related {
        metadata["zoho-related-module"] = module.as_str().into();
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_becomes_a_stream_with_inclusions() {
        let module =
            Module { api_name: "Things".into(), generated_type: "custom".into(), ..Module::default() };
        let fields: Vec<Field> = [
            json!({"api_name": "id", "data_type": "bigint"}),
            json!({"api_name": "Rows", "data_type": "subform", "subform": {"module": {"api_name": "Rows"}}}),
            json!({"api_name": "Tag", "data_type": "text", "json_type": "jsonarray"}),
            json!({"api_name": "Modified_Time", "data_type": "datetime"}),
        ]
        .iter()
        .map(Field::from_json)
        .collect();
        let entry = module_entry(&module, &fields, &[]);
        assert_eq!(entry.replication_key.as_deref(), Some("Modified_Time"));
        let inclusion =
            |name: &str| entry.property_metadata(name, "inclusion").and_then(|value| value.as_str());
        assert_eq!(inclusion("id"), Some("automatic"));
        assert_eq!(inclusion("Rows"), Some("unsupported"));
        assert_eq!(inclusion("Modified_Time"), Some("automatic"));
        assert!(entry.is_selected() && !entry.is_property_selected("Tag"));
    }

    #[test]
    fn a_row_of_a_subform_or_a_link_comes_with_what_it_belongs_to() {
        let fields = [
            json!({"api_name": "Parent_Id", "data_type": "lookup"}),
            json!({"api_name": "Owner", "data_type": "ownerlookup"}),
            json!({"api_name": "User", "data_type": "userlookup"}),
        ]
        .map(|field| Field::from_json(&field));
        let automatic = |generated_type: &str| {
            let module = Module { generated_type: generated_type.into(), ..Module::default() };
            fields.each_ref().map(|field| field_metadata(&module, field)["inclusion"] == "automatic")
        };
        assert_eq!(automatic("subform"), [true, false, false]);
        assert_eq!(automatic("linking"), [true, false, true]);
        assert_eq!(automatic("custom"), [false; 3]);
    }
}
