//! The emulator's sign-in, metadata, records, deletes, limits and faults over HTTP.

use crate::common::zylker::{Answer, Zylker, answer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use zoho_crm_connector::emulator::limits::Limits;
use zoho_crm_connector::emulator::{Options, OrgOptions};

fn code(answer: &Answer) -> &str {
    answer.1["code"].as_str().unwrap_or_default()
}

fn ids(body: &Value) -> Vec<String> {
    let rows = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

async fn control(zylker: &Zylker, path: &str, body: Value) -> Value {
    let (status, answered) = zylker.post(&format!("/__emulator/{path}"), &body).await;
    assert_eq!(status, 200, "{path}: {answered}");
    answered
}

async fn put(zylker: &Zylker, path: &str, body: &Value) -> Answer {
    answer(zylker.request("PUT", path).body(body.to_string())).await
}

async fn delete(zylker: &Zylker, path: &str) -> Answer {
    answer(zylker.request("DELETE", path)).await
}

async fn token(zylker: &Zylker, pairs: &[(&str, &str)]) -> Value {
    answer(zylker.http.post(zylker.url("/oauth/v2/token")).form(pairs)).await.1
}

#[tokio::test]
async fn token_errors_come_as_200() {
    let zylker = Zylker::with_rows(&[]).await;
    let good = [
        ("grant_type", "refresh_token"),
        ("client_id", "1000.EMULATOR"),
        ("client_secret", "emulator-secret"),
        ("refresh_token", "1000.emulator.refresh"),
    ];
    for (at, value, error) in
        [(1, "nobody", "invalid_client"), (2, "wrong", "invalid_client_secret"), (3, "wrong", "invalid_code")]
    {
        let mut pairs = good;
        pairs[at].1 = value;
        assert_eq!(token(&zylker, &pairs).await, json!({"error": error}));
    }
    // One token was fetched at the start; nine more are free, then it is throttled.
    for _ in 0..9 {
        assert_eq!(token(&zylker, &good).await["expires_in"], json!(3600));
    }
    assert_eq!(token(&zylker, &good).await["error"], json!("Access Denied"));
    zylker.advance(600);
    assert!(token(&zylker, &good).await["access_token"].is_string());
}

#[tokio::test]
async fn a_grant_code_gives_a_refresh_token_once() {
    let zylker = Zylker::with_rows(&[]).await;
    let issued = control(&zylker, "grant_codes", json!({})).await;
    let pairs = [
        ("grant_type", "authorization_code"),
        ("client_id", "1000.EMULATOR"),
        ("client_secret", "emulator-secret"),
        ("code", issued["code"].as_str().expect("a code")),
    ];
    let first = token(&zylker, &pairs).await;
    assert!(
        first["refresh_token"].is_string() && first["api_domain"] == json!(zylker.emulator.base_url()),
        "{first}"
    );
    assert_eq!(token(&zylker, &pairs).await, json!({"error": "invalid_code"}));
}

#[tokio::test]
async fn calls_without_a_good_token_are_401() {
    let zylker = Zylker::with_rows(&[]).await;
    let bare = answer(zylker.http.get(zylker.url("/crm/v8/org"))).await;
    assert_eq!((bare.0, code(&bare)), (401, "AUTHENTICATION_FAILURE"));
    let unknown =
        answer(zylker.http.get(zylker.url("/crm/v8/org")).header("authorization", "Zoho-oauthtoken x")).await;
    assert_eq!((unknown.0, code(&unknown)), (401, "INVALID_TOKEN"));
    zylker.advance(3_600);
    let late = zylker.get("/crm/v8/org").await;
    assert_eq!((late.0, code(&late)), (401, "INVALID_TOKEN"));
}

#[tokio::test]
async fn wrong_paths_and_methods_have_their_errors() {
    let zylker = Zylker::with_rows(&[]).await;
    for (method, path, status, expected) in [
        ("GET", "/crm/v8/Leads/1/2/3/4", 404, "INVALID_URL_PATTERN"),
        ("GET", "/crm/v9/Leads", 404, "INVALID_URL_PATTERN"),
        ("POST", "/crm/v8/org", 400, "INVALID_REQUEST_METHOD"),
        ("GET", "/crm/v8/Nope?fields=id", 400, "INVALID_MODULE"),
        ("GET", "/crm/v8/Home?fields=id", 400, "INVALID_MODULE"),
        ("GET", "/crm/v8/Leads", 400, "REQUIRED_PARAM_MISSING"),
        ("GET", "/crm/v8/settings/fields", 400, "REQUIRED_PARAM_MISSING"),
        ("GET", "/crm/v8/Leads?fields=id&per_page=201", 400, "INVALID_DATA"),
        ("GET", "/crm/v8/Leads?fields=id&page=11", 400, "DISCRETE_PAGINATION_LIMIT_EXCEEDED"),
        ("GET", "/crm/v8/Leads/deleted?type=some", 400, "PATTERN_NOT_MATCHED"),
        ("POST", "/crm/v8/Leads", 400, "UNABLE_TO_PARSE_DATA_TYPE"),
    ] {
        let given = answer(zylker.request(method, path)).await;
        assert_eq!((given.0, code(&given)), (status, expected), "{method} {path}");
    }
    let fields = vec!["id"; 51].join(",");
    assert_eq!(code(&zylker.get(&format!("/crm/v8/Leads?fields={fields}")).await), "LIMIT_EXCEEDED");
    assert_eq!(zylker.get("/crm/v8/Leads?fields=id").await, (204, Value::Null));
}

#[tokio::test]
async fn metadata_describes_every_module() {
    let zylker = Zylker::with_rows(&[]).await;
    let (_, org) = zylker.get("/crm/v8/org").await;
    assert_eq!(org["org"][0]["license_details"]["paid_type"], json!("enterprise"));
    let (_, me) = zylker.get("/crm/v8/users?type=CurrentUser").await;
    assert_eq!(
        (me["users"].as_array().map(Vec::len), &me["users"][0]["time_zone"]),
        (Some(1), &json!("Australia/Sydney"))
    );
    let (_, modules) = zylker.get("/crm/v8/settings/modules").await;
    for module in modules["modules"].as_array().expect("modules") {
        let name = module["api_name"].as_str().expect("a name");
        let fields = zylker.get(&format!("/crm/v8/settings/fields?module={name}")).await;
        if module["api_supported"] == json!(true) {
            let names: Vec<&str> = fields.1["fields"]
                .as_array()
                .expect("fields")
                .iter()
                .filter_map(|field| field["api_name"].as_str())
                .collect();
            assert!(names.contains(&"id"), "{name}");
        } else {
            assert_eq!(code(&fields), "INVALID_MODULE", "{name}");
        }
    }
    control(&zylker, "switches", json!({"no_permission_module": "Vendors"})).await;
    assert_eq!(code(&zylker.get("/crm/v8/Vendors?fields=id").await), "NO_PERMISSION");
}

#[tokio::test]
async fn errors_of_record_calls_can_come_wrapped() {
    let zylker = Zylker::with_rows(&[]).await;
    control(&zylker, "switches", json!({"wrap_errors": true})).await;
    let (status, body) = zylker.get("/crm/v8/Leads").await;
    assert_eq!((status, &body["data"][0]["code"]), (400, &json!("REQUIRED_PARAM_MISSING")));
    assert_eq!(code(&zylker.get("/crm/v8/settings/fields").await), "REQUIRED_PARAM_MISSING");
}

#[tokio::test]
async fn tokens_page_through_everything() {
    for (tokens, sort) in [
        ("offset", ""),
        ("keyset", ""),
        ("offset", "&sort_by=Modified_Time&sort_order=asc"),
        ("keyset", "&sort_by=Modified_Time"),
    ] {
        let zylker = Zylker::with_rows(&[("Contacts", 2_345)]).await;
        control(&zylker, "switches", json!({"page_tokens": tokens})).await;
        let path = format!("/crm/v8/Contacts?fields=Last_Name,Modified_Time{sort}");
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let (status, body) = zylker.get(&format!("{path}{next}")).await;
            assert_eq!(status, 200, "{body}");
            seen.extend(ids(&body));
            match body["info"]["next_page_token"].as_str() {
                Some(token) => next = format!("&page_token={token}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 2_345);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 2_345, "{tokens}{sort}");
    }
}

#[tokio::test]
async fn tokens_are_bound_and_expire() {
    let zylker = Zylker::with_rows(&[("Leads", 300)]).await;
    let (_, first) = zylker.get("/crm/v8/Leads?fields=id").await;
    let token = first["info"]["next_page_token"].as_str().expect("a token").to_owned();
    let mismatch = zylker.get(&format!("/crm/v8/Leads?fields=id,Company&page_token={token}")).await;
    assert_eq!(code(&mismatch), "TOKEN_BOUND_DATA_MISMATCH");
    let both = zylker.get(&format!("/crm/v8/Leads?fields=id&page=1&page_token={token}")).await;
    assert_eq!(code(&both), "AMBIGUITY_DURING_PROCESSING");
    control(&zylker, "faults", json!({"action": {"kind": "expired_page_token"}})).await;
    let expired = zylker.get(&format!("/crm/v8/Leads?fields=id&page_token={token}")).await;
    assert_eq!(code(&expired), "EXPIRED_VALUE");
    assert_eq!(zylker.get(&format!("/crm/v8/Leads?fields=id&page_token={token}")).await.0, 200);
}

#[tokio::test]
async fn a_delete_between_two_pages_hides_a_row_from_offset_tokens_only() {
    for (tokens, missed) in [("offset", 1), ("keyset", 0)] {
        let zylker = Zylker::with_rows(&[("Vendors", 250)]).await;
        control(&zylker, "switches", json!({"page_tokens": tokens})).await;
        let (_, first) = zylker.get("/crm/v8/Vendors?fields=id").await;
        let gone = &ids(&first)[0];
        control(&zylker, "mutate", json!({"module": "Vendors", "delete_ids": [gone]})).await;
        let token = first["info"]["next_page_token"].as_str().expect("a token");
        let (_, second) = zylker.get(&format!("/crm/v8/Vendors?fields=id&page_token={token}")).await;
        assert_eq!(ids(&second).len(), 50 - missed, "{tokens}");
    }
}

#[tokio::test]
async fn records_are_written_one_result_each() {
    let zylker = Zylker::with_rows(&[("Accounts", 2)]).await;
    let body = json!({"data": [{"Last_Name": "Ng", "Email": "ng@x.test", "Nonsense": 1}, {"First_Name": "No last name"}, {"Last_Name": "x".repeat(81)}, {"Last_Name": "Twin", "Email": "NG@x.test"}]});
    let (status, made) = zylker.post("/crm/v8/Contacts", &body).await;
    assert_eq!(status, 207);
    let codes: Vec<&str> =
        made["data"].as_array().expect("results").iter().filter_map(|item| item["code"].as_str()).collect();
    assert_eq!(codes, ["SUCCESS", "MANDATORY_NOT_FOUND", "INVALID_DATA", "DUPLICATE_DATA"]);
    let id = made["data"][0]["details"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(made["data"][3]["details"]["duplicate_record"]["id"], json!(id));
    let failed = zylker.post("/crm/v8/Contacts", &json!({"data": [{}]})).await;
    assert_eq!(failed.0, 400);
    let upserted = zylker.post("/crm/v8/Contacts/upsert", &json!({"data": [{"Last_Name": "Ngo", "Email": "ng@x.test"}, {"Last_Name": "New"}], "duplicate_check_fields": ["Email"]})).await;
    assert_eq!(
        (upserted.0, &upserted.1["data"][0]["action"], &upserted.1["data"][1]["action"]),
        (200, &json!("update"), &json!("insert"))
    );
    assert_eq!(upserted.1["data"][0]["duplicate_field"], json!("Email"));
    let (_, one) = zylker.get(&format!("/crm/v8/Contacts/{id}")).await;
    assert_eq!(
        (&one["data"][0]["Last_Name"], &one["data"][0]["Email"]),
        (&json!("Ngo"), &json!("ng@x.test"))
    );
    let (status, gone) = delete(&zylker, &format!("/crm/v8/Contacts?ids={id},4876000000000000001")).await;
    assert_eq!((status, &gone["data"][1]["message"]), (207, &json!("record not deleted")));
    assert_eq!(zylker.get(&format!("/crm/v8/Contacts/{id}")).await.0, 204);
}

#[tokio::test]
async fn an_update_can_be_refused_when_the_record_has_changed() {
    let zylker = Zylker::with_rows(&[("Leads", 1)]).await;
    let (_, list) = zylker.get("/crm/v8/Leads?fields=id&converted=both").await;
    let id = ids(&list).remove(0);
    let body = json!({"data": [{"Company": "New"}]});
    assert_eq!(put(&zylker, &format!("/crm/v8/Leads/{id}"), &body).await.0, 200);
    let request = zylker
        .request("PUT", &format!("/crm/v8/Leads/{id}"))
        .header("if-unmodified-since", "2025-01-01T00:00:00+00:00");
    let (status, refused) = answer(request.body(body.to_string())).await;
    assert_eq!((status, &refused["data"][0]["code"]), (412, &json!("ALREADY_MODIFIED")));
}

#[tokio::test]
async fn only_what_is_newer_comes_back() {
    let zylker = Zylker::with_rows(&[("Accounts", 30)]).await;
    let since = |time: &str| {
        let request =
            zylker.request("GET", "/crm/v8/Accounts?fields=id").header("if-modified-since", time.to_owned());
        answer(request)
    };
    assert_eq!(since("2026-01-01T00:00:00+11:00").await.0, 304);
    let changed =
        control(&zylker, "mutate", json!({"module": "Accounts", "seed": 5, "change": 1, "insert": 1})).await;
    let (_, newer) = since("2026-01-01T00:00:00+11:00").await;
    assert_eq!(ids(&newer).len(), 2, "{changed}");
}

#[tokio::test]
async fn deleted_records_are_listed_for_a_while() {
    let zylker = Zylker::with_rows(&[("Deals", 10)]).await;
    assert_eq!(zylker.get("/crm/v8/Deals/deleted").await.0, 204);
    control(&zylker, "mutate", json!({"module": "Deals", "seed": 1, "delete": 3})).await;
    let kinds = |body: &Value| -> Vec<String> {
        let rows = body["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        rows.iter().map(|row| row["type"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let (_, fresh) = zylker.get("/crm/v8/Deals/deleted?type=all&per_page=2").await;
    assert_eq!(
        (kinds(&fresh), &fresh["info"]["more_records"]),
        (vec!["recycle".to_owned(); 2], &json!(true))
    );
    let day = 86_400;
    let app = zylker.emulator.app();
    let token = |zylker: &Zylker| zylker.emulator.app().clock.now();
    let before = token(&zylker);
    app.clock.advance_ms(60 * day * 1_000);
    let zylker = zylker.signed_in_again().await;
    let (_, old) = zylker.get("/crm/v8/Deals/deleted").await;
    assert_eq!(kinds(&old), vec!["permanent".to_owned(); 3]);
    assert!(zylker.emulator.app().clock.now() - before >= 60 * day);
    zylker.advance(60 * day);
    let zylker = zylker.signed_in_again().await;
    assert_eq!(zylker.get("/crm/v8/Deals/deleted").await.0, 204);
}

#[tokio::test]
async fn the_record_call_shows_rows_behind_fields() {
    let zylker = Zylker::with_rows(&[
        ("Everything", 3),
        ("Products", 3),
        ("Everything_Lines", 9),
        ("Everything_X_Products", 6),
    ])
    .await;
    let (_, lines) = zylker.get("/crm/v8/Everything_Lines?fields=Parent_Id,Item").await;
    let parent = lines["data"][0]["Parent_Id"]["id"].as_str().expect("a parent").to_owned();
    let (_, one) = zylker.get(&format!("/crm/v8/Everything/{parent}")).await;
    let shown = one["data"][0]["Lines"].as_array().expect("rows").len();
    let listed = lines["data"]
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["Parent_Id"]["id"] == json!(parent))
        .count();
    assert_eq!(shown, listed);
    let product = zylker.get("/crm/v8/Products?fields=id").await.1["data"][0]["id"].clone();
    let body = json!({"data": [{"Products": [{"Products": {"id": product}}]}]});
    let links = one["data"][0]["Products"].as_array().expect("links").len();
    assert_eq!(put(&zylker, &format!("/crm/v8/Everything/{parent}"), &body).await.0, 200);
    let (_, linked) = zylker.get(&format!("/crm/v8/Everything/{parent}")).await;
    assert_eq!(linked["data"][0]["Products"].as_array().expect("links").len(), links + 1);
}

#[tokio::test]
async fn rich_text_is_cut_in_lists_only() {
    let zylker = Zylker::with_rows(&[("Everything", 40)]).await;
    let (_, list) = zylker.get("/crm/v8/Everything?fields=Rich_Text").await;
    let length = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
    let cut = list["data"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| length(&row["Rich_Text"]) == 500)
        .expect("a long one");
    let id = cut["id"].as_str().expect("an id");
    let (_, whole) = zylker.get(&format!("/crm/v8/Everything/{id}/actions/fetch_full_data")).await;
    assert!(length(&whole["data"][0]["Rich_Text"]) > 500);
}

#[tokio::test]
async fn credits_run_out_and_are_told_of() {
    let limits = Limits { daily_credits: Some(4), ..Limits::default() };
    let zylker = Zylker::start(Options { limits, ..Options::default() }).await;
    let left = |response: &reqwest::Response| {
        response
            .headers()
            .get("x-api-credits-remaining")
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
    };
    for expected in [None, Some(2), Some(1), Some(0)] {
        let response = zylker.request("GET", "/crm/v8/org").send().await.expect("an answer");
        assert_eq!((response.status().as_u16(), left(&response)), (200, expected));
    }
    assert_eq!(code(&zylker.get("/crm/v8/org").await), "TOO_MANY_REQUESTS");
    let (_, stats) = zylker.get("/__emulator/stats").await;
    assert_eq!((&stats["credits"], &stats["refused"]), (&json!(4), &json!(1)));
    assert_eq!(stats["endpoints"]["GET /crm/v8/org"]["statuses"]["429"], json!(1));
}

#[tokio::test]
async fn faults_break_answers_and_connections() {
    let zylker = Zylker::with_rows(&[("Leads", 50)]).await;
    let path = "/crm/v8/Leads?fields=Last_Name,Company,Email";
    let rule = |kind: &str| json!({"match": {"path_contains": "/Leads"}, "action": {"kind": kind, "status": 503, "retry_after_seconds": 7}});
    control(&zylker, "faults", json!([rule("status")])).await;
    assert_eq!(zylker.get(path).await.0, 503);
    control(&zylker, "faults", json!([rule("throttle")])).await;
    let throttled = zylker.request("GET", path).send().await.expect("an answer");
    assert_eq!(
        (throttled.status().as_u16(), throttled.headers()["retry-after"].to_str().ok()),
        (429, Some("7"))
    );
    control(&zylker, "faults", json!([rule("drop")])).await;
    assert!(zylker.request("GET", path).send().await.is_err());
    control(&zylker, "faults", json!([rule("cut_body")])).await;
    let cut = zylker.request("GET", path).send().await.expect("headers arrive");
    assert!(cut.bytes().await.is_err());
    let before = zylker.get("/crm/v8/Leads/actions/count").await.1;
    control(
        &zylker,
        "faults",
        json!([{"match": {"method": "POST"}, "action": {"kind": "cut_after_execute"}}]),
    )
    .await;
    let lost = zylker
        .request("POST", "/crm/v8/Leads")
        .body(json!({"data": [{"Last_Name": "Ng"}]}).to_string())
        .send()
        .await;
    assert!(lost.is_err());
    let after = zylker.get("/crm/v8/Leads/actions/count").await.1;
    assert_eq!(after["count"].as_u64(), before["count"].as_u64().map(|count| count + 1));
    control(&zylker, "faults", json!([rule("invalid_token")])).await;
    assert_eq!(code(&zylker.get(path).await), "INVALID_TOKEN");
    assert_eq!(code(&zylker.get(path).await), "INVALID_TOKEN");
}

#[tokio::test]
async fn the_dump_is_what_a_list_shows() {
    let zylker = Zylker::with_rows(&[("Everything", 30), ("Accounts", 4)]).await;
    let bytes = zylker
        .download("/__emulator/dump?module=Everything&fields=id,Code,Currency_1,DateTime_1,Lookup_1,Multi_1")
        .await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let truth: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (_, list) = zylker
        .get("/crm/v8/Everything?fields=Code,Currency_1,DateTime_1,Lookup_1,Multi_1&sort_order=asc")
        .await;
    let listed = list["data"].as_array().expect("rows");
    assert_eq!((truth.len(), listed.len()), (30, 30));
    for (truth, listed) in truth.iter().zip(listed) {
        for same in ["id", "Code", "Currency_1", "Multi_1"] {
            assert_eq!(truth[same], listed[same]);
        }
        assert_eq!(truth["Lookup_1"], listed["Lookup_1"]["id"]);
        assert!(
            truth["DateTime_1"].is_null()
                || truth["DateTime_1"].as_str().is_some_and(|time| time.ends_with('Z'))
        );
    }
}

#[tokio::test]
async fn fields_come_and_go_at_run_time() {
    let zylker = Zylker::with_rows(&[("Leads", 3)]).await;
    let field = json!({"api_name": "Score__c", "data_type": "integer"});
    control(&zylker, "fields", json!({"module": "Leads", "add": field})).await;
    let (_, list) = zylker.get("/crm/v8/Leads?fields=Score__c&converted=both").await;
    assert_eq!(list["data"][0]["Score__c"], Value::Null);
    control(&zylker, "fields", json!({"module": "Leads", "remove": "Score__c"})).await;
    let (_, list) = zylker.get("/crm/v8/Leads?fields=Score__c&converted=both").await;
    assert!(list["data"][0].get("Score__c").is_none());
}

#[tokio::test]
async fn organisations_do_not_see_each_other() {
    let second = OrgOptions {
        name: "Other".into(),
        client_id: "1000.OTHER".into(),
        time_zone: "Europe/Berlin".into(),
        rows: Some([("Leads".to_owned(), 2)].into()),
        ..OrgOptions::default()
    };
    let orgs = vec![OrgOptions::default(), second];
    let zylker =
        Zylker::start(Options { orgs, rows: [("Leads".to_owned(), 5)].into(), ..Options::default() }).await;
    let pairs = [
        ("grant_type", "refresh_token"),
        ("client_id", "1000.OTHER"),
        ("client_secret", "emulator-secret"),
        ("refresh_token", "1000.emulator.refresh"),
    ];
    let other = token(&zylker, &pairs).await;
    let header = format!("Zoho-oauthtoken {}", other["access_token"].as_str().expect("a token"));
    let request =
        zylker.http.get(zylker.url("/crm/v8/Leads?fields=id&converted=both")).header("authorization", header);
    let theirs: BTreeSet<String> = ids(&answer(request).await.1).into_iter().collect();
    let ours: BTreeSet<String> =
        ids(&zylker.get("/crm/v8/Leads?fields=id&converted=both").await.1).into_iter().collect();
    assert_eq!((ours.len(), theirs.len(), ours.intersection(&theirs).count()), (5, 2, 0));
}

#[tokio::test]
async fn half_a_million_rows_start_at_once_and_page_quickly() {
    let start = std::time::Instant::now();
    let zylker = Zylker::with_rows(&[("Leads", 500_000)]).await;
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    let path = "/crm/v8/Leads?fields=Last_Name,First_Name,Company,Email,Phone,Owner,Created_Time,Modified_Time,Annual_Revenue,Description";
    let start = std::time::Instant::now();
    for page in 1..=10 {
        assert_eq!(zylker.get(&format!("{path}&page={page}")).await.0, 200);
    }
    // Well under 5 ms each; the bound leaves room for a busy machine.
    assert!(start.elapsed().as_millis() < 2_000, "{:?}", start.elapsed());
}
