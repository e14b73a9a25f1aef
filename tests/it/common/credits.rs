//! What runs plan to spend, and what the emulator charges them.

use super::context::TestContext;
use serde_json::Value;

/// Credits by what they were spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charged {
    pub data: u64,
    pub metadata: u64,
    pub polls: u64,
}

/// What the emulator charged since its counters were set to zero; counting is among the data.
pub fn charged(context: &TestContext) -> Charged {
    let stats = context.stats();
    let mut sums = Charged::default();
    for (call, figures) in stats["endpoints"].as_object().expect("endpoints") {
        let credits = figures["credits"].as_u64().expect("credits");
        let is_metadata = call.contains("/settings/") || call.ends_with("/org");
        let account = match call.starts_with("GET /crm/bulk/") {
            true => &mut sums.polls,
            false if is_metadata => &mut sums.metadata,
            false => &mut sums.data,
        };
        *account += credits;
    }
    sums
}

/// `zoho-crm plan --json`, which has to follow its schema.
pub fn plan(context: &TestContext, args: &[&str]) -> Value {
    let output = context.operator(&["plan", "--json"]).args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema: Value = serde_json::from_str(include_str!("../../../schemas/plan.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&plan).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {plan:#}");
    plan
}
