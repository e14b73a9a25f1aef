//! `destination-zoho-crm`: the target, told what to do and answering in Airbyte's words.

use super::{DestinationArgs, DestinationCommand, answer, configured, say, sign_in, spec};
use crate::cli::progress::Screen;
use crate::cli::settings::{Program, Settings};
use crate::cli::target::{BUFFER_BYTES, about_settings, in_file};
use crate::diagnostic::{similar, thousands};
use crate::error::{Error, SettingsError};
use crate::protocol::airbyte::message;
use crate::tap;
use crate::target::summary::Summary;
use crate::target::{self, ConfigError, Source, Start, TargetConfig, activation};
use crate::zoho::Client;
use serde_json::json;
use std::io::{BufReader, stdin, stdout};
use std::path::Path;
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
    let ended = target::run(target, client, start, input, stdout()).await;
    let summary = ended.map_err(|error| about_settings(&settings, error))?;
    screen.say(&summary.to_string());
    tell_of_refused(&summary);
    if summary.too_many_rejected {
        return Err(Error::Rejected { rejected: summary.failed(), rejects: summary.rejects });
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
