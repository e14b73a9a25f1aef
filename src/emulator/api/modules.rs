//! Modules metadata. Follows section "Modules metadata" of the API reference.

use super::fields;
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::schema::Module;
use crate::emulator::state::{AppState, Call};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/settings/modules", get(list))
        .route("/crm/{version}/settings/modules/{module}", get(single))
}

/// `GET /crm/v8/settings/modules`.
async fn list(call: Call) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let wanted = call.params.list("status");
    let modules = store.schema.modules.iter().enumerate();
    let shown: Vec<Json> = modules
        .filter(|(_, module)| wanted.is_empty() || wanted.contains(&module.status.as_str()))
        .map(|(number, module)| show(&call, number, module))
        .collect();
    if shown.is_empty() {
        return Ok(Reply::empty(204));
    }
    Ok(Reply::json(200, &json!({"modules": shown})))
}

/// `GET /crm/v8/settings/modules/{api_name}`, which adds the fields.
async fn single(call: Call, Path((_, name)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let number = store.schema.position(&name).ok_or_else(|| Reply::invalid_module(&name))?;
    let module = &store.schema.modules[number];
    let mut shown = show(&call, number, module);
    shown["fields"] = module.active().map(|(_, field)| fields::show(&call, &store, module, field)).collect();
    let layouts = (0..).zip(&module.layouts).map(|(place, layout)| {
        json!({"id": module.layout_id_at(place).to_string(), "name": layout.name, "display_label": layout.name})
    });
    shown["layouts"] = layouts.collect();
    shown["display_field"] = json!(module.display_field);
    shown["per_page"] = json!(10);
    shown["properties"] = json!([]);
    shown["related_list_properties"] = Json::Null;
    Ok(Reply::json(200, &json!({"modules": [shown]})))
}

/// The object of one module.
fn show(call: &Call, number: usize, module: &Module) -> Json {
    let profile = json!({"id": (call.org.base + 26_011).to_string(), "name": "Administrator"});
    let supported = module.api_supported;
    let visible = module.status == "visible";
    let viewable = supported && call.app.switches().no_permission_module.as_ref() != Some(&module.api_name);
    let is_tab = visible && matches!(module.generated_type.as_str(), "default" | "custom");
    let parent = match &module.parent {
        Some(parent) => json!({"api_name": parent}),
        None => json!({}),
    };
    json!({
        "id": module.id.to_string(), "api_name": module.api_name, "module_name": module.module_name,
        "singular_label": module.singular_label, "plural_label": module.plural_label,
        "actual_singular_label": module.singular_label, "actual_plural_label": module.plural_label,
        "generated_type": module.generated_type, "api_supported": supported,
        "creatable": supported && module.creatable, "editable": supported && module.editable,
        "viewable": viewable, "deletable": supported, "convertable": module.convertable,
        "visible": visible, "visibility": if visible { 1 } else { 0 }, "show_as_tab": is_tab,
        "status": module.status, "sequence_number": number + 1, "global_search_supported": supported,
        "quick_create": supported && module.creatable, "feeds_required": false, "recycle_bin_on_delete": true,
        "presence_sub_menu": is_tab, "inventory_template_supported": false, "emailTemplate_support": false,
        "email_parser_supported": false, "filter_supported": supported, "isBlueprintSupported": false,
        "has_more_profiles": false, "access_type": "org_based",
        "business_card_field_limit": 5, "parent_module": parent, "profiles": [profile],
        "modified_time": null, "modified_by": null, "web_link": null, "arguments": [], "description": null,
    })
}
