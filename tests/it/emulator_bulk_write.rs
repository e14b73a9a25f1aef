//! Bulk write over HTTP: upload, create, rows, result file, refusals.

use crate::common::zylker::{Answer, Zylker, answer, csv_of};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use zoho_crm_connector::emulator::Options;

const WRITE: &str = "/crm/bulk/v8/write";

fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a file");
        zip.write_all(text.as_bytes()).expect("its text");
    }
    zip.finish().expect("a zip").into_inner()
}

async fn send(zylker: &Zylker, zip: Vec<u8>, org: &str) -> Answer {
    let part = reqwest::multipart::Part::bytes(zip).file_name("x.zip");
    let request =
        zylker.request("POST", "/crm/v8/upload").header("feature", "bulk-write").header("X-CRM-ORG", org);
    answer(request.multipart(reqwest::multipart::Form::new().part("file", part))).await
}

async fn upload(zylker: &Zylker, files: &[(&str, &str)]) -> String {
    let org = zylker.emulator.app().orgs[0].zgid.clone();
    let (status, body) = send(zylker, zip_of(files), &org).await;
    assert_eq!(status, 200, "{body}");
    body["details"]["file_id"].as_str().expect("an id").to_owned()
}

/// Creates a job and waits for its end.
async fn run(zylker: &Zylker, body: Value) -> Value {
    let (status, body) = zylker.post(WRITE, &body).await;
    assert_eq!(status, 201, "{body}");
    let id = body["details"]["id"].as_str().expect("an id").to_owned();
    loop {
        let (_, job) = zylker.get(&format!("{WRITE}/{id}")).await;
        if job["status"] == "COMPLETED" || job["status"] == "FAILED" {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn result(zylker: &Zylker, job: &Value) -> Vec<csv::StringRecord> {
    csv_of(&zylker.download(job["result"]["download_url"].as_str().expect("a url")).await).1
}

async fn code(zylker: &Zylker, body: Value) -> String {
    let (status, answer) = zylker.post(WRITE, &body).await;
    assert_eq!(status, 400, "{body} {answer}");
    answer["code"].as_str().unwrap_or_default().to_owned()
}

fn contacts(file: &str, mappings: Value) -> Value {
    json!({"operation": "upsert", "ignore_empty": true, "resource": [{"type": "data", "module": {"api_name": "Contacts"},
        "file_id": file, "find_by": "Email", "field_mappings": mappings}]})
}

fn named() -> Value {
    json!([{"api_name": "Email", "index": 0}, {"api_name": "Last_Name", "index": 1},
        {"api_name": "Date_of_Birth", "index": 2, "format": "yyyy-MM-dd"}])
}

#[tokio::test]
async fn upsert_adds_updates_and_skips() {
    let zylker = Zylker::with_rows(&[]).await;
    let first =
        upload(&zylker, &[("c.csv", "Email,Last_Name,Born\na@x.test,Ng,2001-02-03\nb@x.test,\"O,\n1\",\n")])
            .await;
    let job = run(&zylker, contacts(&first, named())).await;
    assert_eq!(job["resource"][0]["file"]["added_count"], 2);
    let second = "Email,Last_Name,Born\nA@X.test,Ng-Lee,\nc@x.test,,\nd@x.test,Li,03/04/2001\n";
    let second = upload(&zylker, &[("c.csv", second)]).await;
    let job = run(&zylker, contacts(&second, named())).await;
    let counts = job["resource"][0]["file"].clone();
    assert_eq!(
        (&counts["updated_count"], &counts["skipped_count"], &counts["total_count"]),
        (&json!(1), &json!(2), &json!(3))
    );
    let rows = result(&zylker, &job).await;
    assert_eq!(rows[0], ["Email", "Last_Name", "Born", "STATUS", "RECORD_ID", "ERRORS"][..]);
    let states: Vec<_> = rows[1..].iter().map(|row| (row[3].to_owned(), row[5].to_owned())).collect();
    let wanted =
        [("UPDATED", ""), ("SKIPPED", "MANDATORY_NOT_FOUND-Last_Name"), ("SKIPPED", "INVALID_DATA-Born")];
    assert_eq!(states, wanted.map(|(state, errors)| (state.to_owned(), errors.to_owned())));
    let query = "select Last_Name, Date_of_Birth from Contacts where Email = 'a@x.test'";
    let (_, body) = zylker.coql(query).await;
    assert_eq!(body["data"][0]["Last_Name"], "Ng-Lee");
    assert_eq!(body["data"][0]["Date_of_Birth"], "2001-02-03", "empty cells are left alone");
}

#[tokio::test]
async fn lookups_are_found_by_name_and_children_by_their_parent() {
    let zylker = Zylker::with_rows(&[("Products", 3)]).await;
    let (_, product) = zylker.coql("select id from Products where id is not null limit 1").await;
    let product = product["data"][0]["id"].as_str().expect("an id");
    let lines = format!("Key,Product\nk2,{product}\nk1,{product}\nk9,{product}\n");
    let file = upload(&zylker, &[("p.csv", "Name,Key\nOne,k1\nTwo,k2\n"), ("l.csv", &lines)]).await;
    let (_, fields) = zylker.coql("select id from Everything_Lines where id is not null").await;
    assert_eq!(fields, Value::Null);
    let body = json!({"operation": "insert", "resource": [
        {"type": "data", "module": {"api_name": "Everything"}, "file_id": file, "file_names": ["p.csv"],
            "field_mappings": [{"api_name": "Name", "index": 0}]},
        {"type": "data", "module": {"api_name": "Everything_Lines"}, "file_id": file, "file_names": ["l.csv"],
            "field_mappings": [{"api_name": "Parent_Id", "index": 0, "parent_column_index": 1}]}]});
    let job = run(&zylker, body).await;
    assert_eq!(job["resource"][1]["file"]["added_count"], 2, "{job}");
    let (_, lines) = zylker.coql("select Parent_Id.Name from Everything_Lines where id is not null").await;
    let names: Vec<&Value> =
        lines["data"].as_array().expect("lines").iter().map(|line| &line["Parent_Id.Name"]).collect();
    assert_eq!(names, ["Two", "One"]);
}

#[tokio::test]
async fn upload_refuses() {
    let zylker = Zylker::with_rows(&[]).await;
    let org = zylker.emulator.app().orgs[0].zgid.clone();
    let (status, body) = send(&zylker, zip_of(&[("a.csv", "Email\n")]), "1").await;
    assert_eq!((status, &body["ERROR_MESSAGE"]), (400, &json!("Bad Request")));
    let (status, body) = send(&zylker, b"Email\na@x.test\n".to_vec(), &org).await;
    assert_eq!((status, &body["code"]), (400, &json!("INVALID_FILE_FORMAT")));
    let (status, body) = send(&zylker, vec![b'x'; 25 * 1024 * 1024 + 1], &org).await;
    assert_eq!((status, &body["code"]), (413, &json!("FILE_TOO_LARGE")));
}

#[tokio::test]
async fn create_refuses_by_name() {
    let zylker = Zylker::with_rows(&[]).await;
    let file = upload(&zylker, &[("c.csv", "Email,Last_Name,Born\n")]).await;
    let with = |mapping: Value| {
        let mut mappings = named();
        mappings.as_array_mut().expect("a list").push(mapping);
        contacts(&file, mappings)
    };
    let changed = |path: &str, value: Value| {
        let mut body = contacts(&file, named());
        *body.pointer_mut(path).expect(path) = value;
        body
    };
    for (body, wanted) in [
        (json!({"resource": []}), "MISSING_REQUIRED_KEY"),
        (changed("/resource/0/module/api_name", json!("Nope")), "MODULE_NOT_AVAILABLE"),
        (changed("/resource/0/file_id", json!("1")), "INVALID_FILE_ID"),
        (changed("/resource/0/find_by", Value::Null), "MANDATORY_NOT_FOUND"),
        (changed("/resource/0/find_by", json!("Last_Name")), "INVALID_DATA"),
        (changed("/resource/0/field_mappings/2/format", json!("qq")), "INVALID_FORMAT"),
        (changed("/resource/0/field_mappings/1/index", json!(3)), "COLUMN_INDEX_NOT_FOUND"),
        (changed("/resource/0/field_mappings/1/index", json!(-1)), "COLUMN_INDEX_NOT_FOUND"),
        (changed("/resource/0/field_mappings/1/api_name", json!("Phone")), "MANDATORY_FIELDS_NOT_MAPPED"),
        (with(json!({"api_name": "Nope", "index": 1})), "INVALID_FIELD"),
        (with(json!({"api_name": "Email", "index": 1})), "DUPLICATE_DATA"),
        (with(json!({"api_name": "Account_Name", "index": 1})), "MANDATORY_NOT_FOUND"),
    ] {
        assert_eq!(code(&zylker, body.clone()).await, wanted, "{body}");
    }
}

#[tokio::test]
async fn the_result_can_be_told_in_other_ways() {
    let zylker = Zylker::with_rows(&[]).await;
    zylker.emulator.app().change_switches(|switches| {
        switches.bulk_write_relative_url = true;
        switches.bulk_write_dropped_row = Some(2);
        switches.bulk_write_repeated_row = Some(3);
        switches.bulk_write_altered_cells = true;
    });
    let file =
        upload(&zylker, &[("c.csv", "Email|Last_Name|Born\na@x.test|A  B|\nb@x.test|B|\nc@x.test|C|\n")])
            .await;
    let job = run(&zylker, contacts(&file, named())).await;
    assert!(job["result"]["download_url"].as_str().is_some_and(|url| url.starts_with("/v7/crm/org")));
    let rows = result(&zylker, &job).await;
    let names: Vec<&str> = rows[1..].iter().map(|row| &row[1]).collect();
    assert_eq!(names, ["A B", "C", "C"]);
}

#[tokio::test]
async fn a_create_call_without_an_answer_still_writes() {
    let zylker = Zylker::with_rows(&[]).await;
    let file = upload(&zylker, &[("c.csv", "Email,Last_Name,Born\na@x.test,Ng,\n")]).await;
    let rule =
        json!([{"match": {"path_contains": "/bulk/v8/write"}, "action": {"kind": "cut_after_execute"}}]);
    zylker.emulator.app().faults.add(serde_json::from_value(rule).expect("rules"));
    let request = zylker.request("POST", WRITE).header("content-type", "application/json");
    assert!(request.body(contacts(&file, named()).to_string()).send().await.is_err());
    for _ in 0..200 {
        if zylker.coql("select id from Contacts where Email = 'a@x.test'").await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the job did not run");
}

/// The hardest case of a lost answer: nobody knows the job, and for a minute nothing shows it either.
#[tokio::test]
async fn a_job_whose_answer_was_lost_may_run_a_minute_later() {
    let zylker = Zylker::start(Options { frozen_at: Some(1_800_000_000), ..Options::default() }).await;
    let file = upload(&zylker, &[("c.csv", "Email,Last_Name,Born\na@x.test,Ng,\n")]).await;
    let on_create =
        |action: &str| json!({"match": {"path_contains": "/bulk/v8/write"}, "action": {"kind": action}});
    let rules = json!([on_create("cut_after_execute"), on_create("late_job")]);
    zylker.emulator.app().faults.add(serde_json::from_value(rules).expect("rules"));
    let request = zylker.request("POST", WRITE).header("content-type", "application/json");
    assert!(request.body(contacts(&file, named()).to_string()).send().await.is_err());
    let found = || zylker.coql("select id from Contacts where Email = 'a@x.test'");
    zylker.advance(59);
    assert_eq!(found().await.0, 204);
    zylker.advance(2);
    assert_eq!(found().await.0, 200);
    let jobs = zylker.get("/__emulator/stats").await.1["jobs"]["write"].clone();
    assert_eq!((&jobs["jobs"], &jobs["busy_ms"], &jobs["peak"]), (&json!(1), &json!(40), &json!(1)));
}

#[tokio::test]
async fn an_uploaded_file_is_forgotten_after_a_day() {
    let zylker = Zylker::with_rows(&[]).await;
    let file = upload(&zylker, &[("c.csv", "Email,Last_Name,Born\na@x.test,Ng,\n")]).await;
    zylker.advance(86_401);
    let zylker = zylker.signed_in_again().await;
    assert_eq!(code(&zylker, contacts(&file, named())).await, "INVALID_FILE_ID");
    zylker.emulator.app().change_switches(|switches| switches.bulk_write_upload_seconds = 200_000);
    run(&zylker, contacts(&file, named())).await;
}

#[tokio::test]
async fn rows_are_refused_by_chance_with_every_code() {
    let zylker = Zylker::with_rows(&[]).await;
    let rules = json!([{"match": {"method": "POST", "path_contains": "/crm", "times": 0}, "action": {"kind": "row_errors"}}]);
    zylker.emulator.app().faults.add(serde_json::from_value(rules).expect("rules"));
    let rows: String = (0..200).map(|n| format!("b{n}@x.test,Ng,\n")).collect();
    let file = upload(&zylker, &[("c.csv", &format!("Email,Last_Name,Born\n{rows}"))]).await;
    let job = run(&zylker, contacts(&file, named())).await;
    let told = result(&zylker, &job).await;
    let codes: std::collections::BTreeSet<&str> = told[1..]
        .iter()
        .filter(|row| !row[5].is_empty())
        .map(|row| row[5].split('-').next().unwrap_or_default())
        .collect();
    assert_eq!(codes.len(), 8, "{codes:?}");
    let written = told[1..].iter().filter(|row| &row[3] == "ADDED").count();
    let states = told[1..].iter().filter(|row| &row[3] == "UNPROCESSED").count();
    assert!((60..140).contains(&written) && states > 0, "{written} {states}");
    let records: Vec<Value> =
        (0..100).map(|n| json!({"Email": format!("r{n}@x.test"), "Last_Name": "Ng"})).collect();
    let (status, body) = zylker.post("/crm/v8/Contacts", &json!({"data": records, "trigger": []})).await;
    assert_eq!(status, 207, "{body}");
    let good =
        body["data"].as_array().expect("results").iter().filter(|row| row["code"] == "SUCCESS").count();
    let found = zylker.get("/crm/v8/Contacts/actions/count").await.1;
    assert_eq!(found["count"], json!(written + good));
    let stats = zylker.get("/__emulator/stats").await.1;
    assert_eq!(stats["endpoints"]["POST /crm/v8/Contacts"]["triggers"], json!({"[]": 1}));
}

#[tokio::test]
async fn a_locked_record_is_not_written_to() {
    let zylker = Zylker::with_rows(&[("Contacts", 1)]).await;
    let id =
        zylker.get("/crm/v8/Contacts?fields=id").await.1["data"][0]["id"].as_str().expect("an id").to_owned();
    zylker.post("/__emulator/mutate", &json!({"module": "Contacts", "lock_ids": [id]})).await;
    let url = format!("/crm/v8/Contacts/{id}");
    let change = json!({"data": [{"Last_Name": "Li"}]}).to_string();
    let (_, body) = answer(zylker.request("PUT", &url).body(change.clone())).await;
    assert_eq!(body["data"][0]["code"], "RECORD_LOCKED");
    let (_, body) = answer(zylker.request("DELETE", &url)).await;
    assert_eq!(body["data"][0]["code"], "RECORD_LOCKED");
    let file = upload(&zylker, &[("c.csv", &format!("id,Last_Name\n{id},Li\n"))]).await;
    let body = json!({"operation": "update", "resource": [{"type": "data", "module": {"api_name": "Contacts"}, "file_id": file,
        "find_by": "id", "field_mappings": [{"api_name": "id", "index": 0}, {"api_name": "Last_Name", "index": 1}]}]});
    let job = run(&zylker, body).await;
    assert!(result(&zylker, &job).await[1][4].starts_with("BLOCKED_RECORD"));
    zylker.post("/__emulator/mutate", &json!({"module": "Contacts", "unlock_ids": [id]})).await;
    assert_eq!(answer(zylker.request("PUT", &url).body(change)).await.0, 200);
}
