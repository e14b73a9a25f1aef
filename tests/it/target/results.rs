//! No outcome is ever wrong, whatever Zoho does to the file of results.

use super::*;

/// Switches the emulator's result file to its worst: other order, other white space, a row left out, one told twice.
async fn worst(bed: &Bed, dropped: u64, repeated: u64) {
    let switches = json!({"bulk_write_shuffled_result": true, "bulk_write_altered_cells": true,
        "bulk_write_dropped_row": dropped, "bulk_write_repeated_row": repeated});
    assert!(bed.zylker.post("/__emulator/switches", &switches).await.0 < 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_distinct_first_values_always_know_their_outcome() {
    for seed in [1, 2, 3] {
        let options = Options { seed, ..Options::default() };
        let mut bed = Bed::with(json!({"method": "records"}), options).await;
        // Half of them are there already.
        bed.written(contacts(0..40) + &state(1)).await;
        bed.config = json!({"method": "bulk", "max_rejected": "100%"});
        worst(&bed, 7, 11).await;
        let mut input = contacts(0..0);
        for number in 0..80 {
            let mut row = contact(number);
            row["Last_Name"] = json!(format!("  Name   {number}\t x "));
            input.push_str(&record("Contacts", row));
        }
        let (_, _, results) = bed.written(input + &state(2)).await;
        assert_eq!(results.len(), 80);
        let rows = bed.rows("Contacts", "id,Email").await;
        let mut again = 0;
        for (number, result) in results.iter().enumerate() {
            let email = format!("c{number}@x.test");
            assert_eq!(result["identifier"]["Email"], email.as_str());
            let id = &rows.iter().find(|row| row["Email"] == email.as_str()).expect("written")["id"];
            assert_eq!(&result["record_id"], id, "{email}");
            if result["action"] == "written" {
                again += 1;
                continue;
            }
            assert_eq!(result["action"], if number < 40 { "updated" } else { "inserted" }, "{email}");
        }
        assert_eq!(again, 1, "the row that the file does not have is sent again, which does no harm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_tells_equal_rows_apart() {
    let mark = json!({"api_name": "Mark", "data_type": "text", "length": 60, "custom": true});
    let mut bed = Bed::new(json!({"method": "bulk", "max_rejected": "100%", "streams": {"tasks":
        {"module": "Tasks", "operation": "insert", "batch_tag_field": "Mark"}}}))
    .await;
    bed.zylker = Zylker::start(Options {
        schema: Some(json!({"modules": [{"api_name": "Tasks", "fields": [mark]}]})),
        ..Options::default()
    })
    .await;
    worst(&bed, 5, 9).await;
    let mut input = schema("tasks", &[], &["Subject"]);
    (0..60)
        .for_each(|number| input.push_str(&record("tasks", json!({"Subject": format!("s {}", number % 3)}))));
    let (_, _, results) = bed.written(input + &state(1)).await;
    let rows = bed.rows("Tasks", "id,Mark").await;
    assert_eq!(actions(&results), vec!["inserted"; 60], "the row that the file does not have is found");
    for result in &results {
        let end = format!("-{}", result["line"]);
        let row = rows.iter().find(|row| row["Mark"].as_str().is_some_and(|mark| mark.ends_with(&end)));
        assert_eq!(result["record_id"], row.expect("written")["id"], "{result}");
    }
}

/// A job of keyless inserts that fails after a hundred of its 150 rows.
async fn failed_job(fields: &[Value], stream: Value) -> (Bed, Vec<Value>) {
    let mut bed =
        Bed::new(json!({"method": "bulk", "at_least_once": true, "max_rejected": "100%", "in_doubt_wait": 1,
        "streams": {"tasks": stream}}))
        .await;
    bed.zylker = Zylker::start(Options {
        schema: Some(json!({"modules": [{"api_name": "Tasks", "fields": fields}]})),
        ..Options::default()
    })
    .await;
    bed.fault(json!({"match": {"method": "POST", "path_contains": "bulk/v8/write"},
        "action": {"kind": "job_failure", "rows": 100}}))
        .await;
    let mut input = schema("tasks", &[], &["Subject", "Number"]);
    (0..150).for_each(|n| {
        input.push_str(&record(
            "tasks",
            json!({"Subject": format!("s {}", n % 3), "Number": format!("n{n}")}),
        ));
    });
    let (_, lines, results) = bed.written(input + &state(1)).await;
    assert_eq!(lines, ["{\"at\": 1}"]);
    (bed, results)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_failed_job_are_found_again() {
    let text = |name: &str, unique: bool| json!({"api_name": name, "data_type": "text", "length": 60, "unique": unique, "custom": true});
    let insert = json!({"module": "Tasks", "operation": "insert", "fields": ["Subject"]});
    let mut marked = insert.clone();
    marked["batch_tag_field"] = json!("Mark");
    let mut unique = insert.clone();
    unique["fields"] = json!(["Subject", "Number"]);
    for (fields, stream, kept) in [
        (vec![text("Mark", false)], marked, Some("Mark")),
        (vec![text("Number", true)], unique, Some("Number")),
        (vec![], insert, None),
    ] {
        let (bed, results) = failed_job(&fields, stream).await;
        let rows = bed.rows("Tasks", "id,Subject").await;
        assert_eq!((rows.len(), results.len()), (100, 150));
        let Some(kept) = kept else {
            assert_eq!(actions(&results), vec!["unknown"; 150], "nothing tells these rows apart");
            continue;
        };
        let expected = [vec!["inserted"; 100], vec!["rejected"; 50]].concat();
        assert_eq!(actions(&results), expected, "{kept} {:?}", results[0]);
        for (row, result) in rows.iter().zip(&results) {
            assert_eq!(row["id"], result["record_id"], "{kept}");
        }
        assert_eq!(results[149]["code"], "CANNOT_PROCESS", "{}", results[149]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_without_a_mark_claim_no_record_and_nothing_wrong() {
    let bed = Bed::new(json!({"method": "bulk", "at_least_once": true, "max_rejected": "100%",
        "streams": {"tasks": {"module": "Tasks", "operation": "insert"}}}))
    .await;
    worst(&bed, 5, 9).await;
    let mut input = schema("tasks", &[], &["Subject"]);
    (0..30)
        .for_each(|number| input.push_str(&record("tasks", json!({"Subject": format!("s {}", number % 3)}))));
    let (_, _, results) = bed.written(input + &state(1)).await;
    assert_eq!(bed.rows("Tasks", "Subject").await.len(), 30);
    for result in &results {
        assert!(result["action"] == "inserted" || result["action"] == "unknown", "{result}");
        assert_eq!(result["record_id"], Value::Null, "nobody can tell which record is whose: {result}");
    }
}
