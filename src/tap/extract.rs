//! Runs a sync: the selected streams one after another, each by the cheapest way that can deliver it.
//!
//! A way that refuses before its first row gives way to the next one. Ids ascend with every way but
//! the records API, so COQL and Bulk Read can take over from each other in the middle of a stream.

use super::bulk;
use super::config::TapConfig;
use super::deletes;
use super::discover::{Skipped, readable, skips};
use super::error::Error;
use super::incremental;
use super::list;
use super::output::{Observer, Output};
use super::plan::{StreamPlan, Way, module_of};
use super::state::{Bookmark, Progress, Window, text};
use super::summary::{StreamSummary, Summary};
use super::users;
use crate::codec::decode::JsonDecoder;
use crate::protocol::catalog::{Catalog, CatalogEntry};
use crate::protocol::state::State;
use crate::zoho::types::Module;
use crate::zoho::{self, Client};
use chrono::{DateTime, Utc};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Everything a sync needs from outside.
pub struct Sync<W: Write> {
    /// The signed-in client.
    pub client: Client,
    /// The tap's settings.
    pub config: TapConfig,
    /// Where files are spooled.
    pub spool_dir: PathBuf,
    /// Where messages go.
    pub out: W,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Told to stop.
    pub shutdown: CancellationToken,
}

/// What a way of reading works with.
pub(super) struct Context<W: Write> {
    pub client: Client,
    pub config: TapConfig,
    pub spool_dir: PathBuf,
    pub observer: Arc<dyn Observer>,
    pub shutdown: CancellationToken,
    pub output: Output<W>,
}

/// How a way of reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything in the window is out.
    Complete,
    /// There is more than this way is good for; so many rows are left.
    Large(u64),
    /// The server refuses this way for this stream, for this reason.
    Refused(String),
}

/// The reading of one stream: its plan, its bookmark and how far it is.
pub(super) struct Reading<'a> {
    pub plan: &'a StreamPlan,
    pub done: Option<DateTime<Utc>>,
    pub progress: Progress,
}

impl Reading<'_> {
    /// The bookmark that is true now.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark { replication_key_value: self.done, in_progress: Some(self.progress.clone()) }
    }

    /// Whether rows of this window went out before: then only what follows them is read.
    fn is_begun(&self) -> bool {
        self.progress.after_id.is_some() || self.progress.job.is_some()
    }
}

impl<W: Write> Sync<W> {
    /// Reads the selected streams of `catalog`.
    ///
    /// # Errors
    /// On the first failure that is not one stream's own; before it returns, the STATE that is true
    /// is out.
    pub async fn run(self, catalog: &Catalog, state: State) -> Result<Summary, Error> {
        let began = Instant::now();
        let mut context = Context {
            output: Output::new(self.out, state, &self.config),
            client: self.client,
            config: self.config,
            spool_dir: self.spool_dir,
            observer: self.observer,
            shutdown: self.shutdown,
        };
        let mut summary = Summary::default();
        let selected: Vec<&CatalogEntry> =
            catalog.streams.iter().filter(|entry| entry.is_selected()).collect();
        if !selected.is_empty() {
            let read = context.streams(&selected, &mut summary).await;
            let flushed = context.output.flush();
            read.and(flushed)?;
            context.output.end()?;
        }
        summary.usage = context.client.usage();
        summary.elapsed = began.elapsed();
        Ok(summary)
    }
}

