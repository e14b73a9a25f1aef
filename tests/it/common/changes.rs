//! Incremental runs while somebody writes, calls fail and runs are killed: small in `make test`, full
//! in `make soak`.

use super::context::{TestContext, properties};
use super::dice::Dice;
use super::killed::run_tap;
use super::process::Moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use zoho_crm_connector::emulator::Options;

/// Since when a record is deleted.
const DELETED_AT: &str = "_sdc_deleted_at";
const MODULE: &str = "Leads";

/// A consumer that takes rows and deletes as they come, up to the STATE from which it goes on.
#[derive(Default)]
pub struct Mirror {
    /// The last record of each live id.
    pub rows: BTreeMap<String, String>,
    fields: Vec<String>,
    /// What every run told of each id, for a failure.
    told: BTreeMap<String, Vec<String>>,
    runs: u32,
    /// From where it goes on.
    pub state: Value,
}

impl Mirror {
    /// Takes what a run left, up to the last STATE but `back`; without such a STATE, nothing.
    pub fn take(&mut self, lines: &[String], back: usize) {
        self.runs += 1;
        let is_state = |at: &usize| lines[*at].starts_with("{\"type\":\"STATE\"");
        let end = (0..lines.len()).rev().filter(is_state).nth(back).map_or(0, |at| at + 1);
        for line in &lines[end..] {
            self.note(line, "not taken");
        }
        for line in &lines[..end] {
            self.note(line, "taken");
            let mut message: Value = serde_json::from_str(line).expect("a message");
            match (message["type"].as_str(), message["stream"].as_str()) {
                (Some("STATE"), _) => self.state = message["value"].take(),
                (Some("SCHEMA"), Some(MODULE)) => {
                    self.fields = properties(&[message], MODULE);
                    self.fields.retain(|field| field != DELETED_AT);
                }
                (Some("RECORD"), Some("deleted_records")) => self.gone(&message["record"]["id"]),
                (Some("RECORD"), Some(MODULE)) => self.record(message["record"].take()),
                _ => {}
            }
        }
    }

    fn note(&mut self, line: &str, what: &str) {
        let message: Value = serde_json::from_str(line).expect("a message");
        if let Some(id) = message["record"]["id"].as_str() {
            let stream = message["stream"].as_str().expect("a stream");
            let times = ["Modified_Time", "deleted_time", DELETED_AT].map(|name| &message["record"][name]);
            let told = format!("run {}: {stream} {times:?} {what}", self.runs);
            self.told.entry(id.to_owned()).or_default().push(told);
        }
    }

    fn gone(&mut self, id: &Value) {
        self.rows.remove(id.as_str().expect("an id"));
    }

    fn record(&mut self, mut record: Value) {
        match record.as_object_mut().expect("an object").shift_remove(DELETED_AT) {
            None | Some(Value::Null) => {
                let id = record["id"].as_str().expect("an id").to_owned();
                self.rows.insert(id, record.to_string());
            }
            Some(_) => self.gone(&record["id"]),
        }
    }

    /// Takes over what another one holds; no row may be in both.
    pub fn absorb(&mut self, other: Self) {
        self.fields = other.fields;
        for (id, row) in other.rows {
            assert!(!self.rows.contains_key(&id), "{id} is in two");
            self.rows.insert(id, row);
        }
    }

    /// Holds exactly what the store holds.
    pub fn equals(&self, context: &TestContext, about: &str) {
        let truth = context.dump(MODULE, &self.fields);
        let id = |row: &String| serde_json::from_str::<Value>(row).expect("JSON")["id"].clone();
        let truth: BTreeMap<String, &String> =
            truth.iter().map(|row| (id(row).as_str().expect("an id").to_owned(), row)).collect();
        let missing: Vec<_> = truth.keys().filter(|id| !self.rows.contains_key(*id)).collect();
        let extra: Vec<_> = self.rows.keys().filter(|id| !truth.contains_key(*id)).collect();
        let told: Vec<_> =
            missing.iter().chain(&extra).filter_map(|id| Some(self.told.get(*id)?.join("\n  "))).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "missing {missing:?}, too many {extra:?}, {about}; of them was told:\n  {}",
            told.join("\n\n  ")
        );
        for (id, row) in truth {
            assert_eq!(self.rows.get(&id), Some(row), "{about}");
        }
    }
}

/// One case: everything that happens follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Of the data, the changes, the faults and the kills.
    pub seed: u64,
    /// Rows at the beginning.
    pub rows: u64,
    /// Changes during each run, a third of them inserts, deletes and restores.
    pub changes: u64,
    /// `stream` or `mark`.
    pub form: &'static str,
    /// A way of reading, or `auto`.
    pub method: &'static str,
}

/// What it took.
#[derive(Debug, Default)]
pub struct Figures {
    /// Runs, killed ones included.
    pub runs: u32,
    /// Those that were killed.
    pub kills: u32,
    /// Faults that happened.
    pub faults: u64,
    /// Rows that were deleted, and restored.
    pub deleted: u64,
    /// Of them restored.
    pub restored: u64,
}

