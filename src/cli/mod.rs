//! The three command lines: what was typed, what it means, what is run.
//!
//! The only part that reads arguments, environment and config files, and that chooses the exit code.

mod about;
mod args;
#[cfg(feature = "emulator")]
mod demo;
#[cfg(feature = "emulator")]
mod emulate;
mod explain;
mod files;
mod jobs;
mod logging;
mod operator;
mod plan;
mod progress;
mod run;
mod settings;
mod tap;
mod target;

pub use run::{operator_main, tap_main, target_main};
