//! Readings that stopped halfway, taken up after something else changed: settings, fields, jobs that
//! expired, states of an older form or edited by hand.

use crate::common::context::{TestContext, messages};
use crate::common::killed::{Warehouse, run_tap};
use crate::common::process::Moment;
use serde_json::{Value, json};
use std::process::Output;

const CREATE: &str = "POST /crm/bulk/v8/read";
const WAYS: [&str; 3] = ["bulk_read", "coql", "records"];

/// 900 Leads on pages of 200.
fn leads() -> TestContext {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 900)].into();
        options.switches.bulk_read_page_size = 200;
        options.switches.coql_rows = 200;
        options.limits.off = true;
    });
    context.catalog(&["Leads"]);
    context
}

fn settings(context: &TestContext, more: &Value) {
    let mut settings = json!({"state_rows": 50, "lookback_seconds": 0});
    settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    context.settings_with("config.json", &settings);
}

fn run(context: &TestContext, state: &Value) -> Output {
    context.write("state.json", state);
    context.tap().args(["--catalog", "catalog.json", "--state", "state.json"]).output().expect("runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn take(warehouse: &mut Warehouse, output: &Output) {
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    warehouse.take(&lines, 0);
}

/// A reading by one way that breaks off after a page or two.
fn broken_off(context: &TestContext, way: &str) -> Warehouse {
    settings(context, &json!({"method": way}));
    let (method, path, nth) = match way {
        "bulk_read" => ("GET", "/result", 2),
        "coql" => ("POST", "/crm/v8/coql", 3),
        _ => ("GET", "/crm/v8/Leads?", 3),
    };
    let matches = json!({"method": method, "path_contains": path, "nth": nth, "times": 0});
    let rule = json!({"match": matches, "action": {"kind": "status", "status": 400, "code": "SOME_TROUBLE"}});
    context.control("POST", "faults", &rule);
    let output = run(context, &Value::Null);
    assert_ne!(output.status.code(), Some(0), "{way}: {}", said(&output));
    context.control("DELETE", "faults", &Value::Null);
    let mut warehouse = Warehouse::default();
    take(&mut warehouse, &output);
    assert!(warehouse.rows.len() >= 200, "{way}: {} rows", warehouse.rows.len());
    assert!(progress(&warehouse.state).is_object(), "{way}: {}", warehouse.state);
    warehouse
}

fn progress(state: &Value) -> &Value {
    &state["bookmarks"]["Leads"]["in_progress"]
}

/// The run that takes it up; it has to end well and leave the whole module.
fn taken_up(context: &TestContext, mut warehouse: Warehouse) -> String {
    let output = run(context, &warehouse.state);
    let seen = said(&output);
    assert!(output.status.success(), "{seen}");
    take(&mut warehouse, &output);
    warehouse.equals(context, "Leads", &seen);
    assert!(progress(&warehouse.state).is_null());
    seen
}

fn calls(context: &TestContext, call: &str) -> u64 {
    context.stats()["endpoints"][call]["calls"].as_u64().unwrap_or(0)
}

#[test]
fn by_another_way() {
    for from in WAYS {
        for to in WAYS {
            let context = leads();
            let warehouse = broken_off(&context, from);
            settings(&context, &json!({"method": to}));
            taken_up(&context, warehouse);
        }
    }
}

#[test]
fn with_a_new_field_or_without_one() {
    for way in ["bulk_read", "coql"] {
        for change in [
            json!({"module": "Leads", "add": {"api_name": "Shoe_Size", "data_type": "integer"}}),
            json!({"module": "Leads", "remove": "Industry"}),
        ] {
            let context = leads();
            let mut warehouse = broken_off(&context, way);
            context.control("POST", "fields", &change);
            // What is out has other fields, so all comes again.
            warehouse.rows.clear();
            let seen = taken_up(&context, warehouse);
            assert!(seen.contains("the selected fields changed since the unfinished run"), "{way}: {seen}");
            assert_eq!(
                seen.contains("field `Industry` of the catalog is no longer there"),
                change.get("remove").is_some(),
                "{seen}"
            );
        }
    }
}

#[test]
fn with_another_start_date() {
    for (before, after, begins_again) in [
        (Some("2020-01-01T00:00:00Z"), None, true),
        (Some("2020-01-01T00:00:00Z"), Some("2019-01-01T00:00:00Z"), true),
        (Some("2019-01-01T00:00:00Z"), Some("2020-01-01T00:00:00Z"), false),
        (None, Some("2019-01-01T00:00:00Z"), false),
    ] {
        let context = leads();
        let mut warehouse = broken_off(&context, "coql");
        // As the run before would have left it.
        warehouse.state["bookmarks"]["Leads"]["in_progress"]["from"] = before.into();
        if let Some(date) = after {
            settings(&context, &json!({"method": "coql", "start_date": date}));
        }
        let seen = taken_up(&context, warehouse);
        assert_eq!(seen.contains("`start_date` moved back"), begins_again, "{before:?} {after:?}: {seen}");
    }
}

#[test]
fn a_start_date_is_nothing_to_a_stream_with_a_bookmark() {
    let context = leads();
    settings(&context, &json!({"method": "coql"}));
    let first = run(&context, &Value::Null);
    let mut warehouse = Warehouse::default();
    take(&mut warehouse, &first);
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 1, "change": 30}));
    settings(&context, &json!({"method": "coql", "start_date": "2019-01-01T00:00:00Z"}));
    let second = run(&context, &warehouse.state);
    let rows = messages(&second.stdout).iter().filter(|message| message["type"] == "RECORD").count();
    assert!((1..=30).contains(&rows), "{rows} rows");
    take(&mut warehouse, &second);
    warehouse.equals(&context, "Leads", "after an increment");
}

