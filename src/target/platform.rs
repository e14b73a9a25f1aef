//! What an Airbyte platform brings instead of Singer's order of messages: streams come from a configured
//! catalog, states are of single streams, and each is given back with what was counted before it.
//!
//! Records are not held against the JSON Schema of their stream, which sources take lightly: what a field
//! takes is checked row by row, and a row that does not fit is rejected. Generation ids are not looked at:
//! whatever they say, no record of the CRM is deleted for them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::config::{ConfigError, FieldRule, Operation, StreamTarget, TargetConfig, child};
use super::error::Error;
use super::ingest::Stream;
use super::pipeline::Pipeline;
use super::record::Record;
use crate::protocol::airbyte::catalog::Configured;
use crate::protocol::airbyte::input::{Inbound, given_back};

/// The line number under which rows wait for the next state.
const OPEN: u64 = u64::MAX;

/// Rows between two states of a stream.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    /// Lines of rows that were refused, by whichever of several modules.
    refused: HashSet<u64>,
}

/// A platform at the other end.
#[derive(Debug, Default)]
pub struct Platform {
    pub(super) inbound: Inbound,
    /// Rows by stream and by the line of the state that covers them.
    counts: HashMap<String, BTreeMap<u64, Counts>>,
    /// Fields that get a key made of the row, by stream.
    row_keys: HashMap<String, String>,
}

impl Platform {
    /// For these streams.
    pub fn new(streams: &[Configured], config: &TargetConfig) -> Self {
        let inbound = Inbound::new(streams);
        let key = |stream: &Configured| {
            let label = inbound.label(&stream.name, stream.namespace.as_deref()).to_owned();
            let targets = config.streams.get(&label)?;
            let field = targets.iter().find_map(|target| target.row_key.clone())?;
            Some((label, field))
        };
        let row_keys = streams.iter().filter_map(key).collect();
        Self { inbound, row_keys, ..Self::default() }
    }

    /// Counts a row of a stream and gives it its key, if it gets one: then its text changes.
    pub(super) fn take(&mut self, stream: &str, record: &Record<'_>) -> Option<String> {
        self.counts.entry(stream.to_owned()).or_default().entry(OPEN).or_default().rows += 1;
        let field = self.row_keys.get(stream)?;
        let mut record = Value::Object(record.tree());
        record[field] = row_key(stream, &record).into();
        Some(record.to_string())
    }

    /// A row was refused.
    pub(super) fn refuse(&mut self, stream: &str, line: u64) {
        let covered = self.counts.get_mut(stream).and_then(|counts| counts.range_mut(line..).next());
        if let Some((_, counts)) = covered {
            counts.refused.insert(line);
        }
    }

    /// A state came on a line: it covers the rows of its stream, or of all, so far.
    pub(super) fn seal(&mut self, state: &str, line: u64) {
        let stream = self.inbound.stream_of(state);
        for (name, counts) in &mut self.counts {
            if stream.as_ref().is_none_or(|stream| stream == name) {
                let open = counts.remove(&OPEN).unwrap_or_default();
                counts.insert(line, open);
            }
        }
    }

    /// The line that gives a state back; all rows before it have an outcome.
    pub(super) fn give_back(&mut self, state: &str, line: u64) -> String {
        let sealed = self.counts.values_mut().filter_map(|counts| counts.remove(&line));
        let (rows, refused) = sealed.fold((0, 0), |(rows, refused), counts| {
            (rows + counts.rows, refused + counts.refused.len() as u64)
        });
        given_back(state, rows - refused.min(rows), refused)
    }

    /// Whether every row is covered by a state of its stream.
    pub(super) fn is_covered(&self) -> bool {
        self.counts.values().all(|counts| counts.get(&OPEN).is_none_or(|open| open.rows == 0))
    }
}

