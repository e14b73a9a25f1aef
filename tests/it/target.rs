//! The target against the local Zoho: what arrives, what is told, what survives a crash.

use crate::common::zylker::Zylker;
use serde_json::{Value, json};
use std::io::{BufReader, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use zoho_crm_connector::diagnostic::{Diagnostic, ErrorClass};
use zoho_crm_connector::emulator::Options;
use zoho_crm_connector::secret::Secret;
use zoho_crm_connector::target::{self, Error, Summary, TargetConfig, jobs};
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
}

impl Bed {
    async fn new(config: Value) -> Self {
        Self::with(config, Options::default()).await
    }

    async fn with(config: Value, options: Options) -> Self {
        let key = json!({"api_name": "Northwind_Id", "data_type": "text", "length": 20, "unique": true, "custom": true});
        let schema = json!({"modules": [
            {"api_name": "Accounts", "fields": [key]},
            {"api_name": "Contacts", "fields": [key]}]});
        let zylker = Zylker::start(Options { schema: Some(schema), ..options }).await;
        Self { zylker, folder: tempfile::tempdir().expect("a folder"), config }
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
        let ended =
            target::run(config, self.client(), self.folder.path(), input, output.clone(), now, stop).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn record_calls_write_and_tell_every_row() {
    let bed = Bed::new(json!({})).await;
    let mut input = contacts(0..250);
    input.push_str(&record("Contacts", json!({"Email": "not-an-address", "Last_Name": "x"})));
    input.push_str(&record("Contacts", json!({"Email": "late@x.test", "Last_Name": null})));
    input.push_str(&state(1));
    let (summary, lines, results) = bed.written(input).await;
    assert_eq!(lines, ["{\"at\": 1}"]);
    assert_eq!(results.len(), 252);
    assert_eq!(results[17]["line"], 19);
    assert_eq!(results[17]["identifier"], json!({"Email": "c17@x.test"}));
    assert!(
        results[..250].iter().all(|result| result["action"] == "inserted" && result["record_id"].is_string())
    );
    assert_eq!(results[250]["code"], "INVALID_DATA");
    assert_eq!(
        (results[251]["code"].as_str(), results[251]["field"].as_str()),
        (Some("MANDATORY_NOT_FOUND"), Some("Last_Name"))
    );
    assert!(summary.too_many_rejected);
    assert_eq!(summary.tallies[0].effort.credits, 26);
    let rejects = std::fs::read_to_string(summary.rejects.expect("rejected rows")).expect("readable");
    assert!(rejects.lines().count() == 3 && rejects.contains("_zoho_rejected"), "{rejects}");
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_tells_the_rows_apart_in_any_order() {
    let options = Options::default();
    let bed = Bed::with(json!({"method": "bulk"}), options).await;
    let (status, _) = bed
        .zylker
        .post(
            "/__emulator/switches",
            &json!({"bulk_write_shuffled_result": true, "bulk_write_altered_cells": true}),
        )
        .await;
    assert!(status < 300);
    let mut input = contacts(0..300);
    input.push_str(&record("Contacts", json!({"Email": "c5@x.test", "Phone": null})));
    input.push_str(&record(
        "Contacts",
        json!({"Email": "c6@x.test", "Last_Name": "New \"name\"\nof  6; é", "Phone": null}),
    ));
    input.push_str(&state(1));
    let (summary, _, results) = bed.written(input).await;
    assert_eq!(actions(&results), vec!["inserted"; 302]);
    assert_eq!(results[5]["record_id"], results[300]["record_id"]);
    assert_eq!(
        summary.tallies[0].effort.jobs, 1,
        "rows of one key are one row, and all have the same columns"
    );
    let rows = bed.rows("Contacts", "Email,Last_Name,Phone").await;
    assert_eq!(rows.len(), 300);
    assert_eq!((&rows[5]["Last_Name"], &rows[5]["Phone"]), (&json!("Name 5"), &Value::Null));
    assert_eq!(rows[6]["Last_Name"], "New \"name\"\nof  6; é");
    assert_eq!(rows[7]["Phone"], "030-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_feeds_parents_and_children() {
    for method in ["records", "bulk"] {
        let bed = Bed::new(json!({"method": method, "streams": {"customers": [
            {"module": "Accounts", "match_on": ["Northwind_Id"], "fields": {"id": "Northwind_Id", "company": "Account_Name"}},
            {"module": "Contacts", "match_on": ["Northwind_Id"], "constants": {"Lead_Source": "Trade Show"}, "fields": {
                "contact": "Last_Name", "phone": "Phone",
                "id": ["Northwind_Id", {"to": "Account_Name", "match": "Northwind_Id"}]}}]}}))
        .await;
        let mut input = schema("customers", &["id"], &["id", "company", "contact", "phone"]);
        for number in 0..120 {
            input.push_str(&record(
                "customers",
                json!({"id": format!("O'{number}"), "company": format!("Firm {number}"),
                "contact": format!("Ann {number}"), "phone": null}),
            ));
        }
        input.push_str(&state(7));
        let (summary, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 7}"], "{method}");
        assert_eq!((summary.rows(), summary.failed()), (240, 0), "{method} {summary} {:?}", results.last());
        let places: Vec<_> = results
            .iter()
            .take(4)
            .map(|result| (result["line"].as_u64(), result["module"].as_str()))
            .collect();
        assert_eq!(
            places,
            [
                (Some(2), Some("Accounts")),
                (Some(2), Some("Contacts")),
                (Some(3), Some("Accounts")),
                (Some(3), Some("Contacts"))
            ]
        );
        let accounts = bed.rows("Accounts", "id,Northwind_Id").await;
        let contacts = bed.rows("Contacts", "Northwind_Id,Account_Name,Lead_Source").await;
        for contact in &contacts {
            let account =
                accounts.iter().find(|one| one["Northwind_Id"] == contact["Northwind_Id"]).expect("a parent");
            assert_eq!(contact["Account_Name"], account["id"], "{method} {contact}");
            assert_eq!(contact["Lead_Source"], "Trade Show");
        }
        assert_eq!(contacts.len(), 120);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_that_finds_nothing_rejects_the_row() {
    let bed = Bed::new(json!({"max_rejected": 1, "streams": {"people": {"module": "Contacts", "match_on": ["Northwind_Id"],
        "fields": {"id": "Northwind_Id", "name": "Last_Name", "firm": {"to": "Account_Name", "match": "Northwind_Id"}}}}}))
    .await;
    let mut input = schema("people", &["id"], &["id", "name", "firm"]);
    input.push_str(&record("people", json!({"id": "1", "name": "A", "firm": "nowhere"})));
    input.push_str(&record("people", json!({"id": "2", "name": "B", "firm": null})));
    let (summary, _, results) = bed.written(input).await;
    assert_eq!(actions(&results), ["rejected", "inserted"]);
    assert!(
        results[0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("no record of Accounts has Northwind_Id \"nowhere\""))
    );
    assert!(!summary.too_many_rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_before_a_bad_line_is_written() {
    let cases = [
        (
            "{\"type\":\"RECORD\",\"str",
            ErrorClass::Protocol,
            "line 5 of stdin, column 21: the message is not valid JSON",
        ),
        ("{\"type\":\"THING\"}\n", ErrorClass::Protocol, "`THING` is not a message type"),
        (
            "{\"type\":\"RECORD\",\"stream\":\"other\",\"record\":{}}\n",
            ErrorClass::Protocol,
            "comes before its SCHEMA",
        ),
        (
            "{\"type\":\"RECORD\",\"stream\":\"Contacts\",\"record\":{\"Phone\":\"1\"}}\n",
            ErrorClass::Data,
            "lacks its key property \"Email\"",
        ),
        ("{\"type\":\"BATCH\",\"stream\":\"Contacts\"}\n", ErrorClass::Protocol, "not supported yet"),
    ];
    for (bad, class, words) in cases {
        let bed = Bed::new(json!({})).await;
        let input = format!("{}{}{bad}", contacts(0..2), state(3));
        let (ended, lines) = bed.run(input).await;
        let error = ended.expect_err("a bad line");
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("the 4 lines before it are written")),
            "{:?}",
            error.hint()
        );
        assert_eq!(lines, ["{\"at\": 3}"]);
        assert_eq!(bed.rows("Contacts", "Email").await.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_run_without_a_last_state_are_not_sent_again() {
    let bed = Bed::new(
        json!({"at_least_once": true, "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}}),
    )
    .await;
    let tasks = |subjects: &[&str]| {
        let mut text = schema("tasks", &[], &["Subject"]);
        subjects.iter().for_each(|subject| text.push_str(&record("tasks", json!({"Subject": subject}))));
        text
    };
    let (_, _, first) = bed.written(tasks(&["a", "a", "b"])).await;
    assert_eq!(actions(&first), ["inserted"; 3]);
    let (summary, _, second) = bed.written(tasks(&["a", "a", "b", "a", "c"]) + &state(1)).await;
    assert_eq!(second.iter().filter(|result| result["replayed"] == true).count(), 3);
    assert_eq!(summary.tallies[0].replayed, 3);
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 5);
    // That run was clean: the same rows are new rows now.
    bed.written(tasks(&["a"]) + &state(2)).await;
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_where_that_does_no_harm() {
    for (method, path) in [("records", "/crm/v8/Contacts/upsert"), ("bulk", "/crm/bulk/v8/write")] {
        let bed = Bed::new(json!({"method": method})).await;
        bed.fault(json!({"match": {"method": "POST", "path_contains": path}, "action": {"kind": "cut_after_execute"}})).await;
        let (summary, _, results) = bed.written(contacts(0..30) + &state(1)).await;
        assert_eq!(actions(&results), vec!["written"; 30], "{method}");
        assert_eq!(summary.failed(), 0);
        assert_eq!(bed.rows("Contacts", "Email").await.len(), 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_plain_insert_is_in_doubt() {
    for (resolution, rows) in [(jobs::Resolution::Forget, 2), (jobs::Resolution::Resend, 4)] {
        let config =
            json!({"at_least_once": true, "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
        let bed = Bed::new(config).await;
        let mut input = schema("tasks", &[], &["Subject"]);
        input.push_str(&record("tasks", json!({"Subject": "a"})));
        input.push_str(&record("tasks", json!({"Subject": "b"})));
        input.push_str(&state(1));
        bed.fault(json!({"match": {"method": "POST", "path_contains": "/Tasks"}, "action": {"kind": "cut_after_execute"}})).await;
        let (ended, lines) = bed.run(input.clone()).await;
        let error = ended.expect_err("in doubt");
        assert_eq!(error.class(), ErrorClass::InDoubt, "{error}");
        assert!(error.to_string().contains("input lines 2; 3"), "{error}");
        assert!(lines.is_empty());
        // Started again as if nothing had happened: still in doubt, nothing sent.
        let (ended, _) = bed.run(input.clone()).await;
        assert_eq!(ended.expect_err("in doubt").class(), ErrorClass::InDoubt);
        let open = jobs::list(bed.folder.path()).expect("a ledger");
        assert!(open.len() == 1 && open[0].in_doubt && open[0].rows == 2, "{open:?}");
        assert_eq!(jobs::resolve(bed.folder.path(), &open[0].batch, resolution).expect("resolved"), 2);
        let (_, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 1}"]);
        assert_eq!(results.iter().filter(|result| result["replayed"] == true).count(), 2, "{results:?}");
        assert_eq!(bed.rows("Tasks", "Subject").await.len(), rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_flight_is_waited_for_by_the_next_run() {
    let bed = Bed::with(json!({"method": "bulk"}), Options { job_ms: 60_000, ..Options::default() }).await;
    let input = contacts(0..40) + &state(1);
    let stop = CancellationToken::new();
    let watch = async {
        // The job exists as soon as the create call is counted.
        while !created(&bed).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let ((ended, lines), ()) = tokio::join!(bed.run_until(input.clone(), stop.clone()), watch);
    assert_eq!(ended.expect_err("stopped").class(), ErrorClass::Interrupted);
    assert!(lines.is_empty(), "no STATE before its rows");
    bed.zylker.advance(61);
    let (summary, lines, results) = bed.written(input).await;
    assert_eq!(lines, ["{\"at\": 1}"]);
    let recovered = results.iter().filter(|result| result["from_run"].is_string()).count();
    let replayed = results.iter().filter(|result| result["replayed"] == true).count();
    assert_eq!((recovered, replayed, summary.failed()), (40, 40, 0));
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 40);
}

async fn created(bed: &Bed) -> bool {
    let (_, stats) = bed.zylker.get("/__emulator/stats").await;
    stats.to_string().contains("GET /crm/bulk/v8/write/{id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_rows_go_by_two_jobs() {
    let bed = Bed::new(json!({})).await;
    let mut input = contacts(0..25_000);
    input.push_str(&state(1));
    input.push_str(&contacts(25_000..50_000));
    input.push_str(&state(2));
    let (summary, lines, results) = bed.written(input).await;
    assert_eq!(lines, ["{\"at\": 1}", "{\"at\": 2}"]);
    assert_eq!((summary.tallies[0].effort.jobs, summary.tallies[0].effort.credits), (2, 1_000));
    assert_eq!(results.len(), 50_000);
    assert!(results.iter().all(|result| result["action"] == "inserted"));
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_can_be_singer_messages() {
    let bed = Bed::new(json!({"results": "singer"})).await;
    let (ended, lines) = bed.run(contacts(0..2) + &state(1)).await;
    ended.expect("written");
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["type"], "SCHEMA");
    assert_eq!((lines[1]["stream"].as_str(), &lines[1]["record"]["line"]), (Some("zoho_results"), &json!(2)));
    assert_eq!(lines[3], json!({"at": 1}));
}
