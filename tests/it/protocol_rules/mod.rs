//! The rules of the Singer specification and of the Meltano SDK, held against whole runs.
//!
//! - `tap`: every line of stdout, and the catalog.
//! - `target`: what it prints, and when.

mod tap;
mod target;

use crate::common::context::root;
use serde_json::Value;
use std::fs;

/// A file of `schemas/`, as a validator that looks at formats too.
fn validator(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(root().join("schemas").join(name)).expect("reads");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert!(jsonschema::meta::is_valid(&schema), "{name} is a JSON Schema");
    asserting(&schema)
}

/// A validator that looks at formats too.
fn asserting(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).expect("a JSON Schema")
}

/// Fails with the first thing that is wrong.
fn assert_valid(validator: &jsonschema::Validator, value: &Value, place: &str) {
    if let Some(error) = validator.iter_errors(value).next() {
        panic!("{place}: {error} at `{}` in {value}", error.instance_path());
    }
}
