//! The Singer target: messages in, rows into Zoho, an outcome for every row, STATE values out.
//!
//! ```text
//! stdin ─▶ ingest ─▶ mapping ─▶ preflight ─▶ replay ─▶ batch (spool) ─▶ plan ─▶ write ─▶ report ─▶ state ─▶ stdout
//!                                                                        ╰──── ledger ────╯
//! ```
//!
//! One file per step; `pipeline` is the loop that drives them, [`run`] the only entry. Follows the Singer
//! specification 0.3.0 on the input side, Zoho's v8 pages on the other.

pub mod activation;
mod ahead;
mod announce;
pub mod batch;
mod bulk;
pub mod check;
mod columns;
pub mod condition;
pub mod conduct;
pub mod config;
pub mod deletes;
mod doubt;
pub mod error;
mod family;
mod files;
mod flow;
pub mod ingest;
mod inside;
mod job;
pub mod jobs;
pub mod ledger;
mod look;
mod lookup;
pub mod mapping;
pub mod matching;
pub mod memory;
pub mod metadata;
mod nested;
pub mod operation;
pub mod outcome;
mod parents;
pub mod path;
mod pipeline;
pub mod plan;
pub mod platform;
pub mod preflight;
pub mod record;
mod records;
pub mod rehearsal;
mod relations;
mod removal;
pub mod replay;
pub mod report;
mod resolve;
pub mod route;
mod second;
mod shape;
mod spool;
pub mod state;
pub mod summary;
#[cfg(test)]
mod tests;
mod unclear;
pub mod users;
mod waiting;
pub mod write;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{ConfigError, TargetConfig};
pub use error::Error;
pub use rehearsal::{Rehearsal, rehearse};
pub use summary::Summary;

use crate::protocol::reader::ChunkReader;
use crate::zoho::Client;
use deletes::Deletes;
use ledger::{Ledger, RunStart};
use memory::Memory;
use metadata::Metadata;
use pipeline::{Input, Pipeline};
use replay::Replays;
use report::Reporter;
use state::StateGate;
use write::Writer;

/// Chunks that wait between the thread that reads and the loop that writes.
const CHUNKS_AHEAD: usize = 4;

/// Where a run's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A tap, which starts again from a STATE after a run that was cut off.
    Tap,
    /// A file of rejected rows, sent again as a whole.
    Rejects,
}

impl Source {
    /// What the ledger calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Tap => "",
            Self::Rejects => "retry",
        }
    }
}

/// What a run is told besides its settings.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The folder kept between runs.
    pub state_dir: &'a Path,
    /// Where the rows come from.
    pub source: Source,
    /// What errors call the input: `stdin`, or a file's name.
    pub input_name: String,
    /// Whether nothing is to be written to Zoho; what would be done is counted.
    pub dry_run: bool,
    /// Names the run's files.
    pub now: SystemTime,
    /// When it is cancelled nothing new is sent, the STATE that is true is out, and the run ends within
    /// seconds.
    pub shutdown: CancellationToken,
}

/// Reads Singer messages from `input` and writes their rows into Zoho; STATE values go to `output`.
///
/// Batches that an earlier run left behind are finished first.
///
/// # Errors
/// [`Error`]; everything accepted before an input error is written, everything sent stands in the ledger.
pub async fn run(
    config: TargetConfig,
    client: Client,
    start: Start<'_>,
    input: impl BufRead + Send + 'static,
    output: impl Write + Send,
) -> Result<Summary, Error> {
    let begun = tokio::time::Instant::now();
    let ledger = Ledger::open(start.state_dir)?;
    client.sign_in().await.map_err(|error| Error::zoho("cannot sign in to Zoho", error))?;
    let org = client.org().await.map_err(|error| Error::zoho("cannot read the organisation", error))?;
    let name = DateTime::<Utc>::from(start.now).format("%Y-%m-%dT%H-%M-%S").to_string();
    let began = ledger.begin_run(&org.zgid, start.source.name(), &name, config.replay_states)?;
    let run_name = ledger.run_name(began.run)?;
    if began.fresh {
        tracing::info!("the state folder `{}` is new: no earlier run is known", start.state_dir.display());
    }
    let reporter = Reporter::open(&config.results, start.state_dir, &run_name, ledger.clone())?;
    let writer = Writer {
        client,
        ledger: ledger.clone(),
        config: Arc::new(config),
        org: Arc::from(org.zgid),
        run: began.run,
        folder: ledger.spool_folder(),
        // A child: a failure of ours stops our own tasks, not the caller's.
        shutdown: start.shutdown.child_token(),
        creating: Arc::default(),
        heavy: Arc::default(),
        dry_run: start.dry_run,
        upload_speed: Arc::new(u64::MAX.into()),
        job_micros: Arc::default(),
    };
    let mut pipeline = pipeline(writer, reporter, began, run_name, output);
    pipeline.source = start.source;
    pipeline.input_name.clone_from(&start.input_name);
    let ended = pipeline.all(input).await;
    if pipeline.last_row == 0 {
        // No row came: the folder is as new, or as unclean, as before.
        ledger.forget_run(began.run)?;
    } else {
        let whole = start.source == Source::Rejects || pipeline.is_clean();
        ledger.end_run(began.run, ended.is_ok() && whole)?;
    }
    ended?;
    Ok(pipeline.summary(begun.elapsed()))
}