#[test]
fn after_all_its_jobs_expired() {
    let context = leads();
    let warehouse = broken_off(&context, "bulk_read");
    let jobs = warehouse.state.to_string().matches("job_ids").count() as u64;
    assert!(jobs >= 3, "{}", warehouse.state);
    context.control("POST", "clock", &json!({"advance_seconds": 90_000}));
    let before = calls(&context, CREATE);
    let seen = taken_up(&context, warehouse);
    assert!(seen.contains("the job's result is no longer kept, its rows are asked for again"), "{seen}");
    assert!(calls(&context, CREATE) - before >= jobs, "each is asked for again");
}

#[test]
fn from_a_state_of_the_form_before_windows() {
    let context = leads();
    settings(&context, &json!({"method": "bulk_read"}));
    let killed = run_tap(&context, &Value::Null, Moment::Lines(120));
    // Up to a STATE in the middle of the first file, whose job has no end as jobs had none then.
    let is_in_first_file = |line: &String| {
        let message: Value = serde_json::from_str(line).expect("a message");
        let progress = progress(&message["value"]);
        progress["after_id"].is_null() && progress["windows"][0]["rows_out"].as_u64() >= Some(50)
    };
    let end = killed.lines.iter().rposition(is_in_first_file).expect("a STATE in the first file");
    let mut warehouse = Warehouse::default();
    warehouse.take(&killed.lines[..=end], 0);
    let progress = &mut warehouse.state["bookmarks"]["Leads"]["in_progress"];
    let first = progress["windows"][0].clone();
    let progress = progress.as_object_mut().expect("an object");
    progress.remove("windows");
    progress.insert("job_id".to_owned(), first["job_ids"][0].clone());
    progress.insert("rows_out".to_owned(), first["rows_out"].clone());
    taken_up(&context, warehouse);
}

#[test]
fn from_states_edited_by_hand() {
    let context = leads();
    let warehouse = broken_off(&context, "bulk_read");
    for (place, value, expected) in [
        ("after_id", json!("1' or id > '0"), "an id, a string of digits"),
        ("windows", json!("none"), "a list of windows"),
        ("windows", json!([{"up_to_id": "5"}]), "a window with an end, or the last one, without"),
        ("method", json!("telepathy"), "`bulk_read`, `coql` or `records`"),
        ("until", json!("tomorrow"), "a time with its offset"),
    ] {
        let mut state = warehouse.state.clone();
        state["bookmarks"]["Leads"]["in_progress"][place] = value;
        let output = run(&context, &state);
        let seen = said(&output);
        assert_eq!(output.status.code(), Some(2), "{place}: {seen}");
        assert!(
            seen.contains(&format!("/bookmarks/Leads/in_progress/{place}")) && seen.contains(expected),
            "{seen}"
        );
        assert!(output.stdout.is_empty());
    }
    // A window that is taken out leaves no gap: the jobs behind it do not hold its rows.
    let mut state = warehouse.state.clone();
    let windows = state["bookmarks"]["Leads"]["in_progress"]["windows"].as_array_mut().expect("windows");
    windows.remove(1);
    let seen = said(&run(&context, &state));
    assert!(seen.contains("a window whose jobs begin where the one before it ends"), "{seen}");
    // Jobs that are taken out are asked for again.
    let mut warehouse = warehouse;
    let windows = &mut warehouse.state["bookmarks"]["Leads"]["in_progress"]["windows"];
    for window in windows.as_array_mut().expect("windows") {
        for key in ["job_ids", "rows_out"] {
            window.as_object_mut().expect("an object").remove(key);
        }
    }
    taken_up(&context, warehouse);
}
