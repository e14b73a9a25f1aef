//! The tap while things go wrong or change under it, and both programs on every disputed point of
//! Zoho's interface: what is handed on stays right.

use crate::common::context::{TestContext, messages, records};
use crate::common::feed::Feed;
use crate::common::killed::{Warehouse, run_tap};
use crate::common::pair::{prepare_target, two_organisations, written};
use crate::common::process::{Moment, command};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Output, Stdio};
use zoho_crm_connector::emulator::Options;

const WAYS: [&str; 3] = ["bulk_read", "coql", "records"];

/// Leads, on small pages by every way of reading.
fn leads(rows: u64, change: impl FnOnce(&mut Options)) -> TestContext {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), rows)].into();
        options.switches.bulk_read_page_size = 200;
        options.switches.coql_rows = 200;
        options.limits.off = true;
        change(options);
    });
    context.catalog(&["Leads"]);
    context
}

/// The call that asks for a page of Leads.
fn page_call(way: &str) -> Value {
    match way {
        "bulk_read" => json!({"method": "POST", "path_contains": "/crm/bulk/v8/read"}),
        "coql" => json!({"method": "POST", "path_contains": "/crm/v8/coql"}),
        _ => json!({"method": "GET", "path_contains": "/crm/v8/Leads?"}),
    }
}

/// A rule for the calls that ask for a page, from `nth` on and `times` times.
fn at_pages(way: &str, nth: u64, times: u64, action: &Value) -> Value {
    let mut matches = page_call(way);
    matches["nth"] = nth.into();
    matches["times"] = times.into();
    json!({"match": matches, "action": action})
}

fn fault(context: &TestContext, rules: &Value) {
    context.control("POST", "faults", rules);
}

fn clear_faults(context: &TestContext) {
    context.control("DELETE", "faults", &Value::Null);
}

/// Reads by one way, with no lookback, so that nothing is right by luck.
fn set_way(context: &TestContext, way: &str) {
    context.settings_with("config.json", &json!({"method": way, "lookback_seconds": 0}));
}

fn run(context: &TestContext, state: &Value) -> Output {
    context.write("state.json", state);
    context.tap().args(["--catalog", "catalog.json", "--state", "state.json"]).output().expect("runs")
}

