//! Northwind's customers, as a third-party tap wrote them, into Accounts and Contacts and out again.
//!
//! `tests/data/northwind/customers.singer` is what tap-postgres prints; the CSV beside it is the truth.
//! `make test-interop` does the same from a PostgreSQL.

use crate::common::context::{TestContext, messages, records, root};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const STREAM: &str = "public-customers";
const MODULES: [&str; 2] = ["Accounts", "Contacts"];

/// A record of a module by its `Northwind_Id`.
type Rows = BTreeMap<String, Value>;

fn sample(name: &str) -> PathBuf {
    root().join("sample_configs/northwind").join(name)
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON")
}

fn context() -> TestContext {
    TestContext::with(|options| options.schema = Some(json_file(&sample("schema.json"))))
}

/// The fields of the sample mapping: property, field, whether it is the account's key.
fn mapping(module: &str) -> Vec<(String, String, bool)> {
    let config = json_file(&sample("target.json"));
    let targets = config["streams"][STREAM].as_array().expect("a list").clone();
    let target = targets.into_iter().find(|target| target["module"] == module).expect("is mapped");
    let mut fields = Vec::new();
    for (property, to) in target["fields"].as_object().expect("an object") {
        let list = to.as_array().cloned().unwrap_or_else(|| vec![to.clone()]);
        fields.extend(list.iter().map(|to| match to.as_str() {
            Some(field) => (property.clone(), field.to_owned(), false),
            None => (property.clone(), to["to"].as_str().expect("a name").to_owned(), true),
        }));
    }
    fields
}

/// The CSV rows; an empty cell is a null.
fn customers() -> Vec<BTreeMap<String, Value>> {
    let path = root().join("tests/data/northwind/customers.csv");
    let mut reader = csv::Reader::from_path(path).expect("opens");
    let cell =
        |(name, value): (String, String)| (name, if value.is_empty() { Value::Null } else { value.into() });
    reader
        .deserialize()
        .map(|row| row.map(|row: BTreeMap<_, _>| row.into_iter().map(cell).collect()).expect("a row"))
        .collect()
}

/// What `target < customers.singer` wrote to stdout and stderr.
fn load(context: &TestContext) -> (String, String) {
    let mut target = context.target();
    target.arg("--config").arg(sample("target.json")).arg("--config").arg(context.path("method.json"));
    let output =
        target.pipe_stdin(root().join("tests/data/northwind/customers.singer")).expect("reads").output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    (String::from_utf8(output.stdout).expect("UTF-8"), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn by_key<'a>(rows: impl IntoIterator<Item = &'a String>) -> Rows {
    let rows: Vec<Value> = rows.into_iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let count = rows.len();
    let found: Rows =
        rows.into_iter().map(|row| (row["Northwind_Id"].as_str().expect("a key").to_owned(), row)).collect();
    assert_eq!(found.len(), count, "no key twice");
    found
}

/// What the emulator holds.
fn dumped(context: &TestContext, module: &str) -> Rows {
    let mut fields: Vec<String> = mapping(module).into_iter().map(|(_, field, _)| field).collect();
    fields.push("id".to_owned());
    by_key(&context.dump(module, &fields))
}

/// What our own tap reads.
fn tapped(context: &TestContext) -> [Rows; 2] {
    context.catalog(&MODULES);
    let output = context.tap().args(["--catalog", "catalog.json"]).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    assert!(messages(&output.stdout).iter().any(|message| message["type"] == "STATE"));
    MODULES.map(|module| by_key(&records(&output.stdout, module)))
}

fn compare(module: &str, found: &Rows, accounts: &Rows, from: &str) {
    let rows = customers();
    assert_eq!(found.len(), rows.len(), "rows of {module} by {from}");
    for row in &rows {
        let key = row["Id"].as_str().expect("a key");
        for (property, field, is_account) in mapping(module) {
            let expected = if is_account { &accounts[key]["id"] } else { &row[&property] };
            assert_eq!(&found[key][&field], expected, "{module} {key}, `{field}` by {from}");
        }
    }
}

#[test]
fn every_value_arrives_once_however_often_it_is_loaded() {
    for method in ["auto", "bulk"] {
        let context = context();
        context.write("method.json", &json!({"method": method}));
        let mut ids = None;
        for words in ["91 inserted", "91 updated"] {
            let (stdout, stderr) = load(&context);
            assert_eq!(stdout, "{\"bookmarks\":{\"public-customers\":{}}}\n");
            assert_eq!(stderr.matches(words).count(), 2, "`{words}` for both modules by {method}:\n{stderr}");
            let [accounts, contacts] = MODULES.map(|module| dumped(&context, module));
            compare("Accounts", &accounts, &accounts, "the emulator");
            compare("Contacts", &contacts, &accounts, "the emulator");
            let now: Vec<Value> =
                accounts.values().chain(contacts.values()).map(|row| row["id"].clone()).collect();
            assert_eq!(*ids.get_or_insert(now.clone()), now, "the records stay the same ones");
        }
        let [accounts, contacts] = tapped(&context);
        compare("Accounts", &accounts, &accounts, "the tap");
        compare("Contacts", &contacts, &accounts, "the tap");
    }
}
