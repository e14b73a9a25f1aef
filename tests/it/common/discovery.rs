//! Discovery against a server whose calls take a known time.

use super::context::TestContext;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use zoho_crm_connector::emulator::breadth::Breadth;

/// The pool of the emulator's organisation. Source: "API Limits, Concurrency", Enterprise.
const POOL: u32 = 20;

/// What a discovery took.
pub struct Timed {
    pub streams: usize,
    pub took: Duration,
    /// The least time in which the server answers that many calls, in a pool of that size.
    pub servers: Duration,
    pub peak: u64,
    pub refused: u64,
}

/// Discovers an organisation with so many more modules, every call taking `call`.
pub fn timed(modules: u16, call: Duration) -> Timed {
    let context = TestContext::with(|options| {
        options.breadth = Breadth { modules, ..Breadth::default() };
    });
    // Signing in is not what is measured.
    context.operator(&["check"]).assert().success();
    let delay = json!({"match": {"path_contains": "/crm/", "times": 1_000_000}, "action": {"kind": "delay", "milliseconds": call.as_millis() as u64}});
    context.control("POST", "faults", &delay);
    context.control("DELETE", "stats", &Value::Null);
    let began = Instant::now();
    let output = context.tap().arg("--discover").assert().success().get_output().clone();
    let took = began.elapsed();
    let catalog: Value = serde_json::from_slice(&output.stdout).expect("a catalog");
    let stats = context.stats();
    let fields = stats["endpoints"]["GET /crm/v8/settings/fields"]["calls"].as_u64().expect("calls");
    // The list of modules comes first; then the pool works off the fields. The edition is known.
    let rounds = 1 + u32::try_from(fields).expect("few").div_ceil(POOL);
    Timed {
        streams: catalog["streams"].as_array().expect("streams").len(),
        took,
        servers: call * rounds,
        peak: stats["peak_concurrency"].as_u64().expect("a peak"),
        refused: stats["refused"].as_u64().unwrap_or(0),
    }
}
