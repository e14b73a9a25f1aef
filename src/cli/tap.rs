//! `tap-zoho-crm`: discovery or a sync.

use super::about::about;
use super::args::{TapArgs, TestKind};
use super::files;
use super::metrics::{self, Measured};
use super::progress::{Screen, TapProgress};
use super::settings::{Program, Settings};
use super::shards;
use crate::diagnostic::{Diagnostic, ErrorClass, thousands};
use crate::error::{Error, SettingsError};
use crate::protocol::catalog::Catalog;
use crate::protocol::edge::Edge;
use crate::protocol::state::State;
use crate::protocol::writer::{MessageWriter, enlarge_pipe};
use crate::tap::TapConfig;
use crate::tap::batches::BatchWriter;
use crate::tap::discover::{Discovery, discover};
use crate::tap::extract::Sync;
use crate::tap::output::Observer;
use crate::tap::summary::Summary;
use crate::zoho::Client;
use chrono::Utc;
use serde_json::{Value, json};
use std::io::stdout;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the tap.
pub async fn run(args: TapArgs, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    if let Some(format) = args.about {
        return Ok(MessageWriter::new(stdout()).document(&about(Program::Tap, format))?);
    }
    let settings = Settings::load(Program::Tap, &args.config)?;
    let mut config: TapConfig = settings.own()?;
    if let Some(test) = args.test {
        config.trial = Some(if test == TestKind::All { 1 } else { 0 });
        config.activate_version = false;
        config.batch_config = None;
    }
    check_batches(&settings, &config)?;
    let mut connection = settings.connection()?;
    if let (Some(share), Some(path)) = (args.shard, &args.shard_plan) {
        config.shard = Some(Arc::new(shards::shard(share, path)?));
        connection.divide_among(share.of);
    }
    let client = Client::new(connection)?;
    let catalog = args.catalog.as_deref().map(catalog).transpose()?;
    let state = match &args.state {
        Some(path) => state(path)?,
        None => State::read(Value::Null)?,
    };
    if args.discover {
        let discovery = discovered(&client, &config, &screen, &shutdown).await?;
        let text = serde_json::to_string_pretty(&discovery.catalog).expect("a catalog is JSON");
        return Ok(MessageWriter::new(stdout()).document(&text)?);
    }
    let catalog = match catalog {
        Some(catalog) => catalog,
        None => discovered(&client, &config, &screen, &shutdown).await?.catalog,
    };
    if !catalog.streams.iter().any(|entry| entry.is_selected()) {
        tracing::warn!("no stream of the catalog is selected, so nothing is read");
    }
    let state_dir = settings.state_dir();
    let shown = TapProgress::new(screen.clone());
    let metrics = settings.metrics();
    let observer: Arc<dyn Observer> = if metrics { Measured::new(shown) } else { shown };
    let edge: Box<dyn Edge> = match &config.batch_config {
        Some(batches) => Box::new(BatchWriter::open(stdout(), batches, Utc::now())?),
        None => Box::new(MessageWriter::new(stdout())),
    };
    enlarge_pipe(stdout());
    let sync = Sync { client, config, state_dir, edge, observer, shutdown };
    let (summary, ended) = sync.run(&catalog, state).await;
    if metrics {
        metrics::count("http_request_count", summary.usage.calls, json!({}));
        metrics::count("api_credits", summary.usage.credits.total(), json!({}));
    }
    if let Some(words) = last_words(&summary, ended.as_ref().err().map(Diagnostic::class)) {
        screen.say(&words);
    }
    Ok(ended?)
}

/// What there is to say at the end of a run, besides its error.
fn last_words(summary: &Summary, failed: Option<ErrorClass>) -> Option<String> {
    match failed {
        // Who runs out of credits wants to know what they went into.
        None | Some(ErrorClass::Quota) => Some(summary.to_string()),
        Some(ErrorClass::Interrupted) => Some(
            "Stopped: everything that is out is in the last STATE, and a run with it goes on from there."
                .into(),
        ),
        Some(_) => None,
    }
}

/// What the schema of the settings cannot say about batch files.
fn check_batches(settings: &Settings, config: &TapConfig) -> Result<(), SettingsError> {
    let Some(batches) = &config.batch_config else { return Ok(()) };
    batches.check().map_err(|(pointer, what)| settings.invalid(pointer, what, None))?;
    if config.activate_version {
        let what = "`activate_version` does not go together with it: rows of a file carry no version";
        return Err(settings.invalid("/batch_config", what.to_owned(), None));
    }
    Ok(())
}

/// Discovers, and says what was found.
pub async fn discovered(
    client: &Client,
    config: &TapConfig,
    screen: &Screen,
    shutdown: &CancellationToken,
) -> Result<Discovery, Error> {
    let discovery = tokio::select! {
        () = shutdown.cancelled() => return Err(crate::tap::Error::Interrupted.into()),
        found = discover(client, config) => found?,
    };
    let fields: usize = discovery.catalog.streams.iter().map(|entry| entry.properties().count()).sum();
    let credits = client.usage().credits.total();
    screen.say(&format!(
        "Found {} streams with {} fields, for {} credits.",
        discovery.catalog.streams.len(),
        thousands(fields as u64),
        thousands(credits)
    ));
    for skipped in &discovery.skipped {
        screen.say(&format!("Skipped: {} ({})", skipped.module, skipped.reason));
    }
    Ok(discovery)
}

/// Reads a state file.
pub fn state(path: &Path) -> Result<State, SettingsError> {
    State::read(files::state(path)?).map_err(|error| SettingsError::Invalid {
        origin: path.display().to_string(),
        what: error.to_string(),
        hint: error.hint(),
    })
}

/// Reads a catalog file.
pub fn catalog(path: &Path) -> Result<Catalog, SettingsError> {
    Catalog::read(files::json(path)?).map_err(|error| SettingsError::Invalid {
        origin: path.display().to_string(),
        what: format!("this is no catalog: {error}"),
        hint: Some("`tap-zoho-crm --config … --discover` writes one".to_owned()),
    })
}
