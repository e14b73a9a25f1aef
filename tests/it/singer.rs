//! What taps and targets of the Meltano SDK can do beside the protocol, and what Meltano asks of them.

use crate::common::context::{TestContext, messages, program, records, root};
use assert_cmd::Command;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Output;

fn good(context: &TestContext, command: &mut Command) -> Output {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output
}

fn of_type<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    messages.iter().filter(|message| message["type"] == kind).collect()
}

fn names(messages: &[&Value]) -> BTreeSet<String> {
    messages.iter().map(|message| message["stream"].as_str().expect("a stream").to_owned()).collect()
}

#[test]
fn a_trial_reads_one_record_of_every_stream_and_no_state() {
    let context = TestContext::new(&[("Leads", 300_000), ("Contacts", 7), ("Deals", 0)]);
    let catalog = context.catalog(&["Leads", "Contacts", "Deals", "users", "deleted_records"]);
    let before = context.stats()["credits"].as_u64();
    let output = good(&context, context.tap().args(["--test", "--catalog"]).arg(&catalog));
    let messages = messages(&output.stdout);
    let records = of_type(&messages, "RECORD");
    assert_eq!(records.len(), 3, "of Leads, Contacts and users: {messages:?}");
    assert_eq!(names(&records), ["Contacts", "Leads", "users"].map(str::to_owned).into());
    assert_eq!(of_type(&messages, "SCHEMA").len(), 5);
    assert!(of_type(&messages, "STATE").is_empty(), "a trial is nobody's bookmark");
    assert_eq!(context.credits("POST /crm/bulk/v8/read"), 0, "no job for one record");
    let spent = context.stats()["credits"].as_u64().zip(before).map(|(after, before)| after - before);
    assert!(spent.is_none_or(|credits| credits < 30), "{spent:?} credits");
}

#[test]
fn a_trial_of_the_schema_reads_no_record() {
    let context = TestContext::new(&[("Leads", 5)]);
    let output = good(&context, context.tap().arg("--test=schema"));
    let messages = messages(&output.stdout);
    assert!(of_type(&messages, "SCHEMA").len() > 10, "every stream that discovery selects");
    assert_eq!(messages.len(), of_type(&messages, "SCHEMA").len(), "and nothing else");
}

#[test]
fn a_trial_fails_as_a_sync_does() {
    let context = TestContext::new(&[("Leads", 5)]);
    let catalog = context.catalog(&["Leads"]);
    let config =
        context.settings_with("wrong.json", &json!({"refresh_token": "1000.hush", "state_dir": "other"}));
    context.tap_with(&config).args(["--test", "--catalog"]).arg(catalog).assert().failure().code(3);
}

#[test]
fn streams_that_are_read_whole_end_with_their_version() {
    let context = TestContext::new(&[("Leads", 450), ("Contacts", 3)]);
    let catalog = context.catalog(&["Leads", "Contacts", "users"]);
    let mut chosen: Value =
        serde_json::from_str(&fs::read_to_string(&catalog).expect("reads")).expect("JSON");
    for stream in chosen["streams"].as_array_mut().expect("streams") {
        if stream["tap_stream_id"] == "Leads" {
            stream["metadata"][0]["metadata"]["replication-method"] = "FULL_TABLE".into();
        }
    }
    context.write("catalog.json", &chosen);
    let plain = good(&context, context.tap().args(["--catalog", "catalog.json"]));
    assert!(!String::from_utf8_lossy(&plain.stdout).contains("version\":"), "off by default");
    let config = context.settings_with("versions.json", &json!({"activate_version": true}));
    let output = good(&context, context.tap_with(&config).args(["--catalog", "catalog.json"]));
    let messages = messages(&output.stdout);
    let ends = of_type(&messages, "ACTIVATE_VERSION");
    assert_eq!(names(&ends), ["Leads", "users"].map(str::to_owned).into(), "Contacts is read by increments");
    for end in ends {
        assert!(end["version"].as_i64() > Some(1_000_000_000_000), "an instant in milliseconds: {end}");
        let at = messages.iter().position(|message| message == end).expect("is there");
        let of_stream = |message: &&Value| message["stream"] == end["stream"] && message["type"] == "RECORD";
        assert!(messages[at..].iter().all(|message| !of_stream(&message)), "the version is the last word");
        assert!(messages.iter().filter(of_stream).all(|record| record["version"] == end["version"]));
    }
    let contacts = of_type(&messages, "RECORD").into_iter().filter(|record| record["stream"] == "Contacts");
    assert!(contacts.into_iter().all(|record| record.get("version").is_none()));
}

