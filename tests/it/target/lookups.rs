//! Parents named by a key of their own.

use super::*;

fn orders(rows: &[(&str, Option<&str>)]) -> String {
    let mut text = schema("orders", &["id"], &["id", "company"]);
    for (id, company) in rows {
        text.push_str(&record("orders", json!({"id": id, "company": company})));
    }
    text + &state(1)
}

fn config(method: &str, create_missing: Value) -> Value {
    json!({"method": method, "streams": {"orders": {"module": "Contacts", "match_on": ["Northwind_Id"],
        "fields": {"id": ["Northwind_Id", "Last_Name"],
            "company": {"to": "Account_Name", "match": "Northwind_Id", "create_missing": create_missing}}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_not_there_is_named() {
    for method in ["records", "bulk"] {
        let bed = Bed::new(config(method, json!(false))).await;
        let (_, answer) = bed
            .zylker
            .post("/crm/v8/Accounts", &json!({"data": [{"Account_Name": "Acme", "Northwind_Id": "ACME"}]}))
            .await;
        let account = answer["data"][0]["details"]["id"].clone();
        let rows = [("1", Some("acme")), ("2", Some("NONE")), ("3", None)];
        let (_, _, results) = bed.written(orders(&rows)).await;
        assert_eq!(actions(&results), ["inserted", "rejected", "inserted"], "{method} {results:?}");
        assert_eq!(results[1]["field"], "Account_Name");
        let message = results[1]["message"].as_str().expect("a message");
        assert!(message.contains("Northwind_Id \"NONE\"") && message.contains("Accounts"), "{message}");
        let found = bed.rows("Contacts", "Northwind_Id,Account_Name").await;
        assert_eq!((&found[0]["Account_Name"], &found[1]["Account_Name"]), (&account, &Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_not_there_can_be_made() {
    for method in ["records", "bulk"] {
        let bed = Bed::new(config(method, json!({"Account_Name": "made", "Industry": "Unknown"}))).await;
        let companies: Vec<String> = (0..120).map(|n| format!("C{}", n % 60)).collect();
        let ids: Vec<String> = (0..120).map(|n| n.to_string()).collect();
        let rows: Vec<(&str, Option<&str>)> =
            ids.iter().zip(&companies).map(|(id, company)| (id.as_str(), Some(company.as_str()))).collect();
        // The answer of the call that makes them is lost.
        bed.fault(json!({"match": {"method": "POST", "path_contains": "/Accounts/upsert", "times": 1}, "action": {"kind": "cut_after_execute"}})).await;
        let (summary, _, results) = bed.written(orders(&rows)).await;
        assert_eq!(actions(&results), vec!["inserted"; 120], "{method} {}", results[0]);
        let accounts = bed.rows("Accounts", "id,Northwind_Id,Industry").await;
        assert_eq!(accounts.len(), 60, "each made once");
        assert!(accounts.iter().all(|account| account["Industry"] == "Unknown"));
        let contacts = bed.rows("Contacts", "Northwind_Id,Account_Name").await;
        for contact in &contacts {
            let number: usize = contact["Northwind_Id"].as_str().expect("a key").parse().expect("a number");
            let parent =
                accounts.iter().find(|account| account["id"] == contact["Account_Name"]).expect("there");
            assert_eq!(parent["Northwind_Id"], json!(companies[number]));
        }
        // Known now: 60 keys are 2 queries, whatever the number of rows.
        let (again, _, _) = bed.written(orders(&rows)).await;
        let sent = if method == "bulk" { 500 } else { 12 };
        assert_eq!(again.tallies[0].effort.credits, sent + 2, "{method}");
        assert!(summary.tallies[0].effort.credits > sent + 2);
    }
}
