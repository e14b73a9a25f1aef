//! What a target prints, and when.

use super::{assert_valid, validator};
use crate::common::context::TestContext;
use serde_json::{Value, json};
use std::fs;

fn schema(stream: &str) -> String {
    let properties = json!({"Email": {"type": "string"}, "Last_Name": {"type": ["null", "string"]},
        "Company": {"type": ["null", "string"]}, "_sdc_batched_at": {"type": ["null", "string"]}});
    let message = json!({"type": "SCHEMA", "stream": stream, "schema": {"properties": properties},
        "key_properties": ["Email"]});
    format!("{message}\n")
}

fn record(stream: &str, number: u32) -> String {
    let record = json!({"Email": format!("n{number}@example.com"), "Last_Name": format!("N{number}"),
        "Company": "Northwind", "_sdc_batched_at": "2026-03-01T00:00:00Z", "_sdc_sequence": number});
    format!("{}\n", json!({"type": "RECORD", "stream": stream, "record": record}))
}

fn state(number: u32) -> String {
    format!("{}\n", json!({"type": "STATE", "value": {"bookmarks": {"Leads": number}}}))
}

/// Leads and Contacts in turns, with a STATE now and then.
fn interleaved() -> String {
    let mut input = schema("Leads") + &schema("Contacts");
    for number in 0..40 {
        input += &record("Leads", number);
        input += &record("Contacts", number);
        if number % 10 == 9 {
            input += &state(number);
        }
    }
    input
}

fn written(context: &TestContext, input: String) -> String {
    let settings = json!({"results": "results.jsonl", "streams": {
        "Leads": {"operation": "upsert", "match_on": ["Email"]},
        "Contacts": {"operation": "upsert", "match_on": ["Email"]}}});
    context.settings_with("config.json", &settings);
    let output = context.target().write_stdin(input).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn stdout_holds_bare_states_in_order_and_the_last_one_last() {
    let context = TestContext::new(&[]);
    let stdout = written(&context, interleaved());
    let states: Vec<u64> = stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["bookmarks"]["Leads"].as_u64().expect("ours")
        })
        .collect();
    assert!(stdout.ends_with('\n') && !states.is_empty(), "{stdout}");
    assert!(states.is_sorted() && states.last() == Some(&39), "{states:?}");
    for module in ["Leads", "Contacts"] {
        assert_eq!(context.dump(module, &["Email".to_owned()]).len(), 40, "{module}");
    }
}

#[test]
fn every_row_has_its_result_and_what_singer_adds_is_not_sent() {
    let context = TestContext::new(&[]);
    written(&context, interleaved());
    let result = validator("result.json");
    let text = fs::read_to_string(context.path("results.jsonl")).expect("reads");
    let results: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(results.len(), 80);
    for line in &results {
        assert_valid(&result, line, "result.json");
        assert_eq!(line["success"], true, "{line}");
    }
    for stream in ["Leads", "Contacts"] {
        let of_stream = results.iter().filter(|result| result["stream"] == stream);
        let lines: Vec<u64> = of_stream.map(|result| result["line"].as_u64().expect("a line")).collect();
        assert!(lines.is_sorted() && lines.len() == 40, "{stream}: results in input order");
    }
    let keys: Vec<&str> =
        results[0]["identifier"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["Email"]);
    let calls = context.stats();
    assert!(calls["endpoints"].to_string().contains("upsert"), "{calls}");
}

#[test]
fn a_last_line_without_newline_counts() {
    let context = TestContext::new(&[]);
    let input = interleaved() + &record("Leads", 99) + state(99).trim_end();
    let stdout = written(&context, input);
    assert_eq!(stdout.lines().last(), Some(r#"{"bookmarks":{"Leads":99}}"#));
    assert_eq!(context.dump("Leads", &["Email".to_owned()]).len(), 41);
}

/// As long as Meltano lets a line be; the property is none of the module's and is left out.
#[test]
fn a_line_of_fifty_mebibytes_is_taken() {
    let context = TestContext::new(&[]);
    let long =
        json!({"Email": "long@example.com", "Last_Name": "N", "Company": "C", "Blob": "x".repeat(50 << 20)});
    let input =
        schema("Leads") + &json!({"type": "RECORD", "stream": "Leads", "record": long}).to_string() + "\n";
    let stdout = written(&context, input + &record("Leads", 1) + &state(2));
    assert_eq!(stdout, "{\"bookmarks\":{\"Leads\":2}}\n");
    assert_eq!(context.dump("Leads", &["Email".to_owned()]).len(), 2);
}

#[test]
fn results_among_the_states_are_results_by_their_schema() {
    let context = TestContext::new(&[]);
    context.settings_with("config.json", &json!({"results": "stdout"}));
    let input = schema("Contacts") + &record("Contacts", 1) + &record("Contacts", 2) + &state(2);
    let output = context.target().write_stdin(input).assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (states, results): (Vec<Value>, Vec<Value>) =
        lines.into_iter().partition(|line| line.get("bookmarks").is_some());
    assert_eq!((states.len(), results.len()), (1, 2));
    assert!(text.lines().last().expect("a line").contains("bookmarks"), "the state comes after its rows");
    let result = validator("result.json");
    results.iter().for_each(|line| assert_valid(&result, line, "result.json"));
}

#[test]
fn results_as_singer_are_messages_by_their_schema() {
    let context = TestContext::new(&[]);
    context.settings_with("config.json", &json!({"results": "singer"}));
    let input = schema("Contacts") + &record("Contacts", 1);
    let output = context.target().write_stdin(input).assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["type"], "SCHEMA");
    let row = super::asserting(&first["schema"]);
    for line in text.lines().skip(1) {
        let message: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(message["stream"], first["stream"]);
        assert_valid(&row, &message["record"], "results as records");
    }
}

#[test]
fn messages_of_no_known_type_are_refused() {
    let context = TestContext::new(&[]);
    for kind in ["record", "Record", "METRIC", "LOG"] {
        let input = schema("Contacts") + &record("Contacts", 1).replace("RECORD", kind);
        context.target().write_stdin(input).assert().code(7).stdout("");
    }
}
