//! `--about=meltano`: the plugin definition that Meltano takes by `meltano add --from-ref`, in the form of
//! its hub. Follows Meltano's page "Plugin Definition Syntax".

use serde_json::{Value, json};
use std::fmt::Write;

/// What Python's package index calls us; see `pyproject.toml`.
const PIP_URL: &str = env!("CARGO_PKG_NAME");

/// The definition as YAML. Texts are written as JSON, which YAML takes.
pub fn definition(name: &str, description: &str, capabilities: &[&str], schema: &Value) -> String {
    let mut yaml = String::new();
    let mut line = |key: &str, value: Value| {
        writeln!(yaml, "{key}: {value}").ok();
    };
    line("name", name.into());
    line("namespace", name.replace('-', "_").into());
    line("label", "Zoho CRM".into());
    line("variant", PIP_URL.into());
    line("description", description.into());
    line("pip_url", PIP_URL.into());
    line("executable", name.into());
    line("capabilities", capabilities.into());
    // One way to sign in, or the other.
    let group = |last: &str| {
        let required = schema["required"].as_array().into_iter().flatten().cloned();
        required.chain([last.into()]).collect::<Value>()
    };
    line("settings_group_validation", json!([group("refresh_token"), group("grant_code")]));
    yaml.push_str("settings:\n");
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        match property["properties"].as_object() {
            None => setting(&mut yaml, key, property),
            Some(inner) => {
                for (name, property) in inner {
                    setting(&mut yaml, &format!("{key}.{name}"), property);
                }
            }
        }
    }
    yaml.truncate(yaml.trim_end().len());
    yaml
}

fn setting(yaml: &mut String, name: &str, property: &Value) {
    writeln!(yaml, "- name: {name}\n  kind: {}", kind(property)).ok();
    for (key, from) in [("label", "title"), ("description", "description"), ("value", "default")] {
        if !property[from].is_null() {
            writeln!(yaml, "  {key}: {}", property[from]).ok();
        }
    }
    if property["secret"] == true {
        yaml.push_str("  sensitive: true\n");
    }
    for (at, option) in property["enum"].as_array().into_iter().flatten().enumerate() {
        let head = if at == 0 { "  options:\n" } else { "" };
        writeln!(yaml, "{head}  - label: {option}\n    value: {option}").ok();
    }
}

/// Meltano's name for the type of a setting.
fn kind(property: &Value) -> &'static str {
    match (property["type"].as_str(), property["format"].as_str()) {
        _ if property["enum"].is_array() => "options",
        (_, Some("date-time")) => "date_iso8601",
        (Some("integer"), _) => "integer",
        (Some("number"), _) => "decimal",
        (Some("boolean"), _) => "boolean",
        (Some("array"), _) => "array",
        (Some("object"), _) => "object",
        _ => "string",
    }
}
