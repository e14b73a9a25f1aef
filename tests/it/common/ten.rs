//! Ten streams on a server whose jobs take their time: small in `make test`, full in `make soak`.

use super::context::TestContext;
use super::killed::run_tap;
use super::process::{Moment, Ran};
use serde_json::{Value, json};
use zoho_crm_connector::emulator::Options;

/// The streams.
const STREAMS: [&str; 10] = [
    "Leads",
    "Contacts",
    "Accounts",
    "Deals",
    "Products",
    "Vendors",
    "Tasks",
    "Quotes",
    "Everything",
    "Contacts_X_Products",
];

/// Reads them from a server that works on so many jobs at once, each for that long: it is always at work
/// on as many as it can be. Answers the run, the server's figures of its jobs, and the number of polls.
pub fn ten_streams(rows: u64, job_ms: i64, side_by_side: u32) -> (Ran, Value, u64) {
    let context = TestContext::with(|options: &mut Options| {
        options.rows = STREAMS.map(|module| (module.to_owned(), rows)).into();
        options.job_ms = job_ms;
        options.switches.jobs_side_by_side = side_by_side;
    });
    context.catalog(&STREAMS);
    context.settings_with("config.json", &json!({"method": "bulk_read"}));
    let ran = run_tap(&context, &Value::Null, Moment::Never);
    assert!(ran.good, "{}", ran.said);
    let stats = context.stats();
    let jobs = stats["jobs"]["read"].clone();
    assert_eq!((&jobs["jobs"], &jobs["peak"]), (&json!(10), &json!(side_by_side)));
    let polls = stats["endpoints"]["GET /crm/bulk/v8/read/{id}"]["calls"].as_u64().expect("a count");
    (ran, jobs, polls)
}
