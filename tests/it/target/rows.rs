//! What arrives and what is told.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;

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
    assert_eq!(summary.tallies[0].effort.credits, 25);
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
        ("{\"type\":\"BATCH\",\"stream\":\"Contacts\"}\n", ErrorClass::Protocol, "BATCH has no `encoding`"),
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
