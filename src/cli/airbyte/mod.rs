//! `source-zoho-crm` and `destination-zoho-crm`: tap and target behind Airbyte's command line.
//!
//! What is typed and said differs; settings, discovery, sync and writing are those of the Singer programs.

mod destination;
mod source;
mod spec;

pub use destination::run as destination;
pub use source::run as source;

use super::args::{EXIT_CODES, LogArgs, LogLevel};
use super::files;
use super::settings::Settings;
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::error::{Error, SettingsError};
use crate::protocol::airbyte::catalog::{self, Configured};
use crate::protocol::airbyte::message;
use crate::protocol::writer::MessageWriter;
use crate::zoho::Client;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::io::stdout;
use std::path::{Path, PathBuf};

/// Airbyte source for Zoho CRM: reads modules and writes Airbyte messages to stdout
#[derive(Debug, Parser)]
#[command(name = "source-zoho-crm", version, after_help = EXIT_CODES)]
pub struct SourceArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SourceCommand,
    /// Least important lines to log; `info`, unless the environment says otherwise (`LOGLEVEL`)
    #[arg(long, value_enum, global = true)]
    pub log_level: Option<LogLevel>,
}

/// What the source can do.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Describe the settings
    Spec,
    /// Say whether the settings work
    Check {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the catalog of all streams
    Discover {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read the streams of a configured catalog
    Read {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Which streams and fields to read, and how
        #[arg(long, value_name = "FILE")]
        catalog: PathBuf,
        /// Where the sync before this one stopped
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
}

/// Airbyte destination for Zoho CRM: writes the records of any Airbyte source into modules
#[derive(Debug, Parser)]
#[command(name = "destination-zoho-crm", version, after_help = EXIT_CODES)]
pub struct DestinationArgs {
    /// What to do
    #[command(subcommand)]
    pub command: DestinationCommand,
    /// Least important lines to log; `info`, unless the environment says otherwise (`LOGLEVEL`)
    #[arg(long, value_enum, global = true)]
    pub log_level: Option<LogLevel>,
}

/// What the destination can do.
#[derive(Debug, Subcommand)]
pub enum DestinationCommand {
    /// Describe the settings
    Spec,
    /// Say whether the settings work
    Check {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write what can be done in each module, with its fields and keys
    Discover {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Write the records on stdin into Zoho
    Write {
        /// Settings, a JSON file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Which streams come, and how each is written
        #[arg(long, value_name = "FILE")]
        catalog: PathBuf,
    },
}

/// How much such a program logs; the form is Airbyte's.
pub fn log_args(log_level: Option<LogLevel>) -> LogArgs {
    LogArgs { log_level, log_format: Some(super::args::LogFormat::Airbyte) }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// Writes one message.
fn say(message: &Value) -> Result<(), Error> {
    Ok(MessageWriter::new(stdout()).document(&message.to_string())?)
}

/// Answers `check`: what a person can mend is the answer, what is our own fault is an error.
fn answer(tried: Result<(), Error>) -> Result<(), Error> {
    let outcome = match tried {
        Ok(()) => Ok(()),
        Err(error) => match error.class() {
            ErrorClass::Internal | ErrorClass::Closed | ErrorClass::Interrupted => return Err(error),
            _ => Err(message::words(&error)),
        },
    };
    say(&message::connection_status(outcome))
}

/// Signs in. Who signed in by a grant code has a refresh token now: the platform is told to keep it, since
/// the code is worth nothing any longer.
async fn sign_in(settings: &Settings, client: &Client) -> Result<(), Error> {
    client.sign_in().await?;
    let Some(token) = client.granted_token().await? else { return Ok(()) };
    let mut config = settings.given().clone();
    config.remove("grant_code");
    config.insert("refresh_token".to_owned(), token.expose().into());
    say(&message::connector_config(&Value::Object(config), now()))
}

/// Reads a configured catalog; `source` says where such a thing comes from.
fn configured(path: &Path, source: &str) -> Result<Vec<Configured>, SettingsError> {
    catalog::configured(&files::json(path)?).map_err(|error| SettingsError::Invalid {
        origin: path.display().to_string(),
        what: format!("this is no configured catalog: {error}"),
        hint: Some(format!("each of its streams holds a `stream` of the catalog that {source} writes")),
    })
}
