//! More rows than one bulk job takes: windows side by side, in order, resumed from what is paid for.

use crate::common::context::{TestContext, messages, records};
use crate::common::killed::Warehouse;
use crate::common::ten::ten_streams;
use serde_json::{Value, json};
use std::process::Output;
use zoho_crm_connector::emulator::Options;

const CREATE: &str = "POST /crm/bulk/v8/read";
const COQL: &str = "POST /crm/v8/coql";

/// Leads, read by Bulk Read in pages of so many rows.
fn leads(rows: u64, page: u32, change: impl FnOnce(&mut Options)) -> TestContext {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), rows)].into();
        options.switches.bulk_read_page_size = page;
        options.limits.off = true;
        change(options);
    });
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"method": "bulk_read"}));
    context.control("DELETE", "stats", &Value::Null);
    context
}

fn run(context: &TestContext, state: &Value) -> Output {
    context.write("state.json", state);
    context.tap().args(["--catalog", "catalog.json", "--state", "state.json"]).output().expect("runs")
}

fn whole(context: &TestContext, warehouse: &mut Warehouse, output: &Output) {
    let seen = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{seen}");
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    warehouse.take(&lines, 0);
    warehouse.equals(context, "Leads", &seen);
}

fn ids(output: &Output) -> Vec<u64> {
    let id = |record: &String| {
        let record: Value = serde_json::from_str(record).expect("JSON");
        record["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
    };
    records(&output.stdout, "Leads").iter().map(id).collect()
}

fn calls(context: &TestContext, call: &str) -> u64 {
    context.stats()["endpoints"][call]["calls"].as_u64().unwrap_or(0)
}

#[test]
fn several_jobs_are_under_way_and_their_rows_come_in_order() {
    let context = leads(1_100, 200, |_| {});
    let output = run(&context, &Value::Null);
    whole(&context, &mut Warehouse::default(), &output);
    let ids = ids(&output);
    assert!(ids.is_sorted() && ids.len() == 1_100, "{} rows", ids.len());
    // The first job shows how many rows one takes; 900 more are five windows of 180.
    assert_eq!((calls(&context, CREATE), calls(&context, COQL)), (6, 1 + 4));
    let jobs = |message: &Value| {
        let windows = &message["value"]["bookmarks"]["Leads"]["in_progress"]["windows"];
        windows
            .as_array()
            .map_or(0, |windows| windows.iter().filter(|window| window["job_ids"].is_array()).count())
    };
    let most = messages(&output.stdout).iter().map(jobs).max();
    assert_eq!(most, Some(4), "the one being written and those under way");
}

#[test]
fn without_boundaries_the_next_job_follows_the_last_id() {
    let context = leads(1_000, 200, |_| {});
    let refused = json!({"kind": "status", "status": 400, "code": "INVALID_MODULE"});
    context.control(
        "POST",
        "faults",
        &json!({"match": {"path_contains": "/crm/v8/coql", "times": 0}, "action": refused}),
    );
    let output = run(&context, &Value::Null);
    whole(&context, &mut Warehouse::default(), &output);
    assert_eq!((calls(&context, CREATE), calls(&context, COQL)), (5, 1));
}

#[test]
fn what_is_paid_for_is_not_asked_for_again() {
    let context = leads(1_100, 200, |_| {});
    let output = run(&context, &Value::Null);
    let states = messages(&output.stdout).into_iter().filter(|message| message["type"] == "STATE");
    for state in states.map(|mut message| message["value"].take()) {
        let mut warehouse = Warehouse::default();
        let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        let end = lines.iter().position(|line| line.ends_with(&format!("{state}}}"))).expect("it is there");
        warehouse.take(&lines[..=end], 0);
        context.control("DELETE", "stats", &Value::Null);
        whole(&context, &mut warehouse, &run(&context, &state));
        let paid = state.to_string().matches("job_ids").count() as u64;
        // The last window has no end: whether the jobs suffice shows when it is read.
        assert!(calls(&context, CREATE) <= 7 - paid, "{} jobs besides {paid}", calls(&context, CREATE));
    }
}

/// Reads 1,100 Leads and an increment of them, by a server that takes no criteria on ids. There is time
/// for ten downloads: more than that and a minute passes.
fn without_id_criteria(page: u32, rules: &Value) -> TestContext {
    let context = leads(1_100, page, |options| options.switches.bulk_read_id_criteria = false);
    context.control("POST", "faults", rules);
    let mut warehouse = Warehouse::default();
    let output = run(&context, &Value::Null);
    whole(&context, &mut warehouse, &output);
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 1, "change": 500, "insert": 40}));
    let state = warehouse.state.clone();
    whole(&context, &mut warehouse, &run(&context, &state));
    context
}

fn no_coql() -> Value {
    let refused = json!({"kind": "status", "status": 400, "code": "INVALID_MODULE"});
    json!([{"match": {"path_contains": "/crm/v8/coql", "times": 0}, "action": refused}])
}

#[test]
fn without_criteria_on_ids_windows_are_over_the_time_of_creation() {
    let context = without_id_criteria(200, &json!([]));
    let jobs = calls(&context, CREATE);
    // Six for the first reading and at most four for the second, and two that were refused.
    assert!(jobs <= 6 + 4 + 2, "{jobs} jobs");
}

