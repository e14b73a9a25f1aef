//! What handlers share: the organisations, the clock, the rules, and the call being answered.
//!
//! A handler takes a [`Call`] (already signed in, counted and let through), takes its credits with
//! [`CallParts::charge`], reads or writes the store under its lock and returns an
//! [`Answer`](super::reply::Answer). It never holds the lock across an await.

use super::clock::Clock;
use super::directory::Edition;
use super::faults::{Faults, Fired};
use super::jobs::Jobs;
use super::limits::Meter;
use super::oauth::Tokens;
use super::prepared::Prepared;
use super::reply::Reply;
use super::stats::Stats;
use super::store::{Stamp, Store};
use super::switches::Switches;
use super::time::Zone;
use super::value::Id;
use super::writer::Writer;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

const POISONED: &str = "a handler panicked while it held the lock";

/// Everything the emulator is; cheap to clone.
pub type AppState = Arc<App>;

/// The whole emulator.
#[derive(Debug)]
pub struct App {
    /// `http://host:port`, without a slash at the end.
    pub base_url: String,
    /// The organisations; their tokens tell them apart.
    pub orgs: Vec<Arc<Org>>,
    /// The time of everything.
    pub clock: Clock,
    /// Faults in force.
    pub faults: Faults,
    /// Counters.
    pub stats: Stats,
    /// How long a bulk job takes on the emulator's clock.
    pub job_ms: i64,
    /// Seed of everything random.
    pub seed: u64,
    /// Takes the rows of Bulk Write as added without looking at them.
    pub blind_writes: bool,
    /// Where the files of bulk jobs are.
    pub spool: PathBuf,
    pub(super) switches: RwLock<Switches>,
    pub(super) writer: Mutex<Option<Writer>>,
    pub(super) stopped: Arc<AtomicBool>,
}

impl App {
    /// The behaviour chosen at this moment.
    pub fn switches(&self) -> Switches {
        self.switches.read().expect(POISONED).clone()
    }

    /// Who keeps changing rows, if there is somebody.
    pub(super) fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().expect(POISONED)
    }

    /// Chooses other behaviour from now on.
    pub fn change_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.switches.write().expect(POISONED));
    }
}

/// One organisation.
#[derive(Debug)]
pub struct Org {
    /// Company name.
    pub name: String,
    /// Id prefix as a number: every id of the organisation is larger.
    pub base: Id,
    /// What the upload call wants in `X-CRM-ORG`.
    pub zgid: String,
    /// Paid edition.
    pub edition: Edition,
    /// Licences bought.
    pub licences: u32,
    /// Credits, open calls, downloads.
    pub meter: Meter,
    /// Bulk jobs and uploaded files.
    pub jobs: Mutex<Jobs>,
    /// Files that Bulk Read hands out, with the place of their module.
    pub prepared: Vec<(usize, Prepared)>,
    pub(super) tokens: Mutex<Tokens>,
    store: RwLock<Store>,
}

impl Org {
    pub(super) fn new(parts: OrgParts) -> Self {
        let OrgParts { name, base, zgid, edition, licences, meter, tokens, store, prepared } = parts;
        let (tokens, store) = (Mutex::new(tokens), RwLock::new(store));
        Self { name, base, zgid, edition, licences, meter, jobs: Mutex::default(), prepared, tokens, store }
    }

    /// The rows, to read. Do not hold it across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().expect(POISONED)
    }

    /// The rows, to write. Do not hold it across an await.
    pub fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().expect(POISONED)
    }

    /// The bulk jobs. Do not hold it across an await, nor take it while holding the store.
    pub fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().expect(POISONED)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().expect(POISONED)
    }
}

pub(super) struct OrgParts {
    pub(super) name: String,
    pub(super) base: Id,
    pub(super) zgid: String,
    pub(super) edition: Edition,
    pub(super) licences: u32,
    pub(super) meter: Meter,
    pub(super) tokens: Tokens,
    pub(super) store: Store,
    pub(super) prepared: Vec<(usize, Prepared)>,
}

/// A call that was let through.
#[derive(Debug, Clone)]
pub struct Call(Arc<CallParts>);

