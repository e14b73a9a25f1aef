//! The organisation's currencies. Follows section "Layouts, custom views, pipelines, currencies".

use super::merged;
use crate::emulator::directory::Edition;
use crate::emulator::reply::{Answer, Reply};
use crate::emulator::state::{AppState, Call};
use crate::emulator::time::datetime_text;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use serde_json::{Value as Json, json};

/// Name, ISO code, symbol, rate against the first one, whether in use.
const CURRENCIES: [(&str, &str, &str, &str, bool); 4] = [
    ("Australian Dollar - AUD", "AUD", "$", "1.000000000", true),
    ("Euro - EUR", "EUR", "€", "0.612340000", true),
    ("US Dollar - USD", "USD", "US$", "0.661200450", true),
    ("Indian Rupee - INR", "INR", "₹", "55.120000000", false),
];

/// When the currencies were set up: 2022-01-01T00:00:00Z.
const CREATED: i64 = 1_640_995_200;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/crm/{version}/org/currencies", get(list))
        .route("/crm/{version}/org/currencies/{id}", get(single))
}

/// `GET /crm/v8/org/currencies`.
async fn list(call: Call) -> Answer {
    Ok(Reply::json(200, &json!({"currencies": all(&call)?})))
}

/// `GET /crm/v8/org/currencies/{id}`.
async fn single(call: Call, Path((_, id)): Path<(String, String)>) -> Answer {
    let found = all(&call)?.into_iter().find(|currency| currency["id"] == id.as_str());
    let details = || json!({"resource_path_index": 2});
    let found = found
        .ok_or_else(|| Reply::error(400, "INVALID_DATA", "the id given seems to be invalid", details()))?;
    Ok(Reply::json(200, &json!({"currencies": [found]})))
}

fn all(call: &Call) -> Result<Vec<Json>, Reply> {
    call.charge(1)?;
    if !matches!(call.org.edition, Edition::Enterprise | Edition::Ultimate) {
        let message = "The feature is not available in your edition";
        return Err(Reply::error(403, "FEATURE_NOT_SUPPORTED", message, json!({})));
    }
    if !call.app.switches().multi_currency {
        let message = "The multi-currency feature is not enabled";
        return Err(Reply::error(403, "CURRENCIES_NOT_ENABLED", message, json!({})));
    }
    let person = super::settings::person(call);
    let time = datetime_text(CREATED, call.zone);
    let show = |(number, (name, code, symbol, rate, active)): (u64, (&str, &str, &str, &str, bool))| {
        merged([
            json!({"id": (call.org.base + 800_000 + number).to_string(), "name": name, "iso_code": code,
                "symbol": symbol, "exchange_rate": rate, "is_base": number == 0, "is_active": active,
                "prefix_symbol": true, "created_time": time, "modified_time": time}),
            json!({"created_by": person, "modified_by": person, "format": {"decimal_separator": "Period",
                "thousand_separator": "Comma", "decimal_places": "2"}}),
        ])
    };
    Ok((0..).zip(CURRENCIES).map(show).collect())
}