#[test]
fn a_killed_reading_goes_on_with_the_version_it_had() {
    let context = TestContext::new(&[("Leads", 900)]);
    context.catalog(&["Leads"]);
    let text = fs::read_to_string(context.path("catalog.json")).expect("reads");
    let mut catalog: Value = serde_json::from_str(&text).expect("JSON");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        stream["metadata"][0]["metadata"]["replication-method"] = "FULL_TABLE".into();
    }
    context.write("catalog.json", &catalog);
    let more =
        json!({"activate_version": true, "method": "coql", "state_rows": 1, "retry": {"max_attempts": 1}});
    let config = context.settings_with("versions.json", &more);
    context.control("POST", "switches", &json!({"coql_rows": 200}));
    let cut = json!([{"match": {"path_contains": "/coql", "nth": 4, "times": 0},
        "action": {"kind": "status", "status": 500, "code": "INTERNAL_ERROR"}}]);
    context.control("POST", "faults", &cut);
    let first = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    let first = messages(&first.stdout);
    let state = first.last().expect("a STATE");
    assert!(state["value"]["bookmarks"]["Leads"]["in_progress"].is_object(), "{state}");
    assert!(of_type(&first, "ACTIVATE_VERSION").is_empty(), "it is not whole");
    context.write("state.json", &state["value"]);
    context.control("DELETE", "faults", &Value::Null);
    context.control("POST", "clock", &json!({"advance_seconds": 90}));
    let mut again = context.tap_with(&config);
    let second = good(&context, again.args(["--catalog", "catalog.json", "--state", "state.json"]));
    let second = messages(&second.stdout);
    let end = of_type(&second, "ACTIVATE_VERSION");
    assert_eq!(end.len(), 1);
    let records = [of_type(&first, "RECORD"), of_type(&second, "RECORD")].concat();
    assert_eq!(records.len(), 900, "each row once");
    assert!(records.iter().all(|record| record["version"] == end[0]["version"]), "all of one version");
}

/// Lines of stderr, as objects.
fn structured(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {line}"))).collect()
}

/// What Meltano's parser of structured logs cannot do without.
const REQUIRED: [&str; 7] = ["level", "pid", "logger_name", "ts", "thread_name", "app_name", "message"];

#[test]
fn meltano_asks_for_structured_logs_and_gets_them() {
    let context = TestContext::new(&[("Leads", 5)]);
    let catalog = context.catalog(&["Leads"]);
    let file = |level: &str, formatter: Value| json!({"version": 1, "formatters": {"singer_formatter": formatter}, "root": {"level": level}});
    let asked = json!({"()": "singer_sdk.logging.StructuredFormatter"});
    let asked = context.write("asked.json", &file("DEBUG", asked));
    let plain = context.write("plain.json", &file("ERROR", json!({"format": "%(message)s"})));
    let config = context.settings_with("measured.json", &json!({"metrics": true}));
    let run = |log: &std::path::Path| {
        let mut tap = context.tap_with(&config);
        good(&context, tap.arg("--catalog").arg(&catalog).env("SINGER_SDK_LOG_CONFIG", log))
    };
    let lines = structured(&run(&asked));
    for line in &lines {
        assert!(REQUIRED.iter().all(|key| line.get(key).is_some()), "{line}");
        assert_eq!(line["app_name"], "tap-zoho-crm");
        assert!(line["ts"].as_f64() > Some(1.0e9) && line["extra"].is_object(), "{line}");
    }
    assert!(lines.iter().any(|line| line["level"] == "debug"), "the level of the file counts");
    let counted = lines.iter().find(|line| line["metric_info"]["metric"] == "record_count");
    let counted = &counted.expect("a measurement")["metric_info"];
    assert_eq!((&counted["value"], &counted["tags"]["stream"]), (&json!(5), &json!("Leads")));
    let text = String::from_utf8(run(&plain).stderr).expect("UTF-8");
    assert!(
        text.starts_with("Read 5 records") && !text.contains("METRIC"),
        "errors and summary only: {text}"
    );
}

#[test]
fn the_level_comes_from_the_environment() {
    let context = TestContext::new(&[("Leads", 5)]);
    let catalog = context.catalog(&["Leads"]);
    let run = |variables: &[(&str, &str)], more: &[&str]| {
        let mut tap = context.tap();
        tap.arg("--catalog").arg(&catalog).args(more).envs(variables.iter().copied());
        String::from_utf8(good(&context, &mut tap).stderr).expect("UTF-8")
    };
    assert!(!run(&[], &[]).contains("debug: "));
    assert!(run(&[("LOGLEVEL", "DEBUG")], &[]).contains("debug: "));
    let own = [("LOGLEVEL", "DEBUG"), ("TAP_ZOHO_CRM_LOGLEVEL", "warning")];
    assert!(!run(&own, &[]).contains("Leads: 5 rows"), "the tap's own variable goes first");
    assert!(run(&own, &["--log-level", "debug"]).contains("debug: "), "what is typed goes before all");
    assert!(run(&[("LOGLEVEL", "loud")], &[]).contains("warning: `LOGLEVEL` is `loud`"));
}

