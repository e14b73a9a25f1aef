//! `--about`: what a program is, can do and may be told.

use super::args::AboutFormat;
use super::plugin::definition;
use super::settings::Program;
use serde_json::{Value, json};
use std::fmt::Write;

/// The description of a program, in the form asked for.
pub fn about(program: Program, format: AboutFormat) -> String {
    let (name, description, capabilities): (&str, &str, &[&str]) = match program {
        Program::Target => (
            "target-zoho-crm",
            "Singer target for Zoho CRM",
            &["about", "batch", "validate-records", "structured-logging"],
        ),
        _ => (
            "tap-zoho-crm",
            "Singer tap for Zoho CRM",
            &[
                "about",
                "activate-version",
                "batch",
                "catalog",
                "discover",
                "properties",
                "state",
                "structured-logging",
                "test",
            ],
        ),
    };
    let schema = program.schema();
    match format {
        AboutFormat::Json => {
            let about = json!({
                "name": name,
                "description": description,
                "version": env!("CARGO_PKG_VERSION"),
                "capabilities": capabilities,
                "settings": schema,
            });
            format!("{about:#}")
        }
        AboutFormat::Meltano => definition(name, description, capabilities, &schema),
        AboutFormat::Markdown => markdown(name, description, capabilities, &schema),
    }
}

fn markdown(name: &str, description: &str, capabilities: &[&str], schema: &Value) -> String {
    let mut text =
        format!("# `{name}`\n\n{description}, version {}\n\n## Capabilities\n\n", env!("CARGO_PKG_VERSION"));
    for capability in capabilities {
        writeln!(text, "* `{capability}`").ok();
    }
    text.push_str("\n## Settings\n\n");
    text.push_str(&settings_table(schema));
    text.truncate(text.trim_end().len());
    text
}

/// The settings as a Markdown table: key, whether it is needed, default, meaning.
fn settings_table(schema: &Value) -> String {
    let mut table = "| key | required | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let required =
        |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|found| found == key));
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        row(&mut table, key, required(key), property);
        for (inner, property) in property["properties"].as_object().into_iter().flatten() {
            row(&mut table, &format!("{key}.{inner}"), false, property);
        }
    }
    table
}

fn row(table: &mut String, key: &str, required: bool, property: &Value) {
    let default = property.get("default").map(|default| format!("`{default}`")).unwrap_or_default();
    let description = property["description"].as_str().unwrap_or_default().replace('|', "\\|");
    let required = if required { "yes" } else { "" };
    writeln!(table, "| `{key}` | {required} | {default} | {description} |").ok();
}
