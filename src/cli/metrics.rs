//! Measurements on stderr, on request: the setting `metrics`.
//!
//! Names, types and tags are the Meltano SDK's ("Metrics"), so that what reads its taps reads ours:
//! `record_count` (since the measurement before), `sync_duration`, `http_request_count`; `api_credits`
//! is our own.

use crate::tap::output::Observer;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two counts of a stream. Source: Meltano SDK, `DEFAULT_LOG_INTERVAL`.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Logs a count since the measurement before.
pub fn count(metric: &str, value: u64, tags: Value) {
    log("counter", metric, value.into(), tags);
}

/// Logs a length of time in seconds.
pub fn time(metric: &str, value: Duration, tags: Value) {
    log("timer", metric, value.as_secs_f64().into(), tags);
}

fn log(kind: &str, metric: &str, value: Value, mut tags: Value) {
    tags["pid"] = std::process::id().into();
    let point = json!({"type": kind, "metric": metric, "value": value, "tags": tags});
    tracing::info!(metric = point.to_string(), "METRIC");
}

/// An observer that measures, and hands on to another one.
pub struct Measured<O> {
    shown: Arc<O>,
    streams: Mutex<HashMap<String, Measure>>,
}

struct Measure {
    began: Instant,
    counted: Instant,
    rows: u64,
    told: u64,
}

impl<O: Observer> Measured<O> {
    /// Measures what `shown` shows.
    pub fn new(shown: Arc<O>) -> Arc<Self> {
        Arc::new(Self { shown, streams: Mutex::default() })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<String, Measure>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, stream: &str, status: &str) {
        let Some(mut measure) = self.streams().remove(stream) else { return };
        measure.tell(stream);
        time("sync_duration", measure.began.elapsed(), json!({"stream": stream, "status": status}));
    }
}

impl Measure {
    fn tell(&mut self, stream: &str) {
        count("record_count", self.rows - self.told, json!({"stream": stream}));
        self.told = self.rows;
        self.counted = Instant::now();
    }
}

impl<O: Observer> Observer for Measured<O> {
    fn started(&self, stream: &str) {
        let now = Instant::now();
        let measure = Measure { began: now, counted: now, rows: 0, told: 0 };
        self.streams().insert(stream.to_owned(), measure);
        self.shown.started(stream);
    }

    fn expects(&self, stream: &str, rows: u64) {
        self.shown.expects(stream, rows);
    }

    fn doing(&self, stream: &str, what: &str) {
        self.shown.doing(stream, what);
    }

    fn rows(&self, stream: &str, rows: u64) {
        if let Some(measure) = self.streams().get_mut(stream) {
            measure.rows = measure.rows.max(rows);
            if measure.counted.elapsed() >= COUNT_EVERY {
                measure.tell(stream);
            }
        }
        self.shown.rows(stream, rows);
    }

    fn finished(&self, stream: &str, rows: u64) {
        if let Some(measure) = self.streams().get_mut(stream) {
            measure.rows = measure.rows.max(rows);
        }
        self.end(stream, "succeeded");
        self.shown.finished(stream, rows);
    }

    fn stopped(&self, stream: &str) {
        self.end(stream, "failed");
        self.shown.stopped(stream);
    }
}
