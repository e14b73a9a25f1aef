//! Inserts that are killed, cut and left without an answer, by what makes them repeatable or not.

use super::context::TestContext;
use super::dice::Dice;
use super::process::{Moment, Ran, command, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use zoho_crm_connector::emulator::Options;

/// What tells a row that was written from one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// A unique field of the source.
    Unique,
    /// A mark in a field that Zoho holds unique.
    UniqueMark,
    /// A mark in any text field.
    Mark,
    /// Nothing.
    Nothing,
}

impl Guard {
    /// Whether no call is ever in doubt. A mark that is not unique tells of a bulk job only once it ran.
    pub fn is_certain(self, method: &str) -> bool {
        match self {
            Self::Unique | Self::UniqueMark => true,
            Self::Mark => method == "records",
            Self::Nothing => false,
        }
    }
}

/// What is written how.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub seed: u64,
    pub rows: u64,
    /// Kills and cut calls together.
    pub troubles: u32,
    pub guard: Guard,
    /// The target's way of writing.
    pub method: &'static str,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub runs: u32,
    pub kills: u32,
    pub cuts: u32,
    /// Runs that ended in doubt.
    pub in_doubt: u32,
    /// Calls about which a person had to decide.
    pub decided: u32,
}

/// A hundred loads by bulk jobs cost more than any edition has for a day.
pub const MANY_CREDITS: u64 = 10_000_000;

struct Bench {
    case: Case,
    context: TestContext,
    states: Vec<u64>,
    figures: Figures,
    /// What happened since the module was empty, for whoever reads a failure.
    history: Vec<String>,
}

/// Inserts rows through kills and cut calls; every row is there once at the end.
pub fn inserts_survive(case: Case) -> Figures {
    let mut dice = Dice::new(case.seed);
    let mut bench = Bench::new(case);
    let calls = bench.measure();
    while bench.figures.kills + bench.figures.cuts < case.troubles {
        bench.figures.runs += 1;
        let few = bench.figures.runs > case.troubles * 12;
        assert!(!few, "few runs were hit, {case:?} {:?}\n{}", bench.figures, bench.history.join("\n"));
        let moment = if dice.below(2) == 0 {
            bench.cut(&mut dice, calls);
            Moment::Never
        } else {
            Moment::Calls(dice.below(calls) + 1)
        };
        bench.run(dice.below(2) as usize, moment);
        bench.context.control("DELETE", "faults", &Value::Null);
        if bench.is_done() {
            // It came to its end: a new source.
            bench.check();
            bench.restart();
        }
    }
    while !bench.is_done() {
        bench.run(0, Moment::Never);
    }
    bench.check();
    bench.figures
}

impl Bench {
    fn new(case: Case) -> Self {
        let text = |name: &str, unique: bool| json!({"api_name": name, "data_type": "text", "length": 60, "unique": unique, "custom": true});
        let fields =
            [text("Source_Key", case.guard == Guard::Unique), text("Mark", case.guard == Guard::UniqueMark)];
        let context = TestContext::with(|options: &mut Options| {
            options.seed = case.seed;
            options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": fields}]}));
            options.limits.off = true;
            options.limits.daily_credits = Some(MANY_CREDITS);
        });
        let bench = Self { case, context, states: vec![0], figures: Figures::default(), history: Vec::new() };
        bench.configure();
        bench
    }

    fn configure(&self) {
        let mut stream = json!({"module": "Contacts", "operation": "insert",
            "fields": {"key": "Source_Key", "name": "Last_Name"}});
        match self.case.guard {
            Guard::Unique => stream["match_on"] = json!("Source_Key"),
            Guard::UniqueMark | Guard::Mark => stream["batch_tag_field"] = json!("Mark"),
            Guard::Nothing => {}
        }
        let more = json!({"method": self.case.method, "batch_rows": self.case.rows / 6, "in_doubt_wait": 1,
            "at_least_once": true, "daily_credits": MANY_CREDITS, "streams": {"people": stream}});
        self.context.settings_with("config.json", &more);
    }

