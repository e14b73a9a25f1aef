//! What a run would do: the input is read, mapped, checked and planned, and nothing is written to Zoho.
//!
//! It works on a folder of its own, so that the ledger stays as it is; rows that an earlier run has written
//! are counted as if they were new. Metadata are asked for, which costs credits, and that is said.

use std::fmt;
use std::io::{BufRead, sink};

use serde_json::Value;

use super::batch::Step;
use super::config::{Results, TargetConfig};
use super::error::Error;
use super::ledger::{Call, StoredBatch};
use super::outcome::{Action, Outcome};
use super::plan;
use super::spool::{Head, SpoolReader};
use super::summary::{Summary, Tally, counted};
use super::waiting::Waiting;
use super::write::Written;
use super::{Start, run};
use crate::diagnostic::thousands;
use crate::zoho::Client;

/// Rejected rows that are shown one by one.
const REJECTS_SHOWN: usize = 10;

/// The plan of a run.
#[derive(Debug)]
pub struct Rehearsal {
    /// Counts, with what it would take.
    pub summary: Summary,
    /// The first rows that would be rejected before they are sent, in words.
    pub rejects: Vec<String>,
    /// Credits that the rehearsal itself took, for metadata.
    pub spent: u64,
}

/// Plans a run without writing anything.
///
/// # Errors
/// As [`run`], for everything but writing.
pub async fn rehearse(
    mut config: TargetConfig,
    client: Client,
    start: Start<'_>,
    input: impl BufRead + Send + 'static,
) -> Result<Rehearsal, Error> {
    let folder = tempfile::tempdir()?;
    let results = folder.path().join("results.jsonl");
    config.results = Results::File(results.clone());
    // The folder is always new, which here means nothing.
    config.at_least_once = true;
    let start = Start { state_dir: folder.path(), dry_run: true, ..start };
    let before = client.usage().credits.total();
    let summary = run(config, client.clone(), start, input, sink()).await?;
    let spent = client.usage().credits.total() - before;
    let rejects = std::fs::read_to_string(&results)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|result| result["success"] == false)
        .take(REJECTS_SHOWN)
        .map(|result| in_words(&result))
        .collect();
    Ok(Rehearsal { summary, rejects, spent })
}

fn in_words(result: &Value) -> String {
    let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
    let parts = [text("stream"), text("field"), text("code"), text("message")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let line = match (result["file"].as_str(), &result["file_line"]) {
        (Some(file), line) => format!("{} of `{file}`", thousands(line.as_u64().unwrap_or(0))),
        (None, _) => thousands(result["line"].as_u64().unwrap_or(0)),
    };
    format!("line {line}   {}", parts.join("   "))
}

/// A batch as if it had been written: what is decided stays, all else would be sent.
///
/// # Errors
/// When the spool file cannot be read.
pub(super) fn written(batch: StoredBatch, mut reader: SpoolReader, calls: &[Call]) -> Result<Written, Error> {
    let effort = plan::price(&mut reader, &batch.route, calls)?;
    let outcome = |head: &Head| match &head.step {
        Step::Decided(outcome) => (**outcome).clone(),
        Step::Send | Step::Change(_) => Outcome::new(Action::Written),
    };
    let outcomes = reader.heads()?.iter().map(outcome).collect();
    Ok(Written { batch, reader, outcomes, waiting: Waiting::default(), remembered: Vec::new(), effort })
}

fn way(tally: &Tally) -> String {
    let mut parts = Vec::new();
    if tally.effort.jobs > 0 {
        parts.push(format!("bulk write, {}", counted(tally.effort.jobs, "job", "jobs")));
    }
    if tally.effort.calls > 0 {
        parts.push(counted(tally.effort.calls, "record call", "record calls"));
    }
    if parts.is_empty() { "nothing to send".to_owned() } else { parts.join(", ") }
}

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Nothing was written; this is what a run would do:")?;
        let mut total = 0;
        for tally in &self.summary.tallies {
            let rows = tally.actions.get(&Action::Written).copied().unwrap_or(0);
            total += tally.effort.credits;
            writeln!(
                f,
                "  {} to {} ({}): {}, {}",
                counted(rows, "row", "rows"),
                tally.module,
                tally.how,
                way(tally),
                counted(tally.effort.credits, "credit", "credits"),
            )?;
            let aside = |action, word: &str| {
                let count = tally.actions.get(&action).copied().unwrap_or(0);
                (count > 0).then(|| format!("{} {word}", thousands(count)))
            };
            let aside = [aside(Action::Skipped, "skipped"), aside(Action::Rejected, "rejected")];
            let aside: Vec<String> = aside.into_iter().flatten().collect();
            if !aside.is_empty() {
                writeln!(f, "    {} before anything is sent", aside.join(", "))?;
            }
        }
        write!(f, "Total: {}", counted(total, "credit", "credits"))?;
        if !self.rejects.is_empty() {
            let all = self.summary.failed();
            let shown = self.rejects.len() as u64;
            let which = if all > shown { format!(", the first {shown}") } else { String::new() };
            write!(f, "\nRejected{which}:")?;
            for reject in &self.rejects {
                write!(f, "\n  {reject}")?;
            }
        }
        write!(
            f,
            "\nThe plan itself took {} for metadata. Rows that an earlier run wrote count as new here.",
            counted(self.spent, "credit", "credits")
        )
    }
}