impl<W: Write> Context<W> {
    async fn streams(&mut self, selected: &[&CatalogEntry], summary: &mut Summary) -> Result<(), Error> {
        self.check_bookmarks(selected)?;
        let modules = self.call(self.client.clone().modules()).await?;
        for entry in selected {
            known(entry, &modules)?;
        }
        let modules: Vec<Module> = readable(modules).collect();
        for entry in selected {
            let stream = entry.stream_name();
            if !is_readable(entry, &modules) {
                let reason = "this user may not read it, or Zoho offers no API for it".to_owned();
                tracing::warn!(stream, "skipped: {reason}");
                summary.skipped.push(Skipped { module: stream.to_owned(), reason });
                continue;
            }
            self.observer.started(stream);
            self.output.syncing(&entry.tap_stream_id);
            let ways = match entry.tap_stream_id.as_str() {
                users::STREAM => users::read(self, entry).await,
                deletes::STREAM => deletes::read(self, entry, selected).await,
                _ => self.module(entry).await,
            };
            match ways {
                Ok(ways) => {
                    let rows = self.output.rows();
                    self.observer.finished(stream, rows);
                    summary.streams.push(StreamSummary { stream: stream.to_owned(), rows, ways });
                }
                Err(Error::Stream { source, .. }) if skips(&source) => {
                    tracing::warn!(stream, "skipped: {source}");
                    summary.skipped.push(Skipped { module: stream.to_owned(), reason: source.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses a bookmark that is not understood, before anything is read or written.
    fn check_bookmarks(&self, selected: &[&CatalogEntry]) -> Result<(), Error> {
        for entry in selected {
            match entry.tap_stream_id.as_str() {
                deletes::STREAM => drop(deletes::bookmarks(self.output.state())?),
                stream => {
                    drop(Bookmark::read(self.output.state(), stream, entry.replication_key.as_deref())?)
                }
            }
        }
        Ok(())
    }

    /// Reads one module; answers by which ways.
    async fn module(&mut self, entry: &CatalogEntry) -> Result<String, Error> {
        let module = module_of(entry);
        let fields =
            self.call(self.client.clone().fields(module)).await.map_err(in_stream(entry.stream_name()))?;
        let plan = StreamPlan::new(entry, &fields);
        for warning in &plan.warnings {
            tracing::warn!(stream = plan.stream, "{warning}");
        }
        let cursor: Vec<String> = plan.replication_key.iter().cloned().collect();
        self.output.begin(&plan.stream, &plan.schema, &["id".to_owned()], &cursor)?;
        let bookmark =
            Bookmark::read(self.output.state(), &plan.tap_stream_id, plan.replication_key.as_deref())?;
        let mut reading = self.reading(&plan, bookmark);
        let read = self.read(&mut reading).await;
        let done = match &read {
            Ok(_) => Bookmark {
                replication_key_value: plan.replication_key.as_ref().map(|_| reading.progress.window.until),
                in_progress: None,
            },
            // Whatever went wrong: what is out stays out, and the next run goes on from here.
            Err(_) => reading.bookmark(),
        };
        let state = self.output.checkpoint(&plan, &done);
        let ways = read?;
        state?;
        let labels: Vec<&str> = ways.iter().map(|way| way.label()).collect();
        Ok(labels.join(", "))
    }

    /// Takes up the unfinished reading of the bookmark, or begins a new one.
    fn reading<'a>(&self, plan: &'a StreamPlan, bookmark: Bookmark) -> Reading<'a> {
        let fields = plan.fingerprint();
        let mut window = bookmark.window(&self.config, self.server_time());
        if plan.replication_key.is_none() {
            window.from = None;
        }
        let done = bookmark.replication_key_value;
        let fresh = Progress { window, way: Way::Coql, fields: fields.clone(), after_id: None, job: None };
        let progress = match bookmark.in_progress {
            Some(progress) if progress.fields == fields => {
                tracing::info!(stream = plan.stream, "goes on where the run before it stopped");
                progress
            }
            Some(progress) => {
                tracing::warn!(
                    stream = plan.stream,
                    "the selected fields changed since the unfinished run: it begins again"
                );
                let window = Window { from: progress.window.from, ..fresh.window };
                Progress { window, ..fresh }
            }
            None => fresh,
        };
        if let Some(done) = done.filter(|done| *done > self.server_time()) {
            tracing::warn!(
                stream = plan.stream,
                "its bookmark {} lies in the future: what changes before then is not read",
                text(done)
            );
        }
        Reading { plan, done, progress }
    }

    /// Reads a stream by one way after another until it is complete.
    async fn read(&mut self, reading: &mut Reading<'_>) -> Result<Vec<Way>, Error> {
        let mut rows = self.expected(reading).await?;
        let mut used = Vec::new();
        let mut tried: Vec<(Way, String)> = Vec::new();
        loop {
            let (mut ways, mut reasons) = reading.plan.ways(self.config.method, rows.unwrap_or(0));
            if reading.progress.job.is_some() {
                ways.sort_by_key(|way| *way != Way::BulkRead);
            }
            let Some(way) = ways.into_iter().find(|way| tried.iter().all(|(tried, _)| tried != way)) else {
                reasons.extend(tried.iter().map(|(way, why)| format!("{}: {why}", way.label())));
                return Err(Error::NoWay {
                    stream: reading.plan.stream.clone(),
                    reasons: reasons.join("; "),
                });
            };
            reading.progress.way = way;
            self.observer.doing(&reading.plan.stream, way.label());
            let before = self.output.rows();
            let outcome = match way {
                Way::Coql => incremental::read(self, reading, rows).await?,
                Way::BulkRead => bulk::read(self, reading).await?,
                Way::Records => list::read(self, reading).await?,
            };
            if self.output.rows() > before && !used.contains(&way) {
                used.push(way);
            }
            match outcome {
                Outcome::Complete => return Ok(used),
                Outcome::Large(left) => rows = Some(left),
                Outcome::Refused(reason) => {
                    tracing::debug!(
                        stream = reading.plan.stream,
                        way = way.label(),
                        reason,
                        "this way is refused, the next one is tried"
                    );
                    tried.push((way, reason));
                }
            }
        }
    }

    /// How many rows are to be read, where the choice of the way hangs on it. An increment is most
    /// often small: its first page tells. Nobody has to count either when only one way is left.
    async fn expected(&mut self, reading: &Reading<'_>) -> Result<Option<u64>, Error> {
        let (ways, _) = reading.plan.ways(self.config.method, 0);
        let increment = reading.progress.window.from.is_some();
        if increment || reading.is_begun() || ways.len() < 2 || !ways.contains(&Way::Coql) {
            return Ok(None);
        }
        match incremental::count(self, reading).await {
            Ok(rows) => {
                self.observer.expects(&reading.plan.stream, rows);
                Ok(Some(rows))
            }
            // A module that COQL does not know: its own way finds out and gives way to the next.
            Err(Error::Stream { source, .. }) if incremental::refuses(&source) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The server's clock, as its last answer told; our own before the first one.
    pub(super) fn server_time(&self) -> DateTime<Utc> {
        self.client.server_time().unwrap_or_else(Utc::now)
    }

    /// Makes a call, unless or until we are told to stop.
    pub(super) async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(CallError::Stopped),
            answer = call => answer.map_err(CallError::Failed),
        }
    }

    /// Waits, unless or until we are told to stop.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Error::Interrupted),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Writes the records of one page of JSON answers.
    pub(super) fn page(
        &mut self,
        stream: &str,
        decoder: &JsonDecoder,
        records: &[Box<serde_json::value::RawValue>],
    ) -> Result<(), Error> {
        tokio::task::block_in_place(|| {
            for (at, record) in (1..).zip(records) {
                self.output.record(|out| {
                    decoder
                        .write(at, record, out)
                        .map_err(|source| Error::Decode { stream: stream.to_owned(), source })
                })?;
            }
            Ok::<(), Error>(())
        })?;
        self.observer.rows(stream, self.output.rows());
        Ok(())
    }
}

/// Refuses a stream of which there is no module.
fn known(entry: &CatalogEntry, modules: &[Module]) -> Result<(), Error> {
    let module = module_of(entry);
    if is_readable(entry, modules) {
        return Ok(());
    }
    let readable = modules.iter().filter(|module| module.api_supported && module.viewable);
    let names = readable.map(|module| module.api_name.as_str());
    Err(Error::UnknownStream {
        stream: entry.tap_stream_id.clone(),
        similar: crate::diagnostic::similar(module, names).map(str::to_owned),
    })
}

/// Whether these modules hold the stream's; two streams are of no module.
fn is_readable(entry: &CatalogEntry, modules: &[Module]) -> bool {
    let module = module_of(entry);
    [users::STREAM, deletes::STREAM].contains(&module) || modules.iter().any(|found| found.api_name == module)
}

/// A call that failed, or was not waited for.
pub(super) enum CallError<E> {
    Failed(E),
    Stopped,
}

impl From<CallError<zoho::Error>> for Error {
    fn from(error: CallError<zoho::Error>) -> Self {
        match error {
            CallError::Failed(source) => Self::Zoho(source),
            CallError::Stopped => Self::Interrupted,
        }
    }
}

/// Adds the stream to a failed call.
pub(super) fn in_stream(stream: &str) -> impl Fn(CallError<zoho::Error>) -> Error + '_ {
    move |error| match error {
        CallError::Failed(source) => Error::in_stream(stream)(source),
        CallError::Stopped => Error::Interrupted,
    }
}