    /// A module without rows, and a tap that starts from the beginning.
    fn restart(&mut self) {
        // Jobs whose answer was lost run late, and not into the new module.
        self.context.control("POST", "clock", &json!({"advance_seconds": 120}));
        let there = self.context.dump("Contacts", &["id".to_owned()]).len();
        let everything = json!({"module": "Contacts", "seed": 1, "delete": there});
        self.context.control("POST", "mutate", &everything);
        assert!(self.context.dump("Contacts", &["id".to_owned()]).is_empty(), "an empty module");
        self.states = vec![0];
        self.history.clear();
    }

    fn measure(&mut self) -> u64 {
        let ran = self.run(0, Moment::Never);
        assert!(ran.good, "{}", ran.said);
        self.check();
        self.restart();
        ran.calls
    }

    /// One call is cut, before or after it was executed; a job whose answer is lost may run late.
    fn cut(&mut self, dice: &mut Dice, calls: u64) {
        let kind = if dice.below(3) == 0 { "drop" } else { "cut_after_execute" };
        let create = dice.below(2) == 0;
        let fits = match (create, self.case.method) {
            (false, _) => json!({"nth": dice.below(calls) + 1}),
            (true, "bulk") => {
                json!({"method": "POST", "path_contains": "/bulk/v8/write", "nth": dice.below(6) + 1})
            }
            (true, _) => {
                json!({"method": "POST", "path_contains": "/v8/Contacts", "nth": dice.below(calls / 2) + 1})
            }
        };
        let mut rules = vec![json!({"match": fits, "action": {"kind": kind}})];
        if create && kind == "cut_after_execute" && self.case.method == "bulk" {
            rules.push(json!({"match": fits, "action": {"kind": "late_job", "milliseconds": 60_000}}));
        }
        self.context.control("POST", "faults", &Value::from(rules));
    }

    /// One run from the last STATE but `back`, and what has to be settled after it.
    fn run(&mut self, back: usize, moment: Moment) -> Ran {
        let from = self.states[self.states.len() - 1 - back.min(self.states.len() - 1)];
        fs::write(self.context.path("feed.singer"), self.feed(from)).expect("writes");
        let faults = |context: &TestContext| context.stats()["faults"].as_u64().unwrap_or(0);
        let before = faults(&self.context);
        let args = ["--config", "config.json", "--input", "feed.singer"];
        let ran = run(&self.context, vec![command(&self.context, "target-zoho-crm", &args)], moment, &[0]);
        assert!(!ran.said.contains("panicked"), "{:?}: {}", self.case, ran.said);
        self.figures.kills += u32::from(ran.killed);
        self.figures.cuts += u32::from(faults(&self.context) > before);
        for line in &ran.lines {
            let state: Value = serde_json::from_str(line).expect("a STATE");
            self.states.push(state["at"].as_u64().expect("a number"));
        }
        self.history.push(format!(
            "from {from}, {moment:?}: killed {}, STATE {:?}, {} rows there, faults {before} to {}: {}",
            ran.killed,
            ran.lines
                .iter()
                .map(|line| line.trim_start_matches("{\"at\":").trim_end_matches('}'))
                .collect::<Vec<_>>(),
            self.found().values().sum::<u32>(),
            faults(&self.context),
            ran.said
                .lines()
                .filter(|line| ["error", "caused by", "batch"].iter().any(|word| line.contains(word)))
                .collect::<Vec<_>>()
                .join(" | "),
        ));
        if !ran.good && !ran.killed {
            self.settle(&ran);
        }
        ran
    }

