//! Bugs that were there once, each by name.

use crate::common::context::TestContext;
use serde_json::json;

/// The records API cuts rich text to 500 characters in its lists, and the tap took that for the text.
#[test]
fn rich_text_is_refused_by_the_records_api_rather_than_cut() {
    let context = TestContext::new(&[("Everything", 10)]);
    context.catalog(&["Everything"]);
    let config = context.settings_with("records.json", &json!({"method": "records"}));
    let output =
        context.tap().arg("--config").arg(config).args(["--catalog", "catalog.json"]).output().expect("runs");
    let seen = context.seen(&output);
    assert_eq!(output.status.code(), Some(8), "{seen}");
    assert!(seen.contains("records API: cuts `Rich_Text` to 500 characters"), "{seen}");
}
