//! The users. Follows section "Users" of the API reference.

use super::{instant_header, merged, page_params};
use crate::emulator::directory::User;
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::state::{AppState, Call};
use crate::emulator::time::datetime_text;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};

const MOST_IDS: usize = 100;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/users", get(list))
        .route("/crm/{version}/users/{id}", get(single))
        .route("/crm/{version}/users/actions/count", get(count))
}

/// `GET /crm/v8/users`.
async fn list(call: Call) -> Answer {
    call.charge(1)?;
    let (page, per_page) = page_params(&call)?;
    let since = instant_header(&call, "if-modified-since")?;
    let ids = call.params.list("ids");
    if ids.len() > MOST_IDS {
        return Err(Reply::limit_exceeded(json!({"param_name": "ids", "limit": MOST_IDS}), "too many ids"));
    }
    let store = call.org.read();
    let mut chosen = Vec::new();
    for user in &store.users {
        let named = ids.is_empty() || ids.iter().any(|id| *id == user.id.to_string());
        if named && is_of_type(&call, user)? && since.is_none_or(|since| user.created > since) {
            chosen.push(user);
        }
    }
    let shown: Vec<Json> =
        chosen.iter().skip((page - 1) * per_page).take(per_page).map(|user| show(&call, user)).collect();
    if shown.is_empty() {
        return Ok(Reply::empty(if since.is_some() { 304 } else { 204 }));
    }
    let more = chosen.len() > page * per_page;
    let info = json!({"per_page": per_page, "count": shown.len(), "page": page, "more_records": more});
    Ok(Reply::json(200, &json!({"users": shown, "info": info})))
}

fn is_of_type(call: &Call, user: &User) -> Result<bool, Reply> {
    Ok(match call.params.get("type").unwrap_or("AllUsers") {
        "AllUsers" | "ConfirmedUsers" => true,
        "ActiveUsers" | "ActiveConfirmedUsers" => user.active,
        "DeactiveUsers" => !user.active,
        "NotConfirmedUsers" | "DeletedUsers" => false,
        "AdminUsers" | "ActiveConfirmedAdmins" => user.admin,
        "CurrentUser" => user.id == call.user,
        _ => {
            let details = json!({"param_name": "type"});
            return Err(Reply::error(
                400,
                "PATTERN_NOT_MATCHED",
                "Please check whether the input values are correct",
                details,
            ));
        }
    })
}

/// `GET /crm/v8/users/{id}`.
async fn single(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let user = id.parse().ok().and_then(|id| store.user(id));
    let Some(user) = user else {
        let details = json!({"resource_path_index": 1});
        return Err(Reply::error(400, "INVALID_DATA", "the id given seems to be invalid", details));
    };
    Ok(Reply::json(200, &json!({"users": [show(&call, user)]})))
}

/// `GET /crm/v8/users/actions/count`.
async fn count(call: Call) -> Answer {
    call.charge(1)?;
    let store = call.org.read();
    let mut count = 0;
    for user in &store.users {
        count += u64::from(is_of_type(&call, user)?);
    }
    Ok(Reply::json(200, &json!({"count": count})))
}

fn show(call: &Call, user: &User) -> Json {
    let base = call.org.base;
    let (profile, role) = if user.admin { ("Administrator", "CEO") } else { ("Standard", "Manager") };
    let created = datetime_text(user.created, call.zone);
    let me = json!({"name": user.full_name(), "id": user.id.to_string()});
    let person = json!({
        "id": user.id.to_string(), "zuid": (600_000_000 + user.id % 1_000_000).to_string(),
        "first_name": user.first_name, "last_name": user.last_name, "full_name": user.full_name(),
        "alias": null, "email": user.email, "status": if user.active { "active" } else { "inactive" }, "confirm": true,
        "role": {"name": role, "id": (base + 26_005).to_string()},
        "profile": {"name": profile, "id": (base + if user.admin { 26_011 } else { 26_014 }).to_string()},
        "Reporting_To": null, "created_by": me, "created_time": created, "Modified_By": me, "Modified_Time": created,
    });
    let settings = json!({
        "time_zone": user.zone.name(), "offset": user.zone.offset_at(call.app.clock.now()) * 1_000,
        "locale": "en_AU", "country_locale": "en_AU", "language": "en_US", "date_format": "dd/MM/yyyy",
        "time_format": "HH:mm", "Currency": "AUD", "type__s": "Regular User", "sort_order_preference__s": "First Name,Last Name",
        "name_format__s": "Salutation,First Name,Last Name", "Isonline": user.id == call.user, "territories": [],
        "microsoft": false, "personal_account": false, "default_tab_group": "0", "category": "regular_user",
        "phone": null, "mobile": null, "fax": null, "website": null, "dob": null, "city": null, "state": null,
        "street": null, "zip": null, "country": "AU", "decimal_separator": "Period", "number_separator": "Comma",
    });
    merged([person, settings])
}
