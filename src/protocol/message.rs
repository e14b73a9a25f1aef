//! One line of Singer input: SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH.
//!
//! A message borrows from its line. The record and the STATE value stay raw text, so that numbers keep
//! every digit and a STATE can be printed byte for byte as it came. What a record holds is not looked at
//! here. Follows the Singer specification 0.3.0 and the Meltano SDK's reading of it: types are upper case
//! only, and a type that nobody knows is an error.

use std::borrow::Cow;

use super::batch::{BatchMessage, Encoding};
use crate::diagnostic::{json_trouble, similar};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The types this reader takes.
const TYPES: [&str; 5] = ["SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH"];

/// A parsed line.
#[derive(Debug)]
pub enum Message<'a> {
    /// What the records of a stream look like.
    Schema(SchemaMessage<'a>),
    /// One row.
    Record(RecordMessage<'a>),
    /// A bookmark of the tap, to be printed once everything before it is written.
    State(&'a RawValue),
    /// All rows of another version of this stream are gone.
    ActivateVersion {
        /// The stream.
        stream: Cow<'a, str>,
        /// The version its rows carried.
        version: i64,
    },
    /// Rows in files of their own.
    Batch(BatchMessage<'a>),
}

/// A SCHEMA message.
#[derive(Debug)]
pub struct SchemaMessage<'a> {
    /// The stream.
    pub stream: Cow<'a, str>,
    /// The JSON Schema of its records.
    pub schema: &'a RawValue,
    /// Names of the properties that identify a record; empty if nothing does.
    pub key_properties: Vec<String>,
}

/// A RECORD message.
#[derive(Debug)]
pub struct RecordMessage<'a> {
    /// The stream.
    pub stream: Cow<'a, str>,
    /// The row: a JSON object, as text.
    pub record: &'a RawValue,
    /// The table version, with ACTIVATE_VERSION.
    pub version: Option<i64>,
}

/// Why a line is no message; the column counts bytes from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON.
    #[error("the message is not valid JSON: {reason}")]
    NotJson {
        /// What the parser said.
        reason: String,
        /// Where it stopped.
        column: usize,
    },
    /// JSON, but no object.
    #[error("a message is a JSON object, found {found}")]
    NotObject {
        /// The JSON kind found.
        found: &'static str,
    },
    /// A line of a batch file that is no row.
    #[error("a row of a batch file is a JSON object, found {found}")]
    NotRecord {
        /// The JSON kind found.
        found: &'static str,
    },
    /// Bytes that are no UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8 {
        /// First bad byte.
        column: usize,
    },
    /// `type` names nothing we know.
    #[error("`{found}` is not a message type; allowed are {}", TYPES.join(", "))]
    UnknownType {
        /// The type found.
        found: String,
        /// Where its value starts.
        column: usize,
    },
    /// A key that the message cannot do without.
    #[error("{message} has no `{key}`")]
    MissingKey {
        /// The message type, or "the message" where the type itself is missing.
        message: String,
        /// The absent key.
        key: &'static str,
    },
    /// A key with a value of the wrong kind.
    #[error("{message} has `{key}`: {found}, which should be {expected}")]
    WrongKind {
        /// The message type.
        message: String,
        /// The key.
        key: &'static str,
        /// The value found, shortened.
        found: String,
        /// What is allowed.
        expected: &'static str,
        /// Where the value starts.
        column: usize,
    },
}

impl MessageError {
    /// Byte of the line, from 1, where the trouble starts; `None` where something is missing.
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::NotJson { column, .. }
            | Self::NotUtf8 { column }
            | Self::UnknownType { column, .. }
            | Self::WrongKind { column, .. } => Some(*column),
            Self::NotObject { .. } | Self::NotRecord { .. } | Self::MissingKey { .. } => None,
        }
    }

    /// What to do about it, where that can be told from the line alone.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotJson { .. } | Self::NotObject { .. } | Self::NotUtf8 { .. } => Some(
                "a target reads Singer messages, one JSON object a line; does the tap print its log to stdout?"
                    .to_owned(),
            ),
            Self::UnknownType { found, .. } => {
                let near = similar(found, TYPES)?;
                Some(format!("did you mean `{near}`? types are in upper case"))
            }
            Self::MissingKey { key: "key_properties", .. } => {
                Some("a stream without a key says so by `\"key_properties\": []`".to_owned())
            }
            Self::NotRecord { .. } | Self::MissingKey { .. } | Self::WrongKind { .. } => None,
        }
    }
}

/// The members of all messages; each kept raw, so that an error can name key and column.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    key_properties: Option<&'a RawValue>,
    #[serde(borrow)]
    record: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    encoding: Option<&'a RawValue>,
    #[serde(borrow)]
    manifest: Option<&'a RawValue>,
}

/// Reads members of one message, knowing its type and where the line starts.
pub(super) struct Members<'a> {
    line: &'a str,
    message: String,
}

