//! Runs a sync: the selected streams side by side, each a task of its own.
//!
//! One stream's failure does not stop the others: what can be had is had, and the run ends with the
//! first failure. Deletes come last, so that no record follows a delete it came before.

use super::bulk::jobs::Jobs;
use super::config::TapConfig;
use super::discover::{Skipped, readable, skips};
use super::error::Error;
use super::output::{Observer, Output, StreamOutput};
use super::plan::module_of;
use super::policy::FieldPolicy;
use super::state::{Bookmark, text};
use super::summary::{StreamSummary, Summary};
use super::{deletes, reader, users};
use crate::codec::decode::JsonDecoder;
use crate::diagnostic::{Diagnostic, ErrorClass, causes};
use crate::protocol::catalog::{Catalog, CatalogEntry};
use crate::protocol::state::State;
use crate::zoho::types::Module;
use crate::zoho::{self, Client};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Streams read at once. Most of them wait for a job that Zoho works on, which takes no connection;
/// calls are held back by the client's gates.
const STREAMS_AT_ONCE: usize = 32;

/// How long the organisation's edition and its list of modules are good for.
pub(super) const KNOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Everything a sync needs from outside.
pub struct Sync<W: Write + Send + 'static> {
    /// The signed-in client.
    pub client: Client,
    /// The tap's settings.
    pub config: TapConfig,
    /// Memory between runs.
    pub state_dir: PathBuf,
    /// Where messages go.
    pub out: W,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Told to stop.
    pub shutdown: CancellationToken,
}

/// What every stream of a run works with.
#[derive(Clone)]
pub(super) struct Context {
    pub client: Client,
    pub config: Arc<TapConfig>,
    pub policy: Arc<FieldPolicy>,
    pub state_dir: PathBuf,
    pub observer: Arc<dyn Observer>,
    pub shutdown: CancellationToken,
    /// Waits for the bulk jobs of all streams.
    pub jobs: Jobs,
    /// The state that was handed over; what is true by now is the output's.
    pub state: Arc<State>,
    /// The modules as Zoho lists them in this run, once somebody had to ask.
    modules: Arc<OnceCell<Vec<Module>>>,
}

/// What became of one stream.
enum Outcome {
    Read(StreamSummary),
    Skipped(Skipped),
}

impl<W: Write + Send + 'static> Sync<W> {
    /// Reads the selected streams of `catalog`.
    ///
    /// # Errors
    /// The first failure; before it returns, every other stream is read and the STATE that is true is
    /// out. Only a failure that the others share (sign-in, stdout, a signal) stops them all.
    pub async fn run(self, catalog: &Catalog, state: State) -> Result<Summary, Error> {
        let began = Instant::now();
        let output = Output::new(self.out, state.clone(), &self.config);
        let context = Context {
            jobs: Jobs::new(self.client.clone()),
            client: self.client,
            policy: Arc::new(FieldPolicy::new(&self.config)?),
            config: Arc::new(self.config),
            state_dir: self.state_dir,
            observer: self.observer,
            shutdown: self.shutdown.child_token(),
            state: Arc::new(state),
            modules: Arc::default(),
        };
        let mut summary = Summary::default();
        let selected: Vec<Arc<CatalogEntry>> =
            catalog.streams.iter().filter(|entry| entry.is_selected()).cloned().map(Arc::new).collect();
        if !selected.is_empty() {
            let read = context.streams(selected, &output, &mut summary).await;
            output.flush().and(read)?;
            output.end()?;
        }
        summary.usage = context.client.usage();
        summary.elapsed = began.elapsed();
        Ok(summary)
    }
}

impl Context {
    async fn streams(
        &self,
        selected: Vec<Arc<CatalogEntry>>,
        output: &Output,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        self.check_bookmarks(&selected)?;
        self.call(learn_org(&self.client)).await?;
        let modules = self.modules_of(&selected).await?;
        let mut streams = Vec::new();
        for entry in &selected {
            if is_readable(entry, &modules) {
                streams.push(entry.clone());
            } else {
                let reason = "this user may not read it, or Zoho offers no API for it".to_owned();
                tracing::warn!(stream = entry.stream_name(), "skipped: {reason}");
                summary.skipped.push(Skipped { module: entry.stream_name().to_owned(), reason });
            }
        }
        let (deletes, streams): (Vec<_>, Vec<_>) =
            streams.into_iter().partition(|entry| entry.tap_stream_id == deletes::STREAM);
        let selected: Arc<[Arc<CatalogEntry>]> = selected.into();
        let mut failed = None;
        for streams in [streams, deletes] {
            failed = failed.or(self.side_by_side(streams, &selected, output, summary).await);
        }
        failed.map_or(Ok(()), Err)
    }

    /// The modules that can be read. Those of an earlier run do if they hold all that are selected: a
    /// module that is gone since then says so itself when it is read.
    async fn modules_of(&self, selected: &[Arc<CatalogEntry>]) -> Result<Vec<Module>, Error> {
        let earlier = self.client.known_modules(KNOWN_FOR).map(|known| readable(known.value).collect());
        let earlier: Vec<Module> = earlier.unwrap_or_default();
        if selected.iter().all(|entry| is_readable(entry, &earlier)) {
            return Ok(earlier);
        }
        let modules = self.live_modules().await?;
        for entry in selected {
            known(entry, modules)?;
        }
        Ok(readable(modules.to_vec()).collect())
    }

    async fn live_modules(&self) -> Result<&[Module], Error> {
        let modules = self.modules.get_or_try_init(|| self.call(self.client.modules())).await?;
        Ok(modules)
    }

