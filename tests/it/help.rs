//! What the programs say about themselves, without settings, and that every place says the same.

use crate::common::context::{TestContext, program, root};
use crate::common::snapshot::assert_seen;
use serde_json::Value;
use std::fs;

const PROGRAMS: [&str; 5] =
    ["tap-zoho-crm", "target-zoho-crm", "zoho-crm", "source-zoho-crm", "destination-zoho-crm"];

/// stdout of a call that has to end well and say nothing else.
fn said(name: &str, args: &[&str]) -> String {
    let output = program(name).args(args).assert().success().stderr("").get_output().clone();
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn help_of_every_program() {
    for name in PROGRAMS {
        assert_seen(&format!("help_{name}"), &said(name, &["--help"]));
    }
    let commands = [
        "check",
        "auth",
        "modules",
        "fields",
        "plan",
        "api",
        "jobs",
        "emulate",
        "demo",
        "completions",
        "man",
    ];
    for command in commands {
        let short = said("zoho-crm", &[command, "-h"]);
        assert_seen(&format!("help_zoho-crm_{command}"), &short);
    }
    for command in [["auth", "status"], ["auth", "self-client"], ["jobs", "resolve"]] {
        let short = said("zoho-crm", &[command[0], command[1], "-h"]);
        assert_seen(&format!("help_zoho-crm_{}_{}", command[0], command[1]), &short);
    }
}

#[test]
fn the_version_is_the_packages_and_needs_no_settings() {
    for name in PROGRAMS {
        assert_eq!(said(name, &["--version"]), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn about_is_a_valid_json_schema_with_its_secrets_marked() {
    for name in &PROGRAMS[..2] {
        let text = said(name, &["--about"]);
        assert_eq!(text, said(name, &["--about=json"]), "json is the default");
        assert_seen(&format!("about_{name}_json"), &text);
        let about: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(about["name"], *name);
        assert!(jsonschema::meta::is_valid(&about["settings"]), "{name}: settings are a JSON Schema");
        for (key, property) in about["settings"]["properties"].as_object().expect("properties") {
            let secrets = ["client_secret", "refresh_token", "grant_code", "field_policy_key"];
            let secret = secrets.contains(&key.as_str());
            assert_eq!(property["secret"] == true, secret, "{name}: {key}");
            assert!(property["description"].is_string(), "{name}: {key} is explained");
        }
    }
}

#[test]
fn about_for_people_names_every_setting() {
    for name in &PROGRAMS[..2] {
        let text = said(name, &["--about=markdown"]);
        assert_seen(&format!("about_{name}_markdown"), &text);
        let about: Value = serde_json::from_str(&said(name, &["--about"])).expect("JSON");
        for key in about["settings"]["properties"].as_object().expect("properties").keys() {
            assert!(text.contains(&format!("| `{key}` |")), "{name}: {key}");
        }
    }
}

#[test]
fn the_settings_that_about_describes_are_those_that_run() {
    let context = TestContext::new(&[]);
    let about: Value = serde_json::from_str(&said("tap-zoho-crm", &["--about"])).expect("JSON");
    let validator = jsonschema::validator_for(&about["settings"]).expect("a JSON Schema");
    assert!(validator.is_valid(&context.settings()));
    let mut settings = context.settings();
    settings["refresh_tokne"] = "x".into();
    assert!(!validator.is_valid(&settings), "what the program refuses the schema refuses too");
}

/// The rows `| code | meaning |` of a text, each line freed of what stands before it.
fn exit_codes(text: &str, before: &str) -> Vec<(String, String)> {
    let rows =
        text.lines().filter_map(|line| line.trim_start().strip_prefix(before)?.trim().strip_prefix('|'));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let codes = cells.filter(|cells| cells[0].parse::<u8>().is_ok() && cells.len() > 1);
    codes.map(|cells| (cells[0].clone(), cells[1].clone())).collect()
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn exit_codes_are_the_same_in_docs_help_and_readme() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let docs = exit_codes(&read("src/diagnostic.rs"), "///");
    assert_eq!(docs.len(), 11, "the table of `ExitStatus`");
    for name in PROGRAMS {
        let help = said(name, &["--help"]);
        let (_, list) = help.split_once("Exit codes:\n").expect("a list of exit codes");
        let list = list.lines().filter_map(|line| line.trim().split_once(' '));
        let list: Vec<_> = list.map(|(code, text)| (code.to_owned(), text.trim().to_owned())).collect();
        assert_eq!(list, docs, "{name} --help");
    }
    match exit_codes(&read("README.md"), "").as_slice() {
        [] => eprintln!("SKIPPED: README.md has no table of exit codes yet"),
        readme => assert_eq!(readme, docs, "README.md"),
    }
}

#[test]
fn the_tool_is_tap_or_target_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in PROGRAMS {
        let link = dir.path().join(name);
        std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin("zoho-crm"), &link).expect("links");
        let output = std::process::Command::new(&link).arg("--version").output().expect("runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{name} {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn manual_pages_and_completions_are_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let pages = dir.path().join("man1");
    program("zoho-crm").arg("man").arg(&pages).assert().success();
    for page in ["tap-zoho-crm", "target-zoho-crm", "zoho-crm", "zoho-crm-auth-status", "zoho-crm-jobs"] {
        let text = fs::read_to_string(pages.join(format!("{page}.1"))).expect("a page");
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let text = said("zoho-crm", &["completions", shell]);
        for name in PROGRAMS {
            assert!(text.contains(name), "{shell}: {name}");
        }
    }
}

#[test]
fn about_for_meltano_is_a_plugin_definition() {
    for name in &PROGRAMS[..2] {
        let text = said(name, &["--about=meltano"]);
        assert!(
            text.starts_with(&format!("name: \"{name}\"\nnamespace: \"{}\"", name.replace('-', "_"))),
            "{text}"
        );
        let about: Value = serde_json::from_str(&said(name, &["--about"])).expect("JSON");
        for key in about["settings"]["properties"].as_object().expect("properties").keys() {
            let listed =
                text.contains(&format!("- name: {key}\n")) || text.contains(&format!("- name: {key}."));
            assert!(listed, "{name}: {key}");
        }
        assert_eq!(text.matches("sensitive: true").count(), secrets(&about));
    }
}

/// How many settings are secret.
fn secrets(about: &Value) -> usize {
    let properties = about["settings"]["properties"].as_object().expect("properties");
    properties.values().filter(|property| property["secret"] == true).count()
}
