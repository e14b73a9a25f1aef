//! `spec`: the settings as Airbyte's form shows them, made from the same JSON Schemas that check them.
//!
//! A form knows less than a schema: one type for each property, no references, no alternatives, no maps. What
//! is none of these is a text of JSON there. Follows the pages "Connector Specification Reference" and
//! "Declarative OAuth".

use crate::cli::settings::Program;
use crate::target::activation::MODES;
use crate::zoho::DataCenter;
use serde_json::{Map, Value, json};

const DOCUMENTATION: &str = concat!("https://docs.rs/", env!("CARGO_PKG_NAME"));

/// Scopes of a grant that does for both programs, as in README.
const SCOPES: [&str; 7] = [
    "ZohoCRM.modules.ALL",
    "ZohoCRM.settings.ALL",
    "ZohoCRM.users.READ",
    "ZohoCRM.org.READ",
    "ZohoCRM.coql.READ",
    "ZohoCRM.bulk.ALL",
    "ZohoFiles.files.ALL",
];

/// The payload of the source's SPEC.
pub fn source() -> Value {
    json!({
        "documentationUrl": DOCUMENTATION,
        "connectionSpecification": connection_specification(Program::Source),
        "supportsIncremental": true,
        "advanced_auth": advanced_auth(),
    })
}

/// The payload of the destination's SPEC. Overwriting is not among its modes: it would empty modules.
pub fn destination() -> Value {
    json!({
        "documentationUrl": DOCUMENTATION,
        "connectionSpecification": connection_specification(Program::Destination),
        "supportsIncremental": true,
        "supported_destination_sync_modes": MODES.map(|(mode, _)| mode),
        "advanced_auth": advanced_auth(),
    })
}

fn connection_specification(program: Program) -> Value {
    let schema = program.schema();
    let properties = schema["properties"].as_object().into_iter().flatten().enumerate();
    let properties = properties.map(|(order, (key, property))| {
        let mut field = field(property, &schema);
        field["order"] = order.into();
        (key.clone(), field)
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": schema["title"],
        "description": schema["description"],
        "type": "object",
        "required": schema["required"],
        // Platforms and tools add keys of their own.
        "additionalProperties": true,
        "properties": properties.collect::<Map<_, _>>(),
    })
}

/// A property as a form shows it.
fn field(property: &Value, schema: &Value) -> Value {
    let reference = property["$ref"].as_str().and_then(|place| schema.pointer(place.trim_start_matches('#')));
    let of =
        |key: &str| Some(&property[key]).filter(|value| !value.is_null()).or_else(|| reference?.get(key));
    let mut field = Map::new();
    let form = form(property, reference, schema);
    let is_text_of_json = form.get("multiline").is_some();
    for key in ["title", "description", "minLength", "minimum", "maximum", "pattern", "format", "minItems"] {
        let Some(value) = of(key) else { continue };
        // A form's number is a text where a count or a share may stand.
        if !(form["type"] == "string" && key == "minimum") {
            field.insert(key.to_owned(), value.clone());
        }
    }
    if is_text_of_json {
        let description = field.get("description").and_then(Value::as_str).unwrap_or_default();
        field.insert("description".to_owned(), format!("{description} (JSON)").into());
    }
    if let Some(default) = of("default").filter(|_| !is_text_of_json && form["type"] != "object") {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let default = if form["type"] == "string" { text(default).into() } else { default.clone() };
        field.insert("default".to_owned(), default);
    }
    if let Some(examples) = of("examples").filter(|_| form["type"] == "string" && !is_text_of_json) {
        field.insert("examples".to_owned(), examples.clone());
    }
    if of("secret") == Some(&Value::Bool(true)) {
        field.insert("airbyte_secret".to_owned(), true.into());
    }
    field.extend(form);
    Value::Object(field)
}

