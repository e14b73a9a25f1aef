//! The guides in `docs/` do what they say: their files are written and their commands run, in order, in
//! one folder per guide, against the local Zoho.
//!
//! A fenced block whose first line ends in `run` is a script, one with `file=NAME` a file. Other blocks
//! need an account or other people's programs; those marked `meltano` are run by `make test-interop`.

use crate::common::context::{TestContext, root};
use assert_cmd::cargo::cargo_bin;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of a guide.
struct Block {
    /// What stands behind the language.
    mark: String,
    text: String,
    line: usize,
}

fn blocks(guide: &Path) -> Vec<Block> {
    let text = fs::read_to_string(guide).expect("reads");
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                let mark = info.split_once(' ').map(|(_, mark)| mark.to_owned()).unwrap_or_default();
                found.push(Block { mark, text: String::new(), line: at + 1 });
                inside = true;
            }
            None if inside => {
                let block = found.last_mut().expect("one is begun");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!inside, "{} ends inside a block", guide.display());
    found
}

fn guides() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).expect("docs/");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths
}

/// Stands in for other people's targets: keeps the messages, confirms every state.
const TARGET: &str = r#"#!/bin/sh
tee -a messages.jsonl | sed -n 's/^{"type":"STATE","value":\(.*\)}$/\1/p'
"#;

/// A folder of programs: ours, and what stands in for others.
fn programs(context: &TestContext) -> PathBuf {
    let folder = context.path("programs");
    fs::create_dir(&folder).expect("is made");
    for name in ["destination-zoho-crm", "source-zoho-crm", "tap-zoho-crm", "target-zoho-crm", "zoho-crm"] {
        std::os::unix::fs::symlink(cargo_bin(name), folder.join(name)).expect("is linked");
    }
    for name in ["target-jsonl", "target-postgres"] {
        fs::write(folder.join(name), TARGET).expect("writes");
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).expect("is set");
    }
    folder
}

/// Runs a guide; how many of its blocks were scripts.
fn follow(guide: &Path) -> usize {
    let context = TestContext::new(&[("Leads", 60), ("Contacts", 20)]);
    let path = format!("{}:{}", programs(&context).display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for block in blocks(guide) {
        if let Some(name) = block.mark.strip_prefix("file=") {
            fs::write(context.path(name), &block.text).expect("writes");
        } else if block.mark == "run" {
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &block.text]).current_dir(context.path("."));
            shell.env_clear().env("PATH", &path).env("HOME", context.path("."));
            let output = shell.output().expect("bash runs");
            let place = format!("{}:{}", guide.display(), block.line);
            assert!(output.status.success(), "{place}: {}", context.seen(&output));
            ran += 1;
        }
    }
    check_python(&context);
    ran
}

/// Python files compile; they need programs of others to run.
fn check_python(context: &TestContext) {
    let entries = fs::read_dir(context.path(".")).expect("the folder");
    let files = entries.map(|entry| entry.expect("an entry").path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "py")) {
        let Ok(python) = Command::new("python3").args(["-m", "py_compile"]).arg(&file).output() else {
            return;
        };
        assert!(python.status.success(), "{}: {}", file.display(), context.seen(&python));
    }
}

fn guide(name: &str) -> usize {
    follow(&root().join("docs").join(name))
}

#[test]
fn shell_and_cron() {
    assert!(guide("shell.md") >= 4);
}

#[test]
fn airflow_and_dagster() {
    assert!(guide("orchestrators.md") >= 1);
}

#[test]
fn warehouses() {
    assert!(guide("warehouses.md") >= 1);
}

#[test]
fn reverse_etl() {
    assert!(guide("reverse-etl.md") >= 1);
}

#[test]
fn airbyte() {
    assert!(guide("airbyte.md") >= 4);
}

#[test]
fn meltano() {
    assert!(guide("meltano.md") >= 1);
}

#[test]
fn every_guide_is_in_the_readme_and_followed_by_a_test() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let tests = fs::read_to_string(root().join("tests/it/guides.rs")).expect("reads");
    for path in guides() {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        assert!(readme.contains(&format!("docs/{name}")), "README.md links docs/{name}");
        // What has no commands to follow: `reading` is held against the programs by the test of that name,
        // `performance` is what a benchmark said.
        let followed = ["reading.md", "performance.md"].contains(&name.as_str())
            || tests.contains(&format!("guide(\"{name}\")"));
        assert!(followed, "a test follows docs/{name}");
    }
}
