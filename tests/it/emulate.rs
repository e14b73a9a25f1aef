//! `zoho-crm emulate` by its flags, as a person starts it.

use crate::common::context::{messages, program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

#[test]
fn the_local_zoho_starts_with_flags_and_serves_the_tap() {
    let dir = tempfile::tempdir().expect("a folder");
    let fault =
        r#"{"match": {"path_contains": "/coql"}, "action": {"kind": "throttle", "retry_after_seconds": 0}}"#;
    let mut emulator = Command::new(assert_cmd::cargo::cargo_bin("zoho-crm"))
        .args(["emulate", "--listen", "127.0.0.1:0", "--rows", "Leads=450", "--more-orgs", "1"])
        .args(["--switch", "coql_rows=200", "--fault", fault, "--write-config", "config.json"])
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("starts");
    let words = BufReader::new(emulator.0.stderr.take().expect("is piped")).lines();
    let said: Vec<String> =
        words.map_while(Result::ok).take_while(|line| !line.contains("config-2.json")).collect();
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
