//! Snapshots of what people saw, in which nothing secret may ever stand.

use super::context::TestContext;
use assert_cmd::Command;
use std::path::Path;

/// What differs from run to run, and what stands for it.
const FILTERS: [(&str, &str); 9] = [
    (r"used, \d+ by this connector", "used, [N] by this connector"),
    (r#"(\{"type":"SCHEMA","stream":"\w+","schema":)\{.*\}(,"key_properties":.*)"#, "$1{…}$2"),
    (r#"(\{"type":"RECORD","stream":"\w+","record":)\{.*\}(,"time_extracted":.*)"#, "$1{…}$2"),
    (r"http://127\.0\.0\.1:\d+", "[EMULATOR]"),
    (r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d[-.\w]*?(\.singer|\.jsonl)", "[RUN]$1"),
    (r"\b\d+(\.\d)? s\b", "[TIME]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", "[INSTANT]"),
    (r"zoho-crm( |-connector/|`, version )\d+\.\d+\.\d+", "zoho-crm$1[VERSION]"),
    (r"batch `?[0-9a-f]{6,}[-\w]*", "batch [BATCH]"),
];

/// What nobody may see, whatever happens: the emulator's own and those that tests make up.
pub const SECRETS: [&str; 4] = ["emulator-secret", "1000.emulator.refresh", "hush", "1000.hush"];

/// Holds a text against its snapshot and against the list of secrets.
pub fn assert_seen(name: &str, seen: &str) {
    assert_no_secret(name, seen);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(env!("CARGO_MANIFEST_DIR"), "[PROJECT]");
    for (found, shown) in FILTERS {
        settings.add_filter(found, shown);
    }
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, seen));
}

/// The log of a tap with its lines about streams, which are read side by side, in one order.
pub fn settled(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let end = lines.iter().position(|line| line.starts_with("Read ") || line.starts_with("error"));
    let (log, rest) = lines.split_at(end.unwrap_or(lines.len()));
    let mut log = log.to_vec();
    log.sort_unstable();
    [&log, rest].concat().join("\n")
}

/// Fails when the text shows a secret.
pub fn assert_no_secret(name: &str, seen: &str) {
    for secret in SECRETS {
        assert!(!seen.contains(secret), "`{name}` shows the secret `{secret}`:\n{seen}");
    }
}

impl TestContext {
    /// Runs a program to its end and holds exit code, stdout and stderr against a snapshot.
    pub fn assert_seen(&self, name: &str, command: &mut Command) {
        let output = command.output().expect("runs");
        assert_seen(name, &self.seen(&output));
    }
}