impl<'a> Message<'a> {
    /// Parses one line.
    ///
    /// # Errors
    /// [`MessageError`] when the line is not JSON, not an object, of an unknown type, or lacks a key.
    pub fn parse(line: &'a [u8]) -> Result<Self, MessageError> {
        let (mut members, envelope) = Members::of::<Envelope<'a>>(line)?;
        let kind = members.text("type", envelope.kind)?;
        members.message.clone_from(&kind.clone().into_owned());
        match kind.as_ref() {
            "RECORD" => members.record(&envelope),
            "STATE" => Ok(Self::State(members.object("value", envelope.value)?)),
            "SCHEMA" => members.schema(&envelope),
            "ACTIVATE_VERSION" => Ok(Self::ActivateVersion {
                stream: members.text("stream", envelope.stream)?,
                version: members.version(envelope.version)?.ok_or(MessageError::MissingKey {
                    message: "ACTIVATE_VERSION".to_owned(),
                    key: "version",
                })?,
            }),
            "BATCH" => members.batch(&envelope),
            other => Err(MessageError::UnknownType {
                found: other.to_owned(),
                column: envelope.kind.map_or(1, |raw| members.column(raw)),
            }),
        }
    }
}

impl<'a> RecordMessage<'a> {
    /// A line of a batch file: the row alone, of a stream and a version that the BATCH told.
    ///
    /// # Errors
    /// [`MessageError`] when the line is no JSON object.
    pub fn bare(line: &'a [u8], stream: &'a str, version: Option<i64>) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| MessageError::NotUtf8 { column: error.valid_up_to() + 1 })?;
        let record: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        match kind_of(record.get()) {
            "an object" => Ok(Self { stream: Cow::Borrowed(stream), record, version }),
            found => Err(MessageError::NotRecord { found }),
        }
    }
}

