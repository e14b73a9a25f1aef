//! Field policy: what is excluded, hashed or masked leaves by no way of reading, in no file and no log.

use crate::common::context::{TestContext, messages, properties, records};
use serde_json::{Value, json};
use std::process::Output;

const KEY: &str = "a key of the company's own";
/// HMAC-SHA-256 of `jefe@x.test` under that key, by another program.
const HASH: &str = "9d4755546cc8988fa139066fb92e75bdf2114690e7f1730ae3ac627bb4af90dc";

fn rules() -> Value {
    json!([
        {"streams": ["users"], "fields": ["email"], "action": "keep"},
        {"fields": ["*mail*", "*Email*"], "action": "hash"},
        {"fields": ["Last_Name", "Annual_Revenue"], "action": "mask"},
        {"streams": ["Le*"], "fields": ["Compan?"], "action": "exclude"},
    ])
}

/// Leads, one of whom is known by heart.
fn context() -> (TestContext, String) {
    let context = TestContext::new(&[("Leads", 30)]);
    let lead = json!({"Last_Name": "Jefe", "Company": "Secretive", "Email": "jefe@x.test", "Annual_Revenue": 7654321});
    let made = context.control("POST", "mutate", &json!({"module": "Leads", "records": [lead]}));
    (context, made["inserted"][0].as_str().expect("an id").to_owned())
}

fn run(context: &TestContext, settings: &Value, args: &[&str]) -> Output {
    let config = context.settings_with("config.json", settings);
    context.tap_with(&config).args(args).output().expect("runs")
}

#[test]
fn no_way_of_reading_lets_a_guarded_value_out() {
    let (context, id) = context();
    context.catalog(&["Leads"]);
    for method in ["bulk_read", "coql", "records"] {
        let settings = json!({"method": method, "field_policy": rules(), "field_policy_key": KEY});
        let output = run(&context, &settings, &["--catalog", "catalog.json", "--log-level", "debug"]);
        let seen = context.seen(&output);
        assert!(output.status.success(), "{seen}");
        for value in ["Jefe", "jefe@x.test", "Secretive", "7654321", KEY] {
            assert!(!seen.contains(value), "{value} by {method}");
        }
        let properties = properties(&messages(&output.stdout), "Leads");
        assert!(!properties.contains(&"Company".to_owned()), "{properties:?}");
        let found = records(&output.stdout, "Leads");
        let jefe = found.iter().find(|record| record.contains(&id)).expect("is there");
        let jefe: Value = serde_json::from_str(jefe).expect("JSON");
        assert_eq!([&jefe["Email"], &jefe["Last_Name"], &jefe["Annual_Revenue"]], [HASH, "***", "***"]);
        assert!(jefe["Phone"].is_null(), "empty stays null");
        assert_eq!(found.len(), 31);
    }
}

#[test]
fn the_catalog_shows_what_will_come() {
    let (context, _) = context();
    let output = run(&context, &json!({"field_policy": rules(), "field_policy_key": KEY}), &["--discover"]);
    let catalog: Value = serde_json::from_slice(&output.stdout).expect("a catalog");
    let streams = catalog["streams"].as_array().expect("streams");
    let leads = streams.iter().find(|stream| stream["tap_stream_id"] == "Leads").expect("Leads");
    assert_eq!(leads["schema"]["properties"]["Annual_Revenue"]["type"], json!(["null", "string"]));
    assert_eq!(leads["schema"]["properties"]["Email"]["x-field-policy"], "hash");
    let company = json!(["properties", "Company"]);
    let mut metadata = leads["metadata"].as_array().expect("metadata").iter();
    let company = metadata.find(|entry| entry["breadcrumb"] == company).expect("Company");
    assert_eq!(company["metadata"]["inclusion"], "unsupported");
}

#[test]
fn users_and_deletes_are_under_the_policy_too() {
    let (context, id) = context();
    context.catalog(&["Leads", "users", "deleted_records"]);
    context.control("POST", "mutate", &json!({"module": "Leads", "delete_ids": [id]}));
    let rules = json!([{"fields": ["email", "Email", "Last_Name"], "action": "mask"}]);
    let output = run(&context, &json!({"field_policy": rules}), &["--catalog", "catalog.json"]);
    assert!(output.status.success(), "{}", context.seen(&output));
    let users = records(&output.stdout, "users");
    assert!(!users.is_empty() && users.iter().all(|user| user.contains("\"email\":\"***\"")), "{users:?}");
    let deletes = records(&output.stdout, "deleted_records");
    let names: Vec<Value> = deletes
        .iter()
        .map(|record| serde_json::from_str::<Value>(record).expect("JSON")["display_name"].clone())
        .collect();
    assert_eq!(names, [Value::Null], "the name of a record shows what its fields hide");
}

#[test]
fn another_policy_begins_an_unfinished_reading_again() {
    let (context, _) = context();
    context.catalog(&["Leads"]);
    let until = "2030-01-01T00:00:00Z";
    let half = json!({"until": until, "method": "coql", "fields": "of another policy", "after_id": "9223372036854775807"});
    let state = context.write("state.json", &json!({"bookmarks": {"Leads": {"in_progress": half}}}));
    let args = ["--catalog", "catalog.json", "--state", state.to_str().expect("UTF-8")];
    let output = run(&context, &json!({"field_policy": [{"fields": ["Email"], "action": "mask"}]}), &args);
    assert_eq!(records(&output.stdout, "Leads").len(), 31);
}

#[test]
fn a_policy_that_cannot_hold_is_refused() {
    let (context, _) = context();
    context.catalog(&["Leads"]);
    let refused = |settings: Value| {
        let output = run(&context, &settings, &["--catalog", "catalog.json"]);
        assert_eq!(output.status.code(), Some(2), "{}", context.seen(&output));
        assert!(output.stdout.is_empty());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    insta::assert_snapshot!(
        [
            refused(json!({"field_policy": [{"fields": ["Modified_*"], "action": "exclude"}]})),
            refused(json!({"field_policy": [{"streams": ["Leads"], "fields": ["id"], "action": "hash"}], "field_policy_key": KEY})),
            refused(json!({"field_policy": [{"fields": ["Email"], "action": "hash"}]})),
            refused(json!({"field_policy": [{"fields": ["Email"], "action": "hash"}], "field_policy_key": "too short"})),
            refused(json!({"field_policy": [{"fields": ["Email"], "action": "hide"}]})),
        ]
        .join("\n")
        .replace(&context.path(".").display().to_string().trim_end_matches('.').to_owned(), "[DIR]/")
    );
}
