//! Records found by several fields, compared before they are written, and left to those who changed them.

use super::*;

fn people(rows: &[Value]) -> String {
    let mut text = schema("people", &["nr"], &["nr", "id", "key", "mail", "name", "phone"]);
    rows.iter().for_each(|row| text.push_str(&record("people", row.clone())));
    text
}

fn config(operation: &str, match_on: &[&str], method: &str) -> Value {
    let mut fields = json!({"key": "Northwind_Id", "mail": "Mobile", "name": "Last_Name", "phone": "Phone"});
    if match_on.contains(&"id") {
        fields["id"] = json!("id");
    }
    json!({"method": method, "max_rejected": 9, "at_least_once": true, "streams": {"people": {"module": "Contacts",
        "operation": operation, "match_on": match_on, "fields": fields}}})
}

/// Four contacts: two with a key, two that share a number.
async fn filled(config: Value) -> Bed {
    let bed = Bed::new(config).await;
    let records = json!([
        {"Northwind_Id": "K1", "Mobile": "0171-1", "Last_Name": "One"},
        {"Northwind_Id": "K2", "Mobile": "0171-2", "Last_Name": "Two"},
        {"Mobile": "0171-9", "Last_Name": "Twin A"},
        {"Mobile": "0171-9", "Last_Name": "Twin B"}]);
    let (status, answer) =
        bed.zylker.post("/__emulator/mutate", &json!({"module": "Contacts", "records": records})).await;
    assert!(status < 300, "{answer}");
    bed
}

