//! Killed (SIGKILL) at random moments and started again from the last STATE or the one before.

use crate::Part;
use crate::common::inserts::{self, Guard, inserts_survive};
use crate::common::killed::{Figures, tap_survives};
use crate::common::mirror::mirror_survives;
use crate::common::pair::{Case, target_survives};

/// Rows of a run that is killed.
const ROWS: u64 = 50_000;
/// Times that it is killed.
const KILLS: u32 = 30;
fn told(figures: Figures) -> String {
    let Figures { runs, kills, last } = figures;
    format!(
        "{kills} kills in {runs} runs ({last} of them hit the target), {ROWS} rows: none lost, none doubled"
    )
}

fn tap(method: &'static str, rows: u64) -> Part {
    Part::new(format!("tap killed, {method}"), 30, move |seed| {
        let Figures { runs, kills, .. } = tap_survives(seed, rows, KILLS, method);
        format!("{kills} kills in {runs} runs, {rows} rows: none lost, none doubled")
    })
}

fn target(operation: &'static str, write: &'static str, read: Option<&'static str>) -> Part {
    let source = read.map_or("target killed, from a file", |_| "tap and target killed, from our tap");
    Part::new(format!("{source}, {operation} by {write}"), 100, move |seed| {
        told(target_survives(Case { seed, rows: ROWS, kills: KILLS, operation, write, read }))
    })
}

/// Rows that are inserted through kills and cut calls, and how many of both.
const INSERTED: u64 = 20_000;
const TROUBLES: u32 = 100;

fn inserts(guard: Guard, method: &'static str) -> Part {
    Part::new(format!("inserts killed and cut, {guard:?} by {method}"), 300, move |seed| {
        let case = inserts::Case { seed, rows: INSERTED, troubles: TROUBLES, guard, method };
        let figures = inserts_survive(case);
        assert!(!guard.is_certain(method) || figures.in_doubt == 0, "{figures:?}");
        format!("{INSERTED} rows, {figures:?}: every row there once")
    })
}

/// Tap and target, killed over and over.
pub fn parts() -> Vec<Part> {
    let mut parts = vec![tap("bulk_read", ROWS), tap("coql", ROWS), tap("records", 5_000)];
    for operation in ["upsert", "insert", "update"] {
        parts.push(target(operation, "bulk", None));
        parts.push(target(operation, "records", None));
    }
    for guard in [Guard::Unique, Guard::UniqueMark, Guard::Mark, Guard::Nothing] {
        parts.push(inserts(guard, "bulk"));
        parts.push(inserts(guard, "records"));
    }
    parts.push(Part::new("mirror behind a killed tap", 120, |seed| {
        format!("{} kills, no row deleted", mirror_survives(seed, 10_000, 30))
    }));
    parts.push(target("upsert", "auto", Some("bulk_read")));
    parts.push(target("insert", "bulk", Some("coql")));
    parts.push(target("update", "records", Some("coql")));
    parts
}
