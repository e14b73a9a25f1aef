//! `zoho-crm jobs`: what the target has under way, and what to do about what is in doubt.

use super::args::{ConfigArgs, JobsCommand};
use super::progress::Screen;
use super::settings::{Program, Settings};
use super::target;
use crate::diagnostic::thousands;
use crate::error::Error;
use crate::target::Error as TargetError;
use crate::target::jobs::{OpenJob, Resolution, list, resolve};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

/// Runs one of the commands.
pub async fn run(command: JobsCommand, screen: &Screen, shutdown: CancellationToken) -> Result<(), Error> {
    match command {
        JobsCommand::List(config) => {
            let jobs = list(&state_dir(&config)?).map_err(TargetError::from)?;
            if jobs.is_empty() {
                screen.say("Nothing is under way: every row that was sent has its outcome.");
            }
            for job in &jobs {
                screen.say(&line(job));
            }
        }
        JobsCommand::Wait(config) => target::finish(&config.config, screen, shutdown).await?,
        JobsCommand::Resolve { call, resend, config, .. } => {
            let resolution = if resend { Resolution::Resend } else { Resolution::Forget };
            let rows = resolve(&state_dir(&config)?, &call, resolution).map_err(TargetError::from)?;
            let what = if resend { "will be sent again" } else { "count as written" };
            screen.say(&format!("{} rows of {call} {what} from the next run on.", thousands(rows)));
        }
    }
    Ok(())
}

fn state_dir(config: &ConfigArgs) -> Result<PathBuf, Error> {
    Ok(Settings::load(Program::Operator, &config.config)?.state_dir())
}

fn line(job: &OpenJob) -> String {
    let jobs = match job.jobs.as_slice() {
        [] => String::new(),
        jobs => format!(", bulk write job {}", jobs.join(", ")),
    };
    let doubts = job.in_doubt.iter().map(|doubt| {
        format!(
            "\n  {}  {} rows in doubt ({}): `zoho-crm jobs resolve` decides",
            doubt.call,
            thousands(doubt.rows),
            doubt.lines
        )
    });
    let doubts: String = doubts.collect();
    format!(
        "{}  {} -> {}  {} rows not answered{jobs}{doubts}",
        job.batch,
        job.stream,
        job.module,
        thousands(job.rows)
    )
}
