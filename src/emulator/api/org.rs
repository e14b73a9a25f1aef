//! The organisation. Follows section "Org" of the API reference.

use crate::emulator::reply::Reply;
use crate::emulator::state::{AppState, Call};
use crate::emulator::time::datetime_text;
use axum::Router;
use axum::routing::get;
use serde_json::json;

/// The route.
pub fn routes() -> Router<AppState> {
    Router::new().route("/crm/{version}/org", get(org))
}

/// `GET /crm/v8/org`.
async fn org(call: Call) -> Result<Reply, Reply> {
    call.charge(1)?;
    let org = &call.org;
    let created = datetime_text(1_640_995_200, call.zone);
    let expiry = datetime_text(1_956_528_000, call.zone);
    let body = json!({"org": [{
        "id": (org.base + 20_005).to_string(), "zgid": org.zgid, "company_name": org.name,
        "domain_name": format!("org{}", org.zgid), "type": "production", "alias": null, "description": null,
        "country": "Australia", "country_code": "AU", "city": null, "state": null, "street": null, "zip": null,
        "phone": null, "mobile": null, "fax": null, "website": null, "employee_count": null, "photo_id": null,
        "time_zone": call.zone.name(), "currency": "Australian Dollar - AUD", "iso_code": "AUD",
        "currency_symbol": "$", "currency_locale": "en_AU", "mc_status": call.app.switches().multi_currency,
        "primary_email": "ops@zylker.example", "primary_zuid": format!("{}999", &org.zgid[..6]),
        "created_time": created,
        "license_details": {"paid": org.edition.as_str() != "free", "paid_type": org.edition.as_str(),
            "paid_expiry": expiry, "users_license_purchased": org.licences, "trial_type": null, "trial_expiry": null,
            "portal_users_license_purchased": 0},
        "hierarchy_preferences": {"type": "Role_Hierarchy"}, "privacy_settings": false,
        "hipaa_compliance_enabled": false, "translation_enabled": false, "gapps_enabled": false,
        "lite_users_enabled": false, "deletable_org_account": false, "max_per_page": 200}]});
    Ok(Reply::json(200, &body))
}
