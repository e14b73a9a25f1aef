//! More rows than one bulk job takes: windows side by side, in order, resumed from what is paid for.

use crate::common::context::{TestContext, messages, records};
use crate::common::killed::Warehouse;
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
