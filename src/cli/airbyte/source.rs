//! `source-zoho-crm`: the tap, told what to do and saying what it reads in Airbyte's words.

use super::{SourceArgs, SourceCommand, answer, now, say, sign_in, spec};
use crate::cli::files;
use crate::cli::progress::{Screen, TapProgress};
use crate::cli::settings::{Program, Settings};
use crate::cli::tap::discovered;
use crate::diagnostic::Diagnostic;
use crate::error::{Error, SettingsError};
use crate::protocol::airbyte::{self, Speaker, message};
use crate::protocol::catalog::{Catalog, CatalogEntry, INCREMENTAL};
use crate::protocol::state::{State, StateError};
use crate::tap::extract::Sync;
use crate::tap::plan::MODIFIED_TIME;
use crate::tap::{self, TapConfig, deletes};
use crate::zoho::Client;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::stdout;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Runs the source.
pub async fn run(args: SourceArgs, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    match args.command {
        SourceCommand::Spec => say(&message::spec(spec::source())),
        SourceCommand::Check { config } => {
            let tried = tokio::select! {
                () = shutdown.cancelled() => Err(tap::Error::Interrupted.into()),
                tried = try_out(&config) => tried,
            };
            answer(tried)
        }
        SourceCommand::Discover { config } => discover(&config, &screen, &shutdown).await,
        SourceCommand::Read { config, catalog, state } => {
            read(&config, &catalog, state.as_deref(), &screen, shutdown).await
        }
    }
}

/// Settings, the tap's part of them, and a client.
fn ready(config: &Path) -> Result<(Settings, TapConfig, Client), Error> {
    let settings = Settings::from_platform(Program::Source, config)?;
    let tap = TapConfig { skip_unknown: true, ..settings.own()? };
    let client = Client::new(settings.connection()?)?;
    Ok((settings, tap, client))
}

/// Signs in and looks for a module to read.
async fn try_out(config: &Path) -> Result<(), Error> {
    let (settings, _, client) = ready(config)?;
    sign_in(&settings, &client).await?;
    let modules = client.modules().await?;
    if modules.iter().any(|module| module.api_supported && module.viewable) {
        return Ok(());
    }
    let reason = "this user may not read any module".to_owned();
    Err(tap::Error::Skipped { stream: "*".to_owned(), reason }.into())
}

async fn discover(config: &Path, screen: &Screen, shutdown: &CancellationToken) -> Result<(), Error> {
    let (settings, tap, client) = ready(config)?;
    sign_in(&settings, &client).await?;
    let mut catalog = discovered(&client, &tap, screen, shutdown).await?.catalog;
    catalog.streams.iter_mut().for_each(with_cursor);
    let all = settings.flag("all_fields");
    let offered = catalog.streams.iter().map(|entry| (entry, is_resumable(entry)));
    let catalog = airbyte::catalog::offer(offered, |entry, name| is_listed(entry, name, all));
    say(&json!({"type": "CATALOG", "catalog": catalog}))
}

/// Deletes are read on from a bookmark, too, one for each module.
fn with_cursor(entry: &mut CatalogEntry) {
    if entry.tap_stream_id == deletes::STREAM {
        entry.replication_method = Some(INCREMENTAL.to_owned());
        entry.replication_key = Some("deleted_time".to_owned());
    }
}

/// Whether an interrupted reading goes on where it stopped.
fn is_resumable(entry: &CatalogEntry) -> bool {
    entry.tap_stream_id == deletes::STREAM || entry.stream_metadata("zoho-module").is_some()
}

fn is_listed(entry: &CatalogEntry, name: &str, all: bool) -> bool {
    let metadata = |key: &str| entry.property_metadata(name, key);
    let is_dear = metadata("selected-by-default").and_then(Value::as_bool) == Some(false);
    metadata("inclusion").and_then(Value::as_str) != Some("unsupported") && (all || !is_dear)
}

async fn read(
    config: &Path,
    catalog: &Path,
    state: Option<&Path>,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (settings, config, client) = ready(config)?;
    let (catalog, whole) = chosen(catalog, settings.flag("all_fields"))?;
    let state = match state {
        Some(path) => handed_over(path, &whole)?,
        None => State::read(Value::Null)?,
    };
    sign_in(&settings, &client).await?;
    // What was restored comes again in its module's stream, after the deletes.
    let is_late = catalog.streams.iter().any(|entry| entry.tap_stream_id == deletes::STREAM);
    let edge = Box::new(Speaker::new(stdout(), is_late, now));
    let observer = TapProgress::new(screen.clone());
    let sync = Sync { client, config, state_dir: settings.state_dir(), edge, observer, shutdown };
    let (summary, ended) = sync.run(&catalog, state).await;
    screen.say(&summary.to_string());
    ended?;
    match summary.skipped.into_iter().next() {
        None => Ok(()),
        Some(skipped) => Err(tap::Error::Skipped { stream: skipped.module, reason: skipped.reason }.into()),
    }
}

/// Reads a configured catalog; also the names of the streams that are read whole.
fn chosen(path: &Path, all: bool) -> Result<(Catalog, HashSet<String>), SettingsError> {
    let streams = super::configured(path, "`source-zoho-crm discover`")?;
    let whole = streams.iter().filter(|stream| !stream.is_incremental());
    let whole = whole.map(|stream| stream.name.clone()).collect();
    Ok((airbyte::catalog::chosen(&streams, MODIFIED_TIME, all), whole))
}

fn handed_over(path: &Path, whole: &HashSet<String>) -> Result<State, SettingsError> {
    let invalid = |error: StateError| SettingsError::Invalid {
        origin: path.display().to_string(),
        what: error.to_string(),
        hint: error.hint(),
    };
    airbyte::state::read(files::state(path)?, |stream| whole.contains(stream)).map_err(invalid)
}
