//! The source, held against the tap: one reading, said in two ways.

use super::{choose, errors, messages, payloads, run, story};
use crate::common::context::{TestContext, records as singer_records};
use serde_json::{Value, json};
use std::process::Output;

fn read(context: &TestContext, state: &Value) -> Output {
    context.write("state.json", state);
    run(context, "source-zoho-crm", &["read", "--catalog", "catalog.json", "--state", "state.json"])
}

/// The records of a stream, word for word.
fn records(output: &Output, stream: &str) -> Vec<String> {
    let head = format!("{{\"type\":\"RECORD\",\"record\":{{\"stream\":\"{stream}\",\"data\":");
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&head));
    lines.map(|rest| rest.rsplit_once(",\"emitted_at\":").expect("is last").0.to_owned()).collect()
}

fn ids(output: &Output, stream: &str) -> Vec<String> {
    let id = |record: &String| serde_json::from_str::<Value>(record).expect("JSON")["id"].clone();
    records(output, stream).iter().map(|record| id(record).as_str().expect("an id").to_owned()).collect()
}

/// The last state of each stream, as a platform hands it back: a list, with nulls for what is absent.
fn handed_back(output: &Output) -> Value {
    let mut last: Vec<Value> = Vec::new();
    for mut state in payloads(&messages(output), "STATE") {
        let name = state["stream"]["stream_descriptor"]["name"].clone();
        last.retain(|known| known["stream"]["stream_descriptor"]["name"] != name);
        state["data"] = Value::Null;
        state["global"] = Value::Null;
        state["stream"]["stream_descriptor"]["namespace"] = Value::Null;
        last.push(state);
    }
    last.into()
}

#[test]
fn the_spec_shows_every_setting_and_keeps_secrets() {
    let context = TestContext::new(&[]);
    let output = crate::common::context::program("source-zoho-crm").arg("spec").output().expect("runs");
    assert!(output.status.success());
    let spec = payloads(&messages(&output), "SPEC").remove(0);
    let properties = &spec["connectionSpecification"]["properties"];
    assert_eq!(properties["client_secret"]["airbyte_secret"], true);
    assert_eq!(properties["data_center"]["enum"][1], "eu");
    assert_eq!(properties["refresh"], Value::Null, "what needs a folder between runs is not offered");
    assert!(jsonschema::is_valid(&spec["connectionSpecification"], &context.settings()));
}

