//! Parents that come after their children: rows wait, or get their lookup in a second pass.

use super::*;
use std::collections::BTreeMap;

/// People and whom they report to, by natural key.
fn people(method: &str, operation: &str, batch_rows: usize) -> Value {
    json!({"method": method, "batch_rows": batch_rows, "max_rejected": "100%", "streams": {"people": {"module": "Contacts",
        "operation": operation, "match_on": ["Northwind_Id"], "fields": {"id": ["Northwind_Id", "Last_Name"],
            "boss": {"to": "Reporting_To", "match": "Northwind_Id"}}}}})
}

fn person(id: usize, boss: Option<usize>) -> String {
    record("people", json!({"id": format!("p{id}"), "boss": boss.map(|boss| format!("p{boss}"))}))
}

fn announced() -> String {
    schema("people", &["id"], &["id", "boss"])
}

/// Whom each person reports to, by natural key.
async fn bosses(bed: &Bed) -> BTreeMap<String, Option<String>> {
    let rows = bed.rows("Contacts", "id,Northwind_Id,Reporting_To").await;
    let key = |row: &Value| row["Northwind_Id"].as_str().expect("a key").to_owned();
    let by_id: BTreeMap<&str, String> =
        rows.iter().map(|row| (row["id"].as_str().expect("an id"), key(row))).collect();
    let found: BTreeMap<String, Option<String>> =
        rows.iter().map(|row| (key(row), row["Reporting_To"].as_str().map(|id| by_id[id].clone()))).collect();
    assert_eq!(found.len(), rows.len(), "nobody is there twice");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn people_report_to_people_who_come_later() {
    for (method, operation) in [
        ("records", "upsert"),
        ("bulk", "upsert"),
        ("records", "insert"),
        ("bulk", "insert"),
        ("auto", "upsert"),
    ] {
        // Zoho gives out ten results of jobs a minute.
        let bed = Bed::new(people(method, operation, if method == "bulk" { 100 } else { 50 })).await;
        // Each reports to the next, the last two to each other; some to nobody.
        let boss = |n: usize| match n {
            199 => Some(198),
            n if n % 10 == 3 => None,
            n => Some(n + 1),
        };
        let mut input = announced();
        for n in 0..200 {
            input.push_str(&person(n, boss(n)));
            if n % 20 == 19 {
                input.push_str(&state(n as u64));
            }
        }
        let (summary, lines, results) = bed.written(input).await;
        assert_eq!(
            summary.failed(),
            0,
            "{method} {operation} {summary} {:?}",
            results.iter().find(|r| r["success"] == false)
        );
        assert_eq!(actions(&results), vec!["inserted"; 200], "{method} {operation}");
        let told: Vec<u64> = results.iter().filter_map(|result| result["line"].as_u64()).collect();
        assert!(told.is_sorted() && told.len() == 200, "one RESULT a row, in input order");
        assert_eq!(lines.last().map(String::as_str), Some("{\"at\": 199}"));
        let found = bosses(&bed).await;
        for n in 0..200 {
            assert_eq!(found[&format!("p{n}")], boss(n).map(|n| format!("p{n}")), "{method} {operation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boss_who_never_comes_is_named_and_the_row_is_mended_by_retry() {
    for method in ["records", "bulk"] {
        let mut bed = Bed::new(people(method, "insert", 50)).await;
        let input = announced() + &person(1, Some(2)) + &person(2, Some(9)) + &person(3, None) + &state(1);
        let (summary, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 1}"]);
        assert_eq!(actions(&results), ["inserted", "rejected", "inserted"], "{method} {results:?}");
        let message = results[1]["message"].as_str().expect("a message");
        assert!(
            message.contains("Northwind_Id \"p9\"") && message.contains("written without it"),
            "{message}"
        );
        assert!(results[1]["record_id"].is_string());
        assert_eq!(bosses(&bed).await["p2"], None);
        // The boss comes, and the row is sent again: its record is changed, no second one made.
        bed.source = Source::Rejects;
        let rejects = std::fs::read_to_string(summary.rejects.expect("rejected rows")).expect("reads");
        let (_, _, results) = bed.written(announced() + &person(9, None) + &rejects).await;
        assert_eq!(actions(&results), ["inserted", "updated"], "{method} {results:?}");
        assert_eq!(bosses(&bed).await["p2"].as_deref(), Some("p9"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_last_for_a_person_wins_though_an_earlier_row_waits() {
    for method in ["records", "bulk"] {
        let bed = Bed::new(people(method, "upsert", 3)).await;
        let mut input = announced() + &person(1, Some(9)) + &person(5, None) + &person(6, None);
        input.push_str(&(person(1, Some(5)) + &person(7, None) + &person(8, None)));
        input.push_str(&(person(1, None) + &person(2, Some(1)) + &person(9, None) + &state(1)));
        let (summary, _, _) = bed.written(input).await;
        assert_eq!(summary.failed(), 0, "{method}");
        let found = bosses(&bed).await;
        assert_eq!((&found["p1"], found["p2"].as_deref()), (&None, Some("p1")), "{method}");
    }
}

/// Contacts of accounts, contacts first.
fn family(method: &str, batch_rows: usize, accounts: Value) -> Value {
    json!({"method": method, "batch_rows": batch_rows, "max_rejected": "100%", "streams": {
        "people": {"module": "Contacts", "match_on": ["Northwind_Id"], "fields": {"id": ["Northwind_Id", "Last_Name"],
            "firm": {"to": "Account_Name", "match": "Northwind_Id"}}},
        "firms": {"module": "Accounts", "match_on": ["Northwind_Id"], "fields": accounts}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn children_wait_for_parents_that_come_after_them() {
    for method in ["records", "bulk", "auto"] {
        let bed = Bed::new(family(method, 60, json!({"id": ["Northwind_Id", "Account_Name"]}))).await;
        let mut input = schema("people", &["id"], &["id", "firm"]);
        for n in 0..100 {
            // One names a firm that never comes.
            let firm = if n == 50 { 999 } else { n % 60 };
            input.push_str(&record("people", json!({"id": format!("p{n}"), "firm": format!("f{firm}")})));
        }
        input.push_str(&state(1));
        input.push_str(&schema("firms", &["id"], &["id"]));
        for n in 0..60 {
            input.push_str(&record("firms", json!({"id": format!("f{n}")})));
        }
        input.push_str(&state(2));
        let (summary, lines, results) = bed.written(input).await;
        assert_eq!(lines, ["{\"at\": 1}", "{\"at\": 2}"], "{method}");
        assert_eq!((summary.rows(), summary.failed()), (160, 1), "{method} {summary}");
        let people: Vec<&Value> = results.iter().filter(|result| result["stream"] == "people").collect();
        assert_eq!(people[50]["action"], "rejected");
        assert!(
            people[50]["message"].as_str().is_some_and(|text| text.contains("Northwind_Id \"f999\"")),
            "{}",
            people[50]
        );
        let told: Vec<u64> = people.iter().filter_map(|result| result["line"].as_u64()).collect();
        assert!(told.is_sorted() && told.len() == 100, "one RESULT a row, in input order");
        let firms = bed.rows("Accounts", "id,Northwind_Id").await;
        let found = bed.rows("Contacts", "Northwind_Id,Account_Name").await;
        assert_eq!(found.len(), 99, "{method}");
        for row in found {
            let number: usize = row["Northwind_Id"].as_str().expect("a key")[1..].parse().expect("a number");
            let firm = firms.iter().find(|firm| firm["id"] == row["Account_Name"]).expect("a firm");
            assert_eq!(firm["Northwind_Id"], format!("f{}", number % 60));
        }
        if method == "bulk" {
            let jobs: u64 = summary.tallies.iter().map(|tally| tally.effort.jobs).sum();
            assert!(jobs <= 8, "no job of rows all of whose parents are missing: {jobs} jobs");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_may_refer_to_each_other() {
    for method in ["records", "bulk"] {
        let accounts = json!({"id": ["Northwind_Id", "Account_Name"], "first": {"to": "First_Contact", "match": "Northwind_Id"}});
        let bed = Bed::new(family(method, 100, accounts)).await;
        let mut input =
            schema("people", &["id"], &["id", "firm"]) + &schema("firms", &["id"], &["id", "first"]);
        for n in 0..100 {
            input.push_str(&record("people", json!({"id": format!("p{n}"), "firm": format!("f{n}")})));
            input.push_str(&record(
                "firms",
                json!({"id": format!("f{n}"), "first": format!("p{}", (n + 7) % 100)}),
            ));
        }
        input.push_str(&state(1));
        let (summary, lines, results) = bed.written(input).await;
        assert_eq!(
            (lines.len(), summary.failed()),
            (1, 0),
            "{method} {summary} {:?}",
            results.iter().find(|r| r["success"] == false)
        );
        let people = bed.rows("Contacts", "id,Northwind_Id,Account_Name").await;
        let firms = bed.rows("Accounts", "id,Northwind_Id,First_Contact").await;
        let number = |row: &Value| {
            row["Northwind_Id"].as_str().expect("a key")[1..].parse::<usize>().expect("a number")
        };
        let of = |rows: &[Value], id: &Value| rows.iter().find(|row| row["id"] == *id).map(number);
        assert_eq!((people.len(), firms.len()), (100, 100));
        for row in &people {
            assert_eq!(of(&firms, &row["Account_Name"]), Some(number(row)), "{method}");
        }
        for row in &firms {
            assert_eq!(of(&people, &row["First_Contact"]), Some((number(row) + 7) % 100), "{method}");
        }
    }
}

/// Everybody reports to somebody who comes later, but for the last, who reports to the first.
fn company(from: u64, rows: u64) -> String {
    let mut text = announced();
    for n in from..rows {
        text.push_str(&person(n as usize, Some(((n * 7 + 13) % rows) as usize)));
        if (n + 1) % 50 == 0 {
            text.push_str(&state(n + 1));
        }
    }
    text
}

#[allow(clippy::print_stdout, reason = "a failing run has to be repeatable")]
async fn killed_between_passes(operation: &str, method: &str, seed: u64) {
    println!("seed {seed}, {operation} by {method}");
    let rows = 600;
    let bed = Bed::with(people(method, operation, 200), Options { seed, ..Options::default() }).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut states: Vec<u64> = vec![0];
    for kill in 0..13 {
        let from = states[states.len() - 1 - random.usize(0..states.len().min(2))];
        let limit = if kill < 12 { random.u64(1..700) } else { 60_000 };
        let (ended, printed) = crash::killed(&bed, company(from, rows), Duration::from_millis(limit)).await;
        states.extend(printed.iter().map(|line| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            value["at"].as_u64().expect("a number")
        }));
        // A STATE is out only when all rows before it have their lookups.
        let at = *states.last().expect("a STATE");
        let found = bosses(&bed).await;
        for n in 0..at {
            let boss = format!("p{}", (n * 7 + 13) % rows);
            assert_eq!(found[&format!("p{n}")].as_ref(), Some(&boss), "seed {seed}, STATE {at}");
        }
        if let Some(summary) = ended {
            assert_eq!(summary.failed(), 0, "{summary}");
        }
    }
    assert_eq!((states.last(), bosses(&bed).await.len()), (Some(&rows), rows as usize));
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_between_the_passes_lose_and_double_nothing() {
    for (seed, operation, method) in [
        (1, "insert", "records"),
        (2, "insert", "bulk"),
        (3, "upsert", "records"),
        (4, "upsert", "bulk"),
        (5, "upsert", "auto"),
    ] {
        killed_between_passes(operation, method, seed).await;
    }
}

/// People of firms that come after them.
fn of_firms(from: u64, people: u64, firms: u64) -> String {
    let mut text = schema("people", &["id"], &["id", "firm"]) + &schema("firms", &["id"], &["id"]);
    for n in from..people + firms {
        text.push_str(&if n < people {
            record("people", json!({"id": format!("p{n}"), "firm": format!("f{}", n % firms)}))
        } else {
            record("firms", json!({"id": format!("f{}", n - people)}))
        });
        if (n + 1) % 20 == 0 {
            text.push_str(&state(n + 1));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_children_wait_lose_and_double_nothing() {
    for (seed, method) in [(1, "records"), (2, "bulk")] {
        let (people, firms) = (300, 100);
        let config = family(method, 100, json!({"id": ["Northwind_Id", "Account_Name"]}));
        let bed = Bed::with(config, Options { seed, ..Options::default() }).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut states: Vec<u64> = vec![0];
        for kill in 0..9 {
            let from = states[states.len() - 1 - random.usize(0..states.len().min(2))];
            let limit = if kill < 8 { random.u64(1..500) } else { 60_000 };
            let input = of_firms(from, people, firms);
            let (ended, printed) = crash::killed(&bed, input, Duration::from_millis(limit)).await;
            states.extend(printed.iter().map(|line| {
                let value: Value = serde_json::from_str(line).expect("JSON");
                value["at"].as_u64().expect("a number")
            }));
            let there = bed.rows("Contacts", "Northwind_Id,Account_Name").await;
            let at = (*states.last().expect("a STATE")).min(people) as usize;
            assert!(there.len() >= at, "STATE {at} with {} people, seed {seed}", there.len());
            if let Some(summary) = ended {
                assert_eq!(summary.failed(), 0, "{summary}");
            }
        }
        let mut keys: Vec<String> = Vec::new();
        for row in bed.rows("Contacts", "Northwind_Id,Account_Name").await {
            assert!(row["Account_Name"].is_string(), "{row}");
            keys.push(row["Northwind_Id"].as_str().expect("a key").to_owned());
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len() as u64, people, "every person once, seed {seed}");
        assert_eq!(bed.rows("Accounts", "id").await.len() as u64, firms);
    }
}
