//! Logs to stderr: lines for people or JSON for programs.

use super::args::{LogArgs, LogFormat, LogLevel};
use super::progress::Screen;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
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
        LogFormat::Text => layer.with_ansi(false).without_time().boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // A second call in one process (tests) keeps the first one's choice.
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().ok();
}