/// Five runs, each killed now and then and taken up again, while rows are changed, inserted, deleted
/// and restored and one call in twenty fails. What came, the newest last, is what there is at the end.
pub fn changes_arrive(case: Case) -> Figures {
    let context = TestContext::with(|options: &mut Options| {
        options.seed = case.seed;
        options.rows = [(MODULE.to_owned(), case.rows)].into();
        options.switches.bulk_read_page_size = u32::try_from(case.rows / 2 + 1).expect("fits");
        options.switches.restore_moves_modified_time = case.seed % 2 == 1;
        options.limits.off = true;
    });
    let about = format!("{case:?}");
    context.catalog(&[MODULE, "deleted_records"]);
    let settings = json!({"method": case.method, "deleted_records": case.form, "state_rows": 50, "restore_check_hours": 0,
        "retry": {"first_pause_seconds": 0.005, "longest_pause_seconds": 0.05, "max_attempts": 12}});
    context.settings_with("config.json", &settings);
    let (mut mirror, mut figures) = (Mirror::default(), Figures::default());
    let mut dice = Dice::new(case.seed);
    let measured = run_tap(&context, &Value::Null, Moment::Never);
    assert!(measured.good, "{about}: {}", measured.said);
    mirror.take(&measured.lines, 0);
    context.control("POST", "faults", &faults());
    for round in 0..5 {
        let (deleted, restored) =
            round_of(&context, case, round, &mut dice, &mut mirror, &mut figures, &about);
        figures.deleted += deleted;
        figures.restored += restored;
    }
    figures.faults = context.stats()["faults"].as_u64().unwrap_or(0);
    context.control("DELETE", "faults", &Value::Null);
    for _ in 0..2 {
        let ran = run_tap(&context, &mirror.state, Moment::Never);
        assert!(ran.good, "{about}: {}", ran.said);
        mirror.take(&ran.lines, 0);
    }
    mirror.equals(&context, &about);
    figures
}

/// One call in twenty fails, in one of five manners.
fn faults() -> Value {
    let rule = |action: Value, path: &str| json!({"match": {"probability": 0.01, "path_contains": path, "times": 0}, "action": action});
    // Zoho gives ten tokens in ten minutes, and a case with many calls would ask for more.
    let mut unknown_token = rule(json!({"kind": "invalid_token"}), "/crm/");
    unknown_token["match"]["times"] = 8.into();
    json!([
        rule(json!({"kind": "throttle"}), "/crm/"),
        rule(json!({"kind": "status", "status": 500}), "/crm/"),
        rule(json!({"kind": "cut_body"}), "/crm/"),
        unknown_token,
        json!({"match": {"probability": 0.05, "path_contains": "/result", "times": 0}, "action": {"kind": "truncated_zip"}}),
    ])
}

/// One run, as often as it takes, while somebody writes. Answers how many rows were deleted and restored.
fn round_of(
    context: &TestContext,
    case: Case,
    round: u64,
    dice: &mut Dice,
    mirror: &mut Mirror,
    figures: &mut Figures,
    about: &str,
) -> (u64, u64) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(context, case, round, &done));
        loop {
            figures.runs += 1;
            let kill = dice.below(3) == 0;
            let when = if kill { Moment::Calls(dice.below(12) + 1) } else { Moment::Never };
            let ran = run_tap(context, &mirror.state, when);
            // Lists alone cannot be proven whole while rows keep coming and going: the run says so and asks to
            // be started again.
            let restless =
                case.method == "records" && ran.said.contains("changes faster than it can be listed");
            // Two faults in a row: nobody asks for a third token, somebody has to look.
            let refused = ran.said.contains("a fresh token is refused as well");
            assert!(ran.killed || ran.good || restless || refused, "{about}: {}", ran.said);
            mirror.take(&ran.lines, if ran.killed { dice.below(2) as usize } else { 0 });
            figures.kills += u32::from(ran.killed);
            if ran.good && !ran.killed {
                break;
            }
        }
        done.store(true, Ordering::Release);
        writer.join().expect("the writer ends")
    })
}

/// Writes in small portions while runs go on; what is left at the end at once.
fn write(context: &TestContext, case: Case, round: u64, done: &AtomicBool) -> (u64, u64) {
    let portions = case.changes.div_ceil(12);
    let (mut deleted, mut restored) = (0, 0);
    for portion in 0..portions {
        let seed = (case.seed << 20) + round * portions + portion;
        let wish =
            json!({"module": MODULE, "seed": seed, "change": 6, "insert": 2, "delete": 3, "restore": 1});
        let did = context.control("POST", "mutate", &wish);
        deleted += did["deleted"].as_array().map_or(0, Vec::len) as u64;
        restored += did["restored"].as_array().map_or(0, Vec::len) as u64;
        if !done.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
        }
    }
    (deleted, restored)
}
