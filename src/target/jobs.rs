//! Batches that are not finished, for the operator: what is in flight, what is in doubt, and what to do.

use std::path::Path;

use super::ledger::{Ledger, LedgerError, Progress};

/// A batch that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    /// Its name, as `resolve` takes it.
    pub batch: String,
    /// The organisation.
    pub org: String,
    /// The stream.
    pub stream: String,
    /// The module.
    pub module: String,
    /// Rows that are not answered.
    pub rows: u64,
    /// Bulk jobs in flight.
    pub jobs: Vec<String>,
    /// Whether some of its rows may or may not be in Zoho and cannot be sent again safely.
    pub in_doubt: bool,
}

/// What to do with rows in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Send them again; they may be there twice then.
    Resend,
    /// Take them as written; they may be missing then.
    Forget,
}

/// Lists the batches that are not finished.
///
/// # Errors
/// When another target is at work in the folder, or the ledger fails.
pub fn list(state_dir: &Path) -> Result<Vec<OpenJob>, LedgerError> {
    let ledger = Ledger::open(state_dir)?;
    let mut jobs = Vec::new();
    for org in ledger.orgs()? {
        for batch in ledger.open_batches(&org)? {
            let calls = ledger.calls(&batch.id)?;
            let open = calls.iter().filter(|call| call.progress != Progress::Done);
            use super::ledger::Way;
            let repeatable = |way: Way| way.is_harmless() || batch.route.idempotent;
            jobs.push(OpenJob {
                rows: open.clone().flat_map(|call| &call.units).map(|unit| unit.len() as u64).sum(),
                jobs: open.clone().filter_map(|call| call.job.clone()).collect(),
                in_doubt: open.clone().any(|call| call.progress == Progress::Intent && !repeatable(call.way)),
                batch: batch.id,
                org: org.clone(),
                stream: batch.route.stream,
                module: batch.route.module,
            });
        }
    }
    Ok(jobs)
}

/// Decides about the rows of a batch that are in doubt; the next run acts on it. The number of rows.
///
/// # Errors
/// When there is no such batch, another target is at work in the folder, or the ledger fails.
pub fn resolve(state_dir: &Path, batch: &str, resolution: Resolution) -> Result<u64, LedgerError> {
    let ledger = Ledger::open(state_dir)?;
    let known = ledger.orgs()?.iter().map(|org| ledger.open_batches(org)).collect::<Result<Vec<_>, _>>()?;
    let found = known
        .into_iter()
        .flatten()
        .find(|one| one.id == batch)
        .ok_or_else(|| LedgerError::NoBatch(batch.to_owned()))?;
    let mut rows = 0;
    for mut call in ledger.calls(batch)?.into_iter().filter(|call| call.progress == Progress::Intent) {
        rows += call.units.iter().map(|unit| unit.len() as u64).sum::<u64>();
        match resolution {
            Resolution::Resend => {
                call.progress = Progress::Planned;
                call.resent = true;
                ledger.set_progress(batch, &call)?;
            }
            Resolution::Forget => forget(&ledger, &found, &call)?,
        }
    }
    Ok(rows)
}

/// Stores `written` for the rows of a call, so that they are reported and never sent again.
fn forget(
    ledger: &Ledger,
    batch: &super::ledger::StoredBatch,
    call: &super::ledger::Call,
) -> Result<(), LedgerError> {
    use super::batch::SpoolReader;
    use super::ledger::RowRecord;
    use super::outcome::{Action, Outcome};

    let unreadable = |source| LedgerError::Folder { folder: batch.spool.clone(), source };
    let concerned: std::collections::HashSet<u32> = call.units.iter().flatten().copied().collect();
    let mut rows = Vec::new();
    SpoolReader::open(&batch.spool)
        .map_err(unreadable)?
        .each(|number, entry| {
            if concerned.contains(&number) {
                let outcome = Outcome {
                    message: Some("taken as written by `jobs resolve --forget`".to_owned()),
                    ..Outcome::new(Action::Written)
                };
                rows.push(RowRecord {
                    entry: number,
                    line: entry.line,
                    key: entry.key,
                    hash: entry.hash,
                    outcome,
                    partly: false,
                    completes: None,
                });
            }
            std::io::Result::Ok(())
        })
        .map_err(unreadable)?;
    ledger.finish_call(batch, call, &rows, &mut [])
}
