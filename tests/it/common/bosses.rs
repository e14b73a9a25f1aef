//! People who report to people: lookups to the own module, killed between the two passes that set them.

use super::context::TestContext;
use super::dice::Dice;
use super::inserts::MANY_CREDITS;
use super::process::{Moment, Ran, command, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use zoho_crm_connector::emulator::Options;

/// What is written how.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub seed: u64,
    pub rows: u64,
    pub kills: u32,
    pub operation: &'static str,
    /// The target's way of writing.
    pub method: &'static str,
}

impl Case {
    /// Whom a person reports to: anybody, before or behind in the file.
    fn boss(&self, person: u64) -> u64 {
        (person * 7_919 + 13) % self.rows
    }

    fn feed(&self, from: u64) -> String {
        let text = json!({"type": "string"});
        let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
            "schema": {"type": "object", "properties": {"id": text, "boss": text}}});
        let mut out = format!("{schema}\n");
        for person in from..self.rows {
            let row = json!({"id": format!("p{person}"), "boss": format!("p{}", self.boss(person))});
            writeln!(out, "{}", json!({"type": "RECORD", "stream": "people", "record": row})).expect("grows");
            if (person + 1) % (self.rows / 15) == 0 || person + 1 == self.rows {
                let state = json!({"type": "STATE", "value": {"at": person + 1}});
                writeln!(out, "{state}").expect("grows");
            }
        }
        out
    }
}

/// Kills runs over and over; in the end everybody is there once and reports to whom the source says, and no
/// STATE was ever ahead of that. How many runs it took.
pub fn bosses_survive(case: Case) -> u32 {
    let key = json!({"api_name": "Key", "data_type": "text", "length": 40, "unique": true, "custom": true});
    let context = TestContext::with(|options: &mut Options| {
        options.seed = case.seed;
        options.schema = Some(json!({"modules": [{"api_name": "Contacts", "fields": [key]}]}));
        options.limits.off = true;
        options.limits.daily_credits = Some(MANY_CREDITS);
    });
    let stream = json!({"module": "Contacts", "operation": case.operation, "match_on": ["Key"],
        "fields": {"id": ["Key", "Last_Name"], "boss": {"to": "Reporting_To", "match": "Key"}}});
    let more = json!({"method": case.method, "batch_rows": case.rows / 6, "daily_credits": MANY_CREDITS,
        "streams": {"people": stream}});
    context.settings_with("config.json", &more);
    let mut dice = Dice::new(case.seed);
    let (mut states, mut killed, mut runs) = (vec![0], 0, 0);
    let mut measured: Option<Ran> = None;
    while killed < case.kills || states.last() != Some(&case.rows) {
        runs += 1;
        assert!(runs <= case.kills * 12, "few runs were hit, {case:?}");
        let back = dice.below(2) as usize;
        let from = states[states.len() - 1 - back.min(states.len() - 1)];
        fs::write(context.path("people.singer"), case.feed(from)).expect("writes");
        let moment = match &measured {
            Some(whole) if killed < case.kills => Moment::Calls(dice.below(whole.calls) + 1),
            _ => Moment::Never,
        };
        let args = ["--config", "config.json", "--input", "people.singer"];
        let ran = run(&context, vec![command(&context, "target-zoho-crm", &args)], moment, &[0]);
        assert!(ran.good || ran.killed, "{case:?}: {}", ran.said);
        killed += u32::from(ran.killed);
        states.extend(ran.lines.iter().map(|line| {
            let state: Value = serde_json::from_str(line).expect("a STATE");
            state["at"].as_u64().expect("a number")
        }));
        check(&context, case, *states.last().expect("a STATE"));
        if measured.is_none() || states.last() == Some(&case.rows) && killed < case.kills {
            // From the beginning, on nothing.
            measured.get_or_insert(ran);
            let everything = json!({"module": "Contacts", "seed": 1, "delete": case.rows});
            context.control("POST", "mutate", &everything);
            fs::remove_dir_all(context.path("state/target")).expect("a ledger");
            states = vec![0];
        }
    }
    check(&context, case, case.rows);
    runs
}

/// Nobody is there twice, and all before the last STATE report to whom they should.
fn check(context: &TestContext, case: Case, state: u64) {
    let fields = ["id", "Key", "Reporting_To"].map(str::to_owned);
    let rows: Vec<Value> = context
        .dump("Contacts", &fields)
        .iter()
        .map(|row| serde_json::from_str(row).expect("JSON"))
        .collect();
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let ids: BTreeMap<String, String> =
        rows.iter().filter_map(|row| Some((text(row, "id")?, text(row, "Key")?))).collect();
    let mut bosses = BTreeMap::new();
    for row in &rows {
        let boss = text(row, "Reporting_To").map(|id| ids[&id].clone());
        assert!(bosses.insert(text(row, "Key"), boss).is_none(), "{row} is there twice, {case:?}");
    }
    for person in 0..state {
        let boss = bosses.get(&Some(format!("p{person}")));
        let wanted = Some(format!("p{}", case.boss(person)));
        assert_eq!(boss, Some(&wanted), "person {person} before STATE {state}, {case:?}");
    }
}
