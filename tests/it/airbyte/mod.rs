//! Tap and target behind Airbyte's command line: every line they print is a message of `schemas/airbyte.json`.
//!
//! - `destination`: states that come back, sync modes, what can be done where.
//! - `source`: spec, check, discover and read, held against what the tap says.
//! - `storage`: rejected rows in S3-compatible storage.

mod destination;
mod source;
mod storage;

use crate::common::context::{TestContext, program, root};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::LazyLock;

static MESSAGE: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = fs::read_to_string(root().join("schemas/airbyte.json")).expect("reads");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::options().build(&schema).expect("a JSON Schema")
});

/// The messages of a run, each held against our schema.
fn messages(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has its newline");
    let message = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("a message: {line}"));
        if let Some(error) = MESSAGE.iter_errors(&message).next() {
            panic!("{error} at `{}` in {line}", error.instance_path());
        }
        message
    };
    text.lines().map(message).collect()
}

/// The payloads of one type of message.
fn payloads(messages: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = messages.iter().filter(|message| message["type"] == kind);
    of_kind.map(|message| message[kind.to_lowercase()].clone()).collect()
}

/// Runs a program with the test's settings.
fn run(context: &TestContext, name: &str, args: &[&str]) -> Output {
    let mut command = program(name);
    command.current_dir(context.path(".")).args(args).args(["--config", "config.json"]);
    command.output().expect("runs")
}

/// Failures in words, each with the stream it is of.
fn errors(messages: &[Value]) -> Vec<(Option<String>, String)> {
    let traces = payloads(messages, "TRACE").into_iter().filter(|trace| trace["type"] == "ERROR");
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = |trace: Value| {
        let error = &trace["error"];
        (text(&error["stream_descriptor"]["name"]), text(&error["message"]).expect("words"))
    };
    traces.map(error).collect()
}

/// What was told of a stream, in order: statuses, `R` for records in a row, `S` for a state.
fn story(messages: &[Value], stream: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for message in messages {
        let status = &message["trace"]["stream_status"];
        let word = match message["type"].as_str() {
            Some("RECORD") if message["record"]["stream"] == stream => "R".to_owned(),
            Some("STATE") if message["state"]["stream"]["stream_descriptor"]["name"] == stream => {
                "S".to_owned()
            }
            Some("TRACE") if status["stream_descriptor"]["name"] == stream => {
                status["status"].as_str().expect("a status").to_owned()
            }
            _ => continue,
        };
        if word != "R" || words.last().is_none_or(|last| last != "R") {
            words.push(word);
        }
    }
    words.join(" ")
}

/// The catalog that discovery offers, with these streams chosen.
fn choose(context: &TestContext, streams: &[(&str, &str)]) -> PathBuf {
    let output = run(context, "source-zoho-crm", &["discover"]);
    let catalog = payloads(&messages(&output), "CATALOG").remove(0);
    let offered = |name: &str| {
        let streams = catalog["streams"].as_array().expect("streams");
        streams.iter().find(|stream| stream["name"] == name).expect("is offered").clone()
    };
    let chosen: Vec<Value> = streams
        .iter()
        .map(|(name, mode)| {
            json!({"stream": offered(name), "sync_mode": mode, "destination_sync_mode": "append",
                   "cursor_field": null, "primary_key": null, "generation_id": 1})
        })
        .collect();
    context.write("catalog.json", &json!({"streams": chosen}))
}
