//! A local Zoho CRM: the v8 HTTP interface over rows made from a seed, with Zoho's limits and errors.
//!
//! Written from the published API description alone; it shares no code with the client, so that one
//! wrong belief cannot sit on both sides of a test. Everything lives in this process: tests start as
//! many as they like, each on a free port.
//!
//! ```no_run
//! # async fn run() -> Result<(), zoho_crm_connector::emulator::Error> {
//! use zoho_crm_connector::emulator::{Options, start};
//! let emulator = start(Options { rows: [("Leads".into(), 1_000)].into(), ..Options::default() }).await?;
//! let address = emulator.base_url();
//! # Ok(()) }
//! ```

pub mod api;
pub mod breadth;
pub mod clock;
mod control;
pub mod convert;
pub mod coql;
pub mod data;
pub mod directory;
pub mod faults;
pub mod filter;
pub mod jobs;
pub mod limits;
mod meddle;
pub mod mutate;
mod oauth;
pub mod path;
pub mod prepared;
pub mod render;
pub mod reply;
pub mod schema;
mod server;
pub mod state;
pub mod stats;
pub mod store;
pub mod switches;
pub mod time;
pub mod value;
pub mod write;
pub mod writer;

use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::secret::Secret;
use breadth::Breadth;
use clock::Clock;
use directory::Edition;
use faults::{Faults, Rule};
use limits::{Limits, Meter};
use prepared::Prepared;
use schema::Schema;
use state::{App, AppState, Org, OrgParts};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use store::Store;
use switches::Switches;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use value::Id;

/// The id prefix of the first organisation; each further one counts up.
const FIRST_ORG: Id = 4_876_000;
/// Every id is the prefix followed by twelve digits.
const PREFIX_UNIT: Id = 1_000_000_000_000;

/// How to start an emulator. The default is one Enterprise organisation without rows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seed of rows, tokens and faults.
    pub seed: u64,
    /// Generated rows per module, for organisations that do not say their own.
    pub rows: BTreeMap<String, u64>,
    /// A schema file, laid over the built-in schema, for organisations without their own.
    pub schema: Option<serde_json::Value>,
    /// Wide modules and many of them, for every organisation.
    pub breadth: Breadth,
    /// The organisations, at least one.
    pub orgs: Vec<OrgOptions>,
    /// Behaviour on disputed points.
    pub switches: Switches,
    /// Limits of every organisation.
    pub limits: Limits,
    /// How long a bulk job takes, in milliseconds of the emulator's clock.
    pub job_ms: i64,
    /// Faults from the start.
    pub faults: Vec<Rule>,
    /// Zip files that Bulk Read answers with, by module, where they are just what a job asks for.
    pub prepared: Vec<(String, PathBuf)>,
    /// Takes the rows of Bulk Write as added without looking at them or keeping them.
    pub blind_writes: bool,
    /// The clock stands still at this second since 1970; it runs with real time when absent.
    pub frozen_at: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            rows: BTreeMap::new(),
            schema: None,
            breadth: Breadth::default(),
            orgs: vec![OrgOptions::default()],
            switches: Switches::default(),
            limits: Limits::default(),
            job_ms: 50,
            faults: Vec::new(),
            prepared: Vec::new(),
            blind_writes: false,
            frozen_at: None,
        }
    }
}

/// One organisation to start with.
#[derive(Debug, Clone)]
pub struct OrgOptions {
    /// Company name.
    pub name: String,
    /// Paid edition.
    pub edition: Edition,
    /// Licences bought, and how many users there are.
    pub users: u32,
    /// The zone of every user.
    pub time_zone: String,
    /// OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// A refresh token that never expires.
    pub refresh_token: Secret,
    /// A grant code that can be exchanged within three minutes of the start.
    pub grant_code: Option<String>,
    /// Scopes of the tokens, separated by commas; all when absent.
    pub scope: Option<String>,
    /// Generated rows per module, instead of [`Options::rows`].
    pub rows: Option<BTreeMap<String, u64>>,
    /// A schema file, instead of [`Options::schema`].
    pub schema: Option<serde_json::Value>,
}