/// The measurements among lines for people.
fn metrics(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().filter_map(|line| line.strip_prefix("INFO METRIC: "));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn measurements_come_on_request() {
    let context = TestContext::new(&[("Leads", 450)]);
    let catalog = context.catalog(&["Leads"]);
    let config = context.settings_with("measured.json", &json!({"metrics": true}));
    let quiet = good(&context, context.tap().arg("--catalog").arg(&catalog));
    assert!(metrics(&quiet).is_empty());
    let output = good(&context, context.tap_with(&config).arg("--catalog").arg(&catalog));
    let told = metrics(&output);
    let value = |name: &str| {
        let found = told.iter().find(|point| point["metric"] == name);
        found.unwrap_or_else(|| panic!("{name}: {told:?}"))["value"].clone()
    };
    assert_eq!(value("record_count"), json!(450));
    assert!(value("sync_duration").as_f64() > Some(0.0));
    assert!(value("http_request_count").as_u64() > Some(0) && value("api_credits").as_u64() > Some(0));
    let rows = fs::read(root().join("tests/data/northwind/customers.singer")).expect("reads");
    assert!(!rows.is_empty());
    let input = "{\"type\":\"SCHEMA\",\"stream\":\"Contacts\",\"schema\":{\"properties\":{\"Last_Name\":{\"type\":\"string\"},\"Email\":{\"type\":\"string\"}}},\"key_properties\":[\"Email\"]}\n\
        {\"type\":\"RECORD\",\"stream\":\"Contacts\",\"record\":{\"Last_Name\":\"Eins\",\"Email\":\"a@example.com\"}}\n";
    let mut target = program("target-zoho-crm");
    target.current_dir(context.path(".")).arg("--config").arg(&config);
    let told = metrics(&good(&context, target.write_stdin(input)));
    let counted = told.iter().find(|point| point["metric"] == "record_count").expect("a measurement");
    assert_eq!((&counted["value"], &counted["tags"]["module"]), (&json!(1), &json!("Contacts")));
}

#[test]
fn settings_come_from_the_environment_and_from_dotenv() {
    let context = TestContext::new(&[("Leads", 5)]);
    let catalog = context.catalog(&["Leads"]);
    let settings = context.settings();
    let text = |key: &str| settings[key].as_str().expect("a text").to_owned();
    let mut file = String::from("# what Meltano reads, too\n");
    for key in ["client_id", "client_secret", "refresh_token", "api_url", "accounts_url", "state_dir"] {
        file += &format!("export TAP_ZOHO_CRM_{}='{}'\n", key.to_uppercase(), text(key));
    }
    file += "TAP_ZOHO_CRM_CONTENT_URL=http://127.0.0.1:1\nTAP_ZOHO_CRM_METRICS=\"yes\"\n";
    fs::write(context.path(".env"), file).expect("writes");
    let mut tap = program("tap-zoho-crm");
    tap.current_dir(context.path(".")).args(["--config", "ENV", "--catalog"]).arg(&catalog);
    let output = good(&context, tap.env("TAP_ZOHO_CRM_CONTENT_URL", text("content_url")));
    assert_eq!(records(&output.stdout, "Leads").len(), 5);
    assert!(!metrics(&output).is_empty(), "`yes` is true");
    let over = context.write("over.json", &json!({"metrics": false}));
    let mut tap = program("tap-zoho-crm");
    tap.current_dir(context.path("."))
        .args(["--config=ENV", "--catalog"])
        .arg(&catalog)
        .arg("--config")
        .arg(over);
    assert!(metrics(&good(&context, &mut tap)).is_empty(), "the later settings win");
}

#[test]
fn catalogs_of_older_taps_and_of_meltano_select() {
    let context = TestContext::new(&[("Leads", 5), ("Contacts", 3), ("Deals", 2)]);
    context.catalog(&[]);
    let text = fs::read_to_string(context.path("catalog.json")).expect("reads");
    let whole: Value = serde_json::from_str(&text).expect("JSON");
    let entry = |name: &str| {
        let streams = whole["streams"].as_array().expect("streams");
        streams.iter().find(|stream| stream["tap_stream_id"] == name).expect("is listed").clone()
    };
    // Before there was metadata, the schema said what is selected.
    let mut leads = entry("Leads");
    leads.as_object_mut().expect("an object").remove("metadata");
    leads["schema"]["selected"] = true.into();
    leads["schema"]["properties"]["Email"]["selected"] = false.into();
    // Meltano marks the stream beside its metadata.
    let mut contacts = entry("Contacts");
    contacts["selected"] = true.into();
    contacts["metadata"][0]["metadata"]["selected"] = true.into();
    let mut marked = entry("Deals");
    marked["selected"] = true.into();
    let stream = marked["metadata"][0]["metadata"].as_object_mut().expect("an object");
    stream.remove("selected");
    stream.insert("selected-by-default".into(), false.into());
    context.write("old.json", &json!({"streams": [leads, contacts, marked, entry("users")]}));
    let output = good(&context, context.tap().args(["--properties", "old.json"]));
    let count = |stream: &str| records(&output.stdout, stream).len();
    assert_eq!([count("Leads"), count("Contacts"), count("Deals"), count("users")], [5, 3, 2, 0]);
    let lead: Value = serde_json::from_str(&records(&output.stdout, "Leads")[0]).expect("JSON");
    assert!(lead.get("Email").is_none() && lead.get("Last_Name").is_some(), "{lead}");
}
