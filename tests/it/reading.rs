//! The table of `docs/reading.md`, walked: the same data by Bulk Read, by COQL, by lists and record by
//! record, compared byte for byte wherever the table says that a way delivers, and another way's work
//! where it says that it does not.

use crate::common::context::{TestContext, messages, properties, records, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use zoho_crm_connector::codec::decode::JsonDecoder;
use zoho_crm_connector::codec::plan::{Column, RecordPlan};
use zoho_crm_connector::codec::value::Kind;
use zoho_crm_connector::zoho::types::Field;

const MODULE: &str = "Everything";
/// The ways in the order of the table's columns, with their labels.
const WAYS: [(&str, &str); 3] = [("bulk_read", "Bulk Read"), ("coql", "COQL"), ("records", "records API")];

/// By row of the table what it calls its fields, and which ways deliver them.
fn table() -> Vec<(String, Vec<bool>)> {
    let text = fs::read_to_string(root().join("docs/reading.md")).expect("reads");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    rows.into_iter()
        .map(|row| (row[0].clone(), row[2..6].iter().map(|cell| cell == "yes").collect()))
        .collect()
}

/// Which row of the table a field belongs to.
fn row_of<'t>(table: &'t [(String, Vec<bool>)], field: &Value) -> &'t [bool] {
    let data_type = field["data_type"].as_str().expect("a type");
    let wanted = match (data_type, field["api_name"].as_str(), field["textarea"]["type"].as_str()) {
        (_, Some("Tag"), _) => "named `Tag`",
        ("textarea", _, Some("rich_text")) => "rich text",
        ("textarea", ..) => "small and large",
        _ => data_type,
    };
    let names = |row: &&(String, Vec<bool>)| {
        row.0.contains(&format!("`{wanted}`")) || (wanted.contains(' ') && row.0.contains(wanted))
    };
    &table.iter().find(names).unwrap_or_else(|| panic!("the table has no row for `{wanted}`")).1
}

/// The module's fields as Zoho tells them, without those that have no value of their own.
fn fields(context: &TestContext) -> Vec<Value> {
    let output = context.operator(&["api", "GET", "/crm/v8/settings/fields?module=Everything"]).output();
    let answer: Value = serde_json::from_slice(&output.expect("runs").stdout).expect("JSON");
    let fields = answer["fields"].as_array().expect("fields").clone();
    fields.into_iter().filter(|field| field["virtual_field"] != true).collect()
}

/// Reads these fields by one way; answers the records and what the summary says.
fn read(context: &TestContext, method: &str, wanted: &BTreeSet<&str>) -> (Vec<String>, Vec<String>, String) {
    let path = context.catalog(&[MODULE]);
    let mut catalog: Value = serde_json::from_slice(&fs::read(&path).expect("reads")).expect("JSON");
    for stream in catalog["streams"].as_array_mut().expect("streams") {
        for entry in stream["metadata"].as_array_mut().expect("metadata") {
            if let Some(name) = entry["breadcrumb"][1].as_str().map(str::to_owned) {
                entry["metadata"]["selected"] = wanted.contains(name.as_str()).into();
            }
        }
    }
    context.write("catalog.json", &catalog);
    let config = context.settings_with("method.json", &serde_json::json!({"method": method}));
    let output = context.tap().arg("--config").arg(config).args(["--catalog", "catalog.json"]).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{method}: {}", context.seen(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    let summary = said.lines().find(|line| line.trim_start().starts_with("Everything ")).unwrap_or_default();
    let names = properties(&messages(&output.stdout), MODULE);
    (records(&output.stdout, MODULE), names, summary.to_owned())
}

#[test]
fn every_way_delivers_what_the_table_says_and_the_same_bytes() {
    let context = TestContext::new(&[(MODULE, 230), ("Accounts", 40)]);
    let (table, fields) = (table(), fields(&context));
    let names = |way: usize, delivered: bool| -> BTreeSet<&str> {
        let by = |field: &&Value| row_of(&table, field)[way] == delivered;
        fields.iter().filter(by).map(|field| field["api_name"].as_str().expect("a name")).collect()
    };
    let mut values: BTreeMap<(String, String), (Value, &str)> = BTreeMap::new();
    for (way, (method, label)) in WAYS.into_iter().enumerate() {
        let (found, columns, summary) = read(&context, method, &names(way, true));
        assert!(summary.ends_with(&format!("by {label}")), "{method} delivers all of these: {summary}");
        if way < 2 {
            assert_eq!(found, context.dump(MODULE, &columns), "{method}");
        }
        for record in &found {
            let record: Value = serde_json::from_str(record).expect("JSON");
            for (name, value) in record.as_object().expect("an object") {
                let id = record["id"].as_str().expect("an id").to_owned();
                let (before, by) = values.entry((id, name.clone())).or_insert((value.clone(), label));
                assert_eq!(before.to_string(), value.to_string(), "{name} by {by} and by {label}");
            }
        }
        let aside = names(way, false);
        if !aside.is_empty() {
            let wanted = aside.iter().copied().chain(["Name"]).collect();
            let (found, _, summary) = read(&context, method, &wanted);
            assert!(
                !summary.ends_with(&format!("by {label}")),
                "{method} delivers one of {aside:?}: {summary}"
            );
            assert_eq!(found.len(), 230, "{method}");
        }
    }
}

#[test]
fn a_single_record_is_the_same_as_one_of_a_list() {
    let context = TestContext::new(&[(MODULE, 12), ("Accounts", 5)]);
    let fields = fields(&context);
    let all: BTreeSet<&str> =
        fields.iter().map(|field| field["api_name"].as_str().expect("a name")).collect();
    let (found, columns, summary) = read(&context, "coql", &all);
    assert!(summary.ends_with("by COQL, records API"), "{summary}");
    let kind = |name: &String| {
        Kind::of(&Field::from_json(fields.iter().find(|it| it["api_name"] == *name).expect("is there")))
    };
    let plan = RecordPlan::new(columns.iter().map(|name| Column::new(name, kind(name))));
    for record in &found {
        let id =
            serde_json::from_str::<Value>(record).expect("JSON")["id"].as_str().expect("an id").to_owned();
        let output =
            context.operator(&["api", "GET", &format!("/crm/v8/{MODULE}/{id}")]).output().expect("runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let single = serde_json::value::to_raw_value(&answer["data"][0]).expect("JSON");
        let mut out = Vec::new();
        JsonDecoder::new(&plan).write(1, &single, &mut out).expect("decodes");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), *record);
    }
}
