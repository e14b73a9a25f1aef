//! A batch made ready while the one before it in its module is still written.
//!
//! Zoho takes its time over a job; meanwhile the file of the next one is made and uploaded. An upload writes
//! nothing, and the ledger learns of the batch only when its turn comes: a run killed before that leaves
//! nothing but a file in the folder, which the next one sweeps. Batches that could need what the one before
//! them brings are not taken ahead: those with parents, and those of which rows wait.

use std::collections::HashMap;

use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::bulk::Upload;
use super::error::Error;
use super::job::Job;
use super::ledger::{Call, StoredBatch, Way};
use super::mapping::Route;
use super::second::Patience;
use super::spool::SpoolReader;
use super::write::Writer;
use crate::zoho::types::FileId;

/// How long an upload made ahead is counted on. How long Zoho keeps one is not said anywhere; result files
/// are kept for days.
const UPLOAD_LASTS: Duration = Duration::from_secs(30 * 60);

/// Files made ready, by the number of their call.
pub(super) type Ready = HashMap<u32, Upload>;

/// A file in Zoho's store, which nothing refers to yet.
#[derive(Debug)]
pub(super) struct Stored {
    file: FileId,
    since: Instant,
}

impl Stored {
    pub fn now(file: FileId) -> Self {
        Self { file, since: Instant::now() }
    }

    /// The file, if Zoho surely still has it.
    pub fn fresh(self) -> Option<FileId> {
        (self.since.elapsed() < UPLOAD_LASTS).then_some(self.file)
    }
}

/// Waits until the batch before it is written.
pub(super) struct Turn(oneshot::Receiver<()>);

/// The batch of a module that is written, and the one made ready behind it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Line of the first row.
    pub first_line: u64,
    /// Whether rows of it may wait, and what comes later for their records with them.
    waits: bool,
    next: Option<Next>,
}

#[derive(Debug)]
struct Next {
    first_line: u64,
    turn: oneshot::Sender<()>,
}

impl InFlight {
    pub fn new(route: &Route, first_line: u64) -> Self {
        Self { first_line, waits: route.waits(), next: None }
    }

    /// Whether a batch of this route may be made ready behind it.
    pub fn lets_ahead(&self, route: &Route) -> bool {
        self.next.is_none() && !self.waits && !route.waits() && route.parents().next().is_none()
    }

    /// Puts a batch behind it.
    pub fn follow(&mut self, first_line: u64) -> Turn {
        let (turn, wait) = oneshot::channel();
        self.next = Some(Next { first_line, turn });
        Turn(wait)
    }

    /// Once it is written: the line it held, and what is in flight now.
    pub fn done(self) -> (u64, Option<Self>) {
        let next = self.next.map(|Next { first_line, turn }| {
            // Nobody listens where the run ends.
            let _ = turn.send(());
            Self { first_line, waits: self.waits, next: None }
        });
        (self.first_line, next)
    }
}

impl Writer {
    /// Makes files of what will go by bulk jobs, then waits for the batch's turn.
    ///
    /// # Errors
    /// When the disk refuses, the batch before it fails, or the run is told to stop.
    pub(super) async fn make_ready(
        &self,
        batch: &StoredBatch,
        reader: SpoolReader,
        calls: &[Call],
        turn: Turn,
    ) -> Result<(SpoolReader, Ready), Error> {
        let job = Job::new(self, batch, reader, Patience::Waits);
        let mut ready = Ready::new();
        if !self.dry_run {
            for call in calls.iter().filter(|call| matches!(call.way, Way::Bulk | Way::BulkInsert)) {
                let mut upload = job.make_file(call).await?;
                if upload.is_sendable()
                    && let Err(error) = job.store(&mut upload).await
                {
                    tracing::debug!(%error, "a file made ahead is uploaded again when its turn comes");
                }
                ready.insert(call.number, upload);
            }
            // It has to be on the disk before the ledger knows of it.
            job.reader.lock().await.sync()?;
        }
        let shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(Error::Interrupted),
            // Unsent, the run ends because of the batch before.
            turn = turn.0 => turn.map_err(|_| Error::Interrupted)?,
        }
        Ok((job.into_reader(), ready))
    }
}
