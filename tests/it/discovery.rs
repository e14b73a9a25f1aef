//! Discovery of organisations with many modules.

use crate::common::context::{TestContext, messages, properties, records};
use crate::common::discovery::{Timed, timed};
use serde_json::{Value, json};
use std::time::Duration;

/// Calls of this length, so that the server's own time is what counts.
const CALL: Duration = Duration::from_millis(500);

#[test]
fn many_modules_are_asked_for_side_by_side_and_within_the_pool() {
    // How long it takes is for the soak: the clock of a busy machine proves nothing.
    let Timed { streams, took, servers, peak, refused } = timed(50, CALL);
    let seen = format!("{streams} streams, {peak} calls at once, {took:?} (the server alone {servers:?})");
    assert!(streams > 50 && (15..=20).contains(&peak) && refused == 0, "{seen}");
}

#[test]
fn a_lazy_discovery_lists_streams_and_the_sync_fills_them() {
    let context = TestContext::new(&[("Leads", 30), ("Contacts_X_Products", 4)]);
    let config = context.settings_with("lazy.json", &json!({"discover": "lazy"}));
    let output = context.tap_with(&config).arg("--discover").assert().success().get_output().clone();
    let mut catalog: Value = serde_json::from_slice(&output.stdout).expect("a catalog");
    assert_eq!(context.stats()["endpoints"]["GET /crm/v8/settings/fields"], Value::Null, "no fields");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        let chosen =
            ["Leads", "Contacts_X_Products"].contains(&stream["tap_stream_id"].as_str().expect("a name"));
        stream["metadata"][0]["metadata"]["selected"] = chosen.into();
        if chosen {
            assert_eq!(stream["schema"]["additionalProperties"], true);
            assert_eq!(stream["schema"]["properties"].as_object().expect("properties").len(), 1);
        }
    }
    context.write("catalog.json", &catalog);
    let output = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    assert_eq!(context.stats()["endpoints"]["GET /crm/v8/settings/fields"]["calls"], 2);
    for stream in ["Leads", "Contacts_X_Products"] {
        let fields = properties(&messages(&output.stdout), stream);
        assert!(fields.len() > 3, "{fields:?}");
        assert_eq!(records(&output.stdout, stream), context.dump(stream, &fields), "{stream}");
    }
}
