//! Instructions per row by callgrind: a figure that other load on the machine does not move.
//!
//! The codec reads and writes 2,000 rows and 200 rows of the reference; the difference is what a row
//! takes. `benches/instructions.json` holds the figures by compiler and profile; more than 5% above them
//! is an error, also in `.ci/run`. Without valgrind, or for another compiler, it says that nothing was compared.
//! `INSTRUCTIONS=write` writes the figures of this build anew.

use super::reference;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const SEED: u64 = 1;
const MANY: u64 = 2_000;
const FEW: u64 = 200;
/// How far above its figure a count may be.
const MOST: f64 = 1.05;
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

/// Counts and compares; false if a count is above its figure.
pub fn guard(dir: &Path) -> bool {
    for tool in ["valgrind", "zip"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("instructions: {tool} is not there, so nothing was counted");
            return true;
        }
    }
    let (many, few) = (counted(dir, MANY), counted(dir, FEW));
    let per_row = |at: usize| (many[at] - few[at]) / (MANY - FEW);
    let found = json!({"read": per_row(0), "write": per_row(1)});
    let build = build();
    println!("instructions per row, {build}: read {}, write {}", found["read"], found["write"]);
    let text = fs::read_to_string(FIGURES).unwrap_or_else(|_| "{}".to_owned());
    let mut figures: Value = serde_json::from_str(&text).expect("the figures are JSON");
    if std::env::var("INSTRUCTIONS").is_ok_and(|what| what == "write") {
        figures[build] = found;
        fs::write(FIGURES, format!("{figures:#}\n")).expect("writes");
        return true;
    }
    let Some(known) = figures.get(&build) else {
        println!("instructions: {FIGURES} has no figures of this build, so nothing was compared");
        return true;
    };
    let above = |what: &str| {
        let share = found[what].as_f64().unwrap_or(0.0) / known[what].as_f64().unwrap_or(1.0);
        println!("instructions, {what}: {share:.3} of {}", known[what]);
        share > MOST
    };
    !["read", "write"].map(above).contains(&true)
}

/// What counts depend on besides our code.
fn build() -> String {
    let rustc =
        Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let profile = std::env::current_exe().ok();
    let profile = profile.as_deref().and_then(Path::parent).and_then(Path::parent).and_then(Path::file_name);
    let profile = profile.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} {} {profile}", String::from_utf8_lossy(&rustc).trim(), std::env::consts::ARCH)
}

/// Instructions of reading and of writing so many rows.
fn counted(dir: &Path, rows: u64) -> [u64; 2] {
    let path = |name: &str| dir.join(format!("{rows}.{name}"));
    let (csv, zip, lines) = (path("csv"), path("zip"), path("jsonl"));
    reference::write_csv(&csv, SEED, 0, rows).expect("writes");
    super::zip_command(6, &zip, &csv).status().expect("zip runs");
    let ours = super::path;
    let read = under_callgrind(dir, &["read", ours(&zip)], None, Some(&lines));
    let write = under_callgrind(dir, &["write", "1", ours(&path("ours.zip"))], Some(&lines), None);
    [read, write]
}

fn under_callgrind(dir: &Path, arguments: &[&str], input: Option<&Path>, output: Option<&Path>) -> u64 {
    let out = dir.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "-q"]).arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().expect("we are a file")).args(arguments);
    if let Some(input) = input {
        command.stdin(fs::File::open(input).expect("opens"));
    }
    match output {
        Some(output) => command.stdout(fs::File::create(output).expect("creates")),
        None => command.stdout(Stdio::null()),
    };
    assert!(command.status().expect("valgrind runs").success(), "{arguments:?}");
    let text = fs::read_to_string(&out).expect("callgrind writes");
    let sum = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    sum.and_then(|sum| sum.trim().parse().ok()).expect("a sum of instructions")
}
