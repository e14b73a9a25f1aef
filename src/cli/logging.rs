//! Logs to stderr: lines for people or JSON for programs. Under Airbyte: LOG messages to stdout.

use super::args::{LogFormat, LogLevel};
use super::log_choice::LogChoice;
use super::progress::Screen;
use super::structured::Line;
use crate::protocol::airbyte::message;
use serde_json::{Map, Value};
use std::fmt as text;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Begins logging, once per process.
pub fn init(choice: &LogChoice, screen: &Screen) {
    let level = match choice.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Other crates' chatter is for their developers.
    let filter = Targets::new().with_target("zoho_crm_connector", level).with_default(LevelFilter::ERROR);
    let screen = screen.clone();
    let layer = fmt::layer().with_writer(move || screen.clone()).with_target(false).with_ansi(false);
    let layer = match choice.format {
        LogFormat::Text => layer.event_format(Words).boxed(),
        LogFormat::Json => layer.event_format(Json { program: choice.program }).boxed(),
        LogFormat::Airbyte => layer.event_format(Airbyte).boxed(),
    };
    // A second call in one process (tests) keeps the first one's choice.
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().ok();
    for complaint in &choice.complaints {
        tracing::warn!("{complaint}");
    }
}

/// A log line for people: `warning: Leads: the message (job 4876…)`. What is only done needs no word
/// in front of it. A measurement keeps the form that Singer gives it.
struct Words;

impl<S, N> FormatEvent<S, N> for Words
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> text::Result {
        let said = Said::of(event);
        if let Some(metric) = &said.metric {
            return writeln!(out, "INFO METRIC: {metric}");
        }
        out.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        })?;
        writeln!(out, "{}", said.words())
    }
}

/// A LOG message of Airbyte, with the words for people.
struct Airbyte;

impl<S, N> FormatEvent<S, N> for Airbyte
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> text::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        };
        writeln!(out, "{}", message::log(level, &Said::of(event).words()))
    }
}

/// A log line for programs.
struct Json {
    program: &'static str,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> text::Result {
        let said = Said::of(event);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let line = Line {
            level,
            logger: event.metadata().target(),
            stream: said.stream.as_deref(),
            message: &said.message,
            metric: said.metric.and_then(|metric| serde_json::from_str(&metric).ok()),
            extra: said.facts,
        };
        writeln!(out, "{}", line.text(self.program))
    }
}

/// What an event carries.
#[derive(Default)]
struct Said {
    message: String,
    stream: Option<String>,
    /// A measurement, as JSON.
    metric: Option<String>,
    facts: Map<String, Value>,
}

impl Said {
    fn of(event: &Event<'_>) -> Self {
        let mut said = Self::default();
        event.record(&mut said);
        said
    }

    /// The stream, the message and the facts.
    fn words(&self) -> String {
        let mut words = self.stream.as_ref().map(|stream| format!("{stream}: ")).unwrap_or_default();
        words.push_str(&self.message);
        for (at, (name, value)) in self.facts.iter().enumerate() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let before = if at == 0 { " (" } else { ", " };
            words.push_str(&format!("{before}{} {value}", name.replace('_', " ")));
        }
        words.push_str(if self.facts.is_empty() { "" } else { ")" });
        words
    }

    fn note(&mut self, name: &str, value: Value) {
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match name {
            "message" => self.message = text(value),
            "stream" => self.stream = Some(text(value)),
            "metric" => self.metric = Some(text(value)),
            name => drop(self.facts.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn text::Debug) {
        self.note(field.name(), format!("{value:?}").into());
    }
}
