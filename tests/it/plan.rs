//! What a run will cost, said before and counted after; and what is remembered so that it costs less.

use crate::common::context::{TestContext, last_state, messages, properties, records};
use crate::common::credits::{Charged, charged, plan};
use crate::common::snapshot::assert_seen;
use chrono::DateTime;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// Modules, each with another number of rows around which prices change.
const SIZES: [(&str, u64); 8] = [
    ("Leads", 2_001),
    ("Contacts", 2_000),
    ("Accounts", 1_999),
    ("Deals", 201),
    ("Products", 200),
    ("Vendors", 199),
    ("Tasks", 1),
    ("Everything_Lines", 0),
];

fn sync(context: &TestContext, args: &[&str]) -> Output {
    let output = context.tap().args(["--catalog", "catalog.json"]).args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output
}

#[test]
fn the_plan_is_what_the_sync_spends() {
    let context = TestContext::new(&SIZES);
    context.catalog(&SIZES.map(|(module, _)| module));
    let planned = plan(&context, &["--catalog", "catalog.json"]);
    for (stream, (module, rows)) in planned["streams"].as_array().expect("streams").iter().zip(SIZES) {
        assert_eq!((&stream["stream"], &stream["rows"]), (&json!(module), &json!(rows)));
    }
    assert_eq!(planned["spent"], json!({"data": 0, "metadata": 0, "counts": 8}), "discovery told the rest");
    context.control("DELETE", "stats", &Value::Null);
    sync(&context, &[]);
    let Charged { data, metadata, polls } = charged(&context);
    assert_eq!(
        json!([data, metadata, polls]),
        json!([planned["credits"]["data"], planned["credits"]["metadata"], 0])
    );
    assert_eq!(data, 4 + 3 + 3 + 2 + 1 + 1 + 1 + 1);
}

#[test]
fn the_plan_of_an_increment_is_what_it_costs() {
    let context = TestContext::new(&[("Leads", 3_000), ("Contacts", 300)]);
    context.catalog(&["Leads", "Contacts", "deleted_records"]);
    let (_, state) = synced(&context, &[]);
    let state = state.to_str().expect("UTF-8");
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 7, "change": 500}));
    let planned = plan(&context, &["--catalog", "catalog.json", "--state", state]);
    context.control("DELETE", "stats", &Value::Null);
    let second = sync(&context, &["--state", state]);
    let read = records(&second.stdout, "Leads").len() as u64;
    assert!(read > 400, "{read} of 500 changes");
    assert_eq!(planned["streams"][0]["rows"], read);
    let data = charged(&context).data;
    assert_eq!(planned["credits"]["data"], data);
    assert!(data <= 4 + 1 + 2 * 2, "{data}");
}

/// What follows a module's own reading is in the plan on the day it is due, and not done right after the
/// module was read whole.
#[test]
fn passes_over_a_whole_module_are_planned_when_they_are_due() {
    for form in ["stream", "mark"] {
        let context = TestContext::new(&[("Everything", 2_001)]);
        context.catalog(&["Everything", "deleted_records"]);
        let settings = json!({"refresh": {"every_hours": 24}, "reconcile": {}, "deleted_records": form});
        context.settings_with("config.json", &settings);
        let first = plan(&context, &["--catalog", "catalog.json"]);
        context.control("DELETE", "stats", &Value::Null);
        let (_, state) = synced(&context, &[]);
        assert_eq!(first["credits"]["data"], charged(&context).data, "{form}");
        context.control("POST", "clock", &json!({"advance_seconds": 31 * 86_400}));
        let args = ["--catalog", "catalog.json", "--state", state.to_str().expect("UTF-8")];
        let due = plan(&context, &args);
        let note = due["streams"][0]["note"].as_str().expect("a note");
        assert!(note.contains("ids are compared, for 4 credits; formulas and rollups"), "{note}");
        context.control("DELETE", "stats", &Value::Null);
        sync(&context, &args[2..]);
        assert_eq!(due["credits"]["data"], charged(&context).data, "{form}: {due:#}");
    }
}

