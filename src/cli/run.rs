//! Runs one command: signals, exit code, the last words on stderr.

use super::airbyte::{self, DestinationArgs, SourceArgs};
use super::args::{LogArgs, OperatorArgs, TapArgs, TargetArgs};
use super::log_choice::LogChoice;
use super::progress::Screen;
use super::{logging, memory, operator, tap, target};
use crate::diagnostic::{Diagnostic, ErrorClass, ExitStatus};
use crate::error::Error;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Time from a signal to the end of the process, whatever hangs. Orchestrators kill after ten seconds
/// at the earliest; ours is five ("design", section 8) less some for the way out.
const LONGEST_GOODBYE: Duration = Duration::from_millis(4_500);

/// Runs `tap-zoho-crm`.
pub fn tap_main() -> ExitCode {
    match TapArgs::try_parse() {
        Ok(args) => {
            let choice = log_choice("tap-zoho-crm", &args.log);
            run(&choice, |screen, shutdown| tap::run(args, screen, shutdown))
        }
        Err(error) => usage(&error),
    }
}

/// Runs `target-zoho-crm`.
pub fn target_main() -> ExitCode {
    match TargetArgs::try_parse() {
        Ok(args) => {
            let choice = log_choice("target-zoho-crm", &args.log);
            run(&choice, |screen, shutdown| target::run(args, screen, shutdown))
        }
        Err(error) => usage(&error),
    }
}

/// Runs `source-zoho-crm`.
pub fn source_main() -> ExitCode {
    match SourceArgs::try_parse() {
        Ok(args) => {
            let choice = log_choice("source-zoho-crm", &airbyte::log_args(args.log_level));
            run(&choice, |screen, shutdown| airbyte::source(args, screen, shutdown))
        }
        Err(error) => usage(&error),
    }
}

/// Runs `destination-zoho-crm`.
pub fn destination_main() -> ExitCode {
    match DestinationArgs::try_parse() {
        Ok(args) => {
            let choice = log_choice("destination-zoho-crm", &airbyte::log_args(args.log_level));
            run(&choice, |screen, shutdown| airbyte::destination(args, screen, shutdown))
        }
        Err(error) => usage(&error),
    }
}

/// Runs `zoho-crm`, which is also any of the others when it is called by their name: an image with
/// links holds the code once.
pub fn operator_main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    match called.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("tap-zoho-crm") => return tap_main(),
        Some("target-zoho-crm") => return target_main(),
        Some("source-zoho-crm") => return source_main(),
        Some("destination-zoho-crm") => return destination_main(),
        _ => {}
    }
    match OperatorArgs::try_parse() {
        Ok(args) => {
            let choice = log_choice("zoho-crm", &args.log);
            run(&choice, |screen, shutdown| operator::run(args.command, screen, shutdown))
        }
        Err(error) => usage(&error),
    }
}

/// clap's own text: help and version to stdout with 0, mistakes to stderr with 2.
fn usage(error: &clap::Error) -> ExitCode {
    error.print().ok();
    if error.use_stderr() { ExitStatus::Config.into() } else { ExitStatus::Done.into() }
}

fn log_choice(program: &'static str, args: &LogArgs) -> LogChoice {
    LogChoice::new(program, args, |name| std::env::var(name).ok())
}

fn run<F, J>(choice: &LogChoice, job: F) -> ExitCode
where
    F: FnOnce(Screen, CancellationToken) -> J,
    J: Future<Output = Result<(), Error>> + Send + 'static,
{
    memory::keep_small();
    let screen = Screen::new(choice);
    logging::init(choice, &screen);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&screen, &Error::Runtime(error)),
    };
    let shutdown = CancellationToken::new();
    let end = runtime.block_on(supervise(job(screen.clone(), shutdown.clone()), shutdown));
    // A thread that still reads stdin must not keep the process.
    runtime.shutdown_background();
    let status = match end.result {
        Some(Ok(())) => ExitStatus::Done.into(),
        Some(Err(error)) if error.class() == ErrorClass::Closed => die(SIGPIPE),
        Some(Err(error)) if end.signal.is_none() || error.class() != ErrorClass::Interrupted => {
            fail(&screen, &error)
        }
        _ => ExitCode::FAILURE,
    };
    match end.signal {
        Some(signal) => die(signal),
        None => status,
    }
}

/// How a job ended, and the signal that came meanwhile.
struct End {
    result: Option<Result<(), Error>>,
    signal: Option<i32>,
}

async fn supervise(
    job: impl Future<Output = Result<(), Error>> + Send + 'static,
    shutdown: CancellationToken,
) -> End {
    let mut job = tokio::spawn(job);
    let flatten = |joined: Result<Result<(), Error>, tokio::task::JoinError>| match joined {
        Ok(result) => Some(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    };
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return End { result: flatten(job.await), signal: None };
    };
    let signal = tokio::select! {
        joined = &mut job => return End { result: flatten(joined), signal: None },
        _ = interrupt.recv() => SIGINT,
        _ = terminate.recv() => SIGTERM,
    };
    shutdown.cancel();
    let result = tokio::time::timeout(LONGEST_GOODBYE, &mut job).await;
    End { result: result.ok().and_then(flatten), signal: Some(signal) }
}

fn fail(screen: &Screen, error: &Error) -> ExitCode {
    let status = ExitStatus::from(error.class());
    screen.fail(error, status as u8);
    status.into()
}

/// Dies of a signal as a program without a handler does: what orchestrators and shells expect.
fn die(signal: i32) -> ExitCode {
    signal_hook::low_level::emulate_default_handler(signal).ok();
    ExitCode::FAILURE
}
