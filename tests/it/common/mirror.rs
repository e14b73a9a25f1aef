//! A mirror behind a tap that is killed: nothing is deleted unless a whole table came.

use super::dice::Dice;
use super::pair::{pipe, prepare_tap, prepare_target, two_organisations, written};
use super::process::{Moment, run};
use serde_json::{Value, json};

/// Loads a mirror, kills the tap in front of it over and over, and lets an increment pass; no row may be
/// gone. A row that is deleted at the source is gone after the next whole reading. How many taps were killed.
pub fn mirror_survives(seed: u64, rows: u64, kills: u32) -> u32 {
    let context = two_organisations(seed, rows);
    prepare_tap(&context, "coql", rows / 15);
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(context.path("tap.json")).expect("reads"))
            .expect("JSON");
    config["activate_version"] = json!(true);
    context.write("tap.json", &config);
    set_method(&context.path("catalog.json"), "FULL_TABLE");
    prepare_target(&context, "mirror", "auto", rows / 6);
    let whole = |moment: Moment| {
        context.write("state.json", &Value::Null);
        run(&context, pipe(&context), moment, &[0])
    };
    let measured = whole(Moment::Never);
    assert!(measured.good, "{}", measured.said);
    let count = || written(&context).len() as u64;
    assert_eq!(count(), rows);
    let (mut dice, mut killed, mut runs) = (Dice::new(seed), 0, 0);
    while killed < kills {
        runs += 1;
        assert!(runs <= kills * 12, "few taps were hit, seed {seed}");
        // Mostly early: the tap is done long before the target is.
        let early = (dice.below(900) as f64 / 1_000.0).powi(3);
        let moment = if dice.below(2) == 0 {
            Moment::Calls((measured.calls as f64 * early) as u64 + 1)
        } else {
            Moment::Time(measured.time.mul_f64(early))
        };
        killed += u32::from(whole(moment).killed);
        assert_eq!(count(), rows, "a killed tap in front of a mirror, seed {seed}");
    }
    let gone = json!({"module": "Leads", "seed": seed, "delete": 3});
    context.control("POST", "mutate?org=Source", &gone);
    // Two readings that begin in one second of Zoho's clock have one version.
    context.control("POST", "clock", &json!({"advance_seconds": 2}));
    // An increment does not have what did not change, and says nothing about it.
    let full = whole(Moment::Never);
    assert!(full.good, "{}", full.said);
    assert_eq!(count(), rows - 3, "a whole table does: {}", full.said);
    set_method(&context.path("catalog.json"), "INCREMENTAL");
    for _ in 0..2 {
        let state =
            full.lines.last().map_or(Value::Null, |line| serde_json::from_str(line).expect("a STATE"));
        context.write("state.json", &state);
        let ran = run(&context, pipe(&context), Moment::Never, &[]);
        assert!(ran.good, "{}", ran.said);
        assert_eq!(count(), rows - 3, "an increment in front of a mirror, seed {seed}");
    }
    killed
}

/// Sets how the streams of a catalog are replicated.
fn set_method(catalog: &std::path::Path, method: &str) {
    let mut value: Value =
        serde_json::from_str(&std::fs::read_to_string(catalog).expect("reads")).expect("JSON");
    for stream in value["streams"].as_array_mut().expect("streams") {
        stream["replication_method"] = json!(method);
        for entry in stream["metadata"].as_array_mut().expect("metadata") {
            if entry["breadcrumb"].as_array().is_some_and(Vec::is_empty) {
                entry["metadata"]["replication-method"] = json!(method);
                entry["metadata"]["forced-replication-method"] = json!(method);
            }
        }
    }
    std::fs::write(catalog, value.to_string()).expect("writes");
}
