//! The programs in a pipeline: who goes first, who is stopped, who has nothing to do.

use crate::common::context::{TestContext, messages, properties, records};
use crate::common::snapshot::{assert_seen, settled};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of ours with the test's settings and pipes at all three ends.
fn start(context: &TestContext, name: &str, args: &[&str]) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin(name))
        .args(["--config", "config.json"])
        .args(args)
        .current_dir(context.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().expect("runs").success());
}

fn text(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("UTF-8");
    text
}

#[test]
fn a_reader_that_goes_ends_the_tap_quietly() {
    let context = TestContext::new(&[("Leads", 3_000)]);
    context.catalog(&["Leads"]);
    for method in ["bulk_read", "coql", "records"] {
        context.settings_with("config.json", &json!({"method": method}));
        let mut tap = start(&context, "tap-zoho-crm", &["--catalog", "catalog.json"]);
        let mut out = BufReader::new(tap.stdout.take().expect("is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert!(line.starts_with(r#"{"type":"SCHEMA""#), "{line}");
        drop(out);
        let stderr = text(tap.stderr.take().expect("is piped"));
        let status = tap.wait().expect("ends");
        assert_eq!(
            status.signal(),
            Some(13),
            "{method}: dies of SIGPIPE, as any program in a pipeline: {stderr}"
        );
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{method}: {stderr}");
    }
}

#[test]
fn a_catalog_whose_reader_goes_is_no_error_either() {
    let context = TestContext::new(&[]);
    let mut tap = start(&context, "tap-zoho-crm", &["--discover"]);
    drop(tap.stdout.take());
    let stderr = text(tap.stderr.take().expect("is piped"));
    assert_eq!(tap.wait().expect("ends").signal(), Some(13), "{stderr}");
    assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{stderr}");
}

/// Stops the tap after its first lines and reads the rest; the last STATE has to lead to the whole.
fn stopped_tap_goes_on(method: &str, signal: (&str, i32), fault: &Value, job_ms: i64) {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 1_500)].into();
        options.job_ms = job_ms;
    });
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"method": method, "state_rows": 200}));
    context.control("POST", "faults", fault);
    let mut tap = start(&context, "tap-zoho-crm", &["--catalog", "catalog.json"]);
    let mut out = BufReader::new(tap.stdout.take().expect("is piped"));
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let mut line = String::new();
        assert!(out.read_line(&mut line).expect("a line") > 0, "the run is stopped in its middle");
        lines.push(line);
    }
    send(&tap, signal.0);
    let asked = Instant::now();
    lines.push(text(out));
    let stderr = text(tap.stderr.take().expect("is piped"));
    let status = tap.wait().expect("ends");
    assert!(asked.elapsed() < Duration::from_secs(5), "{method}: {:?}", asked.elapsed());
    assert_eq!(status.signal(), Some(signal.1), "{method}: {stderr}");
    assert!(!stderr.contains("error"), "{method}: being stopped is no error: {stderr}");
    assert!(stderr.trim_end().ends_with("goes on from there."), "{method}: last words: {stderr}");
    let first = lines.concat();
    let heard = messages(first.as_bytes());
    let state = heard.iter().rposition(|message| message["type"] == "STATE").expect("a STATE");
    assert_eq!(state, heard.len() - 1, "{method}: the last word is the STATE that is true");
    context.write("state.json", &heard[state]["value"]);
    context.control("DELETE", "faults", &Value::Null);
    context.control("POST", "clock", &json!({"advance_seconds": 120}));
    let second =
        context.tap().args(["--catalog", "catalog.json", "--state", "state.json"]).output().expect("runs");
    assert!(second.status.success(), "{}", context.seen(&second));
    let (first, second) = (records(first.as_bytes(), "Leads"), records(&second.stdout, "Leads"));
    let truth = context.dump("Leads", &properties(&heard, "Leads"));
    let mut found: Vec<String> = first.iter().chain(&second).cloned().collect();
    found.sort();
    found.dedup();
    let mut truth_sorted = truth;
    truth_sorted.sort();
    assert_eq!(found, truth_sorted, "{method}: both runs together hold every row");
}

/// The third and later pages come slowly.
fn slow(path: &str) -> Value {
    json!({"match": {"path_contains": path, "nth": 3, "times": 0}, "action": {"kind": "delay", "milliseconds": 60_000}})
}

#[test]
fn a_stopped_tap_leaves_a_true_state_by_the_records_api() {
    stopped_tap_goes_on("records", ("-TERM", 15), &slow("/crm/v8/Leads"), 5);
    stopped_tap_goes_on("records", ("-INT", 2), &slow("/crm/v8/Leads"), 5);
}

#[test]
fn a_stopped_tap_leaves_a_true_state_while_a_job_runs() {
    stopped_tap_goes_on("bulk_read", ("-TERM", 15), &json!([]), 60_000);
}

