//! Runs that are killed and taken up again, in small; `make soak` runs the same at full size.

use crate::common::bosses::{self, bosses_survive};
use crate::common::inserts::{self, Guard, inserts_survive};
use crate::common::killed::tap_survives;
use crate::common::mirror::mirror_survives;
use crate::common::pair::{Case, target_survives};

#[test]
fn a_killed_tap_loses_no_row_by_bulk_read() {
    for seed in [11, 12, 13] {
        tap_survives(seed, 3_000, 6, "bulk_read");
    }
}

#[test]
fn a_killed_tap_loses_no_row_by_coql() {
    for seed in [21, 22, 23] {
        tap_survives(seed, 9_000, 6, "coql");
    }
}

#[test]
fn a_killed_tap_loses_no_row_by_the_records_api() {
    tap_survives(31, 900, 4, "records");
}

fn target(operation: &'static str, read: Option<&'static str>) {
    for (seed, write) in [(41, "bulk"), (42, "records"), (43, "auto")] {
        target_survives(Case { seed, rows: 1_500, kills: 5, operation, write, read });
    }
}

#[test]
fn a_killed_target_loses_and_doubles_nothing_under_upsert() {
    target("upsert", None);
}

#[test]
fn a_killed_target_loses_and_doubles_nothing_under_insert_by_a_unique_field() {
    target("insert", None);
}

#[test]
fn a_killed_target_loses_and_doubles_nothing_under_update() {
    target("update", None);
}

#[test]
fn a_killed_pipe_loses_and_doubles_nothing_under_upsert() {
    target("upsert", Some("bulk_read"));
}

#[test]
fn a_killed_pipe_loses_and_doubles_nothing_under_insert_by_a_unique_field() {
    target("insert", Some("coql"));
}

#[test]
fn a_killed_pipe_loses_and_doubles_nothing_under_update() {
    target("update", Some("coql"));
}

fn inserts(guard: Guard, seed: u64) {
    for method in ["bulk", "records"] {
        let figures = inserts_survive(inserts::Case { seed, rows: 600, troubles: 6, guard, method });
        assert!(!guard.is_certain(method) || figures.in_doubt == 0, "{guard:?} {method}: {figures:?}");
    }
}

#[test]
fn inserts_by_a_unique_field_are_never_in_doubt() {
    inserts(Guard::Unique, 51);
}

#[test]
fn inserts_with_a_unique_mark_are_never_in_doubt() {
    inserts(Guard::UniqueMark, 52);
}

#[test]
fn inserts_with_a_mark_are_found_again() {
    inserts(Guard::Mark, 53);
}

#[test]
fn inserts_without_anything_are_in_doubt_only_where_an_answer_was_lost() {
    inserts(Guard::Nothing, 54);
}

#[test]
fn a_mirror_behind_a_killed_tap_deletes_nothing() {
    assert_eq!(mirror_survives(61, 900, 4), 4);
}

#[test]
fn lookups_survive_kills_between_their_two_passes() {
    for (seed, operation, method) in [(71, "insert", "bulk"), (72, "upsert", "records")] {
        bosses_survive(bosses::Case { seed, rows: 600, kills: 5, operation, method });
    }
}