/// Names a row by all it holds, whatever the order.
fn row_key(stream: &str, record: &Value) -> String {
    let mut members: Vec<_> = record.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    hash.update(stream);
    for (name, value) in members {
        hash.update(format!("\n{name}={value}"));
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl TargetConfig {
    /// Lays what a platform configured under what the settings say: module, operation and match fields where
    /// they say nothing.
    ///
    /// # Errors
    /// When a sync mode would delete, or a mirror would wait for a message that never comes.
    pub fn with_catalog(mut self, streams: Vec<Configured>) -> Result<Self, ConfigError> {
        let inbound = Inbound::new(&streams);
        for stream in &streams {
            let label = inbound.label(&stream.name, stream.namespace.as_deref()).to_owned();
            let operation = operation(stream, &label)?;
            let object = stream.destination_object_name.as_ref();
            let named = || vec![StreamTarget::by_name(&label)];
            for target in self.streams.entry(label.clone()).or_insert_with(named) {
                if let Some(object) = object.filter(|_| target.module == label) {
                    target.module.clone_from(object);
                }
                complete(target, operation, stream)?;
            }
        }
        // A stream may go on from a state that many states of others follow.
        self.replay_states = usize::from(u16::MAX);
        self.catalog = Some(streams.into());
        Ok(self)
    }
}

/// What a sync mode asks for.
fn operation(stream: &Configured, label: &str) -> Result<Operation, ConfigError> {
    Ok(match stream.destination_sync_mode.as_str() {
        "append" => Operation::Insert,
        "append_dedup" => Operation::Upsert,
        "update" => Operation::Update,
        "soft_delete" => Operation::Delete,
        other => {
            let what = format!(
                "stream \"{label}\" asks for `{other}`, which would delete what the module holds and the stream does not"
            );
            return Err(ConfigError::new(child("/streams", label), what).with_hint(
                "this destination never empties a module: choose append_dedup (change or create), append (create), \
                 update (change) or soft_delete (put into the recycle bin)",
            ));
        }
    })
}

fn complete(target: &mut StreamTarget, operation: Operation, stream: &Configured) -> Result<(), ConfigError> {
    if target.operation == Some(Operation::Mirror) {
        let pointer = child(&target.pointer, "operation");
        return Err(ConfigError::new(
            pointer,
            "a mirror deletes, and Airbyte never says when a table is whole",
        )
        .with_hint("choose another operation, or write with `target-zoho-crm`"));
    }
    let operation = *target.operation.get_or_insert(operation);
    // In data activation the key is one of those that our discovery offered: fields of the module.
    if stream.destination_object_name.is_some()
        && operation != Operation::Insert
        && target.match_on.is_empty()
    {
        target.match_on = stream.primary_key.iter().filter_map(|path| path.first().cloned()).collect();
    }
    if operation == Operation::Insert && target.match_on.is_empty() {
        // A mark of batch and line dies with the container; a key made of the row does not.
        if let Some(field) = target.conduct.batch_tag_field.take() {
            if let Some(rules) = &mut target.fields {
                rules.push(FieldRule::plain(&field, &field, child(&target.pointer, "batch_tag_field")));
            }
            target.match_on = vec![field.clone()];
            target.row_key = Some(field);
        }
    }
    Ok(())
}

impl<W: Write> Pipeline<W> {
    /// Takes the streams of the catalog as if their SCHEMAs had come.
    pub(super) async fn take_catalog(&mut self) -> Result<(), Error> {
        let Some(streams) = self.writer.config.catalog.clone() else { return Ok(()) };
        let platform = Platform::new(&streams, &self.writer.config);
        for stream in streams.iter() {
            let label = platform.inbound.label(&stream.name, stream.namespace.as_deref());
            let mut schema = stream.json_schema.clone();
            if let Some(field) = platform.row_keys.get(label) {
                schema["properties"][field] = json!({"type": "string"});
            }
            let keys = stream.primary_key.iter().filter(|path| path.len() == 1);
            let keys = keys.map(|path| path[0].clone()).collect();
            self.add_stream(label, Stream::unchecked(&schema, keys)).await?;
        }
        self.reporter.note_refused();
        self.gate.keep_all();
        self.platform = Some(platform);
        Ok(())
    }

    /// Tells the platform's counts of the rows that were refused.
    pub(super) fn count_refused(&mut self) {
        let refused = self.reporter.take_refused();
        if let Some(platform) = &mut self.platform {
            refused.iter().for_each(|(stream, line)| platform.refuse(stream, *line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(mode: &str) -> Configured {
        Configured {
            name: "people".into(),
            namespace: None,
            json_schema: json!({"properties": {"id": {}}}),
            sync_mode: "full_refresh".into(),
            destination_sync_mode: mode.into(),
            destination_object_name: Some("Contacts".into()),
            source_key: Vec::new(),
            primary_key: vec![vec!["Email".into()]],
        }
    }

    fn adopted(mode: &str, config: Value) -> Result<StreamTarget, ConfigError> {
        let config = TargetConfig::from_json(&config).expect("good").with_catalog(vec![stream(mode)])?;
        Ok(config.streams["people"][0].clone())
    }

    #[test]
    fn a_sync_mode_is_an_operation_and_overwriting_is_refused() {
        let target = adopted("append_dedup", json!({})).expect("good");
        assert_eq!((target.module.as_str(), target.operation), ("Contacts", Some(Operation::Upsert)));
        assert_eq!(target.match_on, ["Email"]);
        assert_eq!(adopted("update", json!({})).expect("good").operation, Some(Operation::Update));
        assert_eq!(adopted("soft_delete", json!({})).expect("good").operation, Some(Operation::Delete));
        for mode in ["overwrite", "overwrite_dedup"] {
            let error = adopted(mode, json!({})).expect_err("is refused");
            assert!(
                error.to_string().contains(mode) && error.hint.is_some_and(|hint| hint.contains("never"))
            );
        }
        let mirror = json!({"streams": {"people": {"operation": "mirror"}}});
        assert!(adopted("append_dedup", mirror).is_err());
    }

    #[test]
    fn a_mark_becomes_a_key_made_of_the_row() {
        let config = json!({"streams": {"people": {"batch_tag_field": "Row_Key", "fields": ["Email"]}}});
        let target = adopted("append", config).expect("good");
        assert_eq!(
            (target.match_on, target.row_key.as_deref()),
            (vec!["Row_Key".to_owned()], Some("Row_Key"))
        );
        assert_eq!(target.fields.map(|fields| fields.len()), Some(2));
        let (one, other) = (json!({"a": 1, "b": "x"}), json!({"b": "x", "a": 1}));
        assert_eq!(row_key("people", &one), row_key("people", &other));
        assert_ne!(row_key("people", &one), row_key("people", &json!({"a": 2, "b": "x"})));
    }

    #[test]
    fn counts_belong_to_the_state_that_covers_their_rows() {
        let state = |name: &str| json!({"stream": {"stream_descriptor": {"name": name}}}).to_string();
        let mut platform = Platform::default();
        for stream in ["a", "a", "b"] {
            platform.take(stream, &Record::parse("{}").expect("an object"));
        }
        platform.seal(&state("a"), 4);
        platform.take("a", &Record::parse("{}").expect("an object"));
        assert!(!platform.is_covered());
        platform.seal(&state("a"), 6);
        platform.refuse("a", 2);
        platform.refuse("a", 5);
        platform.refuse("a", 5);
        assert!(
            platform.give_back(&state("a"), 4).contains(r#""recordCount":1.0,"rejectedRecordCount":1.0"#)
        );
        assert!(
            platform.give_back(&state("a"), 6).contains(r#""recordCount":0.0,"rejectedRecordCount":1.0"#)
        );
        platform.seal("{}", 7);
        assert!(platform.is_covered());
        assert!(platform.give_back("{}", 7).contains(r#""recordCount":1.0"#), "of all streams");
    }
}
