//! Runs that are killed and taken up again, as an orchestrator does it: small in `make test`, full in
//! `make soak`.

use super::context::{TestContext, properties};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use zoho_crm_connector::emulator::Options;

/// A small generator of numbers, so that a seed tells what happened.
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as the seed says.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2) + 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

/// What one run of the tap left behind.
struct Run {
    lines: Vec<String>,
    finished: bool,
}

/// Reads a stream with runs that are killed after a random number of lines, each followed by one from
/// the last STATE or the one before it. A consumer that keeps only what stands before the STATE it
/// goes on from holds the whole module at the end.
pub fn tap_survives(seed: u64, rows: u64, kills: u32, method: &str) {
    let context = TestContext::with(|options: &mut Options| {
        options.seed = seed;
        options.rows = [("Leads".to_owned(), rows)].into();
        options.switches.bulk_read_page_size = u32::try_from(rows / 3 + 1).expect("fits");
    });
    context.catalog(&["Leads"]);
    let more = json!({"method": method, "state_rows": (rows / 20).max(1)});
    context.settings_with("config.json", &more);
    let mut dice = Dice::new(seed);
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut state = Value::Null;
    let mut fields = Vec::new();
    for kill in 0..=kills {
        let last = kill == kills;
        let stop_after = if last { u64::MAX } else { dice.below(rows * 5 / 4) };
        let run = run_until(&context, &state, stop_after);
        let back = if last { 0 } else { dice.below(2) as usize };
        let states: Vec<usize> =
            (0..run.lines.len()).filter(|at| run.lines[*at].starts_with("{\"type\":\"STATE\"")).collect();
        let end = match states.len().checked_sub(1 + back) {
            Some(at) => {
                let message: Value = serde_json::from_str(&run.lines[states[at]]).expect("a STATE");
                state = message["value"].clone();
                states[at]
            }
            None => 0,
        };
        for line in &run.lines[..end] {
            let message: Value = serde_json::from_str(line).expect("a message");
            if message["type"] == "SCHEMA" {
                fields = properties(&[message], "Leads");
            } else if message["type"] == "RECORD" {
                kept.insert(
                    message["record"]["id"].as_str().expect("an id").to_owned(),
                    message["record"].to_string(),
                );
            }
        }
        assert!(!last || run.finished, "the last run comes to its end");
    }
    let truth = context.dump("Leads", &fields);
    assert_eq!(kept.len(), truth.len(), "rows, seed {seed}");
    for (found, truth) in kept.values().zip(&truth) {
        assert_eq!(found, truth, "seed {seed}");
    }
}

fn run_until(context: &TestContext, state: &Value, stop_after: u64) -> Run {
    let state = context.write("state.json", state);
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("tap-zoho-crm"))
        .args(["--config", "config.json", "--catalog", "catalog.json", "--state"])
        .arg(state)
        .current_dir(context.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let out = BufReader::new(child.stdout.take().expect("is piped"));
    let mut lines = Vec::new();
    for line in out.lines() {
        lines.push(line.expect("UTF-8"));
        if lines.len() as u64 > stop_after {
            child.kill().expect("is killed");
            break;
        }
    }
    let finished = child.wait().expect("ends").success();
    Run { lines, finished }
}
