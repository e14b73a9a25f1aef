//! Runs that are killed and taken up again, in small; `make soak` runs the same at full size.

use crate::common::killed::tap_survives;

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
