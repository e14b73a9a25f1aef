//! Things that go wrong on request: rules that match calls and say what happens to them.
//!
//! Rules are tried in order for every call under `/crm` and `/oauth`; all that fire are applied.
//! The gate in `server.rs` carries out what concerns the connection; handlers ask their call
//! ([`Fired::get`]) for what concerns them, such as a job that fails.

use super::data::Dice;
use serde::Deserialize;
use std::sync::Mutex;

/// Codes with which Zoho refuses one record of a write.
///
/// Source: API reference, "Errors and status codes" and the result file of bulk write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum RowCode {
    MandatoryNotFound,
    InvalidData,
    DuplicateData,
    LimitExceeded,
    NotApproved,
    NoPermission,
    RecordLocked,
    RecordInBlueprint,
    IdAlreadyConverted,
    BlockedRecord,
    CannotProcess,
    ResourceNotFound,
}

impl RowCode {
    /// What record calls answer.
    pub const OF_RECORDS: [Self; 9] = [
        Self::MandatoryNotFound,
        Self::InvalidData,
        Self::DuplicateData,
        Self::LimitExceeded,
        Self::NotApproved,
        Self::NoPermission,
        Self::RecordLocked,
        Self::RecordInBlueprint,
        Self::IdAlreadyConverted,
    ];

    /// What stands in the result file of bulk write.
    pub const OF_BULK: [Self; 8] = [
        Self::MandatoryNotFound,
        Self::InvalidData,
        Self::DuplicateData,
        Self::LimitExceeded,
        Self::NotApproved,
        Self::BlockedRecord,
        Self::CannotProcess,
        Self::ResourceNotFound,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MandatoryNotFound => "MANDATORY_NOT_FOUND",
            Self::InvalidData => "INVALID_DATA",
            Self::DuplicateData => "DUPLICATE_DATA",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::NotApproved => "NOT_APPROVED",
            Self::NoPermission => "NO_PERMISSION",
            Self::RecordLocked => "RECORD_LOCKED",
            Self::RecordInBlueprint => "RECORD_IN_BLUEPRINT",
            Self::IdAlreadyConverted => "ID_ALREADY_CONVERTED",
            Self::BlockedRecord => "BLOCKED_RECORD",
            Self::CannotProcess => "CANNOT_PROCESS",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Answer with `status` (and `code`) instead of working.
    Status,
    /// Answer 429, with `Retry-After` when `retry_after_seconds` is given.
    Throttle,
    /// Answer 401 `INVALID_TOKEN` and forget the access token.
    InvalidToken,
    /// Break the connection after `fraction` of the body.
    CutBody,
    /// Break the connection before anything is done.
    Drop,
    /// Do the work, then break the connection without an answer.
    CutAfterExecute,
    /// Wait `milliseconds` of real time before working.
    Delay,
    /// Send only `fraction` of the body as if it were all: a broken zip.
    TruncatedZip,
    /// The job created by this call ends in failure; a bulk write after `rows` rows, none when absent.
    JobFailure,
    /// The job created by this call never ends.
    StuckJob,
    /// The job created by this call starts `milliseconds` of the emulator's clock late, a minute when
    /// absent: with `cut_after_execute` a job that nobody knows of and that runs all the same.
    LateJob,
    /// A `fraction` of the rows that this call (or the job it creates) writes is refused, each with one
    /// of `codes`; with every code of the reference in turn when none is given.
    RowErrors,
    /// The result asked for by this call has expired.
    ExpiredResult,
    /// The page token sent with this call has expired.
    ExpiredPageToken,
    /// A field (`field` of `module`) disappears before the call is worked on.
    RemoveField,
    /// The `rows` oldest rows of `module` are deleted before the call is worked on.
    DeleteRows,
    /// About `rows` rows all over `module` are modified before the call is worked on.
    TouchRows,
}

/// Which calls a rule concerns. Every given key has to fit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: Option<String>,
    /// A part of path and query.
    pub path_contains: Option<String>,
    /// A part of the body, such as a module name in a job request.
    pub body_contains: Option<String>,
    /// Spares this many fitting calls: 3 starts with the third.
    pub nth: Option<u64>,
    /// How often it happens; 0 is without end. Once, unless `probability` is given.
    pub times: Option<u64>,
    /// How likely it happens to a fitting call, drawn from the seed.
    pub probability: Option<f64>,
}

/// What happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// What the rule does.
    pub kind: Kind,
    /// For `status`; 500 when absent.
    #[serde(default)]
    pub status: Option<u16>,
    /// Zoho's code for `status`; `INTERNAL_ERROR` when absent.
    #[serde(default)]
    pub code: Option<String>,
    /// For `throttle`.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
    /// For `delay` and `late_job`.
    #[serde(default)]
    pub milliseconds: Option<u64>,
    /// For `row_errors`.
    #[serde(default)]
    pub codes: Vec<RowCode>,
    /// For `cut_body`, `truncated_zip` and `row_errors`; one half when absent.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// For `remove_field`, `delete_rows` and `touch_rows`.
    #[serde(default)]
    pub module: Option<String>,
    /// For `remove_field`.
    #[serde(default)]
    pub field: Option<String>,
    /// For `delete_rows` and `touch_rows`, one when absent; for `job_failure`.
    #[serde(default)]
    pub rows: Option<usize>,
}

