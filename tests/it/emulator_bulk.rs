//! Bulk read over HTTP: states, pages, files, refusals.

use crate::common::zylker::{Zylker, answer, csv_of};
use serde_json::{Value, json};
use std::time::Duration;
use zoho_crm_connector::emulator::Options;

const READ: &str = "/crm/bulk/v8/read";

/// An emulator whose clock stands still and whose jobs take 50 s of it.
async fn frozen(rows: &[(&str, u64)]) -> Zylker {
    let rows = rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let options = Options { rows, frozen_at: Some(1_800_000_000), job_ms: 50_000, ..Options::default() };
    Zylker::start(options).await
}

async fn create(zylker: &Zylker, query: Value) -> String {
    let (status, body) = zylker.post(READ, &json!({"query": query})).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["data"][0]["details"]["state"], "ADDED");
    body["data"][0]["details"]["id"].as_str().expect("an id").to_owned()
}

async fn state(zylker: &Zylker, job: &str) -> Value {
    let (status, body) = zylker.get(&format!("{READ}/{job}")).await;
    assert_eq!(status, 200, "{body}");
    body["data"][0].clone()
}

async fn finished(zylker: &Zylker, job: &str) -> Value {
    loop {
        let job = state(zylker, job).await;
        if job["state"] == "COMPLETED" || job["state"] == "FAILURE" {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn code(zylker: &Zylker, body: Value) -> String {
    let (status, body) = zylker.post(READ, &body).await;
    assert_eq!(status, 400, "{body}");
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_job_passes_its_states_and_reads_when_it_starts() {
    let zylker = frozen(&[("Leads", 5)]).await;
    let query =
        || json!({"module": {"api_name": "Leads"}, "fields": ["Last_Name", "Owner", "Modified_Time"]});
    let jobs =
        [create(&zylker, query()).await, create(&zylker, query()).await, create(&zylker, query()).await];
    zylker.advance(11);
    let states = [state(&zylker, &jobs[0]).await, state(&zylker, &jobs[2]).await];
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&json!("IN PROGRESS"), &json!("QUEUED")));
    assert!(states[0].get("result").is_none());
    zylker.advance(40);
    assert_eq!(state(&zylker, &jobs[0]).await["state"], "COMPLETED");
    assert_eq!(state(&zylker, &jobs[2]).await["state"], "IN PROGRESS");
    zylker.advance(40);
    let done = state(&zylker, &jobs[2]).await;
    assert_eq!(done["result"]["count"], 5);
    let zip = zylker.download(done["result"]["download_url"].as_str().expect("a url")).await;
    let (name, records) = csv_of(&zip);
    assert_eq!(name, format!("{}.csv", jobs[2]));
    assert_eq!(records[0], ["Id", "Last_Name", "Owner", "Modified_Time"][..]);
    assert!(records[1..].is_sorted_by_key(|record| record[0].to_owned()) && records.len() == 6);
}

#[tokio::test]
async fn pages_by_number_and_by_token() {
    let zylker = Zylker::with_rows(&[("Leads", 25)]).await;
    zylker.emulator.app().change_switches(|switches| switches.bulk_read_page_size = 10);
    let mut ids = Vec::new();
    let mut query = json!({"module": "Leads", "fields": ["id"]});
    let mut pages = Vec::new();
    loop {
        let job = create(&zylker, query).await;
        let result = finished(&zylker, &job).await["result"].clone();
        let (_, records) = csv_of(&zylker.download(result["download_url"].as_str().expect("a url")).await);
        ids.extend(records[1..].iter().map(|record| record[0].to_owned()));
        pages.push((result["page"].clone(), result["count"].clone()));
        match result["next_page_token"].as_str() {
            Some(token) => query = json!({"page_token": token}),
            None => break,
        }
    }
    assert_eq!(pages, [(json!(1), json!(10)), (json!(2), json!(10)), (json!(3), json!(5))]);
    assert!(ids.is_sorted() && ids.len() == 25);
    let job = create(&zylker, json!({"module": "Leads", "fields": ["id"], "page": 3})).await;
    let result = finished(&zylker, &job).await["result"].clone();
    assert_eq!((&result["count"], &result["more_records"]), (&json!(5), &json!(false)));
}

#[tokio::test]
async fn criteria_choose_rows() {
    let zylker = Zylker::with_rows(&[("Leads", 60)]).await;
    let group = json!({"group_operator": "or", "group": [
        {"field": {"api_name": "Lead_Source"}, "comparator": "equal", "value": "${EMPTY}"},
        {"api_name": "Owner.email", "comparator": "starts_with", "value": "user1@"}]});
    let query =
        json!({"module": {"api_name": "Leads"}, "fields": ["Lead_Source", "Owner.email"], "criteria": group});
    let job = finished(&zylker, &create(&zylker, query).await).await;
    assert_eq!(job["query"]["criteria"], group);
    let (_, records) = csv_of(&zylker.download(job["result"]["download_url"].as_str().expect("a url")).await);
    assert!(records.len() > 1 && records.len() < 61);
    assert!(records[1..].iter().all(|record| record[1].is_empty() || record[2].starts_with("user1@")));
}

#[tokio::test]
async fn downloads_can_be_resumed_and_are_limited() {
    let zylker = frozen(&[("Leads", 200)]).await;
    let job = create(&zylker, json!({"module": {"api_name": "Leads"}})).await;
    let path = format!("{READ}/{job}/result");
    assert_eq!(zylker.get(&path).await.0, 404, "not completed");
    zylker.advance(60);
    let whole = zylker.download(&path).await;
    let response =
        zylker.request("GET", &path).header("range", "bytes=100-").send().await.expect("an answer");
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-range"], format!("bytes 100-{}/{}", whole.len() - 1, whole.len()));
    assert_eq!(response.headers()["content-type"], "application/zip");
    assert_eq!(response.bytes().await.expect("a body"), whole[100..]);
    for _ in 3..=10 {
        zylker.download(&path).await;
    }
    let (status, body) = answer(zylker.request("GET", &path)).await;
    assert_eq!((status, &body["code"]), (429, &json!("TOO_MANY_REQUESTS")));
    zylker.advance(60);
    zylker.download(&path).await;
}

#[tokio::test]
async fn create_refuses_by_name() {
    let zylker = Zylker::with_rows(&[("Leads", 1)]).await;
    let on = |query: Value| json!({"query": query});
    for (body, wanted) in [
        (on(json!({"module": {"api_name": "Nope"}})), "MODULE_NOT_AVAILABLE"),
        (on(json!({"module": {"api_name": "Notes"}})), "MODULE_NOT_SUPPORTED"),
        (on(json!({"module": {"api_name": "Users"}})), "MODULE_NOT_SUPPORTED"),
        (on(json!({"module": {"api_name": "Leads"}, "fields": ["Nope"]})), "FIELD_NOT_AVAILABLE"),
        (on(json!({"module": {"api_name": "Leads"}, "fields": ["Tag"]})), "FIELD_NOT_SUPPORTED"),
        (on(json!({"module": {"api_name": "Leads"}, "page": 501})), "PAGE_RANGE_EXCEEDED"),
        (on(json!({"module": {"api_name": "Leads"}, "cvid": "1"})), "CVID_NOT_SUPPORTED"),
        (on(json!({"page_token": "nope"})), "INVALID_REQUEST"),
        (json!({"query": {"module": "Leads"}, "file_type": "ics"}), "JOB_NOT_SUPPORTED"),
        (json!({"query": {"module": "Leads"}, "callback": {"method": "get"}}), "INVALID_CALLBACK_METHOD"),
        (json!([]), "REQUEST_BODY_NOT_SUPPORTED"),
    ] {
        assert_eq!(code(&zylker, body.clone()).await, wanted, "{body}");
    }
    let (status, body) = answer(zylker.request("POST", READ).body("{}")).await;
    assert_eq!((status, &body["code"]), (415, &json!("MEDIA_TYPE_NOT_SUPPORTED")));
    let (status, body) = zylker.get(&format!("{READ}/1")).await;
    assert_eq!((status, &body["code"]), (404, &json!("RESOURCE_NOT_FOUND")));
}
