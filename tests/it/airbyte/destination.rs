//! The destination: what a platform sends goes into the local Zoho, and every state comes back.

use super::{errors, messages, payloads};
use crate::common::context::{TestContext, program};
use crate::common::process::{self, Moment, command};
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::Output;

/// A message of a source, one line.
fn line(message: &Value) -> String {
    format!("{message}\n")
}

fn record(stream: &str, data: &Value) -> String {
    line(
        &json!({"type": "RECORD", "record": {"stream": stream, "namespace": null, "data": data, "emitted_at": 1_795_317_182_773_u64, "meta": {"changes": []}}}),
    )
}

fn state(stream: &str, at: u64) -> String {
    line(
        &json!({"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": {"name": stream, "namespace": null}, "stream_state": {"at": at}}, "sourceStats": {"recordCount": 1.0}, "id": at}}),
    )
}

fn status(stream: &str, status: &str) -> String {
    line(
        &json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": 1_795_317_182_773.554_7, "stream_status": {"stream_descriptor": {"name": stream}, "status": status}}}),
    )
}

/// A stream of people, as a platform configures it.
fn stream(name: &str, mode: &str, more: &Value) -> Value {
    let mut stream = json!({"stream": {"name": name, "namespace": null, "json_schema": {"type": "object", "properties":
        {"Email": {"type": "string"}, "Last_Name": {"type": "string"}, "Phone": {"type": ["null", "string"]}}},
        "supported_sync_modes": ["full_refresh"]}, "sync_mode": "full_refresh", "destination_sync_mode": mode,
        "primary_key": [["Email"]], "generation_id": 7, "minimum_generation_id": 7, "sync_id": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        stream[key] = value.clone();
    }
    stream
}

fn write(context: &TestContext, streams: &[Value], input: String) -> Output {
    context.write("catalog.json", &json!({"streams": streams}));
    let mut command = program("destination-zoho-crm");
    command.current_dir(context.path(".")).args([
        "write",
        "--config",
        "config.json",
        "--catalog",
        "catalog.json",
    ]);
    command.write_stdin(input).output().expect("runs")
}

fn person(number: usize) -> Value {
    json!({"Email": format!("p{number}@x.test"), "Last_Name": format!("Name {number}"), "Phone": "030-1"})
}

fn emails(context: &TestContext) -> Vec<String> {
    context.dump("Contacts", &["Email".to_owned()])
}

/// An emulator with a text field that Zoho holds unique.
fn context() -> TestContext {
    TestContext::with(|options| {
        let key =
            json!({"api_name": "Row_Key", "data_type": "text", "length": 60, "unique": true, "custom": true});
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": [key]}]}));
    })
}

#[test]
fn states_come_back_unaltered_in_order_and_counted() {
    let context = context();
    let mut input = status("Contacts", "STARTED");
    input.push_str(&line(&json!({"type": "LOG", "log": {"level": "INFO", "message": "hello"}})));
    for number in 0..3 {
        input.push_str(&record("Contacts", &person(number)));
    }
    input.push_str(&state("Contacts", 1));
    input.push_str(&record("Contacts", &json!({"Email": "not an address", "Last_Name": "X", "Phone": null})));
    input.push_str(&record("Contacts", &person(3)));
    input.push_str(&state("Contacts", 2));
    // Two with the same content, as a source without records sends them.
    input.push_str(&state("Contacts", 2));
    input.push_str(&status("Contacts", "COMPLETE"));
    let output = write(&context, &[stream("Contacts", "append_dedup", &json!({}))], input);
    let said = messages(&output);
    assert!(output.status.success(), "{}", context.seen(&output));
    let states = payloads(&said, "STATE");
    let of = |place: usize| {
        let mut state = states[place].clone();
        let stats =
            state.as_object_mut().expect("an object").shift_remove("destinationStats").expect("statistics");
        (
            line(&json!({"type": "STATE", "state": state})),
            stats["recordCount"].to_string(),
            stats["rejectedRecordCount"].to_string(),
        )
    };
    assert_eq!(states.len(), 3);
    assert_eq!(of(0), (state("Contacts", 1), "3.0".to_owned(), "0.0".to_owned()));
    assert_eq!(of(1), (state("Contacts", 2), "1.0".to_owned(), "1.0".to_owned()));
    assert_eq!(of(2), (state("Contacts", 2), "0.0".to_owned(), "0.0".to_owned()));
    assert!(said.iter().all(|message| message["type"] != "RECORD"));
    assert_eq!(emails(&context).len(), 4);
    let refused = std::fs::read_dir(context.path("state/rejected")).expect("a folder").count();
    assert_eq!(refused, 1, "refused rows are kept");
}

#[test]
fn a_sync_fails_where_more_is_refused_than_the_settings_allow() {
    let context = context();
    context.settings_with("config.json", &json!({"max_rejected": "0"}));
    let input = record("Contacts", &json!({"Email": "nobody", "Last_Name": "X"})) + &state("Contacts", 1);
    let output = write(&context, &[stream("Contacts", "append_dedup", &json!({}))], input);
    assert_eq!(output.status.code(), Some(1));
    let said = messages(&output);
    assert_eq!(payloads(&said, "STATE").len(), 1, "it is written, and known to be");
    assert!(errors(&said)[0].1.contains("1 rows were rejected"), "{:?}", errors(&said));
}

#[test]
fn overwriting_is_refused_and_nothing_is_deleted_whatever_the_generation() {
    let context = context();
    let input = || record("Contacts", &person(1)) + &state("Contacts", 1) + &status("Contacts", "COMPLETE");
    let good = write(&context, &[stream("Contacts", "append_dedup", &json!({}))], input());
    assert!(good.status.success(), "{}", context.seen(&good));
    let output = write(&context, &[stream("Contacts", "overwrite", &json!({}))], input());
    assert_eq!(output.status.code(), Some(2));
    let (_, said) = errors(&messages(&output)).remove(0);
    assert!(said.contains("`overwrite`") && said.contains("append_dedup"), "{said}");
    // A generation that asks for everything older to go.
    let next = json!({"generation_id": 8, "minimum_generation_id": 8});
    let input = record("Contacts", &person(2)) + &state("Contacts", 2) + &status("Contacts", "COMPLETE");
    assert!(write(&context, &[stream("Contacts", "append_dedup", &next)], input).status.success());
    assert_eq!(emails(&context).len(), 2);
}

#[test]
fn updates_change_and_soft_deletes_put_into_the_bin() {
    let context = context();
    let people = |numbers: std::ops::Range<usize>| {
        numbers.fold(String::new(), |text, number| text + &record("people", &person(number)))
            + &state("people", 1)
    };
    let to = json!({"destination_object_name": "Contacts"});
    assert!(write(&context, &[stream("people", "append_dedup", &to)], people(0..20)).status.success());
    let mut changed = person(1);
    changed["Phone"] = "031-9".into();
    let input = record("people", &changed) + &record("people", &person(77)) + &state("people", 2);
    let output = write(&context, &[stream("people", "update", &to)], input);
    let stats = payloads(&messages(&output), "STATE").remove(0)["destinationStats"].clone();
    assert_eq!(stats, json!({"recordCount": 1.0, "rejectedRecordCount": 1.0}), "an update creates nothing");
    assert_eq!(emails(&context).len(), 20);
    let output = write(&context, &[stream("people", "soft_delete", &to)], people(1..2));
    assert!(output.status.success(), "{}", context.seen(&output));
    assert_eq!(emails(&context).len(), 19);
}

#[test]
fn append_in_a_container_that_starts_empty_needs_something_that_makes_it_repeatable() {
    let context = context();
    let none = json!({"primary_key": []});
    let input = || {
        (0..3).fold(String::new(), |text, number| text + &record("Contacts", &person(number)))
            + &state("Contacts", 1)
    };
    let refused = write(&context, &[stream("Contacts", "append", &none)], input());
    let (_, said) = errors(&messages(&refused)).remove(0);
    assert!(said.contains("cannot be repeated safely") && said.contains("at_least_once"), "{said}");
    assert_eq!(emails(&context).len(), 0);
    // A key made of the row, in a field that Zoho holds unique: every attempt writes each row once.
    let streams = json!({"Contacts": {"batch_tag_field": "Row_Key"}}).to_string();
    for attempt in 0..3 {
        let dir = context.path(&format!("container-{attempt}"));
        context.settings_with("config.json", &json!({"state_dir": dir, "streams": streams}));
        let output = write(&context, &[stream("Contacts", "append", &none)], input());
        assert!(output.status.success(), "{}", context.seen(&output));
        let stats = payloads(&messages(&output), "STATE").remove(0)["destinationStats"].clone();
        assert_eq!(stats["recordCount"], json!(3.0));
        assert_eq!(emails(&context).len(), 3, "attempt {attempt}");
    }
}

/// A platform starts a container anew after each that was killed, with nothing of the one before but the
/// last state that came back.
#[test]
fn containers_that_are_killed_write_every_row_once() {
    const ROWS: usize = 300;
    for mode in ["append", "append_dedup"] {
        let context = context();
        let streams =
            if mode == "append" { json!({"Contacts": {"batch_tag_field": "Row_Key"}}) } else { json!({}) };
        let line_of = |number: usize| record("Contacts", &person(number)) + &state("Contacts", number as u64);
        let configured = stream(
            "Contacts",
            mode,
            &json!({"primary_key": if mode == "append" { json!([]) } else { json!([["Email"]]) }}),
        );
        context.write("catalog.json", &json!({"streams": [configured]}));
        let (mut next, mut kills) = (0, 0);
        for calls in [4, 6, 9, u64::MAX] {
            let dir = context.path(&format!("container-{calls}"));
            context.settings_with(
                "config.json",
                &json!({"state_dir": dir, "streams": streams.to_string(), "batch_rows": 40}),
            );
            let input: String = (next..ROWS).map(line_of).collect();
            std::fs::write(context.path("input.jsonl"), input).expect("writes");
            let mut cat = std::process::Command::new("cat");
            cat.arg(context.path("input.jsonl"));
            let args = ["write", "--config", "config.json", "--catalog", "catalog.json"];
            let commands = vec![cat, command(&context, "destination-zoho-crm", &args)];
            let ran = process::run(&context, commands, Moment::Calls(calls), &[1]);
            let mut back = ran.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let back = back.rfind(|message| message["type"] == "STATE");
            if let Some(at) =
                back.and_then(|message| message["state"]["stream"]["stream_state"]["at"].as_u64())
            {
                next = at as usize + 1;
            }
            assert!(ran.killed || ran.good, "{mode}, {calls} calls: {}", ran.said);
            kills += usize::from(ran.killed);
        }
        assert!(kills > 0, "{mode}: the first container dies before it is done");
        assert_eq!(next, ROWS, "{mode}: the last state came back");
        let mut held = emails(&context);
        held.sort();
        held.dedup();
        assert_eq!((held.len(), emails(&context).len()), (ROWS, ROWS), "{mode}");
    }
}

#[test]
fn records_that_take_their_schema_lightly_are_judged_by_the_fields() {
    let context = context();
    let mut input = record("Contacts", &json!({"Email": "a@x.test", "Last_Name": 7, "unknown": {"x": 1}}));
    write!(input, "{}", state("Contacts", 1)).expect("is text");
    let output = write(&context, &[stream("Contacts", "append_dedup", &json!({}))], input);
    assert!(output.status.success(), "{}", context.seen(&output));
    assert_eq!(payloads(&messages(&output), "STATE").len(), 1);
}

#[test]
fn discovery_offers_operations_with_required_fields_and_keys() {
    let context = context();
    let output = super::run(&context, "destination-zoho-crm", &["discover"]);
    let catalog = payloads(&messages(&output), "DESTINATION_CATALOG").remove(0);
    let operations = catalog["operations"].as_array().expect("a list");
    let of = |object: &str, mode: &str| {
        operations
            .iter()
            .find(|one| one["object_name"] == object && one["sync_mode"] == mode)
            .expect("is offered")
    };
    let upsert = of("Contacts", "append_dedup");
    assert_eq!(upsert["matching_keys"], json!([["Email"], ["Row_Key"]]));
    assert_eq!(upsert["json_schema"]["required"], json!(["Last_Name"]));
    assert_eq!(of("Contacts", "update")["matching_keys"][0], json!(["id"]));
    assert!(
        operations.iter().all(|one| one["object_name"] != "Quoted_Items"),
        "rows of subforms go with their records"
    );
    // What is offered can be done: the keys find records and the fields are taken.
    let chosen = json!({"destination_object_name": "Contacts", "primary_key": [["Row_Key"]],
        "stream": {"name": "scores", "json_schema": upsert["json_schema"]}});
    let row = record("scores", &json!({"Row_Key": "k1", "Last_Name": "Ng"})) + &state("scores", 1);
    let output = write(&context, &[stream("scores", "append_dedup", &chosen)], row);
    assert!(output.status.success(), "{}", context.seen(&output));
    assert_eq!(emails(&context).len(), 1);
}

#[test]
fn check_names_a_module_that_is_not_there() {
    let context = context();
    let verdict = |streams: &str| {
        context.settings_with("config.json", &json!({"streams": streams}));
        let output = super::run(&context, "destination-zoho-crm", &["check"]);
        assert!(output.status.success(), "{}", context.seen(&output));
        let status = messages(&output).into_iter().find(|message| message["type"] == "CONNECTION_STATUS");
        status.expect("a status")["connectionStatus"].clone()
    };
    assert_eq!(verdict("{}")["status"], "SUCCEEDED");
    let wrong = verdict(r#"{"people": {"module": "Contact"}}"#);
    assert!(
        wrong["message"].as_str().is_some_and(|text| text.contains("did you mean \"Contacts\"?")),
        "{wrong}"
    );
    assert_eq!(verdict(r#"{"people": {"modul": "Contacts"}}"#)["status"], "FAILED");
}

#[test]
fn the_spec_has_no_overwrite() {
    let output = program("destination-zoho-crm").arg("spec").output().expect("runs");
    let spec = payloads(&messages(&output), "SPEC").remove(0);
    assert_eq!(
        spec["supported_destination_sync_modes"],
        json!(["append", "append_dedup", "update", "soft_delete"])
    );
    let streams = &spec["connectionSpecification"]["properties"]["streams"];
    assert_eq!((&streams["type"], &streams["multiline"]), (&json!("string"), &json!(true)));
}
