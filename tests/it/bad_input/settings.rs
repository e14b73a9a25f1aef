//! Config files and variables that cannot work. Nothing is asked of Zoho for any of these.

use super::{bare, tap_with, target_with};
use crate::common::context::TestContext;
use crate::common::snapshot::assert_no_secret;
use serde_json::{Value, json};
use std::fs;

fn nothing_was_asked(context: &TestContext) {
    assert_eq!(context.stats()["endpoints"], json!({}), "no call was made");
}

/// The settings of the context with changes, as text; null takes a key away.
fn changed(context: &TestContext, changes: &Value) -> String {
    let mut settings = context.settings();
    for (key, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(settings.as_object_mut().expect("an object").shift_remove(key)),
            value => settings[key] = value.clone(),
        }
    }
    format!("{settings:#}")
}

#[test]
fn no_settings_at_all() {
    let context = TestContext::new(&[]);
    context.assert_seen("no_config_tap", &mut bare(&context, "tap-zoho-crm"));
    context.assert_seen("no_config_target", &mut bare(&context, "target-zoho-crm"));
    context.assert_seen("no_config_operator", bare(&context, "zoho-crm").arg("check"));
    nothing_was_asked(&context);
}

#[test]
fn files_that_cannot_be_read() {
    let context = TestContext::new(&[]);
    let mut absent = bare(&context, "tap-zoho-crm");
    context.assert_seen("config_absent", absent.args(["--config", "nowhere.json"]));
    let mut folder = bare(&context, "target-zoho-crm");
    context.assert_seen("config_is_a_folder", folder.args(["--config", "."]));
    context.assert_seen("catalog_absent", context.tap().args(["--catalog", "nowhere.json"]));
    context.assert_seen("state_absent", context.tap().args(["--state", "nowhere.json"]));
    context.assert_seen("input_absent", context.target().args(["--input", "nowhere.singer"]));
    fs::write(context.path("bad.json"), b"{\"client_id\": \"\xff\xfe\"}").expect("writes");
    context.assert_seen("config_not_utf8", bare(&context, "tap-zoho-crm").args(["--config", "bad.json"]));
    nothing_was_asked(&context);
}

#[test]
fn files_that_are_not_json() {
    let context = TestContext::new(&[]);
    let comma = "{\n  \"client_id\": \"1000.A\",\n  \"client_secret\": \"hush\",\n}\n";
    context.assert_seen("config_not_json", &mut tap_with(&context, comma));
    context.assert_seen("config_cut", &mut target_with(&context, "{\n  \"client_secret\": \"hush"));
    context.assert_seen("config_empty", &mut tap_with(&context, ""));
    context.assert_seen("config_is_a_list", &mut tap_with(&context, "[\"hush\"]"));
    nothing_was_asked(&context);
}

#[test]
fn missing_keys() {
    let context = TestContext::new(&[]);
    context
        .assert_seen("missing_key", &mut tap_with(&context, &changed(&context, &json!({"client_id": null}))));
    let no_token = changed(&context, &json!({"refresh_token": null}));
    context.assert_seen("missing_token", &mut target_with(&context, &no_token));
    context.assert_seen("missing_all", &mut tap_with(&context, "{}"));
    let mut operator = bare(&context, "zoho-crm");
    context.assert_seen("missing_key_operator", operator.args(["check", "--config", "bad.json"]));
    nothing_was_asked(&context);
}

#[test]
fn wrong_types_and_values() {
    let context = TestContext::new(&[]);
    let tap = |name: &str, changes: Value| {
        context.assert_seen(name, &mut tap_with(&context, &changed(&context, &changes)));
    };
    tap("wrong_type", json!({"lookback_seconds": "2 minutes"}));
    tap("wrong_type_of_a_secret", json!({"client_secret": ["hush"]}));
    tap("empty_secret", json!({"refresh_token": ""}));
    tap("wrong_data_center_name", json!({"data_center": "com"}));
    tap("wrong_start_date", json!({"start_date": "01.03.2026"}));
    tap("out_of_range", json!({"max_concurrency": 0}));
    tap("wrong_address", json!({"api_url": "www.zohoapis.com"}));
    tap("several_mistakes", json!({"method": "bulk", "state_rows": 0, "client_id": 7}));
    let target = |name: &str, changes: Value| {
        context.assert_seen(name, &mut target_with(&context, &changed(&context, &changes)));
    };
    target(
        "wrong_operation",
        json!({"streams": {"customers": {"module": "Contacts", "operation": "merge"}}}),
    );
    target("wrong_share_of_deletes", json!({"max_delete_percent": 120}));
    target("wrong_share", json!({"max_rejected": "a few"}));
    target("wrong_field_rule", json!({"streams": {"customers": {"fields": {"phone": 7}}}}));
    nothing_was_asked(&context);
}

