//! Streams are read at the same time: what one does is none of the others' business.

use crate::common::context::{TestContext, messages, records};
use serde_json::{Value, json};

const MODULES: [&str; 4] = ["Leads", "Contacts", "Accounts", "Deals"];

fn context() -> TestContext {
    let context = TestContext::new(&MODULES.map(|module| (module, 700)));
    context.catalog(&MODULES);
    context
}

#[test]
fn a_failed_stream_does_not_stop_the_others() {
    let context = context();
    let settings = json!({"method": "records", "retry": {"max_attempts": 2}});
    context.settings_with("config.json", &settings);
    let rule = json!([{"match": {"path_contains": "/crm/v8/Contacts", "times": 99}, "action": {"kind": "status", "status": 500}}]);
    context.control("POST", "faults", &rule);
    let output = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("reading stream `Contacts` failed"), "{stderr}");
    for module in ["Leads", "Accounts", "Deals"] {
        assert_eq!(records(&output.stdout, module).len(), 700, "{module}: {stderr}");
    }
    let state = messages(&output.stdout).pop().expect("a message");
    for module in ["Leads", "Accounts", "Deals"] {
        let bookmark = &state["value"]["bookmarks"][module];
        assert!(
            bookmark["replication_key_value"].is_string() && bookmark["in_progress"].is_null(),
            "{state}"
        );
    }
    assert!(state["value"]["bookmarks"]["Contacts"]["replication_key_value"].is_null(), "{state}");
}

#[test]
fn lines_are_whole_and_a_bookmark_follows_its_rows() {
    let context = context();
    context.settings_with("config.json", &json!({"method": "bulk_read", "state_rows": 100}));
    let output = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    for module in MODULES {
        let (mut rows, mut is_begun) = (0, false);
        for message in messages(&output.stdout) {
            match (message["type"].as_str(), message["stream"] == module) {
                (Some("SCHEMA"), true) => is_begun = true,
                (Some("RECORD"), true) => {
                    assert!(is_begun, "{module}: SCHEMA comes before the first RECORD");
                    rows += 1;
                }
                (Some("STATE"), _) => {
                    let bookmark = &message["value"]["bookmarks"][module];
                    let covered = &bookmark["in_progress"]["windows"][0]["rows_out"];
                    assert!(
                        covered.as_u64().unwrap_or_default() <= rows,
                        "{module}: {rows} rows, {bookmark}"
                    );
                    let is_done = bookmark["replication_key_value"] != Value::Null;
                    assert!(!is_done || rows == 700, "{module}: done after {rows} rows");
                }
                _ => {}
            }
        }
        assert_eq!(rows, 700, "{module}");
    }
}
