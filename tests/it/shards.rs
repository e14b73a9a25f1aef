//! One sync divided among processes: what they emit together is what one would.

use crate::common::context::{TestContext, last_state, messages, records};
use crate::common::shards::{Case, SHARDS, divided, plan, shards_emit_what_one_process_would};
use crate::common::wide;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

#[test]
fn shards_emit_what_one_process_would_by_coql() {
    shards_emit_what_one_process_would(Case {
        seed: 1,
        method: "coql",
        rows: 4_000,
        changes: 25,
        form: "stream",
    });
}

#[test]
fn shards_emit_what_one_process_would_by_bulk_read() {
    shards_emit_what_one_process_would(Case {
        seed: 2,
        method: "bulk_read",
        rows: 4_000,
        changes: 25,
        form: "stream",
    });
}

#[test]
fn shards_emit_what_one_process_would_by_the_records_api() {
    shards_emit_what_one_process_would(Case {
        seed: 3,
        method: "records",
        rows: 1_700,
        changes: 25,
        form: "stream",
    });
}

#[test]
fn shards_mark_deletes_and_compare_ids_as_one_process_would() {
    shards_emit_what_one_process_would(Case {
        seed: 4,
        method: "auto",
        rows: 2_000,
        changes: 25,
        form: "mark",
    });
}

/// Records of a shard's first reading, by stream.
fn first_reading(context: &TestContext, number: usize, file: &str) -> BTreeMap<String, Vec<String>> {
    let args = ["--catalog", "catalog.json", "--shard", &format!("{number}/{SHARDS}"), "--shard-plan", file];
    let output = context.tap().args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    let streams = ["Leads", "Contacts", "users"];
    streams.map(|stream| (stream.to_owned(), records(&output.stdout, stream))).into()
}

#[test]
fn what_is_not_divided_is_the_first_shards() {
    let context = divided(4_000, "auto", &["Leads", "Contacts", "users"]);
    let plan: Value =
        serde_json::from_slice(&fs::read(context.path("shards.json")).expect("reads")).expect("JSON");
    assert_eq!(plan["streams"]["Leads"].as_array().map(Vec::len), Some(SHARDS - 1));
    assert_eq!((&plan["streams"]["Contacts"], &plan["streams"]["users"]), (&json!([]), &json!([])));
    let first = first_reading(&context, 1, "shards.json");
    assert_eq!((first["Leads"].len(), first["Contacts"].len()), (500, 100));
    assert!(!first["users"].is_empty());
    let last = first_reading(&context, SHARDS, "shards.json");
    assert_eq!((last["Leads"].len(), last["Contacts"].len(), last["users"].len()), (500, 0, 0));
    let same = self::plan(&context, SHARDS, "again.json");
    assert_eq!(same, plan, "nothing changed");
    let out = context.operator(&["plan"]).args(["--catalog", "catalog.json", "--shards", "8"]).output();
    let printed: Value = serde_json::from_slice(&out.expect("runs").stdout).expect("the plan on stdout");
    assert_eq!(printed, plan);
}

#[test]
fn a_module_of_many_fields_is_divided_as_well() {
    let context = wide::context(1, 120, 1_700, |_| {});
    context.catalog(&["Wide"]);
    plan(&context, SHARDS, "shards.json");
    for method in ["records", "coql"] {
        context.settings_with("config.json", &json!({"method": method}));
        let mut ids = Vec::new();
        for number in 1..=SHARDS {
            let shard = format!("{number}/{SHARDS}");
            let args = ["--catalog", "catalog.json", "--shard", &shard, "--shard-plan", "shards.json"];
            let output = context.tap().args(args).output().expect("runs");
            assert!(output.status.success(), "{}", context.seen(&output));
            ids.extend(
                records(&output.stdout, "Wide")
                    .iter()
                    .map(|record| serde_json::from_str::<Value>(record).expect("JSON")["id"].to_string()),
            );
        }
        let rows = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((rows, ids.len()), (1_700, 1_700), "{method}");
    }
}

/// Runs that are refused with exit code 2, before any call: what they say.
fn refused(context: &TestContext, args: &[&str]) -> String {
    let before = context.calls();
    let output = context.tap().args(["--catalog", "catalog.json"]).args(args).output().expect("runs");
    let said = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{}", context.seen(&output));
    assert_eq!(context.calls(), before, "{said}");
    said
}

