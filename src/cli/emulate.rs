//! `zoho-crm emulate`: a local Zoho CRM, until it is stopped.

use super::args::EmulateArgs;
use super::files;
use super::progress::Screen;
use crate::diagnostic::thousands;
use crate::emulator::{self, Emulator, Options, OrgOptions};
use crate::error::{Error, SettingsError};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the emulator.
pub async fn run(args: EmulateArgs, screen: &Screen) -> Result<(), Error> {
    let mut options = Options { listen: args.listen, seed: args.seed, ..Options::default() };
    options.rows = args.rows.into_iter().collect();
    options.schema = args.schema.as_deref().map(files::json).transpose()?;
    if let Some(millis) = args.job_millis {
        options.job_ms = i64::try_from(millis).unwrap_or(i64::MAX);
    }
    let rows = options.rows.clone();
    let emulator = emulator::start(options).await?;
    announce(&emulator, screen);
    for (module, rows) in rows {
        screen.say(&format!("  {module}: {} rows", thousands(rows)));
    }
    let settings = settings(&emulator, 0);
    match &args.write_config {
        Some(path) => {
            write(path, &settings)?;
            screen.say(&format!("Settings for tap and target are in {}", path.display()));
        }
        None => screen.say(&format!("Settings for tap and target:\n{settings:#}")),
    }
    emulator.wait().await;
    Ok(())
}

fn announce(emulator: &Emulator, screen: &Screen) {
    let org = &emulator.orgs()[0];
    screen.say(&format!(
        "A local Zoho CRM (org \"{}\", {:?}, {} users) listens on {}",
        org.name,
        org.edition,
        org.users,
        emulator.base_url()
    ));
}

/// Settings with which tap and target reach one of the emulator's organisations.
pub fn settings(emulator: &Emulator, org: usize) -> Value {
    let org: &OrgOptions = &emulator.orgs()[org];
    let url = emulator.base_url();
    json!({
        "client_id": org.client_id,
        "client_secret": org.client_secret.expose(),
        "refresh_token": org.refresh_token.expose(),
        "api_url": url,
        "accounts_url": url,
        "content_url": url,
    })
}

/// Writes a JSON file.
pub fn write(path: &Path, value: &Value) -> Result<(), SettingsError> {
    std::fs::write(path, format!("{value:#}\n"))
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })
}
