//! What we depend on keeps to `deny.toml`, where cargo-deny is not at hand: licences and sources.

use crate::common::context::root;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(root());
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The licences of `deny.toml`.
fn allowed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let list = text.lines().find_map(|line| line.strip_prefix("allow = ")).expect("a list of licences");
    serde_json::from_str(list).expect("strings")
}

/// Whether an SPDX expression can be met: AND binds tighter than OR, parentheses hold one of either.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ");
    if let (Some(open), Some(close)) = (text.find('('), text.find(')')) {
        let inner = if is_met(&text[open + 1..close], allowed) { "MET" } else { "UNMET" };
        return is_met(&format!("{}{inner}{}", &text[..open], &text[close + 1..]), allowed);
    }
    let licence = |text: &str| {
        let name = text.split(" WITH ").next().unwrap_or_default().trim();
        name == "MET" || allowed.contains(name)
    };
    text.split(" OR ").any(|choice| choice.split(" AND ").all(licence))
}

#[test]
fn every_licence_is_allowed_and_every_source_is_the_registry() {
    let (metadata, allowed) = (metadata(), allowed());
    let mut used = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_met(licence, &allowed), "{name}: `{licence}` is not allowed by deny.toml");
        used.extend(licence.split(['/', ' ', '(', ')']).map(str::to_owned));
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{name} comes from {source:?}");
    }
    let idle: Vec<&String> = allowed.difference(&used).collect();
    assert!(idle.is_empty(), "deny.toml allows what nothing needs: {idle:?}");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed: BTreeSet<String> = ["MIT", "BSD-3-Clause"].map(str::to_owned).into();
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("Apache-2.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND BSD-3-Clause", true),
        ("(GPL-3.0 OR MIT) AND Zlib", false),
        ("MIT WITH exception", true),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
