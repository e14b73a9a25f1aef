//! Runs a sync: the selected streams side by side, each a task of its own.
//!
//! One stream's failure does not stop the others: what can be had is had, and the run ends with the
//! first failure. Deletes come last, so that no record follows a delete it came before.

use super::bulk::jobs::Jobs;
use super::config::{DeletedForm, TapConfig};
use super::discover::{Skipped, readable, skips};
use super::error::Error;
use super::memory::Memory;
use super::output::{Observer, Output, StreamOutput};
use super::plan::{StreamPlan, module_of};
use super::planner::own_price;
use super::policy::FieldPolicy;
use super::shards::claim;
use super::spool::Spool;
use super::state::{Bookmark, text};
use super::summary::{StreamSummary, Summary};
use super::{deletes, reader, refresh, small};
use crate::codec::decode::JsonDecoder;
use crate::diagnostic::{Diagnostic, ErrorClass, causes};
use crate::protocol::catalog::{Catalog, CatalogEntry};
use crate::protocol::edge::{Edge, End};
use crate::protocol::state::State;
use crate::written::Written;
use crate::zoho::api::org::Org;
use crate::zoho::types::Module;
use crate::zoho::{self, Client};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
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
pub struct Sync {
    /// The signed-in client.
    pub client: Client,
    /// The tap's settings.
    pub config: TapConfig,
    /// Memory between runs.
    pub state_dir: PathBuf,
    /// Says what is read.
    pub edge: Box<dyn Edge>,
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
    /// What is remembered between runs, opened by whoever needs it first.
    pub memory: Arc<OnceLock<Memory>>,
    /// Where results lie, made by whoever needs it first.
    spool: Arc<OnceCell<Spool>>,
    /// Held by whoever unpacks a result to prove it: one at a time takes no longer on the processor, and
    /// memory is the same however many windows are under way.
    pub proving: Arc<tokio::sync::Mutex<()>>,
    /// The modules that were read to their end.
    pub read: Arc<Mutex<Vec<Arc<StreamPlan>>>>,
    /// The modules as Zoho lists them in this run, once somebody had to ask.
    modules: Arc<OnceCell<Vec<Module>>>,
    /// Credits that the run was expected to cost when its streams were planned, polls apart.
    planned: Arc<AtomicU64>,
    /// Whether that is the least, because nobody knew the size of a stream.
    is_open: Arc<AtomicBool>,
    /// Most columns of a query, once a server refused more.
    pub coql_columns: Arc<OnceLock<usize>>,
}

/// What a [`Context`] is made of.
pub(super) struct Inputs {
    pub client: Client,
    pub config: TapConfig,
    pub state_dir: PathBuf,
    pub observer: Arc<dyn Observer>,
    pub shutdown: CancellationToken,
    pub state: State,
}

/// What became of one stream.
enum Outcome {
    Read(StreamSummary),
    Skipped(Skipped),
    Unfinished,
}

impl Sync {
    /// Reads the selected streams of `catalog`; tells what was done, and the first failure.
    ///
    /// When it returns, every stream that could be read is read and the STATE that is true is out. Only
    /// a failure that all share (sign-in, stdout, a signal) stops them all.
    pub async fn run(self, catalog: &Catalog, state: State) -> (Summary, Result<(), Error>) {
        let began = Instant::now();
        let written = self.config.ignore_own_writes.then(|| Written::open(&self.state_dir)).flatten();
        let mut summary = Summary::default();
        let state = match claim(self.config.shard.as_deref(), state) {
            Ok(state) => state,
            Err(error) => return (summary, Err(error)),
        };
        let output = Output::new(self.edge, state.clone(), &self.config).ignoring(written);
        let Self { client, config, state_dir, observer, shutdown, .. } = self;
        if let Err(error) = Spool::sweep(&state_dir) {
            tracing::warn!(%error, "files of a run that was killed cannot be removed from `{}`", state_dir.display());
        }
        let shutdown = shutdown.child_token();
        let inputs = Inputs { client: client.clone(), config, state_dir, observer, shutdown, state };
        let ended = match Context::new(inputs) {
            Ok(context) => context.selected(catalog, &output, &mut summary).await,
            Err(error) => Err(error),
        };
        if output.echoes() > 0 {
            tracing::info!(
                records = output.echoes(),
                "left out, since they are what our own target wrote last"
            );
        }
        summary.usage = client.usage();
        summary.elapsed = began.elapsed();
        (summary, ended)
    }
}

