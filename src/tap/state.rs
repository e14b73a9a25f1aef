//! Bookmarks: what they hold, when they may move, how an unfinished reading is taken up again.
//!
//! A bookmark moves to the instant T at which a reading began (by the server's clock), once all of
//! the reading is out. Until then it stays, and `in_progress` tells how far the reading got.

use super::config::TapConfig;
use super::plan::Way;
use crate::codec::time::epoch_seconds;
use crate::protocol::state::{State, StateError};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

/// Where a reading starts and what becomes the bookmark after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Read what changed at this instant or later; none: everything.
    pub from: Option<DateTime<Utc>>,
    /// The server's time before the first read: the next bookmark.
    pub until: DateTime<Utc>,
    /// The ids that are read. Not part of the STATE: a shard knows its own.
    pub bounds: Bounds,
}

/// A range of ids: those of one shard. Without bounds it holds every id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Ids above this one.
    pub after: Option<String>,
    /// Ids up to this one.
    pub upto: Option<String>,
}

impl Bounds {
    /// Whether an id lies within.
    pub fn hold(&self, id: &str) -> bool {
        let precedes = |one: &str, other: &str| (one.len(), one) < (other.len(), other);
        self.after.as_deref().is_none_or(|after| precedes(after, id))
            && self.upto.as_deref().is_none_or(|upto| !precedes(upto, id))
    }
}

/// How far an unfinished reading got.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What is being read.
    pub window: Window,
    /// By which way.
    pub way: Way,
    /// Fingerprint of the selected fields: with others the rest would not fit what is out.
    pub fields: String,
    /// Every record up to this id is out.
    pub after_id: Option<String>,
    /// The bulk job being read, and how much of its file is out.
    pub job: Option<JobProgress>,
}

/// How much of a bulk job's file is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProgress {
    /// The job.
    pub id: String,
    /// Rows of its file that are out.
    pub rows_out: u64,
}

/// The bookmark of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bookmark {
    /// Everything changed before this instant is out.
    pub replication_key_value: Option<DateTime<Utc>>,
    /// A reading that did not come to its end.
    pub in_progress: Option<Progress>,
}

impl Bookmark {
    /// Reads a stream's bookmark; `replication_key` also names the key under which older taps keep it.
    ///
    /// # Errors
    /// When it holds something that is not understood: better refused than read wrongly.
    pub fn read(state: &State, stream: &str, replication_key: Option<&str>) -> Result<Self, StateError> {
        let Some(value) = state.bookmark(stream) else { return Ok(Self::default()) };
        let reader = Reader { stream, value };
        let older = replication_key.filter(|key| value.get(key).is_some());
        let key =
            if value.get("replication_key_value").is_some() { Some("replication_key_value") } else { older };
        let replication_key_value = key.map(|key| reader.instant(value, key)).transpose()?.flatten();
        Ok(Self { replication_key_value, in_progress: reader.progress()? })
    }

    /// The bookmark as it stands in STATE.
    pub fn to_value(&self, replication_key: Option<&str>) -> Value {
        let mut bookmark = Map::new();
        if let Some(key) = replication_key {
            bookmark.insert("replication_key".into(), key.into());
            bookmark.insert("replication_key_value".into(), self.replication_key_value.map(text).into());
        }
        if let Some(progress) = &self.in_progress {
            bookmark.insert("in_progress".into(), progress.to_value());
        }
        Value::Object(bookmark)
    }

    /// The window of a new reading that begins at `now`.
    pub fn window(&self, config: &TapConfig, now: DateTime<Utc>) -> Window {
        let lookback = TimeDelta::seconds(i64::from(config.lookback_seconds));
        let from = self.replication_key_value.map(|bookmark| bookmark - lookback).or(config.start_date);
        // A bookmark never goes back, whatever the server's clock does.
        let until = self.replication_key_value.map_or(now, |bookmark| bookmark.max(now));
        Window { from, until, bounds: Bounds::default() }
    }
}

impl Progress {
    /// Only rows above this id are still to be read.
    pub fn floor(&self) -> Option<&str> {
        self.after_id.as_deref().or(self.window.bounds.after.as_deref())
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "from": self.window.from.map(text),
            "until": text(self.window.until),
            "method": self.way.name(),
            "fields": self.fields,
        });
        if let Some(id) = &self.after_id {
            value["after_id"] = id.as_str().into();
        }
        if let Some(job) = &self.job {
            value["job_id"] = job.id.as_str().into();
            value["rows_out"] = job.rows_out.into();
        }
        value
    }
}

/// An instant as it stands in STATE and in queries.
pub fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads one bookmark, with errors that name the place.
struct Reader<'a> {
    stream: &'a str,
    value: &'a Value,
}

