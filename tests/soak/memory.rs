//! Tap into target at full size: memory that does not grow with the rows, and a second run that moves
//! only what changed.

use crate::Part;
use crate::common::context::TestContext;
use crate::common::pair::{
    change_source, pipe, prepare_tap, prepare_target, source_rows, two_organisations, written,
};
use crate::common::process::{Moment, Ran, run};
use serde_json::{Value, json};
use std::fs;

/// Peaks allowed. Unit: KiB of resident memory.
const TAP_PEAK: u64 = 100 * 1_024;
const TARGET_PEAK: u64 = 200 * 1_024;
/// Growth that is still none: what allocators and page caches move by.
const GROWTH: f64 = 1.15;
/// Rows that change between two runs.
const CHANGED: u64 = 500;

/// What one size took.
struct Sized {
    rows: u64,
    tap: u64,
    target: u64,
}

/// Memory, and what a second run moves.
pub fn parts() -> Vec<Part> {
    vec![Part::new("memory and increments, 200,000 and 500,000 rows", 120, stays_flat)]
}

/// Moves 200,000 and 500,000 Leads and compares the peaks.
fn stays_flat(seed: u64) -> String {
    let (small, large) = (moves(seed, 200_000), moves(seed, 500_000));
    for sized in [&small, &large] {
        assert!(sized.tap < TAP_PEAK, "tap: {} KiB at {} rows", sized.tap, sized.rows);
        assert!(sized.target < TARGET_PEAK, "target: {} KiB at {} rows", sized.target, sized.rows);
    }
    for (program, small, large) in [("tap", small.tap, large.tap), ("target", small.target, large.target)] {
        assert!(large as f64 <= small as f64 * GROWTH, "{program}: {small} KiB, then {large} KiB");
    }
    let mib = |kib: u64| kib / 1_024;
    format!(
        "peaks at {} rows: tap {} MiB, target {} MiB; at {} rows: {} and {} MiB",
        small.rows,
        mib(small.tap),
        mib(small.target),
        large.rows,
        mib(large.tap),
        mib(large.target)
    )
}

fn moves(seed: u64, rows: u64) -> Sized {
    let context = two_organisations(seed, rows);
    prepare_tap(&context, "auto", 50_000);
    prepare_target(&context, "upsert", "auto", 25_000);
    let first = once(&context, &Value::Null);
    equal(&context);
    assert_eq!(results(&context), rows as usize, "one RESULT per row");
    // Past the lookback, so that nothing but the changes is in the window.
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    change_source(&context, seed, CHANGED, 0);
    let state = first.lines.last().expect("a STATE");
    let second = once(&context, &serde_json::from_str(state).expect("JSON"));
    equal(&context);
    let moved = results(&context);
    assert!(moved > 0 && moved <= CHANGED as usize, "{moved} rows for at most {CHANGED} changes");
    println!(
        "  {rows} rows in {:.1} s, then {moved} in {:.1} s",
        first.time.as_secs_f64(),
        second.time.as_secs_f64()
    );
    println!("  {}", first.said.replace('\n', "\n  "));
    Sized { rows, tap: first.peaks[0], target: first.peaks[1] }
}

fn once(context: &TestContext, state: &Value) -> Ran {
    context.write("state.json", state);
    let _ = fs::remove_dir_all(context.path("state/results"));
    let ran = run(context, pipe(context), Moment::Never, &[]);
    assert!(ran.good, "{}", ran.said);
    ran
}

/// RESULT lines of the last run.
fn results(context: &TestContext) -> usize {
    let files = fs::read_dir(context.path("state/results")).expect("results");
    files.map(|file| fs::read_to_string(file.expect("reads").path()).expect("reads").lines().count()).sum()
}

fn equal(context: &TestContext) {
    let (found, truth) = (written(context), source_rows(context));
    assert_eq!(found.len(), truth.len());
    assert!(found == truth, "what is written is not what was read");
}