#[test]
fn without_counts_either_windows_that_are_too_large_are_divided() {
    without_id_criteria(400, &no_coql());
}

#[test]
fn rows_of_one_second_come_page_after_page_though_rows_go_meanwhile() {
    for (tokens, numbers) in [(true, true), (false, true), (true, false)] {
        let context = leads(0, 500, |options| {
            options.frozen_at = Some(1_790_000_000);
            options.job_ms = 0;
            options.switches.bulk_read_id_criteria = false;
            options.switches.bulk_read_pages = numbers;
        });
        context.control("POST", "mutate", &json!({"module": "Leads", "seed": 1, "insert": 900}));
        let expired = json!({"kind": "expired_page_token"});
        let gone = json!({"kind": "delete_rows", "module": "Leads", "rows": 20});
        let creates = |nth: u64, times: u64| json!({"method": "POST", "path_contains": "bulk/v8/read", "nth": nth, "times": times});
        let mut rules = vec![json!({"match": creates(4, 2), "action": gone})];
        if !tokens {
            rules.push(json!({"match": {"path_contains": "bulk/v8/read", "times": 0}, "action": expired}));
        }
        context.control("POST", "faults", &rules.into());
        let output = run(&context, &Value::Null);
        let seen = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{seen}");
        let mut warehouse = Warehouse::default();
        let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        warehouse.take(&lines, 0);
        let there = context.dump("Leads", &warehouse.fields);
        assert!(there.len() <= 900 - 20, "{} rows: the rule fired", there.len());
        let missing = there.iter().filter(|row| !warehouse.rows.values().any(|found| found == *row)).count();
        assert_eq!(missing, 0, "tokens {tokens}, numbers {numbers}: {seen}");
    }
}

#[test]
fn the_jobs_of_ten_streams_keep_the_server_busy() {
    // How long that takes is measured by `make soak`.
    for side_by_side in [1, 4] {
        let (_, _, polls) = ten_streams(20, 700, side_by_side);
        assert!(polls <= 10 * 11, "{polls} polls");
    }
}

#[test]
fn small_offsets_only_make_more_of_them() {
    let context = leads(1_100, 500, |options| options.switches.coql_reach = 250);
    let output = run(&context, &Value::Null);
    whole(&context, &mut Warehouse::default(), &output);
    // A count; one offset that is refused; 600 rows in two windows, the boundary two offsets away.
    assert_eq!((calls(&context, CREATE), calls(&context, COQL)), (3, 1 + 1 + 2));
}

#[test]
fn queries_by_id_know_no_reach() {
    let context =
        leads(1_100, 500, |options| (options.switches.coql_reach, options.switches.coql_rows) = (400, 200));
    context.settings_with("config.json", &json!({"method": "coql"}));
    let output = run(&context, &Value::Null);
    whole(&context, &mut Warehouse::default(), &output);
}

#[test]
fn past_the_reach_of_lists_they_go_by_the_second_unless_one_is_too_much() {
    let context = leads(1_500, 200, |options| options.switches.page_token_reach = 400);
    context.settings_with("config.json", &json!({"method": "records"}));
    let mut warehouse = Warehouse::default();
    let output = run(&context, &Value::Null);
    whole(&context, &mut warehouse, &output);
    // More of one second than a list reaches.
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    let wish =
        json!({"module": "Leads", "seed": 1, "change": 6_000, "modified_time": "2027-01-01T00:00:00Z"});
    context.control("POST", "mutate", &wish);
    let output = run(&context, &warehouse.state);
    let seen = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{seen}");
    assert!(
        seen.contains("more than 400 records of stream `Leads` were modified at 2027-01-01T00:00:00Z"),
        "{seen}"
    );
    // Any other way can.
    context.settings_with("config.json", &json!({"method": "auto"}));
    let state = warehouse.state.clone();
    whole(&context, &mut warehouse, &run(&context, &state));
}

#[test]
fn a_job_that_fails_ahead_costs_no_row_before_it() {
    let failing = |times: u64| {
        let matches = json!({"method": "POST", "path_contains": "bulk/v8/read", "nth": 3, "times": times});
        json!({"match": matches, "action": {"kind": "job_failure"}})
    };
    let context = leads(1_100, 200, |_| {});
    context.control("POST", "faults", &failing(1));
    whole(&context, &mut Warehouse::default(), &run(&context, &Value::Null));
    assert_eq!(calls(&context, CREATE), 7);
    let context = leads(1_100, 200, |_| {});
    context.control("POST", "faults", &failing(0));
    let output = run(&context, &Value::Null);
    let seen = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{seen}");
    assert!(seen.contains("of stream `Leads` failed"), "{seen}");
    assert_eq!(ids(&output).len(), 200 + 180, "the windows before it");
    context.control("DELETE", "faults", &Value::Null);
    let mut warehouse = Warehouse::default();
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    warehouse.take(&lines, 0);
    let state = warehouse.state.clone();
    whole(&context, &mut warehouse, &run(&context, &state));
}
