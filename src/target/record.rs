//! A record as it came: its members, each with the text of its value. No tree is built of it unless somebody
//! asks for one, so that what nobody looks at costs no more than reading over it.
//!
//! Keys are plain and differ from each other. A record that has escapes in keys, or one key twice, goes by
//! way of a tree, where the last of a key counts.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::{Map, Value};

use super::path::Path;
use crate::codec::cursor::Cursor;
use crate::protocol::message::RecordMessage;

/// Members that a line of a wide stream has.
const USUAL_MEMBERS: usize = 64;

/// The members of an object: plain keys, and values as JSON text.
type Members<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A RECORD message, its record taken apart where that could be done on the way.
#[derive(Debug)]
pub struct RecordLine<'a> {
    /// The stream.
    pub stream: Cow<'a, str>,
    /// The table version, with ACTIVATE_VERSION.
    pub version: Option<i64>,
    /// The record, as it came.
    pub text: &'a str,
    members: Option<Members<'a>>,
}

/// A record as it came.
#[derive(Debug)]
pub struct Record<'a> {
    text: &'a str,
    members: Members<'a>,
    /// Where the last member was found: the next one mostly stands behind it.
    next: Cell<usize>,
}

/// Keys of an earlier record, which are known to differ: most records of a stream have the same.
#[derive(Debug, Default)]
pub struct Keys(Vec<String>);

impl<'a> RecordLine<'a> {
    /// Reads a line that is a RECORD message in the form that nearly all have; none for any other, right or
    /// wrong.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let (mut kind, mut stream, mut version, mut record) = (None, None, None, None);
        let mut members = Members::with_capacity(USUAL_MEMBERS);
        let mut times = 0;
        let mut cursor = Cursor::new(text);
        cursor.object(|cursor, key| {
            let known = match key {
                "type" => &mut kind,
                "stream" => &mut stream,
                "version" => &mut version,
                "time_extracted" => {
                    times += 1;
                    cursor.value()?;
                    return (times == 1).then_some(());
                }
                "record" if record.is_none() => {
                    let start = cursor.rest();
                    read_members(cursor, &mut members)?;
                    record = Some(&start[..start.len() - cursor.rest().len()]);
                    return Some(());
                }
                _ => return None,
            };
            let first = known.is_none();
            *known = Some(cursor.value()?);
            first.then_some(())
        })?;
        let plain = |json: &'a str| crate::codec::json::plain_string(json);
        if !cursor.is_at_end() || kind.and_then(plain) != Some("RECORD") {
            return None;
        }
        let version = match version {
            None | Some("null") => None,
            Some(version) => Some(version.parse().ok()?),
        };
        Some(Self { stream: Cow::Borrowed(plain(stream?)?), version, text: record?, members: Some(members) })
    }

    /// The record; `keys` are those of an earlier one.
    ///
    /// # Errors
    /// When no tree can be made of it; the reader has seen to it that it starts like an object.
    pub fn record(self, keys: &mut Keys) -> Result<Record<'a>, serde_json::Error> {
        match self.members.filter(|members| keys.differ(members)) {
            Some(members) => Ok(Record { text: self.text, members, next: Cell::new(0) }),
            None => Record::parse(self.text),
        }
    }
}

impl<'a> From<RecordMessage<'a>> for RecordLine<'a> {
    fn from(message: RecordMessage<'a>) -> Self {
        let RecordMessage { stream, record, version } = message;
        Self { stream, version, text: record.get(), members: None }
    }
}

/// None for what is no object, and for keys and nested values that only a tree can be made of.
fn read_members<'a>(cursor: &mut Cursor<'a>, members: &mut Members<'a>) -> Option<()> {
    cursor.object(|cursor, key| {
        members.push((Cow::Borrowed(key), Cow::Borrowed(cursor.value()?)));
        (!key.contains('\\')).then_some(())
    })
}

impl<'a> Record<'a> {
    /// A record from its text.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let tree: Map<String, Value> = serde_json::from_str(text)?;
        let members = tree.into_iter().map(|(key, value)| (key.into(), value.to_string().into()));
        Ok(Self { text, members: members.collect(), next: Cell::new(0) })
    }

    /// The record as it came.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The members: keys, and values as JSON text.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.members.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The JSON text of a member; none if the record lacks it.
    #[inline]
    pub fn get(&self, key: &str) -> Option<&str> {
        let (before, behind) = self.members.split_at(self.next.get().min(self.members.len()));
        let is = |(name, _): &(Cow<'_, str>, Cow<'_, str>)| name == key;
        let place = match behind.iter().position(is) {
            Some(place) => before.len() + place,
            None => before.iter().position(is)?,
        };
        self.next.set(place + 1);
        Some(&self.members[place].1)
    }

    /// A member as a tree; none if the record lacks it.
    pub fn value(&self, key: &str) -> Option<Value> {
        self.get(key).map(|json| serde_json::from_str(json).unwrap_or_default())
    }

    /// The JSON text of what stands in a place; none if nothing does.
    #[inline]
    pub fn at(&self, path: &Path) -> Option<Cow<'_, str>> {
        let json = self.get(&path.property)?;
        if path.is(&path.property) {
            return Some(Cow::Borrowed(json));
        }
        let tree: Value = serde_json::from_str(json).unwrap_or_default();
        path.inside(&tree).map(|value| Cow::Owned(value.to_string()))
    }

    /// All of it as a tree.
    pub fn tree(&self) -> Map<String, Value> {
        let member = |(key, json): (&str, &str)| Some((key.to_owned(), serde_json::from_str(json).ok()?));
        self.members().filter_map(member).collect()
    }
}

impl From<&Map<String, Value>> for Record<'static> {
    fn from(tree: &Map<String, Value>) -> Self {
        let members = tree.iter().map(|(key, value)| (key.clone().into(), value.to_string().into()));
        Self { text: "", members: members.collect(), next: Cell::new(0) }
    }
}

impl Keys {
    /// Whether all keys of a record differ.
    fn differ(&mut self, members: &Members<'_>) -> bool {
        let known = self.0.len() == members.len();
        if known && self.0.iter().zip(members).all(|(known, (key, _))| known == key) {
            return true;
        }
        let mut sorted: Vec<&str> = members.iter().map(|(key, _)| &**key).collect();
        sorted.sort_unstable();
        let differ = !sorted.windows(2).any(|pair| pair[0] == pair[1]);
        if differ {
            self.0 = members.iter().map(|(key, _)| key.to_string()).collect();
        }
        differ
    }
}
