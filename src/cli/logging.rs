//! Logs to stderr: lines for people or JSON for programs.

use super::args::{LogArgs, LogFormat, LogLevel};
use super::progress::Screen;
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
pub fn init(args: &LogArgs, screen: &Screen) {
    let level = match args.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Other crates' chatter is for their developers.
    let filter = Targets::new().with_target("zoho_crm_connector", level).with_default(LevelFilter::ERROR);
    let screen = screen.clone();
    let layer = fmt::layer().with_writer(move || screen.clone()).with_target(false);
    let layer = match args.log_format {
        LogFormat::Text => layer.with_ansi(false).event_format(Words).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A second call in one process (tests) keeps the first one's choice.
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().ok();
}

/// A log line for people: `warning: Leads: the message (job 4876…)`. What is only done needs no word
/// in front of it.
struct Words;

impl<S, N> FormatEvent<S, N> for Words
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> text::Result {
        let mut said = Said::default();
        event.record(&mut said);
        out.write_str(match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG | Level::TRACE => "debug: ",
        })?;
        if let Some(stream) = &said.stream {
            write!(out, "{stream}: ")?;
        }
        out.write_str(&said.message)?;
        if !said.facts.is_empty() {
            write!(out, " ({})", said.facts.join(", "))?;
        }
        writeln!(out)
    }
}

/// What an event carries.
#[derive(Default)]
struct Said {
    message: String,
    stream: Option<String>,
    facts: Vec<String>,
}

impl Said {
    fn note(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "stream" => self.stream = Some(value),
            name => self.facts.push(format!("{} {value}", name.replace('_', " "))),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn text::Debug) {
        self.note(field.name(), format!("{value:?}"));
    }
}
