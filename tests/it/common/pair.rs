//! Runs of the target, fed by a file or by our own tap, of which either or both are killed.

use super::context::TestContext;
use super::dice::Dice;
use super::feed::Feed;
use super::killed::{Figures, RUNS_PER_KILL, moment};
use super::process::{Moment, Ran, command, run};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use zoho_crm_connector::emulator::{Options, OrgOptions};
use zoho_crm_connector::secret::Secret;

/// What is written how, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub seed: u64,
    pub rows: u64,
    pub kills: u32,
    /// `upsert`, `insert` or `update`, each by a unique field.
    pub operation: &'static str,
    /// The target's way of writing.
    pub write: &'static str,
    /// Our tap and its way of reading; none: a file.
    pub read: Option<&'static str>,
}

/// Name of the organisation that our tap reads.
const SOURCE: &str = "Source";
/// The unique field by which rows are matched.
const KEY: &str = "External_Key";
/// Rows in one call of a control handle.
const ROWS_PER_CALL: usize = 1_000;

/// A context with two organisations: an empty one, and one with Leads for our tap to read.
pub fn two_organisations(seed: u64, leads: u64) -> TestContext {
    let field = json!({"api_name": KEY, "data_type": "text", "length": 40, "unique": true, "custom": true});
    TestContext::with(|options: &mut Options| {
        options.seed = seed;
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": [field]}]}));
        options.limits.off = true;
        options.orgs.push(OrgOptions {
            name: SOURCE.to_owned(),
            client_id: "1000.SOURCE".to_owned(),
            client_secret: Secret::new("source-secret"),
            refresh_token: Secret::new("1000.source.refresh"),
            rows: Some([("Leads".to_owned(), leads)].into()),
            ..OrgOptions::default()
        });
    })
}

/// Settings of our tap on the organisation it reads, as `tap.json`, and a catalog that selects the
/// three fields which are written.
pub fn prepare_tap(context: &TestContext, method: &str, state_rows: u64) {
    let more = json!({"client_id": "1000.SOURCE", "client_secret": "source-secret", "refresh_token": "1000.source.refresh",
        "state_dir": context.path("tap-state"), "method": method, "state_rows": state_rows, "streams": {"include": ["Leads"]}});
    let config = context.settings_with("tap.json", &more);
    let discover = context.tap_with(&config).arg("--discover").output().expect("runs");
    let mut catalog: Value = serde_json::from_slice(&discover.stdout).expect("a catalog");
    for entry in catalog["streams"][0]["metadata"].as_array_mut().expect("metadata") {
        let field = entry["breadcrumb"][1].as_str().map(str::to_owned);
        let selected = field.is_none_or(|field| ["id", "First_Name", "Phone"].contains(&field.as_str()));
        entry["metadata"]["selected"] = selected.into();
    }
    context.write("catalog.json", &catalog);
}

/// Settings of the target, as `target.json`.
pub fn prepare_target(context: &TestContext, operation: &str, method: &str, batch_rows: u64) {
    let fields = json!({"id": KEY, "First_Name": "First_Name", "Phone": "Phone"});
    let stream = json!({"module": "Contacts", "operation": operation, "match_on": [KEY], "fields": fields,
        "constants": {"Last_Name": "a mandatory field"}});
    let more = json!({"method": method, "batch_rows": batch_rows, "streams": {"Leads": stream}});
    context.settings_with("target.json", &more);
}

/// The tap piped into the target.
pub fn pipe(context: &TestContext) -> Vec<Command> {
    let tap = ["--config", "tap.json", "--catalog", "catalog.json", "--state", "state.json"];
    let target = ["--config", "target.json"];
    vec![command(context, "tap-zoho-crm", &tap), command(context, "target-zoho-crm", &target)]
}

/// Contacts by their key; no key may be there twice.
pub fn written(context: &TestContext) -> BTreeMap<String, Value> {
    let fields = [KEY, "First_Name", "Phone"].map(str::to_owned);
    let mut found = BTreeMap::new();
    for row in context.dump("Contacts", &fields) {
        let row: Value = serde_json::from_str(&row).expect("JSON");
        let key = row[KEY].as_str().expect("a key").to_owned();
        let row = json!({"id": key, "First_Name": row["First_Name"], "Phone": row["Phone"]});
        assert!(found.insert(key.clone(), trimmed(row)).is_none(), "{key} is there twice");
    }
    found
}

