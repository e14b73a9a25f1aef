//! Users' time zones and the hours that clocks repeat: instants are compared, never texts.

use crate::common::context::{TestContext, last_state, messages, properties, records};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Output;

/// A zone, and the instant at which its clocks go back: the hour before it comes twice.
const BACK: [(&str, &str); 3] = [
    ("Australia/Sydney", "2025-04-05T16:00:00Z"),
    ("America/New_York", "2025-11-02T06:00:00Z"),
    ("Europe/Berlin", "2025-10-26T01:00:00Z"),
];

fn context(zone: &str) -> TestContext {
    TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 60)].into();
        options.orgs[0].time_zone = zone.to_owned();
    })
}

fn set(context: &TestContext, base: &str, minutes: i64) {
    context.control("POST", "clock", &json!({"frozen": true, "set": base, "advance_seconds": minutes * 60}));
}

fn change(context: &TestContext, id: &str) {
    let record = json!({"id": id, "Company": format!("changed {id}")});
    context.control("POST", "mutate", &json!({"module": "Leads", "records": [record]}));
}

fn read(context: &TestContext, more: &[&str]) -> Output {
    let output = context.tap().args(["--catalog", "catalog.json"]).args(more).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    last_state(context, &messages(&output.stdout), "state.json");
    output
}

fn ids(output: &Output) -> BTreeSet<String> {
    let id = |record: &String| {
        serde_json::from_str::<Value>(record).expect("JSON")["id"].as_str().map(str::to_owned)
    };
    records(&output.stdout, "Leads").iter().filter_map(id).collect()
}

/// The ids of rows that were last modified before 2025.
fn old_ids(output: &Output) -> Vec<String> {
    let rows = records(&output.stdout, "Leads");
    let rows = rows.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
    let old = rows.filter(|row| row["Modified_Time"].as_str().is_some_and(|time| time < "2025"));
    old.filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_hour_that_comes_twice_hides_no_change_and_repeats_none() {
    for (zone, back) in BACK {
        // Not by Bulk Read: its jobs run by the emulator's clock, which stands still here.
        for method in ["coql", "records"] {
            let context = context(zone);
            context.catalog(&["Leads"]);
            context.settings_with("config.json", &json!({"method": method, "lookback_seconds": 0}));
            set(&context, back, -60);
            // Rows of the seed may have been modified later than that: only older ones are looked at.
            let all: Vec<String> = old_ids(&read(&context, &[]));
            let state = ["--state", "state.json"];
            // Ten minutes before and ten minutes after: the later change has the smaller local time.
            for (minutes, id) in [(-10, &all[0]), (10, &all[1]), (50, &all[2])] {
                set(&context, back, minutes);
                change(&context, id);
                set(&context, back, minutes + 5);
                let output = read(&context, &state);
                let came: Vec<String> = ids(&output).into_iter().filter(|id| all.contains(id)).collect();
                assert_eq!(came, std::slice::from_ref(id), "{zone}, {minutes} min, {method}");
                let fields = properties(&messages(&output.stdout), "Leads");
                let truth = context.dump("Leads", &fields);
                let found = records(&output.stdout, "Leads");
                assert!(found.iter().all(|record| truth.contains(record)), "{zone}, {method}: {found:?}");
            }
        }
    }
}

#[test]
fn a_bookmark_in_any_offset_is_the_same_instant() {
    let context = context("America/New_York");
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"lookback_seconds": 0}));
    set(&context, "2025-11-02T06:00:00Z", -10);
    let all = old_ids(&read(&context, &[]));
    set(&context, "2025-11-02T06:00:00Z", 10);
    change(&context, &all[0]);
    // 01:55 in summer time, before the change at 01:10 in winter time; the last one is after it.
    for (bookmark, expected) in [
        ("2025-11-02T05:55:00Z", true),
        ("2025-11-02T01:55:00-04:00", true),
        ("2025-11-02T16:55:00+11:00", true),
        ("2025-11-02T01:15:00-05:00", false),
    ] {
        let bookmark = json!({"replication_key": "Modified_Time", "replication_key_value": bookmark});
        context.write("state.json", &json!({"bookmarks": {"Leads": bookmark}}));
        let came = ids(&read(&context, &["--state", "state.json"]));
        assert_eq!(came.contains(&all[0]), expected, "{bookmark}");
    }
}
