//! Modules that no single reading brings whole: column slices, through the front door.

use crate::common::wide::{context, equals, read};
use serde_json::{Value, json};

#[test]
fn modules_of_any_width_come_whole_by_each_way() {
    for width in [5, 51, 201] {
        let context = context(1, width, 450, |_| {});
        for method in ["coql", "records"] {
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
