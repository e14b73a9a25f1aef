//! Bugs that were there once, each by name.

use crate::common::context::{TestContext, messages, properties, records};
use serde_json::{Value, json};

/// The records API cuts rich text to 500 characters in its lists, and the tap took that for the text.
#[test]
fn rich_text_that_the_records_api_cuts_comes_whole_by_another_way() {
    let context = TestContext::new(&[("Everything", 300)]);
    context.catalog(&["Everything"]);
    let config = context.settings_with("records.json", &json!({"method": "records"}));
    let output =
        context.tap().arg("--config").arg(config).args(["--catalog", "catalog.json"]).output().expect("runs");
    let seen = context.seen(&output);
    assert!(output.status.success(), "{seen}");
    assert!(seen.contains("records API, COQL"), "{seen}");
    let fields = properties(&messages(&output.stdout), "Everything");
    let truth = context.dump("Everything", &fields);
    assert_eq!(records(&output.stdout, "Everything"), truth);
    let cut = |row: &String| {
        let row: Value = serde_json::from_str(row).expect("JSON");
        row["Rich_Text"].as_str().is_some_and(|text| text.chars().count() > 500)
    };
    assert!(truth.iter().any(cut), "no text is long enough to be cut");
}

/// A row that had slipped between two pages slipped again in the pass that looked for it; that pass
/// brought nothing new, and the tap took that for proof that nothing was missing.
#[test]
fn a_row_that_slips_between_pages_twice_is_found() {
    let context = TestContext::new(&[("Leads", 1_000)]);
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"method": "records"}));
    // The third page, and the second page of the first pass over the ids.
    for nth in [3, 6] {
        let matches = json!({"method": "GET", "path_contains": "/crm/v8/Leads?", "nth": nth});
        let action = json!({"kind": "delete_rows", "module": "Leads", "rows": 200});
        context.control("POST", "faults", &json!({"match": matches, "action": action}));
    }
    let output = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    let there = context.dump("Leads", &["id".to_owned()]);
    assert_eq!(there.len(), 600);
    let found = records(&output.stdout, "Leads");
    for id in there.iter().map(|row| row.trim_end_matches('}')) {
        assert!(found.iter().any(|record| record.starts_with(id)), "{id} is missing");
    }
}

/// A STATE by time came out only where the number of rows was a multiple of 1,024.
#[test]
fn a_state_by_time_comes_at_every_page() {
    for (method, pages) in [("coql", 25), ("records", 25), ("bulk_read", 25)] {
        let context = TestContext::with(|options| {
            options.rows = [("Leads".to_owned(), 5_000)].into();
            options.switches.coql_rows = 200;
        });
        context.catalog(&["Leads"]);
        context.settings_with("config.json", &json!({"method": method, "state_seconds": 0}));
        let output = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
        let states = messages(&output.stdout).iter().filter(|message| message["type"] == "STATE").count();
        assert!(states >= pages, "{method}: {states} STATEs");
    }
}
