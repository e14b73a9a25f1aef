//! What RESULTs claim, held against the store, while Zoho refuses rows by chance.

use super::context::TestContext;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Every operation by both paths.
pub const WAYS: [(&str, &str); 6] = [
    ("insert", "records"),
    ("insert", "bulk"),
    ("update", "records"),
    ("update", "bulk"),
    ("upsert", "records"),
    ("upsert", "bulk"),
];

fn input(rows: usize, keys: &[&str], name: &str) -> String {
    let mut text = json!({"type": "SCHEMA", "stream": "people", "key_properties": keys,
        "schema": {"type": "object", "properties": {"id": {}, "name": {}}}})
    .to_string();
    for row in 0..rows {
        write!(text, "\n{{\"type\":\"RECORD\",\"stream\":\"people\",\"record\":{{\"id\":\"{row}\",\"name\":\"{name} {row}\"}}}}")
            .expect("a String takes all");
    }
    text + "\n{\"type\":\"STATE\",\"value\":{}}\n"
}

fn settings(context: &TestContext, operation: &str, method: &str) -> std::path::PathBuf {
    let mut target = json!({"module": "Contacts", "operation": operation,
        "fields": {"id": "Northwind_Id", "name": "Last_Name"}});
    if operation != "insert" {
        target["match_on"] = json!(["Northwind_Id"]);
    }
    let results = context.path("results.jsonl");
    context.settings_with(
        "claims.json",
        &json!({"method": method, "at_least_once": true, "max_rejected": "100%",
        "results": results, "streams": {"people": target}}),
    )
}

/// An emulator with a unique field that tells the rows apart.
pub fn context() -> TestContext {
    let key = json!({"api_name": "Northwind_Id", "data_type": "text", "length": 20, "unique": true, "custom": true});
    TestContext::with(|options| {
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": [key]}]}));
    })
}

fn write(context: &TestContext, config: &std::path::Path, text: &str) {
    std::fs::write(context.path("people.singer"), text).expect("writes");
    let mut target = context.target();
    let output = target
        .arg("--config")
        .arg(config)
        .arg("--input")
        .arg(context.path("people.singer"))
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
}

/// Writes rows of which Zoho refuses a fifth, and compares every RESULT with the store.
pub fn hold(operation: &str, method: &str, rows: usize) -> String {
    let context = context();
    let config = settings(&context, operation, method);
    // Some are there before: all for an update, every other one for an upsert.
    let there = |row: usize| operation == "update" || operation == "upsert" && row.is_multiple_of(2);
    if operation != "insert" {
        let before = settings(&context, "upsert", method);
        let all = input(rows, &["id"], "old");
        let kept = all.lines().enumerate().filter(|(line, _)| *line == 0 || *line > rows || there(line - 1));
        write(&context, &before, &kept.map(|(_, line)| format!("{line}\n")).collect::<String>());
    }
    let config = if operation == "insert" { config } else { settings(&context, operation, method) };
    let path = if method == "bulk" { "/crm/bulk/v8/write" } else { "/Contacts" };
    let rule = json!([{"match": {"path_contains": path, "times": 1_000_000}, "action": {"kind": "row_errors", "fraction": 0.2}}]);
    context.control("POST", "faults", &rule);
    let keys: &[&str] = if operation == "insert" { &[] } else { &["id"] };
    write(&context, &config, &input(rows, keys, "new"));
    let names = context.dump("Contacts", &["Northwind_Id".to_owned(), "Last_Name".to_owned()]);
    let mut store: HashMap<String, String> = HashMap::new();
    for record in names {
        let record: Value = serde_json::from_str(&record).expect("JSON");
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        assert!(store.insert(text("Northwind_Id"), text("Last_Name")).is_none(), "{record} is there twice");
    }
    let results = std::fs::read_to_string(context.path("results.jsonl")).expect("reads");
    let (mut told, mut refused, mut codes) = (0, 0, std::collections::BTreeSet::new());
    for (row, line) in results.lines().enumerate() {
        let result: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(result["line"].as_u64(), Some(row as u64 + 2), "one RESULT a row, in input order");
        told += 1;
        let good = result["success"] == true;
        refused += usize::from(!good);
        codes.extend(result["code"].as_str().map(str::to_owned));
        let expected = match (good, there(row)) {
            (true, _) => Some(format!("new {row}")),
            (false, true) => Some(format!("old {row}")),
            (false, false) => None,
        };
        assert_eq!(store.get(&row.to_string()), expected.as_ref(), "{operation} by {method}: {result}");
    }
    assert_eq!(told, rows);
    assert!(refused > rows / 10 && codes.len() > 5, "{refused} refused with {codes:?}");
    format!(
        "{operation} by {method}: {rows} rows, {refused} refused with {} codes, the store is as told",
        codes.len()
    )
}