/// A match and an action.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// What happens to them.
    pub action: Action,
}

/// What happens to one call.
#[derive(Debug, Clone, Default)]
pub struct Fired(Vec<Action>);

impl Fired {
    /// The action of that kind, if a rule fired with it.
    pub fn get(&self, kind: Kind) -> Option<&Action> {
        self.0.iter().find(|action| action.kind == kind)
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<Armed>,
    dice: Dice,
    fired: u64,
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    seen: u64,
    fired: u64,
}

impl Faults {
    /// Rules whose probabilities are drawn from the seed.
    pub fn new(rules: Vec<Rule>, seed: u64) -> Self {
        let faults = Self {
            state: Mutex::new(State { rules: Vec::new(), dice: Dice::new(seed ^ 0x6661_756c), fired: 0 }),
        };
        faults.add(rules);
        faults
    }

    /// Adds rules behind those in force.
    pub fn add(&self, rules: Vec<Rule>) {
        self.lock().rules.extend(rules.into_iter().map(|rule| Armed { rule, seen: 0, fired: 0 }));
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How often a rule fired since the start.
    pub fn count(&self) -> u64 {
        self.lock().fired
    }

    /// Decides what happens to a call.
    pub fn fire(&self, method: &str, target: &str, body: &[u8]) -> Fired {
        let mut state = self.lock();
        let State { rules, dice, fired } = &mut *state;
        let hits = rules.iter_mut().filter_map(|armed| armed.hit(method, target, body, dice));
        let hits = Fired(hits.collect());
        *fired += hits.0.len() as u64;
        hits
    }

    /// Whether a `row_errors` rule that fired hits the next row, and with which code; `known` are the
    /// codes to draw from when the rule names none.
    pub fn strike(&self, rule: Option<&Action>, known: &[RowCode]) -> Option<RowCode> {
        let rule = rule?;
        let mut state = self.lock();
        let share = rule.fraction.unwrap_or(0.5) * 1_000_000.0;
        if (state.dice.below(1_000_000) as f64) >= share {
            return None;
        }
        state.fired += 1;
        let codes = if rule.codes.is_empty() { known } else { &rule.codes };
        codes.get(state.dice.below(codes.len() as u64) as usize).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the rules")
    }
}

impl Armed {
    fn hit(&mut self, method: &str, target: &str, body: &[u8], dice: &mut Dice) -> Option<Action> {
        let Match { method: wanted, path_contains, body_contains, nth, times, probability } =
            &self.rule.matches;
        let fits = wanted.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && path_contains.as_deref().is_none_or(|part| target.contains(part))
            && body_contains.as_deref().is_none_or(|part| contains(body, part.as_bytes()));
        if !fits {
            return None;
        }
        self.seen += 1;
        let most = times.unwrap_or(if probability.is_some() { 0 } else { 1 });
        let drawn = probability.is_none_or(|likely| (dice.below(1_000_000) as f64) < likely * 1_000_000.0);
        if self.seen < nth.unwrap_or(1) || (most > 0 && self.fired >= most) || !drawn {
            return None;
        }
        self.fired += 1;
        Some(self.rule.action.clone())
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    part.is_empty() || body.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(rules: serde_json::Value) -> Faults {
        Faults::new(serde_json::from_str(&rules.to_string()).expect("rules"), 1)
    }

    #[test]
    fn a_rule_spares_the_first_calls_and_ends() {
        let faults =
            faults(json!([{"match": {"method": "get", "path_contains": "/Leads", "nth": 2, "times": 2},
            "action": {"kind": "throttle", "retry_after_seconds": 1}}]));
        let hit = |method| faults.fire(method, "/crm/v8/Leads?page=1", b"").get(Kind::Throttle).is_some();
        assert_eq!(
            [hit("GET"), hit("POST"), hit("GET"), hit("GET"), hit("GET")],
            [false, false, true, true, false]
        );
        assert_eq!(faults.count(), 2);
    }

    #[test]
    fn probabilities_are_drawn_from_the_seed() {
        let rules = json!([{"match": {"probability": 0.25}, "action": {"kind": "drop"}}]);
        let draw = || {
            let faults = faults(rules.clone());
            (0..400).map(|_| faults.fire("GET", "/", b"").get(Kind::Drop).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        let hits = draw().into_iter().filter(|hit| *hit).count();
        assert!((60..140).contains(&hits), "{hits}");
    }

    #[test]
    fn bodies_can_be_matched() {
        let faults =
            faults(json!([{"match": {"body_contains": "Contacts"}, "action": {"kind": "job_failure"}}]));
        assert!(
            faults
                .fire("POST", "/crm/bulk/v8/read", b"{\"module\":\"Leads\"}")
                .get(Kind::JobFailure)
                .is_none()
        );
        assert!(
            faults
                .fire("POST", "/crm/bulk/v8/read", b"{\"module\":\"Contacts\"}")
                .get(Kind::JobFailure)
                .is_some()
        );
    }
}
