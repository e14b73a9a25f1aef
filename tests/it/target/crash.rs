//! What survives lost answers, stops and kills.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;
use zoho_crm_connector::target::jobs;
use zoho_crm_connector::target::ledger::LedgerError;

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
        assert!(open.len() == 1 && open[0].in_doubt.len() == 1 && open[0].rows == 2, "{open:?}");
        assert_eq!(jobs::resolve(bed.folder.path(), &open[0].batch, resolution).expect("resolved"), 2);
        let (_, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 1}"]);
        assert_eq!(results.iter().filter(|result| result["replayed"] == true).count(), 2, "{results:?}");
        assert_eq!(bed.rows("Tasks", "Subject").await.len(), rows);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_doubt_are_decided_one_by_one() {
    let config =
        json!({"at_least_once": true, "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
    let bed = Bed::new(config).await;
    let mut input = schema("tasks", &[], &["Subject"]);
    (0..200).for_each(|row| input.push_str(&record("tasks", json!({"Subject": format!("s{row}")}))));
    input.push_str(&state(1));
    // The answers of both calls are lost, of one after it was executed; they may be in the air together or not.
    for (nth, kind) in [(1, "cut_after_execute"), (2, "drop")] {
        let fits = json!({"method": "POST", "path_contains": "/Tasks", "nth": nth});
        bed.fault(json!({"match": fits, "action": {"kind": kind}})).await;
    }
    let mut decided = 0;
    while let (Err(error), _) = bed.run(input.clone()).await {
        assert_eq!(error.class(), ErrorClass::InDoubt);
        let there = bed.rows("Tasks", "Subject").await;
        let open = jobs::list(bed.folder.path()).expect("a ledger");
        for doubt in &open[0].in_doubt {
            let first = if doubt.call.ends_with("/0") { "s0" } else { "s100" };
            let is_there = there.iter().any(|row| row["Subject"] == first);
            let resolution = if is_there { jobs::Resolution::Forget } else { jobs::Resolution::Resend };
            assert_eq!(jobs::resolve(bed.folder.path(), &doubt.call, resolution).expect("resolved"), 100);
            decided += 1;
        }
        let again = jobs::resolve(bed.folder.path(), &open[0].batch, jobs::Resolution::Forget);
        assert!(again.expect_err("decided").to_string().starts_with("nothing of `"));
    }
    assert_eq!(decided, 2);
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 200);
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

pub(super) async fn created(bed: &Bed) -> bool {
    let (_, stats) = bed.zylker.get("/__emulator/stats").await;
    stats.to_string().contains("GET /crm/bulk/v8/write/{id}")
}

/// The key of a row: under `changes` every tenth row is a new content of a key that came before.
fn key_of(number: u64, changes: bool) -> u64 {
    if changes && number % 10 == 9 { number - 5 } else { number }
}

/// The rows of a source, with a STATE after every hundred.
fn source(from: u64, rows: u64, changes: bool) -> String {
    let mut text = schema("feed", &["key"], &["key", "name", "phone"]);
    for number in from..rows {
        let key = key_of(number, changes);
        let row =
            json!({"key": format!("k{key}"), "name": format!("Name {key}"), "phone": format!("0-{number}")});
        text.push_str(&record("feed", row));
        if (number + 1) % 100 == 0 {
            text.push_str(&state(number + 1));
        }
    }
    text.push_str(&state(rows));
    text
}

/// Turns messages into others that say the same.
pub(super) type Form = fn(&Bed, String) -> String;

/// Kills runs at random moments and starts the source again from one of the last STATEs.
#[allow(clippy::print_stdout, reason = "a failing run has to be repeatable")]
pub(super) async fn kill_and_resume(operation: &str, method: &str, seed: u64, form: Form) {
    let config = feed(operation, method);
    println!("seed {seed}, {config}");
    let (rows, changes) = (1_500, operation != "insert");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bed = Bed::with(feed("upsert", "bulk"), Options { seed, ..Options::default() }).await;
    if operation == "update" {
        bed.written(source(0, rows, changes)).await;
        bed.folder = tempfile::tempdir().expect("a folder");
    }
    bed.config = config;
    let mut states: Vec<u64> = vec![0];
    for _ in 0..8 {
        let from = states[states.len() - 1 - random.usize(0..states.len().min(2))];
        let limit = Duration::from_millis(random.u64(1..400));
        let (ended, printed) = killed(&bed, form(&bed, source(from, rows, changes)), limit).await;
        states.extend(printed.iter().map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            value["at"].as_u64().expect("a number")
        }));
        if let Some(summary) = ended {
            assert_eq!(summary.failed(), 0, "{summary}");
        }
    }
    let from = states[states.len() - 1 - random.usize(0..states.len().min(2))];
    let (ended, lines) = killed(&bed, form(&bed, source(from, rows, changes)), Duration::from_secs(60)).await;
    let summary = ended.expect("the last run ends");
    assert_eq!(summary.failed(), 0, "{summary}");
    assert_eq!(lines.last(), Some(&format!("{{\"at\": {rows}}}")));
    check(&bed, rows, changes).await;
}

