//! JSON pointers held against a SCHEMA: every step of a path into a property, before any row is read.
//!
//! Only what the SCHEMA describes is checked. An object without `properties`, an array without `items`, and
//! whatever `additionalProperties` lets in may hold anything. Follows JSON Schema draft 7, as far as Singer
//! taps use it: `properties`, `items`, `anyOf`, `oneOf`, `allOf`, `$ref` within the SCHEMA.

use serde_json::Value;

use super::config::ConfigError;
use crate::diagnostic::similar;

/// Nested choices and references that are followed.
const DEEPEST: usize = 32;

/// What may stand in a place.
enum Place<'a> {
    /// One of these.
    Described(Vec<&'a Value>),
    /// Anything.
    Open,
}

/// Follows the steps of a path from the top of a SCHEMA on.
///
/// # Errors
/// [`ConfigError`] at `pointer`, naming the step that leads nowhere.
pub fn follow(schema: &Value, steps: &[String], stream: &str, pointer: &str) -> Result<(), ConfigError> {
    let mut places = vec![schema];
    for (at, step) in steps.iter().enumerate() {
        let mut shapes = Vec::new();
        places.iter().for_each(|place| shapes_of(schema, place, DEEPEST, &mut shapes));
        match into(&shapes, step) {
            Ok(Place::Open) => return Ok(()),
            Ok(Place::Described(next)) => places = next,
            Err(known) => return Err(nowhere(&steps[..at], step, &known, stream, pointer)),
        }
    }
    Ok(())
}

/// The schemas of a place, choices and references taken apart.
fn shapes_of<'a>(root: &'a Value, place: &'a Value, depth: usize, shapes: &mut Vec<&'a Value>) {
    if depth == 0 {
        return;
    }
    let target = place["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    if let Some(target) = target.and_then(|target| root.pointer(target)) {
        return shapes_of(root, target, depth - 1, shapes);
    }
    let choices = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|word| place[word].as_array()).flatten();
    let mut chosen = false;
    for choice in choices {
        chosen = true;
        shapes_of(root, choice, depth - 1, shapes);
    }
    if !chosen || place["properties"].is_object() || place["items"].is_object() {
        shapes.push(place);
    }
}

/// One step; the names that are known where it leads nowhere.
fn into<'a>(shapes: &[&'a Value], step: &str) -> Result<Place<'a>, Vec<&'a str>> {
    let (mut next, mut known) = (Vec::new(), Vec::new());
    for shape in shapes {
        let may_be = |kind: &str| match &shape["type"] {
            Value::String(one) => one == kind,
            Value::Array(all) => all.iter().any(|one| one == kind),
            _ => true,
        };
        if may_be("object") {
            let open = match &shape["additionalProperties"] {
                Value::Bool(open) => *open,
                other => other.is_object(),
            };
            match shape["properties"].as_object() {
                Some(properties) => {
                    next.extend(properties.get(step));
                    if !properties.contains_key(step) && (open || shape["patternProperties"].is_object()) {
                        return Ok(Place::Open);
                    }
                    known.extend(properties.keys().map(String::as_str));
                }
                None if !may_be("array") || shape["items"].is_null() => return Ok(Place::Open),
                None => {}
            }
        }
        if may_be("array") && step.bytes().all(|byte| byte.is_ascii_digit()) {
            match &shape["items"] {
                items @ Value::Object(_) => next.push(items),
                Value::Array(items) => match step.parse().ok().and_then(|place: usize| items.get(place)) {
                    Some(item) => next.push(item),
                    None => return Ok(Place::Open),
                },
                _ => return Ok(Place::Open),
            }
        }
    }
    if next.is_empty() { Err(known) } else { Ok(Place::Described(next)) }
}

fn nowhere(before: &[String], step: &str, known: &[&str], stream: &str, pointer: &str) -> ConfigError {
    let text = if before.is_empty() {
        format!("\"{step}\" is not a property of stream \"{stream}\"")
    } else {
        format!("\"/{}\" of stream \"{stream}\" has no \"{step}\"", before.join("/"))
    };
    let error = ConfigError::new(pointer, text);
    error.with_hint(match similar(step, known.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => "its SCHEMA describes nothing inside of it by that name".to_owned(),
        None => format!("its SCHEMA has {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(path: &str) -> String {
        let schema = json!({
            "definitions": {"place": {"type": ["null", "object"], "properties": {"city": {"type": "string"}}}},
            "properties": {
                "address": {"anyOf": [{"$ref": "#/definitions/place"}, {"type": "null"}]},
                "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
                "open": {"type": "object", "properties": {"a": {}}, "additionalProperties": true},
                "free": {"type": ["object", "null"]}, "any": {}, "name": {"type": ["null", "string"]}}});
        let steps: Vec<String> = path.split('/').map(str::to_owned).collect();
        match follow(&schema, &steps, "s", "/p") {
            Ok(()) => String::new(),
            Err(error) => format!("{error} | {}", error.hint.clone().unwrap_or_default()),
        }
    }

    #[test]
    fn every_step_that_the_schema_describes_is_checked() {
        for good in
            ["name", "address/city", "lines/0/sku", "lines/12", "open/b/c", "open/a/x", "free/x/y", "any/0/x"]
        {
            assert_eq!(error(good), "", "{good}");
        }
        assert!(error("nam").ends_with("\"nam\" is not a property of stream \"s\" | did you mean \"name\"?"));
        let cty = error("address/cty");
        assert!(
            cty.ends_with("\"/address\" of stream \"s\" has no \"cty\" | did you mean \"city\"?"),
            "{cty}"
        );
        assert!(error("lines/0/skuu").contains("did you mean \"sku\"?"));
        assert!(error("lines/sku").contains("has no \"sku\""), "{}", error("lines/sku"));
        assert!(error("name/first").contains("describes nothing inside"), "{}", error("name/first"));
        assert!(error("address/city/x").contains("\"/address/city\""));
    }
}
