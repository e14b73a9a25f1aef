//! Shard plans on the command line: `zoho-crm plan --shards` writes one, `tap-zoho-crm --shard` reads it.

use super::files;
use super::operator::print;
use super::progress::Screen;
use super::settings::Settings;
use crate::diagnostic::thousands;
use crate::error::{Error, SettingsError};
use crate::protocol::catalog::Catalog;
use crate::tap::TapConfig;
use crate::tap::shards::cut::cut;
use crate::tap::shards::file::ShardPlan;
use crate::tap::shards::{Shard, Share};
use crate::zoho::Client;
use std::fs;
use std::path::Path;

/// Reads a plan, for one of its shards.
pub fn shard(share: Share, path: &Path) -> Result<Shard, SettingsError> {
    let value = files::json(path)?;
    let plan = ShardPlan::of(&value, share.of).map_err(|error| SettingsError::Invalid {
        origin: path.display().to_string(),
        what: error.to_string(),
        hint: Some(format!("`zoho-crm plan --shards {} --shard-plan …` writes one", share.of)),
    })?;
    Ok(Shard::new(share, plan))
}

/// Makes a plan, writes it and says what it divides.
pub async fn plan(
    client: Client,
    config: TapConfig,
    settings: &Settings,
    catalog: &Catalog,
    shards: usize,
    path: Option<&Path>,
    screen: &Screen,
) -> Result<(), Error> {
    let cut = cut(client.clone(), config, settings.state_dir(), catalog, shards).await?;
    let text = format!("{:#}", cut.plan.to_value());
    match path {
        None => print(&text)?,
        Some(path) => fs::write(path, text + "\n")
            .map_err(|source| SettingsError::Unwritable { path: path.to_owned(), source })?,
    }
    for (stream, rows) in &cut.streams {
        screen.say(&match rows {
            Some(rows) => {
                format!("{stream}: {shards} shards of about {} rows", thousands(rows / shards as u64))
            }
            None => format!("{stream}: not divided, read by shard 1"),
        });
    }
    screen.say(&format!(
        "This plan ({}) cost {} credits.",
        cut.plan.fingerprint(),
        thousands(client.usage().credits.total())
    ));
    Ok(())
}
