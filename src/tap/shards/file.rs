//! The file of a shard plan: `{"shards": 3, "streams": {"Leads": ["…", "…"], "users": []}}`.
//!
//! Of each stream it names the last id of every shard but the last. A stream without any, or that it does
//! not name, is the first shard's as a whole.

use super::MOST_SHARDS;
use crate::tap::state::precedes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A file that is no plan.
#[derive(Debug, thiserror::Error)]
#[error("this is no shard plan: `{pointer}` is {found}, and has to be {expected}")]
pub struct PlanError {
    /// JSON pointer.
    pub pointer: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: String,
}

impl PlanError {
    fn new(pointer: impl Into<String>, found: &Value, expected: impl Into<String>) -> Self {
        let text = match found {
            Value::Null => "missing".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::Array(items) => format!("a list of {}", items.len()),
            other => format!("`{other}`"),
        };
        Self { pointer: pointer.into(), found: text, expected: expected.into() }
    }
}

/// Where streams are divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPlan {
    shards: usize,
    streams: BTreeMap<String, Vec<String>>,
}

impl ShardPlan {
    /// A plan that divides nothing yet.
    pub fn new(shards: usize) -> Self {
        Self { shards, streams: BTreeMap::new() }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// When it would leave out or repeat ids, or is no plan at all.
    pub fn read(value: &Value) -> Result<Self, PlanError> {
        if !value.is_object() {
            return Err(PlanError::new("/", value, "an object with `shards` and `streams`"));
        }
        let shards = value["shards"].as_u64().and_then(|shards| usize::try_from(shards).ok());
        let shards = shards.filter(|shards| (1..=MOST_SHARDS).contains(shards)).ok_or_else(|| {
            PlanError::new("/shards", &value["shards"], format!("a number from 1 to {MOST_SHARDS}"))
        })?;
        let streams = value["streams"].as_object();
        let streams = streams.ok_or_else(|| {
            PlanError::new("/streams", &value["streams"], "an object with the boundaries of each stream")
        })?;
        let streams = streams.iter().map(|(name, ids)| Ok((name.clone(), boundaries(name, ids, shards)?)));
        Ok(Self { shards, streams: streams.collect::<Result<_, _>>()? })
    }

    /// The same for a run that says how many shards there are.
    ///
    /// # Errors
    /// As [`Self::read`], and when they are not as many.
    pub fn of(value: &Value, shards: usize) -> Result<Self, PlanError> {
        let plan = Self::read(value)?;
        match plan.shards == shards {
            true => Ok(plan),
            false => Err(PlanError::new("/shards", &value["shards"], format!("{shards}, as `--shard` says"))),
        }
    }

    /// Divides a stream behind each of these ids.
    pub fn divide(&mut self, tap_stream_id: &str, boundaries: Vec<String>) {
        self.streams.insert(tap_stream_id.to_owned(), boundaries);
    }

    /// The streams it names.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }

    /// The ids behind which a stream is divided.
    pub fn boundaries(&self, tap_stream_id: &str) -> &[String] {
        self.streams.get(tap_stream_id).map_or(&[], Vec::as_slice)
    }

    /// As it stands in the file.
    pub fn to_value(&self) -> Value {
        let streams = self.streams.iter().map(|(name, ids)| (name.clone(), ids.clone().into()));
        json!({"shards": self.shards, "streams": streams.collect::<Map<_, _>>()})
    }

    /// By which a state knows it again: the same boundaries, however the file is laid out.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.to_value().to_string().as_bytes());
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The boundaries of one stream: none, or one less than shards, ascending.
fn boundaries(stream: &str, list: &Value, shards: usize) -> Result<Vec<String>, PlanError> {
    let pointer = format!("/streams/{stream}");
    let expected = format!("a list of {} ids, or an empty one", shards - 1);
    let is_it = |ids: &&Vec<Value>| ids.is_empty() || ids.len() == shards - 1;
    let ids = list.as_array().filter(is_it).ok_or_else(|| PlanError::new(&pointer, list, expected))?;
    let mut read: Vec<String> = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let wrong = |expected: &str| PlanError::new(format!("{pointer}/{at}"), id, expected);
        // An id goes into queries as it is: nothing but digits may.
        let is_id = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let text = id.as_str().filter(is_id).ok_or_else(|| wrong("an id, a string of digits"))?;
        if read.last().is_some_and(|last| !precedes(last.as_bytes(), text.as_bytes())) {
            return Err(wrong("larger than the id before it"));
        }
        read.push(text.to_owned());
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_its_fingerprint_is_of_its_content() {
        let mut plan = ShardPlan::new(3);
        plan.divide("Leads", vec!["9".into(), "10".into()]);
        plan.divide("Deals", Vec::new());
        assert_eq!(ShardPlan::read(&plan.to_value()).expect("reads"), plan);
        let other = json!({"streams": {"Leads": ["9", "10"], "Deals": []}, "shards": 3, "note": "mine"});
        assert_eq!(ShardPlan::read(&other).expect("reads").fingerprint(), plan.fingerprint());
        plan.divide("Leads", vec!["9".into(), "11".into()]);
        assert_ne!(ShardPlan::read(&other).expect("reads").fingerprint(), plan.fingerprint());
    }

    #[test]
    fn a_broken_plan_is_refused_with_the_place() {
        let streams = |ids: Value| json!({"shards": 3, "streams": {"Leads": ids}});
        for (plan, said) in [
            (json!([]), "`/` is a list of 0, and has to be an object with `shards` and `streams`"),
            (json!({}), "`/shards` is missing, and has to be a number from 1 to 100"),
            (json!({"shards": 101}), "`/shards` is `101`, and has to be a number from 1 to 100"),
            (
                json!({"shards": 2}),
                "`/streams` is missing, and has to be an object with the boundaries of each stream",
            ),
            (
                streams(json!(["1"])),
                "`/streams/Leads` is a list of 1, and has to be a list of 2 ids, or an empty one",
            ),
            (streams(json!(["1", 2])), "`/streams/Leads/1` is `2`, and has to be an id, a string of digits"),
            (
                streams(json!(["10", "9"])),
                "`/streams/Leads/1` is `\"9\"`, and has to be larger than the id before it",
            ),
        ] {
            let error = ShardPlan::read(&plan).expect_err("is refused").to_string();
            assert_eq!(error, format!("this is no shard plan: {said}"));
        }
    }
}
