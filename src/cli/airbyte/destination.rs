//! `destination-zoho-crm`: the target, told what to do and answering in Airbyte's words.

use super::{DestinationArgs, DestinationCommand, answer, configured, say, sign_in, spec};
use crate::cli::progress::Screen;
use crate::cli::settings::{Program, Settings};
use crate::cli::target::{BUFFER_BYTES, about_settings, in_file};
use crate::diagnostic::{similar, thousands};
use crate::error::{Error, SettingsError};
use crate::protocol::airbyte::message;
use crate::storage::{Bucket, BucketSettings};
use crate::tap;
use crate::target::summary::Summary;
use crate::target::{self, ConfigError, Source, Start, TargetConfig, activation};
use crate::zoho::Client;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufReader, stdin, stdout};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio_util::sync::CancellationToken;

/// Runs the destination.
pub async fn run(args: DestinationArgs, screen: Screen, shutdown: CancellationToken) -> Result<(), Error> {
    let writes = matches!(args.command, DestinationCommand::Write { .. });
    let work = async {
        match args.command {
            DestinationCommand::Spec => say(&message::spec(spec::destination())),
            DestinationCommand::Check { config } => answer(try_out(&config).await),
            DestinationCommand::Discover { config } => discover(&config).await,
            // The target itself sees to a good end when it is told to stop.
            DestinationCommand::Write { config, catalog } => {
                return write(&config, &catalog, &screen, shutdown.clone()).await;
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled(), if !writes => Err(tap::Error::Interrupted.into()),
        done = work => done,
    }
}

/// Settings, the target's part of them, and a client.
fn ready(config: &Path) -> Result<(Settings, TargetConfig, Client), Error> {
    let settings = Settings::from_platform(Program::Destination, config)?;
    let mut whole = settings.whole();
    // A platform counts refused rows and goes on; whoever wants the sync to fail says how many are too many.
    if whole.get("max_rejected").is_none() {
        whole["max_rejected"] = json!("100%");
    }
    let target = TargetConfig::from_json(&whole).map_err(|error| in_file(&settings, error))?;
    let client = Client::new(settings.connection()?)?;
    Ok((settings, target, client))
}

/// Signs in and looks whether the modules that the settings name can be written.
async fn try_out(config: &Path) -> Result<(), Error> {
    let (settings, target, client) = ready(config)?;
    rejected_storage(&settings)?;
    sign_in(&settings, &client).await?;
    let modules = client.modules().await?;
    let writable = || modules.iter().filter(|module| module.api_supported && module.creatable);
    if writable().next().is_none() {
        let reason = "this user may not write to any module".to_owned();
        return Err(tap::Error::Skipped { stream: "*".to_owned(), reason }.into());
    }
    for stream in target.streams.values().flatten() {
        let (name, pointer) = (stream.module.as_str(), format!("{}/module", stream.pointer));
        if !modules.iter().any(|module| module.api_name == name && module.api_supported) {
            let error = ConfigError::new(pointer, format!("\"{name}\" is not a module of this organisation"));
            let near = similar(name, writable().map(|module| module.api_name.as_str()));
            let hint = near.map(|near| format!("did you mean \"{near}\"?"));
            return Err(in_file(&settings, ConfigError { hint, ..error }).into());
        }
    }
    Ok(())
}

async fn discover(config: &Path) -> Result<(), Error> {
    let (settings, _, client) = ready(config)?;
    sign_in(&settings, &client).await?;
    let catalog = activation::operations(&client).await?;
    say(&json!({"type": "DESTINATION_CATALOG", "destination_catalog": catalog}))
}

async fn write(
    config: &Path,
    catalog: &Path,
    screen: &Screen,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (settings, target, client) = ready(config)?;
    let bucket = rejected_storage(&settings)?;
    let streams = configured(catalog, "a source's `discover`")?;
    let about_catalog = |error: ConfigError| SettingsError::Invalid {
        origin: catalog.display().to_string(),
        what: error.message,
        hint: error.hint,
    };
    let target = target.with_catalog(streams).map_err(about_catalog)?;
    sign_in(&settings, &client).await?;
    let dir = settings.state_dir();
    let (source, input_name, now) = (Source::Tap, "stdin".to_owned(), SystemTime::now());
    let start = Start { state_dir: &dir, source, input_name, dry_run: false, now, shutdown };
    let input = BufReader::with_capacity(BUFFER_BYTES, stdin());
    let before = rejected_files(&dir);
    let ended = target::run(target, client, start, input, stdout()).await;
    // However the run ended: what was rejected is told to nobody else.
    let kept = keep(bucket.as_ref(), rejected_files(&dir).difference(&before)).await;
    if let (Err(error), true) = (&kept, ended.is_err()) {
        tracing::error!(%error, "rejected rows are in `state_dir` only");
    }
    let summary = ended.map_err(|error| about_settings(&settings, error))?;
    screen.say(&summary.to_string());
    tell_of_refused(&summary);
    kept?;
    if summary.too_many_rejected {
        return Err(Error::Rejected { rejected: summary.failed(), rejects: summary.rejects });
    }
    Ok(())
}

/// Where rejected rows go besides `state_dir`.
fn rejected_storage(settings: &Settings) -> Result<Option<Bucket>, Error> {
    let whole = settings.whole();
    let storage = &whole["object_storage_config"];
    if storage["storage_type"] != "S3" {
        return Ok(None);
    }
    let invalid =
        |key: &str, what: String| settings.invalid(&format!("/object_storage_config{key}"), what, None);
    let place: BucketSettings =
        serde_json::from_value(storage.clone()).map_err(|error| invalid("", error.to_string()))?;
    Ok(Some(Bucket::open(place).map_err(|(key, what)| invalid(key, what))?))
}

/// The files of rejected rows that are there.
fn rejected_files(state_dir: &Path) -> BTreeSet<PathBuf> {
    let files = std::fs::read_dir(state_dir.join("rejected")).into_iter().flatten();
    files.filter_map(|file| Some(file.ok()?.path())).collect()
}

/// Puts files into the bucket, if there is one.
async fn keep(bucket: Option<&Bucket>, files: impl Iterator<Item = &PathBuf>) -> Result<(), Error> {
    let Some(bucket) = bucket else { return Ok(()) };
    for file in files {
        let place = bucket.put(file).await?;
        tracing::info!("rejected rows are kept in `{place}`");
    }
    Ok(())
}

/// Rows that Zoho refused are no failure of the sync, and no secret either.
fn tell_of_refused(summary: &Summary) {
    if let (Some(path), refused @ 1..) = (&summary.rejects, summary.failed()) {
        tracing::warn!(
            "{} rows were refused; they are kept with their reasons in `{}`",
            thousands(refused),
            path.display()
        );
    }
}
