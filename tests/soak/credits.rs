//! What reading costs at full size: plan against spend, first reads, increments; and how long the
//! discovery of a large organisation takes.

use crate::Part;
use crate::common::context::TestContext;
use crate::common::credits::{Charged, charged, plan};
use crate::common::discovery::{Timed, timed};
use crate::common::process::command;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

/// Rows around which prices change.
const SIZES: [u64; 13] =
    [0, 1, 199, 200, 201, 1_999, 2_000, 2_001, 100_000, 100_001, 200_000, 200_001, 500_000];
/// Fields that are read.
const FIELDS: usize = 12;
/// Most data credits of a first read of 200,000 rows, and of an increment of 500 among them.
const FIRST_READ: u64 = 50;
const INCREMENT: u64 = 4;
/// Changed rows of an increment.
const CHANGED: u64 = 500;

/// Everything about credits.
pub fn parts() -> Vec<Part> {
    vec![
        Part::new("credits: plan against spend, 0 to 500,000 rows", 90, plan_against_spend),
        Part::new("credits: first reads and increments, 200,000 rows", 60, first_read_and_increments),
        Part::new("discovery: 150 modules", 15, discovery),
    ]
}

fn leads(seed: u64, rows: u64) -> TestContext {
    let context = TestContext::with(|options| {
        options.seed = seed;
        options.rows = [("Leads".to_owned(), rows)].into();
    });
    let path = context.catalog(&["Leads"]);
    let mut catalog: Value = serde_json::from_slice(&fs::read(path).expect("reads")).expect("JSON");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        for entry in stream["metadata"].as_array_mut().expect("metadata").iter_mut().skip(FIELDS + 1) {
            entry["metadata"]["selected"] = false.into();
        }
    }
    context.write("catalog.json", &catalog);
    context
}

/// Reads, and answers records, the last state and what was charged.
fn sync(context: &TestContext, state: Option<&PathBuf>) -> (u64, PathBuf, Charged) {
    context.control("DELETE", "stats", &Value::Null);
    let out = context.path("out.jsonl");
    let args = ["--config", "config.json", "--catalog", "catalog.json"];
    let mut tap = command(context, "tap-zoho-crm", &args);
    if let Some(state) = state {
        tap.arg("--state").arg(state);
    }
    let done = tap.stdout(File::create(&out).expect("a file")).output().expect("runs");
    assert!(done.status.success(), "{}", context.seen(&done));
    println!(
        "    {}",
        String::from_utf8_lossy(&done.stderr)
            .lines()
            .find(|line| line.starts_with("Read"))
            .expect("a summary")
    );
    let (mut records, mut state) = (0, Value::Null);
    for line in BufReader::new(File::open(&out).expect("opens")).lines() {
        let line = line.expect("reads");
        match line.starts_with(r#"{"type":"RECORD""#) {
            true => records += 1,
            false => {
                let mut message: Value = serde_json::from_str(&line).expect("JSON");
                state = message["value"].take();
            }
        }
    }
    fs::remove_file(out).expect("is removed");
    (records, context.write("state.json", &state), charged(context))
}

fn plan_against_spend(seed: u64) -> String {
    let mut figures = Vec::new();
    for rows in SIZES {
        let context = leads(seed, rows);
        let planned = plan(&context, &["--catalog", "catalog.json"]);
        let planned = planned["credits"]["total"].as_u64().expect("a total");
        let (records, _, Charged { data, metadata, .. }) = sync(&context, None);
        let spent = data + metadata;
        assert_eq!(records, rows);
        let tolerance = (spent / 20).max(2);
        assert!(planned.abs_diff(spent) <= tolerance, "{rows} rows: planned {planned}, spent {spent}");
        figures.push(format!("{rows} rows {planned}/{spent}"));
    }
    format!("planned/spent: {}", figures.join(", "))
}

fn first_read_and_increments(seed: u64) -> String {
    let context = leads(seed, 200_000);
    plan(&context, &["--catalog", "catalog.json"]);
    let (records, state, first) = sync(&context, None);
    assert_eq!(records, 200_000);
    assert!(first.data <= FIRST_READ && first.metadata <= 1, "{first:?}");
    let mut spent = Vec::new();
    let mut state = state;
    for round in 0..3 {
        let change = json!({"module": "Leads", "seed": seed + round, "change": CHANGED});
        context.control("POST", "mutate", &change);
        // Past the lookback, so that no increment has the changes of the one before.
        context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
        let (records, next, charged) = sync(&context, Some(&state));
        assert!(records > 0 && records <= CHANGED, "{records} of {CHANGED} changes");
        assert!(charged.data <= INCREMENT && charged.metadata <= 1, "{charged:?}");
        state = next;
        spent.push(charged.data.to_string());
    }
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    let (records, _, quiet) = sync(&context, Some(&state));
    assert_eq!((records, quiet), (0, Charged { data: 1, metadata: 0, polls: 0 }), "nothing changed");
    format!(
        "first read {} data credits, increments {}, without changes 1 in all",
        first.data,
        spent.join(", ")
    )
}

fn discovery(_: u64) -> String {
    let Timed { streams, took, servers, peak, refused } = timed(135, Duration::from_millis(500));
    assert!(streams >= 150 && peak <= 20 && refused == 0, "{streams} streams, {peak} at once");
    let ratio = took.as_secs_f64() / servers.as_secs_f64();
    assert!(ratio <= 1.5, "{took:?}, the server alone {servers:?}");
    format!(
        "{streams} streams in {took:.2?}, {ratio:.2} times the server's own time, at most {peak} calls at once"
    )
}
