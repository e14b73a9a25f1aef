//! Every file of `sample_configs/`, run as its README says, against the local Zoho: the variables are
//! set, and a second `--config` leads to the emulator. `northwind` and `meltano` have tests of their own.

use crate::common::context::{TestContext, messages, program, records, root};
use assert_cmd::Command;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use zoho_crm_connector::emulator::Options;

fn sample(name: &str) -> PathBuf {
    root().join("sample_configs").join(name)
}

fn sample_value(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(sample(name)).expect("reads")).expect("JSON")
}

fn context() -> TestContext {
    TestContext::with(|options: &mut Options| {
        options.rows = [("Leads".to_owned(), 40), ("Contacts".to_owned(), 10)].into();
        options.orgs[0].grant_code = Some("1000.code".to_owned());
    })
}

/// A program with a sample as its settings, the sample's variables, and the way to the emulator.
fn run(context: &TestContext, name: &str, config: &str) -> Command {
    let settings = context.settings();
    let mut way = json!({});
    for key in ["api_url", "accounts_url", "content_url", "state_dir"] {
        way[key] = settings[key].clone();
    }
    let mut command = program(name);
    command.current_dir(context.path("."));
    if name == "zoho-crm" {
        command.args(if config.contains("grant") { &["auth", "self-client"][..] } else { &["check"] });
    }
    command.arg("--config").arg(sample(config)).arg("--config").arg(context.write("way.json", &way));
    for (variable, key) in [
        ("ZOHO_CLIENT_ID", "client_id"),
        ("ZOHO_CLIENT_SECRET", "client_secret"),
        ("ZOHO_REFRESH_TOKEN", "refresh_token"),
    ] {
        command.env(variable, settings[key].as_str().expect("a text"));
    }
    command.env("ZOHO_GRANT_CODE", "1000.code").env("FIELD_POLICY_KEY", "a key of the company's own");
    command
}

/// stdout of a run that ends well.
fn good(context: &TestContext, command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output.stdout
}

#[test]
fn connections_sign_in() {
    for config in ["connection.json", "connection-grant-code.json"] {
        good(&context(), &mut run(&context(), "zoho-crm", config));
    }
}

#[test]
fn taps_read() {
    for config in [
        "tap.json",
        "tap-coql.json",
        "tap-thrifty.json",
        "tap-lazy.json",
        "tap-privacy.json",
        "tap-warehouse.json",
    ] {
        let context = context();
        let catalog = context.catalog(&["Leads"]);
        let stdout = good(&context, run(&context, "tap-zoho-crm", config).arg("--catalog").arg(catalog));
        assert_eq!(records(&stdout, "Leads").len(), 40, "{config}");
    }
}

#[test]
fn a_filter_lists_the_streams_it_names() {
    let context = context();
    let stdout = good(&context, run(&context, "tap-zoho-crm", "tap-some-streams.json").arg("--discover"));
    let catalog: Value = serde_json::from_slice(&stdout).expect("a catalog");
    let names = catalog["streams"].as_array().expect("streams").iter();
    let names: BTreeSet<&str> = names.map(|stream| stream["stream"].as_str().expect("a name")).collect();
    assert_eq!(names, BTreeSet::from(["Leads", "Contacts", "Deals", "deleted_records"]));
}

#[test]
fn the_catalog_selects_and_the_state_says_where_to_start() {
    let context = context();
    let read = |state: &[&str]| {
        let mut command = run(&context, "tap-zoho-crm", "tap.json");
        command.arg("--catalog").arg(sample("catalog.json")).args(state);
        good(&context, &mut command)
    };
    let stdout = read(&[]);
    let leads = records(&stdout, "Leads");
    let first: Value = serde_json::from_str(&leads[0]).expect("a record");
    assert!(
        first.get("Email").is_some() && first.get("Phone").is_none(),
        "fields as they are selected: {first}"
    );
    assert_eq!((leads.len(), records(&stdout, "users").len()), (40, 0));
    let state = sample("state.json");
    let later = messages(&read(&["--state", state.to_str().expect("UTF-8")]));
    let last = later.last().expect("a message");
    assert!(last["value"]["bookmarks"]["deleted_records"].is_object(), "other bookmarks stay: {last}");
    assert!(
        last["value"]["bookmarks"]["Leads"]["replication_key_value"].as_str() > Some("2024-06-30T22:00:00Z")
    );
}

