//! 100,000 rows by every operation and path, with row errors of every code.

use super::Part;
use super::common::claims::{WAYS, hold};

const ROWS: usize = 100_000;

pub fn parts() -> Vec<Part> {
    let part = |(operation, method): (&'static str, &'static str)| {
        Part::new(format!("claims, {operation} by {method}"), 20, move |_| hold(operation, method, ROWS))
    };
    WAYS.into_iter().map(part).collect()
}
