//! A fresh folder, an emulator and the programs that are to meet it, in one call.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zoho_crm_connector::emulator::{self, Emulator, Options};

/// Everything a test needs; gone when it is dropped.
pub struct TestContext {
    dir: TempDir,
    emulator: Emulator,
    runtime: Runtime,
}

impl TestContext {
    /// An emulator with these rows.
    pub fn new(rows: &[(&str, u64)]) -> Self {
        Self::with(|options| {
            options.rows = rows.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()
        })
    }

    /// An emulator with other options, too.
    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options { job_ms: 5, ..Options::default() };
        change(&mut options);
        let runtime = Runtime::new().expect("a runtime");
        let emulator = runtime.block_on(emulator::start(options)).expect("the emulator starts");
        let context = Self { dir: TempDir::new().expect("a folder"), emulator, runtime };
        context.write("config.json", &context.settings());
        context
    }

    /// Settings that reach the emulator, with short pauses.
    pub fn settings(&self) -> Value {
        let org = &self.emulator.orgs()[0];
        let url = self.emulator.base_url();
        json!({
            "client_id": org.client_id,
            "client_secret": org.client_secret.expose(),
            "refresh_token": org.refresh_token.expose(),
            "api_url": url, "accounts_url": url, "content_url": url,
            "state_dir": self.path("state"),
            "retry": {"first_pause_seconds": 0.02, "longest_pause_seconds": 0.2},
            // The emulator's own limit is what tests of it meet; the others need not wait for a minute to pass.
            "downloads_per_minute": 1_000,
        })
    }

    /// The settings with these keys on top, written to a file of this name.
    pub fn settings_with(&self, name: &str, more: &Value) -> PathBuf {
        let mut settings = self.settings();
        for (key, value) in more.as_object().expect("an object") {
            settings[key] = value.clone();
        }
        self.write(name, &settings)
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a JSON file.
    pub fn write(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, value.to_string()).expect("writes");
        path
    }

    /// `tap-zoho-crm` with the test's settings.
    pub fn tap(&self) -> Command {
        self.program("tap-zoho-crm")
    }

    /// `tap-zoho-crm` with other settings.
    pub fn tap_with(&self, config: &Path) -> Command {
        let mut command = program("tap-zoho-crm");
        command.current_dir(self.dir.path()).arg("--config").arg(config);
        command
    }

    /// `target-zoho-crm` with the test's settings.
    pub fn target(&self) -> Command {
        self.program("target-zoho-crm")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = program(name);
        command.current_dir(self.dir.path()).arg("--config").arg(self.path("config.json"));
        command
    }

    /// A command of `zoho-crm` with the test's settings.
    pub fn operator(&self, command: &[&str]) -> Command {
        let mut program = program("zoho-crm");
        program.current_dir(self.dir.path()).args(command).arg("--config").arg(self.path("config.json"));
        program
    }

    /// Runs discovery and selects these streams and nothing else.
    pub fn catalog(&self, streams: &[&str]) -> PathBuf {
        let output = self.tap().arg("--discover").assert().success().get_output().clone();
        let mut catalog: Value = serde_json::from_slice(&output.stdout).expect("a catalog");
        for stream in catalog["streams"].as_array_mut().expect("streams") {
            let selected = streams.iter().any(|name| stream["tap_stream_id"] == *name);
            stream["metadata"][0]["metadata"]["selected"] = selected.into();
        }
        self.write("catalog.json", &catalog)
    }

    /// Calls a handle of the emulator.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = self.request(method, path, Some(body));
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The truth about a module: one canonical JSON object a row, ids ascending.
    pub fn dump(&self, module: &str, fields: &[String]) -> Vec<String> {
        let path = format!("dump?module={module}&fields={}", fields.join(","));
        self.request("GET", &path, None).lines().map(str::to_owned).collect()
    }

    /// The counters of the emulator.
    pub fn stats(&self) -> Value {
        self.control("GET", "stats", &Value::Null)
    }

    /// Calls counted so far, of all organisations.
    pub fn calls(&self) -> u64 {
        self.emulator.app().stats.to_json()["calls"].as_u64().unwrap_or(0)
    }

    /// Credits spent on one kind of call, such as `POST /crm/v8/coql`.
    pub fn credits(&self, call: &str) -> u64 {
        self.stats()["endpoints"][call]["credits"].as_u64().unwrap_or(0)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let url = format!("{}/__emulator/{path}", self.emulator.base_url());
        self.runtime.block_on(async {
            let method = method.parse().expect("a method");
            let mut request = client().request(method, url);
            if let Some(body) = body.filter(|body| !body.is_null()) {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let answer = request.send().await.expect("the emulator answers");
            let status = answer.status();
            let text = answer.text().await.expect("a text");
            assert!(status.is_success(), "{path}: {status} {text}");
            text
        })
    }

    /// What people saw of a run: exit code, stdout and stderr, without what differs from run to run.
    pub fn seen(&self, output: &Output) -> String {
        let code = output.status.code().map_or_else(|| format!("{}", output.status), |code| code.to_string());
        let text = format!(
            "exit: {code}\n--- stdout\n{}\n--- stderr\n{}",
            String::from_utf8_lossy(&output.stdout).trim_end(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        let url = self.emulator.base_url();
        text.replace(&self.dir.path().display().to_string(), "[DIR]").replace(url, "[EMULATOR]")
    }
}

/// One of our programs, in an empty environment but for the path.
pub fn program(name: &str) -> Command {
    let mut command = Command::cargo_bin(name).expect("the program is built");
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

fn client() -> reqwest::Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// The messages of a tap's stdout; every line has to be one.
pub fn messages(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has its newline");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("a message: {line}")))
        .collect()
}

/// The records of a stream, as they stand in the lines.
pub fn records(stdout: &[u8], stream: &str) -> Vec<String> {
    let head = format!("{{\"type\":\"RECORD\",\"stream\":\"{stream}\",\"record\":");
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    let lines = text.lines().filter_map(|line| line.strip_prefix(&head));
    lines.map(|rest| rest.rsplit_once(",\"time_extracted\":").expect("is last").0.to_owned()).collect()
}

/// The properties of a stream, from its last SCHEMA.
pub fn properties(messages: &[Value], stream: &str) -> Vec<String> {
    let schema = messages.iter().rfind(|message| message["type"] == "SCHEMA" && message["stream"] == stream);
    let properties = schema.expect("a SCHEMA")["schema"]["properties"].as_object().expect("properties");
    properties.keys().cloned().collect()
}

/// The value of the last STATE, written to a file.
pub fn last_state(context: &TestContext, messages: &[Value], name: &str) -> PathBuf {
    let state = messages.iter().rfind(|message| message["type"] == "STATE").expect("a STATE");
    context.write(name, &state["value"])
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
