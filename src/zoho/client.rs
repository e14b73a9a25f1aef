//! The client: one place through which every call goes.
//!
//! A call is charged to the budget, waits for a place in the gates, is sent with a token, and its
//! outcome judged: repeated, refused, or handed to the method in `api` that asked for it.

use super::auth::{AccessToken, Auth, Clock};
use super::call::{Call, Target};
use super::config::Connection;
use super::credits::{Allowance, Budget, Gate, Permit, SUB_POOL, Usage};
use super::download::Partial;
use super::error::{Error, ErrorKind};
use super::memory::Memory;
use super::refusal::Refusal;
use super::retry::{Advice, Patience, advise, may_have_run, tell};
use super::spending::Spending;
use super::transport::{Answer, Failure, Reach, Request, Transport};
use super::turns::Turns;
use crate::secret::Secret;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Simultaneous calls before the edition is known: the smallest pool there is.
const CAUTIOUS_POOL: usize = 5;

/// A connection to one organisation. Clones share tokens, budget, gates and counters.
///
/// ```no_run
/// use zoho_crm_connector::secret::Secret;
/// use zoho_crm_connector::zoho::{Client, Connection};
///
/// # async fn example() -> Result<(), zoho_crm_connector::zoho::Error> {
/// let mut connection = Connection::new("1000.CLIENT", Secret::new("secret"), "state");
/// connection.refresh_token = Some(Secret::new("1000.refresh"));
/// let client = Client::new(connection)?;
/// let org = client.org().await?;
/// assert!(client.usage().calls >= 1, "{} was asked for", org.company_name);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    connection: Arc<Connection>,
    transport: Arc<Transport>,
    auth: Auth,
    budget: Budget,
    memory: Memory,
    main_gate: Arc<Gate>,
    sub_gate: Arc<Gate>,
    downloads: Turns,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Seconds since 1970 of the last `Date` header; `i64::MIN` before the first.
    server_time: AtomicI64,
}

/// Builds a [`Client`] with a clock or a random source of one's own.
pub struct ClientBuilder {
    connection: Connection,
    clock: Clock,
    random: fastrand::Rng,
}

impl ClientBuilder {
    /// Tells the time of token expiry; the system clock if not set.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Draws the jitter of pauses; seeded by the system if not set.
    #[must_use]
    pub fn with_random(mut self, random: fastrand::Rng) -> Self {
        self.random = random;
        self
    }

    /// Prepares the client; no network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for settings that cannot work.
    pub fn build(self) -> Result<Client, Error> {
        let connection = Arc::new(self.connection);
        let transport = Arc::new(Transport::new(&connection)?);
        let random = Mutex::new(self.random);
        let random: Arc<dyn Fn() -> f64 + Send + Sync> =
            Arc::new(move || random.lock().unwrap_or_else(PoisonError::into_inner).f64());
        let pool = connection.pool(CAUTIOUS_POOL);
        let memory = Memory::new(&connection, Arc::clone(&self.clock));
        let spending = Spending::new(memory.folder().join("credits"), Arc::clone(&self.clock));
        let client = Client(Arc::new(Shared {
            auth: Auth::new(Arc::clone(&transport), Arc::clone(&connection), self.clock, Arc::clone(&random)),
            budget: Budget::new(connection.credits.clone(), spending),
            memory,
            main_gate: Gate::new(pool),
            sub_gate: Gate::new(SUB_POOL.min(pool)),
            downloads: Turns::new(connection.downloads_per_minute),
            server_time: AtomicI64::new(i64::MIN),
            random,
            transport,
            connection,
        }));
        client.learn_settings();
        Ok(client)
    }
}

impl Client {
    /// Prepares a client; no network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for settings that cannot work.
    pub fn new(connection: Connection) -> Result<Self, Error> {
        Self::builder(connection).build()
    }

    /// Starts to build a client.
    pub fn builder(connection: Connection) -> ClientBuilder {
        ClientBuilder { connection, clock: Arc::new(Utc::now), random: fastrand::Rng::new() }
    }