const SCHEMA: &str = "{\"type\":\"SCHEMA\",\"stream\":\"Contacts\",\"schema\":{\"properties\":{\"Email\":{\"type\":\"string\"},\"Last_Name\":{\"type\":\"string\"}}},\"key_properties\":[\"Email\"]}\n";

fn contact(number: u32) -> String {
    let record = json!({"Email": format!("n{number}@example.com"), "Last_Name": "N"});
    format!("{}\n", json!({"type": "RECORD", "stream": "Contacts", "record": record}))
}

/// A target that has begun: its stream is known, its folder is locked.
fn begun_target(context: &TestContext) -> Child {
    let mut target = start(context, "target-zoho-crm", &[]);
    let mut stdin = target.stdin.take().expect("is piped");
    stdin.write_all(SCHEMA.as_bytes()).expect("is read");
    let mut stderr = BufReader::new(target.stderr.take().expect("is piped"));
    let mut line = String::new();
    while !line.contains("goes to Contacts") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("a line") > 0, "the target begins");
    }
    target.stderr = Some(stderr.into_inner());
    target.stdin = Some(stdin);
    target
}

#[test]
fn a_state_is_out_as_soon_as_it_is_true() {
    let context = TestContext::new(&[]);
    context.settings_with("config.json", &json!({"batch_rows": 2}));
    let mut target = begun_target(&context);
    let mut stdin = target.stdin.take().expect("is piped");
    let input = contact(1) + &contact(2) + "{\"type\":\"STATE\",\"value\":{\"at\":2}}\n";
    stdin.write_all(input.as_bytes()).expect("is read");
    let mut line = String::new();
    let mut out = BufReader::new(target.stdout.take().expect("is piped"));
    // The input is still open: the line can only come because it was flushed.
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "{\"at\":2}\n");
    drop(stdin);
    assert!(target.wait().expect("ends").success());
}

#[test]
fn a_stopped_target_confirms_only_what_is_written() {
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let context = TestContext::new(&[]);
        let mut target = begun_target(&context);
        let mut stdin = target.stdin.take().expect("is piped");
        let input = contact(1) + "{\"type\":\"STATE\",\"value\":{\"at\":1}}\n" + &contact(2);
        stdin.write_all(input.as_bytes()).expect("is read");
        send(&target, signal);
        let asked = Instant::now();
        let stdout = text(target.stdout.take().expect("is piped"));
        let stderr = text(target.stderr.take().expect("is piped"));
        let status = target.wait().expect("ends");
        assert!(stderr.contains("Stopped: "), "last words: {stderr}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(status.signal(), Some(number));
        let rows = context.dump("Contacts", &["Email".to_owned()]).len();
        assert!(stdout.is_empty() || rows > 0, "{stdout} confirms {rows} rows");
    }
}

#[test]
fn a_second_target_on_the_same_folder_is_refused() {
    let context = TestContext::new(&[]);
    let mut first = begun_target(&context);
    context.assert_seen("second_target", context.target().write_stdin(SCHEMA));
    drop(first.stdin.take());
    assert!(first.wait().expect("ends").success(), "the first one is not disturbed");
}

#[test]
fn an_input_that_is_empty_is_no_error() {
    let context = TestContext::new(&[]);
    context.assert_seen("empty_input", context.target().write_stdin(""));
    context.target().write_stdin("\n\n").assert().success().stdout("");
}

#[test]
fn a_catalog_with_nothing_selected_gives_nothing() {
    let context = TestContext::new(&[("Leads", 5)]);
    context.catalog(&[]);
    context.assert_seen("nothing_selected", context.tap().args(["--catalog", "catalog.json"]));
}

#[test]
fn without_a_catalog_the_default_streams_are_read() {
    let context = TestContext::new(&[("Leads", 5), ("Contacts", 7)]);
    let output = context.tap().output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    assert_eq!((records(&output.stdout, "Leads").len(), records(&output.stdout, "Contacts").len()), (5, 7));
    let last = messages(&output.stdout).pop().expect("a message");
    assert_eq!(last["type"], "STATE");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_seen("default_streams", &settled(&stderr));
}

#[test]
fn a_failure_among_json_lines_is_one_of_them() {
    let context = TestContext::new(&[("Leads", 5)]);
    context.catalog(&["Leads"]);
    let good =
        context.tap().args(["--catalog", "catalog.json", "--log-format", "json"]).output().expect("runs");
    let mut bad = context.tap();
    let bad = bad.args(["--catalog", "nowhere.json", "--log-format", "json"]).output().expect("runs");
    for output in [&good, &bad] {
        let stderr = String::from_utf8_lossy(&output.stderr);
        for line in stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("a JSON line: {line}"));
            assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
        }
    }
    let stderr = String::from_utf8_lossy(&bad.stderr);
    let last: Value = serde_json::from_str(stderr.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["level"], &last["extra"]["exit_code"]), (&json!("critical"), &json!(2)));
}