/// What makes up the type of a property.
fn form(property: &Value, reference: Option<&Value>, schema: &Value) -> Map<String, Value> {
    let of = |key: &str| property.get(key).or_else(|| reference?.get(key));
    let form = match (of("type").and_then(Value::as_str), of("enum"), of("properties"), of("items")) {
        (_, Some(options), _, _) => json!({"type": "string", "enum": options}),
        (Some("object"), _, Some(Value::Object(inner)), _) => {
            let inner = inner.iter().map(|(key, property)| (key.clone(), field(property, schema)));
            let mut form = json!({"type": "object", "properties": inner.collect::<Map<_, _>>()});
            if let Some(required) = of("required") {
                form["required"] = required.clone();
            }
            form
        }
        (Some("array"), _, _, Some(items)) => json!({"type": "array", "items": field(items, schema)}),
        (Some(plain @ ("string" | "integer" | "number" | "boolean")), ..) => json!({"type": plain}),
        (None, ..) if of("pattern").is_some() => json!({"type": "string"}),
        _ => json!({"type": "string", "multiline": true}),
    };
    form.as_object().cloned().unwrap_or_default()
}

/// Consent in the browser, at the accounts host of the data center that was chosen.
fn advanced_auth() -> Value {
    let hosts = DataCenter::ALL.map(|center| format!("'{center}': '{}'", center.accounts_url()));
    let base = format!("{{{{ {{{}}}[data_center] }}}}", hosts.join(", "));
    let scopes: Vec<Value> = SCOPES.iter().map(|scope| json!({"scope": scope})).collect();
    let property = |name: &str| json!({"type": "string", "path_in_connector_config": [name]});
    let object = |properties: Value| json!({"type": "object", "additionalProperties": false, "properties": properties});
    json!({
        "auth_flow_type": "oauth2.0",
        "oauth_config_specification": {
            "oauth_user_input_from_connector_config_specification":
                object(json!({"data_center": property("data_center")})),
            "oauth_connector_input_specification": {
                "consent_url": format!("{base}/oauth/v2/auth?response_type=code&access_type=offline&prompt=consent&{{{{client_id_param}}}}&{{{{redirect_uri_param}}}}&{{{{scopes_param}}}}&{{{{state_param}}}}"),
                "access_token_url": format!("{base}/oauth/v2/token?grant_type=authorization_code&{{{{client_id_param}}}}&{{{{client_secret_param}}}}&{{{{auth_code_param}}}}&{{{{redirect_uri_param}}}}"),
                "extract_output": ["refresh_token"],
                "scopes": scopes,
                "scopes_join_strategy": "comma",
            },
            "complete_oauth_output_specification": object(json!({"refresh_token": property("refresh_token")})),
            "complete_oauth_server_input_specification":
                object(json!({"client_id": {"type": "string"}, "client_secret": {"type": "string"}})),
            "complete_oauth_server_output_specification":
                object(json!({"client_id": property("client_id"), "client_secret": property("client_secret")})),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Airbyte's form cannot show.
    fn offences(property: &Value, place: &str, found: &mut Vec<String>) {
        for (key, value) in property.as_object().into_iter().flatten() {
            let place = format!("{place}/{key}");
            if ["anyOf", "allOf", "oneOf", "not", "$ref", "patternProperties", "$defs"]
                .contains(&key.as_str())
            {
                found.push(place.clone());
            }
            if key == "type" && value.is_array() {
                found.push(place.clone());
            }
            offences(value, &place, found);
        }
    }

    #[test]
    fn a_form_can_show_it_and_every_property_has_its_words() {
        for program in [Program::Source, Program::Destination] {
            let spec = connection_specification(program);
            let mut found = Vec::new();
            offences(&spec, "", &mut found);
            assert!(found.is_empty(), "{found:?}");
            assert!(jsonschema::meta::is_valid(&spec));
            for (key, property) in spec["properties"].as_object().expect("properties") {
                let has = |word: &str| property.get(word).is_some();
                assert!(
                    has("title") && has("description") && has("order") && has("type"),
                    "{key}: {property}"
                );
            }
        }
        let spec = connection_specification(Program::Source);
        for secret in ["client_secret", "refresh_token", "grant_code", "field_policy_key"] {
            assert_eq!(spec["properties"][secret]["airbyte_secret"], true, "{secret}");
        }
    }

    #[test]
    fn consent_is_asked_for_where_the_organisation_lives() {
        let auth = advanced_auth();
        let url =
            auth["oauth_config_specification"]["oauth_connector_input_specification"]["consent_url"].as_str();
        let url = url.expect("a text");
        assert!(
            url.starts_with("{{ {'us': 'https://accounts.zoho.com', 'eu': 'https://accounts.zoho.eu'"),
            "{url}"
        );
        assert!(url.contains("}[data_center] }}/oauth/v2/auth?"), "{url}");
    }
}