    /// The server's clock as the last answer showed it.
    pub fn server_time(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.0.server_time.load(Ordering::Relaxed), 0)
    }

    /// What was done and spent so far.
    pub fn usage(&self) -> Usage {
        self.0.budget.usage()
    }

    /// What may be spent, as far as is known.
    pub fn allowance(&self) -> Allowance {
        self.0.budget.allowance()
    }

    /// Counts a bulk read job.
    pub(super) fn note_job(&self) {
        self.0.budget.note_job();
    }

    /// What is kept of the organisation between runs.
    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The settings the client was made with.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Signs in, or makes sure that we are: a usable access token is at hand afterwards.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SignIn`] when the accounts host refuses, [`ErrorKind::TokenThrottle`] when it
    /// gives no more tokens for now.
    pub async fn sign_in(&self) -> Result<(), Error> {
        self.0.auth.token().await.map(drop)
    }

    /// The refresh token that the settings' grant code was exchanged for; none where they have a token.
    ///
    /// # Errors
    ///
    /// Those of [`Client::sign_in`].
    pub async fn granted_token(&self) -> Result<Option<Secret>, Error> {
        self.0.auth.granted().await
    }

    /// Revokes the refresh token and forgets all kept tokens.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SignIn`] when the token is not known (any more).
    pub async fn revoke(&self) -> Result<(), Error> {
        self.0.auth.revoke().await
    }

    /// Sets gates and budget by what the organisation has paid for.
    pub(super) fn learn_edition(&self, pool: usize, per_day: Option<u64>) {
        let pool = self.0.connection.pool(pool);
        self.0.main_gate.resize(pool);
        self.0.sub_gate.resize(SUB_POOL.min(pool));
        self.0.budget.learn_allowance(per_day);
    }

    /// Makes a read and answers its body; `None` for "nothing there" (204) or "nothing newer" (304).
    pub(super) async fn fetch(&self, call: &Call) -> Result<Option<Bytes>, Error> {
        let answer = self.execute(call).await?;
        match answer.status {
            204 | 304 => Ok(None),
            200..=299 if answer.body.is_empty() => Ok(None),
            200..=299 => match Refusal::hidden_in(&answer.body) {
                Some(refusal) => Err(refusal.into_error(call, answer.status)),
                None => Ok(Some(answer.body)),
            },
            _ => Err(Refusal::read(&answer.body).into_error(call, answer.status)),
        }
    }

    /// Like [`Self::fetch`], parsed; null for nothing.
    pub(super) async fn fetch_value(&self, call: &Call) -> Result<Value, Error> {
        match self.fetch(call).await? {
            None => Ok(Value::Null),
            Some(body) => serde_json::from_slice(&body).map_err(|error| call.misunderstood(error)),
        }
    }

    /// Fetches a file, going on after cuts; answers its size in bytes.
    pub(super) async fn fetch_file(&self, call: &Call, target: &Path) -> Result<u64, Error> {
        let mut partial = Partial::create(target)?;
        let answer = self.run(call, Some(&mut partial)).await?;
        match answer.status {
            200 | 206 => partial.finish(),
            status => Err(Refusal::read(&answer.body).into_error(call, status)),
        }
    }

    /// Makes a call; answers whatever the server finally says, refusals (4xx) included.
    pub(super) async fn execute(&self, call: &Call) -> Result<Answer, Error> {
        self.run(call, None).await
    }

    async fn run(&self, call: &Call, mut sink: Option<&mut Partial>) -> Result<Answer, Error> {
        let mut policy = self.0.connection.retry;
        if call.is_once {
            policy.max_attempts = 1;
        }
        let mut patience = Patience::new(policy);
        let mut signed_in_again = false;
        loop {
            patience.attempt();
            let (outcome, token) = self.attempt(call, sink.as_deref_mut(), patience.attempts() > 1).await?;
            let asked = match advise(&outcome, call.repeatable) {
                Advice::SignInAgain if !signed_in_again && is_dead_token(&outcome) => {
                    signed_in_again = true;
                    self.0.auth.replace(&token).await?;
                    continue;
                }
                Advice::Accept | Advice::SignInAgain | Advice::Stop => {
                    return conclude(call, outcome, &patience);
                }
                Advice::Throttled(asked) => {
                    self.check_exhausted(call, &outcome)?;
                    asked
                }
                Advice::Repeat(asked) => asked,
            };
            let Some(pause) = patience.pause(asked, (self.0.random)()) else {
                return conclude(call, outcome, &patience);
            };
            tell(call.method, call.path(), &outcome, patience.attempts(), pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt: charged, let through the gates, sent.
    async fn attempt(
        &self,
        call: &Call,
        sink: Option<&mut Partial>,
        again: bool,
    ) -> Result<(Result<Answer, Failure>, AccessToken), Error> {
        let shared = &*self.0;
        let token = shared.auth.token().await?;
        let request = self.request(call, &token)?;
        let _turn = match call.turn {
            Some(rank) => Some(shared.downloads.wait(rank).await),
            None => None,
        };
        let permits = self.enter(call).await;
        shared.budget.charge(call.category, call.price, again).map_err(|error| call.place(error))?;
        let outcome = match sink {
            Some(partial) => shared.transport.download(&request, partial).await,
            None => shared.transport.send(&request).await,
        };
        self.observe(call, &outcome, &permits);
        Ok((outcome, token))
    }

    /// Waits for a place: heavy calls need one in the pool of ten as well.
    async fn enter(&self, call: &Call) -> Vec<Permit> {
        let mut permits = Vec::with_capacity(2);
        if call.is_heavy {
            permits.push(self.0.sub_gate.enter().await);
        }
        permits.push(self.0.main_gate.enter().await);
        permits
    }

    /// Lets clock, counters and gates learn from an attempt.
    fn observe(&self, call: &Call, outcome: &Result<Answer, Failure>, permits: &[Permit]) {
        match outcome {
            Ok(answer) => {
                if let Some(date) = answer.date {
                    self.0.server_time.store(date.timestamp(), Ordering::Relaxed);
                }
                self.0.budget.observe(answer, call.price > 0);
                // The first is the narrower pool. A refused download has a limit of its own.
                match permits.first() {
                    Some(permit) if answer.status == 429 && !call.is_download => permit.refused(),
                    _ => permits.iter().filter(|_| answer.status < 400).for_each(Permit::served),
                }
            }
            Err(failure) if failure.reach != Reach::Unknown => {
                self.0.budget.refund(call.category, call.price)
            }
            Err(_) => {}
        }
    }

    fn request(&self, call: &Call, token: &AccessToken) -> Result<Request, Error> {
        let url = match &call.target {
            Target::Api(path) => format!("{}{path}", self.api_base(token)?),
            Target::Content(path) => format!("{}{path}", self.0.connection.content_base()),
            Target::Url(url) => url.clone(),
        };
        Ok(Request {
            method: call.method,
            url,
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            token: Some(token.secret.clone()),
        })
    }

    /// The API host: the configured one, else the token's, else the data center's.
    fn api_base(&self, token: &AccessToken) -> Result<String, Error> {
        let connection = &self.0.connection;
        if let Some(url) = &connection.api_url {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let Some(domain) = &token.api_domain else {
            return Ok(connection.data_center.api_url(connection.environment));
        };
        // A sandbox's token may still name the production host.
        let label = format!("https://{}.zohoapis.", connection.environment.host_label());
        let base = domain.trim_end_matches('/').replacen("https://www.zohoapis.", &label, 1);
        if self.0.transport.trusts(&base) {
            return Ok(base);
        }
        let message = format!(
            "the token belongs to `{base}`, which is not in data center `{}`",
            connection.data_center
        );
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("set `data_center` to where the account lives; `zoho-crm auth status --find-data-center` finds it"))
    }

    /// Addresses at which a relative download may lie, the likeliest first.
    pub(super) async fn download_bases(&self) -> Result<Vec<String>, Error> {
        let api = self.api_base(&self.0.auth.token().await?)?;
        let connection = &self.0.connection;
        if connection.api_url.is_some() || connection.content_url.is_some() {
            return Ok(vec![api]);
        }
        Ok(vec![connection.data_center.download_url(), api])
    }

    /// A refusal with 429 for want of credits ends the run; waiting would take hours.
    fn check_exhausted(&self, call: &Call, outcome: &Result<Answer, Failure>) -> Result<(), Error> {
        let Ok(answer) = outcome else { return Ok(()) };
        let refusal = Refusal::read(&answer.body);
        if call.is_download || !self.0.budget.is_exhausted(call.price, &refusal.message) {
            return Ok(());
        }
        let usage = self.usage();
        let left = usage.remaining.map(|left| format!(", {left} are left")).unwrap_or_default();
        let message =
            format!("{} spent by this run{left}; Zoho says: {}", usage.credits.total(), refusal.message);
        let error = Error::new(ErrorKind::Quota, message).with_code(refusal.code).with_status(429);
        let missing = call.price.saturating_sub(usage.remaining.unwrap_or(0));
        Err(call.place(error.with_hint(self.0.budget.when_freed(missing))))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connection", &self.0.connection).finish_non_exhaustive()
    }
}

/// Whether a 401 says that the token is dead, rather than that its scopes do not reach.
fn is_dead_token(outcome: &Result<Answer, Failure>) -> bool {
    outcome.as_ref().is_ok_and(|answer| {
        matches!(Refusal::read(&answer.body).code.as_str(), "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" | "")
    })
}

/// Turns the last attempt's outcome into the call's.
fn conclude(call: &Call, outcome: Result<Answer, Failure>, patience: &Patience) -> Result<Answer, Error> {
    let in_doubt = !call.repeatable && may_have_run(&outcome);
    let error = match outcome {
        Ok(answer) if answer.status == 429 || answer.status >= 500 => {
            Refusal::read(&answer.body).into_error(call, answer.status)
        }
        Ok(answer) => return Ok(answer),
        Err(failure) => call.place(failure.error),
    };
    let error = error.with_effort(patience.attempts(), patience.elapsed());
    Err(if in_doubt { error.with_doubt() } else { error })
}
