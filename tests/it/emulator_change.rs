//! What changes in the local Zoho while a client works, and orgs that are large.

use crate::common::zylker::Zylker;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use zoho_crm_connector::emulator::Options;
use zoho_crm_connector::emulator::breadth::Breadth;
use zoho_crm_connector::emulator::switches::Merged;

async fn control(zylker: &Zylker, path: &str, body: Value) -> Value {
    let (status, answered) = zylker.post(&format!("/__emulator/{path}"), &body).await;
    assert_eq!(status, 200, "{path}: {answered}");
    answered
}

/// Columns of the truth, a row each.
async fn dump(zylker: &Zylker, module: &str, fields: &str) -> Vec<Value> {
    let url = format!("/__emulator/dump?module={module}&fields={fields}");
    let text = String::from_utf8(zylker.download(&url).await).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_writer_keeps_changing_rows_until_it_has_done_its_part() {
    let outcome = |seed: u64| async move {
        let zylker = Zylker::with_rows(&[("Leads", 50)]).await;
        let plan = json!({"modules": ["Leads"], "seed": seed, "per_call": 2.5, "total": 20});
        control(&zylker, "writer", plan).await;
        let before = dump(&zylker, "Leads", "id,Last_Name,Modified_Time").await;
        for _ in 0..10 {
            zylker.get("/crm/v8/Leads?fields=id").await;
        }
        let state = zylker.get("/__emulator/writer").await.1;
        assert_eq!(state["left"], 0, "{state}");
        let done: u64 =
            ["changed", "inserted", "deleted", "restored"].iter().filter_map(|key| state[key].as_u64()).sum();
        assert!((15..=20).contains(&done), "{state}");
        let after = dump(&zylker, "Leads", "id,Last_Name").await;
        assert_ne!(before.len(), after.len());
        after
    };
    assert_eq!(outcome(1).await, outcome(1).await);
    assert_ne!(outcome(1).await, outcome(2).await);
}

#[tokio::test]
async fn a_writer_can_work_by_the_second() {
    let zylker = Zylker::with_rows(&[("Leads", 20)]).await;
    control(&zylker, "writer", json!({"modules": ["Leads"], "per_second": 2_000, "total": 5})).await;
    for _ in 0..400 {
        if zylker.get("/__emulator/writer").await.1["left"] == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not work");
}

#[tokio::test]
async fn formulas_and_rollups_change_without_moving_modified_time() {
    let zylker = Zylker::with_rows(&[("Everything", 30)]).await;
    let times = dump(&zylker, "Everything", "id,Modified_Time").await;
    let computed = dump(&zylker, "Everything", "id,Formula_1,Formula_Text,Rollup_1").await;
    let changed = control(&zylker, "mutate", json!({"module": "Everything", "recompute": 5})).await;
    let reached: BTreeSet<&str> =
        changed["changed"].as_array().expect("ids").iter().filter_map(Value::as_str).collect();
    assert_eq!(dump(&zylker, "Everything", "id,Modified_Time").await, times);
    let now = dump(&zylker, "Everything", "id,Formula_1,Formula_Text,Rollup_1").await;
    for (before, now) in computed.iter().zip(&now) {
        assert_eq!(before != now, reached.contains(now["id"].as_str().expect("an id")), "{before} {now}");
    }
}

#[tokio::test]
async fn the_loser_of_a_merge_is_listed_as_the_switch_says() {
    for (merged, listed) in
        [(Merged::Recycle, Some("recycle")), (Merged::Permanent, Some("permanent")), (Merged::Unlisted, None)]
    {
        let zylker = Zylker::with_rows(&[("Leads", 3)]).await;
        zylker.emulator.app().change_switches(|switches| switches.merged = merged);
        let rows = dump(&zylker, "Leads", "id").await;
        let merge = json!({"module": "Leads", "merge_ids": [[rows[0]["id"], rows[1]["id"]]]});
        let changes = control(&zylker, "mutate", merge).await;
        assert_eq!((&changes["changed"][0], &changes["deleted"][0]), (&rows[0]["id"], &rows[1]["id"]));
        assert_eq!(dump(&zylker, "Leads", "id").await.len(), 2);
        let deleted = zylker.get("/crm/v8/Leads/deleted").await.1;
        assert_eq!(deleted["data"][0]["type"].as_str(), listed, "{merged:?}");
    }
}

#[tokio::test]
async fn a_large_org_has_many_modules_and_wide_ones() {
    let schema = json!({"modules": [{"api_name": "Leads", "one_modified_time": true}]});
    let options = Options {
        breadth: Breadth { modules: 150, wide: vec![300] },
        rows: [("Wide_300".to_owned(), 20), ("Leads".to_owned(), 20)].into(),
        schema: Some(schema),
        ..Options::default()
    };
    let zylker = Zylker::start(options).await;
    let modules = zylker.get("/crm/v8/settings/modules").await.1;
    assert!(modules["modules"].as_array().expect("modules").len() > 170);
    let fields = zylker.get("/crm/v8/settings/fields?module=Wide_300").await.1;
    let kinds: BTreeSet<&str> = fields["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .filter_map(|field| field["data_type"].as_str())
        .collect();
    assert_eq!((fields["fields"].as_array().map(Vec::len), kinds.len()), (Some(300), 15));
    let row = &dump(&zylker, "Wide_300", "Text_001,Website_285,Currency_289").await[..];
    assert!(row.iter().any(|row| row["Text_001"].is_string() && row["Website_285"].is_string()), "{row:?}");
    let times: BTreeSet<String> = dump(&zylker, "Leads", "Modified_Time")
        .await
        .iter()
        .map(|row| row["Modified_Time"].to_string())
        .collect();
    assert_eq!(times.len(), 1);
}
