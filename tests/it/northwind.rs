//! Northwind's customers, as a third-party tap wrote them, into Accounts and Contacts and out again.
//!
//! `tests/data/northwind/customers.singer` is what tap-postgres prints; the CSV beside it is the truth.
//! `make test-interop` does the same from a PostgreSQL. The whole company, five streams into six modules and
//! a subform, is loaded from the CSV files.

use crate::common::context::{TestContext, messages, records, root};
use serde_json::{Map, Value, json};
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

/// The tables, parents first, and the fields of each that are numbers.
const TABLES: [(&str, &[&str]); 5] = [
    ("categories", &[]),
    ("suppliers", &[]),
    ("customers", &[]),
    ("products", &["UnitPrice", "UnitsInStock", "UnitsOnOrder", "ReorderLevel"]),
    ("orders", &["Freight"]),
];

/// The rows of a table; an empty cell is a null.
fn table(name: &str, numbers: &[&str]) -> Vec<Map<String, Value>> {
    let path = root().join("tests/data/northwind").join(format!("{name}.csv"));
    let mut reader = csv::Reader::from_path(path).expect("opens");
    let headers = reader.headers().expect("a header").clone();
    let cell = |(name, text): (&str, &str)| {
        let value = match text {
            "" => Value::Null,
            text if numbers.contains(&name) => serde_json::from_str(text).expect("a number"),
            text => text.into(),
        };
        (name.to_owned(), value)
    };
    let row = |row: csv::StringRecord| headers.iter().zip(row.iter()).map(cell).collect();
    reader.records().map(|record| row(record.expect("a row"))).collect()
}

/// All of Northwind as Singer messages; an order holds its details, in whatever order they are in.
fn company() -> String {
    let mut details: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in table("order_details", &["UnitPrice", "Quantity", "Discount"]) {
        details.entry(row["OrderId"].as_str().expect("a key").to_owned()).or_default().push(row.into());
    }
    let mut text = String::new();
    for (name, numbers) in TABLES {
        let stream = format!("public-{name}");
        let mut rows = table(name, numbers);
        if name == "orders" {
            for row in &mut rows {
                let lines = details.remove(row["Id"].as_str().expect("a key")).unwrap_or_default();
                row.insert("Details".into(), lines.into());
            }
        }
        let properties: Map<String, Value> = rows[0].keys().map(|name| (name.clone(), json!({}))).collect();
        text += &json!({"type": "SCHEMA", "stream": stream, "key_properties": ["Id"],
            "schema": {"type": "object", "properties": properties}})
        .to_string();
        text.push('\n');
        for row in rows {
            text += &json!({"type": "RECORD", "stream": stream, "record": row}).to_string();
            text.push('\n');
        }
    }
    assert!(details.is_empty(), "every detail has its order");
    text + "{\"type\":\"STATE\",\"value\":{\"done\":true}}\n"
}

fn load_company(context: &TestContext, config: &Path) -> String {
    let mut target = context.target();
    target.arg("--config").arg(config).write_stdin(company());
    let output = target.output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// Rows of the emulator by key.
fn held(context: &TestContext, module: &str, fields: &str) -> Rows {
    let fields: Vec<String> = fields.split(' ').map(str::to_owned).collect();
    by_key(&context.dump(module, &fields))
}

const ALL: [(&str, &str); 7] = [
    ("Categories", "id Northwind_Id Name Description"),
    ("Vendors", "id Northwind_Id Vendor_Name Contact Street City State Zip_Code Country Phone"),
    ("Accounts", "id Northwind_Id Account_Name Billing_Street Billing_City Phone Fax"),
    ("Contacts", "id Northwind_Id Account_Name Last_Name Title"),
    (
        "Products",
        "id Northwind_Id Product_Name Vendor_Name Category Quantity_per_Unit Unit_Price Qty_in_Stock Units_on_Order Reorder_Level",
    ),
    (
        "Orders",
        "id Northwind_Id Name Customer Order_Date Required_Date Shipped_Date Freight Ship_Name Ship_Street Ship_City Ship_State Ship_Code Ship_Country",
    ),
    ("Order_Lines", "id Northwind_Id Parent_Id Product Unit_Price Quantity Discount"),
];

fn all_held(context: &TestContext) -> BTreeMap<&'static str, Rows> {
    ALL.into_iter().map(|(module, fields)| (module, held(context, module, fields))).collect()
}

