//! Increments while somebody writes, calls fail and runs are killed: fifty seeds.

use crate::Part;
use crate::common::changes::{Case, Figures, changes_arrive};

/// Seeds of one part.
const SEEDS: u64 = 25;

fn part(form: &'static str) -> Part {
    Part::new(format!("changes, deletes and restores as a {form}"), 120, move |seed| {
        let mut all = Figures::default();
        for at in 0..SEEDS {
            let method = ["auto", "coql", "bulk_read", "records"][at as usize % 4];
            let seed = seed.wrapping_add(at) % 1_000_000;
            let figures = changes_arrive(Case { seed, rows: 3_000, changes: 1_000, form, method });
            all.runs += figures.runs;
            all.kills += figures.kills;
            all.faults += figures.faults;
            all.deleted += figures.deleted;
            all.restored += figures.restored;
        }
        let Figures { runs, kills, faults, deleted, restored } = all;
        format!(
            "{SEEDS} seeds, {runs} runs, {kills} killed, {faults} faults, {deleted} deletes and {restored} restores: all arrived"
        )
    })
}

/// Both forms of deletes.
pub fn parts() -> Vec<Part> {
    vec![part("stream"), part("mark")]
}
