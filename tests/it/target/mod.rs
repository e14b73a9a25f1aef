//! The target against the local Zoho.
//!
//! - `rows`: what arrives and what is told.
//! - `mapping`: which rows and values go where.
//! - `lookups`: parents named by a key of their own.
//! - `parents`: parents that come after their children.
//! - `checks`: what is refused before it is sent.
//! - `again`: rows found again, by mark, as replays, from rejected ones.
//! - `ahead`: batches made ready while the one before them is written.
//! - `batches`: rows in files that BATCH messages name.
//! - `crash`: what survives lost answers, stops and kills.
//! - `deletes`: what is deleted, and what did not change.
//! - `nested`: rows inside of a record.
//! - `plan`: what a dry run says, and what a run then does.
//! - `look`: records found by several fields and compared first.
//! - `results`: outcomes from result files at their worst.
//! - `claims`: every row has one RESULT, and the store is as they say.
//! - `files`: one behaviour per file of `tests/data/singer`.

mod again;
mod ahead;
mod batches;
mod checks;
mod claims;
mod crash;
mod deletes;
mod files;
mod look;
mod lookups;
mod mapping;
mod nested;
mod parents;
mod plan;
mod results;
mod rows;

use crate::common::zylker::Zylker;
use serde_json::{Value, json};
use std::io::{BufReader, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use zoho_crm_connector::diagnostic::Diagnostic;
use zoho_crm_connector::emulator::Options;
use zoho_crm_connector::secret::Secret;
use zoho_crm_connector::target::{self, Error, Source, Start, Summary, TargetConfig};
use zoho_crm_connector::zoho::{Client, Connection};

/// stdout that can be looked at afterwards.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }
}

/// An emulator with unique custom fields, a state folder, and a client.
struct Bed {
    zylker: Zylker,
    folder: tempfile::TempDir,
    config: Value,
    source: Source,
}

impl Bed {
    async fn new(config: Value) -> Self {
        Self::with(config, Options::default()).await
    }

    async fn with(config: Value, options: Options) -> Self {
        let key = json!({"api_name": "Northwind_Id", "data_type": "text", "length": 20, "unique": true, "custom": true});
        let first =
            json!({"api_name": "First_Contact", "data_type": "lookup", "lookup": "Contacts", "custom": true});
        let schema = json!({"modules": [
            {"api_name": "Accounts", "fields": [key, first]},
            {"api_name": "Contacts", "fields": [key]}]});
        let zylker = Zylker::start(Options { schema: Some(schema), ..options }).await;
        Self { zylker, folder: tempfile::tempdir().expect("a folder"), config, source: Source::Tap }
    }

    fn client(&self) -> Client {
        let base = self.zylker.emulator.base_url().to_owned();
        let mut connection =
            Connection::new("1000.EMULATOR", Secret::new("emulator-secret"), self.folder.path());
        connection.refresh_token = Some(Secret::new("1000.emulator.refresh"));
        connection.api_url = Some(base.clone());
        connection.accounts_url = Some(base.clone());
        connection.content_url = Some(base);
        connection.retry.base = Duration::from_millis(5);
        connection.retry.max_attempts = 3;
        Client::new(connection).expect("good settings")
    }

    async fn run(&self, input: String) -> (Result<Summary, Error>, Vec<String>) {
        self.run_until(input, CancellationToken::new()).await
    }

    async fn run_until(
        &self,
        input: String,
        stop: CancellationToken,
    ) -> (Result<Summary, Error>, Vec<String>) {
        let config = TargetConfig::from_json(&self.config).expect("good config");
        let output = Output::default();
        let input = BufReader::with_capacity(64 << 10, std::io::Cursor::new(input.into_bytes()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let input_name = "stdin".to_owned();
        let (state_dir, source) = (self.folder.path(), self.source);
        let start = Start { state_dir, source, input_name, dry_run: false, now, shutdown: stop };
        let ended = target::run(config, self.client(), start, input, output.clone()).await;
        (ended, output.lines())
    }

    /// A run that has to end well: summary, STATE lines, results.
    async fn written(&self, input: String) -> (Summary, Vec<String>, Vec<Value>) {
        let (ended, lines) = self.run(input).await;
        let summary = ended.unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
        let results = results(&summary);
        (summary, lines, results)
    }

    async fn fault(&self, rule: Value) {
        let (status, answer) = self.zylker.post("/__emulator/faults", &json!([rule])).await;
        assert!(status < 300, "{answer}");
    }

    async fn rows(&self, module: &str, fields: &str) -> Vec<Value> {
        let text = self.zylker.download(&format!("/__emulator/dump?module={module}&fields={fields}")).await;
        String::from_utf8(text)
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

fn results(summary: &Summary) -> Vec<Value> {
    let text = std::fs::read_to_string(summary.results.as_ref().expect("a file")).expect("readable");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn actions(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["action"].as_str().expect("an action")).collect()
}

fn schema(stream: &str, keys: &[&str], properties: &[&str]) -> String {
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    let message = json!({"type": "SCHEMA", "stream": stream, "key_properties": keys,
        "schema": {"type": "object", "properties": properties}});
    format!("{message}\n")
}

fn record(stream: &str, record: Value) -> String {
    format!("{}\n", json!({"type": "RECORD", "stream": stream, "record": record}))
}

fn state(value: u64) -> String {
    format!("{{\"type\":\"STATE\",\"value\":{{\"at\": {value}}}}}\n")
}

fn contact(number: usize) -> Value {
    json!({"Email": format!("c{number}@x.test"), "Last_Name": format!("Name {number}"), "Phone": "030-1"})
}

fn contacts(numbers: std::ops::Range<usize>) -> String {
    let mut text = schema("Contacts", &["Email"], &["Email", "Last_Name", "Phone"]);
    for number in numbers {
        text.push_str(&record("Contacts", contact(number)));
    }
    text
}
