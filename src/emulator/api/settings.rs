//! Layouts, pipelines, tags, territories and custom views.
//!
//! Follows sections "Tags" and "Layouts, custom views, pipelines, currencies" of the API reference, and
//! Zoho's OpenAPI files for the names.

use super::{fields, merged, module, page_params};
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::schema::Module;
use crate::emulator::state::{AppState, Call};
use crate::emulator::store::{Store, View};
use crate::emulator::time::datetime_text;
use crate::emulator::value::Value;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// When everything here was set up: 2022-01-01T00:00:00Z.
const CREATED: i64 = 1_640_995_200;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/settings/layouts", get(layouts))
        .route("/crm/{version}/settings/layouts/{id}", get(layout))
        .route("/crm/{version}/settings/pipeline", get(pipelines))
        .route("/crm/{version}/settings/tags", get(tags))
        .route("/crm/{version}/settings/territories", get(territories))
        .route("/crm/{version}/settings/custom_views", get(custom_views))
}

/// The token's user, as `created_by` shows one.
pub(super) fn person(call: &Call) -> Json {
    let store = call.org.read();
    let user = store.user(call.user).map(|user| (user.full_name(), &user.email));
    user.map_or(
        Json::Null,
        |(name, email)| json!({"name": name, "id": call.user.to_string(), "email": email}),
    )
}

/// The module that the parameter names.
fn wanted<'a>(call: &Call, store: &'a Store) -> Result<View<'a>, Reply> {
    let name = call.params.get("module").ok_or_else(|| Reply::param_missing("module"))?;
    let found = store.schema.module(name).map_or(name, |module| module.api_name.as_str());
    module(call, store, found)
}

fn list(key: &str, items: Vec<Json>) -> Answer {
    if items.is_empty() {
        return Ok(Reply::empty(204));
    }
    Ok(Reply::json(200, &json!({key: items})))
}

/// `GET /crm/v8/settings/layouts?module=`.
async fn layouts(call: Call) -> Answer {
    call.charge(1)?;
    let author = person(&call);
    let store = call.org.read();
    let module = wanted(&call, &store)?.module;
    let places = 0..module.layouts.len();
    list("layouts", places.map(|place| show_layout(&call, &store, module, place, &author)).collect())
}

/// `GET /crm/v8/settings/layouts/{id}?module=`.
async fn layout(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    let author = person(&call);
    let store = call.org.read();
    let module = wanted(&call, &store)?.module;
    let Some(place) = id.parse().ok().and_then(|id| module.layout_at(id)) else {
        let details = json!({"resource_path_index": 2});
        return Err(Reply::error(400, "INVALID_DATA", "the id given seems to be invalid", details));
    };
    list("layouts", vec![show_layout(&call, &store, module, place, &author)])
}

fn show_layout(call: &Call, store: &Store, module: &Module, place: usize, author: &Json) -> Json {
    let layout = &module.layouts[place];
    let id = module.layout_id_at(place);
    let time = datetime_text(CREATED, call.zone);
    let fields = module.active().enumerate().map(|(number, (_, field))| {
        let required = field.mandatory || layout.required.contains(&field.api_name);
        merged([
            fields::show(call, store, module, field),
            json!({"required": required, "sequence_number": number + 1, "section_id": 1}),
        ])
    });
    let section = json!({"id": (id + 500_000).to_string(), "name": format!("{} Information", module.singular_label),
        "api_name": format!("{} Information", module.singular_label), "display_label": module.singular_label,
        "sequence_number": 1, "column_count": 2, "tab_traversal": "left_to_right", "type": "used", "generated_type": "default",
        "isSubformSection": false, "fields": fields.collect::<Vec<_>>()});
    json!({
        "id": id.to_string(), "name": layout.name, "api_name": layout.name, "display_label": layout.name,
        "status": "active", "visible": true, "source": "crm", "mode": "view", "generated_type": "default", "display_type": 0,
        "show_business_card": true, "has_more_profiles": false, "created_time": time, "modified_time": time,
        "created_by": author, "modified_by": author, "created_for": null, "convert_mapping": null, "subform_properties": null,
        "profiles": [{"default": true, "name": "Administrator", "id": (call.org.base + 26_011).to_string()}],
        "sections": [section],
    })
}

