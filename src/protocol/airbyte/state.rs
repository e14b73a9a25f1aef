//! The state that a platform hands over: a list of state messages, of which every stream has its own.
//!
//! Also taken: nothing, `null`, `{}`, a list of nulls, one message, messages in their envelope, one global
//! state, and the old form with one blob for all.

use crate::protocol::state::{State, StateError};
use serde_json::{Map, Value, json};

/// Reads the state. `is_full` tells which streams are read whole: of these only a reading that was
/// interrupted counts, and it has to be one of the whole.
///
/// # Errors
/// When it is of another form.
pub fn read(document: Value, is_full: impl Fn(&str) -> bool) -> Result<State, StateError> {
    let messages = match document {
        Value::Null => Vec::new(),
        Value::Array(messages) => messages,
        Value::Object(whole) if whole.is_empty() => Vec::new(),
        message @ Value::Object(_) => vec![message],
        other => return Err(StateError::new("", &other, "a list of state messages")),
    };
    let mut bookmarks = Map::new();
    for (at, mut message) in messages.into_iter().enumerate() {
        if message["type"] == "STATE" {
            message = message["state"].take();
        }
        let streams = match (&message["stream"], &message["global"], &message["data"]) {
            (stream @ Value::Object(_), _, _) => vec![stream.clone()],
            (_, Value::Object(global), _) => {
                global.get("stream_states").and_then(Value::as_array).cloned().unwrap_or_default()
            }
            (_, _, Value::Object(_)) => {
                let old = State::read(message["data"].take())?;
                bookmarks.extend(old.streams().map(|(stream, value)| (stream.to_owned(), value.clone())));
                Vec::new()
            }
            _ if message.is_object() || message.is_null() => Vec::new(),
            _ => return Err(StateError::new(format!("/{at}"), &message, "a state message")),
        };
        for stream in streams {
            let Some(name) = stream["stream_descriptor"]["name"].as_str() else { continue };
            match &stream["stream_state"] {
                Value::Null => {}
                blob @ Value::Object(_) => drop(bookmarks.insert(name.to_owned(), blob.clone())),
                other => {
                    let pointer = format!("/{at}/stream/stream_state");
                    return Err(StateError::new(pointer, other, "an object"));
                }
            }
        }
    }
    for (stream, bookmark) in &mut bookmarks {
        if is_full(stream) {
            *bookmark = unfinished(bookmark);
        }
    }
    State::read(json!({"bookmarks": bookmarks}))
}

/// What is left of a bookmark when a stream is read whole.
fn unfinished(bookmark: &Value) -> Value {
    match &bookmark["in_progress"] {
        progress @ Value::Object(_) if progress["from"].is_null() => json!({"in_progress": progress}),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_nothing_is_nothing() {
        for nothing in
            [json!(null), json!({}), json!([]), json!([null]), json!([{"stream": null, "data": null}])]
        {
            assert_eq!(read(nothing.clone(), |_| false).expect("reads").streams().count(), 0, "{nothing}");
        }
        assert!(read(json!("x"), |_| false).is_err() && read(json!([7]), |_| false).is_err());
    }

    #[test]
    fn streams_have_their_own_bookmarks() {
        let leads = json!({"type": "STREAM", "data": null, "global_": null, "stream":
            {"stream_descriptor": {"name": "Leads", "namespace": null}, "stream_state": {"a": 1}}});
        let deals = json!({"stream_descriptor": {"name": "Deals"}, "stream_state": {"b": 2}});
        let global = json!({"type": "GLOBAL", "global": {"shared_state": null, "stream_states": [deals]}});
        let state = read(json!([leads, {"type": "STATE", "state": global}]), |_| false).expect("reads");
        assert_eq!(state.bookmark("Leads"), Some(&json!({"a": 1})));
        assert_eq!(state.bookmark("Deals"), Some(&json!({"b": 2})));
    }

    #[test]
    fn a_whole_reading_goes_on_and_else_begins_anew() {
        let of = |blob: Value| {
            let message = json!([{"stream": {"stream_descriptor": {"name": "Leads"}, "stream_state": blob}}]);
            read(message, |_| true).expect("reads").bookmark("Leads").cloned()
        };
        assert_eq!(of(json!({"complete": true})), Some(json!({})));
        let whole = json!({"in_progress": {"from": null, "after_id": "7"}});
        assert_eq!(of(whole.clone()), Some(whole));
        let increment =
            json!({"replication_key_value": "x", "in_progress": {"from": "2026-01-01T00:00:00Z"}});
        assert_eq!(of(increment), Some(json!({})));
    }
}
