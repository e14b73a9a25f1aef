//! Deletes in both forms, what comes back, comparing ids, refreshing formulas: through the front door.

use crate::common::context::{TestContext, last_state, messages, records};
use serde_json::{Value, json};
use std::fs;
use std::process::Output;
use zoho_crm_connector::emulator::Options;

/// A tap that is run again and again, each time from the state of the time before.
struct Runs {
    context: TestContext,
    settings: Value,
    has_state: bool,
}

impl Runs {
    fn new(rows: u64, settings: Value) -> Self {
        Self::with(rows, settings, |_| {})
    }

    fn with(rows: u64, settings: Value, change: impl FnOnce(&mut Options)) -> Self {
        let context = TestContext::with(|options| {
            options.rows = [("Leads".to_owned(), rows)].into();
            change(options);
        });
        context.catalog(&["Leads", "deleted_records"]);
        Self { context, settings, has_state: false }
    }

    fn try_run(&self) -> Output {
        let config = self.context.settings_with("config.json", &self.settings);
        let mut tap = self.context.tap_with(&config);
        tap.args(["--catalog", "catalog.json"]);
        if self.has_state {
            tap.args(["--state", "state.json"]);
        }
        tap.output().expect("runs")
    }

    fn run(&mut self) -> Output {
        let output = self.lost_run();
        last_state(&self.context, &messages(&output.stdout), "state.json");
        self.has_state = true;
        output
    }

    /// A run whose messages nobody keeps.
    fn lost_run(&self) -> Output {
        let output = self.try_run();
        assert!(output.status.success(), "{}", self.context.seen(&output));
        output
    }

