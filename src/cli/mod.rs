//! The command lines: what was typed, what it means, what is run.
//!
//! The only part that reads arguments, environment and config files, and that chooses the exit code.

mod about;
mod airbyte;
mod args;
#[cfg(feature = "emulator")]
mod demo;
mod dotenv;
#[cfg(feature = "emulator")]
mod emulate;
mod explain;
mod files;
mod jobs;
mod log_choice;
mod logging;
mod man;
mod memory;
mod metrics;
mod operator;
mod plan;
mod plugin;
mod progress;
mod run;
mod settings;
mod shards;
mod structured;
mod tap;
mod target;

pub use run::{destination_main, operator_main, source_main, tap_main, target_main};