impl Default for OrgOptions {
    fn default() -> Self {
        Self {
            name: "Zylker".to_owned(),
            edition: Edition::Enterprise,
            users: 40,
            time_zone: "Australia/Sydney".to_owned(),
            client_id: "1000.EMULATOR".to_owned(),
            client_secret: Secret::new("emulator-secret"),
            refresh_token: Secret::new("1000.emulator.refresh"),
            grant_code: None,
            scope: None,
            rows: None,
            schema: None,
        }
    }
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no place for the files of bulk jobs.
    #[error("cannot make a folder for the files of bulk jobs in `{}`", std::env::temp_dir().display())]
    Spool(#[source] std::io::Error),
    /// The schema file is not one.
    #[error("the emulator schema is not valid")]
    Schema(#[source] serde_json::Error),
    /// Rows were asked for a module that is not in the schema.
    #[error("the emulator schema has no module `{0}` to make rows for")]
    UnknownModule(String),
    /// A prepared file does not fit.
    #[error("`{}` cannot be served as rows of `{module}`", path.display())]
    Prepared {
        /// The module.
        module: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
}

impl Diagnostic for Error {
    fn class(&self) -> ErrorClass {
        ErrorClass::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some("choose another port, or port 0 for a free one".to_owned()),
            Self::Spool(_) => Some("set TMPDIR to a folder that can be written to".to_owned()),
            Self::Schema(_) | Self::Prepared { .. } => None,
            Self::UnknownModule(_) => {
                Some("add the module to the schema file, or correct its name".to_owned())
            }
        }
    }
}

/// A running emulator; it stops when dropped.
#[derive(Debug)]
pub struct Emulator {
    app: AppState,
    address: SocketAddr,
    orgs: Vec<OrgOptions>,
    task: JoinHandle<()>,
    /// Removed with all files in it when the emulator is dropped.
    _spool: TempDir,
}

impl Emulator {
    /// `http://127.0.0.1:port`: API, accounts and upload host in one.
    pub fn base_url(&self) -> &str {
        &self.app.base_url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The organisations with their clients and tokens, in the order of the options.
    pub fn orgs(&self) -> &[OrgOptions] {
        &self.orgs
    }

    /// The inside, for tests in this process.
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Stops listening and breaks open connections.
    pub fn stop(self) {
        drop(self);
    }

    /// Runs until the task ends, which it does only when it is stopped from outside.
    pub async fn wait(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.app.stopped.store(true, Ordering::Release);
        self.task.abort();
    }
}

/// Starts an emulator in this process; it answers once this returns.
///
/// # Errors
/// Any [`Error`].
pub async fn start(options: Options) -> Result<Emulator, Error> {
    let bind_error = |source| Error::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let clock = options.frozen_at.map(Clock::frozen_at).unwrap_or_default();
    let prefixes = (0u64..).map(|number| (FIRST_ORG + number) * PREFIX_UNIT);
    let orgs = options.orgs.iter().zip(prefixes);
    let orgs: Result<Vec<_>, Error> =
        orgs.map(|(org, base)| build_org(&options, org, base, &clock)).collect();
    let spool = tempfile::Builder::new().prefix("zoho-emulator-").tempdir().map_err(Error::Spool)?;
    let app = Arc::new(App {
        base_url: format!("http://{address}"),
        orgs: orgs?,
        clock,
        faults: Faults::new(options.faults.clone(), options.seed),
        stats: stats::Stats::default(),
        job_ms: options.job_ms,
        seed: options.seed,
        blind_writes: options.blind_writes,
        spool: spool.path().to_owned(),
        switches: RwLock::new(options.switches.clone()),
        writer: Mutex::default(),
        stopped: Arc::new(AtomicBool::new(false)),
    });
    let serving = Arc::clone(&app);
    let task = tokio::spawn(async move {
        if let Err(error) = server::serve(listener, serving).await {
            tracing::error!(%error, "the emulator stopped");
        }
    });
    Ok(Emulator { app, address, orgs: options.orgs, task, _spool: spool })
}

fn build_org(options: &Options, org: &OrgOptions, base: Id, clock: &Clock) -> Result<Arc<Org>, Error> {
    let overlay = options.breadth.onto(org.schema.as_ref().or(options.schema.as_ref()));
    let schema = Schema::load(overlay.as_ref(), base)?;
    let rows = org.rows.as_ref().unwrap_or(&options.rows);
    if let Some(unknown) =
        rows.keys().find(|name| schema.module(name).is_none_or(|module| module.api_name != **name))
    {
        return Err(Error::UnknownModule(unknown.clone()));
    }
    let users = directory::users(base, org.users, &org.time_zone);
    let seed = data::mix(options.seed) ^ base;
    let (id, secret, refresh) = (org.client_id.clone(), org.client_secret.clone(), org.refresh_token.clone());
    let mut tokens = oauth::Tokens::new(id, secret, refresh, org.scope.clone(), seed);
    if let Some(code) = &org.grant_code {
        tokens.issue_code(Some(code.clone()), clock.now_ms());
    }
    let store = Store::new(schema, users, rows, seed, base);
    let prepared = prepared(options, &store)?;
    Ok(Arc::new(Org::new(OrgParts {
        name: org.name.clone(),
        base,
        zgid: (803_311_224 + (base / PREFIX_UNIT - FIRST_ORG)).to_string(),
        edition: org.edition,
        licences: org.users,
        meter: Meter::new(options.limits.clone(), org.edition, u64::from(org.users)),
        tokens,
        store,
        prepared,
    })))
}

fn prepared(options: &Options, store: &Store) -> Result<Vec<(usize, Prepared)>, Error> {
    let open = |(module, path): &(String, PathBuf)| {
        let at = store.schema.position(module).ok_or_else(|| Error::UnknownModule(module.clone()))?;
        let wrong = |source| Error::Prepared { module: module.clone(), path: path.clone(), source };
        Ok((at, Prepared::open(path, store.view_at(at)).map_err(wrong)?))
    };
    options.prepared.iter().map(open).collect()
}
