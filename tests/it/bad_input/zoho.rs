//! What Zoho refuses, and the way to it.

use super::bare;
use crate::common::context::TestContext;
use crate::common::snapshot::{assert_no_secret, settled};
use serde_json::{Value, json};
use std::net::TcpListener;
use zoho_crm_connector::emulator::Options;
use zoho_crm_connector::emulator::limits::Limits;

/// Both programs and `check` with the same settings, which cannot sign in.
fn assert_all_seen(name: &str, changes: &Value) {
    let context = TestContext::new(&[("Contacts", 1)]);
    context.settings_with("config.json", changes);
    context.assert_seen(&format!("{name}_tap"), context.tap().arg("--discover"));
    context.assert_seen(&format!("{name}_target"), context.target().write_stdin(ONE_CONTACT));
    let mut check = bare(&context, "zoho-crm");
    context.assert_seen(&format!("{name}_check"), check.args(["check", "--config", "config.json"]));
}

const ONE_CONTACT: &str = r#"{"type":"SCHEMA","stream":"Contacts","schema":{"properties":{"Last_Name":{"type":"string"},"Email":{"type":"string"}}},"key_properties":["Email"]}
{"type":"RECORD","stream":"Contacts","record":{"Last_Name":"Fuller","Email":"fuller@example.com"}}
{"type":"STATE","value":{"at":1}}
"#;

#[test]
fn a_token_that_zoho_does_not_know() {
    assert_all_seen("bad_token", &json!({"refresh_token": "1000.hush"}));
}

#[test]
fn a_secret_that_is_another() {
    assert_all_seen("wrong_secret", &json!({"client_secret": "hush"}));
}

#[test]
fn a_client_of_another_data_center() {
    assert_all_seen("wrong_client", &json!({"client_id": "1000.ELSEWHERE", "data_center": "eu"}));
}

#[test]
fn a_grant_code_that_is_used_up() {
    let context = TestContext::new(&[]);
    let mut settings = context.settings();
    settings.as_object_mut().expect("an object").remove("refresh_token");
    settings["grant_code"] = "1000.hush".into();
    context.write("config.json", &settings);
    let mut command = bare(&context, "zoho-crm");
    context.assert_seen("used_code", command.args(["auth", "self-client", "--config", "config.json"]));
}

#[test]
fn a_host_that_nobody_answers_at() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let retry = json!({"max_attempts": 3, "first_pause_seconds": 0.01, "longest_pause_seconds": 0.02});
    assert_all_seen("unreachable_accounts", &json!({"accounts_url": url, "retry": retry}));
    let context = TestContext::new(&[]);
    context.settings_with("config.json", &json!({"api_url": url, "retry": retry}));
    context.assert_seen("unreachable_api", context.tap().arg("--discover"));
}

#[test]
fn a_server_that_keeps_failing() {
    let context = TestContext::new(&[("Leads", 3)]);
    context.catalog(&["Leads"]);
    let retry = json!({"max_attempts": 3, "first_pause_seconds": 0.01, "longest_pause_seconds": 0.02});
    context.settings_with("config.json", &json!({"retry": retry, "method": "records"}));
    let rule = json!({"match": {"path_contains": "/crm/v8/Leads", "times": 0}, "action": {"kind": "status", "status": 503}});
    context.control("POST", "faults", &rule);
    context.assert_seen("server_fails", context.tap().args(["--catalog", "catalog.json"]));
}

#[test]
fn a_scope_that_the_grant_lacks() {
    let context = TestContext::with(|options: &mut Options| {
        options.rows = [("Leads".to_owned(), 3)].into();
        options.orgs[0].scope = Some("ZohoCRM.modules.ALL,ZohoCRM.org.ALL,ZohoCRM.users.ALL".to_owned());
    });
    context.assert_seen("missing_scope_discovery", context.tap().arg("--discover"));
    context.assert_seen("missing_scope_target", context.target().write_stdin(ONE_CONTACT));
    context.assert_seen("missing_scope_check", &mut context.operator(&["check"]));
}