/// Zoho trims text that is written; which white space, and on which path, is its own matter.
fn trimmed(mut row: Value) -> Value {
    let name = row["First_Name"].as_str().map(str::trim).filter(|name| !name.is_empty());
    row["First_Name"] = name.map(str::to_owned).into();
    row
}

/// Leads of the organisation that our tap reads, by id, as [`written`] gives them.
pub fn source_rows(context: &TestContext) -> BTreeMap<String, Value> {
    let fields = ["id", "First_Name", "Phone"].map(str::to_owned);
    let rows = context.dump(&format!("Leads&org={SOURCE}"), &fields);
    let rows = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    rows.map(|row| (row["id"].as_str().expect("an id").to_owned(), trimmed(row))).collect()
}

/// Changes Leads of the organisation that our tap reads.
pub fn change_source(context: &TestContext, seed: u64, change: u64, insert: u64) {
    let wish = json!({"module": "Leads", "seed": seed, "change": change, "insert": insert});
    context.control("POST", &format!("mutate?org={SOURCE}"), &wish);
}

/// What stands for a run: the name of its file of results.
fn name(results: &Path) -> String {
    results.file_stem().expect("a name").to_string_lossy().into_owned()
}

struct Bench {
    case: Case,
    context: TestContext,
    feed: Feed,
    states: Vec<Value>,
    /// For each run, the row on each line of its input.
    inputs: BTreeMap<String, Vec<Option<u64>>>,
}

/// Writes a source with runs that are killed at random moments and started again from the last STATE
/// that came out of the target, or the one before. Every row is there once at the end, with its last
/// content, and has an outcome.
pub fn target_survives(case: Case) -> Figures {
    let mut dice = Dice::new(case.seed);
    let measured = Bench::new(case).measure();
    let mut bench = Bench::new(case);
    let mut figures = Figures::default();
    while figures.kills < case.kills {
        figures.runs += 1;
        assert!(figures.runs <= case.kills * RUNS_PER_KILL, "few runs were hit, {case:?}");
        let moment = moment(&mut dice, &measured, case.kills);
        let victims: &[usize] = match (case.read, dice.below(3)) {
            (None, _) | (_, 0) => &[0],
            (_, 1) => &[1],
            _ => &[0, 1],
        };
        let ran = bench.run(dice.below(2) as usize, moment, victims);
        if ran.killed {
            figures.kills += 1;
            figures.last += u32::from(case.read.is_none() || victims.contains(&1));
        } else {
            bench.change(u64::from(figures.runs));
        }
    }
    bench.finish();
    bench.check();
    figures
}

impl Bench {
    fn new(case: Case) -> Self {
        let leads = if case.read.is_some() { case.rows } else { 0 };
        let context = two_organisations(case.seed, leads);
        if let Some(method) = case.read {
            prepare_tap(&context, method, case.rows / 15);
        }
        prepare_target(&context, case.operation, case.write, case.rows / 6);
        let feed = Feed::new(case.rows, case.operation != "insert");
        let bench = Self { case, context, feed, states: Vec::new(), inputs: BTreeMap::new() };
        if case.operation == "update" {
            bench.fill();
        }
        bench
    }

    fn truth(&self) -> BTreeMap<String, Value> {
        if self.case.read.is_some() { source_rows(&self.context) } else { self.feed.truth() }
    }

    /// Puts rows there for `update` to find, with other contents.
    fn fill(&self) {
        let old = |key: String| json!({KEY: key, "Last_Name": "old"});
        let rows: Vec<Value> = self.truth().into_keys().map(old).collect();
        for rows in rows.chunks(ROWS_PER_CALL) {
            self.context.control("POST", "mutate", &json!({"module": "Contacts", "records": rows}));
        }
    }

    /// The source changes after a run that came to its end. What `insert` wrote once it does not
    /// change later, and `update` creates nothing.
    fn change(&mut self, seed: u64) {
        if self.case.read.is_none() {
            self.feed.grow();
        } else {
            let rows = self.case.rows / 10;
            let (change, insert) = match self.case.operation {
                "insert" => (0, rows),
                "update" => (rows, 0),
                _ => (rows, rows),
            };
            change_source(&self.context, seed, change, insert);
        }
    }

