//! Rows in files that BATCH messages name: what the tap writes, and both programs in a pipeline.

use crate::common::context::{TestContext, messages, program, records, root};
use assert_cmd::Command;
use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Output;

fn good(context: &TestContext, command: &mut Command) -> Output {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output
}

/// Settings that write batch files, and more.
fn settings(context: &TestContext, encoding: &Value, more: &Value) -> PathBuf {
    let root = format!("file://{}", context.path("batch files").display());
    let mut all =
        json!({"batch_config": {"encoding": encoding, "storage": {"root": root, "prefix": "crm-"}}});
    for (key, value) in more.as_object().expect("an object") {
        match value.as_object().filter(|_| key == "batch_config") {
            Some(more) => more.iter().for_each(|(key, value)| all["batch_config"][key] = value.clone()),
            None => all[key] = value.clone(),
        }
    }
    context.settings_with("batches.json", &all)
}

fn path_of(address: &Value) -> PathBuf {
    let path = address.as_str().and_then(|address| address.strip_prefix("file://")).expect("a file");
    PathBuf::from(path)
}

/// The rows of the files that a message names, as they stand there.
fn rows(message: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for address in message["manifest"].as_array().expect("a manifest") {
        let bytes = fs::read(path_of(address)).expect("the file is there");
        let mut text = String::new();
        match message["encoding"]["compression"].as_str() {
            Some("gzip") => MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip"),
            _ => (&bytes[..]).read_to_string(&mut text).expect("text"),
        };
        assert!(text.ends_with('\n'));
        rows.extend(text.lines().map(str::to_owned));
    }
    rows
}

fn rows_of(messages: &[Value], stream: &str) -> Vec<String> {
    let ours = messages.iter().filter(|message| message["type"] == "BATCH" && message["stream"] == stream);
    ours.flat_map(rows).collect()
}

#[test]
fn the_files_hold_what_the_messages_would() {
    let context = TestContext::new(&[("Leads", 450), ("Contacts", 7), ("Deals", 0)]);
    let streams = ["Leads", "Contacts", "Deals"];
    context.catalog(&streams);
    let plain = good(&context, context.tap().args(["--catalog", "catalog.json"]));
    let schema = fs::read_to_string(root().join("schemas/messages.json")).expect("reads");
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).expect("JSON")).expect("a schema");
    for compression in ["gzip", "none"] {
        let encoding = json!({"format": "jsonl", "compression": compression});
        let config = settings(&context, &encoding, &json!({"batch_config": {"batch_size": 200}}));
        let output = good(&context, context.tap_with(&config).args(["--catalog", "catalog.json"]));
        let messages = messages(&output.stdout);
        messages.iter().for_each(|message| assert!(schema.is_valid(message), "{message}"));
        assert!(messages.iter().all(|message| message["type"] != "RECORD"));
        for stream in streams {
            assert_eq!(rows_of(&messages, stream), records(&plain.stdout, stream), "{stream}");
            let at = |kind: &str| {
                messages.iter().position(|message| message["type"] == kind && message["stream"] == stream)
            };
            assert!(at("SCHEMA") < at("BATCH").or(Some(usize::MAX)), "{stream}");
        }
        let names: Vec<String> = messages
            .iter()
            .filter(|message| message["type"] == "BATCH")
            .map(|message| path_of(&message["manifest"][0]).display().to_string())
            .collect();
        assert!(names.iter().all(|name| name.contains("/crm-tap-zoho-crm--")), "{names:?}");
    }
}

#[test]
fn a_file_has_no_more_rows_than_it_may() {
    let context = TestContext::new(&[("Leads", 450)]);
    context.catalog(&["Leads"]);
    let more = json!({"state_seconds": 3_600, "batch_config": {"batch_size": 200}});
    let config = settings(&context, &json!({"format": "jsonl"}), &more);
    let output = good(&context, context.tap_with(&config).args(["--catalog", "catalog.json"]));
    let messages = messages(&output.stdout);
    let files = messages.iter().filter(|message| message["type"] == "BATCH");
    let sizes: Vec<usize> = files.map(|message| rows(message).len()).collect();
    assert_eq!(sizes, [200, 200, 50]);
}

/// Every row that a STATE has passed is in a file that was named before it.
#[test]
fn a_run_that_is_cut_off_leaves_no_row_behind_a_state() {
    let context = TestContext::new(&[("Leads", 900)]);
    context.catalog(&["Leads"]);
    context.control("POST", "switches", &json!({"coql_rows": 200}));
    let cut = json!([{"match": {"path_contains": "/coql", "nth": 4, "times": 0},
        "action": {"kind": "status", "status": 500, "code": "INTERNAL_ERROR"}}]);
    context.control("POST", "faults", &cut);
    let more = json!({"method": "coql", "state_rows": 200, "retry": {"max_attempts": 1}});
    let config = settings(&context, &json!({"format": "jsonl"}), &more);
    let first = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(!first.status.success());
    let first = messages(&first.stdout);
    assert_eq!(first.last().map(|message| &message["type"]), Some(&json!("STATE")));
    let mut ids = Vec::new();
    for message in &first {
        match message["type"].as_str() {
            Some("BATCH") => ids.extend(rows(message).iter().map(|row| id(row))),
            Some("STATE") => {
                let after = &message["value"]["bookmarks"]["Leads"]["in_progress"]["after_id"];
                assert_eq!(after.as_str(), ids.last().map(String::as_str), "no row is ahead of its file");
            }
            _ => {}
        }
    }
    context.control("DELETE", "faults", &Value::Null);
    context.write("state.json", &first.last().expect("a STATE")["value"]);
    let mut again = context.tap_with(&config);
    let second = good(&context, again.args(["--catalog", "catalog.json", "--state", "state.json"]));
    ids.extend(rows_of(&messages(&second.stdout), "Leads").iter().map(|row| id(row)));
    assert_eq!(ids.len(), 900, "each row once");
    ids.dedup();
    assert_eq!(ids.len(), 900);
}

