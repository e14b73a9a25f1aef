//! Every rule for a tap that a program can check, on every line of real runs: all kinds of streams,
//! every way of reading, first run and second.

use super::{assert_valid, asserting, validator};
use crate::common::context::{TestContext, last_state, messages, records};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const STREAMS: [&str; 9] = [
    "Everything",
    "Everything_Lines",
    "Everything_X_Products",
    "Contacts",
    "Deals",
    "Notes",
    "Sensor_Readings",
    "users",
    "deleted_records",
];

fn context() -> TestContext {
    let rows = [
        ("Everything", 60),
        ("Everything_Lines", 40),
        ("Contacts", 130),
        ("Notes", 30),
        ("Sensor_Readings", 20),
    ];
    let context = TestContext::new(&rows);
    let spoilt = json!({"module": "Contacts", "seed": 3, "delete": 5});
    context.control("POST", "mutate", &spoilt);
    context
}

/// The stdout of a run that ends well.
fn stdout(context: &TestContext, args: &[&str]) -> Vec<u8> {
    let output = context.tap().args(args).output().expect("runs");
    assert!(output.status.success(), "{}", context.seen(&output));
    output.stdout
}

#[test]
fn every_line_of_every_run_keeps_the_rules() {
    for method in ["auto", "bulk_read", "coql", "records"] {
        let context = context();
        context.catalog(&STREAMS);
        context.settings_with("config.json", &json!({"method": method, "state_rows": 25}));
        let streams =
            if method == "auto" { &STREAMS[..] } else { &["Contacts", "Deals", "users", "deleted_records"] };
        if method != "auto" {
            context.catalog(streams);
        }
        let first = stdout(&context, &["--catalog", "catalog.json"]);
        for stream in ["Contacts", "users", "deleted_records"] {
            assert!(!records(&first, stream).is_empty(), "{stream} has records to look at");
        }
        let mut given = Rules::new().keeps(&first, streams, &json!({}));
        // A stream of another time: its bookmark has to be carried along.
        given["bookmarks"]["Vendors"] =
            json!({"replication_key": "Modified_Time", "replication_key_value": "2026-01-01T00:00:00Z"});
        context.control("POST", "clock", &json!({"advance_seconds": 600}));
        context.control(
            "POST",
            "mutate",
            &json!({"module": "Contacts", "seed": 4, "change": 60, "insert": 3, "delete": 2}),
        );
        context.write("state.json", &given);
        let second = stdout(&context, &["--catalog", "catalog.json", "--state", "state.json"]);
        let after = Rules::new().keeps(&second, streams, &given);
        assert_eq!(after["bookmarks"]["Vendors"], given["bookmarks"]["Vendors"]);
    }
}

/// What is known in the middle of a run.
struct Rules {
    message: jsonschema::Validator,
    keys: HashMap<String, Vec<String>>,
    schemas: HashMap<String, (Value, jsonschema::Validator)>,
    bookmarks: BTreeMap<String, Value>,
    complete: BTreeSet<String>,
    last_is_state: bool,
}

impl Rules {
    fn new() -> Self {
        Self {
            message: validator("messages.json"),
            keys: HashMap::new(),
            schemas: HashMap::new(),
            bookmarks: BTreeMap::new(),
            complete: BTreeSet::new(),
            last_is_state: false,
        }
    }

    /// Holds a run against the rules; answers with its last state.
    fn keeps(mut self, stdout: &[u8], streams: &[&str], given: &Value) -> Value {
        let text = std::str::from_utf8(stdout).expect("UTF-8");
        assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'), "one message a line");
        assert!(
            !text.contains("progress_markers") && !text.contains("signpost"),
            "marks of an unfinished run"
        );
        for (stream, bookmark) in given["bookmarks"].as_object().into_iter().flatten() {
            self.bookmarks.insert(stream.clone(), bookmark.clone());
        }
        let mut state = Value::Null;
        for message in messages(stdout) {
            assert_valid(&self.message, &message, "messages.json");
            match message["type"].as_str().expect("a type") {
                "SCHEMA" => self.schema(&message),
                "RECORD" => self.record(&message),
                "STATE" => {
                    self.state(&message["value"]);
                    state = message["value"].clone();
                }
                other => panic!("{other} is not sent by default"),
            }
            self.last_is_state = message["type"] == "STATE";
        }
        assert!(self.last_is_state, "a run ends with the STATE that covers all of it");
        assert!(state.get("currently_syncing").is_none(), "nothing is being read any more");
        assert!(!state.to_string().contains("in_progress"), "nothing is left undone: {state}");
        let announced: BTreeSet<&str> = self.schemas.keys().map(String::as_str).collect();
        assert_eq!(announced, streams.iter().copied().collect(), "SCHEMA of every stream, empty ones too");
        for stream in streams {
            assert!(state["bookmarks"].get(stream).is_some(), "{stream} has a bookmark");
        }
        state
    }