    /// After a run that failed: a minute passes, so that late jobs run; what is in doubt for good is decided
    /// as a person does who looks into Zoho.
    fn settle(&mut self, ran: &Ran) {
        let doubt = ran.said.contains("may or may not be in");
        assert!(
            doubt || ran.said.contains("error: "),
            "{:?} ended badly without a reason: {}",
            self.case,
            ran.said
        );
        if !doubt {
            return;
        }
        assert!(!self.case.guard.is_certain(self.case.method), "{:?}: {}", self.case, ran.said);
        self.figures.in_doubt += 1;
        self.context.control("POST", "clock", &json!({"advance_seconds": 120}));
        loop {
            let wait = self.context.operator(&["jobs", "wait"]).output().expect("runs");
            if wait.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&wait.stderr).into_owned();
            let (call, written) = self.in_doubt(&said);
            let choice = if written { "--forget" } else { "--resend" };
            self.history.push(format!("call {call} is decided: {choice}"));
            assert!(
                self.case.guard == Guard::Nothing || !written,
                "what is there is found by its mark: {:?} {said}",
                self.case
            );
            self.figures.decided += 1;
            self.context.operator(&["jobs", "resolve", &call, choice]).assert().success();
        }
    }

    /// The call that an error calls in doubt, and whether its rows are in Zoho: by the first line it names.
    fn in_doubt(&self, said: &str) -> (String, bool) {
        let (_, after) = said.split_once("of call `").unwrap_or_else(|| panic!("no call in doubt: {said}"));
        let (call, after) = after.split_once('`').expect("the name ends");
        let (batch, _) = call.split_once('/').expect("a batch and a number");
        let (_, after) = after.split_once("(input line").expect("lines are named");
        let number = after.trim_start_matches(['s', ' ']).chars();
        let number: String =
            number.take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect();
        let spool = self.context.path("state/target/spool").join(format!("{batch}.rows"));
        let rows = fs::read_to_string(spool).expect("reads");
        let row = rows.lines().find(|row| row.split('\t').next() == Some(&number)).expect("its row");
        let record: Value = serde_json::from_str(row.rsplit('\t').next().expect("a record")).expect("JSON");
        (call.to_owned(), self.found().contains_key(record["key"].as_str().expect("a key")))
    }

    fn feed(&self, from: u64) -> String {
        let text = json!({"type": "string"});
        let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": [],
            "schema": {"type": "object", "properties": {"key": text, "name": text}}});
        let mut out = format!("{schema}\n");
        for number in from..self.case.rows {
            let record = json!({"key": format!("k{number}"), "name": format!("Name {}", number % 50)});
            writeln!(out, "{}", json!({"type": "RECORD", "stream": "people", "record": record}))
                .expect("grows");
            if (number + 1) % (self.case.rows / 15) == 0 || number + 1 == self.case.rows {
                writeln!(out, "{}", json!({"type": "STATE", "value": {"at": number + 1}})).expect("grows");
            }
        }
        out
    }

    fn is_done(&self) -> bool {
        self.states.last() == Some(&self.case.rows)
    }

    /// How often each key is there.
    fn found(&self) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        for row in self.context.dump("Contacts", &["Source_Key".to_owned()]) {
            let row: Value = serde_json::from_str(&row).expect("JSON");
            *found.entry(row["Source_Key"].as_str().expect("a key").to_owned()).or_default() += 1;
        }
        found
    }

    fn check(&self) {
        let found = self.found();
        let twice: Vec<&String> = found.iter().filter(|(_, times)| **times > 1).map(|(key, _)| key).collect();
        let records = |key: &String| {
            let fields = ["Source_Key", "Mark", "Created_Time"].map(str::to_owned);
            let all = self.context.dump("Contacts", &fields).into_iter();
            all.filter(|row| row.contains(&format!("\"{key}\""))).collect::<Vec<_>>()
        };
        assert!(
            twice.is_empty(),
            "{} rows are there twice, {:?}: {:?}\n{}",
            twice.len(),
            self.case,
            twice.first().map(|key| records(key)),
            self.history.join("\n")
        );
        assert_eq!(found.len() as u64, self.case.rows, "rows are missing, {:?}", self.case);
    }
}
