//! `target-zoho-crm`: writes what a tap says into Zoho.

use super::about::about;
use super::args::TargetArgs;
use super::metrics;
use super::progress::Screen;
use super::settings::{Program, Settings};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::error::{Error, SettingsError};
use crate::protocol::writer::MessageWriter;
use crate::target::jobs;
use crate::target::report::REJECTED_PROPERTY;
use crate::target::summary::{Summary, counted};
use crate::target::{self, ConfigError, Source, Start, TargetConfig};
use crate::zoho::Client;
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// Runs the target.
pub async fn run(args: TargetArgs, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    if let Some(format) = args.about {
        return Ok(MessageWriter::new(stdout()).document(&about(Program::Target, format))?);
    }
    let settings = Settings::load(Program::Target, &args.config)?;
    let input = match &args.input {
        None => Input::new("stdin", Box::new(BufReader::with_capacity(BUFFER_BYTES, stdin()))),
        Some(path) => open(path)?,
    };
    if args.dry_run {
        return rehearse(&settings, input, &screen, shutdown).await;
    }
    write(&settings, input, &screen, shutdown).await
}

/// `zoho-crm retry`: sends a file of rejected rows again.
pub async fn retry(
    config: &[PathBuf],
    file: &Path,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let settings = Settings::load(Program::Target, config)?;
    write(&settings, Input { source: Source::Rejects, ..open(file)? }, screen, shutdown).await
}

/// `zoho-crm jobs wait`: brings what is under way to its end, and sends nothing new.
pub async fn finish(config: &[PathBuf], screen: &Screen, shutdown: CancellationToken) -> Result<(), Error> {
    let settings = Settings::load(Program::Target, config)?;
    write(&settings, Input::new("stdin", Box::new(std::io::empty())), screen, shutdown).await
}

/// Where messages come from.
struct Input {
    name: String,
    source: Source,
    reader: Box<dyn BufRead + Send>,
}

impl Input {
    fn new(name: &str, reader: Box<dyn BufRead + Send>) -> Self {
        Self { name: name.to_owned(), source: Source::Tap, reader }
    }
}

/// Writes the rows of `input` and says what became of them.
async fn write(
    settings: &Settings,
    input: Input,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (config, client, dir) = ready(settings)?;
    let start = start(&dir, &input, shutdown);
    let ended = target::run(config, client, start, input.reader, stdout()).await;
    if ended.as_ref().is_err_and(|error| error.class() == ErrorClass::Interrupted) {
        screen.say(&farewell(&dir));
    }
    let summary = ended.map_err(|error| about_settings(settings, error))?;
    if settings.metrics() {
        measure(&summary);
    }
    screen.say(&summary.to_string());
    if summary.too_many_rejected {
        return Err(Error::Rejected { rejected: summary.failed(), rejects: summary.rejects });
    }
    Ok(())
}

/// What a target that is told to stop leaves behind.
fn farewell(state_dir: &Path) -> String {
    let open = jobs::list(state_dir).map(|open| open.iter().map(|job| job.rows).sum());
    let what = match open {
        Ok(0) => {
            return "Stopped: nothing is under way. The next run goes on from the last STATE.".to_owned();
        }
        Ok(rows) => counted(rows, "row", "rows"),
        Err(_) => "rows may be".to_owned(),
    };
    format!(
        "Stopped: {what} under way, which `zoho-crm jobs list` shows. The next run finishes what was sent and sends \
         none of it twice."
    )
}

/// Measurements of a run, by stream and module.
fn measure(summary: &Summary) {
    for tally in &summary.tallies {
        let tags = |status: &str| json!({"stream": tally.stream, "module": tally.module, "status": status});
        metrics::count("record_count", tally.rows() - tally.failed(), tags("succeeded"));
        if tally.failed() > 0 {
            metrics::count("record_count", tally.failed(), tags("failed"));
        }
        let tags = json!({"stream": tally.stream, "module": tally.module});
        metrics::count("api_credits", tally.effort.credits, tags);
    }
    metrics::time("sync_duration", summary.elapsed, json!({"status": "succeeded"}));
}

/// `--dry-run`: says what [`write`] would do.
async fn rehearse(
    settings: &Settings,
    input: Input,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (config, client, dir) = ready(settings)?;
    let start = start(&dir, &input, shutdown);
    let ended = target::rehearse(config, client, start, input.reader).await;
    let rehearsal = ended.map_err(|error| about_settings(settings, error))?;
    screen.say(&rehearsal.to_string());
    if rehearsal.summary.too_many_rejected {
        return Err(Error::Rejected { rejected: rehearsal.summary.failed(), rejects: None });
    }
    Ok(())
}

fn ready(settings: &Settings) -> Result<(TargetConfig, Client, PathBuf), Error> {
    let config = TargetConfig::from_json(&settings.whole()).map_err(|error| in_file(settings, error))?;
    Ok((config, Client::new(settings.connection()?)?, settings.state_dir()))
}

fn start<'a>(state_dir: &'a Path, input: &Input, shutdown: CancellationToken) -> Start<'a> {
    let input_name = input.name.clone();
    Start { state_dir, source: input.source, input_name, dry_run: false, now: SystemTime::now(), shutdown }
}

pub fn about_settings(settings: &Settings, error: target::Error) -> Error {
    match error {
        target::Error::Config(error) => in_file(settings, *error).into(),
        other => Error::from(other),
    }
}

/// A finding of the target about its settings, with the file they came from.
pub fn in_file(settings: &Settings, error: ConfigError) -> SettingsError {
    settings.invalid(&error.pointer, error.message, error.hint)
}

/// Large reads; some of these chunks wait for their turn.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// A file of messages, and whether it is one of rejected rows.
fn open(path: &Path) -> Result<Input, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(unreadable)?);
    let head = file.fill_buf().map_err(unreadable)?;
    let schema = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mark = REJECTED_PROPERTY.as_bytes();
    let rejects = schema.windows(mark.len()).any(|part| part == mark);
    let source = if rejects { Source::Rejects } else { Source::Tap };
    Ok(Input { source, ..Input::new(&format!("`{}`", path.display()), Box::new(file)) })
}
