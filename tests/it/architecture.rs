//! Who may import whom: the table of ARCHITECTURE.md, checked against every `crate::` path in `src`.

use crate::common::context::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a top-level module may import of ours.
fn allowed(module: &str) -> &'static [&'static str] {
    match module {
        "cli" => {
            &["diagnostic", "emulator", "error", "protocol", "secret", "storage", "tap", "target", "zoho"]
        }
        "error" => &["diagnostic", "emulator", "protocol", "storage", "tap", "target", "zoho"],
        "tap" => &["aside", "codec", "diagnostic", "protocol", "secret", "written", "zoho"],
        "target" => &["aside", "codec", "diagnostic", "protocol", "written", "zoho"],
        // Beside tap and target, which never import each other: what one wrote and the other reads back.
        "written" => &["codec"],
        "codec" => &["zoho::types"],
        "zoho" | "protocol" | "emulator" | "storage" => &["diagnostic", "secret"],
        "aside" | "diagnostic" | "secret" | "lib" => &[],
        other => panic!("`{other}` is a new module: say here and in ARCHITECTURE.md what it may import"),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// `crate::a::b` paths of a file, outside comments, each as `a` or, below `zoho`, `zoho::b`.
fn imports(text: &str) -> BTreeSet<String> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let words: Vec<&str> = path
            .split("::")
            .map(|word| word.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
            .collect();
        match words[0] {
            "" => {
                let group = path.split('}').next().unwrap_or_default().trim_start_matches('{');
                found.extend(
                    group
                        .split(',')
                        .map(|word| word.trim().split("::").next().unwrap_or_default().to_owned()),
                );
            }
            "zoho" => {
                found.insert(format!("zoho::{}", words.get(1).copied().unwrap_or_default()));
            }
            word => {
                found.insert(word.to_owned());
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_import_only_what_their_layer_may() {
    let source = root().join("src");
    let mut offences = Vec::new();
    for file in files(&source) {
        let place = file.strip_prefix(&source).expect("below src");
        let module =
            place.iter().next().and_then(|part| part.to_str()).expect("a name").trim_end_matches(".rs");
        if module == "bin" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a text");
        for import in imports(&text) {
            let own = import == module || import.starts_with(&format!("{module}::"));
            let allowed = allowed(module)
                .iter()
                .any(|allowed| import == *allowed || import.starts_with(&format!("{allowed}::")));
            if !own && !allowed {
                offences.push(format!("{} imports {import}", place.display()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn only_the_transport_names_the_http_library_and_only_the_writer_stdout() {
    let source = root().join("src");
    for file in files(&source) {
        let place = file.strip_prefix(&source).expect("below src").display().to_string();
        let text = fs::read_to_string(&file).expect("a text");
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        if code.contains("reqwest::") {
            assert!(place.starts_with("zoho/transport"), "{place} names reqwest");
        }
        assert!(!code.contains("println!(") && !code.contains("print!("), "{place} prints");
    }
}