#[test]
fn check_says_yes_or_why_not_and_ends_well() {
    let context = TestContext::new(&[("Leads", 1)]);
    let status = |more: Value| {
        context.settings_with("config.json", &more);
        let output = run(&context, "source-zoho-crm", &["check"]);
        assert!(output.status.success(), "{}", context.seen(&output));
        let said = payloads_of_status(&output);
        (
            said["status"].as_str().expect("a status").to_owned(),
            said["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    // Platforms add keys, and nulls for what nobody filled in.
    assert_eq!(status(json!({"start_date": null, "__injected": {"x": 1}})).0, "SUCCEEDED");
    let (verdict, why) = status(json!({"client_secret": "wrong", "state_dir": context.path("fresh")}));
    assert_eq!(verdict, "FAILED");
    assert!(why.contains("invalid_client"), "{why}");
    let (verdict, why) = status(json!({"lookback_seconds": "two"}));
    assert_eq!(verdict, "FAILED");
    assert!(why.contains("/lookback_seconds: \"two\" should be a whole number"), "{why}");
    let (verdict, why) = status(json!({"reconcile": {"now": true}}));
    assert_eq!(verdict, "FAILED");
    assert!(why.contains("means nothing under Airbyte"), "{why}");
}

fn payloads_of_status(output: &Output) -> Value {
    let found = messages(output).into_iter().find(|message| message["type"] == "CONNECTION_STATUS");
    found.expect("a status")["connectionStatus"].clone()
}

#[test]
fn a_grant_code_becomes_a_refresh_token_that_the_platform_keeps() {
    let context = TestContext::with(|options| options.orgs[0].grant_code = Some("1000.code".to_owned()));
    let mut settings = context.settings();
    settings["refresh_token"] = Value::Null;
    settings["grant_code"] = "1000.code".into();
    settings["__mine"] = 7.into();
    context.write("config.json", &settings);
    let output = run(&context, "source-zoho-crm", &["check"]);
    let control = payloads(&messages(&output), "CONTROL").remove(0);
    let config = &control["connectorConfig"]["config"];
    assert_eq!((&config["grant_code"], &config["__mine"]), (&Value::Null, &json!(7)));
    // A container that starts with nothing but this goes on.
    context.settings_with(
        "config.json",
        &json!({"refresh_token": config["refresh_token"], "state_dir": context.path("new")}),
    );
    let output = run(&context, "source-zoho-crm", &["check"]);
    assert_eq!(payloads_of_status(&output)["status"], "SUCCEEDED", "{}", context.seen(&output));
    assert_eq!(payloads(&messages(&output), "CONTROL").len(), 0);
}

#[test]
fn what_airbyte_reads_is_what_singer_reads() {
    let context = TestContext::new(&[("Everything", 120), ("Everything_Lines", 40)]);
    let streams = ["Everything", "Everything_Lines", "users"];
    choose(&context, &streams.map(|name| (name, "full_refresh")));
    let airbyte = read(&context, &json!([]));
    assert!(airbyte.status.success(), "{}", context.seen(&airbyte));
    context.catalog(&streams);
    let singer = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
    let said = messages(&airbyte);
    for stream in streams {
        assert_eq!(records(&airbyte, stream), singer_records(&singer.stdout, stream), "{stream}");
        assert_eq!(story(&said, stream), "STARTED RUNNING R S COMPLETE", "{stream}");
    }
}

#[test]
fn increments_go_on_from_the_state_of_each_stream() {
    let context = TestContext::new(&[("Leads", 60), ("Contacts", 20)]);
    context.settings_with("config.json", &json!({"lookback_seconds": 0}));
    choose(
        &context,
        &[("Leads", "incremental"), ("Contacts", "incremental"), ("deleted_records", "incremental")],
    );
    let first = read(&context, &json!([]));
    assert_eq!((ids(&first, "Leads").len(), ids(&first, "Contacts").len()), (60, 20));
    context.control("POST", "clock", &json!({"advance_seconds": 60}));
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 3, "insert": 5}));
    let delete = json!({"module": "Contacts", "seed": 3, "delete": 2});
    let deleted = context.control("POST", "mutate", &delete)["deleted"].as_array().expect("a list").len();
    let second = read(&context, &handed_back(&first));
    let said = messages(&second);
    assert_eq!((ids(&second, "Leads").len(), ids(&second, "Contacts").len()), (5, 0));
    assert_eq!(records(&second, "deleted_records").len(), deleted);
    assert_eq!(story(&said, "Contacts"), "STARTED S COMPLETE");
    let counts: Vec<String> = payloads(&said, "STATE")
        .iter()
        .map(|state| state["sourceStats"]["recordCount"].to_string())
        .collect();
    assert!(counts.iter().all(|count| count.ends_with(".0")), "doubles with a point: {counts:?}");
    let total: f64 = counts.iter().map(|count| count.parse::<f64>().expect("a number")).sum();
    assert_eq!(total, 5.0 + deleted as f64);
}

#[test]
fn a_restored_row_comes_before_its_stream_is_complete() {
    let context = TestContext::new(&[("Leads", 30)]);
    context.settings_with("config.json", &json!({"lookback_seconds": 0}));
    choose(&context, &[("Leads", "incremental"), ("deleted_records", "incremental")]);
    let first = read(&context, &json!([]));
    let mutate = |change: Value| {
        context.control("POST", "clock", &json!({"advance_seconds": 86_400}));
        let mut body = json!({"module": "Leads"});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        context.control("POST", "mutate", &body)
    };
    let deleted = mutate(json!({"seed": 1, "delete": 1}))["deleted"].clone();
    let second = read(&context, &handed_back(&first));
    mutate(json!({"restore_ids": deleted}));
    let third = read(&context, &handed_back(&second));
    assert_eq!(json!(ids(&third, "Leads")), deleted, "{}", context.seen(&third));
    assert_eq!(story(&messages(&third), "Leads"), "STARTED S RUNNING R S COMPLETE");
}

