//! Rejected rows, mended and sent again with `zoho-crm retry`.

use super::context::TestContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Writes rows of which every seventh is bad and Zoho refuses others by chance; mends and retries until none
/// is left. Every row is there once, with its content. How many rounds it took.
pub fn mended_rows_arrive(seed: u64, rows: usize, method: &str) -> usize {
    let key = json!({"api_name": "Key", "data_type": "text", "length": 20, "unique": true, "custom": true});
    let context = TestContext::with(|options| {
        options.seed = seed;
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": [key]}]}));
        options.limits.off = true;
    });
    context.settings_with(
        "config.json",
        &json!({"method": method, "max_rejected": "100%", "streams": {"people": {"module": "Contacts",
            "match_on": ["Key"], "operation": "upsert", "fields": {"id": "Key", "name": "Last_Name", "mail": "Email"}}}}),
    );
    let path = if method == "bulk" { "/crm/bulk/v8/write" } else { "/Contacts" };
    let rule = json!([{"match": {"path_contains": path, "times": 1_000_000}, "action": {"kind": "row_errors", "fraction": 0.1}}]);
    context.control("POST", "faults", &rule);
    let written = context.target().write_stdin(input(rows)).output().expect("runs");
    assert!(written.status.success(), "{}", context.seen(&written));
    for round in 1.. {
        let Some(file) = rejected(&context) else {
            check(&context, rows);
            return round - 1;
        };
        assert!(round < 30, "rows are refused for ever");
        let mended = fs::read_to_string(&file).expect("reads").replace("nobody at", "somebody@");
        fs::remove_dir_all(context.path("state/rejected")).expect("is removed");
        let file = context.path("mended.singer");
        fs::write(&file, mended).expect("writes");
        if round == 3 {
            context.control("DELETE", "faults", &Value::Null);
        }
        let file = file.display().to_string();
        let retried = context.operator(&["retry", &file]).output().expect("runs");
        assert!(retried.status.success(), "{}", context.seen(&retried));
    }
    unreachable!("the rounds end")
}

fn input(rows: usize) -> String {
    let mut text = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"type": "object", "properties": {"id": {}, "name": {}, "mail": {}}}})
    .to_string();
    for row in 0..rows {
        let mail = if row % 7 == 3 { format!("nobody at{row}.test") } else { format!("somebody@{row}.test") };
        let record = json!({"id": format!("k{row}"), "name": format!("Name {row}"), "mail": mail});
        write!(text, "\n{}", json!({"type": "RECORD", "stream": "people", "record": record}))
            .expect("a String takes all");
    }
    text + "\n{\"type\":\"STATE\",\"value\":{}}\n"
}

/// The file of rejected rows that the last run left.
fn rejected(context: &TestContext) -> Option<PathBuf> {
    let files = fs::read_dir(context.path("state/rejected")).ok()?;
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("reads").path()).collect();
    assert!(files.len() <= 1, "{files:?}");
    files.pop()
}

fn check(context: &TestContext, rows: usize) {
    let fields = ["Key", "Last_Name", "Email"].map(str::to_owned);
    let mut found = BTreeMap::new();
    for row in context.dump("Contacts", &fields) {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        assert!(
            found.insert(row["Key"].as_str().map(str::to_owned), row.clone()).is_none(),
            "{row} is there twice"
        );
    }
    assert_eq!(found.len(), rows);
    for number in 0..rows {
        let row = &found[&Some(format!("k{number}"))];
        assert_eq!(row["Last_Name"], format!("Name {number}"));
        assert_eq!(row["Email"], format!("somebody@{number}.test"));
    }
}
