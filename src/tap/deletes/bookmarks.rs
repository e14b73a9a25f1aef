//! How far the deletes of each module are told, and when what else was last done.

use super::STREAM;
use crate::codec::time::epoch_seconds;
use crate::protocol::state::{State, StateError};
use crate::tap::state::text;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

type Times = BTreeMap<String, DateTime<Utc>>;

/// The stream's bookmark: times by module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bookmarks {
    /// Up to when deletes are told.
    pub modules: Times,
    /// When the ids were last compared.
    pub reconciled: Times,
    /// When many deletes were last looked up one by one, whether they are restored.
    pub looked_up: Times,
}

impl Bookmarks {
    /// Reads them from the state.
    ///
    /// # Errors
    /// When they hold something that is not understood.
    pub fn read(state: &State) -> Result<Self, StateError> {
        let times = |key: &str| times(state, key);
        Ok(Self {
            modules: times("modules")?,
            reconciled: times("reconciled")?,
            looked_up: times("looked_up")?,
        })
    }

    /// As they stand in STATE.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"modules": texts(&self.modules)});
        for (key, times) in [("reconciled", &self.reconciled), ("looked_up", &self.looked_up)] {
            if !times.is_empty() {
                value[key] = texts(times);
            }
        }
        value
    }
}

fn texts(times: &Times) -> Value {
    times.iter().map(|(module, time)| (module.clone(), text(*time).into())).collect::<Map<_, _>>().into()
}

fn times(state: &State, key: &str) -> Result<Times, StateError> {
    let times = match state.bookmark(STREAM).and_then(|bookmark| bookmark.get(key)) {
        None | Some(Value::Null) => return Ok(Times::new()),
        Some(Value::Object(times)) => times,
        Some(other) => {
            return Err(StateError::new(format!("/bookmarks/{STREAM}/{key}"), other, "an object"));
        }
    };
    let instant = |(module, value): (&String, &Value)| {
        let seconds = value.as_str().and_then(epoch_seconds);
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let pointer = format!("/bookmarks/{STREAM}/{key}/{module}");
        time.map(|time| (module.clone(), time))
            .ok_or_else(|| StateError::new(pointer, value, "a time with its offset"))
    };
    times.iter().map(instant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_broken_is_named() {
        let time = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        let mut bookmarks = Bookmarks::default();
        bookmarks.modules.insert("Leads".into(), time);
        bookmarks.reconciled.insert("Leads".into(), time);
        let state = State::read(json!({"bookmarks": {STREAM: bookmarks.to_value()}})).expect("reads");
        assert_eq!(Bookmarks::read(&state).expect("reads"), bookmarks);
        let broken = json!({"bookmarks": {STREAM: {"reconciled": {"Leads": "never"}}}});
        let error = Bookmarks::read(&State::read(broken).expect("reads")).expect_err("is refused");
        assert_eq!(error.pointer, "/bookmarks/deleted_records/reconciled/Leads");
    }
}
