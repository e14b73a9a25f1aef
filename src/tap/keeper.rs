//! What a stream's records leave in memory as they go out, and what is added to them: the place for
//! `_sdc_deleted_at`. Only streams that need one have a keeper.

use super::error::Error;
use super::memory::{Ids, Kept, StreamMemory};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The property that says since when a record is deleted.
pub const DELETED_AT: &str = "_sdc_deleted_at";

/// Rows that are remembered in one transaction.
const AT_ONCE: usize = 1_000;

/// What is kept of each row, and what is added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeps {
    /// `_sdc_deleted_at: null` is added, and the record kept.
    pub marks: bool,
    /// What is noted of its id.
    pub ids: Ids,
    /// The time of the follow-up pass that writes it, or 0.
    pub at: i64,
    /// The columns whose hash is kept.
    pub hashed: Vec<String>,
    /// Only these ids are of interest: they were deleted, and a row shows that they are not.
    pub only: Option<HashSet<String>>,
}

/// Looks at the records of one stream as they go out.
pub struct Keeper {
    memory: StreamMemory,
    keeps: Keeps,
    pending: Vec<Kept>,
}

impl Keeper {
    /// A keeper for a stream.
    pub fn new(memory: StreamMemory, keeps: Keeps) -> Self {
        Self { memory, keeps, pending: Vec::new() }
    }

    /// Takes note of the record that stands in `out` from `start` on.
    ///
    /// # Errors
    /// When memory cannot be used.
    pub fn see(&mut self, start: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let record = std::str::from_utf8(&out[start..]).expect("the codec writes UTF-8");
        if self.keeps.only.as_ref().is_some_and(|only| !only.contains(id_in(record))) {
            return Ok(());
        }
        let hashed = &self.keeps.hashed;
        self.pending.push(Kept {
            id: id_in(record).to_owned(),
            record: self.keeps.marks.then(|| record.to_owned()),
            hash: (!hashed.is_empty()).then(|| hash_of(record, hashed)),
        });
        if self.keeps.marks {
            out.pop();
            out.extend_from_slice(format!(",\"{DELETED_AT}\":null}}").as_bytes());
        }
        if self.pending.len() >= AT_ONCE { self.flush() } else { Ok(()) }
    }

    /// Remembers what was seen: before the STATE that covers it goes out.
    ///
    /// # Errors
    /// When memory cannot be used.
    pub fn flush(&mut self) -> Result<(), Error> {
        if !self.pending.is_empty() {
            self.memory.keep(&self.pending, self.keeps.ids, self.keeps.at)?;
            self.pending.clear();
        }
        Ok(())
    }
}

/// A kept record as it goes out for a delete.
pub fn marked(record: &str, deleted_at: &str) -> String {
    let open = record.strip_suffix('}').unwrap_or(record);
    format!("{open},\"{DELETED_AT}\":\"{deleted_at}\"}}")
}

/// The id of a record: its first property, by the plan.
pub fn id_in(record: &str) -> &str {
    let rest = record.strip_prefix("{\"id\":\"").unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

/// A number that changes, but for the odd chance in 2^64, when the value of one of these columns does.
pub fn hash_of(record: &str, columns: &[String]) -> u64 {
    let values: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(record).unwrap_or_default();
    let mut hash = Sha256::new();
    for column in columns {
        hash.update(column.as_bytes());
        hash.update([0]);
        hash.update(values.get(column.as_str()).map_or("", |value| value.get()).as_bytes());
        hash.update([0]);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_its_id_and_takes_a_mark() {
        let record = "{\"id\":\"4876000000000001\",\"Name\":\"A \\\"b\\\"\"}";
        assert_eq!(id_in(record), "4876000000000001");
        assert_eq!(
            marked(record, "2026-03-01T00:00:00Z"),
            "{\"id\":\"4876000000000001\",\"Name\":\"A \\\"b\\\"\",\"_sdc_deleted_at\":\"2026-03-01T00:00:00Z\"}"
        );
    }

    #[test]
    fn the_hash_follows_its_columns_only() {
        let columns = ["Sum".to_owned(), "Gone".to_owned()];
        let of = |record: &str| hash_of(record, &columns);
        assert_eq!(of(r#"{"id":"1","Sum":7,"Name":"a"}"#), of(r#"{"id":"1","Name":"b","Sum":7}"#));
        assert_ne!(of(r#"{"id":"1","Sum":7}"#), of(r#"{"id":"1","Sum":8}"#));
        assert_ne!(of(r#"{"id":"1","Sum":null}"#), of(r#"{"id":"1","Sum":"null"}"#));
    }
}