#[test]
fn a_failed_stream_does_not_stop_the_others() {
    let context = TestContext::new(&[("Leads", 50), ("Contacts", 50)]);
    context.settings_with("config.json", &json!({"retry": {"max_attempts": 2, "first_pause_seconds": 0.01}}));
    choose(&context, &[("Leads", "incremental"), ("Contacts", "incremental")]);
    let mut catalog: Value =
        serde_json::from_slice(&std::fs::read(context.path("catalog.json")).expect("reads")).expect("JSON");
    let mut gone = catalog["streams"][0].clone();
    gone["stream"]["name"] = "Ghosts".into();
    gone["stream"]["json_schema"]["x-metadata"] = Value::Null;
    catalog["streams"].as_array_mut().expect("a list").push(gone);
    context.write("catalog.json", &catalog);
    let rule = json!([{"match": {"path_contains": "module=Contacts", "times": 99}, "action": {"kind": "status", "status": 500}}]);
    context.control("POST", "faults", &rule);
    let output = read(&context, &json!([]));
    let said = messages(&output);
    assert_eq!(output.status.code(), Some(6), "{}", context.seen(&output));
    assert_eq!(story(&said, "Leads"), "STARTED RUNNING R S COMPLETE");
    assert!(story(&said, "Contacts").ends_with("INCOMPLETE"), "{}", story(&said, "Contacts"));
    assert_eq!(story(&said, "Ghosts"), "STARTED INCOMPLETE");
    let errors = errors(&said);
    let of = |stream: Option<&str>| errors.iter().filter(|(of, _)| of.as_deref() == stream).count();
    assert_eq!((of(Some("Contacts")), of(Some("Ghosts")), of(None)), (1, 1, 1), "{errors:?}");
}

#[test]
fn a_reading_that_broke_off_goes_on_whatever_the_mode() {
    for mode in ["full_refresh", "incremental"] {
        let context = TestContext::with(|options| {
            options.rows = [("Leads".to_owned(), 900)].into();
            options.switches.coql_rows = 200;
        });
        context.settings_with("config.json", &json!({"method": "coql", "lookback_seconds": 0}));
        choose(&context, &[("Leads", mode)]);
        let rule = json!({"match": {"method": "POST", "path_contains": "/crm/v8/coql", "nth": 3, "times": 0},
            "action": {"kind": "status", "status": 400, "code": "SOME_TROUBLE"}});
        context.control("POST", "faults", &rule);
        let first = read(&context, &json!([]));
        assert!(story(&messages(&first), "Leads").ends_with("S INCOMPLETE"), "{}", context.seen(&first));
        context.control("DELETE", "faults", &Value::Null);
        let second = read(&context, &handed_back(&first));
        assert!(second.status.success(), "{}", context.seen(&second));
        let mut all = [ids(&first, "Leads"), ids(&second, "Leads")].concat();
        assert!(!ids(&first, "Leads").is_empty() && ids(&second, "Leads").len() < 900, "{mode}: it goes on");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 900, "{mode}");
        // A full refresh that is done is no bookmark: the next one reads everything.
        let third = read(&context, &handed_back(&second));
        assert_eq!(ids(&third, "Leads").len(), if mode == "full_refresh" { 900 } else { 0 }, "{mode}");
    }
}

#[test]
fn a_column_that_is_deselected_does_not_come() {
    let context = TestContext::new(&[("Leads", 5)]);
    choose(&context, &[("Leads", "incremental")]);
    let mut catalog: Value =
        serde_json::from_slice(&std::fs::read(context.path("catalog.json")).expect("reads")).expect("JSON");
    let properties = &mut catalog["streams"][0]["stream"]["json_schema"]["properties"];
    let kept = |name: &str| ["id", "Modified_Time", "Email"].contains(&name);
    properties.as_object_mut().expect("properties").retain(|name, _| kept(name));
    context.write("catalog.json", &catalog);
    let output = read(&context, &Value::Null);
    let record: Value = serde_json::from_str(&records(&output, "Leads")[0]).expect("JSON");
    let mut names: Vec<&String> = record.as_object().expect("an object").keys().collect();
    names.sort();
    assert_eq!(names, ["Email", "Modified_Time", "id"]);
}
