//! What is deleted, and above all what is not.

use super::*;
use zoho_crm_connector::diagnostic::ErrorClass;

fn versioned(number: usize, version: i64) -> String {
    format!(
        "{}\n",
        json!({"type": "RECORD", "stream": "Contacts", "record": contact(number), "version": version})
    )
}

fn activate(version: i64) -> String {
    format!("{}\n", json!({"type": "ACTIVATE_VERSION", "stream": "Contacts", "version": version}))
}

/// A table of contacts as a tap sends it in full.
fn table(numbers: impl IntoIterator<Item = usize>, version: i64) -> String {
    let mut text = contacts(0..0);
    numbers.into_iter().for_each(|number| text.push_str(&versioned(number, version)));
    text
}

fn mirror(more: &Value) -> Value {
    let mut stream = json!({"operation": "mirror", "match_on": "Email"});
    for (key, value) in more.as_object().expect("an object") {
        stream[key] = value.clone();
    }
    json!({"max_delete_percent": 50, "streams": {"Contacts": stream}})
}

async fn emails(bed: &Bed) -> Vec<String> {
    let rows = bed.rows("Contacts", "Email").await;
    rows.iter().map(|row| row["Email"].as_str().expect("an address").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_by_id_and_by_key() {
    let bed = Bed::new(json!({})).await;
    let (_, _, written) = bed.written(contacts(0..120) + &state(1)).await;
    let mut bed = bed;
    bed.config = json!({"max_delete_percent": 100, "streams": {
        "gone": {"module": "Contacts", "operation": "delete", "match_on": "Email", "fields": {"mail": "Email"}},
        "ids": {"module": "Contacts", "operation": "delete"}}});
    let mut input = schema("gone", &["mail"], &["mail", "why"]);
    for number in 0..110 {
        input.push_str(&record("gone", json!({"mail": format!("c{number}@x.test"), "why": "moved"})));
    }
    input.push_str(&record("gone", json!({"mail": "nobody@x.test"})));
    input.push_str(&state(2));
    input.push_str(&schema("ids", &["id"], &["id"]));
    input.push_str(&record("ids", json!({"id": written[115]["record_id"]})));
    input.push_str(&state(3));
    let (summary, lines, results) = bed.written(input).await;
    assert_eq!(lines, ["{\"at\": 2}", "{\"at\": 3}"]);
    assert_eq!((summary.rows(), summary.failed()), (112, 0), "{summary}");
    let of = |action: &str| results.iter().filter(|result| result["action"] == action).count();
    assert_eq!((of("deleted"), of("skipped")), (111, 1));
    let left = emails(&bed).await;
    assert_eq!(left.len(), 9);
    assert!(!left.contains(&"c115@x.test".to_owned()) && left.contains(&"c110@x.test".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_allowed_share_is_not_deleted_at_all() {
    let mut bed = Bed::new(json!({})).await;
    bed.written(contacts(0..20) + &state(1)).await;
    bed.config =
        json!({"streams": {"gone": {"module": "Contacts", "operation": "delete", "match_on": "Email"}}});
    let mut input = schema("gone", &["Email"], &["Email"]);
    (0..3).for_each(|number| input.push_str(&record("gone", json!({"Email": format!("c{number}@x.test")}))));
    let (ended, lines) = bed.run(input + &state(2)).await;
    let error = ended.expect_err("too many");
    assert_eq!(error.class(), ErrorClass::Data);
    assert_eq!(
        error.to_string(),
        "3 of the 20 records of Contacts would be deleted, more than 10%: nothing was deleted"
    );
    assert!(lines.is_empty(), "no STATE passes a row that was not acted on");
    assert_eq!(emails(&bed).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_marked_as_deleted_is_a_delete_only_where_that_is_asked_for() {
    for (way, left, action) in [("skip", 3, "skipped"), ("delete", 2, "deleted")] {
        let stream = json!({"match_on": "Email", "deleted_rows": way});
        let bed = Bed::new(json!({"max_delete_percent": 100, "streams": {"Contacts": stream}})).await;
        bed.written(contacts(0..3) + &state(1)).await;
        let gone = |number: usize| {
            let mut row = contact(number);
            row["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
            record("Contacts", row)
        };
        // The second comes back in the same run, so that its record stays.
        let input = contacts(0..0) + &gone(0) + &gone(1) + &record("Contacts", contact(1)) + &state(2);
        let (_, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 2}"]);
        let of_first = results.iter().find(|result| result["line"] == 2).expect("a result");
        assert_eq!(of_first["action"], action);
        assert_eq!(results.len(), 3);
        assert_eq!(emails(&bed).await.len(), left, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_deletes_what_a_whole_table_does_not_have() {
    for method in ["records", "bulk"] {
        let mut bed = Bed::new(json!({"method": "records"})).await;
        // Not ours: never touched in the default scope.
        bed.written(contacts(90..91) + &state(1)).await;
        bed.folder = tempfile::tempdir().expect("a folder");
        bed.config = mirror(&json!({}));
        bed.config["method"] = json!(method);
        let first = table(0..10, 1);
        bed.written(activate_first(&first, 1) + &activate(1) + &state(1)).await;
        let (summary, lines, results) = bed.written(table(2..10, 2) + &activate(2) + &state(2)).await;
        assert_eq!(lines, ["{\"at\": 2}"]);
        let deleted: Vec<&Value> = results.iter().filter(|result| result["action"] == "deleted").collect();
        assert_eq!(deleted.len(), 2, "{method} {summary}");
        assert!(deleted.iter().all(|result| result["line"] == 10 && result["record_id"].is_string()));
        assert_eq!(emails(&bed).await.len(), 9);
        // What is gone is forgotten: the same table again deletes nothing.
        let (_, _, results) = bed.written(table(2..10, 3) + &activate(3) + &state(3)).await;
        assert!(results.iter().all(|result| result["action"] != "deleted"));
    }
}

/// As classic taps do on the first load: the version is activated before the first row, too.
fn activate_first(table: &str, version: i64) -> String {
    let (schema, rows) = table.split_once('\n').expect("a SCHEMA");
    format!("{schema}\n{}{rows}", activate(version))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_deletes_nothing_unless_a_whole_table_came() {
    let bed = Bed::new(mirror(&json!({}))).await;
    bed.written(table(0..10, 1) + &activate(1) + &state(1)).await;
    let increments = [
        ("a tap that was killed", table(0..4, 2)),
        ("one that was killed before its first row", activate_first(&table(0..0, 2), 2)),
        ("one that was killed after activating first", activate_first(&table(0..4, 2), 2)),
        ("an increment", contacts(0..2) + &state(2)),
        ("an increment with a version", contacts(0..2) + &activate(2) + &state(2)),
        ("rows of two versions", table(0..2, 1) + &table(2..4, 2) + &activate(2)),
        ("another version", table(0..10, 2) + &activate(3)),
    ];
    for (why, input) in increments {
        bed.written(input).await;
        assert_eq!(emails(&bed).await.len(), 10, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_came_in_two_runs_is_whole_and_refused_rows_stay() {
    let bed = Bed::new(mirror(&json!({}))).await;
    bed.written(table(0..10, 1) + &activate(1) + &state(1)).await;
    // The tap was killed after the first half and goes on with the second under the same version.
    bed.written(table(0..5, 2) + &state(2)).await;
    let mut rest = table(6..9, 2);
    // A row that is refused is in the source all the same.
    let mut bad = contact(5);
    bad["Last_Name"] = json!(null);
    rest.push_str(&format!(
        "{}\n",
        json!({"type": "RECORD", "stream": "Contacts", "record": bad, "version": 2})
    ));
    let mut bed = bed;
    bed.config["max_rejected"] = json!(1);
    let (_, _, results) = bed.written(rest + &activate(2) + &state(3)).await;
    assert_eq!(results.iter().filter(|result| result["action"] == "deleted").count(), 1);
    let left = emails(&bed).await;
    assert!(left.len() == 9 && !left.contains(&"c9@x.test".to_owned()), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_of_the_whole_module_deletes_others_rows_too() {
    let mut bed = Bed::new(json!({})).await;
    bed.written(contacts(0..12) + &state(1)).await;
    bed.folder = tempfile::tempdir().expect("a folder");
    bed.config = mirror(&json!({"mirror_scope": "all"}));
    let (_, _, results) = bed.written(table(2..12, 1) + &activate(1) + &state(1)).await;
    assert_eq!(results.iter().filter(|result| result["action"] == "deleted").count(), 2);
    assert_eq!(emails(&bed).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_whose_answer_was_lost_is_told_as_done() {
    let mut bed = Bed::new(json!({})).await;
    bed.written(contacts(0..3) + &state(1)).await;
    bed.config = json!({"max_delete_percent": 100, "streams": {"Contacts": {"operation": "delete", "match_on": "Email"}}});
    bed.fault(json!({"match": {"method": "DELETE", "path_contains": "/Contacts"}, "action": {"kind": "cut_after_execute"}})).await;
    let (_, _, results) = bed.written(contacts(0..3) + &state(2)).await;
    assert_eq!(actions(&results), ["deleted"; 3]);
    assert!(emails(&bed).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_rows_are_not_sent_and_of_changed_ones_only_what_changed() {
    let bed = Bed::new(json!({"streams": {"Contacts": {"match_on": "Email", "only_changed": true}}})).await;
    bed.written(contacts(0..30) + &state(1)).await;
    let (summary, lines, results) = bed.written(contacts(0..30) + &state(2)).await;
    assert_eq!(lines, ["{\"at\": 2}"]);
    assert_eq!(actions(&results), vec!["unchanged"; 30]);
    assert!(results.iter().all(|result| result["record_id"].is_string()));
    assert_eq!(summary.tallies[0].effort, Default::default(), "no call was made");
    // Somebody edits the phone; the source changes the name, and nothing else is sent.
    let id = results[4]["record_id"].clone();
    let (status, _) = bed
        .zylker
        .post(
            "/__emulator/mutate",
            &json!({"module": "Contacts", "records": [{"id": id, "Phone": "by hand"}]}),
        )
        .await;
    assert!(status < 300);
    let mut row = contact(4);
    row["Last_Name"] = json!("Changed");
    let (_, _, results) = bed.written(contacts(0..4) + &record("Contacts", row.clone()) + &state(3)).await;
    assert_eq!(actions(&results)[3..], ["unchanged", "updated"]);
    let rows = bed.rows("Contacts", "Last_Name,Phone").await;
    assert_eq!((&rows[4]["Last_Name"], &rows[4]["Phone"]), (&json!("Changed"), &json!("by hand")));
    // Back and forth within one run: the last content wins.
    let input = contacts(4..5) + &record("Contacts", row) + &record("Contacts", contact(4)) + &state(4);
    bed.written(input).await;
    assert_eq!(bed.rows("Contacts", "Last_Name").await[4]["Last_Name"], "Name 4");
    // A refused row is not remembered.
    let mut bad = contact(4);
    bad["Last_Name"] = json!("x".repeat(200));
    let mut bed = bed;
    bed.config["max_rejected"] = json!(9);
    for _ in 0..2 {
        let (_, _, results) =
            bed.written(contacts(0..0) + &record("Contacts", bad.clone()) + &state(5)).await;
        assert_eq!(actions(&results), ["rejected"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_somebody_deleted_is_never_made_again_in_part() {
    let bed = Bed::new(
        json!({"max_rejected": 9, "streams": {"Contacts": {"match_on": "Email", "only_changed": true}}}),
    )
    .await;
    let (_, _, written) = bed.written(contacts(0..5) + &state(1)).await;
    let id = written[3]["record_id"].as_str().expect("an id");
    bed.client().delete("Contacts", &[id.into()]).await.expect("deleted");
    let mut row = contact(3);
    row["Last_Name"] = json!("Changed");
    // Refused once, since the record is gone; whole and new after that.
    for wanted in ["rejected", "inserted"] {
        let input = contacts(0..0) + &record("Contacts", row.clone()) + &state(2);
        let (_, _, results) = bed.written(input).await;
        assert_eq!(actions(&results), [wanted], "{results:?}");
    }
    let rows = bed.rows("Contacts", "Last_Name,Phone").await;
    assert_eq!(rows.last(), Some(&json!({"Last_Name": "Changed", "Phone": "030-1"})));
}