    /// Reads these streams at once; answers the first failure.
    async fn side_by_side(
        &self,
        streams: Vec<Arc<CatalogEntry>>,
        selected: &Arc<[Arc<CatalogEntry>]>,
        output: &Output,
        summary: &mut Summary,
    ) -> Option<Error> {
        let mut tasks = JoinSet::new();
        let mut failed: Option<Error> = None;
        let mut done: Vec<(usize, Outcome)> = Vec::new();
        let mut waiting = streams.into_iter().enumerate();
        loop {
            while tasks.len() < STREAMS_AT_ONCE && !self.shutdown.is_cancelled() {
                let Some((place, entry)) = waiting.next() else { break };
                let (context, selected) = (self.clone(), selected.clone());
                let output = output.stream(&entry.tap_stream_id, entry.stream_name());
                tasks.spawn(async move { (place, context.stream(&entry, &selected, output).await) });
            }
            match tasks.join_next().await {
                None => break,
                Some(Ok((place, Ok(outcome)))) => done.push((place, outcome)),
                Some(Ok((_, Err(error)))) => self.note_failure(&mut failed, error),
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        done.sort_by_key(|(place, _)| *place);
        for (_, outcome) in done {
            match outcome {
                Outcome::Read(stream) => summary.streams.push(stream),
                Outcome::Skipped(skipped) => summary.skipped.push(skipped),
            }
        }
        if failed.is_none() && self.shutdown.is_cancelled() { Some(Error::Interrupted) } else { failed }
    }

    /// Keeps the failure with which the run ends, and tells of the others.
    fn note_failure(&self, failed: &mut Option<Error>, error: Error) {
        if matches!(error.class(), ErrorClass::Closed | ErrorClass::Auth) || matches!(error, Error::Write(_))
        {
            self.shutdown.cancel();
        }
        match failed {
            None => *failed = Some(error),
            // Those that were only told to stop have nothing to add.
            Some(_) if matches!(error, Error::Interrupted) => {}
            Some(first) if matches!(first, Error::Interrupted) => *first = error,
            Some(_) => tracing::error!("{error}: {}", causes(&error).collect::<Vec<_>>().join(": ")),
        }
    }

    /// Reads one stream to its end.
    async fn stream(
        &self,
        entry: &CatalogEntry,
        selected: &[Arc<CatalogEntry>],
        mut output: StreamOutput,
    ) -> Result<Outcome, Error> {
        let stream = entry.stream_name();
        self.observer.started(stream);
        let read = match entry.tap_stream_id.as_str() {
            users::STREAM => users::read(self, entry, &mut output).await,
            deletes::STREAM => deletes::read(self, entry, selected, &mut output).await,
            _ => reader::read(self, entry, &mut output).await,
        };
        let rows = output.rows();
        let closed = output.close();
        match read {
            Ok(ways) => {
                closed?;
                self.observer.finished(stream, rows);
                Ok(Outcome::Read(StreamSummary { stream: stream.to_owned(), rows, ways }))
            }
            Err(Error::Stream { source, .. }) if skips(&source) => {
                self.observer.stopped(stream);
                known(entry, self.live_modules().await?)?;
                tracing::warn!(stream, "skipped: {source}");
                Ok(Outcome::Skipped(Skipped { module: stream.to_owned(), reason: source.to_string() }))
            }
            Err(error) => {
                self.observer.stopped(stream);
                Err(error)
            }
        }
    }

    /// Refuses a policy that cannot hold and a bookmark that is not understood, before anything is read or written.
    fn check_bookmarks(&self, selected: &[Arc<CatalogEntry>]) -> Result<(), Error> {
        for entry in selected {
            self.policy.check(entry)?;
            match entry.tap_stream_id.as_str() {
                deletes::STREAM => drop(deletes::bookmarks(&self.state)?),
                stream => drop(Bookmark::read(&self.state, stream, entry.replication_key.as_deref())?),
            }
        }
        Ok(())
    }

    /// The server's clock, as its last answer told; our own before the first one.
    pub fn server_time(&self) -> DateTime<Utc> {
        self.client.server_time().unwrap_or_else(Utc::now)
    }

    /// Where files are spooled.
    pub fn spool_dir(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// Makes a call, unless or until we are told to stop.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(CallError::Stopped),
            answer = call => answer.map_err(CallError::Failed),
        }
    }

    /// Writes the records of one page of JSON answers.
    pub fn page(
        &self,
        stream: &str,
        output: &mut StreamOutput,
        decoder: &JsonDecoder,
        records: &[Box<RawValue>],
    ) -> Result<(), Error> {
        output.extracted_at(&text(self.server_time()));
        tokio::task::block_in_place(|| {
            for (at, record) in (1..).zip(records) {
                output.record(|out| {
                    decoder
                        .write(at, record, out)
                        .map_err(|source| Error::Decode { stream: stream.to_owned(), source })
                })?;
            }
            Ok::<(), Error>(())
        })?;
        self.observer.rows(stream, output.rows());
        Ok(())
    }
}

/// Learns what the organisation may use. A grant without the scope for it goes on with the smallest
/// pool, and without a figure for the day.
///
/// # Errors
/// Those of every call, but for refusals.
pub(super) async fn learn_org(client: &Client) -> Result<(), zoho::Error> {
    match client.org_within(KNOWN_FOR).await {
        Err(error) if matches!(error.class(), ErrorClass::Permission | ErrorClass::Data) => {
            tracing::debug!(%error, "Zoho does not tell the edition, so the settings' or the smallest is assumed");
            Ok(())
        }
        answer => answer.map(drop),
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
