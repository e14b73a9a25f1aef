//! `zoho-crm man`: manual pages, from the same words as `--help`.

use super::airbyte::{DestinationArgs, SourceArgs};
use super::args::{OperatorArgs, TapArgs, TargetArgs};
use super::progress::Screen;
use crate::error::{Error, SettingsError};
use clap::{Command, CommandFactory};
use std::path::Path;

/// Writes a page for each program and for each command of the operator's tool.
///
/// # Errors
/// When the folder cannot be written.
pub fn pages(dir: &Path, screen: &Screen) -> Result<(), Error> {
    let unusable = |source| SettingsError::Unwritable { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(unusable)?;
    let commands = [
        TapArgs::command(),
        TargetArgs::command(),
        OperatorArgs::command(),
        SourceArgs::command(),
        DestinationArgs::command(),
    ];
    for command in commands {
        // clap's own `help` command would have a page for each command once more.
        clap_mangen::generate_to(without_help(command), dir).map_err(unusable)?;
    }
    screen.say(&format!(
        "Wrote the manual pages to `{}`; try `man {}/tap-zoho-crm.1`.",
        dir.display(),
        dir.display()
    ));
    Ok(())
}

fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
