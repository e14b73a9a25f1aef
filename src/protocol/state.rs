//! STATE: the bookmarks of all streams, always as a whole, because an orchestrator keeps only the
//! last one. Bookmarks of streams that are not selected this time are carried along untouched.

use crate::diagnostic::{Diagnostic, ErrorClass};
use serde_json::{Map, Value};

/// A state that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} is {found}, and has to be {expected}", if .pointer.is_empty() { "the state".to_owned() } else { format!("the state's `{pointer}`") })]
pub struct StateError {
    /// JSON pointer into the state.
    pub pointer: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: &'static str,
}

impl Diagnostic for StateError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        Some(
            "hand over the last line the target printed, unchanged; without a state everything is read again"
                .into(),
        )
    }
}

impl StateError {
    /// An error about what stands at `pointer`.
    pub fn new(pointer: impl Into<String>, found: &Value, expected: &'static str) -> Self {
        let found = match found.to_string() {
            text if text.chars().count() > 80 => format!("`{}…`", text.chars().take(80).collect::<String>()),
            text => format!("`{text}`"),
        };
        Self { pointer: pointer.into(), found, expected }
    }
}

/// The state of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    whole: Map<String, Value>,
}

impl State {
    /// Reads a state: the value of a STATE message, the message itself, what `meltano state get`
    /// prints (`singer_state`), or null and `{}` for none.
    ///
    /// # Errors
    /// When it is no object, or `bookmarks` is none.
    pub fn read(value: Value) -> Result<Self, StateError> {
        let mut whole = match value {
            Value::Null => Map::new(),
            Value::Object(whole) => whole,
            other => return Err(StateError::new("", &other, "an object")),
        };
        for wrapper in ["singer_state", "value"] {
            if let Some(Value::Object(inner)) = whole.get(wrapper)
                && !whole.contains_key("bookmarks")
            {
                whole = inner.clone();
            }
        }
        let bookmarks = whole.entry("bookmarks").or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(bookmarks) = bookmarks else {
            return Err(StateError::new(
                "/bookmarks",
                bookmarks,
                "an object with a bookmark for each stream",
            ));
        };
        for (stream, bookmark) in bookmarks {
            if !bookmark.is_object() {
                return Err(StateError::new(format!("/bookmarks/{stream}"), bookmark, "an object"));
            }
        }
        Ok(Self { whole })
    }

    /// The bookmark of a stream, if it has one.
    pub fn bookmark(&self, tap_stream_id: &str) -> Option<&Value> {
        self.whole.get("bookmarks")?.get(tap_stream_id)
    }

    /// Replaces the bookmark of a stream.
    pub fn set_bookmark(&mut self, tap_stream_id: &str, bookmark: Value) {
        let bookmarks = self.whole.entry("bookmarks").or_insert_with(|| Value::Object(Map::new()));
        bookmarks[tap_stream_id] = bookmark;
    }

    /// The streams that have a bookmark.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &Value)> {
        let bookmarks = self.whole.get("bookmarks").and_then(Value::as_object);
        bookmarks.into_iter().flatten().map(|(stream, bookmark)| (stream.as_str(), bookmark))
    }

    /// What the state says besides bookmarks.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.whole.get(key).filter(|value| !value.is_null())
    }

    /// Says something besides bookmarks.
    pub fn set(&mut self, key: &str, value: Value) {
        self.whole.insert(key.to_owned(), value);
    }

    /// Names the stream that is being read, or none at the end of a run.
    pub fn set_currently_syncing(&mut self, tap_stream_id: Option<&str>) {
        match tap_stream_id {
            Some(stream) => self.whole.insert("currently_syncing".to_owned(), stream.into()),
            None => self.whole.shift_remove("currently_syncing"),
        };
    }

    /// The whole state, as it goes into a STATE message.
    pub fn to_value(&self) -> Value {
        Value::Object(self.whole.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_streams_and_keys_are_carried_along() {
        let mut state = State::read(json!({"bookmarks": {"Deals": {"x": 1}}, "mine": 2})).expect("reads");
        state.set_bookmark("Leads", json!({"replication_key": "Modified_Time"}));
        state.set_currently_syncing(Some("Leads"));
        assert_eq!(
            state.to_value(),
            json!({"bookmarks": {"Deals": {"x": 1}, "Leads": {"replication_key": "Modified_Time"}},
                   "mine": 2, "currently_syncing": "Leads"})
        );
    }

    #[test]
    fn wrapped_states_are_unwrapped_and_others_refused() {
        let bookmarks = json!({"bookmarks": {"Leads": {}}});
        for wrapped in [json!({"singer_state": bookmarks}), json!({"type": "STATE", "value": bookmarks})] {
            assert!(State::read(wrapped).expect("reads").bookmark("Leads").is_some());
        }
        assert_eq!(State::read(Value::Null).expect("reads").to_value(), json!({"bookmarks": {}}));
        let error = State::read(json!({"bookmarks": {"Leads": "2026"}})).expect_err("is refused");
        assert_eq!(
            error.to_string(),
            "the state's `/bookmarks/Leads` is `\"2026\"`, and has to be an object"
        );
    }
}