impl Context {
    /// What the streams of one run, or of its plan, share.
    ///
    /// # Errors
    /// When the settings' field policy cannot hold.
    pub fn new(inputs: Inputs) -> Result<Self, Error> {
        Ok(Self {
            jobs: Jobs::new(inputs.client.clone()),
            client: inputs.client,
            policy: Arc::new(FieldPolicy::new(&inputs.config)?),
            config: Arc::new(inputs.config),
            state_dir: inputs.state_dir,
            observer: inputs.observer,
            shutdown: inputs.shutdown,
            state: Arc::new(inputs.state),
            memory: Arc::default(),
            spool: Arc::default(),
            proving: Arc::default(),
            read: Arc::default(),
            modules: Arc::default(),
            planned: Arc::default(),
            is_open: Arc::default(),
            coql_columns: Arc::default(),
        })
    }

    async fn selected(&self, catalog: &Catalog, output: &Output, summary: &mut Summary) -> Result<(), Error> {
        let selected = catalog.streams.iter().filter(|entry| entry.is_selected() && self.is_ours(entry));
        let selected: Vec<Arc<CatalogEntry>> = selected.cloned().map(Arc::new).collect();
        if selected.is_empty() {
            return Ok(());
        }
        let read = self.streams(selected, output, summary).await;
        summary.planned = self.planned.load(Ordering::Relaxed);
        summary.planned_at_least = self.is_open.load(Ordering::Relaxed);
        self.client.keep_polls();
        output.finish().and(read)?;
        output.end()
    }

    /// Whether some of a stream is this process's; deletes are told by whoever reads the module.
    fn is_ours(&self, entry: &CatalogEntry) -> bool {
        let stream = &entry.tap_stream_id;
        stream == deletes::STREAM || self.config.shard.as_ref().is_none_or(|shard| shard.reads(stream))
    }

    /// Looks at what is selected before anything is read: bookmarks that cannot be understood and
    /// modules that are not there end the run, those that cannot be read are skipped.
    pub async fn prepare(
        &self,
        selected: &[Arc<CatalogEntry>],
    ) -> Result<(Vec<Arc<CatalogEntry>>, Vec<Skipped>), Error> {
        self.check_bookmarks(selected)?;
        self.call(learn_org(&self.client)).await?;
        let modules = self.modules_of(selected).await?;
        let (streams, others): (Vec<_>, Vec<_>) =
            selected.iter().cloned().partition(|entry| is_readable(entry, &modules));
        if self.client.server_time().is_none() && lacks_a_clock(&streams) {
            self.live_modules().await?;
        }
        // What is spent by now is no longer a matter of planning.
        self.plan(self.client.usage().credits.total());
        let reason = "this user may not read it, or Zoho offers no API for it";
        let skip = |entry: &Arc<CatalogEntry>| {
            tracing::warn!(stream = entry.stream_name(), "skipped: {reason}");
            Skipped { module: entry.stream_name().to_owned(), reason: reason.to_owned() }
        };
        Ok((streams, others.iter().map(skip).collect()))
    }

