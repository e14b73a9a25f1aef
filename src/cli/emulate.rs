//! `zoho-crm emulate`: a local Zoho CRM, until it is stopped.

use super::args::EmulateArgs;
use super::files;
use super::progress::Screen;
use crate::diagnostic::thousands;
use crate::emulator::breadth::Breadth;
use crate::emulator::faults::Rule;
use crate::emulator::{self, Emulator, Options, OrgOptions};
use crate::error::{Error, SettingsError};
use crate::secret::Secret;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Runs the emulator.
pub async fn run(args: EmulateArgs, screen: &Screen) -> Result<(), Error> {
    let options = options(&args)?;
    let emulator = emulator::start(options).await?;
    announce(&emulator, screen);
    for (module, rows) in &args.rows {
        screen.say(&format!("  {module}: {} rows", thousands(*rows)));
    }
    for (number, org) in emulator.orgs().iter().enumerate() {
        let settings = settings(&emulator, number);
        match &args.write_config {
            Some(path) => {
                let path = numbered(path, number);
                write(&path, &settings)?;
                screen.say(&format!("Settings that reach \"{}\" are in {}", org.name, path.display()));
            }
            None => screen.say(&format!("Settings that reach \"{}\":\n{settings:#}", org.name)),
        }
    }
    emulator.wait().await;
    Ok(())
}

fn options(args: &EmulateArgs) -> Result<Options, Error> {
    let mut options = Options { listen: args.listen, seed: args.seed, ..Options::default() };
    options.schema = args.schema.as_deref().map(files::json).transpose()?;
    options.breadth = Breadth { modules: args.more_modules, wide: args.wide.clone() };
    if let Some(millis) = args.job_millis {
        options.job_ms = i64::try_from(millis).unwrap_or(i64::MAX);
    }
    options.rows = args.rows.iter().cloned().collect();
    options.prepared.clone_from(&args.prepared);
    options.blind_writes = args.blind_writes;
    options.limits.off = args.no_limits;
    options.orgs.extend((2..).take(args.more_orgs.into()).map(|number| OrgOptions {
        name: format!("Zylker {number}"),
        client_id: format!("1000.EMULATOR{number}"),
        refresh_token: Secret::new(format!("1000.emulator{number}.refresh")),
        rows: Some(BTreeMap::new()),
        ..OrgOptions::default()
    }));
    let wrong = |flag: &str, error: serde_json::Error| SettingsError::Usage {
        message: format!("`{flag}` cannot be used: {error}"),
        hint: "the emulator's pages `switches` and `faults` in the crate's documentation list what there is"
            .into(),
    };
    let switches = options.switches.with(args.switches.iter().cloned().collect());
    options.switches = switches.map_err(|error| wrong("--switch", error))?;
    let faults: Result<Vec<Rule>, _> = args.faults.iter().map(|rule| serde_json::from_str(rule)).collect();
    options.faults = faults.map_err(|error| wrong("--fault", error))?;
    Ok(options)
}

/// `config.json` for the first organisation, `config-2.json` for the second.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{}{}", number + 1, extension.unwrap_or_default()))
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
