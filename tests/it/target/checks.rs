//! What is refused before it is sent.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn values_that_no_field_holds_cost_nothing() {
    let config =
        json!({"picklists": "strict", "streams": {"things": {"module": "Everything", "match_on": ["Code"]}}});
    let bed = Bed::new(config).await;
    let fields = [
        "Name",
        "Code",
        "Email_1",
        "Website_1",
        "Integer_1",
        "Long_1",
        "Currency_1",
        "Percent_1",
        "Date_1",
        "DateTime_1",
        "Pick_1",
        "Multi_1",
    ];
    let mut input = schema("things", &["Code"], &fields);
    let bad: Vec<(&str, Value)> = vec![
        ("Name", json!("é".repeat(121))),
        ("Email_1", json!("nobody at x")),
        ("Website_1", json!("not a site")),
        ("Integer_1", json!(1_234_567_890)),
        ("Long_1", json!("1234567890123456789")),
        ("Currency_1", serde_json::from_str("12345678901234567.5").expect("a number")),
        ("Percent_1", serde_json::from_str("0.255").expect("a number")),
        ("Date_1", json!("2026-02-30")),
        ("DateTime_1", json!("yesterday")),
        ("Pick_1", json!("Option 7")),
        ("Multi_1", json!(["Red", "Pink"])),
        ("Name", json!("")),
    ];
    for (number, (field, value)) in bad.iter().enumerate() {
        let mut row = json!({"Code": number.to_string(), "Name": "n"});
        row[*field] = value.clone();
        input.push_str(&record("things", row));
    }
    let good = json!({"Code": "good", "Name": "n", "Email_1": "a.b@x.test", "Website_1": "https://x.test/?a=b", "Integer_1": 123_456_789,
        "Long_1": "999999999999999999", "Percent_1": 0.25, "Pick_1": "Option 1", "Multi_1": ["Red", "Green"]});
    input.push_str(&record("things", good));
    let (summary, _, results) = bed.written(input + &state(1)).await;
    for ((field, value), result) in bad.iter().zip(&results) {
        assert_eq!(
            (&result["field"], result["success"].as_bool()),
            (&json!(field), Some(false)),
            "{value} {result}"
        );
        assert!(result["message"].as_str().is_some_and(|text| !text.is_empty()), "{result}");
    }
    assert_eq!(results[bad.len()]["action"], "inserted", "{}", results[bad.len()]);
    assert_eq!(summary.tallies[0].effort.credits, 1, "only the good row was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_in_a_batch_win_or_are_rejected() {
    let mut input = schema("Contacts", &[], &["Email", "Last_Name"]);
    for (email, name) in [("a@x.test", "one"), ("b@x.test", "two"), ("A@x.test", "three")] {
        input.push_str(&record("Contacts", json!({"Email": email, "Last_Name": name})));
    }
    for (duplicates, told, name) in [
        ("last_wins", ["inserted", "inserted", "updated"], "three"),
        ("reject", ["inserted", "inserted", "rejected"], "one"),
    ] {
        let config = json!({"duplicates": duplicates, "streams": {"Contacts": {"match_on": ["Email"]}}});
        let bed = Bed::new(config).await;
        let (_, _, results) = bed.written(input.clone() + &state(1)).await;
        assert_eq!(actions(&results), told, "{duplicates}");
        assert_eq!(bed.rows("Contacts", "Email,Last_Name").await[0]["Last_Name"], name);
    }
}
