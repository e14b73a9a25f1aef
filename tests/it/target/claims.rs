//! Every row has one RESULT, and the store is as the RESULTs say.

use crate::common::claims::{WAYS, hold};
use crate::common::retry::mended_rows_arrive;

#[test]
fn the_store_is_as_the_results_say() {
    for (operation, method) in WAYS {
        hold(operation, method, 600);
    }
}

#[test]
fn mended_rows_arrive_by_retry() {
    for (seed, method) in [(1, "records"), (2, "bulk")] {
        assert!(mended_rows_arrive(seed, 400, method) > 0);
    }
}