    async fn streams(
        &self,
        selected: Vec<Arc<CatalogEntry>>,
        output: &Output,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let (streams, skipped) = self.prepare(&selected).await?;
        for Skipped { module, reason } in &skipped {
            output.unread(module, &Error::Skipped { stream: module.clone(), reason: reason.clone() })?;
        }
        summary.skipped = skipped;
        let (mut deletes, streams): (Vec<_>, Vec<_>) =
            streams.into_iter().partition(|entry| entry.tap_stream_id == deletes::STREAM);
        if self.config.deleted_records == DeletedForm::Mark {
            deletes = vec![Arc::new(deletes::entry())];
        }
        let selected: Arc<[Arc<CatalogEntry>]> = selected.into();
        let mut failed = None;
        for streams in [streams, deletes] {
            failed = failed.or(self.side_by_side(streams, &selected, output, summary).await);
        }
        if failed.is_none() {
            refresh::run(self, output).await?;
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
        if !self.config.skip_unknown {
            for entry in selected {
                known(entry, modules)?;
            }
        }
        Ok(readable(modules.to_vec()).collect())
    }

    /// Adds to what the run is expected to cost.
    pub fn plan(&self, credits: u64) {
        self.planned.fetch_add(credits, Ordering::Relaxed);
    }

    /// What was added is the least: nobody knows the size of a stream.
    pub fn plan_at_least(&self) {
        self.is_open.store(true, Ordering::Relaxed);
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
        let names: Vec<String> = streams.iter().map(|entry| entry.stream_name().to_owned()).collect();
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
                Some(Ok((place, Err(error)))) => {
                    self.note_failure(&mut failed, error);
                    done.push((place, Outcome::Unfinished));
                }
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        done.sort_by_key(|(place, _)| *place);
        for (place, outcome) in done {
            match outcome {
                Outcome::Unfinished => summary.unfinished.push(names[place].clone()),
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
        self.plan(own_price(entry, selected).map_or(0, |price| price.credits));
        let read = match entry.tap_stream_id.as_str() {
            name if let Some(small) = small::find(name) => {
                small::read(self, small, entry, selected, &mut output).await
            }
            deletes::STREAM => deletes::read(self, entry, &mut output).await,
            _ => reader::read(self, entry, &mut output).await,
        };
        let read = if matches!(read, Err(Error::TrialDone)) { Ok(String::new()) } else { read };
        let rows = output.rows();
        let closed = output.close_as(match &read {
            Ok(_) => End::Complete,
            Err(Error::Interrupted) => End::Stopped,
            Err(error) => End::Failed(error),
        });
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
        deletes::Bookmarks::read(&self.state)?;
        refresh::bookmarks(self)?;
        for entry in selected {
            self.policy.check(entry)?;
            match entry.tap_stream_id.as_str() {
                deletes::STREAM => {}
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
    ///
    /// # Errors
    /// When `state_dir` cannot be written to.
    pub async fn spool(&self) -> Result<&Path, Error> {
        let open = async || Spool::open(&self.state_dir);
        let failed = |source| Error::File { path: self.state_dir.clone(), source };
        self.spool.get_or_try_init(open).await.map(Spool::path).map_err(failed)
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
pub(super) async fn learn_org(client: &Client) -> Result<Option<Org>, zoho::Error> {
    match client.org_within(KNOWN_FOR).await {
        Err(error) if matches!(error.class(), ErrorClass::Permission | ErrorClass::Data) => {
            tracing::debug!(%error, "Zoho does not tell the edition, so the settings' or the smallest is assumed");
            Ok(None)
        }
        answer => answer.map(Some),
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

/// Whether some stream would have to begin by our own clock: all of Zoho's time is what its answers
/// tell. Modules begin with an answer, deletes are read after them, and what no module holds has no bookmark.
fn lacks_a_clock(streams: &[Arc<CatalogEntry>]) -> bool {
    let modules = streams.iter().any(|entry| is_of_a_module(entry));
    let begins_alone = |entry: &Arc<CatalogEntry>| match entry.tap_stream_id.as_str() {
        deletes::STREAM => !modules,
        _ => false,
    };
    streams.iter().any(begins_alone)
}

/// Whether the stream reads a module; deletes and those of [`small`] do not.
pub(super) fn is_of_a_module(entry: &CatalogEntry) -> bool {
    let name = module_of(entry);
    name != deletes::STREAM && small::find(name).is_none()
}

/// Whether these modules hold the stream's.
fn is_readable(entry: &CatalogEntry, modules: &[Module]) -> bool {
    !is_of_a_module(entry) || modules.iter().any(|found| found.api_name == module_of(entry))
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
