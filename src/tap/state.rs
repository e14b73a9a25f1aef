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
        let id = id.as_bytes();
        self.after.as_ref().is_none_or(|after| precedes(after.as_bytes(), id))
            && self.upto.as_ref().is_none_or(|upto| !precedes(upto.as_bytes(), id))
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
    /// Every record created before this instant is out; only where a server takes no criteria on ids.
    pub created_from: Option<DateTime<Utc>>,
    /// What follows, divided among bulk jobs: each span begins where the one before it ends, so that no
    /// state can leave a gap, and the last one has no end.
    pub spans: Vec<Span>,
    /// Columns that the jobs do not have, because the server refused them.
    pub refused: Vec<String>,
}

/// A part of a reading: what one bulk job reads, or several, each some of the columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Span {
    /// The last that belongs to it; none: everything that follows.
    pub up_to: Option<Edge>,
    /// Its jobs, created for what follows the span before it; none yet if empty.
    pub jobs: Vec<String>,
    /// Rows of their result that are out.
    pub rows_out: u64,
}

/// Where a span ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Edge {
    /// With this id.
    Id(String),
    /// Before this instant of creation.
    Created(DateTime<Utc>),
}

impl Progress {
    /// A reading that has not begun.
    pub fn new(window: Window, fields: String) -> Self {
        let (after_id, created_from, spans, refused) = (None, None, Vec::new(), Vec::new());
        Self { window, way: Way::Coql, fields, after_id, created_from, spans, refused }
    }

    /// Whether rows of this window are out or paid for: then only what follows them is read.
    pub fn is_begun(&self) -> bool {
        self.after_id.is_some() || self.created_from.is_some() || !self.spans.is_empty()
    }

    /// Whether jobs that are paid for wait to be read.
    pub fn has_jobs(&self) -> bool {
        self.spans.iter().any(|span| !span.jobs.is_empty())
    }

    /// Forgets everything but what is read: the window from its start.
    pub fn begin_again(&mut self) {
        (self.after_id, self.created_from) = (None, None);
        self.spans.clear();
    }
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
        let place = Place { pointer: format!("/bookmarks/{stream}"), value };
        let older = replication_key.filter(|key| value.get(key).is_some());
        let key =
            if value.get("replication_key_value").is_some() { Some("replication_key_value") } else { older };
        let replication_key_value = key.map(|key| place.at(key).instant()).transpose()?.flatten();
        Ok(Self { replication_key_value, in_progress: place.at("in_progress").progress()? })
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
        if let Some(time) = self.created_from {
            value["created_from"] = text(time).into();
        }
        if !self.spans.is_empty() {
            let starts = self.spans.iter().map(|span| span.up_to.clone());
            let starts = [self.start()].into_iter().chain(starts);
            value["windows"] =
                self.spans.iter().zip(starts).map(|(span, start)| span.to_value(start)).collect();
        }
        if !self.refused.is_empty() {
            value["refused_fields"] = self.refused.clone().into();
        }
        value
    }

    /// Where the first span begins.
    fn start(&self) -> Option<Edge> {
        self.after_id.clone().map(Edge::Id).or(self.created_from.map(Edge::Created))
    }
}

impl Span {
    /// With jobs, it also says where it begins: they hold nothing that stands before.
    fn to_value(&self, start: Option<Edge>) -> Value {
        let mut value = Map::new();
        match start.filter(|_| !self.jobs.is_empty()) {
            Some(Edge::Id(id)) => drop(value.insert("after_id".into(), id.into())),
            Some(Edge::Created(time)) => drop(value.insert("created_from".into(), text(time).into())),
            None => {}
        }
        match &self.up_to {
            Some(Edge::Id(id)) => drop(value.insert("up_to_id".into(), id.as_str().into())),
            Some(Edge::Created(time)) => drop(value.insert("created_before".into(), text(*time).into())),
            None => {}
        }
        if !self.jobs.is_empty() {
            value.insert("job_ids".into(), self.jobs.clone().into());
            value.insert("rows_out".into(), self.rows_out.into());
        }
        value.into()
    }
}

/// An instant as it stands in STATE and in queries.
pub fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether one id is smaller than the other, as numbers.
pub fn precedes(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) < (other.len(), other)
}

/// A place in a state, which its errors name.
struct Place<'a> {
    pointer: String,
    value: &'a Value,
}