/// The parts of a [`Call`], reached through it.
#[derive(Debug)]
pub struct CallParts {
    /// The emulator.
    pub app: AppState,
    /// The organisation of the token.
    pub org: Arc<Org>,
    /// 2 to 8, from the path.
    pub version: u8,
    /// The token's user.
    pub user: Id,
    /// The zone in which the user sees datetimes.
    pub zone: Zone,
    /// Whether the user is an administrator.
    pub admin: bool,
    /// Query parameters.
    pub params: Params,
    /// Request headers.
    pub headers: HeaderMap,
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Faults that hit this call.
    pub fired: Fired,
    pub(super) label: String,
    heavy: AtomicBool,
}

impl std::ops::Deref for Call {
    type Target = CallParts;

    fn deref(&self) -> &CallParts {
        &self.0
    }
}

pub(super) struct CallSeed {
    pub(super) app: AppState,
    pub(super) org: Arc<Org>,
    pub(super) fired: Fired,
    pub(super) label: String,
}

impl Call {
    pub(super) fn new(seed: CallSeed, parts: &Parts) -> Self {
        let CallSeed { app, org, fired, label } = seed;
        let (user, zone, admin) = {
            let store = org.read();
            let user = &store.users[0];
            (user.id, user.zone, user.admin)
        };
        let path = parts.uri.path().to_owned();
        let version = path.split('/').find_map(version_of).unwrap_or(8);
        Self(Arc::new(CallParts {
            app,
            org,
            version,
            user,
            zone,
            admin,
            params: Params::parse(parts.uri.query().unwrap_or_default()),
            headers: parts.headers.clone(),
            method: parts.method.clone(),
            path,
            fired,
            label,
            heavy: AtomicBool::new(false),
        }))
    }
}

impl CallParts {
    /// Takes the credits of this call.
    ///
    /// # Errors
    /// 429 when the organisation has not enough left.
    pub fn charge(&self, credits: u64) -> Result<(), Reply> {
        if !self.org.meter.charge(credits, self.app.clock.now_ms()) {
            return Err(Reply::too_many_requests());
        }
        self.app.stats.credits(&self.label, credits);
        Ok(())
    }

    /// Takes a place in the pool of heavy calls (sorted lists, COQL, writes of more than ten).
    ///
    /// # Errors
    /// 429 when ten of them are open.
    pub fn heavy(&self) -> Result<(), Reply> {
        if self.heavy.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.org.meter.open_heavy() {
            return Err(Reply::too_many_requests());
        }
        self.heavy.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The stamp of a write made now.
    pub fn stamp(&self) -> Stamp {
        Stamp { now: self.app.clock.now(), user: self.user }
    }

    /// A request header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Drop for CallParts {
    fn drop(&mut self) {
        self.org.meter.close(self.heavy.load(Ordering::Relaxed));
    }
}

impl FromRequestParts<AppState> for Call {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Reply> {
        let message = "Authentication failed";
        let refusal = || Reply::error(401, "AUTHENTICATION_FAILURE", message, serde_json::json!({}));
        parts.extensions.get::<Self>().cloned().ok_or_else(refusal)
    }
}

/// The number in `v8`, for the versions that are served.
pub fn version_of(segment: &str) -> Option<u8> {
    let text = segment.strip_prefix('v')?;
    let major: u8 = text.split('.').next()?.parse().ok()?;
    (2..=8).contains(&major).then_some(major)
}

/// Query or form parameters, decoded.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=b&c=d`.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        pair.map(|(_, value)| value.as_str())
    }

    /// The items of a comma separated parameter.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let items = self.get(name).into_iter().flat_map(|text| text.split(','));
        items.map(str::trim).filter(|item| !item.is_empty()).collect()
    }

    /// Every parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The parameters of both, these first.
    pub fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// Undoes percent encoding and `+` for a blank.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (_, Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let params = Params::parse("fields=id%2CLast_Name&q=a+b%C3%A9%&empty=&flag");
        assert_eq!(params.list("fields"), ["id", "Last_Name"]);
        assert_eq!(params.get("q"), Some("a bé%"));
        assert_eq!((params.get("empty"), params.get("flag")), (None, None));
    }

    #[test]
    fn versions_two_to_eight_are_served() {
        assert_eq!(
            (version_of("v8"), version_of("v2.1"), version_of("v9"), version_of("Leads")),
            (Some(8), Some(2), None, None)
        );
    }
}
