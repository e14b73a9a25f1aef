//! Catalogs and states that the tap cannot work with.

use super::{bare, with_config};
use crate::common::context::TestContext;
use serde_json::{Value, json};
use std::fs;

/// The catalog of one selected stream, changed by hand.
fn hand_edited(context: &TestContext, change: impl FnOnce(&mut Value)) {
    let path = context.catalog(&["Leads"]);
    let text = fs::read_to_string(path).expect("reads");
    let mut catalog: Value = serde_json::from_str(&text).expect("JSON");
    let streams = catalog["streams"].as_array_mut().expect("streams");
    let mut stream = streams.iter().find(|stream| stream["tap_stream_id"] == "Leads").expect("Leads").clone();
    change(&mut stream);
    context.write("catalog.json", &json!({"streams": [stream]}));
}

fn assert_catalog_seen(name: &str, change: impl FnOnce(&mut Value)) {
    let context = TestContext::new(&[("Leads", 2)]);
    hand_edited(&context, change);
    context.assert_seen(name, context.tap().args(["--catalog", "catalog.json"]));
}

#[test]
fn a_stream_that_is_no_module() {
    for (name, module) in [("unknown_module", "Leeds"), ("unknown_module_unlike_any", "Subscriptions")] {
        assert_catalog_seen(name, |stream| {
            stream["tap_stream_id"] = module.into();
            stream["metadata"][0]["metadata"]["zoho-module"] = module.into();
        });
    }
}

#[test]
fn a_field_that_is_not_there_any_more() {
    let context = TestContext::new(&[("Leads", 0)]);
    hand_edited(&context, |stream| {
        stream["schema"]["properties"]["Favourite_Colour"] = json!({"type": ["null", "string"]});
    });
    context.assert_seen("unknown_field", context.tap().args(["--catalog", "catalog.json"]));
}

#[test]
fn a_stream_without_its_key() {
    assert_catalog_seen("stream_without_key", |stream| {
        stream["schema"]["properties"].as_object_mut().expect("properties").shift_remove("id");
    });
}

#[test]
fn catalogs_that_are_none() {
    let context = TestContext::new(&[]);
    for (name, text) in [
        ("catalog_is_a_list", "[]"),
        ("catalog_is_a_state", r#"{"bookmarks": {}}"#),
        ("catalog_stream_without_id", r#"{"streams": [{"stream": "Leads", "schema": {}}]}"#),
        ("catalog_streams_by_name", r#"{"streams": {"Leads": {}}}"#),
        ("catalog_empty_file", ""),
        ("catalog_of_text", "Leads\nContacts\n"),
    ] {
        fs::write(context.path("catalog.json"), text).expect("writes");
        context.assert_seen(name, context.tap().args(["--catalog", "catalog.json"]));
    }
}

fn assert_state_seen(name: &str, state: &str) {
    let context = TestContext::new(&[("Leads", 2)]);
    context.catalog(&["Leads"]);
    fs::write(context.path("state.json"), state).expect("writes");
    context.assert_seen(name, context.tap().args(["--catalog", "catalog.json", "--state", "state.json"]));
}

#[test]
fn states_that_are_none() {
    assert_state_seen("state_not_json", "{\"bookmarks\": {\"Leads\": {\n");
    assert_state_seen("state_is_a_text", "\"2026-03-01\"");
    assert_state_seen("state_with_bookmarks_of_text", r#"{"bookmarks": "2026-03-01"}"#);
    assert_state_seen("state_with_a_bookmark_of_text", r#"{"bookmarks": {"Leads": "2026-03-01"}}"#);
}

#[test]
fn states_edited_by_hand() {
    let bookmark = |value: Value| json!({"bookmarks": {"Leads": value}}).to_string();
    assert_state_seen("state_with_a_date", &bookmark(json!({"replication_key_value": "2026-03-01"})));
    assert_state_seen("state_with_a_number", &bookmark(json!({"replication_key_value": 1_772_323_200})));
    let half = json!({"in_progress": {"from": null, "until": "2026-03-01T00:00:00Z", "method": "magic"}});
    assert_state_seen("state_with_an_unknown_method", &bookmark(half));
}

#[test]
fn a_bookmark_in_the_future_reads_nothing_and_says_so() {
    let context = TestContext::new(&[("Leads", 2)]);
    context.catalog(&["Leads"]);
    let state = json!({"bookmarks": {"Leads": {"replication_key_value": "2199-01-01T00:00:00Z"}}});
    context.write("state.json", &state);
    let args = ["--catalog", "catalog.json", "--state", "state.json"];
    let output = context.tap().args(args).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let seen = format!("exit: {:?}\n--- stderr\n{}", output.status.code(), stderr.trim_end());
    crate::common::snapshot::assert_seen("state_in_the_future", &seen);
}

#[test]
fn a_config_where_the_catalog_belongs() {
    let context = TestContext::new(&[]);
    context.assert_seen("catalog_is_a_config", context.tap().args(["--catalog", "config.json"]));
    let mut command =
        with_config(&context, "tap-zoho-crm", r#"{"streams": [{"tap_stream_id": "Leads", "schema": {}}]}"#);
    context.assert_seen("config_is_a_catalog", &mut command);
    let mut fields = bare(&context, "zoho-crm");
    fields.args(["fields", "Leeds", "--config", "config.json"]);
    context.assert_seen("fields_of_no_module", &mut fields);
}
