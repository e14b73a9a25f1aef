//! The next batch of a module is made ready while the last one's job runs, and sent only after it.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;

/// Sixty rows, the last twenty of the same contacts as the twenty before them.
fn input() -> String {
    let mut text = contacts(0..40);
    for number in 20..40 {
        let mut later = contact(number);
        later["Phone"] = json!("030-2");
        text.push_str(&record("Contacts", later));
    }
    text + &state(1)
}

async fn bed() -> Bed {
    let options = Options { job_ms: 60_000, ..Options::default() };
    Bed::with(json!({"method": "bulk", "batch_rows": 20}), options).await
}

/// Uploads and jobs so far.
async fn sent(bed: &Bed) -> (u64, u64) {
    let (_, stats) = bed.zylker.get("/__emulator/stats").await;
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    (number("/endpoints/POST ~1crm~1v8~1upload/calls"), number("/jobs/write/jobs"))
}

/// Waits until at least so many files were uploaded and jobs created; what there is then.
async fn reached(bed: &Bed, least: (u64, u64)) -> (u64, u64) {
    let poll = async {
        loop {
            let found = sent(bed).await;
            if found.0 >= least.0 && found.1 >= least.1 {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), poll).await.expect("files and jobs within a minute")
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_job_runs_the_next_file_is_uploaded_and_its_job_waits() {
    let bed = bed().await;
    let watch = async {
        for job in 1..=3_u64 {
            // The file behind the running job is there, its job is not.
            let now = ((job + 1).min(3), job);
            assert_eq!(reached(&bed, now).await, now);
            bed.zylker.advance(61);
        }
    };
    let ((_, lines, results), ()) = tokio::join!(bed.written(input()), watch);
    assert_eq!(lines, ["{\"at\": 1}"]);
    let told: Vec<u64> = results.iter().filter_map(|result| result["line"].as_u64()).collect();
    assert_eq!(told, (2..=61).collect::<Vec<u64>>());
    assert_eq!(sent(&bed).await, (3, 3));
    let rows = bed.rows("Contacts", "Email,Phone").await;
    let later = rows.iter().filter(|row| row["Phone"] == "030-2").count();
    assert_eq!((rows.len(), later), (40, 20), "the later batch wins");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_made_ready_leaves_nothing_behind() {
    let bed = bed().await;
    let stop = CancellationToken::new();
    let watch = async {
        reached(&bed, (2, 1)).await;
        stop.cancel();
    };
    let ((ended, lines), ()) = tokio::join!(bed.run_until(input(), stop.clone()), watch);
    assert_eq!(ended.expect_err("stopped").class(), ErrorClass::Interrupted);
    assert!(lines.is_empty(), "no STATE before its rows");
    let open = target::jobs::list(bed.folder.path()).expect("a ledger");
    assert_eq!(
        open.iter().map(|batch| batch.rows).collect::<Vec<_>>(),
        [20],
        "the ledger knows the first only"
    );
    let hours_pass = async {
        loop {
            bed.zylker.advance(61);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (_, lines, results) = tokio::select! {
        written = bed.written(input()) => written,
        never = hours_pass => never,
    };
    assert_eq!(lines, ["{\"at\": 1}"]);
    assert_eq!(results.iter().filter(|result| result["replayed"] == true).count(), 20);
    let rows = bed.rows("Contacts", "Email,Phone").await;
    let later = rows.iter().filter(|row| row["Phone"] == "030-2").count();
    assert_eq!((rows.len(), later), (40, 20));
}