    fn measure(mut self) -> Ran {
        let mut ran = self.run(0, Moment::Never, &[]);
        // The moments of a target go by its STATEs, of which there are few: by rows is finer.
        ran.lines.truncate(16);
        ran
    }

    /// One run from the last STATE but `back`.
    fn run(&mut self, back: usize, moment: Moment, victims: &[usize]) -> Ran {
        let at = self.states.len().checked_sub(1 + back.min(self.states.len().saturating_sub(1)));
        let state = at.map_or(Value::Null, |at| self.states[at].clone());
        let known = self.result_files();
        let (commands, rows) = self.commands(&state);
        let ran = run(&self.context, commands, moment, victims);
        assert!(!ran.said.contains("panicked"), "{:?}: {}", self.case, ran.said);
        assert!(ran.killed || ran.good, "{:?}: {}", self.case, ran.said);
        let new: Vec<PathBuf> = self.result_files().difference(&known).cloned().collect();
        assert!(new.len() <= 1, "one run has one file of results: {new:?}");
        self.inputs.extend(new.iter().map(|file| (name(file), rows.clone())));
        self.states.extend(ran.lines.iter().map(|line| serde_json::from_str(line).expect("a STATE")));
        ran
    }

    fn commands(&self, state: &Value) -> (Vec<Command>, Vec<Option<u64>>) {
        if self.case.read.is_some() {
            self.context.write("state.json", state);
            return (pipe(&self.context), Vec::new());
        }
        let (text, rows) = self.feed.from(state["at"].as_u64().unwrap_or(0));
        fs::write(self.context.path("feed.singer"), text).expect("writes");
        let args = ["--config", "target.json", "--input", "feed.singer"];
        (vec![command(&self.context, "target-zoho-crm", &args)], rows)
    }

    fn finish(&mut self) {
        // What changed behind a reading that was under way comes with the run after it.
        for _ in 0..2 {
            self.run(0, Moment::Never, &[]);
        }
    }

    fn result_files(&self) -> BTreeSet<PathBuf> {
        let Ok(files) = fs::read_dir(self.context.path("state/results")) else { return BTreeSet::new() };
        files.map(|file| file.expect("reads").path()).collect()
    }

    /// The whole RESULT lines of each run.
    fn results(&self) -> BTreeMap<String, Vec<Map<String, Value>>> {
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).expect("reads");
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines = whole.lines().map(|line| serde_json::from_str(line).expect("a RESULT")).collect();
            (name(file), lines)
        };
        self.result_files().iter().map(read).collect()
    }

    fn check(&self) {
        let (found, truth) = (written(&self.context), self.truth());
        for (key, row) in &truth {
            assert_eq!(found.get(key), Some(row), "{key}, {:?}", self.case);
        }
        assert_eq!(found.len(), truth.len(), "rows that the source does not have, {:?}", self.case);
        self.check_outcomes(&truth);
    }

    /// Every key has an outcome that is a success, and from a file every single row.
    fn check_outcomes(&self, truth: &BTreeMap<String, Value>) {
        let (mut keys, mut rows) = (BTreeSet::new(), BTreeSet::new());
        for (run, results) in self.results() {
            for result in results.iter().filter(|result| result["success"] == true) {
                keys.insert(result["identifier"][KEY].as_str().expect("a key").to_owned());
                let run = result.get("from_run").and_then(Value::as_str).unwrap_or(&run);
                let line = result["line"].as_u64().expect("a line") as usize;
                rows.extend(self.inputs[run].get(line - 1).copied().flatten());
            }
        }
        let missing: Vec<&String> = truth.keys().filter(|key| !keys.contains(*key)).collect();
        assert!(
            missing.is_empty(),
            "{} keys without an outcome, {:?}: {:?}",
            missing.len(),
            self.case,
            missing.first()
        );
        if self.case.read.is_none() {
            let missing: Vec<u64> = (0..self.feed.rows()).filter(|row| !rows.contains(row)).collect();
            assert!(
                missing.is_empty(),
                "{} rows without an outcome, {:?}: {missing:?}",
                missing.len(),
                self.case
            );
        }
    }
}
