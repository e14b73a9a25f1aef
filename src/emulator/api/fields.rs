//! Fields metadata. Follows section "Fields metadata" of the API reference.

use super::merged;
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::schema::{DataType, Field, Module};
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::Store;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/settings/fields", get(list))
        .route("/crm/{version}/settings/fields/{id}", get(single))
}

fn module_of<'a>(call: &Call, store: &'a Store) -> Result<&'a Module, Reply> {
    let name = call.params.get("module").ok_or_else(|| Reply::param_missing("module"))?;
    if call.app.switches().no_permission_module.as_deref() == Some(name) {
        return Err(Reply::no_permission(&format!("Crm_Implied_View_{name}")));
    }
    store.schema.module(name).filter(|module| module.api_supported).ok_or_else(|| Reply::invalid_module(name))
}

/// `GET /crm/v8/settings/fields?module=`.
async fn list(call: Call) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let module = module_of(&call, &store)?;
    let shown: Vec<Json> = match call.params.get("type") {
        None | Some("all" | "used") => {
            module.active().map(|(_, field)| show(&call, &store, module, field)).collect()
        }
        Some("unused") => Vec::new(),
        Some(_) => return Err(Reply::invalid_param("type", "invalid value for the parameter")),
    };
    if shown.is_empty() {
        return Ok(Reply::empty(204));
    }
    Ok(Reply::json(200, &json!({"fields": shown})))
}

/// `GET /crm/v8/settings/fields/{id}?module=`.
async fn single(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let module = module_of(&call, &store)?;
    let Some((_, field)) = module.active().find(|(_, field)| field.id.to_string() == id) else {
        let details = json!({"resource_path_index": 2});
        return Err(Reply::error(400, "INVALID_DATA", "the id given seems to be invalid", details));
    };
    Ok(Reply::json(200, &json!({"fields": [show(&call, &store, module, field)]})))
}

/// The object of one field.
pub fn show(call: &Call, store: &Store, module: &Module, field: &Field) -> Json {
    let basics = json!({
        "id": field.id.to_string(), "api_name": field.api_name, "field_label": field.field_label,
        "display_label": field.field_label, "data_type": field.data_type.as_str(), "json_type": json_type(field),
        "length": field.length, "decimal_place": field.decimal_place, "ui_type": 1,
    });
    merged([basics, flags(field), references(store, module, field), extras(call, field)])
}

fn flags(field: &Field) -> Json {
    let writable = field.is_writable();
    // The owner is marked read-only although it is written all the time.
    let marked = !writable || field.data_type == DataType::OwnerLookup;
    json!({
        "system_mandatory": field.mandatory, "custom_field": field.custom, "read_only": !writable,
        "field_read_only": marked, "visible": true, "virtual_field": field.is_virtual, "display_type": -1,
        "operation_type": {"web_create": writable, "web_update": writable, "api_create": writable, "api_update": writable},
        "view_type": {"view": true, "edit": writable, "create": writable, "quick_create": field.mandatory},
        "webhook": !field.data_type.is_rows(), "searchable": !field.data_type.is_rows(), "sortable": !field.data_type.is_rows(),
        "filterable": !field.data_type.is_rows(), "mass_update": writable, "private": null, "crypt": null,
        "external": null, "businesscard_supported": true, "display_field": false, "quick_sequence_number": null,
        "unique": if field.unique { json!({"case_sensitive": field.case_sensitive}) } else { json!({}) },
    })
}

