//! Shards: one sync divided among processes that know nothing of each other but a plan.
//!
//! A plan (`file`) holds ids at which each stream is divided; it is made (`cut`) once. Every process reads
//! what lies between two of them, of each stream, and has bookmarks and a memory of its own. The first
//! and the last shard are open-ended, so each id, also one that is given out later, is of exactly one
//! shard. What cannot be divided is the first shard's.

pub mod cut;
pub mod file;

use super::state::Bounds;
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::protocol::state::{State, StateError};
use file::ShardPlan;
use serde_json::{Map, Value, json};
use std::fmt;
use std::str::FromStr;

/// Most shards. Each divides the organisation's pool of calls, which has 25 at most.
pub const MOST_SHARDS: usize = 100;

/// The key of STATE under which it says whose it is.
const KEY: &str = "shard";

/// Which of how many shards: `2/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The shard, counted from one.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').map(|(number, of)| (number.parse().ok(), of.parse().ok()));
        let Some((Some(number), Some(of))) = numbers else {
            return Err("expected K/N, such as `2/8`".to_owned());
        };
        if !(1..=MOST_SHARDS).contains(&of) {
            return Err(format!("there may be 1 to {MOST_SHARDS} shards, not {of}"));
        }
        match (1..=of).contains(&number) {
            true => Ok(Self { number, of }),
            false => Err(format!("of {of} shards, {number} is none: expected 1 to {of}")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// A state that is of another shard than this run.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Of another shard, or of another plan.
    #[error("the state is of {made}, and this run is {now}")]
    Other {
        /// Whose the state is.
        made: String,
        /// What this run is.
        now: String,
    },
    /// Of a shard, and this run is none.
    #[error("the state is of {made}, and this run is of no shard")]
    Alone {
        /// Whose the state is.
        made: String,
    },
    /// Of a run without shards that came to no end: what is left of it belongs to several shards.
    #[error("the state is of an unfinished run without shards (stream `{stream}`), and this run is {now}")]
    Unfinished {
        /// A stream that is not finished.
        stream: String,
        /// What this run is.
        now: String,
    },
}

impl Diagnostic for ShardError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Other { .. } => {
                "hand over the state that this shard wrote with this plan; without a state it reads everything again"
            }
            Self::Alone { .. } => {
                "add the `--shard` and `--shard-plan` it was made with; without a state everything is read again"
            }
            Self::Unfinished { .. } => {
                "run without `--shard` once more, to its end: shards go on from its state"
            }
        };
        Some(hint.to_owned())
    }
}

/// The shard that this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    share: Share,
    plan: ShardPlan,
    fingerprint: String,
}

impl Shard {
    /// One of the shards of a plan, which has to have as many.
    pub fn new(share: Share, plan: ShardPlan) -> Self {
        let fingerprint = plan.fingerprint();
        Self { share, plan, fingerprint }
    }

    /// Whether some of a stream is of this shard.
    pub fn reads(&self, tap_stream_id: &str) -> bool {
        self.share.number == 1 || self.divides(tap_stream_id)
    }

    /// Whether the stream is of several shards.
    pub fn divides(&self, tap_stream_id: &str) -> bool {
        !self.plan.boundaries(tap_stream_id).is_empty()
    }

    /// The ids of a stream that are of this shard.
    pub fn bounds(&self, tap_stream_id: &str) -> Bounds {
        let boundaries = self.plan.boundaries(tap_stream_id);
        let at = |place: Option<usize>| place.and_then(|place| boundaries.get(place)).cloned();
        Bounds { after: at(self.share.number.checked_sub(2)), upto: at(Some(self.share.number - 1)) }
    }

    /// The name under which a stream is remembered in `state_dir`: what other shards, which may share
    /// the folder, remember of it is not this one's.
    pub fn memory_name(&self, tap_stream_id: &str) -> String {
        match self.divides(tap_stream_id) {
            true => format!("{tap_stream_id} {self}"),
            false => tap_stream_id.to_owned(),
        }
    }

    /// What its STATE says of it.
    fn to_value(&self) -> Value {
        let range = |stream: &str| {
            let Bounds { after, upto } = self.bounds(stream);
            let ends = [("after_id", after), ("up_to_id", upto)].into_iter();
            ends.filter_map(|(key, id)| Some((key.to_owned(), Value::from(id?)))).collect::<Map<_, _>>()
        };
        let streams = self.plan.streams().filter(|stream| self.divides(stream));
        let ranges: Map<_, _> = streams.map(|stream| (stream.to_owned(), range(stream).into())).collect();
        json!({"shard": self.share.to_string(), "plan": self.fingerprint, "ranges": ranges})
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", title(&self.share.to_string(), &self.fingerprint))
    }
}

