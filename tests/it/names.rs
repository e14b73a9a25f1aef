//! Names of what lookups point at (`lookup_names`): the same bytes by every way, under the field policy.

use crate::common::context::{TestContext, messages, properties, records};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

const ROWS: [(&str, u64); 4] = [("Deals", 230), ("Contacts", 40), ("Accounts", 30), ("Everything", 60)];
const WAYS: [&str; 3] = ["bulk_read", "coql", "records"];

/// Discovers with these settings, selects a stream and reads it.
fn sync(context: &TestContext, stream: &str, settings: &Value) -> Output {
    let config = context.settings_with("config.json", settings);
    context.catalog(&[stream]);
    let output = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(output.status.success(), "{settings}: {}", context.seen(&output));
    output
}

fn rows(output: &Output, stream: &str) -> Vec<Value> {
    let rows = records(&output.stdout, stream);
    rows.iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

/// What each record of a module is shown by, from the emulator's truth.
fn shown(context: &TestContext, module: &str, field: &str) -> BTreeMap<String, Value> {
    let truth = context.dump(module, &["id".to_owned(), field.to_owned()]);
    let rows = truth.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    rows.map(|row| (row["id"].as_str().expect("an id").to_owned(), row[field].clone())).collect()
}

/// The same of the users.
fn last_names(context: &TestContext) -> BTreeMap<String, Value> {
    let users = rows(&sync(context, "users", &json!({})), "users");
    users
        .iter()
        .map(|user| (user["id"].as_str().expect("an id").to_owned(), user["last_name"].clone()))
        .collect()
}

/// Holds the names of a lookup against the truth; answers how many there are.
fn named(rows: &[Value], (id, name): (&str, &str), truth: &BTreeMap<String, Value>, about: &str) -> usize {
    let expected = |row: &Value| row[id].as_str().map_or(Value::Null, |id| truth[id].clone());
    for row in rows {
        assert_eq!(row[name], expected(row), "{name} by {about}: {row}");
    }
    rows.iter().filter(|row| row[name].is_string()).count()
}

#[test]
fn every_way_brings_the_same_names() {
    let context = TestContext::new(&ROWS);
    let (accounts, contacts) =
        (shown(&context, "Accounts", "Account_Name"), shown(&context, "Contacts", "Full_Name"));
    let users = last_names(&context);
    let mut first: Option<Vec<String>> = None;
    for method in WAYS {
        let output = sync(&context, "Deals", &json!({"lookup_names": true, "method": method}));
        let rows = rows(&output, "Deals");
        for (lookup, truth) in [
            (("Account_Name", "Account_Name__name"), &accounts),
            (("Contact_Name", "Contact_Name__name"), &contacts),
            (("Owner", "Owner__last_name"), &users),
        ] {
            assert!(named(&rows, lookup, truth, method) > 20, "{lookup:?} by {method}");
        }
        let lines = records(&output.stdout, "Deals");
        assert_eq!(lines.len(), 230);
        assert_eq!(first.get_or_insert_with(|| lines.clone()), &lines, "{method}");
    }
}

#[test]
fn names_stand_next_to_their_lookups_and_only_where_asked_for() {
    let context = TestContext::new(&ROWS);
    let output = sync(&context, "Everything", &json!({"lookup_names": true, "method": "bulk_read"}));
    let said = String::from_utf8_lossy(&output.stderr);
    let summary = said.lines().find(|line| line.trim_start().starts_with("Everything ")).unwrap_or_default();
    assert!(summary.ends_with("by Bulk Read"), "names of custom modules, accounts and users: {said}");
    let properties_of = |output: &Output| properties(&messages(&output.stdout), "Everything");
    let with = properties_of(&output);
    let at = |name: &str| with.iter().position(|it| it == name).unwrap_or_else(|| panic!("{name}: {with:?}"));
    assert_eq!(at("Lookup_1__name"), at("Lookup_1") + 1);
    assert_eq!(at("User_1__last_name"), at("User_1") + 1);
    let schema =
        messages(&output.stdout).into_iter().find(|message| message["type"] == "SCHEMA").expect("one");
    let property = &schema["schema"]["properties"]["User_1__last_name"];
    assert_eq!(property["type"], json!(["null", "string"]));
    assert!(property["title"].as_str().is_some_and(|title| title.ends_with(" (last name)")), "{property}");
    let without = properties_of(&sync(&context, "Everything", &json!({})));
    let bare: Vec<String> = with.iter().filter(|name| !name.contains("__")).cloned().collect();
    assert_eq!(without, bare);
    // Deselected with its lookup, or by itself.
    let config = context.settings_with("config.json", &json!({"lookup_names": true}));
    let mut catalog: Value =
        serde_json::from_slice(&fs::read(context.catalog(&["Everything"])).expect("reads")).expect("JSON");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        for entry in stream["metadata"].as_array_mut().expect("metadata") {
            if ["Lookup_1", "User_1__last_name"].iter().any(|name| entry["breadcrumb"][1] == *name) {
                entry["metadata"]["selected"] = false.into();
            }
        }
    }
    context.write("catalog.json", &catalog);
    let output = context.tap_with(&config).args(["--catalog", "catalog.json"]).output().expect("runs");
    let left = properties_of(&output);
    for gone in ["Lookup_1", "Lookup_1__name", "User_1__last_name"] {
        assert!(!left.iter().any(|name| name == gone), "{gone}: {left:?}");
    }
    assert!(left.iter().any(|name| name == "User_1"), "{left:?}");
}

