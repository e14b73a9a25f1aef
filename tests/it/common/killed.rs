//! Runs of the tap that are killed and taken up again, as an orchestrator does it: small in
//! `make test`, full in `make soak`.

use super::context::{TestContext, properties};
use super::dice::Dice;
use super::process::{Moment, Ran, command, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use zoho_crm_connector::emulator::Options;

/// A consumer that keeps what stands before the STATE from which it goes on, and nothing else.
#[derive(Default)]
pub struct Warehouse {
    /// The last record of each id.
    pub rows: BTreeMap<String, String>,
    /// The fields of the stream.
    pub fields: Vec<String>,
    /// From where it goes on.
    pub state: Value,
}

impl Warehouse {
    /// Takes what a run left, up to the last STATE but `back`; without such a STATE, nothing.
    pub fn take(&mut self, lines: &[String], back: usize) {
        let is_state = |at: &usize| lines[*at].starts_with("{\"type\":\"STATE\"");
        let Some(end) = (0..lines.len()).rev().filter(is_state).nth(back) else { return };
        for line in &lines[..=end] {
            let mut message: Value = serde_json::from_str(line).expect("a message");
            match message["type"].as_str() {
                Some("SCHEMA") => {
                    let stream = message["stream"].as_str().expect("a stream").to_owned();
                    self.fields = properties(&[message], &stream);
                }
                Some("RECORD") => {
                    let id = message["record"]["id"].as_str().expect("an id").to_owned();
                    self.rows.insert(id, message["record"].to_string());
                }
                _ => self.state = message["value"].take(),
            }
        }
    }

    /// Holds exactly what the store holds.
    pub fn equals(&self, context: &TestContext, module: &str, about: &str) {
        let truth = context.dump(module, &self.fields);
        let of = |row: &String| serde_json::from_str::<Value>(row).expect("JSON")["id"].clone();
        for row in &truth {
            let id = of(row).as_str().expect("an id").to_owned();
            assert_eq!(self.rows.get(&id), Some(row), "{about}");
        }
        assert_eq!(self.rows.len(), truth.len(), "rows that the store does not hold, {about}");
    }
}

/// What it took to come through.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    /// Runs, killed or not.
    pub runs: u32,
    /// Runs that were killed.
    pub kills: u32,
    /// Kills among them that hit the last program of a pipe.
    pub last: u32,
}

/// A random moment in a run like `measured`, for one of `kills` kills: by lines so that all of them
/// together get about as far as one whole run, by calls or time anywhere.
pub fn moment(dice: &mut Dice, measured: &Ran, kills: u32) -> Moment {
    let lines = measured.lines.len() as u64;
    match dice.below(4) {
        0 => Moment::Calls(dice.below(measured.calls) + 1),
        1 => Moment::Time(measured.time.mul_f64(dice.below(1_000) as f64 / 1_000.0)),
        _ => Moment::Lines(dice.below(lines * 2 / u64::from(kills) + 2)),
    }
}

/// Runs that may be needed for a kill, since some come to their end before their moment.
pub const RUNS_PER_KILL: u32 = 12;

/// Reads a stream with runs that are killed at random moments, each followed by one from the last
/// STATE or the one before it; the source changes whenever one comes to its end. The consumer holds
/// the whole module at the end.
pub fn tap_survives(seed: u64, rows: u64, kills: u32, method: &str) -> Figures {
    let context = TestContext::with(|options: &mut Options| {
        options.seed = seed;
        options.rows = [("Leads".to_owned(), rows)].into();
        options.switches.bulk_read_page_size = u32::try_from(rows / 3 + 1).expect("fits");
        options.limits.off = true;
    });
    let about = format!("seed {seed}, {rows} rows by {method}");
    context.catalog(&["Leads"]);
    context.settings_with("config.json", &json!({"method": method, "state_rows": (rows / 20).max(1)}));
    let mut dice = Dice::new(seed);
    let measured = run_tap(&context, &Value::Null, Moment::Never);
    assert!(measured.good, "{about}: {}", measured.said);
    let (mut warehouse, mut figures) = (Warehouse::default(), Figures::default());
    while figures.kills < kills {
        figures.runs += 1;
        assert!(figures.runs <= kills * RUNS_PER_KILL, "few runs were hit, {about}");
        let ran = run_tap(&context, &warehouse.state, moment(&mut dice, &measured, kills));
        assert!(ran.killed || ran.good, "{about}: {}", ran.said);
        warehouse.take(&ran.lines, dice.below(2) as usize);
        if ran.killed {
            figures.kills += 1;
        } else {
            let change = json!({"module": "Leads", "seed": figures.runs, "change": rows / 10, "insert": 5});
            context.control("POST", "mutate", &change);
        }
    }
    // What changed behind a reading that was under way comes with the run after it.
    for _ in 0..2 {
        let ran = run_tap(&context, &warehouse.state, Moment::Never);
        assert!(ran.good, "{about}: {}", ran.said);
        warehouse.take(&ran.lines, 0);
    }
    warehouse.equals(&context, "Leads", &about);
    if method == "bulk_read" {
        let left = fs::read_dir(context.path("state/spool")).expect("a folder");
        let left: Vec<_> = left.map(|entry| entry.expect("reads").file_name()).collect();
        assert_eq!(left, ["lock"], "values as Zoho sent them are left, {about}");
    }
    figures
}

/// One run of the tap from a state.
pub fn run_tap(context: &TestContext, state: &Value, moment: Moment) -> Ran {
    context.write("state.json", state);
    let args = ["--config", "config.json", "--catalog", "catalog.json", "--state", "state.json"];
    run(context, vec![command(context, "tap-zoho-crm", &args)], moment, &[0])
}
