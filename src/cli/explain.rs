//! What is wrong with settings, in words: JSON Schema's findings for people who never saw a schema.
//!
//! A finding names the JSON pointer, what stands there (unless it is secret) and what may; the advice
//! is the description that the schema itself has for the key.

use crate::diagnostic::similar;
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// Most characters of a value that are shown.
const LONGEST: usize = 60;

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// JSON pointer; empty for the settings as a whole.
    pub pointer: String,
    /// What is wrong there.
    pub what: String,
    /// What to do, if the schema knows.
    pub advice: Option<String>,
}

impl Finding {
    /// The finding in a line.
    pub fn text(&self) -> String {
        if self.pointer.is_empty() { self.what.clone() } else { format!("{}: {}", self.pointer, self.what) }
    }
}

/// Everything that is wrong with `settings`, in the order of the schema; missing keys are one finding.
pub fn findings(schema: &Value, settings: &Value) -> Vec<Finding> {
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("the schemas of the settings are valid");
    let errors: Vec<ValidationError<'_>> = validator.iter_errors(settings).collect();
    let missing: Vec<&str> = errors
        .iter()
        .filter(|error| error.instance_path().as_str().is_empty())
        .filter_map(|error| match error.kind() {
            ValidationErrorKind::Required { property } => property.as_str(),
            _ => None,
        })
        .collect();
    let mut findings: Vec<Finding> = missing_keys(schema, &missing).into_iter().collect();
    let others = errors.iter().filter(|error| {
        let whole = error.instance_path().as_str().is_empty();
        !(whole && matches!(error.kind(), ValidationErrorKind::Required { .. }))
    });
    findings.extend(others.map(|error| explain(schema, error)));
    findings
}

fn missing_keys(schema: &Value, missing: &[&str]) -> Option<Finding> {
    let (last, others) = missing.split_last()?;
    let what = match others {
        [] => format!("\"{last}\" is missing"),
        others => format!("\"{}\" and \"{last}\" are missing", others.join("\", \"")),
    };
    let first = others.first().unwrap_or(last);
    let advice = description(&schema["properties"][first]).map(|text| format!("{first}: {text}"));
    Some(Finding { pointer: String::new(), what, advice })
}

fn explain(schema: &Value, error: &ValidationError<'_>) -> Finding {
    if let ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } =
        error.kind()
        && let Some(inner) = meant(error, context)
    {
        return explain(schema, inner);
    }
    let pointer = error.instance_path().to_string();
    let property = property(schema, error);
    let found = if is_secret(schema, &pointer) { "it".to_owned() } else { shown(error.instance()) };
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind()
        && let Some(key) = unexpected.first()
    {
        let known = property["properties"].as_object().into_iter().flat_map(|known| known.keys());
        let known: Vec<&str> = known.map(String::as_str).collect();
        return unknown_key(&pointer, key, &known);
    }
    let near = match (error.kind(), error.instance().as_str()) {
        (ValidationErrorKind::Enum { options }, Some(text)) => similar(text, texts(options)),
        _ => None,
    };
    let advice = match near {
        Some(near) => Some(format!("did you mean \"{near}\"?")),
        None => description(property).map(str::to_owned),
    };
    Finding { what: expectation(error, &found, property), pointer, advice }
}

/// A key that nobody knows, and the one that was meant.
pub fn unknown_key(pointer: &str, key: &str, known: &[&str]) -> Finding {
    let advice = match similar(key, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() || known.len() > 12 => return plain_unknown_key(pointer, key),
        None => format!("there are {}", known.join(", ")),
    };
    Finding { advice: Some(advice), ..plain_unknown_key(pointer, key) }
}

fn plain_unknown_key(pointer: &str, key: &str) -> Finding {
    Finding { pointer: format!("{pointer}/{key}"), what: "there is no such setting".to_owned(), advice: None }
}

/// Which of several allowed forms was meant: the one of the JSON type that was given.
fn meant<'a>(
    error: &ValidationError<'_>,
    context: &'a [Vec<ValidationError<'static>>],
) -> Option<&'a ValidationError<'static>> {
    let here = error.instance_path();
    let is_other_type = |inner: &ValidationError<'_>| {
        inner.instance_path() == here && matches!(inner.kind(), ValidationErrorKind::Type { .. })
    };
    context.iter().find(|branch| !branch.iter().any(is_other_type)).and_then(|branch| branch.first())
}

