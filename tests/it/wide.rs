//! Modules that no single reading brings whole: column slices, through the front door.

use crate::common::context::{messages, properties, records};
use crate::common::wide::{context, equals, read, read_selected};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[test]
fn modules_of_any_width_come_whole_by_each_way() {
    for width in [5, 51, 201] {
        let context = context(1, width, 450, |_| {});
        for method in ["coql", "records", "bulk_read"] {
            equals(&context, &read(&context, method), width, &format!("{width} fields by {method}"));
        }
    }
}

#[test]
fn a_server_with_fewer_columns_a_query_is_learned_once() {
    let context = context(2, 120, 2_500, |options| options.switches.coql_columns = 50);
    equals(&context, &read(&context, "coql"), 120, "50 columns a query");
    let stats: Value = context.stats();
    let calls = stats["endpoints"]["POST /crm/v8/coql"]["calls"].clone();
    // One refused; three slices of three pages each, because nobody counted.
    assert_eq!(calls, json!(1 + 3 * 3), "{stats}");
}

#[test]
fn files_of_several_slices_meet_at_the_edges_of_their_windows() {
    let context = context(3, 210, 1_100, |options| options.switches.bulk_read_page_size = 400);
    equals(&context, &read(&context, "bulk_read"), 210, "three windows of two slices");
    let stats: Value = context.stats();
    assert_eq!(stats["endpoints"]["POST /crm/bulk/v8/read"]["calls"], json!(6), "{stats}");
}

#[test]
fn fields_that_bulk_read_refuses_come_by_queries() {
    let context = context(4, 30, 1_100, |options| {
        options.switches.bulk_read_page_size = 400;
        options.switches.bulk_read_refused_fields = ["F_7", "F_9", "F_20"].map(str::to_owned).into();
    });
    equals(&context, &read(&context, "bulk_read"), 30, "three fields beside the files");
    let answers = &context.stats()["endpoints"]["POST /crm/bulk/v8/read"]["statuses"];
    assert_eq!(*answers, json!({"201": 3, "400": 3}), "each refusal comes before the first job");
}

#[test]
fn a_field_that_only_the_records_api_delivers_is_left_out_unless_asked_for() {
    let context = context(6, 30, 450, |options| {
        options.switches.bulk_read_refused_fields = ["F_7".to_owned()].into();
        options.switches.coql_refused_fields = ["F_7".to_owned()].into();
    });
    let output = read(&context, "bulk_read");
    let fields = properties(&messages(&output.stdout), "Wide");
    assert!(!fields.contains(&"F_7".to_owned()), "{fields:?}");
    assert_eq!(records(&output.stdout, "Wide"), context.dump("Wide", &fields));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("field `F_7` is left out: only the records API delivers it, for "), "{said}");
    let asked = |catalog: &mut Value| {
        let wide = catalog["streams"].as_array_mut().expect("streams").iter_mut();
        for entry in wide.flat_map(|stream| stream["metadata"].as_array_mut().expect("metadata")) {
            if entry["breadcrumb"][1] == "F_7" {
                entry["metadata"]["selected"] = true.into();
            }
        }
    };
    equals(&context, &read_selected(&context, "bulk_read", asked), 30, "the field is asked for");
}

/// Rows are changed once each: what changes twice within a second looks the same to everybody, and
/// comes again with the lookback of the next run.
#[test]
fn rows_that_change_between_two_slices_come_whole() {
    for method in ["coql", "records", "bulk_read"] {
        let context = context(5, 230, 900, |options| options.switches.coql_columns = 50);
        let writer = json!({"modules": ["Wide"], "seed": 11, "per_call": 1.5, "total": 25,
            "weights": {"change": 8, "insert": 1, "delete": 1, "restore": 0, "recompute": 0}});
        context.control("POST", "writer", &writer);
        let output = read(&context, method);
        context.control("DELETE", "writer", &Value::Null);
        let found: BTreeMap<(String, String), String> =
            records(&output.stdout, "Wide").into_iter().map(|row| (version(&row), row)).collect();
        let truth = context.dump("Wide", &properties(&messages(&output.stdout), "Wide"));
        let same = truth.iter().filter(|row| {
            let read = found.get(&version(row));
            assert!(read.is_none_or(|read| read == *row), "{method}: {:?} is torn", version(row));
            read.is_some()
        });
        let same = same.count();
        assert!(same > truth.len() - 25, "{method}: {same} of {} rows as in the store", truth.len());
    }
}

fn version(row: &str) -> (String, String) {
    let row: Value = serde_json::from_str(row).expect("JSON");
    let text = |name: &str| row[name].as_str().expect("a text").to_owned();
    (text("id"), text("Modified_Time"))
}
