//! Reading at full size: what comes out of the tap is what the emulator holds, by every way.

use crate::Part;
use crate::common::context::TestContext;
use crate::common::killed::{Warehouse, run_tap};
use crate::common::process::{Moment, Ran};
use crate::common::ten::ten_streams;
use crate::common::wide;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use zoho_crm_connector::emulator::Options;

/// Sizes around every limit of every way.
const SIZES: [u64; 13] =
    [0, 1, 199, 200, 201, 1_999, 2_000, 2_001, 100_000, 100_001, 200_000, 200_001, 500_000];
/// Fields of the modules at these sizes, `id` included.
const WIDTH: usize = 12;
/// Widths around every limit of every way, and the rows of the modules at these widths.
const WIDTHS: [usize; 8] = [5, 50, 51, 200, 201, 300, 500, 501];
const WIDE_ROWS: u64 = 2_001;
fn context(seed: u64, rows: u64, method: &str, change: impl FnOnce(&mut Options)) -> TestContext {
    let context = TestContext::with(|options| {
        options.seed = seed;
        options.rows = [("Leads".to_owned(), rows)].into();
        options.limits.off = true;
        change(options);
    });
    narrow(&context);
    context.settings_with("config.json", &json!({"method": method, "lookback_seconds": 0}));
    context
}

/// Selects Leads with twelve of its fields.
fn narrow(context: &TestContext) {
    let text = fs::read_to_string(context.catalog(&["Leads"])).expect("reads");
    let mut catalog: Value = serde_json::from_str(&text).expect("JSON");
    let streams = catalog["streams"].as_array_mut().expect("streams");
    let leads = streams.iter_mut().find(|stream| stream["tap_stream_id"] == "Leads").expect("Leads");
    let mut left = WIDTH;
    for entry in leads["metadata"].as_array_mut().expect("metadata") {
        let name = entry["breadcrumb"].as_array().and_then(|crumbs| crumbs.get(1)).cloned();
        let Some(name) = name else { continue };
        let always = ["id", "Modified_Time", "Created_Time"].iter().any(|always| name == *always);
        let default = entry["metadata"]["selected-by-default"] == true;
        let takes = always || (default && left > 3);
        left -= usize::from(takes && !always);
        entry["metadata"]["selected"] = takes.into();
    }
    context.write("catalog.json", &catalog);
}

/// One good run into the warehouse.
fn read(context: &TestContext, warehouse: &mut Warehouse, about: &str) -> Ran {
    let ran = run_tap(context, &warehouse.state.clone(), Moment::Never);
    assert!(ran.good, "{about}: {}", ran.said);
    warehouse.take(&ran.lines, 0);
    warehouse.equals(context, "Leads", about);
    ran
}

/// Every size by one way.
fn sizes(seed: u64, method: &'static str) -> String {
    let mut time = Duration::ZERO;
    for rows in SIZES {
        let context = context(seed, rows, method, |_| {});
        let ran = read(&context, &mut Warehouse::default(), &format!("{rows} rows by {method}"));
        println!("  {rows} rows by {method}: {:.1} s, {} calls", ran.time.as_secs_f64(), ran.calls);
        time += ran.time;
    }
    format!(
        "{} sizes up to 500,000 rows of {WIDTH} fields by {method}: equal, {} s",
        SIZES.len(),
        time.as_secs()
    )
}

/// Every width by every way.
fn widths(seed: u64) -> String {
    for width in WIDTHS {
        let context = wide::context(seed, width, WIDE_ROWS, |_| {});
        for method in ["bulk_read", "coql", "records"] {
            wide::equals(
                &context,
                &wide::read(&context, method),
                width,
                &format!("{width} fields by {method}"),
            );
        }
        println!("  {width} fields: equal by each way");
    }
    format!("{} widths up to 501 fields, {WIDE_ROWS} rows, by each way: equal", WIDTHS.len())
}

/// 150,000 rows that share one Modified_Time, as an increment.
fn one_second(seed: u64) -> String {
    const ROWS: u64 = 150_000;
    for method in ["bulk_read", "coql", "auto"] {
        let context = context(seed, ROWS, method, |options| {
            (options.frozen_at, options.job_ms) = (Some(1_790_000_000), 0);
        });
        let mut warehouse = Warehouse::default();
        read(&context, &mut warehouse, method);
        let wish = json!({"module": "Leads", "seed": seed, "change_all": true, "modified_time": "2026-09-21T14:13:25Z"});
        context.control("POST", "mutate", &wish);
        let ran = read(&context, &mut warehouse, method);
        assert!(ran.lines.len() as u64 >= ROWS, "{method}: {} lines", ran.lines.len());
    }
    format!("{ROWS} rows of one Modified_Time by Bulk Read and by COQL: whole")
}

/// Ten streams on a server whose jobs take five seconds.
fn jobs_of_five_seconds() -> String {
    let mut told = Vec::new();
    for side_by_side in [1, 4] {
        let (ran, jobs, polls) = ten_streams(1_000, 5_000, side_by_side);
        // The server's own time: a second until the first job is queued, then its work.
        let own = Duration::from_millis(jobs["busy_ms"].as_u64().expect("a time") + 1_000);
        assert!(ran.time <= own.mul_f64(1.1), "{:?} for {own:?}, {side_by_side} side by side", ran.time);
        let (took, own) = (ran.time.as_secs_f64(), own.as_secs_f64());
        told.push(format!("{took:.1} s for {own:.1} s with {side_by_side} side by side, {polls} polls"));
    }
    told.join("; ")
}

/// Every size by every way, rows of one second, jobs that wait for each other.
pub fn parts() -> Vec<Part> {
    let ways = [("bulk_read", 120), ("coql", 180), ("records", 1_800), ("auto", 150)];
    let mut parts: Vec<Part> = ways
        .into_iter()
        .map(|(way, seconds)| Part::new(format!("sizes by {way}"), seconds, move |seed| sizes(seed, way)))
        .collect();
    parts.push(Part::new("widths", 120, widths));
    parts.push(Part::new("150,000 rows of one Modified_Time", 180, one_second));
    parts.push(Part::new("ten streams, jobs of five seconds", 70, |_| jobs_of_five_seconds()));
    parts
}
