//! Bugs that were there once, each by name.

use crate::common::context::{TestContext, messages, properties, records};
use crate::common::process::command;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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

/// The names of all contacts, as a target inserted them.
fn contacts(context: &TestContext) -> Vec<String> {
    let mut names = context.dump("Contacts", &["Last_Name".to_owned()]);
    names.sort();
    names
}

/// A target that was given this many rows without a key and no STATE; its input stays open.
fn feed_rows(context: &TestContext, rows: usize) -> Child {
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": [],
        "schema": {"type": "object", "properties": {"name": {"type": "string"}}}});
    let mut feed = format!("{schema}\n");
    for number in 0..rows {
        let record =
            json!({"type": "RECORD", "stream": "people", "record": {"name": format!("N{number:03}")}});
        writeln!(feed, "{record}").expect("grows");
    }
    let mut target = command(context, "target-zoho-crm", &["--config", "config.json"]);
    let mut target = target.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    target.stdin.as_mut().expect("is piped").write_all(feed.as_bytes()).expect("is read");
    target
}

/// A run saw rows again that an earlier run had written, wrote new ones after them, and was killed before
/// a STATE: the ledger knew the new rows and not those seen again, took the tap to be past all that was
/// older, and the run after it inserted them twice.
#[test]
fn rows_seen_again_before_new_ones_are_known_to_the_run_after_a_kill() {
    let context = TestContext::new(&[]);
    let stream = json!({"module": "Contacts", "operation": "insert", "fields": {"name": "Last_Name"}});
    let more = json!({"method": "records", "batch_rows": 50, "at_least_once": true,
        "streams": {"people": stream}});
    context.settings_with("config.json", &more);
    for rows in [50, 100] {
        let mut target = feed_rows(&context, rows);
        let begun = Instant::now();
        // A batch that is told of has no spool file any more.
        let is_told = || fs::read_dir(context.path("state/target/spool")).is_ok_and(|dir| dir.count() == 0);
        while !(contacts(&context).len() == rows && is_told()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{rows} rows are not written");
            thread::sleep(Duration::from_millis(5));
        }
        target.kill().expect("is killed");
        target.wait().expect("ends");
    }
    let mut target = feed_rows(&context, 100);
    drop(target.stdin.take());
    assert!(target.wait().expect("ends").success());
    let mut names = contacts(&context);
    assert_eq!(names.len(), 100, "rows are there twice");
    names.dedup();
    assert_eq!(names.len(), 100, "rows are missing");
}
