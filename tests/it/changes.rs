//! Increments while somebody writes, calls fail and runs are killed; `make soak` runs fifty seeds.

use crate::common::changes::{Case, changes_arrive};

fn arrive(form: &'static str) {
    let mut seen = (0, 0, 0, 0);
    for (seed, method) in [(1, "auto"), (2, "auto"), (3, "bulk_read"), (4, "records")] {
        let figures = changes_arrive(Case { seed, rows: 1_200, changes: 200, form, method });
        seen.0 += figures.kills;
        seen.1 += figures.faults as u32;
        seen.2 += figures.deleted as u32;
        seen.3 += figures.restored as u32;
    }
    assert!(seen.0 > 0 && seen.1 > 0 && seen.2 > 200 && seen.3 > 100, "little happened: {seen:?}");
}

#[test]
fn changes_deletes_and_restores_arrive_as_a_stream() {
    arrive("stream");
}

#[test]
fn changes_deletes_and_restores_arrive_as_marks() {
    arrive("mark");
}
