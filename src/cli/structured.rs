//! One JSON object a line: the form of log that Meltano reads (`singer_sdk.logging.StructuredFormatter`
//! of the Meltano SDK; all keys but `extra` and `metric_info` have to be there).

use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// What a line tells.
pub struct Line<'a> {
    /// `debug`, `info`, `warning`, `error` or `critical`.
    pub level: &'a str,
    /// Who says it.
    pub logger: &'a str,
    /// The stream it is about.
    pub stream: Option<&'a str>,
    /// The words.
    pub message: &'a str,
    /// A measurement, which takes the place of words.
    pub metric: Option<Value>,
    /// The facts beside them.
    pub extra: Map<String, Value>,
}

impl<'a> Line<'a> {
    /// Words of the program itself.
    pub fn new(level: &'a str, message: &'a str) -> Self {
        let logger = env!("CARGO_CRATE_NAME");
        Self { level, logger, stream: None, message, metric: None, extra: Map::new() }
    }

    /// The line, without its end.
    pub fn text(self, program: &str) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let thread = std::thread::current();
        let mut line = json!({
            "level": self.level,
            "pid": std::process::id(),
            "logger_name": self.logger,
            "ts": now.as_secs_f64(),
            "thread_name": thread.name().unwrap_or("unnamed"),
            "app_name": program,
            "stream_name": self.stream,
            "message": if self.metric.is_some() { "METRIC" } else { self.message },
        });
        if let Some(metric) = self.metric {
            line["metric_info"] = metric;
        }
        line["extra"] = Value::Object(self.extra);
        line.to_string()
    }
}