fn title(shard: &str, plan: &str) -> String {
    format!("shard {shard} of plan {plan}")
}

/// The state with which a run begins: that of another shard or plan is refused, and one of a run without
/// shards that came to its end is as good for each of them.
pub(super) fn claim(shard: Option<&Shard>, mut state: State) -> Result<State, super::Error> {
    let made = state.get(KEY).map(made_by).transpose()?;
    match (made, shard) {
        (None, None) => {}
        (Some(made), None) => return Err(ShardError::Alone { made }.into()),
        (None, Some(shard)) => {
            if let Some(stream) = state.streams().find(|(_, mark)| !mark["in_progress"].is_null()) {
                let (stream, now) = (stream.0.to_owned(), shard.to_string());
                return Err(ShardError::Unfinished { stream, now }.into());
            }
            state.set(KEY, shard.to_value());
        }
        (Some(made), Some(shard)) if made != shard.to_string() => {
            return Err(ShardError::Other { made, now: shard.to_string() }.into());
        }
        (Some(_), Some(shard)) => state.set(KEY, shard.to_value()),
    }
    Ok(state)
}

/// Whose a state is, in words.
fn made_by(value: &Value) -> Result<String, StateError> {
    let (shard, plan) = (value["shard"].as_str(), value["plan"].as_str());
    match (shard.filter(|shard| shard.parse::<Share>().is_ok()), plan) {
        (Some(shard), Some(plan)) => Ok(title(shard, plan)),
        _ => Err(StateError::new(format!("/{KEY}"), value, "an object with `shard` and `plan`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(share: &str, ids: &[&str]) -> Shard {
        let share: Share = share.parse().expect("a share");
        let plan = json!({"shards": share.of, "streams": {"Leads": ids, "users": []}});
        Shard::new(share, ShardPlan::read(&plan).expect("a plan"))
    }

    #[test]
    fn every_id_is_of_exactly_one_shard() {
        let shards: Vec<_> = ["1/3", "2/3", "3/3"].map(|share| shard(share, &["9", "100"])).into();
        for (id, expected) in [("1", 0), ("9", 0), ("10", 1), ("100", 1), ("101", 2), ("99999", 2)] {
            let holds = |shard: &Shard| shard.bounds("Leads").hold(id);
            let held: Vec<_> = (0..3).filter(|at| holds(&shards[*at])).collect();
            assert_eq!(held, [expected], "{id}");
        }
        let reads: Vec<_> = shards.iter().map(|shard| shard.reads("users")).collect();
        assert_eq!(reads, [true, false, false]);
        assert_eq!(shards[0].bounds("users"), Bounds::default());
    }

    #[test]
    fn shares_are_counted_from_one() {
        assert_eq!("2/8".parse(), Ok(Share { number: 2, of: 8 }));
        for (text, said) in [
            ("9/8", "of 8 shards, 9 is none: expected 1 to 8"),
            ("0/8", "of 8 shards, 0 is none: expected 1 to 8"),
            ("1/0", "there may be 1 to 100 shards, not 0"),
            ("2", "expected K/N, such as `2/8`"),
            ("a/b", "expected K/N, such as `2/8`"),
        ] {
            assert_eq!(text.parse::<Share>(), Err(said.to_owned()));
        }
    }

    #[test]
    fn a_state_belongs_to_one_shard_of_one_plan() {
        let (mine, other) = (shard("2/3", &["9", "100"]), shard("2/3", &["9", "101"]));
        let state = || claim(Some(&mine), State::default()).expect("is new");
        assert_eq!(claim(Some(&mine), state()).expect("is its own"), state());
        for stranger in [Some(&other), Some(&shard("3/3", &["9", "100"])), None] {
            assert!(claim(stranger, state()).is_err());
        }
        let done = json!({"bookmarks": {"Leads": {"replication_key_value": "2026-03-01T00:00:00Z"}}});
        assert!(claim(Some(&mine), State::read(done).expect("reads")).is_ok(), "it holds for every id");
        let begun = json!({"bookmarks": {"Leads": {"in_progress": {"after_id": "50"}}}});
        assert!(claim(Some(&mine), State::read(begun).expect("reads")).is_err());
        let broken = State::read(json!({"bookmarks": {}, "shard": "2/3"})).expect("reads");
        let error = claim(Some(&mine), broken).expect_err("is refused").to_string();
        assert_eq!(
            error,
            "the state's `/shard` is `\"2/3\"`, and has to be an object with `shard` and `plan`"
        );
    }
}
