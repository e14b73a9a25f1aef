//! Rows found again: by their mark, as replays after several crashes, from a file of rejected ones.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;
use zoho_crm_connector::target::jobs;

/// A module with a field for marks, unique or not.
async fn marked(method: &str, unique: bool, job_ms: i64) -> Bed {
    let mark =
        json!({"api_name": "Mark", "data_type": "text", "length": 60, "unique": unique, "custom": true});
    let config = json!({"method": method, "in_doubt_wait": 1, "streams": {"tasks":
        {"module": "Tasks", "operation": "insert", "batch_tag_field": "Mark"}}});
    let schema = json!({"modules": [{"api_name": "Tasks", "fields": [mark]}]});
    let zylker = Zylker::start(Options { schema: Some(schema), job_ms, ..Options::default() }).await;
    Bed { zylker, folder: tempfile::tempdir().expect("a folder"), config, source: Source::Tap }
}

fn tasks(subjects: &[&str]) -> String {
    let mut text = schema("tasks", &[], &["Subject"]);
    subjects.iter().for_each(|subject| text.push_str(&record("tasks", json!({"Subject": subject}))));
    text
}

const LOST: [(&str, &str); 2] = [("records", "/crm/v8/Tasks"), ("bulk", "/crm/bulk/v8/write")];

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_answer_was_lost_are_found_by_their_mark() {
    for (method, path) in LOST {
        let bed = marked(method, false, 50).await;
        bed.fault(json!({"match": {"method": "POST", "path_contains": path}, "action": {"kind": "cut_after_execute"}})).await;
        let (_, lines, results) = bed.written(tasks(&["a", "a", "b"]) + &state(1)).await;
        assert_eq!(actions(&results), ["inserted"; 3], "{method}");
        assert!(results.iter().all(|result| result["record_id"].is_string()));
        assert_eq!(lines, ["{\"at\": 1}"]);
        let rows = bed.rows("Tasks", "Subject,Mark").await;
        assert_eq!(rows.len(), 3);
        assert!(rows[0]["Mark"].as_str().is_some_and(|mark| mark.ends_with("-r1-b1-2")), "{}", rows[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_record_call_that_never_arrived_are_sent_again_for_want_of_their_mark() {
    let bed = marked("records", false, 50).await;
    bed.fault(json!({"match": {"method": "POST", "path_contains": LOST[0].1}, "action": {"kind": "drop"}}))
        .await;
    let (_, lines, results) = bed.written(tasks(&["a", "a", "b"]) + &state(1)).await;
    assert_eq!(actions(&results), ["written"; 3]);
    assert_eq!(lines, ["{\"at\": 1}"]);
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_late_is_found_by_the_next_run() {
    let bed = marked("bulk", false, 60_000).await;
    bed.fault(json!({"match": {"method": "POST", "path_contains": "/crm/bulk/v8/write"}, "action": {"kind": "cut_after_execute"}})).await;
    let input = tasks(&["a", "a", "b"]) + &state(1);
    let (ended, lines) = bed.run(input.clone()).await;
    let error = ended.expect_err("nothing found is no proof");
    assert_eq!(error.class(), ErrorClass::InDoubt, "{error}");
    assert!(lines.is_empty());
    bed.zylker.advance(61);
    let (summary, lines, results) = bed.written(input).await;
    assert_eq!(lines, ["{\"at\": 1}"]);
    assert_eq!((summary.failed(), results.len()), (0, 6), "three found, three recognised");
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_mark_leaves_nothing_in_doubt() {
    for (method, path) in LOST {
        for kind in ["drop", "cut_after_execute"] {
            let bed = marked(method, true, 50).await;
            bed.fault(json!({"match": {"method": "POST", "path_contains": path}, "action": {"kind": kind}}))
                .await;
            let (_, _, results) = bed.written(tasks(&["a", "a", "b"]) + &state(1)).await;
            assert_eq!(actions(&results), ["written"; 3], "{method} {kind}");
            assert_eq!(bed.rows("Tasks", "Subject").await.len(), 3);
        }
    }
}

/// Rows without a key, of which one content comes several times.
fn keyless(from: usize, to: usize) -> String {
    let mut text = schema("tasks", &[], &["Subject"]);
    for number in from..to {
        text.push_str(&record("tasks", json!({"Subject": format!("s{}", number % 7)})));
        if number % 10 == 9 {
            text.push_str(&state(number as u64 + 1));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_dies_right_after_a_state_hides_no_rows_of_the_run_before() {
    let config =
        json!({"at_least_once": true, "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
    let bed = Bed::new(config).await;
    let without_states = |text: String| -> String {
        text.lines().filter(|line| !line.contains("STATE")).map(|line| format!("{line}\n")).collect()
    };
    // Forty rows accepted, no STATE out.
    bed.written(without_states(keyless(0, 40))).await;
    // The tap starts again and dies right after the STATE of row 20; the target sees a good end.
    bed.written(keyless(0, 20)).await;
    // And again, before its first row.
    bed.written(schema("tasks", &[], &["Subject"]) + &state(20)).await;
    let (summary, _, _) = bed.written(keyless(20, 50)).await;
    assert_eq!(summary.tallies[0].replayed, 20);
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_after_two_crashes_is_no_replay() {
    let config = json!({"at_least_once": true, "replay_states": 0,
        "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}});
    let bed = Bed::new(config).await;
    // Three runs without a last STATE: each goes on from a row that the run before it had written.
    let rows = |names: &[&str]| tasks(names).split_once('\n').expect("a SCHEMA").1.to_owned();
    bed.written(tasks(&["a", "b"]) + &state(1) + &rows(&["c"])).await;
    bed.written(tasks(&["c", "d"])).await;
    // `a` was written by the first run only, and lies before the last STATE.
    let (_, _, results) = bed.written(tasks(&["d", "a"]) + &state(1)).await;
    let replayed: Vec<bool> = results.iter().map(|result| result["replayed"] == true).collect();
    assert_eq!(replayed, [true, false]);
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_row_is_written_by_a_retry() {
    let mut bed = Bed::new(json!({"max_rejected": 9})).await;
    let mut input = contacts(0..3);
    input.push_str(&record("Contacts", json!({"Email": "not-an-address", "Last_Name": "Mended"})));
    let (summary, _, _) = bed.written(input.clone()).await;
    let rejects = std::fs::read_to_string(summary.rejects.expect("rejected rows")).expect("readable");
    assert!(rejects.contains("INVALID_DATA"), "{rejects}");
    bed.source = Source::Rejects;
    let (summary, _, results) = bed.written(rejects.replace("not-an-address", "mended@x.test")).await;
    assert_eq!((actions(&results), summary.failed()), (vec!["inserted"], 0));
    // The retry tells nothing about where the tap will start: its rows are still recognised.
    bed.source = Source::Tap;
    let (summary, _, _) = bed.written(input + &state(1)).await;
    assert_eq!(summary.tallies[0].replayed, 3);
    assert_eq!(bed.rows("Contacts", "Email").await.len(), 4);
    assert!(jobs::list(bed.folder.path()).expect("a ledger").is_empty());
}