#[test]
fn a_scope_that_only_one_way_of_reading_needs() {
    let context = TestContext::with(|options: &mut Options| {
        options.rows = [("Leads".to_owned(), 3)].into();
        options.orgs[0].scope =
            Some("ZohoCRM.modules.ALL,ZohoCRM.org.ALL,ZohoCRM.users.ALL,ZohoCRM.settings.ALL".to_owned());
    });
    context.catalog(&["Leads"]);
    let config = context.settings_with("coql.json", &json!({"method": "coql"}));
    let mut command = bare(&context, "tap-zoho-crm");
    command.arg("--config").arg(config).args(["--catalog", "catalog.json"]);
    context.assert_seen("missing_scope_coql", &mut command);
}

#[test]
fn a_module_that_the_user_may_not_read() {
    let context = TestContext::new(&[("Leads", 2), ("Vendors", 2)]);
    context.catalog(&["Leads", "Vendors"]);
    context.control("POST", "switches", &json!({"no_permission_module": "Vendors"}));
    let config = context.settings_with("records.json", &json!({"method": "records"}));
    for (name, config) in [("no_permission", context.path("config.json")), ("no_permission_records", config)]
    {
        let mut command = bare(&context, "tap-zoho-crm");
        command.arg("--config").arg(config).args(["--catalog", "catalog.json"]);
        let output = command.output().expect("runs");
        let seen = context.seen(&output);
        assert_no_secret(name, &seen);
        // The records of the other module are none of this test's business.
        let (head, stderr) = seen.split_once("--- stderr\n").expect("a part");
        let head = head.lines().next().unwrap_or_default();
        crate::common::snapshot::assert_seen(name, &format!("{head}\n--- stderr\n{}", settled(stderr)));
    }
}

#[test]
fn credits_that_are_used_up() {
    let context = TestContext::with(|options: &mut Options| {
        options.rows = [("Leads".to_owned(), 3)].into();
        options.limits = Limits { daily_credits: Some(5), ..Limits::default() };
    });
    // One call at a time, so that the same one is the last that can be paid.
    context.settings_with("config.json", &json!({"max_concurrency": 1}));
    context.assert_seen("credits_used_up_discovery", context.tap().arg("--discover"));
    context.assert_seen("credits_used_up_target", context.target().write_stdin(ONE_CONTACT));
    context.assert_seen("credits_used_up_check", &mut context.operator(&["check"]));
}

#[test]
fn a_cap_on_one_run() {
    let context = TestContext::new(&[("Leads", 4_000)]);
    context.catalog(&["Leads"]);
    let settings = json!({"api_credits": {"per_run": 12}, "method": "records", "state_rows": 500});
    let config = context.settings_with("capped.json", &settings);
    let mut command = bare(&context, "tap-zoho-crm");
    let output =
        command.arg("--config").arg(config).args(["--catalog", "catalog.json"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().expect("something came before the cap");
    assert!(last.starts_with(r#"{"type":"STATE""#), "what was read is bookmarked: {last}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let seen = format!("exit: {:?}\n--- stderr\n{}", output.status.code(), stderr.trim_end());
    crate::common::snapshot::assert_seen("cap_on_one_run", &seen);
}

#[test]
fn a_whole_conversation_at_debug_level_shows_no_secret() {
    let context = TestContext::new(&[("Contacts", 3)]);
    context.catalog(&["Contacts"]);
    context.control(
        "POST",
        "faults",
        &json!({"match": {"path_contains": "coql"}, "action": {"kind": "invalid_token"}}),
    );
    let runs = [
        context.tap().args(["--catalog", "catalog.json", "--log-level", "debug"]).output(),
        context.target().args(["--log-level", "debug"]).write_stdin(ONE_CONTACT).output(),
        context.operator(&["check", "--log-level", "debug"]).output(),
    ];
    // The access tokens stand where only their user can read them, and nowhere else.
    let folder = std::fs::read_dir(context.path("state/tokens")).expect("a folder");
    let kept: Vec<Value> = folder
        .filter_map(|file| {
            serde_json::from_slice(&std::fs::read(file.expect("an entry").path()).expect("reads")).ok()
        })
        .collect();
    let tokens: Vec<&str> = kept.iter().filter_map(|kept| kept["token"]["access_token"].as_str()).collect();
    assert!(!tokens.is_empty(), "{kept:?}");
    for output in runs {
        let output = output.expect("runs");
        let seen = context.seen(&output);
        assert!(output.status.success(), "{seen}");
        assert_no_secret("debug", &seen);
        tokens.iter().for_each(|token| assert!(!seen.contains(token), "an access token is shown:\n{seen}"));
    }
}
