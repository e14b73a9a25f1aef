//! The local Zoho that is read from and written to, with files made beforehand.

use super::process;
use super::reference;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A field of its own by which written rows are matched.
const KEY: &str = "Reference_Key";

/// A running emulator and settings for programs that use it.
pub struct Server {
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts one that hands out these files; answers once it listens.
    pub fn start(dir: &Path, files: &[PathBuf], rows: u64) -> Self {
        let mut schema = reference::schema();
        let key = json!({"api_name": KEY, "data_type": "text", "length": 40, "unique": true, "custom": true});
        schema["modules"][0]["fields"].as_array_mut().expect("a list").push(key);
        write(&dir.join("schema.json"), &schema);
        let settings = dir.join("connection.json");
        let _ = fs::remove_file(&settings);
        let mut command = Command::new(env!("CARGO_BIN_EXE_zoho-crm"));
        command.args([
            "emulate",
            "--listen",
            "127.0.0.1:0",
            "--job-millis",
            "0",
            "--no-limits",
            "--blind-writes",
        ]);
        command.arg("--rows").arg(format!("Leads={rows}"));
        command.arg("--schema").arg(dir.join("schema.json")).arg("--write-config").arg(&settings);
        for file in files {
            command.arg("--prepared").arg(format!("Leads={}", file.display()));
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let mut server = Self { child, dir: dir.to_owned() };
        while !settings.exists() {
            assert!(server.child.try_wait().expect("asks").is_none(), "the emulator ended: {command:?}");
            thread::sleep(Duration::from_millis(20));
        }
        server.write_settings(&settings);
        server
    }

    fn write_settings(&self, connection: &Path) {
        let read = || fs::read(connection).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let settings = (0..100).find_map(|_| {
            read().or_else(|| {
                thread::sleep(Duration::from_millis(20));
                None
            })
        });
        let mut tap = settings.expect("the emulator writes settings");
        let mut target = tap.clone();
        tap["method"] = "bulk_read".into();
        tap["streams"] = json!({"include": ["Leads"]});
        tap["state_dir"] = self.dir.join("tap-state").display().to_string().into();
        tap["downloads_per_minute"] = 100_000.into();
        write(&self.dir.join("tap.json"), &tap);
        let discover = self.tap().arg("--discover").output().expect("runs");
        assert!(discover.status.success(), "{}", String::from_utf8_lossy(&discover.stderr));
        let mut catalog: Value = serde_json::from_slice(&discover.stdout).expect("a catalog");
        for entry in catalog["streams"][0]["metadata"].as_array_mut().expect("metadata") {
            let name = entry["breadcrumb"][1].as_str().map(str::to_owned);
            entry["metadata"]["selected"] =
                name.is_none_or(|name| reference::names().any(|it| it == name)).into();
        }
        write(&self.dir.join("catalog.json"), &catalog);
        const READ_ONLY: [&str; 2] = ["Created_Time", "Modified_Time"];
        let fields = reference::names().filter(|name| !READ_ONLY.contains(name));
        let fields: serde_json::Map<String, Value> =
            fields.map(|name| (name.to_owned(), if name == "id" { KEY } else { name }.into())).collect();
        let stream = json!({"module": "Leads", "operation": "upsert", "match_on": [KEY], "fields": fields});
        target["streams"] = json!({"Leads": stream});
        target["method"] = "bulk".into();
        target["downloads_per_minute"] = 100_000.into();
        target["state_dir"] = self.dir.join("target-state").display().to_string().into();
        write(&self.dir.join("target.json"), &target);
        for level in [1, 6] {
            target["compression_level"] = level.into();
            write(&self.dir.join(format!("target-{level}.json")), &target);
        }
    }

    /// The tap, reading the prepared rows from the start.
    pub fn tap(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tap-zoho-crm"));
        let _ = fs::remove_dir_all(self.dir.join("tap-state"));
        command.arg("--config").arg(self.dir.join("tap.json")).stderr(self.log("tap.log"));
        command
    }

    /// The tap on a sync of the forty columns.
    pub fn sync(&self) -> Command {
        let mut command = self.tap();
        command.arg("--catalog").arg(self.dir.join("catalog.json"));
        command
    }

    /// The target on an empty state folder.
    pub fn target(&self, level: Option<u32>) -> Command {
        let _ = fs::remove_dir_all(self.dir.join("target-state"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_target-zoho-crm"));
        let name = level.map_or("target.json".to_owned(), |level| format!("target-{level}.json"));
        command.arg("--config").arg(self.dir.join(name)).stderr(self.log("target.log"));
        command
    }

    /// Processor time that the emulator has taken so far.
    pub fn cpu(&self) -> Duration {
        process::cpu_of(self.child.id())
    }

    fn log(&self, name: &str) -> fs::File {
        fs::File::create(self.dir.join(name)).expect("a log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not killed: it removes its files.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("writes");
}