    fn mutate(&self, mut wish: Value) -> Vec<String> {
        wish["module"] = "Leads".into();
        let did = self.context.control("POST", "mutate", &wish);
        let ids =
            ["deleted", "restored", "inserted"].map(|key| did[key].as_array().cloned().unwrap_or_default());
        ids.iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn days(&self, days: i64) {
        self.context.control("POST", "clock", &json!({"advance_seconds": days * 86_400}));
    }
}

fn parsed(output: &Output, stream: &str) -> Vec<Value> {
    records(&output.stdout, stream).iter().map(|record| serde_json::from_str(record).expect("JSON")).collect()
}

fn ids(output: &Output, stream: &str) -> Vec<String> {
    parsed(output, stream).iter().map(|record| record["id"].as_str().expect("an id").to_owned()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_restored_row_comes_again_though_its_modified_time_stays() {
    let mut runs = Runs::new(300, json!({"lookback_seconds": 0}));
    assert_eq!(ids(&runs.run(), "Leads").len(), 300);
    let deleted = runs.mutate(json!({"seed": 1, "delete": 3}));
    assert_eq!(ids(&runs.run(), "deleted_records").len(), 3);
    runs.mutate(json!({"restore_ids": [deleted[1]]}));
    let restored = runs.run();
    assert_eq!(ids(&restored, "Leads"), [deleted[1].clone()]);
    runs.days(1);
    let after = runs.run();
    assert_eq!((ids(&after, "Leads"), ids(&after, "deleted_records")), (vec![], vec![]), "once is enough");
}

/// The list tells the second of a delete and no more. A row that was restored, read as any other change
/// and deleted again within that second passed for one whose delete had been told.
#[test]
fn a_row_that_is_deleted_again_within_a_second_ends_as_deleted() {
    for form in ["stream", "mark"] {
        let settings = json!({"deleted_records": form, "lookback_seconds": 5});
        let mut runs = Runs::with(20, settings, |options| {
            options.frozen_at = Some(1_790_000_000);
            options.switches.restore_moves_modified_time = true;
        });
        let told = |output: &Output, id: &str| match form {
            "stream" => ids(output, "deleted_records").iter().any(|told| told == id),
            _ => {
                parsed(output, "Leads").iter().any(|row| row["id"] == id && !row["_sdc_deleted_at"].is_null())
            }
        };
        runs.run();
        let deleted = runs.mutate(json!({"seed": 1, "delete": 1})).remove(0);
        assert!(told(&runs.run(), &deleted), "{form}");
        runs.mutate(json!({"restore_ids": [deleted]}));
        assert!(ids(&runs.run(), "Leads").contains(&deleted), "{form}");
        runs.mutate(json!({"delete_ids": [deleted]}));
        assert!(told(&runs.run(), &deleted), "the second delete is not told, {form}");
    }
}

#[test]
fn a_restored_row_comes_again_until_somebody_hears_of_it() {
    let mut runs = Runs::new(50, json!({}));
    runs.run();
    let deleted = runs.mutate(json!({"seed": 1, "delete": 1}));
    runs.run();
    runs.mutate(json!({"restore_ids": deleted}));
    assert_eq!(ids(&runs.lost_run(), "Leads"), deleted, "the run is lost");
    assert_eq!(ids(&runs.lost_run(), "Leads"), deleted, "and the next one as well");
    assert_eq!(ids(&runs.run(), "Leads"), deleted);
    assert_eq!(ids(&runs.run(), "Leads").len(), 0);
}

#[test]
fn many_deletes_are_looked_up_now_and_then() {
    let mut runs = Runs::new(500, json!({}));
    runs.run();
    let deleted = runs.mutate(json!({"seed": 1, "delete": 200}));
    runs.run();
    runs.days(1);
    runs.run();
    runs.mutate(json!({"restore_ids": [deleted[7]]}));
    assert_eq!(ids(&runs.run(), "Leads").len(), 0, "not every time");
    runs.days(1);
    assert_eq!(ids(&runs.run(), "Leads"), [deleted[7].clone()]);
}

#[test]
fn marks_repeat_the_last_known_row() {
    let mut runs = Runs::new(40, json!({"deleted_records": "mark"}));
    let first = runs.run();
    let schema =
        messages(&first.stdout).into_iter().find(|message| message["type"] == "SCHEMA").expect("one");
    assert_eq!(schema["stream"], "Leads");
    assert_eq!(
        schema["schema"]["properties"]["_sdc_deleted_at"],
        json!({"type": ["null", "string"], "format": "date-time", "title": "Deleted since"})
    );
    let mut before = parsed(&first, "Leads");
    assert!(before.iter().all(|row| row["_sdc_deleted_at"].is_null()));
    let deleted = runs.mutate(json!({"seed": 1, "delete": 1}));
    let second = runs.run();
    let mut marked = parsed(&second, "Leads").pop().expect("a mark");
    assert!(marked["_sdc_deleted_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{marked}");
    assert!(parsed(&second, "deleted_records").is_empty());
    marked["_sdc_deleted_at"] = Value::Null;
    before.retain(|row| row["id"] == deleted[0].as_str());
    assert_eq!(before, [marked], "all its values are there");
    runs.mutate(json!({"restore_ids": deleted}));
    let third = parsed(&runs.run(), "Leads");
    assert_eq!(third, before, "and again with null");
}

#[test]
fn a_mark_of_a_row_nobody_kept_is_its_id_alone() {
    let mut runs = Runs::new(40, json!({"deleted_records": "mark"}));
    runs.mutate(json!({"seed": 5, "delete": 2}));
    assert_eq!(ids(&runs.run(), "Leads").len(), 38, "what was gone before the first read is not told");
    fs::remove_dir_all(runs.context.path("state")).expect("is removed");
    let deleted = runs.mutate(json!({"seed": 1, "delete": 1}));
    let output = runs.run();
    let marks: Vec<Value> =
        parsed(&output, "Leads").into_iter().filter(|row| !row["_sdc_deleted_at"].is_null()).collect();
    assert!(marks.iter().all(|mark| mark.as_object().expect("an object").len() == 2), "{marks:?}");
    assert!(marks.iter().any(|mark| mark["id"] == deleted[0].as_str()), "{marks:?}");
    assert!(said(&output).contains("nothing is remembered of it in `state_dir`"), "{}", said(&output));
}

#[test]
fn a_kept_row_follows_the_policy_of_today() {
    let mut runs = Runs::new(20, json!({"deleted_records": "mark"}));
    runs.run();
    runs.settings["field_policy"] = json!([{"fields": ["Last_Name"], "action": "mask"}]);
    runs.mutate(json!({"seed": 1, "delete": 1}));
    let marks: Vec<Value> =
        parsed(&runs.run(), "Leads").into_iter().filter(|row| !row["_sdc_deleted_at"].is_null()).collect();
    assert_eq!(marks.len(), 1);
    assert!(marks[0]["Last_Name"].is_null() || marks[0]["Last_Name"] == "***", "{}", marks[0]);
}

#[test]
fn a_list_that_ends_early_is_read_in_parts_and_says_so() {
    let mut runs = Runs::new(900, json!({}));
    runs.run();
    let deleted = runs.mutate(json!({"seed": 1, "delete": 600}));
    runs.mutate(json!({"purge_ids": deleted[..300]}));
    runs.context.control("POST", "switches", &json!({"deleted_rows": 400}));
    let output = runs.run();
    let mut told = ids(&output, "deleted_records");
    told.sort();
    let mut deleted = deleted;
    deleted.sort();
    assert_eq!(told, deleted);
    assert!(said(&output).contains("are read apart"), "{}", said(&output));
}

#[test]
fn comparing_ids_finds_what_no_list_shows() {
    let mut runs = Runs::new(500, json!({"reconcile": {}}));
    let first = runs.run();
    assert!(said(&first).contains("all ids are remembered"), "{}", said(&first));
    let deleted = runs.mutate(json!({"seed": 1, "delete": 20}));
    runs.days(130);
    let output = runs.run();
    assert!(said(&output).contains("older than the 60 days"), "{}", said(&output));
    let told = parsed(&output, "deleted_records");
    assert!(told.iter().all(|record| record["type"] == "missing"), "{told:?}");
    let mut told = ids(&output, "deleted_records");
    told.sort();
    let mut deleted = deleted;
    deleted.sort();
    assert_eq!(told, deleted);
    assert_eq!(ids(&runs.run(), "deleted_records").len(), 0);
}

#[test]
fn a_comparison_that_is_lost_is_made_again() {
    let mut runs = Runs::new(100, json!({"reconcile": {"now": true}, "deleted_records": "mark"}));
    runs.run();
    let deleted = runs.mutate(json!({"seed": 1, "delete": 2}));
    runs.days(130);
    assert_eq!(ids(&runs.lost_run(), "Leads").len(), 2);
    let mut again = ids(&runs.run(), "Leads");
    again.sort();
    let mut deleted = deleted;
    deleted.sort();
    assert_eq!(again, deleted);
    assert_eq!(ids(&runs.run(), "Leads").len(), 0);
}

#[test]
fn too_many_missing_rows_are_an_error_and_no_deletes() {
    let mut runs = Runs::new(200, json!({"reconcile": {}}));
    runs.run();
    runs.mutate(json!({"seed": 1, "delete": 60}));
    runs.days(130);
    let output = runs.try_run();
    assert_eq!(output.status.code(), Some(8), "{}", runs.context.seen(&output));
    assert!(ids(&output, "deleted_records").is_empty());
    insta::assert_snapshot!(
        said(&output)
            .lines()
            .filter(|line| line.starts_with("error") || line.starts_with("hint"))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn formulas_that_change_by_themselves_come_with_the_whole_row() {
    let context = TestContext::new(&[("Everything", 120)]);
    context.catalog(&["Everything", "deleted_records"]);
    let settings = json!({"refresh": {"every_hours": 1}, "lookback_seconds": 0});
    let mut runs = Runs { context, settings, has_state: false };
    let first = runs.run();
    let before = parsed(&first, "Everything");
    // What the formula repeats changes as if by itself.
    let id = before[3]["id"].clone();
    let change = json!({"module": "Everything", "modified_time": "2020-01-01T00:00:00Z", "records": [{"id": id, "Currency_1": 77.5}]});
    runs.context.control("POST", "mutate", &change);
    assert_eq!(ids(&runs.run(), "Everything").len(), 0, "an increment does not see it, and it is not due");
    runs.context.control("POST", "clock", &json!({"advance_seconds": 3_700}));
    let again = parsed(&runs.run(), "Everything");
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(again[0]["id"], id);
    assert_ne!(again[0]["Formula_1"], before[3]["Formula_1"]);
    assert_eq!(
        again[0].as_object().map(serde_json::Map::len),
        before[3].as_object().map(serde_json::Map::len)
    );
    runs.context.control("POST", "clock", &json!({"advance_seconds": 3_700}));
    let nothing = runs.run();
    assert_eq!(parsed(&nothing, "Everything"), Vec::<Value>::new(), "{}", said(&nothing));
}

/// Where the refresh ended in a later second than the deletes before it, the next run took its row for one
/// that was restored, and sent it again.
#[test]
fn a_refreshed_row_is_none_that_was_restored() {
    let context = TestContext::new(&[("Everything", 30)]);
    context.catalog(&["Everything", "deleted_records"]);
    let settings = json!({"refresh": {"every_hours": 1}, "lookback_seconds": 0});
    let mut runs = Runs { context, settings, has_state: false };
    let id = parsed(&runs.run(), "Everything")[3]["id"].clone();
    let change = json!({"module": "Everything", "modified_time": "2020-01-01T00:00:00Z", "records": [{"id": id, "Currency_1": 77.5}]});
    runs.context.control("POST", "mutate", &change);
    runs.context.control("POST", "clock", &json!({"advance_seconds": 3_700}));
    // The refresh knows the time by the answer before it: the list of deletes.
    let action = json!({"kind": "delay", "milliseconds": 1_100});
    let slow = json!({"match": {"path_contains": "/deleted", "times": 0}, "action": action});
    runs.context.control("POST", "faults", &slow);
    assert_eq!(ids(&runs.run(), "Everything").len(), 1);
    runs.context.control("DELETE", "faults", &Value::Null);
    assert_eq!(ids(&runs.run(), "Everything").len(), 0, "the row comes again");
}