fn references(store: &Store, module: &Module, field: &Field) -> Json {
    let named = |name: &str| {
        let id = store.schema.module(name).map(|module| module.id.to_string());
        json!({"api_name": name, "id": id})
    };
    let linking = |name: &str| {
        let target = field.lookup.as_deref().unwrap_or("Users");
        let lookups = store.schema.module(name).map(|linking| {
            linking.active().filter(|(_, f)| matches!(f.data_type, DataType::Lookup | DataType::UserLookup))
        });
        let lookup_to = |wanted: &str, lookups: Vec<&Field>| {
            lookups
                .iter()
                .find(|f| f.lookup.as_deref().unwrap_or("Users") == wanted)
                .map(|f| f.api_name.clone())
        };
        let lookups: Vec<&Field> = lookups.into_iter().flatten().map(|(_, f)| f).collect();
        json!({"linking_module": named(name), "connected_module": named(target), "api_name": field.api_name,
            "display_label": field.field_label, "id": field.id.to_string(),
            "lookup_apiname": lookup_to(&module.api_name, lookups.clone()), "connectedlookup_apiname": lookup_to(target, lookups)})
    };
    let lookup = match &field.lookup {
        Some(target) if field.data_type == DataType::Lookup => {
            json!({"module": named(target), "display_label": target, "id": field.id.to_string(), "api_name": field.api_name,
                "query_details": {}})
        }
        _ => json!({}),
    };
    let subform = field.subform.as_deref().map_or(json!({}), |name| {
        let id = store.schema.module(name).map(|module| module.id.to_string());
        json!({"module": named(name), "module_name": name, "api_name": name, "id": id})
    });
    let linked = |of: DataType| {
        let name = field.linking.as_deref().filter(|_| field.data_type == of);
        name.map_or(json!({}), linking)
    };
    json!({
        "lookup": lookup, "subform": subform, "associated_module": subform_module(field, named),
        "multiselectlookup": linked(DataType::MultiSelectLookup),
        "multiuserlookup": linked(DataType::MultiUserLookup), "multi_module_lookup": {},
    })
}

fn subform_module(field: &Field, named: impl Fn(&str) -> Json) -> Json {
    field.subform.as_deref().map_or(Json::Null, named)
}

fn extras(call: &Call, field: &Field) -> Json {
    let formula = field.formula.as_ref().map_or(json!({}), |returns| {
        json!({"return_type": returns, "expression": format!("${{{}}}", field.formula_of.as_deref().unwrap_or_default()), "dynamic": false})
    });
    let rollup = field.rollup.as_ref().map_or(json!({}), |returns| json!({"return_type": returns}));
    let is_auto = field.data_type == DataType::AutoNumber;
    let auto_number = if is_auto {
        json!({"prefix": field.prefix, "suffix": null, "start_number": "1"})
    } else {
        json!({})
    };
    let is_currency = field.data_type == DataType::Currency;
    let currency = if is_currency {
        json!({"rounding_option": "normal", "precision": field.decimal_place})
    } else {
        json!({})
    };
    json!({
        "formula": formula, "rollup_summary": rollup, "auto_number": auto_number, "currency": currency,
        "pick_list_values": pick_list(call, field), "pick_list_values_sorted_lexically": false,
        "textarea": field.textarea.as_ref().map(|kind| json!({"type": kind})), "default_value": null,
        "created_source": if field.custom { "user" } else { "default" }, "history_tracking": null, "tooltip": null,
        "profiles": [], "layout_associations": [], "blueprint_supported": true, "created_time": null, "modified_time": null,
    })
}

fn pick_list(call: &Call, field: &Field) -> Vec<Json> {
    let option = |(number, text): (usize, &String)| {
        let id = call.org.base + field.id % 1_000_000 * 100 + number as u64;
        json!({"id": id.to_string(), "display_value": text, "actual_value": text, "reference_value": text,
            "sequence_number": number + 1, "type": "used", "colour_code": null})
    };
    field.pick_list.iter().enumerate().map(option).collect()
}

fn json_type(field: &Field) -> &'static str {
    match field.data_type {
        DataType::Text if field.api_name == "Tag" => "jsonarray",
        DataType::MultiSelectPicklist | DataType::MultiSelectLookup | DataType::MultiUserLookup => {
            "jsonarray"
        }
        DataType::Subform | DataType::FileUpload | DataType::ImageUpload => "jsonarray",
        DataType::Integer => "integer",
        DataType::Double | DataType::Currency | DataType::Percent => "double",
        DataType::Boolean => "boolean",
        DataType::Lookup | DataType::OwnerLookup | DataType::UserLookup | DataType::Layout => "jsonobject",
        DataType::Formula if field.formula.as_deref() == Some("double") => "double",
        DataType::RollupSummary => "integer",
        _ => "string",
    }
}
