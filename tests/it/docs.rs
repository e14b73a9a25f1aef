//! The README's tables are true: settings as in `schemas/`, exit codes as in the code.

use crate::common::context::{program, root};
use std::fs;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

#[test]
fn every_setting_stands_in_the_readme_as_about_prints_it() {
    let readme = readme();
    for name in ["tap-zoho-crm", "target-zoho-crm"] {
        let output = program(name).arg("--about=markdown").output().expect("runs");
        let about = String::from_utf8(output.stdout).expect("UTF-8");
        let missing: Vec<&str> =
            about.lines().filter(|line| line.starts_with("| `") && !readme.contains(line)).collect();
        assert!(
            missing.is_empty(),
            "README.md lacks these rows of `{name} --about=markdown`:\n{}",
            missing.join("\n")
        );
    }
}

#[test]
fn files_that_the_docs_name_are_there() {
    for doc in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(doc)).expect(doc);
        for word in text.split('`').skip(1).step_by(2) {
            let is_path =
                ["src/", "tests/", "schemas/", "sample_configs/"].iter().any(|start| word.starts_with(start));
            if is_path && !word.contains(['*', ' ']) {
                assert!(root().join(word).exists(), "{doc} names `{word}`, which is not there");
            }
        }
    }
}