fn id(row: &str) -> String {
    let row: Value = serde_json::from_str(row).expect("a row");
    row["id"].as_str().expect("an id").to_owned()
}

#[test]
fn what_a_killed_run_left_unfinished_is_removed() {
    let context = TestContext::new(&[("Leads", 3)]);
    context.catalog(&["Leads"]);
    let left = context.path("batch files/.unfinished/.tmpgone");
    fs::create_dir_all(&left).expect("a folder");
    fs::write(left.join("crm-tap-zoho-crm--Leads-x-1.jsonl.gz"), b"half").expect("writes");
    let config = settings(&context, &json!({"format": "jsonl"}), &json!({}));
    good(&context, context.tap_with(&config).args(["--catalog", "catalog.json"]));
    assert!(!left.exists());
    let folder = fs::read_dir(context.path("batch files")).expect("a folder");
    let names: Vec<_> = folder.map(|entry| entry.expect("a file").file_name()).collect();
    assert_eq!(names.len(), 2, "one file, and the folder of unfinished ones: {names:?}");
}

/// Out of one organisation and into another, in files.
#[test]
fn the_target_takes_the_files_of_the_tap() {
    let (source, sink) = (TestContext::new(&[("Contacts", 320)]), TestContext::new(&[]));
    source.catalog(&["Contacts"]);
    let config =
        settings(&source, &json!({"format": "jsonl"}), &json!({"batch_config": {"batch_size": 100}}));
    let read = good(&source, source.tap_with(&config).args(["--catalog", "catalog.json"]));
    let settings = json!({"at_least_once": true, "streams": {"Contacts": {"operation": "insert",
        "fields": {"First_Name": "First_Name", "Phone": "Phone"}, "constants": {"Last_Name": "Ng"}}}});
    let config = sink.settings_with("target.json", &settings);
    let mut target = program("target-zoho-crm");
    target.arg("--config").arg(config).write_stdin(read.stdout.clone());
    let written = good(&sink, &mut target);
    let state = messages(&read.stdout).pop().expect("a STATE");
    assert_eq!(
        messages(&written.stdout).pop().as_ref(),
        Some(&state["value"]),
        "the last STATE is confirmed"
    );
    let fields = ["First_Name", "Phone"].map(str::to_owned);
    let values = |context: &TestContext| {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for row in context.dump("Contacts", &fields) {
            let mut row: Value = serde_json::from_str(&row).expect("JSON");
            row.as_object_mut().expect("an object").remove("id");
            *count.entry(row.to_string()).or_default() += 1;
        }
        count
    };
    assert_eq!(values(&sink), values(&source));
}

/// Out of one organisation and into another, in columns.
#[cfg(feature = "parquet")]
#[test]
fn parquet_files_hold_the_same_rows() {
    let context = TestContext::new(&[("Everything", 60), ("Deals", 120)]);
    context.catalog(&["Everything", "Deals"]);
    let plain = good(&context, context.tap().args(["--catalog", "catalog.json"]));
    for compression in ["gzip", "none"] {
        let encoding = json!({"format": "parquet", "compression": compression});
        let config = settings(&context, &encoding, &json!({"batch_config": {"batch_size": 50}}));
        let output = good(&context, context.tap_with(&config).args(["--catalog", "catalog.json"]));
        let messages = messages(&output.stdout);
        for stream in ["Everything", "Deals"] {
            let mut rows = Vec::new();
            for message in messages.iter().filter(|m| m["type"] == "BATCH" && m["stream"] == stream) {
                assert_eq!(message["encoding"], encoding);
                let path = path_of(&message["manifest"][0]);
                let file = fs::File::open(path).expect("the file is there");
                let lines = zoho_crm_connector::protocol::parquet::lines(file).expect("parquet");
                let lines = std::io::BufRead::lines(lines).map(|line| line.expect("a row"));
                rows.extend(lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON")));
            }
            let wanted = records(&plain.stdout, stream);
            let wanted: Vec<Value> =
                wanted.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
            assert_eq!(rows, wanted, "{stream}, {compression}");
        }
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let context = TestContext::new(&[]);
    let jsonl = json!({"format": "jsonl"});
    let cases = [
        (jsonl.clone(), json!({"activate_version": true}), "rows of a file carry no version"),
        (
            jsonl.clone(),
            json!({"batch_config": {"storage": {"root": "s3://bucket/folder"}}}),
            "`s3://bucket/folder` is no folder of this machine",
        ),
        (json!({"format": "csv"}), json!({}), "format"),
        #[cfg(not(feature = "parquet"))]
        (json!({"format": "parquet"}), json!({}), "--features parquet"),
    ];
    for (encoding, more, said) in cases {
        let config = settings(&context, &encoding, &more);
        let output = context.tap_with(&config).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{}", context.seen(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{}", context.seen(&output));
        assert!(output.stdout.is_empty());
    }
    // A trial reads a record as a record.
    let context = TestContext::new(&[("Leads", 3)]);
    context.catalog(&["Leads"]);
    let config = settings(&context, &jsonl, &json!({}));
    let output = good(&context, context.tap_with(&config).args(["--test", "--catalog", "catalog.json"]));
    assert_eq!(records(&output.stdout, "Leads").len(), 1);
}