#[test]
fn targets_write() {
    let people = fs::read_to_string(sample("people.singer")).expect("reads");
    let contacts = people.replace("\"people\"", "\"Contacts\"").replace("\"mail\"", "\"Email\"");
    let contacts = contacts.replace("\"name\"", "\"Last_Name\"").replace("\"phone\"", "\"Phone\"");
    let contacts: String =
        contacts.lines().filter(|line| !line.contains("audit_log")).map(|line| format!("{line}\n")).collect();
    for (config, input) in
        [("target.json", &contacts), ("target-records.json", &contacts), ("target-mapping.json", &people)]
    {
        let context = context();
        let stdout = good(&context, run(&context, "target-zoho-crm", config).write_stdin(input.as_str()));
        let fields = ["Email", "Last_Name", "Mobile", "Lead_Source"].map(str::to_owned);
        let rows = context.dump("Contacts", &fields);
        assert_eq!(rows.len(), 12, "{config}");
        assert!(String::from_utf8_lossy(&stdout).contains(r#"{"bookmarks":"#), "{config}: a STATE");
        let fuller = rows.iter().find(|row| row.contains("fuller@example.com")).expect("is written");
        let mapped = fuller.contains("+1 206 555 0101") && fuller.contains("Web Download");
        assert_eq!(mapped, config == "target-mapping.json", "{config}: {fuller}");
    }
}

#[test]
fn the_emulators_settings_are_those_it_starts_with() {
    let context = context();
    let (sample, real) = (sample_value("emulator.json"), context.settings());
    for key in ["client_id", "client_secret", "refresh_token"] {
        assert_eq!(sample[key], real[key], "{key}");
    }
    let help = program("zoho-crm").args(["emulate", "--help"]).output().expect("runs").stdout;
    let listen = sample["api_url"].as_str().expect("a text").trim_start_matches("http://").to_owned();
    assert!(String::from_utf8_lossy(&help).contains(&listen), "{listen} is where it listens by default");
    let stdout = good(&context, run(&context, "tap-zoho-crm", "emulator.json").arg("--discover"));
    assert!(stdout.starts_with(b"{"), "a catalog");
}

#[test]
fn the_emulators_schema_adds_a_field_and_a_module() {
    let context = TestContext::with(|options| {
        options.schema = Some(sample_value("emulator-schema.json"));
        options.rows = [("Subscriptions".to_owned(), 3)].into();
    });
    let catalog: Value =
        serde_json::from_str(&fs::read_to_string(context.catalog(&["Subscriptions"])).expect("reads"))
            .expect("JSON");
    assert!(catalog.to_string().contains("Customer_Number"), "the field is in the catalog");
    let stdout = good(&context, context.tap().args(["--catalog", "catalog.json"]));
    let rows = records(&stdout, "Subscriptions");
    assert!(rows.len() == 3 && rows[0].contains("Monthly_Fee"), "{rows:?}");
}

#[test]
fn every_sample_is_in_the_readme_and_in_a_test() {
    let readme = fs::read_to_string(sample("README.md")).expect("reads");
    let tests = fs::read_to_string(root().join("tests/it/samples.rs")).expect("reads");
    for entry in fs::read_dir(root().join("sample_configs")).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let is_folder = entry.path().is_dir();
        let shown = if is_folder { format!("| `{name}/` |") } else { format!("| `{name}` |") };
        assert!(name == "README.md" || readme.contains(&shown), "README.md tells about {name}");
        assert!(name == "README.md" || is_folder || tests.contains(&format!("\"{name}\"")), "{name} is run");
    }
}
