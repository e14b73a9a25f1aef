//! Every switch of the local Zoho both ways: what a client sees without it, and with it.
//!
//! A row of a table names the switch, another value, and what is seen by default and then; how it is
//! looked at stands in one function for each API.

use crate::common::zylker::{Zylker, answer, csv_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::Duration;
use zoho_crm_connector::emulator::Options;
use zoho_crm_connector::emulator::switches::Switches;

/// A switch, its other value, what is seen by default, what is seen with the other value.
type Row = (&'static str, Value, Value, Value);

/// Switches that other files of this folder turn both ways.
const ELSEWHERE: [&str; 9] = [
    "page_tokens",
    "merged",
    "multi_currency",
    "territories",
    "bulk_write_upload_seconds",
    "no_permission_module",
    "jobs_side_by_side",
    "bulk_read_refused_fields",
    "coql_refused_fields",
];

fn of_records() -> Vec<Row> {
    vec![
        ("modified_since_strict", json!(false), json!(304), json!(200)),
        ("deleted_304", json!(false), json!(304), json!(204)),
        ("deleted_rows", json!(200), json!(204), json!(400)),
        ("restore_moves_modified_time", json!(true), json!(false), json!(true)),
        ("wrap_errors", json!(true), json!(false), json!(true)),
        ("all_failed_status", json!(202), json!(400), json!(202)),
        ("reject_read_only", json!(true), json!(201), json!(400)),
        ("reject_unknown_keys", json!(true), json!(201), json!(400)),
        ("bare_lookup_ids", json!(false), json!(201), json!(400)),
        ("round_decimals", json!(true), json!(400), json!(201)),
        ("replace_subform_rows", json!(true), json!(2), json!(1)),
        ("unknown_record_204", json!(false), json!(204), json!(400)),
        ("page_token_reach", json!(1), json!(200), json!(400)),
    ]
}

fn of_queries() -> Vec<Row> {
    vec![
        ("coql_rows", json!(2), json!(200), json!(400)),
        ("coql_columns", json!(1), json!(200), json!(400)),
        ("coql_values", json!(1), json!(200), json!(400)),
        ("coql_notes", json!(true), json!(400), json!(200)),
        ("coql_reach", json!(2), json!(200), json!(400)),
    ]
}

fn of_bulk_read() -> Vec<Row> {
    vec![
        ("bulk_read_page_size", json!(2), json!([5, false]), json!([2, true])),
        ("bulk_read_id_column", json!("id"), json!("Id,Last_Name"), json!("id,Last_Name")),
        ("bulk_read_id_first", json!(false), json!("Id,Last_Name"), json!("Last_Name,Id")),
        ("bulk_read_byte_order_mark", json!(true), json!("Id,Last_Name"), json!("\u{feff}Id,Last_Name")),
        ("bulk_read_early_result", json!(true), json!(false), json!(true)),
        ("bulk_read_id_criteria", json!(false), json!(201), json!(400)),
        ("bulk_read_in_values", json!(1), json!(201), json!(400)),
        ("bulk_read_extra_types", json!(["Tag"]), json!(400), json!(201)),
        ("bulk_read_pages", json!(false), json!(201), json!(400)),
        ("bulk_read_notes", json!(true), json!(400), json!(201)),
        ("bulk_call_credits", json!([3, 0, 0]), json!(1), json!(3)),
    ]
}

fn of_bulk_write() -> Vec<Row> {
    let rows = || json!(["A  B ADDED", "C ADDED", "D ADDED"]);
    vec![
        ("bulk_write_dropped_row", json!(2), rows(), json!(["A  B ADDED", "D ADDED"])),
        ("bulk_write_repeated_row", json!(2), rows(), json!(["A  B ADDED", "C ADDED", "C ADDED", "D ADDED"])),
        ("bulk_write_altered_cells", json!(true), rows(), json!(["A B ADDED", "C ADDED", "D ADDED"])),
        ("bulk_write_shuffled_result", json!(true), json!(false), json!(true)),
        ("bulk_write_relative_url", json!(true), json!("http"), json!("/v7/")),
        ("bulk_write_spaced_state", json!(true), json!("INPROGRESS"), json!("IN PROGRESS")),
        ("bulk_write_iso_dates", json!(true), json!("SKIPPED"), json!("ADDED")),
        ("bulk_write_linking_rows", json!(1), json!(201), json!(400)),
    ]
}

/// Turns each switch on an emulator of its own, and looks before and after.
async fn both_ways(table: Vec<Row>, see: impl AsyncFn(&Zylker, &str) -> Value) {
    for (switch, other, by_default, then) in table {
        for (turned, wanted) in [(false, by_default), (true, then)] {
            let rows = [("Leads", 5), ("Accounts", 1), ("Contacts", 1), ("Products", 2), ("Notes", 2)];
            let rows = rows.map(|(name, count)| (name.to_owned(), count)).into();
            let zylker = Zylker::start(Options { rows, job_ms: 5, ..Options::default() }).await;
            if turned {
                let (status, answered) = zylker.post("/__emulator/switches", &json!({switch: other})).await;
                assert_eq!(status, 200, "{switch}: {answered}");
            }
            assert_eq!(see(&zylker, switch).await, wanted, "{switch}, turned: {turned}");
        }
    }
}

async fn since(zylker: &Zylker, path: &str, time: &Value) -> u16 {
    let time = time.as_str().expect("a time");
    answer(zylker.request("GET", path).header("If-Modified-Since", time)).await.0
}

async fn insert(zylker: &Zylker, module: &str, record: Value) -> (u16, Value) {
    zylker.post(&format!("/crm/v8/{module}"), &json!({"data": [record]})).await
}

async fn see_records(zylker: &Zylker, switch: &str) -> Value {
    let newest = "/crm/v8/Leads?fields=Modified_Time&sort_by=Modified_Time";
    match switch {
        "modified_since_strict" => {
            let (_, body) = zylker.get(newest).await;
            since(zylker, newest, &body["data"][0]["Modified_Time"]).await.into()
        }
        "deleted_304" => since(zylker, "/crm/v8/Leads/deleted", &json!("2030-01-01T00:00:00Z")).await.into(),
        "deleted_rows" => zylker.get("/crm/v8/Leads/deleted?page=2").await.0.into(),
        "restore_moves_modified_time" => {
            let (_, before) = zylker.get(newest).await;
            for kind in ["delete", "restore"] {
                zylker.post("/__emulator/mutate", &json!({"module": "Leads", kind: 1})).await;
            }
            json!(zylker.get(newest).await.1["data"][0] != before["data"][0])
        }
        "wrap_errors" => zylker.get("/crm/v8/Leads").await.1["data"].is_array().into(),
        "all_failed_status" => insert(zylker, "Leads", json!({})).await.0.into(),
        "reject_read_only" => {
            let lead = json!({"Last_Name": "Ng", "Created_Time": "2020-01-01T00:00:00Z"});
            insert(zylker, "Leads", lead).await.0.into()
        }
        "reject_unknown_keys" => insert(zylker, "Leads", json!({"Last_Name": "Ng", "X": 1})).await.0.into(),
        "bare_lookup_ids" => {
            let account = zylker.get("/crm/v8/Accounts?fields=id").await.1["data"][0]["id"].clone();
            insert(zylker, "Contacts", json!({"Last_Name": "Ng", "Account_Name": account})).await.0.into()
        }
        "round_decimals" => {
            insert(zylker, "Everything", json!({"Name": "E", "Percent_1": 1.239})).await.0.into()
        }
        "replace_subform_rows" => {
            let (_, made) =
                insert(zylker, "Everything", json!({"Name": "E", "Lines": [{"Item": "a"}]})).await;
            let url =
                format!("/crm/v8/Everything/{}", made["data"][0]["details"]["id"].as_str().expect("an id"));
            let more = json!({"data": [{"Lines": [{"Item": "b"}]}]});
            answer(zylker.request("PUT", &url).body(more.to_string())).await;
            json!(zylker.get(&url).await.1["data"][0]["Lines"].as_array().map(Vec::len))
        }
        "unknown_record_204" => zylker.get("/crm/v8/Leads/4876000000000000001").await.0.into(),
        "page_token_reach" => {
            let (_, first) = zylker.get("/crm/v8/Leads?fields=id&per_page=2").await;
            let token = first["info"]["next_page_token"].as_str().expect("a token");
            zylker.get(&format!("/crm/v8/Leads?fields=id&per_page=2&page_token={token}")).await.0.into()
        }
        other => panic!("{other} is not looked at"),
    }
}

async fn see_queries(zylker: &Zylker, switch: &str) -> Value {
    let query = match switch {
        "coql_rows" => "select id from Leads where id is not null limit 3",
        "coql_columns" => "select First_Name, Last_Name from Leads where id is not null",
        "coql_values" => "select id from Leads where Last_Name not in ('a', 'b')",
        "coql_notes" => "select Note_Title from Notes where id is not null",
        "coql_reach" => "select id from Leads where id is not null limit 3, 1",
        other => panic!("{other} is not looked at"),
    };
    zylker.coql(query).await.0.into()
}

async fn see_bulk_read(zylker: &Zylker, switch: &str) -> Value {
    let mut query = json!({"module": {"api_name": "Leads"}, "fields": ["Last_Name"]});
    let by_id = |comparator: &str, value: Value| {
        json!({"field": {"api_name": if switch.contains("id") { "id" } else { "Last_Name" }},
            "comparator": comparator, "value": value})
    };
    match switch {
        "bulk_read_id_criteria" => query["criteria"] = by_id("greater_than", json!("1")),
        "bulk_read_in_values" => query["criteria"] = by_id("in", json!(["a", "b"])),
        "bulk_read_extra_types" => query["fields"] = json!(["Tag"]),
        "bulk_read_pages" => query["page"] = json!(2),
        "bulk_read_notes" => query = json!({"module": {"api_name": "Notes"}, "fields": ["Note_Title"]}),
        _ => {}
    }
    let (status, created) = zylker.post("/crm/bulk/v8/read", &json!({"query": query})).await;
    let id = created["data"][0]["details"]["id"].as_str().unwrap_or_default().to_owned();
    let job = async || zylker.get(&format!("/crm/bulk/v8/read/{id}")).await.1["data"][0].clone();
    match switch {
        "bulk_read_early_result" => {
            // A job that does not end stays in the state that is looked at.
            let stuck = json!({"match": {"path_contains": "/read"}, "action": {"kind": "stuck_job"}});
            zylker.post("/__emulator/faults", &stuck).await;
            let (_, created) = zylker.post("/crm/bulk/v8/read", &json!({"query": query})).await;
            let id = created["data"][0]["details"]["id"].as_str().expect("an id");
            let (_, body) = zylker.get(&format!("/crm/bulk/v8/read/{id}")).await;
            body["data"][0]["result"].is_object().into()
        }
        "bulk_call_credits" => {
            let spent = async || zylker.get("/__emulator/stats").await.1["credits"].as_u64();
            let before = spent().await;
            job().await;
            json!(spent().await.zip(before).map(|(now, before)| now - before))
        }
        "bulk_read_page_size"
        | "bulk_read_id_column"
        | "bulk_read_id_first"
        | "bulk_read_byte_order_mark" => {
            let done = loop {
                let job = job().await;
                if job["state"] == "COMPLETED" {
                    break job["result"].clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            if switch == "bulk_read_page_size" {
                return json!([done["count"], done["more_records"]]);
            }
            let zip = zylker.download(done["download_url"].as_str().expect("a url")).await;
            // A reader of CSV would swallow the mark.
            let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).expect("a zip");
            let mut text = String::new();
            archive.by_index(0).expect("a file").read_to_string(&mut text).expect("UTF-8");
            text.lines().next().into()
        }
        _ => status.into(),
    }
}

async fn upload(zylker: &Zylker, files: &[(&str, &str)]) -> Value {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("a file");
        zip.write_all(text.as_bytes()).expect("its text");
    }
    let part = reqwest::multipart::Part::bytes(zip.finish().expect("a zip").into_inner()).file_name("x.zip");
    let request = zylker.request("POST", "/crm/v8/upload").header("feature", "bulk-write");
    let request = request.header("X-CRM-ORG", &zylker.emulator.app().orgs[0].zgid);
    let form = reqwest::multipart::Form::new().part("file", part);
    answer(request.multipart(form)).await.1["details"]["file_id"].clone()
}

async fn see_bulk_write(zylker: &Zylker, switch: &str) -> Value {
    let many: String = (0..50).map(|n| format!("{n},X,\n")).collect();
    let born = if switch == "bulk_write_iso_dates" { "2001-02-03" } else { "" };
    let text = match switch {
        "bulk_write_shuffled_result" => format!("Name,Last_Name,Born\n{many}"),
        _ => format!("Name,Last_Name,Born\nA  B,Ng,{born}\nC,Ng,\nD,Ng,\n"),
    };
    if switch == "bulk_write_linking_rows" {
        let file = upload(zylker, &[("p.csv", "Name\nE\n"), ("l.csv", "Key,Product\nE,1\nE,2\n")]).await;
        let mappings = json!([{"api_name": "Everything", "index": 0, "parent_column_index": 0},
            {"api_name": "Products", "index": 1, "find_by": "id"}]);
        let body = json!({"operation": "insert", "resource": [
            {"type": "data", "module": {"api_name": "Everything"}, "file_id": file, "file_names": ["p.csv"],
                "field_mappings": [{"api_name": "Name", "index": 0}]},
            {"type": "data", "module": {"api_name": "Everything_X_Products"}, "file_id": file,
                "file_names": ["l.csv"], "field_mappings": mappings}]});
        return zylker.post("/crm/bulk/v8/write", &body).await.0.into();
    }
    if switch == "bulk_write_spaced_state" {
        let stuck = json!({"match": {"path_contains": "/write"}, "action": {"kind": "stuck_job"}});
        zylker.post("/__emulator/faults", &stuck).await;
    }
    let file = upload(zylker, &[("c.csv", &text)]).await;
    let mappings = json!([{"api_name": "First_Name", "index": 0}, {"api_name": "Last_Name", "index": 1},
        {"api_name": "Date_of_Birth", "index": 2}]);
    let body = json!({"operation": "insert", "resource": [{"type": "data", "module": {"api_name": "Contacts"},
        "file_id": file, "field_mappings": mappings}]});
    let (_, created) = zylker.post("/crm/bulk/v8/write", &body).await;
    let id = created["details"]["id"].as_str().expect("an id").to_owned();
    let job = loop {
        let (_, job) = zylker.get(&format!("/crm/bulk/v8/write/{id}")).await;
        if job["status"] == "COMPLETED" || (job["status"] != "ADDED" && switch == "bulk_write_spaced_state") {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    if switch == "bulk_write_spaced_state" {
        return job["status"].clone();
    }
    let url = job["result"]["download_url"].as_str().expect("a url");
    let told = csv_of(&zylker.download(url).await).1;
    match switch {
        "bulk_write_relative_url" => url[..4].into(),
        "bulk_write_iso_dates" => told[1][3].into(),
        "bulk_write_shuffled_result" => {
            let names: Vec<u32> = told[1..].iter().filter_map(|row| row[0].parse().ok()).collect();
            json!(names.len() == 50 && !names.is_sorted())
        }
        _ => told[1..].iter().map(|row| format!("{} {}", &row[0], &row[3])).collect(),
    }
}

#[tokio::test]
async fn records() {
    both_ways(of_records(), see_records).await;
}

#[tokio::test]
async fn queries() {
    both_ways(of_queries(), see_queries).await;
}

#[tokio::test]
async fn bulk_read() {
    both_ways(of_bulk_read(), see_bulk_read).await;
}

#[tokio::test]
async fn bulk_write() {
    both_ways(of_bulk_write(), see_bulk_write).await;
}

#[tokio::test]
async fn jobs_run_side_by_side_as_many_as_the_server_lets() {
    for (most, peak) in [(1, 1), (2, 2), (4, 3)] {
        let options = Options { job_ms: 50_000, frozen_at: Some(1_800_000_000), ..Options::default() };
        let zylker = Zylker::start(options).await;
        zylker.post("/__emulator/switches", &json!({"jobs_side_by_side": most})).await;
        for _ in 0..3 {
            let query = json!({"query": {"module": {"api_name": "Leads"}, "fields": ["id"]}});
            assert_eq!(zylker.post("/crm/bulk/v8/read", &query).await.0, 201);
        }
        zylker.advance(1_000);
        let load = zylker.get("/__emulator/stats").await.1["jobs"]["read"].clone();
        assert_eq!((&load["peak"], &load["work_ms"]), (&json!(peak), &json!(120_000)), "{most}: {load}");
    }
}

#[test]
fn every_switch_is_turned() {
    let all = serde_json::to_value(Switches::default()).expect("JSON");
    let all: BTreeSet<String> = all.as_object().expect("an object").keys().cloned().collect();
    let tables = [of_records(), of_queries(), of_bulk_read(), of_bulk_write()];
    let turned = tables.iter().flatten().map(|row| row.0).chain(ELSEWHERE);
    assert_eq!(turned.map(str::to_owned).collect::<BTreeSet<_>>(), all);
}
