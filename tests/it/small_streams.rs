//! Streams of what no module holds, and of the rows behind fields.

use crate::common::context::TestContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What the tap writes for these streams, by stream.
fn records(context: &TestContext, streams: &[&str]) -> BTreeMap<String, Vec<Value>> {
    by_catalog(context, &context.catalog(streams))
}

fn by_catalog(context: &TestContext, catalog: &Path) -> BTreeMap<String, Vec<Value>> {
    let output = context.tap().arg("--catalog").arg(catalog).assert().success().get_output().clone();
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let message: Value = serde_json::from_str(line).expect("JSON");
        if message["type"] == "RECORD" {
            let stream = message["stream"].as_str().expect("a name").to_owned();
            found.entry(stream).or_default().push(message["record"].clone());
        }
    }
    found
}

fn listed(context: &TestContext) -> Vec<String> {
    let output = context.tap().arg("--discover").assert().success().get_output().clone();
    let catalog: Value = serde_json::from_slice(&output.stdout).expect("a catalog");
    let streams = catalog["streams"].as_array().expect("streams").iter();
    streams.filter_map(|stream| stream["tap_stream_id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn currencies_are_listed_where_the_organisation_has_several() {
    assert!(!listed(&TestContext::new(&[])).contains(&"currencies".to_owned()));
    let context = TestContext::with(|options| options.switches.multi_currency = true);
    assert!(listed(&context).contains(&"currencies".to_owned()));
    let found = records(&context, &["currencies"]);
    assert_eq!(found["currencies"].len(), 4);
    assert_eq!(found["currencies"][2]["exchange_rate"].to_string(), "0.66120045");
    assert_eq!(
        (&found["currencies"][0]["is_base"], &found["currencies"][3]["is_active"]),
        (&json!(true), &json!(false))
    );
}

#[test]
fn what_the_token_may_not_see_is_skipped_by_name() {
    let context = TestContext::with(|options| options.switches.multi_currency = true);
    let catalog = context.catalog(&["currencies", "users"]);
    context.control("POST", "switches", &json!({"multi_currency": false}));
    let assert = context.tap().arg("--catalog").arg(catalog).assert().success();
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("currencies") && said.contains("CURRENCIES_NOT_ENABLED"), "{said}");
}

#[test]
fn settings_hang_on_the_modules_that_are_selected() {
    let context = TestContext::with(|options| {
        options.switches.territories = true;
        options.rows = [("Leads".to_owned(), 60), ("Deals".to_owned(), 5)].into();
    });
    let streams =
        ["Leads", "Deals", "Everything_Lines", "layouts", "pipelines", "tags", "territories", "attachments"];
    let found = records(&context, &streams);
    let of = |stream: &str, key: &str| -> Vec<String> {
        found[stream].iter().filter_map(|record| record[key].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(of("layouts", "module"), ["Leads", "Deals"]);
    assert_eq!(of("territories", "name"), ["Zylker", "EMEA", "Asie-Pacifique"]);
    assert_eq!(of("pipelines", "actual_value"), ["Standard", "Enterprise"]);
    assert_eq!(of("pipelines", "layout")[0], of("layouts", "id")[1]);
    assert!(found["pipelines"][0]["maps"].as_array().is_some_and(|stages| stages.len() > 5));
    assert!(
        of("tags", "module").contains(&"Leads".to_owned()) && of("tags", "name").contains(&"VIP".to_owned())
    );
    let leads: Vec<String> = of("Leads", "id");
    for attachment in &found["attachments"] {
        assert!(attachment["file_id"].is_string() && attachment["Size"].is_u64(), "{attachment}");
        let parent = attachment["Parent_Id"].as_str().expect("an id").to_owned();
        assert!(attachment["module"] != "Leads" || leads.contains(&parent), "{attachment}");
    }
}

#[test]
fn rows_behind_fields_come_with_the_records_they_belong_to() {
    let rows = [
        ("Everything", 10),
        ("Products", 5),
        ("Everything_Lines", 30),
        ("Everything_X_Products", 8),
        ("Everything_X_Users", 6),
        ("Quotes", 4),
        ("Quoted_Items", 9),
    ];
    let context = TestContext::new(&rows);
    let mut catalog: Value = serde_json::from_str(
        &std::fs::read_to_string(context.catalog(&[
            "Everything_Lines",
            "Everything_X_Products",
            "Everything_X_Users",
            "Quoted_Items",
        ]))
        .expect("reads"),
    )
    .expect("JSON");
    // Nothing is selected but what cannot be left out.
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        for metadata in stream["metadata"].as_array_mut().expect("metadata") {
            if metadata["breadcrumb"].as_array().is_some_and(|at| at.len() == 2) {
                metadata["metadata"]["selected"] = false.into();
            }
        }
    }
    let catalog = context.write("bare.json", &catalog);
    let mut found = by_catalog(&context, &catalog);
    for (stream, keys) in [
        ("Everything_Lines", "id,Parent_Id,Modified_Time"),
        ("Quoted_Items", "id,Parent_Id,Modified_Time"),
        ("Everything_X_Products", "id,Everything,Products"),
        ("Everything_X_Users", "id,Everything,User"),
    ] {
        let truth = context.dump(stream, &keys.split(',').map(str::to_owned).collect::<Vec<_>>());
        let mut got = found.remove(stream).unwrap_or_default();
        got.sort_by_key(|record| record["id"].to_string());
        assert_eq!(got.len(), truth.len(), "{stream}");
        for (got, truth) in got.iter().zip(&truth) {
            let truth: Value = serde_json::from_str(truth).expect("JSON");
            for key in keys.split(',') {
                assert_eq!(got[key], truth[key], "{stream} {got}");
            }
        }
    }
}
