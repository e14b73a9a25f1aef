//! A sync divided among eight processes, under change.

use crate::Part;
use crate::common::shards::{Case, SHARDS, shards_emit_what_one_process_would};

/// Rows of the first reading by each way; the records API reads them page by page.
const WAYS: [(&str, u64, u64); 3] =
    [("bulk_read", 60_000, 60), ("coql", 60_000, 90), ("records", 12_000, 90)];

/// By each way.
pub fn parts() -> Vec<Part> {
    let part = |(method, rows, seconds)| {
        Part::new(format!("shards by {method}"), seconds, move |seed| {
            let kills =
                shards_emit_what_one_process_would(Case { seed, method, rows, changes: 600, form: "stream" });
            format!("{SHARDS} shards of {rows} rows, {kills} runs killed: what one process would emit")
        })
    };
    WAYS.into_iter().map(part).collect()
}
