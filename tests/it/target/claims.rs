//! Every row has one RESULT, and the store is as the RESULTs say.

use crate::common::claims::{WAYS, hold};

#[test]
fn the_store_is_as_the_results_say() {
    for (operation, method) in WAYS {
        hold(operation, method, 600);
    }
}
