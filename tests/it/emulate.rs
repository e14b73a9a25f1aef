//! `zoho-crm emulate` by its flags, as a person starts it.

use crate::common::context::{messages, program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Running {
    /// Starts one in this folder, with a temporary folder there; answers with what it says up to the line
    /// that contains `last`.
    fn start(dir: &Path, args: &[&str], last: &str) -> (Self, Vec<String>) {
        let temporary = dir.join("tmp");
        fs::create_dir_all(&temporary).expect("creates");
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("zoho-crm"));
        command.args(["emulate", "--listen", "127.0.0.1:0", "--write-config", "config.json"]).args(args);
        command.current_dir(dir).env("TMPDIR", temporary).stderr(Stdio::piped());
        let mut emulator = command.spawn().map(Self).expect("starts");
        let words = BufReader::new(emulator.0.stderr.take().expect("is piped")).lines();
        let said = words.map_while(Result::ok).take_while(|line| !line.contains(last)).collect();
        (emulator, said)
    }

    /// Stops it as a shell does.
    fn stop(&mut self) {
        if self.0.try_wait().expect("asks").is_none() {
            Command::new("kill").arg(self.0.id().to_string()).status().expect("runs");
            self.0.wait().expect("ends");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn the_local_zoho_starts_with_flags_and_serves_the_tap() {
    let dir = tempfile::tempdir().expect("a folder");
    let fault =
        r#"{"match": {"path_contains": "/coql"}, "action": {"kind": "throttle", "retry_after_seconds": 0}}"#;
    let args = ["--rows", "Leads=450", "--more-orgs", "1", "--switch", "coql_rows=200", "--fault", fault];
    let (_emulator, said) = Running::start(dir.path(), &args, "config-2.json");
    assert!(said.iter().any(|line| line.contains("Leads: 450 rows")), "{said:?}");
    let settings: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("config.json")).expect("is there"))
            .expect("JSON");
    let mut settings = settings;
    settings["state_dir"] = dir.path().join("state").display().to_string().into();
    settings["streams"] = serde_json::json!({"include": ["Leads"]});
    settings["retry"] = serde_json::json!({"first_pause_seconds": 0.01});
    fs::write(dir.path().join("config.json"), settings.to_string()).expect("writes");
    let output = program("tap-zoho-crm")
        .current_dir(dir.path())
        .args(["--config", "config.json"])
        .output()
        .expect("runs");
    let records = messages(&output.stdout).into_iter().filter(|message| message["type"] == "RECORD");
    assert_eq!(records.count(), 450, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_stopped_emulator_leaves_no_files_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut emulator, said) = Running::start(dir.path(), &["--rows", "Leads=20"], "config.json");
    let read = program("tap-zoho-crm")
        .current_dir(dir.path())
        .env("TAP_ZOHO_CRM_METHOD", "bulk_read")
        .args(["--config", "config.json"])
        .output()
        .expect("runs");
    assert!(read.status.success(), "{said:?} {}", String::from_utf8_lossy(&read.stderr));
    let files = || fs::read_dir(dir.path().join("tmp")).expect("a folder").count();
    assert_eq!(files(), 1, "the folder of the job's file");
    emulator.stop();
    assert_eq!(files(), 0);
}

#[test]
fn a_prepared_file_is_served_where_it_is_what_a_job_asks_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut zip = zip::ZipWriter::new(fs::File::create(dir.path().join("leads.zip")).expect("creates"));
    zip.start_file("leads.csv", zip::write::SimpleFileOptions::default()).expect("starts");
    let ids = (0..3).map(|row| 4_876_000_001_000_000_001_u64 + row * 7);
    let rows: String = ids.map(|id| format!("{id},prepared {id},2026-01-01T00:00:00Z\n")).collect();
    zip.write_all(format!("Id,Last_Name,Modified_Time\n{rows}").as_bytes()).expect("writes");
    zip.finish().expect("finishes");
    let start = |rows: &str| {
        let args = ["--rows", rows, "--prepared", "Leads=leads.zip", "--no-limits", "--blind-writes"];
        Running::start(dir.path(), &[&args[..], &["--job-millis", "0"]].concat(), "config.json")
    };
    let refused = start("Leads=2").1.join(" ");
    assert!(refused.contains("its ids should be those of the generated rows"), "{refused}");
    // One more row than the file has: it is not what a job for all of them asks for.
    for (rows, served) in [("Leads=3", true), ("Leads=4", false)] {
        let _emulator = start(rows);
        let settings = fs::read(dir.path().join("config.json")).expect("is there");
        let mut settings: Value = serde_json::from_slice(&settings).expect("JSON");
        settings["state_dir"] = dir.path().join(rows).display().to_string().into();
        settings["streams"] = serde_json::json!({"include": ["Leads"]});
        settings["method"] = "bulk_read".into();
        fs::write(dir.path().join("config.json"), settings.to_string()).expect("writes");
        let run = |more: &[&str]| {
            let tap = ["--config", "config.json"];
            program("tap-zoho-crm").current_dir(dir.path()).args(tap).args(more).output().expect("runs")
        };
        let mut catalog: Value = serde_json::from_slice(&run(&["--discover"]).stdout).expect("a catalog");
        for entry in catalog["streams"][0]["metadata"].as_array_mut().expect("metadata") {
            let field = entry["breadcrumb"][1].as_str().map(str::to_owned);
            let selected = field.is_none_or(|field| ["id", "Last_Name"].contains(&field.as_str()));
            entry["metadata"]["selected"] = selected.into();
        }
        fs::write(dir.path().join("catalog.json"), catalog.to_string()).expect("writes");
        let output = run(&["--catalog", "catalog.json"]);
        let records = messages(&output.stdout).into_iter().filter(|message| message["type"] == "RECORD");
        let names: Vec<Value> = records.map(|message| message["record"]["Last_Name"].clone()).collect();
        let from_file =
            names.iter().filter(|name| name.as_str().is_some_and(|name| name.starts_with("prepared")));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(from_file.count(), if served { 3 } else { 0 }, "{names:?}: {said}");
        assert_eq!(names.len(), if served { 3 } else { 4 });
    }
}

#[test]
fn flags_that_mean_nothing_are_named() {
    for (flag, value, word) in
        [("--switch", "colour=red", "colour"), ("--fault", "{}", "action"), ("--rows", "Leads", "MODULE=N")]
    {
        let output = program("zoho-crm")
            .args(["emulate", "--listen", "127.0.0.1:0", flag, value])
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
