//! Modules of any width, read by one way and compared with the emulator's truth.

use super::context::{TestContext, messages, properties, records};
use serde_json::{Value, json};
use std::process::Output;
use zoho_crm_connector::emulator::Options;

/// A schema file with the module `Wide` of so many fields, `id` included, of every type that has a
/// column of its own.
pub fn schema(width: usize) -> Value {
    let own = |at: usize| {
        let name = format!("F_{at}");
        match at % 14 {
            0 => json!({"api_name": name, "data_type": "textarea", "textarea": "large", "length": 2000}),
            1 => json!({"api_name": name, "data_type": "currency", "length": 16, "decimal_place": 9}),
            2 => json!({"api_name": name, "data_type": "datetime"}),
            3 => json!({"api_name": name, "data_type": "picklist", "pick_list": ["A", "B, c", "\u{56db}"]}),
            4 => {
                json!({"api_name": name, "data_type": "multiselectpicklist", "pick_list": ["A", "B, c", "D"]})
            }
            5 => json!({"api_name": name, "data_type": "boolean"}),
            6 => json!({"api_name": name, "data_type": "date"}),
            7 => json!({"api_name": name, "data_type": "lookup", "lookup": "Accounts"}),
            8 => json!({"api_name": name, "data_type": "integer", "length": 9}),
            9 => json!({"api_name": name, "data_type": "bigint", "length": 18}),
            10 => json!({"api_name": name, "data_type": "userlookup"}),
            11 => json!({"api_name": name, "data_type": "double", "length": 16, "decimal_place": 9}),
            12 => json!({"api_name": name, "data_type": "email", "length": 100}),
            _ => json!({"api_name": name, "data_type": "text", "length": 60}),
        }
    };
    // `id`, `Created_Time`, `Modified_Time` and `Name` are the first four.
    let name = json!({"api_name": "Name", "data_type": "text", "length": 120, "mandatory": true});
    let fields: Vec<Value> = std::iter::once(name).chain((4..width).map(own)).collect();
    json!({"modules": [{"api_name": "Wide", "fields": fields,
        "system_fields": ["id", "Created_Time", "Modified_Time"]}]})
}

/// An emulator with so many rows of so many fields.
pub fn context(seed: u64, width: usize, rows: u64, change: impl FnOnce(&mut Options)) -> TestContext {
    TestContext::with(|options| {
        options.seed = seed;
        options.schema = Some(schema(width));
        options.rows = [("Wide".to_owned(), rows), ("Accounts".to_owned(), 50)].into();
        options.limits.off = true;
        change(options);
    })
}

/// Reads the module by one way.
pub fn read(context: &TestContext, method: &str) -> Output {
    read_selected(context, method, |_| {})
}

/// Reads the module by one way, from a changed catalog.
pub fn read_selected(context: &TestContext, method: &str, change: impl FnOnce(&mut Value)) -> Output {
    let path = context.catalog(&["Wide"]);
    let mut catalog = serde_json::from_slice(&std::fs::read(&path).expect("reads")).expect("JSON");
    change(&mut catalog);
    context.write("catalog.json", &catalog);
    let config = context.settings_with("method.json", &json!({"method": method}));
    let output = context.tap().arg("--config").arg(config).args(["--catalog", "catalog.json"]).output();
    let output = output.expect("runs");
    assert!(output.status.success(), "{method}: {}", context.seen(&output));
    output
}

/// Holds what came out against the emulator's dump, byte for byte.
pub fn equals(context: &TestContext, output: &Output, width: usize, about: &str) {
    let fields = properties(&messages(&output.stdout), "Wide");
    assert_eq!(fields.len(), width, "{about}");
    let (found, truth) = (records(&output.stdout, "Wide"), context.dump("Wide", &fields));
    assert_eq!(found.len(), truth.len(), "{about}");
    for (found, truth) in found.iter().zip(&truth) {
        assert_eq!(found, truth, "{about}");
    }
}
