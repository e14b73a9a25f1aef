//! Zoho's metadata to a catalog: one stream for each module that the API supports and the user may
//! see, plus `users` and `deleted_records`.

use super::config::{Depth, TapConfig};
use super::error::Error;
use super::extract::learn_org;
use super::plan::{MODIFIED_TIME, selected_by_default, unsupported};
use super::policy::FieldPolicy;
use super::{deletes, schema, users};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::protocol::catalog::{Catalog, CatalogEntry, FULL_TABLE, INCREMENTAL};
use crate::protocol::schema::object;
use crate::zoho::Client;
use crate::zoho::types::{Field, Module};
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
    learn_org(client).await?;
    let modules = readable(client.modules().await?).filter(|module| config.streams.takes(&module.api_name));
    let mut discovery = match config.discover {
        Depth::Full => with_fields(client, modules).await?,
        Depth::Lazy => {
            let streams = modules.map(|module| open_entry(&module)).collect();
            Discovery { catalog: Catalog { streams, ..Catalog::default() }, skipped: Vec::new() }
        }
    };
    let extra = [users::entry(), deletes::entry()];
    discovery
        .catalog
        .streams
        .extend(extra.into_iter().filter(|entry| config.streams.takes(&entry.tap_stream_id)));
    for entry in &mut discovery.catalog.streams {
        policy.entry(entry)?;
    }
    Ok(discovery)
}

/// The streams of these modules with their fields, one call for each.
async fn with_fields(client: &Client, modules: impl Iterator<Item = Module>) -> Result<Discovery, Error> {
    let calls = modules.map(|module| async move {
        let fields = client.fields(&module.api_name).await;
        (module, fields)
    });
    let answers: Vec<_> = futures_util::stream::iter(calls).buffered(FIELD_CALLS).collect().await;
    let mut discovery = Discovery::default();
    for (module, fields) in answers {
        match fields {
            Ok(fields) if fields.is_empty() => discovery.skip(&module, "it has no fields"),
            Ok(fields) => discovery.catalog.streams.push(module_entry(&module, &fields)),
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

fn module_entry(module: &Module, fields: &[Field]) -> CatalogEntry {
    let incremental = fields.iter().any(|field| field.api_name == MODIFIED_TIME);
    let method = if incremental { INCREMENTAL } else { FULL_TABLE };
    let mut properties = Map::new();
    let id = json!({"type": "string", "x-zoho-type": "bigint"});
    properties.insert("id".into(), id);
    for field in fields {
        properties.insert(field.api_name.clone(), schema::property(field));
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
    if incremental {
        stream["valid-replication-keys"] = json!([MODIFIED_TIME]);
    }
    entry.push_metadata(&[], stream);
    if !fields.iter().any(|field| field.api_name == "id") {
        entry.push_metadata(&["properties", "id"], json!({"inclusion": "automatic"}));
    }
    for field in fields {
        entry.push_metadata(&["properties", &field.api_name], field_metadata(field));
    }
    entry
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

fn field_metadata(field: &Field) -> serde_json::Value {
    let automatic = matches!(field.api_name.as_str(), "id" | MODIFIED_TIME);
    let reason = unsupported(field);
    let inclusion = match reason {
        _ if automatic => "automatic",
        Some(_) => "unsupported",
        None => "available",
    };
    let mut metadata = json!({"inclusion": inclusion, "zoho-data-type": field.data_type.as_str()});
    match reason {
        Some(reason) => metadata["zoho-note"] = reason.into(),
        None => metadata["selected-by-default"] = selected_by_default(field).into(),
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
        let entry = module_entry(&module, &fields);
        assert_eq!(entry.replication_key.as_deref(), Some("Modified_Time"));
        let inclusion =
            |name: &str| entry.property_metadata(name, "inclusion").and_then(|value| value.as_str());
        assert_eq!(inclusion("id"), Some("automatic"));
        assert_eq!(inclusion("Rows"), Some("unsupported"));
        assert_eq!(inclusion("Modified_Time"), Some("automatic"));
        assert!(entry.is_selected() && !entry.is_property_selected("Tag"));
    }
}