#[test]
fn a_name_that_files_refuse_comes_by_queries() {
    let too_many = json!({"match": {"method": "POST", "path_contains": "/bulk/v8/read", "times": 1},
        "action": {"kind": "status", "status": 400, "code": "JOIN_LIMIT_EXCEEDED"}});
    let context = TestContext::with(|options| {
        options.rows = ROWS.map(|(module, rows)| (module.to_owned(), rows)).into();
        options.switches.bulk_read_refused_fields = ["Account_Name.Account_Name".to_owned()].into();
    });
    let accounts = shown(&context, "Accounts", "Account_Name");
    let lookup = ("Account_Name", "Account_Name__name");
    let settings = json!({"lookup_names": true, "method": "bulk_read"});
    named(&rows(&sync(&context, "Deals", &settings), "Deals"), lookup, &accounts, "a refused column");
    context.control("POST", "faults", &too_many);
    let found = rows(&sync(&context, "Deals", &settings), "Deals");
    assert_eq!(found.len(), 230);
    assert!(named(&found, lookup, &accounts, "too many parents") > 20);
}

#[test]
fn modules_that_only_lists_read_go_without_the_names_of_users() {
    let context = TestContext::new(&[("Notes", 20), ("Leads", 5)]);
    let output = sync(&context, "Notes", &json!({"lookup_names": true}));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Owner__last_name") && said.contains("only lists read this module"), "{said}");
    let rows = rows(&output, "Notes");
    assert!(rows.len() == 20 && rows.iter().all(|row| row.get("Owner__last_name").is_none()));
}

#[test]
fn what_is_kept_back_of_a_lookup_or_its_parent_is_kept_back_of_the_name() {
    let context = TestContext::new(&ROWS);
    let rules = json!([
        {"streams": ["Deals"], "fields": ["Account_Name"], "action": "hash"},
        {"streams": ["Deals"], "fields": ["Owner"], "action": "exclude"},
        {"streams": ["Contacts"], "fields": ["Last_Name"], "action": "mask"},
        {"streams": ["users"], "fields": ["full_name"], "action": "exclude"},
    ]);
    for method in WAYS {
        let settings = json!({"lookup_names": true, "method": method, "field_policy": rules,
            "field_policy_key": "a key of the company's own"});
        let output = sync(&context, "Deals", &settings);
        let names = properties(&messages(&output.stdout), "Deals");
        assert!(!names.iter().any(|name| name.ends_with("__last_name")), "{method}: {names:?}");
        for row in rows(&output, "Deals") {
            let (account, contact) = (&row["Account_Name__name"], &row["Contact_Name__name"]);
            assert!(account.is_null() || account.as_str().is_some_and(|hash| hash.len() == 64), "{row}");
            assert!(contact.is_null() || contact == "***", "{row}");
        }
        let seen = context.seen(&output);
        for name in shown(&context, "Accounts", "Account_Name").values().filter_map(Value::as_str) {
            assert!(!seen.contains(&format!("\"Account_Name__name\":\"{name}\"")), "{name} by {method}");
        }
    }
}