#[test]
fn states_of_another_plan_or_shard_are_refused_by_name() {
    let context = divided(4_000, "auto", &["Leads"]);
    let shard = ["--shard", "2/8", "--shard-plan", "shards.json"];
    let first = context.tap().args(["--catalog", "catalog.json"]).args(shard).output().expect("runs");
    let state = last_state(&context, &messages(&first.stdout), "state.json");
    let state = ["--state", state.to_str().expect("UTF-8")];
    let made: Value =
        serde_json::from_slice(&fs::read(context.path("state.json")).expect("reads")).expect("JSON");
    let plan_of = format!("of plan {}", made["shard"]["plan"].as_str().expect("a fingerprint"));
    let ranges = made["shard"]["ranges"]["Leads"].as_object().expect("a range");
    assert_eq!(ranges.keys().collect::<Vec<_>>(), ["after_id", "up_to_id"]);

    let other = ["--shard", "3/8", "--shard-plan", "shards.json"];
    let said = refused(&context, &[&state[..], &other].concat());
    let what = format!("the state is of shard 2/8 {plan_of}, and this run is shard 3/8 {plan_of}");
    assert!(said.contains(&what), "{said}");

    context.control("POST", "mutate", &json!({"module": "Leads", "seed": 1, "insert": 900}));
    context.control("POST", "clock", &json!({"advance_seconds": 7_200}));
    let mut moved: Value = plan(&context, SHARDS, "other.json");
    // A plan made later differs by itself where sizes are not remembered; this one does in any case.
    moved["streams"]["Leads"].as_array_mut().expect("ids")[6] = "9999999999999999999".into();
    context.write("other.json", &moved);
    let other = ["--shard", "2/8", "--shard-plan", "other.json"];
    let said = refused(&context, &[&state[..], &other].concat());
    assert!(
        said.contains(&format!("the state is of shard 2/8 {plan_of}, and this run is shard 2/8 of plan "))
    );

    let said = refused(&context, &state);
    let what = format!("the state is of shard 2/8 {plan_of}, and this run is of no shard");
    assert!(said.contains(&what) && said.contains("`--shard-plan`"), "{said}");
    let again = context.tap().args(["--catalog", "catalog.json"]).args(state).args(shard).output();
    assert!(again.expect("runs").status.success(), "its own goes on");
}

#[test]
fn shards_and_plans_that_cannot_be_are_refused_by_place_and_value() {
    let context = divided(4_000, "auto", &["Leads"]);
    let of = |shard: &str, file: &str| refused(&context, &["--shard", shard, "--shard-plan", file]);
    let said = of("9/8", "shards.json");
    assert!(said.contains("'9/8'") && said.contains("of 8 shards, 9 is none: expected 1 to 8"), "{said}");
    assert!(of("two", "shards.json").contains("expected K/N, such as `2/8`"));
    assert!(refused(&context, &["--shard", "1/8"]).contains("--shard-plan"));
    let said = of("1/4", "shards.json");
    assert!(said.contains("shards.json: this is no shard plan: `/shards` is `8`, and has to be 4"), "{said}");
    for (plan, place) in [
        (json!({"shards": "eight"}), "`/shards` is `\"eight\"`, and has to be a number from 1 to 100"),
        (
            json!({"shards": 8, "streams": {"Leads": ["1"]}}),
            "`/streams/Leads` is a list of 1, and has to be a list of 7 ids",
        ),
        (
            json!({"shards": 2, "streams": {"Leads": ["1' or"]}}),
            "`/streams/Leads/0` is `\"1' or\"`, and has to be an id",
        ),
    ] {
        context.write("broken.json", &plan);
        let shards = plan["shards"].as_u64().unwrap_or(8);
        let said = of(&format!("1/{shards}"), "broken.json");
        assert!(said.contains("broken.json") && said.contains(place), "{said}");
    }
    fs::write(context.path("broken.json"), "{\"shards\": 8,\n").expect("writes");
    assert!(of("1/8", "broken.json").contains("line 2"));
    assert!(of("1/8", "missing.json").contains("missing.json"));
    let none = context.operator(&["plan"]).args(["--shards", "0"]).output().expect("runs");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.status.code() == Some(2) && said.contains("expected a number from 1 to 100"), "{said}");
}
