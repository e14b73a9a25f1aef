//! One sync divided among processes.

use super::changes::Mirror;
use super::context::TestContext;
use super::dice::Dice;
use super::process::{Moment, Ran, command, run};
use serde_json::{Value, json};
use std::fs;
use zoho_crm_connector::emulator::Options;

/// Processes of one sync.
pub const SHARDS: usize = 8;

/// A Zoho with so many leads, the streams selected and divided, and settings for the shards.
pub fn divided(rows: u64, method: &str, streams: &[&str]) -> TestContext {
    let context = TestContext::with(|options: &mut Options| {
        options.rows = [("Leads".to_owned(), rows), ("Contacts".to_owned(), 100)].into();
        options.limits.off = true;
    });
    context.catalog(streams);
    context.settings_with("config.json", &settings(method));
    plan(&context, SHARDS, "shards.json");
    context
}

fn settings(method: &str) -> Value {
    json!({"method": method, "state_rows": 50,
        "retry": {"first_pause_seconds": 0.005, "longest_pause_seconds": 0.05}})
}

/// Makes a shard plan.
pub fn plan(context: &TestContext, shards: usize, file: &str) -> Value {
    let args = ["--catalog", "catalog.json", "--shards", &shards.to_string(), "--shard-plan", file];
    let output = context.operator(&["plan"]).args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    serde_json::from_slice(&fs::read(context.path(file)).expect("reads")).expect("JSON")
}

/// One run of a shard from a state.
fn run_shard(context: &TestContext, number: usize, state: &Value, moment: Moment) -> Ran {
    context.write("state.json", state);
    let shard = format!("{number}/{SHARDS}");
    let args = ["--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"];
    let args = [&args[..], &["--shard", &shard, "--shard-plan", "shards.json"]].concat();
    run(context, vec![command(context, "tap-zoho-crm", &args)], moment, &[0])
}

/// Runs every shard to its end, in any order, killed now and then and taken up again; `between` happens
/// after each run. Answers how many were killed.
fn round(
    context: &TestContext,
    mirrors: &mut [Mirror],
    dice: &mut Dice,
    kill: bool,
    mut between: impl FnMut(),
) -> u32 {
    let (mut left, mut kills): (Vec<usize>, u32) = ((0..SHARDS).collect(), 0);
    while !left.is_empty() {
        let at = left.swap_remove(dice.below(left.len() as u64) as usize);
        let killed_at = dice.below(4) + 1;
        let when = if kill && dice.below(3) == 0 { Moment::Calls(killed_at) } else { Moment::Never };
        let ran = run_shard(context, at + 1, &mirrors[at].state, when);
        assert!(ran.killed || ran.good, "shard {}: {}", at + 1, ran.said);
        mirrors[at].take(&ran.lines, if ran.killed { dice.below(2) as usize } else { 0 });
        if ran.killed {
            kills += 1;
            left.push(at);
        }
        between();
    }
    kills
}

/// One case: everything that happens follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Of the changes and the kills.
    pub seed: u64,
    /// A way of reading, or `auto`.
    pub method: &'static str,
    /// Rows at the beginning.
    pub rows: u64,
    /// Rows changed after each run of a shard; a sixth as many are inserted, and deleted.
    pub changes: u64,
    /// `stream`, or `mark` with ids compared in every run.
    pub form: &'static str,
}

/// A first reading and an increment while rows are changed, inserted and deleted; answers how many runs
/// were killed.
pub fn shards_emit_what_one_process_would(case: Case) -> u32 {
    let context = divided(case.rows, case.method, &["Leads", "deleted_records"]);
    if case.form == "mark" {
        let mut settings = settings(case.method);
        settings["deleted_records"] = "mark".into();
        settings["reconcile"] = json!({"now": true});
        context.settings_with("config.json", &settings);
    }
    let (mut dice, mut portion) = (Dice::new(case.seed), 0);
    let mut mirrors: Vec<Mirror> = (0..SHARDS).map(|_| Mirror::default()).collect();
    let (mut kills, few) = (0, case.changes / 6);
    for _ in 0..2 {
        kills += round(&context, &mut mirrors, &mut dice, true, || {
            portion += 1;
            let wish = json!({"module": "Leads", "seed": portion, "change": case.changes, "insert": few, "delete": few});
            context.control("POST", "mutate", &wish);
        });
    }
    assert!(kills > 0, "no run was hit");
    for _ in 0..2 {
        round(&context, &mut mirrors, &mut dice, false, || {});
    }
    let sizes: Vec<usize> = mirrors.iter().map(|mirror| mirror.rows.len()).collect();
    assert!(sizes.iter().all(|size| *size as u64 > case.rows / 16), "{sizes:?}");
    let mut all = Mirror::default();
    for mirror in mirrors {
        all.absorb(mirror);
    }
    all.equals(&context, case.method);
    kills
}
