//! The tap from discovery to the last STATE, through the front door.

use crate::common::context::{TestContext, last_state, messages, properties, records};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn run(context: &TestContext, args: &[&str]) -> std::process::Output {
    let output = context.tap().args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output
}

fn deselect(catalog: &Path, field: &str) {
    let text = fs::read_to_string(catalog).expect("reads");
    let mut catalog_value: Value = serde_json::from_str(&text).expect("JSON");
    for stream in catalog_value["streams"].as_array_mut().expect("streams") {
        for entry in stream["metadata"].as_array_mut().expect("metadata") {
            if entry["breadcrumb"][1] == field {
                entry["metadata"]["selected"] = false.into();
            }
        }
    }
    fs::write(catalog, catalog_value.to_string()).expect("writes");
}

/// Reads streams and compares every record with the emulator's truth.
fn reads_everything(context: &TestContext, streams: &[&str], method: &str) {
    let path = context.catalog(streams);
    if method == "records" {
        // Its lists cut rich text, so it does not take streams that select some.
        deselect(&path, "Rich_Text");
    }
    let config = context.settings_with("method.json", &json!({"method": method}));
    let output = run(context, &["--config", config.to_str().expect("UTF-8"), "--catalog", "catalog.json"]);
    let messages = messages(&output.stdout);
    for stream in streams {
        let truth = context.dump(stream, &properties(&messages, stream));
        let found = records(&output.stdout, stream);
        assert_eq!(found.len(), truth.len(), "{stream} by {method}");
        for (found, truth) in found.iter().zip(&truth) {
            assert_eq!(found, truth, "{stream} by {method}");
        }
    }
}

#[test]
fn every_way_of_reading_gives_the_same_records_as_the_store() {
    for seed in [1, 2, 3] {
        let context = TestContext::with(|options| {
            options.seed = seed;
            let rows = [("Everything", 450), ("Contacts", 401), ("Everything_Lines", 300), ("Deals", 0)];
            options.rows = rows.map(|(name, rows)| (name.to_owned(), rows)).into();
        });
        for method in ["bulk_read", "coql", "records"] {
            reads_everything(&context, &["Everything", "Contacts", "Everything_Lines", "Deals"], method);
        }
    }
}

#[test]
fn a_module_larger_than_a_bulk_page_comes_whole() {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 2_501)].into();
        options.switches.bulk_read_page_size = 1_000;
    });
    reads_everything(&context, &["Leads"], "bulk_read");
    assert_eq!(context.stats()["endpoints"]["POST /crm/bulk/v8/read"]["calls"], 3);
}

#[test]
fn modules_that_the_cheap_ways_refuse_are_read_by_the_records_api() {
    let context = TestContext::new(&[("Notes", 450), ("Sensor_Readings", 250)]);
    reads_everything(&context, &["Notes", "Sensor_Readings"], "auto");
}

#[test]
fn a_second_run_reads_what_changed_and_costs_little() {
    let context = TestContext::new(&[("Leads", 3_000)]);
    context.catalog(&["Leads", "deleted_records"]);
    let first = messages(&run(&context, &["--catalog", "catalog.json"]).stdout);
    let state = last_state(&context, &first, "state.json");
    let moved = context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    assert!(moved.is_object(), "{moved}");
    context.control(
        "POST",
        "mutate",
        &json!({"module": "Leads", "seed": 7, "change": 500, "insert": 20, "delete": 5}),
    );
    context.control("DELETE", "stats", &Value::Null);
    let second = run(&context, &["--catalog", "catalog.json", "--state", state.to_str().expect("UTF-8")]);
    let bookmark: Value = serde_json::from_slice(&std::fs::read(&state).expect("reads")).expect("JSON");
    let bookmark =
        bookmark["bookmarks"]["Leads"]["replication_key_value"].as_str().expect("a bookmark").to_owned();
    let fields = properties(&messages(&second.stdout), "Leads");
    let changed = context.dump("Leads", &fields).into_iter().filter(|row| {
        let row: Value = serde_json::from_str(row).expect("JSON");
        row["Modified_Time"].as_str().expect("a time") >= bookmark.as_str()
    });
    assert_eq!(records(&second.stdout, "Leads"), changed.collect::<Vec<_>>());
    assert_eq!(records(&second.stdout, "deleted_records").len(), 5);
    let data: u64 =
        ["POST /crm/v8/coql", "GET /crm/v8/Leads/deleted"].map(|call| context.credits(call)).iter().sum();
    assert!(data <= 4 + 2, "{data} credits for about 500 rows and one page of deletes");
}
