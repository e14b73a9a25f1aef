//! What a dry run says, and what a run then does.

use super::*;
use crate::common::context::TestContext;

/// A file of contacts, with one bad address among them.
fn file(context: &TestContext, name: &str, rows: usize) -> std::path::PathBuf {
    let bad = record("Contacts", json!({"Email": "nobody", "Last_Name": "x"}));
    let path = context.path(name);
    std::fs::write(&path, contacts(0..rows) + &bad + &state(1)).expect("writes");
    path
}

#[test]
fn a_dry_run_says_what_a_run_does() {
    for (rows, words, credits) in [
        (25_000, "25,000 rows to Contacts (upsert by Email): bulk write, 1 job, 500 credits", 500),
        (4_000, "4,000 rows to Contacts (upsert by Email): 40 record calls, 400 credits", 400),
    ] {
        let context = TestContext::new(&[]);
        let path = file(&context, "rows.singer", rows);
        let config =
            context.settings_with("config.json", &json!({"streams": {"Contacts": {"operation": "upsert"}}}));
        assert!(config.exists());
        let dry = context.target().args(["--dry-run", "--input"]).arg(&path).output().expect("runs");
        let said = String::from_utf8_lossy(&dry.stderr).into_owned();
        assert_eq!(dry.status.code(), Some(1), "one row is rejected\n{said}");
        assert!(said.contains(words) && said.contains("not an e-mail address"), "{said}");
        assert!(dry.stdout.is_empty(), "no STATE: nothing was done");
        assert!(!context.path("state/target").exists(), "no trace in the ledger");
        let written = |context: &TestContext| {
            let endpoints = context.stats()["endpoints"].clone();
            let of = |name: &str| endpoints[name]["credits"].as_u64().unwrap_or(0);
            of("POST /crm/v8/Contacts/upsert") + of("POST /crm/bulk/v8/write")
        };
        assert_eq!(written(&context), 0, "{}", context.stats());
        assert!(context.dump("Contacts", &["id".to_owned()]).is_empty());
        let run = context.target().arg("--input").arg(&path).output().expect("runs");
        assert_eq!(run.status.code(), Some(1));
        assert_eq!(written(&context), credits, "{}", context.stats());
        assert_eq!(context.dump("Contacts", &["id".to_owned()]).len(), rows);
    }
}

#[test]
fn an_error_names_the_file_it_is_about() {
    let context = TestContext::new(&[]);
    let path = context.path("cut.singer");
    std::fs::write(&path, contacts(0..1) + "{\"type\": \"REKORD\"}\n").expect("writes");
    let output = context.target().arg("--input").arg(&path).output().expect("runs");
    let said = context.seen(&output);
    assert!(said.contains("line 3 of `[DIR]/cut.singer`"), "{said}");
}