impl Reader<'_> {
    fn error(&self, place: &str, found: &Value, expected: &'static str) -> StateError {
        StateError::new(format!("/bookmarks/{}/{place}", self.stream), found, expected)
    }

    fn instant(&self, object: &Value, key: &str) -> Result<Option<DateTime<Utc>>, StateError> {
        match &object[key] {
            Value::Null => Ok(None),
            found => found
                .as_str()
                .and_then(epoch_seconds)
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                .map(Some)
                .ok_or_else(|| {
                    self.error(key, found, "a time with its offset, such as `2026-03-01T00:00:00Z`")
                }),
        }
    }

    fn string(&self, object: &Value, key: &str) -> Result<Option<String>, StateError> {
        match &object[key] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            found => Err(self.error(&format!("in_progress/{key}"), found, "a string")),
        }
    }

    fn progress(&self) -> Result<Option<Progress>, StateError> {
        let object = &self.value["in_progress"];
        if object.is_null() {
            return Ok(None);
        }
        let until = self.instant(object, "until")?;
        let until = until.ok_or_else(|| self.error("in_progress/until", &object["until"], "a time"))?;
        let way = object["method"].as_str().and_then(Way::from_name);
        let way = way.ok_or_else(|| {
            self.error("in_progress/method", &object["method"], "`bulk_read`, `coql` or `records`")
        })?;
        let job = self.string(object, "job_id")?.map(|id| {
            let rows_out = object["rows_out"].as_u64();
            let rows_out = rows_out
                .ok_or_else(|| self.error("in_progress/rows_out", &object["rows_out"], "a number of rows"));
            rows_out.map(|rows_out| JobProgress { id, rows_out })
        });
        Ok(Some(Progress {
            window: Window { from: self.instant(object, "from")?, until, bounds: Bounds::default() },
            way,
            fields: self.string(object, "fields")?.unwrap_or_default(),
            after_id: self.string(object, "after_id")?,
            job: job.transpose()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instant(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    fn state(bookmark: Value) -> State {
        State::read(json!({"bookmarks": {"Leads": bookmark}})).expect("reads")
    }

    #[test]
    fn older_forms_are_read_and_broken_ones_named() {
        let older = state(json!({"Modified_Time": "2026-03-01T11:00:00+11:00"}));
        let bookmark = Bookmark::read(&older, "Leads", Some("Modified_Time")).expect("reads");
        assert_eq!(bookmark.replication_key_value.map(text).as_deref(), Some("2026-03-01T00:00:00Z"));
        let broken = state(json!({"replication_key_value": "yesterday"}));
        let error = Bookmark::read(&broken, "Leads", Some("Modified_Time")).expect_err("is refused");
        assert_eq!(
            error.to_string(),
            "the state's `/bookmarks/Leads/replication_key_value` is `\"yesterday\"`, and has to be a time with \
             its offset, such as `2026-03-01T00:00:00Z`"
        );
        let broken = state(json!({"in_progress": {"until": "2026-03-01T00:00:00Z", "method": "magic"}}));
        let error = Bookmark::read(&broken, "Leads", None).expect_err("is refused");
        assert!(error.pointer.ends_with("in_progress/method"), "{error}");
    }

    #[test]
    fn bounds_compare_ids_as_numbers() {
        let bounds = Bounds { after: Some("9".into()), upto: Some("20".into()) };
        assert_eq!(["9", "10", "20", "21"].map(|id| bounds.hold(id)), [false, true, true, false]);
        assert!(Bounds::default().hold("1"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            done in proptest::option::of(0i64..4_000_000_000),
            from in proptest::option::of(0i64..4_000_000_000),
            until in 0i64..4_000_000_000,
            after in proptest::option::of("[0-9]{1,19}"),
            job in proptest::option::of(("[0-9]{19}", any::<u32>())),
        ) {
            let bookmark = Bookmark {
                replication_key_value: done.map(instant),
                in_progress: Some(Progress {
                    window: Window { from: from.map(instant), until: instant(until), bounds: Bounds::default() },
                    way: Way::BulkRead,
                    fields: "f".into(),
                    after_id: after,
                    job: job.map(|(id, rows)| JobProgress { id, rows_out: rows.into() }),
                }),
            };
            let written = state(bookmark.to_value(Some("Modified_Time")));
            prop_assert_eq!(Bookmark::read(&written, "Leads", Some("Modified_Time")).expect("reads"), bookmark);
        }

        #[test]
        fn a_bookmark_never_goes_back(done in 0i64..4_000_000_000, now in 0i64..4_000_000_000) {
            let bookmark = Bookmark { replication_key_value: Some(instant(done)), in_progress: None };
            let window = bookmark.window(&TapConfig::default(), instant(now));
            prop_assert!(window.until >= instant(done));
            prop_assert_eq!(window.from, Some(instant(done - 120)));
        }
    }
}
