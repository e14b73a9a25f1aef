//! `target-zoho-crm`: writes what a tap says into Zoho.

use super::about::about;
use super::args::TargetArgs;
use super::progress::Screen;
use super::settings::{Program, Settings};
use crate::error::{Error, SettingsError};
use crate::protocol::writer::MessageWriter;
use crate::target::{self, ConfigError, TargetConfig};
use crate::zoho::Client;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin, stdout};
use std::path::Path;
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// Runs the target.
pub async fn run(args: TargetArgs, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    if let Some(format) = args.about {
        return Ok(MessageWriter::new(stdout()).document(&about(Program::Target, format))?);
    }
    let settings = Settings::load(Program::Target, &args.config)?;
    let config = TargetConfig::from_json(&settings.whole()).map_err(|error| in_file(&settings, error))?;
    let client = Client::new(settings.connection()?)?;
    let input = input(args.input.as_deref())?;
    let dir = settings.state_dir();
    let ended = target::run(config, client, &dir, input, stdout(), SystemTime::now(), shutdown).await;
    let summary = ended.map_err(|error| match error {
        target::Error::Config(error) => in_file(&settings, *error).into(),
        other => Error::from(other),
    })?;
    screen.say(&summary.to_string());
    if summary.too_many_rejected {
        return Err(Error::Rejected { rejected: summary.failed(), rejects: summary.rejects });
    }
    Ok(())
}

/// A finding of the target about its settings, with the file they came from.
fn in_file(settings: &Settings, error: ConfigError) -> SettingsError {
    settings.invalid(&error.pointer, error.message, error.hint)
}

fn input(path: Option<&Path>) -> Result<Box<dyn BufRead + Send>, SettingsError> {
    // Large reads: a pipe hands over up to a megabyte at once.
    const BUFFER_BYTES: usize = 1024 * 1024;
    match path {
        None => Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, stdin()))),
        Some(path) => match File::open(path) {
            Ok(file) => Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file))),
            Err(source) => Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        },
    }
}
