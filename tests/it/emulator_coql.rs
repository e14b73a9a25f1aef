//! COQL over HTTP: shapes, prices, pages, refusals.

use crate::common::zylker::Zylker;
use serde_json::{Value, json};

#[tokio::test]
async fn a_row_has_lookups_with_names_and_its_id() {
    let zylker = Zylker::with_rows(&[("Deals", 30), ("Accounts", 5), ("Contacts", 5)]).await;
    let query = "select Deal_Name, Owner, Account_Name, Account_Name.Account_Name, Modified_Time, Amount from Deals \
                 where Account_Name is not null limit 3";
    let (status, body) = zylker.coql(query).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["info"], json!({"count": 3, "more_records": true}));
    for row in body["data"].as_array().expect("rows") {
        assert!(row["id"].is_string());
        assert_eq!(row["Account_Name"]["name"], row["Account_Name.Account_Name"]);
        assert!(row["Owner"]["id"].is_string() && row["Owner"]["name"].is_string());
        assert!(
            row["Modified_Time"]
                .as_str()
                .is_some_and(|time| time.ends_with("+11:00") || time.ends_with("+10:00"))
        );
    }
}

#[tokio::test]
async fn nothing_found_is_204() {
    let zylker = Zylker::with_rows(&[("Leads", 3)]).await;
    let (status, body) = zylker.coql("select id from Leads where id = '1'").await;
    assert_eq!((status, body), (204, Value::Null));
}

#[tokio::test]
async fn keyset_pages_are_quick_on_many_rows() {
    let zylker = Zylker::with_rows(&[("Leads", 500_000)]).await;
    let (_, first) = zylker.coql("select id from Leads where id is not null order by id desc limit 1").await;
    let last: u64 = first["data"][0]["id"].as_str().expect("an id").parse().expect("a number");
    let start = std::time::Instant::now();
    for back in 1..=10 {
        let from = last - back * 100_000;
        let query = format!("select id, Last_Name from Leads where id > '{from}' order by id asc limit 2000");
        let (status, body) = zylker.coql(&query).await;
        assert_eq!((status, &body["info"]["count"]), (200, &json!(2_000)));
    }
    // Sorting everything would take longer than this for a single page.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[tokio::test]
async fn prices_follow_the_limit() {
    let zylker = Zylker::with_rows(&[("Leads", 1)]).await;
    let credits = || zylker.emulator.app().orgs[0].meter.usage().credits_total;
    for (limit, price) in [(200, 1), (201, 2), (1_000, 2), (1_001, 3), (2_000, 3)] {
        let before = credits();
        zylker.coql(&format!("select id from Leads where id is not null limit {limit}")).await;
        assert_eq!(credits() - before, price, "limit {limit}");
    }
}

#[tokio::test]
async fn refusals_carry_their_details() {
    let zylker = Zylker::with_rows(&[("Leads", 1)]).await;
    let refused = async |query: &str| {
        let (status, body) = zylker.coql(query).await;
        assert_eq!(status, 400, "{query}");
        (body["code"].as_str().unwrap_or_default().to_owned(), body["details"].clone())
    };
    let syntax = refused("select id from Leads where id =").await;
    assert_eq!(syntax, ("SYNTAX_ERROR".into(), json!({"line": 1, "column": 32, "near": ""})));
    assert_eq!(refused("select id from Leads").await.1, json!({"clause": "where"}));
    let unknown = refused("select Nope from Leads where id is not null").await;
    assert_eq!(unknown, ("INVALID_QUERY".into(), json!({"column_name": "Nope"})));
    assert_eq!(refused("select id from Notes where id is not null").await.0, "INVALID_MODULE");
    let (status, body) = zylker.post("/crm/v8/coql", &json!({})).await;
    assert_eq!((status, &body["code"]), (400, &json!("MANDATORY_NOT_FOUND")));
}

#[tokio::test]
async fn aggregates_and_meta() {
    let zylker = Zylker::with_rows(&[("Deals", 50)]).await;
    let query = "select Stage, COUNT(id) as deals, MAX(Amount) from Deals where id is not null group by Stage order by Stage";
    let body = json!({"select_query": query, "include_meta": ["fields"]});
    let (status, body) = zylker.post("/crm/v8/coql", &body).await;
    assert_eq!(status, 200, "{body}");
    let rows = body["data"].as_array().expect("groups");
    let total: u64 = rows.iter().filter_map(|row| row["deals"].as_u64()).sum();
    assert_eq!(total, 50);
    assert!(rows[0].get("id").is_none() && rows[0].get("MAX(Amount)").is_some());
    assert_eq!(body["fields"]["Stage"]["data_type"], "picklist");
}