fn pipeline<W: Write>(
    writer: Writer,
    reporter: Reporter,
    start: RunStart,
    run_name: String,
    output: W,
) -> Pipeline<W> {
    Pipeline {
        memory: Memory::new(writer.ledger.clone()),
        replays: Replays::new(writer.ledger.clone(), start.run, start.unclean),
        metadata: Metadata::new(writer.config.strict_picklists),
        writer,
        reporter,
        output,
        fresh: start.fresh,
        source: Source::Tap,
        run_name,
        input_name: String::new(),
        platform: None,
        streams: ingest::Streams::default(),
        gate: StateGate::default(),
        deletes: Deletes::default(),
        deletes_under_way: None,
        open: BTreeMap::new(),
        queue: VecDeque::new(),
        in_flight: HashMap::new(),
        parked: Default::default(),
        family: Default::default(),
        tasks: JoinSet::new(),
        batches: 0,
        lines: 0,
        lines_of_files: 0,
        file_name: None,
        next_lag: None,
        states: 0,
        left_out: 0,
        last_row: 0,
        last_state: 0,
    }
}

impl<W: Write> Pipeline<W> {
    async fn all(&mut self, input: impl BufRead + Send + 'static) -> Result<(), Error> {
        self.check_config().await?;
        self.recover().await?;
        self.take_catalog().await?;
        self.drive(read_aside(input, self.input_name.clone())).await
    }

    /// Finishes the batches that an earlier run left behind, before anything new is read.
    async fn recover(&mut self) -> Result<(), Error> {
        let batches = self.writer.ledger.open_batches(&self.writer.org)?;
        self.sweep(&batches)?;
        let mut doubt = None;
        for batch in batches {
            tracing::info!(
                batch = batch.id,
                module = batch.route.module,
                "an earlier run left this batch; it is finished now"
            );
            let run = self.writer.ledger.run_name(batch.run)?;
            match self.writer.recover(batch).await {
                Ok(mut written) => self.settle(&mut written, Some(&run))?,
                Err(error @ Error::InDoubt { .. }) => doubt = Some(doubt.unwrap_or(error)),
                Err(error) => return Err(error),
            }
        }
        doubt.map_or(Ok(()), Err)
    }

    /// Removes spool files that no batch in the ledger names: their rows were never to be sent.
    fn sweep(&self, batches: &[ledger::StoredBatch]) -> Result<(), Error> {
        let known = self.writer.ledger.spools()?;
        debug_assert!(
            batches.iter().all(|batch| known.contains(&batch.spool)),
            "the ledger names all spools"
        );
        for file in std::fs::read_dir(&self.writer.folder)? {
            let path = file?.path();
            if !known.contains(&path) {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn summary(&self, elapsed: std::time::Duration) -> Summary {
        let mut summary = Summary {
            run: self.run_name.clone(),
            tallies: self.reporter.tallies().cloned().collect(),
            lines: self.lines,
            states: self.states,
            left_out: self.left_out,
            elapsed,
            results: self.reporter.results_path().map(Path::to_owned),
            rejects: self.reporter.rejects_path().map(Path::to_owned),
            fresh_state: self.fresh,
            too_many_rejected: false,
        };
        summary.too_many_rejected =
            self.writer.config.max_rejected.is_exceeded(summary.failed(), summary.rows());
        summary
    }
}

/// Reads on a thread of its own, since stdin blocks; ends when the loop is gone or the input is.
fn read_aside(input: impl BufRead + Send + 'static, name: String) -> Input {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        let mut reader = ChunkReader::new(input, &name);
        while let Some(chunk) = reader.next_chunk().transpose() {
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                break;
            }
        }
    });
    receiver
}
