//! What people see while a run goes on: bars on a terminal, nothing but the log elsewhere. Under Airbyte
//! all of it is messages on stdout.

use super::args::LogFormat;
use super::log_choice::LogChoice;
use super::structured::Line;
use crate::diagnostic::{Diagnostic, Report, causes, thousands};
use crate::protocol::airbyte::message as airbyte;
use crate::protocol::writer::MessageWriter;
use crate::tap::output::Observer;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// stderr, shared between bars and lines, so that neither writes over the other.
#[derive(Clone)]
pub struct Screen {
    bars: MultiProgress,
    form: LogFormat,
    /// Name of the program, which structured lines carry.
    program: &'static str,
}

impl Screen {
    /// The screen; bars are drawn only on a terminal and beside text.
    pub fn new(choice: &LogChoice) -> Self {
        let drawn = io::stderr().is_terminal() && choice.format == LogFormat::Text;
        let target = if drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), form: choice.format, program: choice.program }
    }

    /// Writes a whole text, with bars out of the way; among JSON lines it is one of them. Nobody is
    /// left to tell when stderr fails.
    pub fn say(&self, text: &str) {
        match self.form {
            LogFormat::Text => self.line(text),
            LogFormat::Json => self.line(&Line::new("info", text).text(self.program)),
            LogFormat::Airbyte => self.line(&airbyte::log("INFO", text).to_string()),
        }
    }

    /// The last words of a failed run: one line at level CRITICAL among JSON lines, since callers
    /// look for it (Singer, "Best practices"). Airbyte wants a TRACE.
    pub fn fail(&self, error: &dyn Diagnostic, exit_code: u8) {
        match self.form {
            LogFormat::Text => return self.line(&Report(error).to_string()),
            LogFormat::Airbyte => {
                let now = chrono::Utc::now().timestamp_millis();
                return self.line(&airbyte::error(error, None, now).to_string());
            }
            LogFormat::Json => {}
        }
        let message = error.to_string();
        let mut line = Line::new("critical", &message);
        line.extra.insert("causes".into(), causes(error).collect());
        line.extra.insert("hint".into(), error.hint().into());
        line.extra.insert("exit_code".into(), exit_code.into());
        self.line(&line.text(self.program));
    }

    fn line(&self, text: &str) {
        if self.form == LogFormat::Airbyte {
            MessageWriter::new(io::stdout()).document(text).ok();
            return;
        }
        self.bars.suspend(|| {
            let mut stderr = io::stderr().lock();
            writeln!(stderr, "{text}").ok();
        });
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.form == LogFormat::Airbyte {
            // Whole lines, so that none gets between those of a message.
            MessageWriter::new(io::stdout()).document(String::from_utf8_lossy(bytes).trim_end()).ok();
            return Ok(bytes.len());
        }
        self.bars.suspend(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Shows how the tap's streams go.
pub struct TapProgress {
    screen: Screen,
    streams: Mutex<HashMap<String, Stream>>,
}

struct Stream {
    bar: ProgressBar,
    doing: String,
}

impl TapProgress {
    /// Progress on this screen.
    pub fn new(screen: Screen) -> Arc<Self> {
        Arc::new(Self { screen, streams: Mutex::default() })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<String, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, stream: &str, act: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.streams().get_mut(stream) {
            act(stream);
        }
    }
}

impl Observer for TapProgress {
    fn started(&self, stream: &str) {
        let style = ProgressStyle::with_template("{prefix:<24} {human_pos:>12} rows  {msg}  {elapsed}");
        let bar = self.screen.bars.add(ProgressBar::no_length());
        bar.set_style(style.expect("the template is valid"));
        bar.set_prefix(stream.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.streams().insert(stream.to_owned(), Stream { bar, doing: String::new() });
    }

    fn expects(&self, stream: &str, rows: u64) {
        let template =
            "{prefix:<20.20} {wide_bar:.cyan} {percent:>3}% {human_pos:>11} rows  {msg:<24.24} {rate}";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            write!(out, "{} rows/s", HumanCount(state.per_sec() as u64)).ok();
        };
        self.with(stream, |stream| {
            stream.bar.set_length(rows);
            stream.bar.set_style(style.with_key("rate", rate));
        });
        tracing::debug!(stream, rows, "is counted");
    }

    fn doing(&self, stream: &str, what: &str) {
        self.with(stream, |known| {
            if known.doing != what {
                tracing::debug!(stream, "{what}");
                known.doing = what.to_owned();
                known.bar.set_message(what.to_owned());
            }
        });
    }

    fn rows(&self, stream: &str, rows: u64) {
        self.with(stream, |stream| stream.bar.set_position(rows));
    }

    fn finished(&self, stream: &str, rows: u64) {
        self.stopped(stream);
        tracing::info!("{stream}: {} rows", thousands(rows));
    }

    fn stopped(&self, stream: &str) {
        if let Some(Stream { bar, .. }) = self.streams().remove(stream) {
            bar.finish_and_clear();
        }
    }
}