/// A run that is killed after a while: its summary if it came to its end, and what it printed.
pub(super) async fn killed(bed: &Bed, input: String, limit: Duration) -> (Option<Summary>, Vec<String>) {
    loop {
        let config = TargetConfig::from_json(&bed.config).expect("good config");
        let output = Output::default();
        let input = BufReader::with_capacity(8 << 10, std::io::Cursor::new(input.clone().into_bytes()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let (client, shutdown) = (bed.client(), CancellationToken::new());
        let input_name = "stdin".to_owned();
        let start = Start {
            state_dir: bed.folder.path(),
            source: Source::Tap,
            input_name,
            dry_run: false,
            now,
            shutdown,
        };
        // A dropped future is a kill: nothing of it runs on, what it has not stored is gone.
        let run = target::run(config, client, start, input, output.clone());
        match tokio::time::timeout(limit, run).await {
            // The tasks of the run before are still being dropped.
            Ok(Err(Error::Ledger(LedgerError::Locked { .. }))) => tokio::task::yield_now().await,
            Ok(Err(error)) => panic!("{error} {:?}", error.hint()),
            Ok(Ok(summary)) => return (Some(summary), output.lines()),
            Err(_) => return (None, output.lines()),
        }
    }
}

/// Every row is there once, with its last content.
async fn check(bed: &Bed, rows: u64, changes: bool) {
    let mut found = std::collections::BTreeMap::new();
    for row in bed.rows("Contacts", "Northwind_Id,Last_Name,Phone").await {
        let key = row["Northwind_Id"].as_str().expect("a key").to_owned();
        assert!(found.insert(key.clone(), row).is_none(), "{key} is there twice");
    }
    let mut wanted = std::collections::BTreeMap::new();
    for number in 0..rows {
        let key = key_of(number, changes);
        let row = json!({"Northwind_Id": format!("k{key}"), "Last_Name": format!("Name {key}"), "Phone": format!("0-{number}")});
        wanted.insert(format!("k{key}"), row);
    }
    assert_eq!(found.len(), wanted.len());
    for (key, row) in &wanted {
        assert_eq!(&found[key], row);
    }
}

fn feed(operation: &str, method: &str) -> Value {
    json!({"method": method, "batch_rows": 300, "streams": {"feed": {"module": "Contacts", "operation": operation,
        "match_on": ["Northwind_Id"], "fields": {"key": "Northwind_Id", "name": "Last_Name", "phone": "Phone"}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_and_double_nothing_under_upsert() {
    for (seed, method) in [(1, "bulk"), (2, "records"), (3, "bulk")] {
        kill_and_resume("upsert", method, seed, |_, text| text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_and_double_nothing_under_update() {
    for (seed, method) in [(4, "bulk"), (5, "records")] {
        kill_and_resume("update", method, seed, |_, text| text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_and_double_nothing_under_insert_by_a_unique_field() {
    for (seed, method) in [(6, "bulk"), (7, "records")] {
        kill_and_resume("insert", method, seed, |_, text| text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_service_lets_no_state_past_a_row_that_is_not_written() {
    let bed = Bed::new(json!({"method": "bulk", "batch_rows": 50})).await;
    let mut input = contacts(0..50) + &state(1);
    for number in 50..400 {
        input.push_str(&record("Contacts", contact(number)));
        if number % 10 == 9 {
            input.push_str(&state(number as u64));
        }
    }
    bed.fault(
        json!({"match": {"method": "POST", "path_contains": "/crm/bulk/v8/write", "nth": 3, "times": 0},
        "action": {"kind": "status", "status": 403, "code": "NO_PERMISSION"}}),
    )
    .await;
    let (ended, lines) = bed.run(input.clone()).await;
    assert_eq!(ended.expect_err("refused").class(), ErrorClass::Permission);
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 100);
    let confirmed: Value = serde_json::from_str(lines.last().expect("a STATE")).expect("JSON");
    assert!(confirmed["at"].as_u64().is_some_and(|at| at < 100), "{confirmed}");
    bed.zylker.request("DELETE", "/__emulator/faults").send().await.expect("an answer");
    let (_, _, results) = bed.written(input).await;
    // Known again are the rows after the third STATE before the last, and the batch that was left behind.
    assert_eq!(confirmed["at"], 99);
    assert_eq!(results.iter().filter(|result| result["from_run"].is_string()).count(), 50);
    assert_eq!(results.iter().filter(|result| result["replayed"] == true).count(), 30 + 50);
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 400);
}