/// A run that ends well, and the state to go on from.
fn synced(context: &TestContext, args: &[&str]) -> (Output, PathBuf) {
    let output = sync(context, args);
    let state = last_state(context, &messages(&output.stdout), "state.json");
    (output, state)
}

#[test]
fn a_stream_without_changes_costs_one_credit_and_no_metadata() {
    let context = TestContext::new(&[("Leads", 300), ("Contacts", 300)]);
    context.catalog(&["Leads", "Contacts"]);
    let (_, state) = synced(&context, &[]);
    let state = state.to_str().expect("UTF-8");
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    context.control("POST", "mutate", &json!({"module": "Contacts", "seed": 7, "change": 30}));
    context.control("DELETE", "stats", &Value::Null);
    let (output, _) = synced(&context, &["--state", state]);
    assert_eq!(
        charged(&context),
        Charged { data: 2, metadata: 1, polls: 0 },
        "a page each, and the fields of what changed"
    );
    assert!(records(&output.stdout, "Leads").is_empty());
    assert!(messages(&output.stdout).iter().any(|m| m["type"] == "SCHEMA" && m["stream"] == "Leads"));
    // No call came before the page, and the bookmark is the server's time all the same.
    let bookmark = |stream: &str| {
        let state: Value = serde_json::from_slice(&fs::read(state).expect("reads")).expect("JSON");
        let time = state["bookmarks"][stream]["replication_key_value"].as_str().expect("a time").to_owned();
        DateTime::parse_from_rfc3339(&time).expect("a time").timestamp()
    };
    let server = chrono::Utc::now().timestamp() + 3_600;
    assert!((server - 20..=server).contains(&bookmark("Leads")), "{} and {server}", bookmark("Leads"));
}

#[test]
fn a_new_field_is_never_late() {
    let context = TestContext::new(&[("Leads", 300)]);
    context.catalog(&["Leads"]);
    let (first, state) = synced(&context, &[]);
    assert!(!properties(&messages(&first.stdout), "Leads").contains(&"Novelty".to_owned()));
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    let field = json!({"module": "Leads", "add": {"api_name": "Novelty", "data_type": "text"}});
    context.control("POST", "fields", &field);
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 7, "change": 30}));
    let (second, _) = synced(&context, &["--state", state.to_str().expect("UTF-8")]);
    let fields = properties(&messages(&second.stdout), "Leads");
    assert!(fields.contains(&"Novelty".to_owned()), "{fields:?}");
    let read = records(&second.stdout, "Leads");
    let truth = context.dump("Leads", &fields);
    assert!(!read.is_empty() && read.iter().all(|row| truth.contains(row)));
}

#[test]
fn a_size_that_is_known_is_not_counted_again() {
    let context = TestContext::new(&[("Leads", 500)]);
    context.catalog(&["Leads"]);
    sync(&context, &[]);
    assert_eq!(
        plan(&context, &["--catalog", "catalog.json"])["spent"]["counts"],
        0,
        "the sync read them all"
    );
    context.control("DELETE", "stats", &Value::Null);
    sync(&context, &[]);
    assert_eq!(charged(&context), Charged { data: 2, metadata: 1, polls: 0 }, "500 rows, their fields");
    // What is remembered is wrong by now, and everything comes all the same.
    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 7, "insert": 2_500}));
    assert_eq!(records(&sync(&context, &[]).stdout, "Leads").len(), 3_000);
}

#[test]
fn a_dear_job_is_not_begun_when_it_cannot_be_paid() {
    let context = TestContext::new(&[("Leads", 300), ("Contacts", 300), ("Deals", 3)]);
    context.catalog(&["Leads", "Contacts"]);
    let capped = json!({"api_credits": {"per_run": 60}, "method": "bulk_read", "max_concurrency": 1});
    let config = context.settings_with("capped.json", &capped);
    context.control("DELETE", "stats", &Value::Null);
    let output = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(5), "{}", context.seen(&output));
    assert_eq!(context.stats()["endpoints"]["POST /crm/bulk/v8/read"]["calls"], 1, "the second is too dear");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\nNot read to the end: "), "{said}");
    assert!(said.contains("the next call costs 50"), "{said}");
    let state = last_state(&context, &messages(&output.stdout), "state.json");
    let rest = sync(&context, &["--state", state.to_str().expect("UTF-8")]);
    let read = |output: &Output| {
        ["Leads", "Contacts"].map(|stream| records(&output.stdout, stream).len()).iter().sum::<usize>()
    };
    assert_eq!((read(&output), read(&rest)), (300, 300), "each stream in one of the runs");
}