impl<'a> Members<'a> {
    /// Takes a line apart, each member kept raw.
    pub(super) fn of<E: Deserialize<'a>>(line: &'a [u8]) -> Result<(Self, E), MessageError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| MessageError::NotUtf8 { column: error.valid_up_to() + 1 })?;
        let found = kind_of(text);
        if found != "an object" && serde_json::from_str::<&RawValue>(text).is_ok() {
            return Err(MessageError::NotObject { found });
        }
        let envelope = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        Ok((Self { line: text, message: "the message".to_owned() }, envelope))
    }

    /// The same, of a message whose type is known.
    pub(super) fn named(mut self, message: &str) -> Self {
        message.clone_into(&mut self.message);
        self
    }

    /// The members of an object inside, each kept raw.
    pub(super) fn inside<E: Deserialize<'a>>(
        &self,
        key: &'static str,
        raw: &'a RawValue,
    ) -> Result<E, MessageError> {
        serde_json::from_str(raw.get()).map_err(|_| self.wrong(key, raw, "an object"))
    }

    fn record(&self, envelope: &Envelope<'a>) -> Result<Message<'a>, MessageError> {
        Ok(Message::Record(RecordMessage {
            stream: self.text("stream", envelope.stream)?,
            record: self.object("record", envelope.record)?,
            version: self.version(envelope.version)?,
        }))
    }

    fn schema(&self, envelope: &Envelope<'a>) -> Result<Message<'a>, MessageError> {
        let raw = self.need("key_properties", envelope.key_properties)?;
        let key_properties: Vec<String> = serde_json::from_str(raw.get())
            .map_err(|_| self.wrong("key_properties", raw, "a list of property names"))?;
        Ok(Message::Schema(SchemaMessage {
            stream: self.text("stream", envelope.stream)?,
            schema: self.object("schema", envelope.schema)?,
            key_properties,
        }))
    }

    fn batch(&self, envelope: &Envelope<'a>) -> Result<Message<'a>, MessageError> {
        let raw = self.need("encoding", envelope.encoding)?;
        let encoding = Encoding::parse(raw.get())
            .ok_or_else(|| self.wrong("encoding", raw, "`jsonl` (gzip or none) or `parquet`"))?;
        let raw = self.need("manifest", envelope.manifest)?;
        let manifest = serde_json::from_str(raw.get())
            .map_err(|_| self.wrong("manifest", raw, "a list of `file://` addresses"))?;
        Ok(Message::Batch(BatchMessage {
            stream: self.text("stream", envelope.stream)?,
            encoding,
            manifest,
            version: self.version(envelope.version)?,
        }))
    }

    fn version(&self, raw: Option<&'a RawValue>) -> Result<Option<i64>, MessageError> {
        match raw {
            None => Ok(None),
            Some(raw) if raw.get() == "null" => Ok(None),
            Some(raw) => raw.get().parse().map(Some).map_err(|_| self.wrong("version", raw, "an integer")),
        }
    }

    fn need(&self, key: &'static str, raw: Option<&'a RawValue>) -> Result<&'a RawValue, MessageError> {
        raw.ok_or_else(|| MessageError::MissingKey { message: self.message.clone(), key })
    }

    pub(super) fn text(
        &self,
        key: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<Cow<'a, str>, MessageError> {
        let raw = self.need(key, raw)?;
        // A string without escapes is borrowed; one with escapes has to be built.
        serde_json::from_str::<&str>(raw.get())
            .map(Cow::Borrowed)
            .or_else(|_| serde_json::from_str::<String>(raw.get()).map(Cow::Owned))
            .map_err(|_| self.wrong(key, raw, "a string"))
    }

    pub(super) fn object(
        &self,
        key: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Result<&'a RawValue, MessageError> {
        let raw = self.need(key, raw)?;
        if kind_of(raw.get()) == "an object" { Ok(raw) } else { Err(self.wrong(key, raw, "an object")) }
    }

    fn wrong(&self, key: &'static str, raw: &RawValue, expected: &'static str) -> MessageError {
        MessageError::WrongKind {
            message: self.message.clone(),
            key,
            found: shorten(raw.get()),
            expected,
            column: self.column(raw),
        }
    }

    /// Where a borrowed value starts in its line, from 1.
    fn column(&self, raw: &RawValue) -> usize {
        (raw.get().as_ptr() as usize).saturating_sub(self.line.as_ptr() as usize) + 1
    }
}

fn not_json(error: &serde_json::Error) -> MessageError {
    MessageError::NotJson { reason: json_trouble(error), column: error.column().max(1) }
}

/// The JSON kind of a text by its first byte.
fn kind_of(text: &str) -> &'static str {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The start of a value, for an error message.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> MessageError {
        Message::parse(line.as_bytes()).expect_err("the line is bad")
    }

    #[test]
    fn a_record_keeps_its_text() {
        let line =
            br#"{"type":"RECORD","stream":"a","record":{"n":1.10, "s":"\u00e9"},"time_extracted":"x"}"#;
        let Message::Record(message) = Message::parse(line).unwrap() else { panic!("not a record") };
        assert_eq!(message.stream, "a");
        assert_eq!(message.record.get(), r#"{"n":1.10, "s":"\u00e9"}"#);
        assert!(matches!(message.stream, Cow::Borrowed(_)));
    }

    #[test]
    fn a_state_is_byte_for_byte() {
        let line = br#"{"value":{"b" : 1.0e2 , "a":[ ]},"type":"STATE"}"#;
        let Message::State(value) = Message::parse(line).unwrap() else { panic!("not a state") };
        assert_eq!(value.get(), r#"{"b" : 1.0e2 , "a":[ ]}"#);
    }

    #[test]
    fn types_are_upper_case_and_known() {
        let found = error(r#"{"type":"record","stream":"a","record":{}}"#);
        assert_eq!(found, MessageError::UnknownType { found: "record".into(), column: 9 });
        assert!(found.to_string().contains("SCHEMA, RECORD, STATE"));
    }

    #[test]
    fn errors_name_the_key_and_the_column() {
        let found = error(r#"{"type":"RECORD","stream":7,"record":{}}"#);
        assert_eq!(found.to_string(), "RECORD has `stream`: 7, which should be a string");
        assert_eq!(found.column(), Some(27));
        assert_eq!(error(r#"{"stream":"a"}"#).to_string(), "the message has no `type`");
        assert_eq!(
            error(r#"{"type":"SCHEMA","stream":"a","schema":{}}"#).to_string(),
            "SCHEMA has no `key_properties`"
        );
        assert_eq!(error("[1]").to_string(), "a message is a JSON object, found a list");
        assert!(
            error(r#"{"type":"RECORD","stream":"a","rec"#).to_string().contains("not valid JSON: it ends")
        );
        assert_eq!(Message::parse(b"{\"a\":\"\xff\"}").unwrap_err().column(), Some(7));
    }

    #[test]
    fn versions_are_integers() {
        let line = r#"{"type":"ACTIVATE_VERSION","stream":"a","version":1.5}"#;
        assert_eq!(
            error(line).to_string(),
            "ACTIVATE_VERSION has `version`: 1.5, which should be an integer"
        );
    }

    proptest::proptest! {
        /// In place of a fuzz target: see CONTRIBUTING.
        #[test]
        fn any_line_is_a_message_or_an_error(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            tokens in "(\\{|\\}|\"type\":|\"RECORD\"|\"STATE\"|\"stream\":|\"record\":|\"value\":|\"version\":|\"a\"|\\[|\\]|,|1|-|null|\\\\){0,20}",
        ) {
            for line in [&noise[..], tokens.as_bytes()] {
                if let Err(error) = Message::parse(line) {
                    proptest::prop_assert!(!error.to_string().is_empty() && error.column() != Some(0));
                }
            }
        }
    }
}