#[test]
fn unknown_keys() {
    let context = TestContext::new(&[]);
    let typo = changed(&context, &json!({"refresh_tokne": "hush"}));
    context.assert_seen("unknown_key", &mut tap_with(&context, &typo));
    context.assert_seen(
        "unknown_key_target",
        &mut target_with(&context, &changed(&context, &json!({"start_date": "2026-03-01T00:00:00Z"}))),
    );
    context.assert_seen(
        "unknown_key_inside",
        &mut tap_with(&context, &changed(&context, &json!({"api_credits": {"per_rnu": 5}}))),
    );
    let stream = json!({"streams": {"customers": {"modul": "Contacts"}}});
    context.assert_seen("unknown_key_of_a_stream", &mut target_with(&context, &changed(&context, &stream)));
    nothing_was_asked(&context);
}

#[test]
fn variables_that_are_not_set() {
    let context = TestContext::new(&[]);
    let config = changed(&context, &json!({"client_secret": "${ZOHO_CLIENT_SECRET}"}));
    context.assert_seen("variable_not_set", &mut tap_with(&context, &config));
    let mut environment = bare(&context, "target-zoho-crm");
    environment.args(["--config", "ENV"]).env("TARGET_ZOHO_CRM_CLIENT_ID", "1000.A");
    context.assert_seen("environment_lacks_a_key", &mut environment);
    let mut environment = bare(&context, "tap-zoho-crm");
    environment.args(["--config", "config.json", "--config", "ENV"]);
    environment.env("TAP_ZOHO_CRM_API_CREDITS", "many");
    context.assert_seen("environment_has_a_wrong_type", &mut environment);
    nothing_was_asked(&context);
}

#[test]
fn addresses_that_may_not_see_a_token() {
    let context = TestContext::new(&[]);
    let plain = changed(&context, &json!({"api_url": "http://crm.example.com"}));
    context.assert_seen("plain_http", &mut tap_with(&context, &plain));
    let no_file = changed(&context, &json!({"ca_file": "nowhere.pem"}));
    context.assert_seen("ca_file_absent", &mut target_with(&context, &no_file));
    fs::write(context.path("file"), "").expect("writes");
    let no_folder = changed(&context, &json!({"state_dir": context.path("file")}));
    context.assert_seen("state_dir_is_a_file", tap_with(&context, &no_folder).arg("--discover"));
    context.assert_seen("state_dir_is_a_file_target", target_with(&context, &no_folder).write_stdin(""));
    nothing_was_asked(&context);
}

#[test]
fn flags_that_nobody_knows() {
    let context = TestContext::new(&[]);
    context.assert_seen("unknown_flag", bare(&context, "tap-zoho-crm").args(["--cofnig", "c.json"]));
    context.assert_seen("unknown_command", bare(&context, "zoho-crm").arg("chekc"));
    context.assert_seen("unknown_method", &mut context.operator(&["api", "FETCH", "/crm/v8/Leads"]));
    nothing_was_asked(&context);
}

#[test]
fn no_mistake_makes_a_secret_visible() {
    let context = TestContext::new(&[]);
    let secrets = ["client_secret", "refresh_token", "grant_code"];
    let forms = [json!("hush"), json!(["hush"]), json!({"hush": "hush"}), json!({"a": "hush"})];
    for key in secrets {
        for form in &forms {
            // Once as the value of the secret, once as that of a key which is nearly its name.
            for key in [key.to_owned(), format!("{key}s"), key.to_uppercase()] {
                let config = changed(&context, &json!({key.clone(): form}));
                for program in [tap_with, target_with] {
                    let mut command = program(&context, &config);
                    let output =
                        command.args(["--log-level", "debug"]).write_stdin("").output().expect("runs");
                    assert_no_secret(&format!("{key}: {form}"), &context.seen(&output));
                }
            }
        }
    }
}
