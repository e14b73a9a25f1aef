//! What our own target wrote and our tap reads back.

use crate::common::context::{TestContext, last_state, messages, records};
use serde_json::{Value, json};
use std::fs;

fn feed(context: &TestContext, rows: &[(&str, &str)]) {
    let text = json!({"type": ["null", "string"]});
    let mut out = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["Email"], "schema":
        {"type": "object", "properties": {"Email": text, "Last_Name": text}}})
    .to_string();
    for (email, name) in rows {
        let record =
            json!({"type": "RECORD", "stream": "people", "record": {"Email": email, "Last_Name": name}});
        out.push_str(&format!("\n{record}"));
    }
    fs::write(context.path("feed.singer"), out + "\n").expect("writes");
}

#[test]
fn an_increment_leaves_out_what_we_wrote_and_nothing_else() {
    let context = TestContext::new(&[("Contacts", 5)]);
    let target = context.settings_with(
        "target.json",
        &json!({"streams": {"people":
        {"module": "Contacts", "match_on": "Email", "remember_writes": true}}}),
    );
    let tap = context.settings_with("tap.json", &json!({"ignore_own_writes": true, "lookback_seconds": 0}));
    context.catalog(&["Contacts"]);
    let read = |state: Option<&std::path::Path>| {
        let mut command = context.tap_with(&tap);
        command.arg("--catalog").arg(context.path("catalog.json"));
        if let Some(state) = state {
            command.arg("--state").arg(state);
        }
        command.assert().success().get_output().stdout.clone()
    };
    let first = read(None);
    assert_eq!(records(&first, "Contacts").len(), 5);
    let state = last_state(&context, &messages(&first), "state.json");
    context.control("POST", "clock", &json!({"advance_seconds": 60}));
    feed(&context, &[("a@x.test", "A"), ("b@x.test", "B"), ("c@x.test", "C")]);
    let write = || {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin("target-zoho-crm"));
        command.env_clear().arg("--config").arg(&target).arg("--input").arg(context.path("feed.singer"));
        command.assert().success();
    };
    write();
    // One is changed by somebody else; another one gets a field that we did not write.
    context.control("POST", "clock", &json!({"advance_seconds": 60}));
    let rows = context.dump("Contacts", &["id".to_owned(), "Email".to_owned()]);
    let id = |email: &str| {
        let rows = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        rows.into_iter().find(|row| row["Email"] == email).expect("is there")["id"].clone()
    };
    let changed = json!({"module": "Contacts", "records": [
        {"id": id("b@x.test"), "Last_Name": "by hand"}, {"id": id("c@x.test"), "Phone": "by hand"}]});
    context.control("POST", "mutate", &changed);
    let second = read(Some(&state));
    let mut seen: Vec<String> = records(&second, "Contacts")
        .iter()
        .map(|row| {
            serde_json::from_str::<Value>(row).expect("JSON")["Email"].as_str().expect("text").to_owned()
        })
        .collect();
    seen.sort();
    assert_eq!(seen, ["b@x.test", "c@x.test"], "what we wrote last and nobody touched is left out");
}