/// Compares a table with a module: `pairs` are property and field, `parents` also the parent's module.
fn same(
    all: &BTreeMap<&str, Rows>,
    name: &str,
    numbers: &[&str],
    module: &str,
    pairs: &[(&str, &str)],
    parents: &[(&str, &str, &str)],
) {
    let rows = table(name, numbers);
    assert_eq!(all[module].len(), rows.len(), "rows of {module}");
    for row in &rows {
        let key = row["Id"].as_str().expect("a key");
        let found = &all[module][key];
        for (property, field) in pairs {
            let (found, expected) = (&found[*field], &row[*property]);
            let equal = match (found, expected) {
                (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
                _ => found == expected,
            };
            assert!(equal, "{module} {key}: `{field}` is {found}, not {expected}");
        }
        for (property, field, parent) in parents {
            let expected = &all[parent][row[*property].as_str().expect("a key")]["id"];
            assert_eq!(&found[*field], expected, "{module} {key}: `{field}`");
        }
    }
}

#[test]
fn the_company_is_loaded_with_one_config_for_few_credits() {
    let context = context();
    let config = sample("target.json");
    let said = load_company(&context, &config);
    let credits = context.stats()["credits"].as_u64().expect("a number");
    assert!(credits <= 200, "{credits} credits, {}\n{said}", context.stats());
    let all = all_held(&context);
    same(
        &all,
        "categories",
        &[],
        "Categories",
        &[("CategoryName", "Name"), ("Description", "Description")],
        &[],
    );
    same(
        &all,
        "suppliers",
        &[],
        "Vendors",
        &[("CompanyName", "Vendor_Name"), ("ContactName", "Contact"), ("Phone", "Phone")],
        &[],
    );
    same(&all, "customers", &[], "Accounts", &[("CompanyName", "Account_Name"), ("Fax", "Fax")], &[]);
    same(
        &all,
        "customers",
        &[],
        "Contacts",
        &[("ContactName", "Last_Name")],
        &[("Id", "Account_Name", "Accounts")],
    );
    same(
        &all,
        "products",
        TABLES[3].1,
        "Products",
        &[("ProductName", "Product_Name"), ("UnitPrice", "Unit_Price"), ("UnitsOnOrder", "Units_on_Order")],
        &[("SupplierId", "Vendor_Name", "Vendors"), ("CategoryId", "Category", "Categories")],
    );
    let dates =
        [("OrderDate", "Order_Date"), ("RequiredDate", "Required_Date"), ("ShippedDate", "Shipped_Date")];
    let order =
        [&dates[..], &[("Freight", "Freight"), ("ShipName", "Ship_Name"), ("ShipPostalCode", "Ship_Code")]]
            .concat();
    same(&all, "orders", &["Freight"], "Orders", &order, &[("CustomerId", "Customer", "Accounts")]);
    same(
        &all,
        "order_details",
        &["UnitPrice", "Quantity", "Discount"],
        "Order_Lines",
        &[("UnitPrice", "Unit_Price"), ("Quantity", "Quantity"), ("Discount", "Discount")],
        &[("OrderId", "Parent_Id", "Orders"), ("ProductId", "Product", "Products")],
    );
    load_company(&context, &config);
    assert_eq!(all_held(&context), all, "loading it again changes nothing, no line is there twice");
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let context = context();
    let mut config = json_file(&sample("target.json"));
    for target in config["streams"].as_object_mut().expect("an object").values_mut() {
        let targets: Vec<&mut Value> = match target {
            Value::Array(targets) => targets.iter_mut().collect(),
            one => vec![one],
        };
        targets.into_iter().for_each(|target| target["only_changed"] = true.into());
    }
    let config = context.write("only_changed.json", &config);
    load_company(&context, &config);
    let writes = |context: &TestContext| -> u64 {
        let stats = context.stats();
        let endpoints = stats["endpoints"].as_object().expect("an object").clone();
        let is_write =
            |name: &str| !name.starts_with("GET") && !name.contains("oauth") && !name.contains("coql");
        endpoints
            .iter()
            .filter(|(name, _)| is_write(name))
            .map(|(_, one)| one["calls"].as_u64().unwrap_or(0))
            .sum()
    };
    let before = writes(&context);
    let said = load_company(&context, &config);
    assert_eq!(writes(&context), before, "{said}\n{}", context.stats());
    assert!(said.contains("830 unchanged"), "{said}");
}
