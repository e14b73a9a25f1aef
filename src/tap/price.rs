//! What reading costs, in API credits.
//!
//! Each function prices one reading the way it is really done, page by page and job by job; whatever
//! is read in parts (column slices, child streams) costs the sum of its parts. Prices of single calls
//! are those of [`crate::zoho::credits`], by Zoho's page "API Limits" of v8.

use super::bulk::windows::boundary_credits;
use super::plan::Way;
use crate::zoho::api::bulk_read::MAX_ROWS_PER_JOB;
use crate::zoho::credits::{BULK_READ_JOB, CALL, coql_price};

/// Rows of a full page of COQL.
const COQL_PAGE: u64 = crate::zoho::api::coql::MAX_LIMIT as u64;
/// Rows of the first page where the number of rows is not known: the most that one credit buys.
const FIRST_PAGE: u64 = 200;
/// Rows of a page of the records API.
const LIST_PAGE: u64 = crate::zoho::api::records::MAX_PER_PAGE as u64;

impl Way {
    /// Credits of reading so many rows of at most as many fields as the way can have at once.
    pub fn credits(self, rows: u64) -> u64 {
        match self {
            Self::Coql => coql(rows),
            Self::BulkRead => bulk_read(rows),
            Self::Records => list(rows),
        }
    }
}

/// Queries for a known number of rows, each as large as it needs to be. Nothing is found out by asking.
fn coql(rows: u64) -> u64 {
    let page = |rows: u64| coql_price(u32::try_from(rows).unwrap_or(u32::MAX));
    match (rows / COQL_PAGE, rows % COQL_PAGE) {
        (0, rows) => page(rows),
        (full, 0) => full * page(COQL_PAGE),
        (full, rest) => full * page(COQL_PAGE) + page(rest),
    }
}

/// Queries for a number of rows that nobody knows, as far as they go before somebody counts: a page
/// of 200, a page of 2,000. Answers their credits, and the rows that are left to be counted and read.
pub fn coql_unknown(rows: u64) -> (u64, u64) {
    let reach = FIRST_PAGE + COQL_PAGE;
    let credits = if rows <= FIRST_PAGE { coql(FIRST_PAGE) } else { coql(FIRST_PAGE) + coql(COQL_PAGE) };
    (credits, rows.saturating_sub(reach))
}

/// One job for each window of 200,000 rows, and the queries that find where windows end.
fn bulk_read(rows: u64) -> u64 {
    BULK_READ_JOB * jobs(rows) + boundary_credits(rows)
}

/// Jobs for so many rows.
pub fn jobs(rows: u64) -> u64 {
    rows.div_ceil(MAX_ROWS_PER_JOB).max(1)
}

/// Pages, and from the second page on as many for the pass that looks for rows that slipped.
fn list(rows: u64) -> u64 {
    match rows.div_ceil(LIST_PAGE) {
        0 | 1 => CALL,
        pages => 2 * pages * CALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_follow_the_reference() {
        let cases = [
            (0, 1, 50, 1),
            (1, 1, 50, 1),
            (199, 1, 50, 1),
            (200, 1, 50, 1),
            (201, 2, 50, 4),
            (1_999, 3, 50, 20),
            (2_000, 3, 50, 20),
            (2_001, 4, 50, 22),
            (100_000, 150, 50, 1_000),
            (200_000, 300, 50, 2_000),
            (200_001, 301, 102, 2_002),
        ];
        for (rows, coql, bulk, list) in cases {
            let credits = [Way::Coql, Way::BulkRead, Way::Records].map(|way| way.credits(rows));
            assert_eq!(credits, [coql, bulk, list], "{rows}");
        }
    }

    #[test]
    fn an_unknown_number_of_rows_is_felt_for() {
        assert_eq!([0, 200, 201, 2_200, 2_201].map(coql_unknown), [(1, 0), (1, 0), (4, 0), (4, 0), (4, 1)]);
    }
}
