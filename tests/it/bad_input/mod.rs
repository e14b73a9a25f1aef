//! What people see when they give us something wrong: exit code, stdout and stderr of every case, as
//! snapshots. A message says what failed and where, the hint what to do; no secret is ever shown.
//!
//! - `settings`: config files and variables, before anything is asked of Zoho.
//! - `zoho`: what Zoho refuses: sign-in, permission, scope, credits; and the way to it.
//! - `tap`: catalogs and states.
//! - `target`: messages, mappings, rows.

mod settings;
mod tap;
mod target;
mod zoho;

use crate::common::context::{TestContext, program};
use assert_cmd::Command;
use std::fs;

/// A program in the test's folder, told nothing.
fn bare(context: &TestContext, name: &str) -> Command {
    let mut command = program(name);
    command.current_dir(context.path("."));
    command
}

/// The tap with one config file of this text.
fn tap_with(context: &TestContext, config: &str) -> Command {
    with_config(context, "tap-zoho-crm", config)
}

/// The target with one config file of this text.
fn target_with(context: &TestContext, config: &str) -> Command {
    with_config(context, "target-zoho-crm", config)
}

fn with_config(context: &TestContext, name: &str, config: &str) -> Command {
    fs::write(context.path("bad.json"), config).expect("writes");
    let mut command = bare(context, name);
    command.args(["--config", "bad.json"]);
    command
}