    fn schema(&mut self, message: &Value) {
        let stream = message["stream"].as_str().expect("a name").to_owned();
        let schema = &message["schema"];
        assert!(!schema.to_string().contains("\"$ref\""), "{stream}: no references");
        assert!(jsonschema::meta::is_valid(schema), "{stream}: a JSON Schema");
        let names = |key: &str| -> Vec<String> {
            let names = message[key].as_array().into_iter().flatten();
            names.map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        for name in names("key_properties").into_iter().chain(names("bookmark_properties")) {
            assert!(schema["properties"].get(&name).is_some(), "{stream}: `{name}` is a property");
        }
        for (name, property) in schema["properties"].as_object().expect("properties") {
            let types = property["type"].to_string();
            let is_key = names("key_properties").contains(name);
            assert!(!property["type"].is_null(), "{stream}.{name} has a type");
            assert_eq!(
                types.contains("null"),
                !is_key,
                "{stream}.{name}: keys are never null, others may be"
            );
            assert!(property.get("enum").is_none(), "{stream}.{name}: picklists take new values");
        }
        self.keys.insert(stream.clone(), names("key_properties"));
        let known = self.schemas.insert(stream.clone(), (schema.clone(), asserting(schema)));
        assert!(known.is_none_or(|(known, _)| known != *schema), "{stream}: SCHEMA again without a change");
    }

    fn record(&mut self, message: &Value) {
        let stream = message["stream"].as_str().expect("a name");
        let record = message["record"].as_object().expect("an object");
        let (schema, validator) = self.schemas.get(stream).expect("SCHEMA comes before RECORD");
        assert!(!self.complete.contains(stream), "{stream}: RECORD after the STATE that calls it complete");
        for key in &self.keys[stream] {
            assert!(
                record.get(key).is_some_and(|value| !value.is_null()),
                "{stream}: key `{key}` in {message}"
            );
        }
        for (name, value) in record {
            assert!(schema["properties"].get(name).is_some(), "{stream}: `{name}` is declared");
            assert_survives_floats(value, &format!("{stream}.{name}"));
        }
        assert_valid(validator, &message["record"], stream);
    }

    fn state(&mut self, state: &Value) {
        let bookmarks = state["bookmarks"].as_object().expect("bookmarks");
        for (stream, before) in &self.bookmarks {
            let now = bookmarks.get(stream).unwrap_or_else(|| panic!("STATE lost the bookmark of {stream}"));
            // Times are text of one form, so that they compare as text.
            let time = |bookmark: &Value| bookmark["replication_key_value"].as_str().map(str::to_owned);
            assert!(time(now) >= time(before), "{stream}: a bookmark never goes back");
        }
        for (stream, bookmark) in bookmarks {
            let moved = self.bookmarks.get(stream) != Some(bookmark);
            let is_module = bookmark.get("replication_key").is_some();
            if moved && is_module && bookmark.get("in_progress").is_none() {
                self.complete.insert(stream.clone());
            }
            self.bookmarks.insert(stream.clone(), bookmark.clone());
        }
    }
}

/// Readers go through 64-bit floats: whole numbers beyond 2^53 have to be text.
fn assert_survives_floats(value: &Value, place: &str) {
    if let Value::Number(number) = value
        && !number.to_string().contains('.')
    {
        let whole: i64 = number.to_string().parse().unwrap_or(i64::MAX);
        assert!(whole.unsigned_abs() <= 1 << 53, "{place}: {number} does not survive a float");
    }
}

#[test]
fn a_state_in_any_wrapping_is_taken() {
    let context = TestContext::new(&[("Leads", 30)]);
    context.catalog(&["Leads"]);
    let first = messages(&stdout(&context, &["--catalog", "catalog.json"]));
    let path = last_state(&context, &first, "state.json");
    context.control("POST", "clock", &json!({"advance_seconds": 3_600}));
    let bare: Value = serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("JSON");
    for wrapped in [bare.clone(), json!({"type": "STATE", "value": bare}), json!({"singer_state": bare})] {
        context.write("state.json", &wrapped);
        let again = messages(&stdout(&context, &["--catalog", "catalog.json", "--state", "state.json"]));
        assert!(!again.iter().any(|message| message["type"] == "RECORD"), "nothing changed: {wrapped}");
    }
}

#[test]
fn the_catalog_of_discovery_keeps_the_rules() {
    let context = context();
    let text = stdout(&context, &["--discover"]);
    let catalog: Value = serde_json::from_slice(&text).expect("one JSON document");
    let mut seen = BTreeSet::new();
    for stream in catalog["streams"].as_array().expect("streams") {
        let id = stream["tap_stream_id"].as_str().expect("an id");
        assert!(seen.insert(id.to_owned()), "{id} comes once");
        assert!(stream["stream"].is_string() && stream["schema"]["properties"].is_object(), "{id}");
        let metadata = stream["metadata"].as_array().expect("metadata");
        let at = |breadcrumb: Value| {
            metadata.iter().find(|entry| entry["breadcrumb"] == breadcrumb).map(|entry| &entry["metadata"])
        };
        let whole = at(json!([])).unwrap_or_else(|| panic!("{id} has metadata of its own"));
        assert_eq!(whole["table-key-properties"], stream["key_properties"], "{id}");
        assert!(whole.get("selected").is_none(), "{id}: to select is the user's");
        assert_ne!(whole["forced-replication-method"], "", "{id}");
        for name in stream["schema"]["properties"].as_object().expect("properties").keys() {
            let inclusion = at(json!(["properties", name])).map(|metadata| metadata["inclusion"].clone());
            let is_key = stream["key_properties"].as_array().expect("keys").contains(&json!(name))
                || stream["replication_key"] == json!(name);
            match inclusion.as_ref().and_then(Value::as_str) {
                Some("automatic") => {}
                Some("available" | "unsupported") | None => assert!(!is_key, "{id}.{name} is automatic"),
                Some(other) => panic!("{id}.{name}: inclusion `{other}`"),
            }
        }
    }
}