#[test]
fn the_reserve_is_left_to_others_and_the_time_is_told() {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 6_000)].into();
        options.limits.daily_credits = Some(100);
    });
    context.catalog(&["Leads"]);
    // Half of the credits are used before Zoho tells what is left; then forty of a hundred are kept.
    let thrifty = json!({"api_credits": {"reserve_percent": 40}, "daily_credits": 100, "method": "records"});
    let config = context.settings_with("thrifty.json", &thrifty);
    let output = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(5), "{}", context.seen(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("are left, 40 of them kept in reserve"), "{said}");
    assert!(said.contains("hint: start again after 20") && said.contains("24 hours after its use"), "{said}");
    assert_eq!(context.stats()["credits"], 60, "and not one more");
}

#[test]
fn a_grant_without_the_scope_for_the_edition_goes_on() {
    let context = TestContext::with(|options| {
        options.rows = [("Leads".to_owned(), 5)].into();
        let scopes = "ZohoCRM.modules.ALL,ZohoCRM.settings.ALL,ZohoCRM.coql.READ,ZohoCRM.bulk.ALL";
        options.orgs[0].scope = Some(scopes.to_owned());
    });
    context.catalog(&["Leads"]);
    let output = sync(&context, &["--log-level", "debug"]);
    assert_eq!(records(&output.stdout, "Leads").len(), 5);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Zoho does not tell the edition"));
    // The settings tell instead.
    context.settings_with("config.json", &json!({"product_edition": "professional", "user_count": 10}));
    let planned = plan(&context, &["--catalog", "catalog.json"]);
    assert_eq!(planned["allowance"]["per_day"], 50_000 + 500 * 10);
}

#[test]
fn polls_are_as_many_as_last_time() {
    let context = TestContext::new(&[("Leads", 30)]);
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"method": "bulk_read"}));
    let polls = |context: &TestContext| {
        plan(context, &["--catalog", "catalog.json"])["credits"]["polls_about"].clone()
    };
    assert_eq!(polls(&context), 10, "a job of a minute");
    context.control("DELETE", "stats", &Value::Null);
    sync(&context, &[]);
    assert_eq!(polls(&context), charged(&context).polls);
}

#[test]
fn what_is_damaged_is_asked_for_again() {
    let context = TestContext::new(&[("Leads", 20)]);
    context.catalog(&["Leads"]);
    let cut = |dir: &Path| {
        let mut files = 0;
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let text = fs::read(&path).expect("reads");
                    fs::write(&path, &text[..text.len() / 2]).expect("writes");
                    files += 1;
                }
            }
        }
        files
    };
    assert!(cut(&context.path("state/known")) > 3);
    let output = sync(&context, &[]);
    assert_eq!(records(&output.stdout, "Leads").len(), 20);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is damaged, it is asked for again"));
    let clean = sync(&context, &[]);
    assert!(!String::from_utf8_lossy(&clean.stderr).contains("damaged"));
}

#[test]
fn a_plan_for_people() {
    let context = TestContext::new(&[("Leads", 40_000), ("Contacts", 512), ("Everything", 10), ("Notes", 7)]);
    context.catalog(&["Leads", "Contacts", "Everything", "Notes", "users", "deleted_records"]);
    let limits = json!({"api_credits": {"per_run": 50, "reserve_percent": 10}});
    context.settings_with("config.json", &limits);
    let output = context.operator(&["plan", "--catalog", "catalog.json"]).output().expect("runs");
    assert_seen("plan", &context.seen(&output));
}