/// `GET /crm/v8/settings/pipeline?layout_id=`: of a module with the fields `Pipeline` and `Stage`.
async fn pipelines(call: Call) -> Answer {
    call.charge(1)?;
    let wish = call.params.get("layout_id").ok_or_else(|| Reply::param_missing("layout_id"))?;
    let store = call.org.read();
    let id = wish.parse().ok();
    let module = id.and_then(|id| store.schema.modules.iter().find(|module| module.layout_at(id).is_some()));
    let Some(module) = module else {
        return Err(Reply::invalid_param("layout_id", "the id given seems to be invalid"));
    };
    let options = |name: &str| module.field(name).map(|field| (field.id, field.pick_list.as_slice()));
    let (Some((pipeline, names)), Some((_, stages))) = (options("Pipeline"), options("Stage")) else {
        return list("pipeline", Vec::new());
    };
    let stage = |(number, name): (u64, &String)| {
        json!({"id": (call.org.base + 900_000 + number).to_string(), "display_value": name, "actual_value": name,
            "sequence_number": number + 1, "colour_code": "#ced9ff", "forecast_type": "Open",
            "forecast_category": {"name": "Pipeline", "id": (call.org.base + 910_000).to_string()}})
    };
    let maps: Vec<Json> = (0..).zip(stages).map(stage).collect();
    let show = |(number, name): (u64, &String)| {
        json!({"id": (pipeline + 920_000 + number).to_string(), "display_value": name, "actual_value": name,
            "default": number == 0, "child_available": false, "parent": null, "maps": maps})
    };
    list("pipeline", (0..).zip(names).map(show).collect())
}

/// `GET /crm/v8/settings/tags?module=`: those that its records have.
async fn tags(call: Call) -> Answer {
    call.charge(1)?;
    let author = person(&call);
    let store = call.org.read();
    let view = wanted(&call, &store)?;
    let place = view.module.index_of("Tag");
    let mut found: BTreeMap<String, Json> = BTreeMap::new();
    for row in place.iter().flat_map(|_| view.rows()) {
        let Some(Value::Json(text)) = place.map(|place| row.get(place)) else { continue };
        let tags: Vec<Json> = serde_json::from_str(&text).unwrap_or_default();
        found.extend(tags.into_iter().map(|tag| (tag["id"].to_string(), tag)));
    }
    let time = datetime_text(CREATED, call.zone);
    let stamps =
        json!({"created_time": time, "modified_time": time, "created_by": author, "modified_by": author});
    let tags: Vec<Json> = found.into_values().map(|tag| merged([tag, stamps.clone()])).collect();
    if tags.is_empty() {
        return Ok(Reply::empty(204));
    }
    let info = json!({"count": tags.len(), "allowed_count": 100});
    Ok(Reply::json(200, &json!({"tags": tags, "info": info})))
}

/// `GET /crm/v8/settings/territories`; none where the feature is off.
async fn territories(call: Call) -> Answer {
    call.charge(1)?;
    let (page, per_page) = page_params(&call)?;
    let author = person(&call);
    let time = datetime_text(CREATED, call.zone);
    let id = |number: u64| (call.org.base + 950_000 + number).to_string();
    let show = |(number, name): (u64, &&str)| {
        let above = (number > 0).then(|| json!({"name": "Zylker", "id": id(0)}));
        merged([
            json!({"id": id(number), "name": name, "api_name": name, "description": null, "manager": author,
                "reporting_to": above, "permission_type": "read_only", "created_time": time, "modified_time": time}),
            json!({"created_by": author, "modified_by": author, "account_rule_criteria": null,
                "deal_rule_criteria": null, "lead_rule_criteria": null}),
        ])
    };
    let names: &[&str] =
        if call.app.switches().territories { &["Zylker", "EMEA", "Asie-Pacifique"] } else { &[] };
    let shown = (0..).zip(names).skip((page - 1) * per_page).take(per_page).map(show);
    let territories: Vec<Json> = shown.collect();
    if territories.is_empty() {
        return Ok(Reply::empty(204));
    }
    let more = names.len() > page * per_page;
    let info = json!({"per_page": per_page, "count": territories.len(), "page": page, "more_records": more});
    Ok(Reply::json(200, &json!({"territories": territories, "info": info})))
}

/// `GET /crm/v8/settings/custom_views?module=`: one view of all records.
async fn custom_views(call: Call) -> Answer {
    call.charge(1)?;
    let (page, per_page) = page_params(&call)?;
    let store = call.org.read();
    let module = wanted(&call, &store)?.module;
    let id = (module.id + 700_000).to_string();
    let name = format!("All {}", module.plural_label);
    let view = json!({"id": id, "name": name, "display_value": name, "system_name": "ALLVIEWS", "category": "public_views",
        "system_defined": true, "default": true, "locked": false, "offline": true, "access_type": "public", "favorite": null,
        "criteria": null, "shared_to": null, "fields": [], "sort_by": null, "sort_order": null, "created_by": null,
        "created_time": null, "modified_by": null, "modified_time": null, "last_accessed_time": null});
    if page > 1 {
        return Ok(Reply::empty(204));
    }
    let info = json!({"per_page": per_page, "count": 1, "page": page, "more_records": false, "default": id});
    Ok(Reply::json(200, &json!({"custom_views": [view], "info": info})))
}