fn expectation(error: &ValidationError<'_>, found: &str, property: &Value) -> String {
    let should = match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let types: Vec<String> = match kind {
                TypeKind::Single(one) => vec![one.to_string()],
                TypeKind::Multiple(set) => set.iter().map(|one| one.to_string()).collect(),
            };
            types.iter().map(|name| with_article(name)).collect::<Vec<_>>().join(" or ")
        }
        ValidationErrorKind::Enum { options } => {
            format!(
                "one of {}",
                texts(options).map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
            )
        }
        ValidationErrorKind::Minimum { limit } => format!("at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("at most {limit}"),
        ValidationErrorKind::OneOfNotValid { .. } => types_of(property),
        ValidationErrorKind::MinLength { limit: 1 } => return "it is empty".to_owned(),
        ValidationErrorKind::MinItems { limit: 1 } => return "the list is empty".to_owned(),
        ValidationErrorKind::Required { property } => return format!("{property} is missing"),
        ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. } => {
            let examples = property["examples"].as_array().map_or(&[][..], Vec::as_slice);
            let examples: Vec<String> = examples.iter().map(Value::to_string).collect();
            return format!("{found} should look like {}", examples.join(" or "));
        }
        _ => return error.masked().to_string(),
    };
    format!("{found} should be {should}")
}

/// The types that the branches of a `oneOf` allow.
fn types_of(property: &Value) -> String {
    let names = |value: &Value| -> Vec<String> {
        let branches = value["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        branches.iter().filter_map(|branch| branch["type"].as_str()).map(str::to_owned).collect()
    };
    match names(property).as_slice() {
        [] => "of another form".to_owned(),
        types => types.iter().map(|name| with_article(name)).collect::<Vec<_>>().join(" or "),
    }
}

fn with_article(name: &str) -> &str {
    match name.trim_matches('"') {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text in double quotes",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object in braces",
        _ => "null",
    }
}

fn texts(options: &Value) -> impl Iterator<Item = &str> {
    options.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The part of the schema that a finding comes from.
fn property<'a>(schema: &'a Value, error: &ValidationError<'_>) -> &'a Value {
    let path = error.schema_path().to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    schema.pointer(parent).unwrap_or(&Value::Null)
}

fn description(property: &Value) -> Option<&str> {
    property["description"].as_str().map(|text| text.trim_end_matches('.'))
}

fn is_secret(schema: &Value, pointer: &str) -> bool {
    let key = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
    // What cannot be told apart from a secret is treated as one.
    key.is_empty() || schema["properties"][key]["secret"] == true
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::findings;
    use crate::cli::settings::Program;
    use serde_json::{Value, json};

    fn found(program: Program, changes: Value) -> Vec<String> {
        let mut settings = json!({"client_id": "i", "client_secret": "s", "refresh_token": "r"});
        for (key, value) in changes.as_object().expect("an object") {
            settings[key] = value.clone();
        }
        findings(&program.schema(), &settings).iter().map(super::Finding::text).collect()
    }

    #[test]
    fn findings_are_in_words() {
        let tap = |changes: Value| found(Program::Tap, changes).join("\n");
        assert_eq!(tap(json!({})), "");
        assert_eq!(
            tap(json!({"lookback_seconds": "2 min", "state_rows": 0})),
            "/lookback_seconds: \"2 min\" should be a whole number\n/state_rows: 0 should be at least 1"
        );
        assert_eq!(tap(json!({"client_secret": 7})), "/client_secret: it should be a text in double quotes");
        assert_eq!(tap(json!({"retry": {"max": 1}})), "/retry/max: there is no such setting");
        assert!(tap(json!({"start_date": "today"})).contains("should look like \"2026-03-01T00:00:00Z\""));
    }

    #[test]
    fn of_several_forms_the_one_that_was_meant_is_explained() {
        let target = |stream: Value| found(Program::Target, json!({"streams": {"c": stream}})).join("\n");
        assert_eq!(target(json!({"modul": "A"})), "/streams/c/modul: there is no such setting");
        assert_eq!(
            target(json!([{"operation": "merge"}])),
            "/streams/c/0/operation: \"merge\" should be one of \"insert\", \"update\", \"upsert\", \"delete\", \"mirror\""
        );
        assert_eq!(
            target(json!({"fields": {"phone": {"match": "x"}}})),
            "/streams/c/fields/phone: \"to\" is missing"
        );
    }

    #[test]
    fn every_form_of_text_has_an_example() {
        fn check(property: &Value, place: &str) {
            if property["pattern"].is_string() || property["format"].is_string() {
                assert!(property["examples"].is_array(), "{place} has an example");
            }
            for (key, value) in property.as_object().into_iter().flatten() {
                check(value, &format!("{place}/{key}"));
            }
        }
        for program in [Program::Tap, Program::Target] {
            check(&program.schema(), "");
        }
    }
}