impl<'a> Place<'a> {
    fn at(&self, key: &str) -> Place<'a> {
        Place { pointer: format!("{}/{key}", self.pointer), value: &self.value[key] }
    }

    fn error(&self, expected: &'static str) -> StateError {
        StateError::new(&self.pointer, self.value, expected)
    }

    /// What stands there, if anything; `read` says none for what it does not understand.
    fn read<T>(
        &self,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, StateError> {
        match self.value {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| self.error(expected)),
        }
    }

    fn instant(&self) -> Result<Option<DateTime<Utc>>, StateError> {
        self.read("a time with its offset, such as `2026-03-01T00:00:00Z`", |value| {
            DateTime::from_timestamp(value.as_str().and_then(epoch_seconds)?, 0)
        })
    }

    fn string(&self) -> Result<Option<String>, StateError> {
        self.read("a string", |value| value.as_str().map(str::to_owned))
    }

    /// An id goes into queries as it is: nothing but digits may.
    fn id(&self) -> Result<Option<String>, StateError> {
        let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        self.read("an id, a string of digits", |value| value.as_str().filter(digits).map(str::to_owned))
    }

    fn progress(&self) -> Result<Option<Progress>, StateError> {
        if self.value.is_null() {
            return Ok(None);
        }
        let until = self.at("until");
        let until = until.instant()?.ok_or_else(|| until.error("a time"))?;
        let way = self.at("method");
        let way = way
            .value
            .as_str()
            .and_then(Way::from_name)
            .ok_or_else(|| way.error("`bulk_read`, `coql` or `records`"))?;
        let progress = Progress {
            window: Window { from: self.at("from").instant()?, until, bounds: Bounds::default() },
            way,
            fields: self.at("fields").string()?.unwrap_or_default(),
            after_id: self.at("after_id").id()?,
            created_from: self.at("created_from").instant()?,
            spans: self.spans()?,
            refused: self.at("refused_fields").names()?,
        };
        self.check(&progress)?;
        Ok(Some(progress))
    }

    fn names(&self) -> Result<Vec<String>, StateError> {
        let names = self.read("a list of names", Value::as_array)?.into_iter().flatten();
        names
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(|| self.error("a list of names")))
            .collect()
    }

    /// The spans; states of older taps hold one job and no list.
    fn spans(&self) -> Result<Vec<Span>, StateError> {
        let jobs: Vec<String> = self.at("job_id").id()?.into_iter().collect();
        if !jobs.is_empty() {
            let rows_out = self.at("rows_out");
            let rows_out = rows_out.rows()?.ok_or_else(|| rows_out.error("a number of rows"))?;
            return Ok(vec![Span { up_to: None, jobs, rows_out }]);
        }
        let list = self.at("windows");
        let spans = list.read("a list of windows", Value::as_array)?;
        let spans = spans.into_iter().flatten().enumerate();
        spans.map(|(at, value)| Place { pointer: format!("{}/{at}", list.pointer), value }.span()).collect()
    }

    fn span(&self) -> Result<Span, StateError> {
        if !self.value.is_object() {
            return Err(self.error("an object"));
        }
        let up_to = match (self.at("up_to_id").id()?, self.at("created_before").instant()?) {
            (Some(_), Some(_)) => return Err(self.error("a window with one end")),
            (id, time) => id.map(Edge::Id).or(time.map(Edge::Created)),
        };
        let list = self.at("job_ids");
        let ids = list.read("a list of job ids", Value::as_array)?.into_iter().flatten().enumerate();
        let ids = ids.map(|(at, value)| {
            let place = Place { pointer: format!("{}/{at}", list.pointer), value };
            place.id()?.ok_or_else(|| place.error("an id, a string of digits"))
        });
        let jobs = ids.collect::<Result<Vec<_>, _>>()?;
        let rows_out = self.at("rows_out");
        let rows = rows_out.rows()?.unwrap_or(0);
        if rows > 0 && jobs.is_empty() {
            return Err(rows_out.error("absent where there is no job whose rows they are"));
        }
        Ok(Span { up_to, jobs, rows_out: rows })
    }

    fn rows(&self) -> Result<Option<u64>, StateError> {
        self.read("a number of rows", Value::as_u64)
    }

    /// Windows that would leave out or repeat what lies between them are no state of ours.
    fn check(&self, progress: &Progress) -> Result<(), StateError> {
        if progress.after_id.is_some() && progress.created_from.is_some() {
            return Err(self.at("created_from").error("absent where there is an `after_id`"));
        }
        let mut before = progress.start();
        for (at, span) in (1..).zip(&progress.spans) {
            let place = Place { pointer: format!("{}/windows/{}", self.pointer, at - 1), value: self.value };
            let place = Place { value: &self.value["windows"][at - 1], ..place };
            if span.up_to.is_none() != (at == progress.spans.len()) {
                return Err(place.error("a window with an end, or the last one, without"));
            }
            let begins = place.at("after_id").id()?.map(Edge::Id);
            let begins = begins.or(place.at("created_from").instant()?.map(Edge::Created));
            if self.value["windows"].is_array() && !span.jobs.is_empty() && begins != before {
                return Err(place.error("a window whose jobs begin where the one before it ends"));
            }
            let follows = match (&before, &span.up_to) {
                (_, None) | (None, _) => true,
                (Some(Edge::Id(one)), Some(Edge::Id(other))) => precedes(one.as_bytes(), other.as_bytes()),
                (Some(Edge::Created(one)), Some(Edge::Created(other))) => one < other,
                _ => false,
            };
            if !follows {
                return Err(place.error("a window that ends after the one before it"));
            }
            before = span.up_to.clone();
        }
        Ok(())
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

    /// Where a reading may stand: a start, and spans that end one after another.
    fn place() -> impl Strategy<Value = (Option<String>, Option<DateTime<Utc>>, Vec<Span>)> {
        let jobs = || (proptest::collection::vec("[0-9]{19}", 0..3), any::<u32>());
        let edges = proptest::collection::btree_set(1u32..4_000_000_000, 0..5);
        (edges, proptest::collection::vec(jobs(), 5), any::<bool>(), any::<bool>()).prop_map(
            |(edges, jobs, by_time, is_begun)| {
                let edge = |at: u32| match by_time {
                    true => Edge::Created(instant(at.into())),
                    false => Edge::Id(at.to_string()),
                };
                let mut edges = edges.into_iter();
                let (after_id, created_from) = match edges.next().filter(|_| is_begun).map(edge) {
                    Some(Edge::Id(id)) => (Some(id), None),
                    Some(Edge::Created(time)) => (None, Some(time)),
                    None => (None, None),
                };
                let ends: Vec<Option<Edge>> = edges.map(|at| Some(edge(at))).chain([None]).collect();
                let spans = ends.into_iter().zip(jobs).map(|(up_to, (jobs, rows))| {
                    let rows_out = if jobs.is_empty() { 0 } else { rows.into() };
                    Span { up_to, jobs, rows_out }
                });
                (after_id, created_from, spans.collect())
            },
        )
    }

    #[test]
    fn ids_compare_as_numbers() {
        assert!(precedes(b"9", b"10") && precedes(b"", b"1"));
        assert!(!precedes(b"10", b"10") && !precedes(b"11", b"10"));
    }

    #[test]
    fn the_form_before_windows_is_one_window_without_an_end() {
        let older = json!({"in_progress": {"from": null, "until": "2026-03-01T00:00:00Z", "method": "bulk_read",
            "fields": "f", "after_id": "17", "job_id": "4876000000000001", "rows_out": 3}});
        let progress = Bookmark::read(&state(older), "Leads", None).expect("reads").in_progress.expect("one");
        assert_eq!(progress.after_id.as_deref(), Some("17"));
        assert_eq!(
            progress.spans,
            [Span { up_to: None, jobs: vec!["4876000000000001".into()], rows_out: 3 }]
        );
    }

    #[test]
    fn edited_windows_are_read_or_refused_with_their_place() {
        let read = |more: Value| {
            let mut value = json!({"until": "2026-03-01T00:00:00Z", "method": "bulk_read"});
            value.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            Bookmark::read(&state(json!({"in_progress": value})), "Leads", None)
        };
        for good in [
            json!({"windows": []}),
            json!({"after_id": "9", "windows": [{"up_to_id": "10"}, {}]}),
            json!({"created_from": "2026-01-01T00:00:00Z", "mine": 1,
                "windows": [{"created_from": "2026-01-01T00:00:00Z", "job_ids": ["7"]}]}),
        ] {
            assert!(read(good.clone()).is_ok(), "{good}");
        }
        for (bad, place) in [
            (json!({"after_id": "1' or id > '0"}), "after_id"),
            (json!({"after_id": 17}), "after_id"),
            (json!({"from": "yesterday"}), "from"),
            (json!({"windows": {}}), "windows"),
            (json!({"windows": [7]}), "windows/0"),
            (json!({"windows": [{"up_to_id": "9"}]}), "windows/0"),
            (json!({"windows": [{}, {}]}), "windows/0"),
            (json!({"after_id": "10", "windows": [{"up_to_id": "9"}, {}]}), "windows/0"),
            (
                json!({"windows": [{"up_to_id": "9"}, {"created_before": "2026-01-01T00:00:00Z"}, {}]}),
                "windows/1",
            ),
            (json!({"windows": [{"job_ids": [7]}]}), "windows/0/job_ids/0"),
            (json!({"windows": [{"job_ids": ["7"], "rows_out": -1}]}), "windows/0/rows_out"),
            (json!({"windows": [{"rows_out": 5}]}), "windows/0/rows_out"),
            (json!({"after_id": "5", "windows": [{"after_id": "6", "job_ids": ["7"]}]}), "windows/0"),
            (json!({"after_id": "5", "windows": [{"up_to_id": "6"}, {"job_ids": ["7"]}]}), "windows/1"),
            (json!({"after_id": "1", "created_from": "2026-01-01T00:00:00Z"}), "created_from"),
        ] {
            let error = read(bad.clone()).expect_err("is refused");
            assert_eq!(error.pointer, format!("/bookmarks/Leads/in_progress/{place}"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            done in proptest::option::of(0i64..4_000_000_000),
            from in proptest::option::of(0i64..4_000_000_000),
            until in 0i64..4_000_000_000,
            way in proptest::sample::select(Way::ALL.to_vec()),
            place in place(),
        ) {
            let (after_id, created_from, spans) = place;
            let (from, until) = (from.map(instant), instant(until));
            let window = Window { from, until, bounds: Bounds::default() };
            let progress = Progress { way, after_id, created_from, spans, ..Progress::new(window, "f".into()) };
            let bookmark = Bookmark { replication_key_value: done.map(instant), in_progress: Some(progress) };
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