fn rows() -> Vec<Value> {
    vec![
        json!({"nr": 1, "key": "K1", "mail": "0171-11", "name": "By key"}),
        json!({"nr": 2, "key": null, "mail": "0171-2", "name": "By number"}),
        json!({"nr": 3, "key": null, "mail": "0171-9", "name": "Nobody knows"}),
        json!({"nr": 4, "key": "K4", "mail": "0171-4", "name": "New"}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn several_match_fields_count_in_their_order() {
    for method in ["records", "bulk"] {
        let bed = filled(config("upsert", &["Northwind_Id", "Mobile"], method)).await;
        let (summary, lines, results) = bed.written(people(&rows()) + &state(1)).await;
        assert_eq!(lines, ["{\"at\": 1}"]);
        assert_eq!(actions(&results), ["updated", "updated", "rejected", "inserted"], "{method} {results:?}");
        assert_eq!(results[2]["code"], "AMBIGUOUS_KEY");
        assert!(summary.tallies[0].effort.credits > 0);
        let found = bed.rows("Contacts", "Northwind_Id,Mobile,Last_Name").await;
        let names: Vec<&str> = found.iter().map(|row| row["Last_Name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["By key", "By number", "Twin A", "Twin B", "New"], "{method}");
        assert_eq!(found[0]["Mobile"], "0171-11");
        // Again: what was created is found now.
        let (_, _, results) = bed.written(people(&rows()) + &state(2)).await;
        assert_eq!(actions(&results), ["updated", "updated", "rejected", "updated"], "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn update_and_insert_match_on_several_fields_too() {
    for (operation, wanted) in [
        ("update", ["updated", "updated", "rejected", "rejected"]),
        ("insert", ["skipped", "skipped", "rejected", "inserted"]),
    ] {
        let bed = filled(config(operation, &["Northwind_Id", "Mobile"], "auto")).await;
        let (_, _, results) = bed.written(people(&rows()) + &state(1)).await;
        assert_eq!(actions(&results), wanted, "{operation} {results:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_counts_where_there_is_one() {
    let bed = filled(config("upsert", &["id", "Northwind_Id"], "auto")).await;
    let id = bed.rows("Contacts", "id").await[3]["id"].clone();
    let (_, _, results) = bed
        .written(
            people(&[
                json!({"nr": 1, "id": id, "key": "K9", "name": "By id"}),
                json!({"nr": 2, "id": null, "key": "K2", "name": "By key"}),
                json!({"nr": 3, "id": null, "key": "K3", "name": "New"}),
            ]) + &state(1),
        )
        .await;
    assert_eq!(actions(&results), ["updated", "updated", "inserted"], "{results:?}");
    let found = bed.rows("Contacts", "Northwind_Id,Last_Name").await;
    assert_eq!((&found[3]["Northwind_Id"], &found[3]["Last_Name"]), (&json!("K9"), &json!("By id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_after_a_look_does_no_harm() {
    let lost = [
        ("records", "POST", "/crm/v8/Contacts"),
        ("records", "PUT", "/crm/v8/Contacts"),
        ("bulk", "POST", "/crm/bulk/v8/write"),
    ];
    for (method, verb, path) in lost {
        let mut config = config("upsert", &["Northwind_Id", "Mobile"], method);
        config["streams"]["people"]["fields"] =
            json!({"key": "Northwind_Id", "mail": "Mobile", "name": "Last_Name"});
        let bed = filled(config).await;
        bed.fault(json!({"match": {"method": verb, "path_contains": path}, "action": {"kind": "cut_after_execute"}})).await;
        let (ended, _) = bed.run(people(&rows()) + &state(1)).await;
        // A number is not unique, so a create whose answer was lost is a person's to judge.
        match (verb, ended) {
            ("PUT", ended) => assert_eq!(ended.expect("repeated").failed(), 1),
            (_, Ok(summary)) => assert_eq!(summary.failed(), 1, "the job that was cut was the updates'"),
            (_, Err(error)) => assert!(error.to_string().contains("1 row of call"), "{error}"),
        }
        bed.zylker.advance(5);
        assert_eq!(bed.rows("Contacts", "Mobile").await.len(), 5, "{method} {verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_crm_holds_already_is_not_sent() {
    let mut config = config("upsert", &["Northwind_Id"], "auto");
    config["streams"]["people"]["compare_live"] = json!(true);
    let bed = filled(config).await;
    let same = json!({"nr": 1, "key": "K1", "mail": "0171-1", "name": "One", "phone": null});
    let other = json!({"nr": 2, "key": "K2", "mail": "0171-2", "name": "Other"});
    let (_, _, results) = bed.written(people(&[same, other]) + &state(1)).await;
    assert_eq!(actions(&results), ["unchanged", "updated"], "{results:?}");
    let (_, stats) = bed.zylker.get("/__emulator/stats").await;
    assert!(stats.to_string().contains("PUT /crm/v8/Contacts"), "an update by id: {stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_left_alone_and_named() {
    for method in ["records", "bulk"] {
        let mut config = config("upsert", &["Northwind_Id"], method);
        config["streams"]["people"]["protect"] = json!(true);
        let bed = Bed::new(config).await;
        let row = |name: &str, phone: &str| json!({"nr": 1, "key": "K1", "mail": "0171-1", "name": name, "phone": phone});
        let other = |name: &str| json!({"nr": 2, "key": "K2", "mail": "0171-2", "name": name, "phone": "2"});
        bed.written(people(&[row("One", "1"), other("Two")]) + &state(1)).await;
        let id = bed.rows("Contacts", "id").await[0]["id"].clone();
        let by_hand = json!({"module": "Contacts", "records": [{"id": id, "Phone": "by hand"}]});
        assert!(bed.zylker.post("/__emulator/mutate", &by_hand).await.0 < 300);
        let (_, _, results) = bed.written(people(&[row("One b", "9"), other("Two b")]) + &state(2)).await;
        assert_eq!(actions(&results), ["updated", "updated"], "{method} {results:?}");
        assert_eq!(results[0]["message"], "left alone, since somebody changed them: Phone");
        assert!(results[1].get("message").is_none());
        let found = bed.rows("Contacts", "Last_Name,Phone").await;
        assert_eq!(
            (&found[0]["Last_Name"], &found[0]["Phone"]),
            (&json!("One b"), &json!("by hand")),
            "{method}"
        );
        assert_eq!(found[1]["Last_Name"], "Two b");
        // Still somebody else's, however often it comes.
        let (_, _, results) = bed.written(people(&[row("One b", "9"), other("Two b")]) + &state(3)).await;
        assert_eq!(actions(&results), ["unchanged", "unchanged"], "{method}");
        assert_eq!(bed.rows("Contacts", "Phone").await[0]["Phone"], "by hand");
    }
}
