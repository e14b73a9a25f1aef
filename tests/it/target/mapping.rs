//! Which rows and values go where.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;

/// A list of people, some of them with a company.
fn people(rows: &[Value]) -> String {
    let mut text = schema("people", &["id"], &["id", "name", "company", "address", "tags", "owner", "phone"]);
    rows.iter().for_each(|row| text.push_str(&record("people", row.clone())));
    text + &state(1)
}

fn two_modules() -> Value {
    json!({"streams": {"people": [
        {"module": "Accounts", "match_on": "Account_Name", "operation": "upsert", "when": {"company": {"empty": false}},
         "fields": {"company": "Account_Name"}},
        {"module": "Contacts", "match_on": ["Northwind_Id"], "constants": {"Lead_Source": "Import"}, "layout": "Standard",
         "fields": {"id": "Northwind_Id", "name": "Last_Name", "/address/city": "Mailing_City",
            "company": {"to": "Account_Name", "match": "Account_Name"},
            "owner": {"to": "Owner", "match": "email"}, "phone": {"to": "Phone", "nulls": "keep"}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_makes_an_account_and_a_contact() {
    let bed = Bed::new(two_modules()).await;
    let users = bed.zylker.get("/crm/v8/users?type=AllUsers").await.1;
    let mut active =
        users["users"].as_array().expect("users").iter().filter(|user| user["status"] == "active");
    let owner = active.next_back().expect("an active user").clone();
    let rows = [
        json!({"id": "1", "name": "Ann", "company": "Acme", "address": {"city": "Köln"}, "owner": owner["email"], "phone": "1"}),
        json!({"id": "2", "name": "Bob", "company": null, "address": null}),
        json!({"id": "3", "name": "Eve", "company": "Acme", "owner": "nobody@x.test"}),
    ];
    let (summary, _, results) = bed.written(people(&rows)).await;
    let told: Vec<(&str, &str, u64)> = results
        .iter()
        .map(|result| {
            let text = |key: &str| result[key].as_str().expect("a text");
            (text("module"), text("action"), result["line"].as_u64().expect("a number"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Accounts", "inserted", 2),
            ("Contacts", "inserted", 2),
            ("Accounts", "skipped", 3),
            ("Contacts", "inserted", 3),
            ("Accounts", "inserted", 4),
            ("Contacts", "rejected", 4),
        ],
        "one result per row and module, in input order"
    );
    assert!(results[5]["message"].as_str().expect("a text").contains("nobody@x.test"), "{}", results[5]);
    assert!(summary.to_string().contains("as Zoho starts them by itself"), "{summary}");
    let contacts = bed.rows("Contacts", "Northwind_Id,Mailing_City,Lead_Source,Account_Name,Owner").await;
    let accounts = bed.rows("Accounts", "id,Account_Name").await;
    assert_eq!((contacts.len(), accounts.len()), (2, 1));
    assert_eq!(contacts[0]["Mailing_City"], "Köln");
    assert_eq!(contacts[0]["Account_Name"], accounts[0]["id"]);
    assert_eq!(contacts[0]["Owner"], owner["id"]);
    assert_eq!((&contacts[1]["Mailing_City"], &contacts[1]["Lead_Source"]), (&Value::Null, &json!("Import")));
    // A null that is to be kept does not clear.
    let again = json!({"id": "1", "name": "Ann", "company": "Acme", "phone": null});
    bed.written(people(&[again])).await;
    assert_eq!(bed.rows("Contacts", "Phone").await[0]["Phone"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_config_names_has_to_be_there() {
    for (target, pointer, advice) in [
        (json!({"module": "Contact"}), "/streams/people/module", "did you mean \"Contacts\"?"),
        (
            json!({"module": "Contacts", "fields": {"name": "Last_Nam"}}),
            "/streams/people/fields/name",
            "did you mean \"Last_Name\"?",
        ),
        (
            json!({"module": "Contacts", "layout": "Standart"}),
            "/streams/people/layout",
            "did you mean \"Standard\"?",
        ),
        (
            json!({"module": "Contacts", "constants": {"Lead_Sorce": "x"}}),
            "/streams/people/constants/Lead_Sorce",
            "\"Lead_Source\"",
        ),
        (
            json!({"module": "Contacts", "match_on": ["Emial"]}),
            "/streams/people/match_on/0",
            "did you mean \"Email\"?",
        ),
        (
            json!({"module": "Contacts", "fields": {"company": {"to": "Account_Name", "match": "Accont_Name"}}}),
            "/streams/people/fields/company/match",
            "did you mean \"Account_Name\"?",
        ),
        (
            json!({"module": "Contacts", "fields": {"owner": {"to": "Owner", "match": "emial"}}}),
            "/streams/people/fields/owner/match",
            "\"email\"",
        ),
    ] {
        let bed = Bed::new(json!({"streams": {"people": target}})).await;
        // Another stream comes first, and nothing of it is written.
        let (ended, lines) = bed.run(contacts(0..3) + &state(1)).await;
        let error = ended.expect_err("a bad config");
        assert_eq!(error.class(), ErrorClass::Config, "{error}");
        assert!(error.to_string().contains(pointer), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains(advice)), "{error} {:?}", error.hint());
        assert!(lines.is_empty() && bed.rows("Contacts", "id").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_pointer_has_to_be_in_the_schema() {
    let described = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {
        "type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"},
        "address": {"type": ["null", "object"], "properties": {"city": {"type": "string"}}}}}});
    let mapped = |from: &str, when: Value| {
        json!({"streams": {"people": {"module": "Contacts", "match_on": ["Northwind_Id"], "when": when,
            "fields": {"id": "Northwind_Id", "name": "Last_Name", from: "Mailing_City"}}}})
    };
    for (config, place) in [
        (mapped("/address/cty", json!({})), "/streams/people/fields/~1address~1cty"),
        (mapped("/address/city", json!({"/address/cti": "Köln"})), "/streams/people/when/~1address~1cti"),
    ] {
        let bed = Bed::new(config).await;
        let row = json!({"id": "1", "name": "Ann", "address": {"city": "Köln"}});
        let (ended, _) = bed.run(format!("{described}\n{}", record("people", row))).await;
        let error = ended.expect_err("a bad pointer");
        assert!(error.to_string().contains(place) && error.to_string().contains("\"/address\""), "{error}");
        assert_eq!(error.hint().as_deref(), Some("did you mean \"city\"?"), "{error}");
        assert!(bed.rows("Contacts", "id").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_are_appended_and_values_give_way() {
    let config = json!({"streams": {"people": {"module": "Everything", "match_on": ["Code"], "operation": "upsert",
        "fields": {"id": "Code", "name": {"to": "Name", "nulls": "set_if_empty"},
            "phone": {"to": "Phone_1", "nulls": "set_if_empty"}, "tags": {"to": "Multi_1", "append": true}}}}});
    let bed = Bed::new(config).await;
    let first = json!({"id": "1", "name": "Ann", "tags": ["Red"]});
    let second = json!({"id": "1", "name": "Bob", "tags": ["Green", "Red"], "phone": "7"});
    for row in [first, second] {
        let (_, _, results) = bed.written(people(&[row])).await;
        assert!(results[0]["success"] == true, "{results:?}");
    }
    let rows = bed.rows("Everything", "Code,Name,Phone_1,Multi_1").await;
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["Name"], &rows[0]["Phone_1"]), (&json!("Ann"), &json!("7")));
    assert_eq!(rows[0]["Multi_1"], json!(["Red", "Green"]));
}
