//! Batches that are not finished, for the operator: what is in flight, what is in doubt, and what to do.

use std::collections::HashSet;
use std::path::Path;

use super::doubt::first_places;
use super::error::numbered;
use super::ledger::{Call, Ledger, LedgerError, Progress, RowRecord, StoredBatch};
use super::outcome::{Action, Outcome};
use super::spool::SpoolReader;

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
    /// Its calls whose rows may or may not be in Zoho and cannot be sent again safely.
    pub in_doubt: Vec<Doubt>,
}

/// A call in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Its name, as [`resolve`] takes it.
    pub call: String,
    /// Its rows.
    pub rows: u64,
    /// Where the first of them stand, in words.
    pub lines: String,
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
            jobs.push(OpenJob {
                rows: open.clone().map(Call::rows).sum(),
                jobs: open.clone().filter_map(|call| call.job.clone()).collect(),
                in_doubt: doubts(&ledger, &batch, &calls)?,
                batch: batch.id,
                org: org.clone(),
                stream: batch.route.stream,
                module: batch.route.module,
            });
        }
    }
    Ok(jobs)
}

fn doubts(ledger: &Ledger, batch: &StoredBatch, calls: &[Call]) -> Result<Vec<Doubt>, LedgerError> {
    let open: Vec<&Call> = calls.iter().filter(|call| call.is_in_doubt(&batch.route)).collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = SpoolReader::open(&batch.spool).map_err(|source| unreadable(batch, source))?;
    let doubt = |call: &Call| Doubt {
        call: call.name(&batch.id),
        rows: call.rows(),
        lines: numbered(&first_places(ledger, batch.run, call, &mut reader)),
    };
    Ok(open.into_iter().map(doubt).collect())
}

/// Decides about rows that are in doubt, those of a call or of all calls of a batch; the next run acts on it.
/// The number of rows.
///
/// # Errors
/// When nothing of that name is in doubt, another target is at work in the folder, or the ledger fails.
pub fn resolve(state_dir: &Path, name: &str, resolution: Resolution) -> Result<u64, LedgerError> {
    let ledger = Ledger::open(state_dir)?;
    let batch = name.split_once('/').map_or(name, |(batch, _)| batch);
    let known = ledger.orgs()?.iter().map(|org| ledger.open_batches(org)).collect::<Result<Vec<_>, _>>()?;
    let found = known
        .into_iter()
        .flatten()
        .find(|one| one.id == batch)
        .ok_or_else(|| LedgerError::NoBatch(batch.to_owned()))?;
    let mut rows = 0;
    let is_meant = |call: &Call| name == batch || name == call.name(batch);
    let calls = ledger.calls(batch)?.into_iter();
    for mut call in calls.filter(|call| call.is_in_doubt(&found.route) && is_meant(call)) {
        rows += call.rows();
        match resolution {
            Resolution::Resend => {
                call.progress = Progress::Planned;
                call.resent = true;
                ledger.set_progress(batch, &call)?;
            }
            Resolution::Forget => forget(&ledger, &found, &call)?,
        }
    }
    if rows == 0 { Err(LedgerError::NoDoubt(name.to_owned())) } else { Ok(rows) }
}

fn unreadable(batch: &StoredBatch, source: std::io::Error) -> LedgerError {
    LedgerError::Folder { folder: batch.spool.clone(), source }
}

/// Stores `written` for the rows of a call, so that they are reported and never sent again.
fn forget(ledger: &Ledger, batch: &StoredBatch, call: &Call) -> Result<(), LedgerError> {
    let unreadable = |source| unreadable(batch, source);
    let concerned: HashSet<u32> = call.units.iter().flatten().copied().collect();
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
