//! What reaches a destination: records and states, among messages that are none of its business.
//!
//! A line becomes the same [`Message`] that a Singer line becomes. Streams may have namespaces: two of one name
//! are told apart as `namespace.name`, all others go by their name. Status, log and control messages, and types
//! that nobody knows, are passed over, because a platform hands on whatever the source says.

use super::catalog::Configured;
use crate::protocol::message::{Members, Message, MessageError, RecordMessage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads the lines of a platform.
#[derive(Debug, Default)]
pub struct Inbound {
    /// Labels of streams that share their name with another one.
    twins: HashMap<(Option<String>, String), String>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Inbound {
    /// For these streams.
    pub fn new(streams: &[Configured]) -> Self {
        let is_twin = |one: &Configured| streams.iter().filter(|other| other.name == one.name).count() > 1;
        let twins = streams.iter().filter(|stream| is_twin(stream));
        let label = |stream: &Configured| match &stream.namespace {
            Some(namespace) => format!("{namespace}.{}", stream.name),
            None => stream.name.clone(),
        };
        let key = |stream: &Configured| (stream.namespace.clone(), stream.name.clone());
        Self { twins: twins.map(|stream| (key(stream), label(stream))).collect() }
    }

    /// What a stream is called.
    pub fn label<'n>(&'n self, name: &'n str, namespace: Option<&str>) -> &'n str {
        let key = || (namespace.map(str::to_owned), name.to_owned());
        if self.twins.is_empty() { name } else { self.twins.get(&key()).map_or(name, String::as_str) }
    }

    /// Parses a line; none where it is of no concern.
    ///
    /// # Errors
    /// [`MessageError`] when the line is no message, or a record or state lacks what it cannot do without.
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Option<Message<'a>>, MessageError> {
        let (members, envelope) = Members::of::<Envelope<'a>>(line)?;
        match members.text("type", envelope.kind)?.as_ref() {
            "RECORD" => {
                let members = members.named("RECORD");
                let inside = members.object("record", envelope.record)?;
                let record: Record<'a> = members.inside("record", inside)?;
                let stream = members.text("stream", record.stream)?;
                let namespace = match record.namespace {
                    Some(raw) if raw.get() != "null" => Some(members.text("namespace", Some(raw))?),
                    _ => None,
                };
                let label = self.label(&stream, namespace.as_deref());
                let stream = if label == stream { stream } else { Cow::Owned(label.to_owned()) };
                let record = members.object("data", record.data)?;
                Ok(Some(Message::Record(RecordMessage { stream, record, version: None })))
            }
            "STATE" => {
                members.named("STATE").object("state", envelope.state).map(|raw| Some(Message::State(raw)))
            }
            _ => Ok(None),
        }
    }

    /// The stream that a state is of; none: of all.
    pub fn stream_of(&self, state: &str) -> Option<String> {
        let state: Value = serde_json::from_str(state).ok()?;
        let descriptor = &state["stream"]["stream_descriptor"];
        let name = descriptor["name"].as_str()?;
        Some(self.label(name, descriptor["namespace"].as_str()).to_owned())
    }
}

/// The line that gives a state back: the same text, with what the destination counted.
pub fn given_back(state: &str, written: u64, rejected: u64) -> String {
    // Doubles, and always with their point.
    let stats = json!({"recordCount": written as f64, "rejectedRecordCount": rejected as f64});
    let known: Map<String, Value> = serde_json::from_str(state).unwrap_or_default();
    if known.contains_key("destinationStats") {
        let mut whole = known;
        whole.insert("destinationStats".to_owned(), stats);
        return json!({"type": "STATE", "state": whole}).to_string();
    }
    let body = state.trim_end();
    let body = body.strip_suffix('}').unwrap_or(body);
    let comma = if known.is_empty() { "" } else { "," };
    format!("{{\"type\":\"STATE\",\"state\":{body}{comma}\"destinationStats\":{stats}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_states_are_taken_and_the_rest_is_passed_over() {
        let inbound = Inbound::default();
        let line = br#"{"type":"RECORD","record":{"namespace":null,"stream":"a","data":{"n":1.10},"emitted_at":1795317182773.5}}"#;
        let Ok(Some(Message::Record(record))) = inbound.parse(line) else { panic!("not a record") };
        assert_eq!((record.stream.as_ref(), record.record.get()), ("a", r#"{"n":1.10}"#));
        for passed in [&br#"{"type":"LOG","log":{"level":"INFO","message":"x"}}"#[..], br#"{"type":"NEWS"}"#]
        {
            assert!(inbound.parse(passed).expect("is passed over").is_none());
        }
        let error = |line: &str| inbound.parse(line.as_bytes()).expect_err("is bad").to_string();
        assert_eq!(error(r#"{"type":"RECORD","record":{"data":{}}}"#), "RECORD has no `stream`");
        assert_eq!(
            error(r#"{"type":"RECORD","record":{"stream":"a","data":7}}"#),
            "RECORD has `data`: 7, which should be an object"
        );
        assert!(error("plain text").contains("not valid JSON"));
    }

    #[test]
    fn streams_of_one_name_are_told_apart() {
        let stream = |namespace: Option<&str>| Configured {
            name: "users".into(),
            namespace: namespace.map(str::to_owned),
            json_schema: json!({}),
            sync_mode: String::new(),
            destination_sync_mode: String::new(),
            destination_object_name: None,
            source_key: Vec::new(),
            primary_key: Vec::new(),
        };
        let inbound = Inbound::new(&[stream(Some("one")), stream(Some("two"))]);
        let state = r#"{"stream":{"stream_descriptor":{"name":"users","namespace":"two"}}}"#;
        assert_eq!(inbound.stream_of(state).as_deref(), Some("two.users"));
        assert_eq!(Inbound::new(&[stream(Some("one"))]).label("users", Some("one")), "users");
        assert_eq!(inbound.stream_of(r#"{"type":"GLOBAL","global":{}}"#), None);
    }

    #[test]
    fn a_state_comes_back_byte_for_byte() {
        let state = r#"{"type" : "STREAM","stream":{"stream_state":{"b":1.10}}}"#;
        assert_eq!(
            given_back(state, 3, 0),
            r#"{"type":"STATE","state":{"type" : "STREAM","stream":{"stream_state":{"b":1.10}},"destinationStats":{"recordCount":3.0,"rejectedRecordCount":0.0}}}"#
        );
        assert!(given_back("{}", 0, 0).contains(r#""state":{"destinationStats""#));
        let again = given_back(r#"{"destinationStats":{"recordCount":9.0},"a":1}"#, 1, 2);
        assert!(again.contains(r#""recordCount":1.0"#) && !again.contains("9.0"), "{again}");
    }
}