fn said(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// A run that has to end well, into the warehouse.
fn good_run(context: &TestContext, warehouse: &mut Warehouse) -> Vec<String> {
    let output = run(context, &warehouse.state);
    assert!(output.status.success(), "{}", said(&output));
    let lines: Vec<String> =
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    warehouse.take(&lines, 0);
    lines
}

fn ids(context: &TestContext) -> BTreeSet<String> {
    let rows = context.dump("Leads", &["id".to_owned()]);
    let id = |row: &String| {
        serde_json::from_str::<Value>(row).expect("JSON")["id"].as_str().expect("an id").to_owned()
    };
    rows.iter().map(id).collect()
}

#[test]
fn rows_that_come_and_go_between_two_pages_hide_no_other() {
    for way in WAYS {
        let context = leads(1_000, |_| {});
        set_way(&context, way);
        let mut warehouse = Warehouse::default();
        let gone = json!({"kind": "delete_rows", "module": "Leads", "rows": 30});
        let touched = json!({"kind": "touch_rows", "module": "Leads", "rows": 60});
        for round in 0..2 {
            fault(&context, &json!([at_pages(way, 2, 6, &gone), at_pages(way, 2, 5, &touched)]));
            good_run(&context, &mut warehouse);
            let there = ids(&context);
            assert!(there.len() <= 1_000 - 30 * 3, "{way}: the rules fired");
            let missing: Vec<&String> = there.iter().filter(|id| !warehouse.rows.contains_key(*id)).collect();
            assert!(missing.is_empty(), "{way}, round {round}: {} rows are missing", missing.len());
            // Next comes an increment of several pages.
            clear_faults(&context);
            context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
            context.control(
                "POST",
                "mutate",
                &json!({"module": "Leads", "seed": round, "change": 900, "insert": 9}),
            );
        }
        good_run(&context, &mut warehouse);
        let there = ids(&context);
        warehouse.rows.retain(|id, _| there.contains(id));
        warehouse.equals(&context, "Leads", way);
    }
}

#[test]
fn a_row_that_changes_all_the_time_comes_in_every_run() {
    for way in WAYS {
        let context = leads(450, |options| (options.frozen_at, options.job_ms) = (Some(1_790_000_000), 0));
        set_way(&context, way);
        // Only the first row, at every call.
        let touched = json!({"kind": "touch_rows", "module": "Leads", "rows": 1});
        fault(&context, &json!({"match": {"times": 0}, "action": touched}));
        let restless = ids(&context).into_iter().next().expect("a row");
        let mut warehouse = Warehouse::default();
        for round in 0..5 {
            let lines = good_run(&context, &mut warehouse);
            let came = lines.iter().any(|line| line.contains(&format!("\"record\":{{\"id\":\"{restless}\"")));
            assert!(came, "{way}, run {round}");
            let records = lines.iter().filter(|line| line.starts_with("{\"type\":\"RECORD\"")).count();
            assert!(round == 0 || records == 1, "{way}, run {round}: {records} records");
            context.control("POST", "clock", &json!({"advance_seconds": 1}));
        }
    }
}

#[test]
fn what_changes_in_the_second_of_the_bookmark_is_read_again_rather_than_lost() {
    for way in WAYS {
        let context = leads(450, |options| (options.frozen_at, options.job_ms) = (Some(1_790_000_000), 0));
        set_way(&context, way);
        let mut warehouse = Warehouse::default();
        good_run(&context, &mut warehouse);
        // The clock stands still: these changes carry the very second of the bookmark.
        for (seed, change) in [(1, 1), (2, 20), (3, 430)] {
            context.control(
                "POST",
                "mutate",
                &json!({"module": "Leads", "seed": seed, "change": change, "insert": 1}),
            );
            good_run(&context, &mut warehouse);
            warehouse.equals(&context, "Leads", way);
        }
    }
}

#[test]
fn rows_that_share_one_modified_time_come_over_many_pages() {
    for way in WAYS {
        let context = leads(1_100, |options| (options.frozen_at, options.job_ms) = (Some(1_790_000_000), 0));
        set_way(&context, way);
        let mut warehouse = Warehouse::default();
        good_run(&context, &mut warehouse);
        let wish =
            json!({"module": "Leads", "seed": 5, "change": 3_000, "modified_time": "2026-09-21T14:13:25Z"});
        context.control("POST", "mutate", &wish);
        let lines = good_run(&context, &mut warehouse);
        assert!(lines.len() > 900, "{way}: {} lines", lines.len());
        warehouse.equals(&context, "Leads", way);
    }
}

/// About one call in twenty goes wrong, in one of the ways calls do; each way at least once.
fn one_in_twenty() -> Value {
    let kinds = [
        json!({"kind": "throttle"}),
        json!({"kind": "throttle", "retry_after_seconds": 0}),
        json!({"kind": "status", "status": 500}),
        json!({"kind": "status", "status": 503}),
        json!({"kind": "cut_body", "fraction": 0.6}),
        json!({"kind": "drop"}),
        json!({"kind": "cut_after_execute"}),
        json!({"kind": "invalid_token"}),
    ];
    let rules = (0..).zip(kinds).flat_map(|(at, action)| {
        let path = if action["kind"] == "invalid_token" { "/crm/" } else { "" };
        let likely = json!({"path_contains": path, "probability": 0.0065});
        let surely = json!({"path_contains": path, "nth": 3 + 2 * at});
        [likely, surely].map(|matches| json!({"match": matches, "action": action}))
    });
    rules.collect()
}

#[test]
fn one_call_in_twenty_that_fails_changes_nothing_of_what_comes() {
    for way in WAYS {
        let mut faults = 0;
        for seed in [1, 2, 3] {
            let context = leads(2_000, |options| {
                options.seed = seed;
                options.switches.bulk_read_page_size = 500;
            });
            set_way(&context, way);
            fault(&context, &one_in_twenty());
            fault(
                &context,
                &json!({"match": {"path_contains": "/result"}, "action": {"kind": "truncated_zip"}}),
            );
            let mut warehouse = Warehouse::default();
            good_run(&context, &mut warehouse);
            warehouse.equals(&context, "Leads", way);
            context.control("POST", "clock", &json!({"advance_seconds": 1_800}));
            context.control(
                "POST",
                "mutate",
                &json!({"module": "Leads", "seed": seed, "change": 800, "insert": 9}),
            );
            good_run(&context, &mut warehouse);
            warehouse.equals(&context, "Leads", way);
            faults += context.stats()["faults"].as_u64().expect("a number");
        }
        assert!(faults >= 3 * 8, "{way}: {faults} faults");
    }
}

/// One run over 450 Leads by Bulk Read in one job, under one rule.
fn under(rule: &Value) -> (TestContext, Output) {
    let context = leads(450, |options| options.switches.bulk_read_page_size = 1_000);
    set_way(&context, "bulk_read");
    fault(&context, rule);
    let output = run(&context, &Value::Null);
    (context, output)
}

fn calls(context: &TestContext, call: &str) -> u64 {
    context.stats()["endpoints"][call]["calls"].as_u64().unwrap_or(0)
}

const CREATE: &str = "POST /crm/bulk/v8/read";
const DOWNLOAD: &str = "GET /crm/bulk/v8/read/{id}/result";

fn is_whole(context: &TestContext, output: &Output) {
    assert!(output.status.success(), "{}", said(output));
    let mut warehouse = Warehouse::default();
    let lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    warehouse.take(&lines, 0);
    warehouse.equals(context, "Leads", "one run");
    assert_eq!(records(&output.stdout, "Leads").len(), 450, "no row twice");
}

#[test]
fn a_job_that_fails_is_asked_for_once_more_and_then_named() {
    let (context, output) =
        under(&json!({"match": {"path_contains": "bulk/v8/read"}, "action": {"kind": "job_failure"}}));
    is_whole(&context, &output);
    assert_eq!(calls(&context, CREATE), 2);
    let (context, output) = under(
        &json!({"match": {"path_contains": "bulk/v8/read", "times": 0}, "action": {"kind": "job_failure"}}),
    );
    let seen = said(&output);
    assert_eq!((output.status.code(), calls(&context, CREATE)), (Some(6), 2), "{seen}");
    assert!(seen.contains("error: bulk read job `") && seen.contains("of stream `Leads` failed"), "{seen}");
    assert!(records(&output.stdout, "Leads").is_empty());
}

#[test]
fn a_damaged_file_is_fetched_once_more_and_no_row_of_it_comes_out() {
    let truncated = |times: u64| json!({"match": {"path_contains": "/result", "times": times}, "action": {"kind": "truncated_zip"}});
    let (context, output) = under(&truncated(1));
    is_whole(&context, &output);
    assert_eq!((calls(&context, CREATE), calls(&context, DOWNLOAD)), (1, 2));
    let (context, output) = under(&truncated(0));
    let seen = said(&output);
    assert_eq!(output.status.code(), Some(8), "{seen}");
    assert!(seen.contains("of stream `Leads` is not sound"), "{seen}");
    assert!(records(&output.stdout, "Leads").is_empty(), "{seen}");
    // The job is paid for and still there: the next run only fetches its file.
    clear_faults(&context);
    let state = messages(&output.stdout).pop().expect("a STATE")["value"].take();
    is_whole(&context, &run(&context, &state));
    assert_eq!(calls(&context, CREATE), 1);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (context, output) =
        under(&json!({"match": {"path_contains": "/result", "times": 2}, "action": {"kind": "cut_body"}}));
    is_whole(&context, &output);
    assert_eq!(calls(&context, CREATE), 1);
    assert!(
        context.stats()["endpoints"][DOWNLOAD]["statuses"]["206"].as_u64() >= Some(1),
        "{}",
        context.stats()
    );
}

#[test]
fn a_token_that_dies_in_the_middle_is_renewed() {
    for path in ["bulk/v8/read", "/result", "settings/fields"] {
        let (context, output) =
            under(&json!({"match": {"path_contains": path}, "action": {"kind": "invalid_token"}}));
        is_whole(&context, &output);
        assert_eq!(context.stats()["tokens"], 2, "{path}");
    }
}

#[test]
fn a_job_that_waits_in_the_queue_is_waited_for() {
    let context =
        leads(450, |options| (options.switches.bulk_read_page_size, options.job_ms) = (1_000, 3_000_000));
    set_way(&context, "bulk_read");
    context.write("state.json", &Value::Null);
    let args = ["--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"];
    let mut tap = command(&context, "tap-zoho-crm", &args);
    let tap = tap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // Three looks at the job that find it unfinished; then its time has come.
    while calls(&context, "GET /crm/bulk/v8/read/{id}") < 3 {
        std::thread::yield_now();
    }
    context.control("POST", "clock", &json!({"advance_seconds": 3_001}));
    is_whole(&context, &tap.wait_with_output().expect("ends"));
    assert_eq!(calls(&context, CREATE), 1);
}

#[test]
fn a_result_that_expired_before_the_run_was_taken_up_is_asked_for_again() {
    let context = leads(900, |options| options.switches.bulk_read_page_size = 1_000);
    context.settings_with("config.json", &json!({"method": "bulk_read", "state_rows": 100}));
    let killed = run_tap(&context, &Value::Null, Moment::Lines(350));
    assert!(killed.killed, "{}", killed.said);
    let mut warehouse = Warehouse::default();
    warehouse.take(&killed.lines, 0);
    assert!(warehouse.rows.len() >= 200, "{} rows", warehouse.rows.len());
    // Results are kept for a day.
    context.control("POST", "clock", &json!({"advance_seconds": 90_000}));
    good_run(&context, &mut warehouse);
    warehouse.equals(&context, "Leads", "after a day");
    assert_eq!(calls(&context, CREATE), 2);
}

#[test]
fn deletes_that_happen_while_the_list_is_read_hide_no_other() {
    let context = leads(1_200, |_| {});
    context.catalog(&["Leads", "deleted_records"]);
    let before: Vec<String> = ids(&context).into_iter().take(700).collect();
    context.control("POST", "mutate", &json!({"module": "Leads", "delete_ids": before}));
    let gone = json!({"kind": "delete_rows", "module": "Leads", "rows": 30});
    let matches = json!({"path_contains": "/Leads/deleted", "nth": 2, "times": 6});
    fault(&context, &json!({"match": matches, "action": gone}));
    let output = run(&context, &Value::Null);
    assert!(output.status.success(), "{}", said(&output));
    let found = records(&output.stdout, "deleted_records");
    let missing = before.iter().filter(|id| !found.iter().any(|record| record.contains(id.as_str()))).count();
    assert_eq!(missing, 0, "of {} deletes, {} were found", before.len(), found.len());
}

/// Every switch on what reading meets, flipped.
fn switches() -> Vec<Value> {
    vec![
        json!({"page_tokens": "keyset"}),
        json!({"modified_since_strict": false}),
        json!({"deleted_304": false}),
        json!({"wrap_errors": true}),
        json!({"unknown_record_204": false}),
        json!({"bulk_read_id_column": "id"}),
        json!({"bulk_read_notes": true}),
        json!({"bulk_read_id_first": false}),
        json!({"bulk_read_byte_order_mark": true}),
        json!({"bulk_read_id_criteria": false}),
        json!({"bulk_read_in_values": 100}),
        json!({"bulk_read_extra_types": ["Tag", "fileupload", "imageupload", "subform", "multiselectlookup", "multiuserlookup"]}),
        json!({"bulk_read_pages": false}),
        json!({"bulk_read_early_result": true}),
        json!({"bulk_call_credits": [0, 1, 1]}),
        json!({"coql_rows": 2_000}),
        json!({"coql_columns": 50}),
        json!({"coql_values": 50}),
        json!({"coql_notes": true}),
        json!({"jobs_side_by_side": 1}),
    ]
}

/// A switch of Bulk Read or COQL is no matter for the other ways.
fn concerns(switch: &str, way: &str) -> bool {
    ["bulk_", "coql_"]
        .iter()
        .all(|prefix| !switch.starts_with(prefix) || way.starts_with(prefix.trim_end_matches('_')))
}

#[test]
fn every_disputed_point_gives_the_same_rows_either_way() {
    for switch in switches() {
        let context = leads(450, |options| options.rows.extend([("Notes".to_owned(), 250)]));
        context.control("POST", "switches", &switch);
        let name = switch.as_object().and_then(|switch| switch.keys().next()).expect("a switch");
        for way in WAYS.iter().filter(|way| concerns(name, way)) {
            let about = format!("{way}, {switch}");
            set_way(&context, way);
            let mut warehouse = Warehouse::default();
            good_run(&context, &mut warehouse);
            warehouse.equals(&context, "Leads", &about);
            context.control("POST", "clock", &json!({"advance_seconds": 1_800}));
            context.control(
                "POST",
                "mutate",
                &json!({"module": "Leads", "seed": 3, "change": 300, "insert": 2}),
            );
            good_run(&context, &mut warehouse);
            warehouse.equals(&context, "Leads", &about);
        }
        context.catalog(&["Notes"]);
        set_way(&context, "auto");
        let mut notes = Warehouse::default();
        good_run(&context, &mut notes);
        notes.equals(&context, "Notes", &format!("{switch}"));
    }
}

#[test]
fn every_disputed_point_of_writing_leaves_the_same_rows_either_way() {
    let switches = [
        json!({"wrap_errors": true}),
        json!({"all_failed_status": 200}),
        json!({"reject_read_only": true}),
        json!({"reject_unknown_keys": true}),
        json!({"bare_lookup_ids": false}),
        json!({"round_decimals": true}),
        json!({"bulk_write_spaced_state": true}),
        json!({"bulk_write_relative_url": true}),
        json!({"bulk_write_shuffled_result": true}),
        json!({"bulk_write_altered_cells": true}),
        json!({"bulk_write_iso_dates": true}),
        json!({"jobs_side_by_side": 1}),
    ];
    for switch in switches {
        for (method, operation) in [("bulk", "upsert"), ("records", "insert")] {
            let about = format!("{method}, {operation}, {switch}");
            let (context, feed) = (two_organisations(1, 0), Feed::new(250, operation == "upsert"));
            context.control("POST", "switches", &switch);
            prepare_target(&context, operation, method, 100);
            fs::write(context.path("feed.singer"), feed.from(0).0).expect("writes");
            let args = ["--config", "target.json", "--input", "feed.singer"];
            let output = command(&context, "target-zoho-crm", &args).output().expect("runs");
            assert!(output.status.success(), "{about}: {}", said(&output));
            assert_eq!(written(&context), feed.truth(), "{about}");
        }
    }
}
