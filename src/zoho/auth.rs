//! Access tokens: gained from a refresh token or a grant code, shared between processes, renewed
//! in time.
//!
//! Follows the pages "Access and Refresh Tokens" and "OAuth Limits". Zoho gives ten access tokens
//! per ten minutes and refresh token, so one token serves all processes that share a state folder.
//! A refused exchange answers 200 with `{"error": ...}`: success is the key `access_token`, never
//! the status.

use super::config::Connection;
use super::datacenter::DataCenter;
use super::error::{Error, ErrorKind};
use super::json;
use super::retry::{Advice, Patience, advise, tell};
use super::token_file::{TokenFile, key_of};
use super::transport::{Answer, Body, Request, Transport};
use super::types::Method;
use crate::secret::Secret;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Tells the time; a parameter, so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// A token with less life than this is renewed before it is used.
const MIN_LIFE: TimeDelta = TimeDelta::seconds(60);
/// Most access tokens per [`MINT_WINDOW`]. Source: "OAuth Limits".
const MAX_MINTS: usize = 10;
/// Source: "OAuth Limits".
const MINT_WINDOW: TimeDelta = TimeDelta::minutes(10);
/// Life of a token whose answer does not tell. Source: "Access and Refresh Tokens".
const DEFAULT_LIFE: TimeDelta = TimeDelta::seconds(3600);
const TOKEN_PATH: &str = "/oauth/v2/token";

/// A token to call the API with.
#[derive(Debug, Clone)]
pub(super) struct AccessToken {
    pub(super) secret: Secret,
    /// The API host that goes with it.
    pub(super) api_domain: Option<String>,
    expires_at: DateTime<Utc>,
}

impl AccessToken {
    fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        self.expires_at - now >= MIN_LIFE
    }

    fn is(&self, other: &Self) -> bool {
        self.secret.expose() == other.secret.expose()
    }
}

/// What is kept between runs for one refresh token.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    token: Option<KeptToken>,
    /// When access tokens were asked for lately.
    #[serde(default)]
    mints: Vec<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
struct KeptToken {
    access_token: String,
    api_domain: Option<String>,
    expires_at: DateTime<Utc>,
}

/// What is kept of a grant code: the refresh token it was exchanged for.
#[derive(Serialize, Deserialize)]
struct KeptGrant {
    refresh_token: String,
}

/// The answer to a good exchange.
struct Grant {
    access: AccessToken,
    refresh_token: Option<Secret>,
}

/// Hands out access tokens for one connection.
pub(super) struct Auth {
    transport: Arc<Transport>,
    connection: Arc<Connection>,
    clock: Clock,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
    held: Mutex<Option<AccessToken>>,
}

impl Auth {
    pub(super) fn new(
        transport: Arc<Transport>,
        connection: Arc<Connection>,
        clock: Clock,
        random: Arc<dyn Fn() -> f64 + Send + Sync>,
    ) -> Self {
        Self { transport, connection, clock, random, held: Mutex::new(None) }
    }

    /// A token with at least a minute to live.
    pub(super) async fn token(&self) -> Result<AccessToken, Error> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref().filter(|token| token.is_fresh((self.clock)())) {
            return Ok(token.clone());
        }
        Ok(held.insert(self.obtain(None).await?).clone())
    }

    /// Another token than the one that was refused; one already gained by others, if there is.
    pub(super) async fn replace(&self, dead: &AccessToken) -> Result<AccessToken, Error> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref().filter(|token| !token.is(dead) && token.is_fresh((self.clock)())) {
            return Ok(token.clone());
        }
        Ok(held.insert(self.obtain(Some(dead)).await?).clone())
    }

    /// The refresh token that a grant code was exchanged for, where the settings have none.
    pub(super) async fn granted(&self) -> Result<Option<Secret>, Error> {
        let is_given = self.connection.refresh_token.is_some();
        if is_given { Ok(None) } else { self.refresh_token().await.map(Some) }
    }

    /// Takes the token back from everybody: the refresh token and all access tokens of it die.
    pub(super) async fn revoke(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        let refresh = self.refresh_token().await?;
        let url = format!("{}{TOKEN_PATH}/revoke", self.connection.accounts_base());
        let mut request = self.request(url, Body::Empty);
        request.query = vec![("token".to_owned(), refresh.expose().to_owned())];
        let answer = self.exchange(&request, true).await?;
        if answer.status != 200 {
            let error =
                Error::new(ErrorKind::SignIn, "the refresh token cannot be revoked; it may be dead already");
            return Err(error.with_status(answer.status).with_call(Method::Post, "/oauth/v2/token/revoke"));
        }
        *held = None;
        self.kept(&refresh).await?.remove()?;
        if let Some(code) = &self.connection.grant_code {
            self.kept_grant(code).await?.remove()?;
        }
        Ok(())
    }

    /// The kept token if it is good, else a new one; one process at a time.
    async fn obtain(&self, dead: Option<&AccessToken>) -> Result<AccessToken, Error> {
        let refresh = self.refresh_token().await?;
        let file = self.kept(&refresh).await?;
        let mut kept: Kept = file.read().unwrap_or_default();
        if let Some(token) = kept.token.take().map(AccessToken::from)
            && token.is_fresh((self.clock)())
            && dead.is_none_or(|dead| !token.is(dead))
        {
            return Ok(token);
        }
        self.await_mint(&mut kept.mints).await?;
        kept.mints.push((self.clock)());
        file.write(&kept)?;
        tracing::debug!(host = self.connection.accounts_base(), "asking for an access token");
        let grant = self.mint(vec![("grant_type", Secret::new("refresh_token")), ("refresh_token", refresh)]);
        let access = grant.await?.access;
        kept.token = Some(KeptToken::from(&access));
        file.write(&kept)?;
        Ok(access)
    }

    /// Waits until another token may be asked for; an error if that takes long.
    async fn await_mint(&self, mints: &mut Vec<DateTime<Utc>>) -> Result<(), Error> {
        let now = (self.clock)();
        mints.retain(|mint| *mint > now - MINT_WINDOW && *mint <= now);
        let Some(first) = mints.len().checked_sub(MAX_MINTS).map(|surplus| mints[surplus]) else {
            return Ok(());
        };
        let wait = (first + MINT_WINDOW - now).to_std().unwrap_or_default();
        if wait > self.connection.retry.cap {
            let message = format!(
                "{MAX_MINTS} were asked for within ten minutes, the next one is free in {} s",
                wait.as_secs()
            );
            return Err(Error::new(ErrorKind::TokenThrottle, message));
        }
        tracing::warn!(seconds = wait.as_secs(), "waiting for the next access token");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// The configured refresh token, or the one its grant code was or is exchanged for.
    async fn refresh_token(&self) -> Result<Secret, Error> {
        if let Some(token) = &self.connection.refresh_token {
            return Ok(token.clone());
        }
        let Some(code) = &self.connection.grant_code else {
            return Err(Error::new(ErrorKind::Config, "neither `refresh_token` nor `grant_code` is given"));
        };
        let file = self.kept_grant(code).await?;
        if let Some(kept) = file.read::<KeptGrant>() {
            return Ok(Secret::new(kept.refresh_token));
        }
        let mut form = vec![("grant_type", Secret::new("authorization_code")), ("code", code.clone())];
        if let Some(uri) = &self.connection.redirect_uri {
            form.push(("redirect_uri", Secret::new(uri.as_str())));
        }
        let grant = self.mint(form).await?;
        let refresh = grant.refresh_token.ok_or_else(|| {
            Error::new(ErrorKind::SignIn, "the code gave no refresh token")
                .with_hint("ask for the code with `access_type=offline`, or make it as a self client")
        })?;
        file.write(&KeptGrant { refresh_token: refresh.expose().to_owned() })?;
        let token = Some(KeptToken::from(&grant.access));
        self.kept(&refresh).await?.write(&Kept { token, mints: vec![(self.clock)()] })?;
        Ok(refresh)
    }

    /// The locked file of the access token that belongs to a refresh token.
    async fn kept(&self, refresh: &Secret) -> Result<TokenFile, Error> {
        let connection = &self.connection;
        let key = key_of(&[&connection.accounts_base(), &connection.client_id, refresh.expose()]);
        TokenFile::lock(&connection.state_dir, "access", &key, self.lock_patience()).await
    }

    /// The locked file of the refresh token that a grant code was exchanged for.
    async fn kept_grant(&self, code: &Secret) -> Result<TokenFile, Error> {
        let connection = &self.connection;
        let key = key_of(&[&connection.client_id, code.expose()]);
        TokenFile::lock(&connection.state_dir, "grant", &key, self.lock_patience()).await
    }

    /// Whoever holds a lock may be retrying an exchange.
    fn lock_patience(&self) -> Duration {
        self.connection.retry.max_elapsed + self.connection.timeouts.total
    }

    /// One exchange at the accounts host.
    async fn mint(&self, mut form: Vec<(&'static str, Secret)>) -> Result<Grant, Error> {
        // A code is good for one exchange; a refresh token for any number.
        let repeatable =
            self.connection.refresh_token.is_some() || form.iter().any(|(name, _)| *name == "refresh_token");
        form.push(("client_id", Secret::new(self.connection.client_id.as_str())));
        form.push(("client_secret", self.connection.client_secret.clone()));
        let url = format!("{}{TOKEN_PATH}", self.connection.accounts_base());
        let answer = self.exchange(&self.request(url, Body::Form(form)), repeatable).await?;
        read_grant(&answer, (self.clock)()).map_err(|error| self.explain(error))
    }

    fn request(&self, url: String, body: Body) -> Request {
        Request { method: Method::Post, url, query: Vec::new(), headers: Vec::new(), body, token: None }
    }

    /// Sends until answered; the server's refusals are answers.
    async fn exchange(&self, request: &Request, repeatable: bool) -> Result<Answer, Error> {
        let mut patience = Patience::new(self.connection.retry);
        loop {
            patience.attempt();
            let outcome = self.transport.send(request).await;
            let asked = match advise(&outcome, repeatable) {
                Advice::Throttled(asked) | Advice::Repeat(asked) => asked,
                Advice::Accept | Advice::SignInAgain | Advice::Stop => {
                    return self.settle(outcome, &patience);
                }
            };
            let Some(pause) = patience.pause(asked, (self.random)()) else {
                return self.settle(outcome, &patience);
            };
            tell(Method::Post, TOKEN_PATH, &outcome, patience.attempts(), pause);
            tokio::time::sleep(pause).await;
        }
    }

    fn settle(
        &self,
        outcome: Result<Answer, super::transport::Failure>,
        patience: &Patience,
    ) -> Result<Answer, Error> {
        let error = match outcome {
            Ok(answer) if answer.status == 429 => Error::new(ErrorKind::TokenThrottle, "").with_status(429),
            Ok(answer) if answer.status >= 500 => {
                Error::new(ErrorKind::Service, "the accounts host has trouble").with_status(answer.status)
            }
            Ok(answer) => return Ok(answer),
            Err(failure) => failure.error,
        };
        Err(error.with_call(Method::Post, TOKEN_PATH).with_effort(patience.attempts(), patience.elapsed()))
    }

    /// Adds where was asked, and what to do about it.
    fn explain(&self, error: Error) -> Error {
        let asked = format!(
            "asked {} for data center `{}`",
            self.connection.accounts_base(),
            self.connection.data_center
        );
        let hint = error.code().and_then(|code| sign_in_hint(code, &self.connection));
        let refused = error.code().and_then(|code| refused(code, &self.connection));
        let error = match refused {
            Some(what) if error.message().is_empty() => error.with_place(what),
            _ => error,
        };
        let error = error.with_place(&asked);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

impl From<KeptToken> for AccessToken {
    fn from(kept: KeptToken) -> Self {
        Self {
            secret: Secret::new(kept.access_token),
            api_domain: kept.api_domain,
            expires_at: kept.expires_at,
        }
    }
}

impl From<&AccessToken> for KeptToken {
    fn from(token: &AccessToken) -> Self {
        Self {
            access_token: token.secret.expose().to_owned(),
            api_domain: token.api_domain.clone(),
            expires_at: token.expires_at,
        }
    }
}

/// Reads the answer to an exchange.
fn read_grant(answer: &Answer, now: DateTime<Utc>) -> Result<Grant, Error> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(token) = json::optional_text(&body, "access_token") {
        let access = AccessToken {
            secret: Secret::new(token),
            api_domain: json::optional_text(&body, "api_domain"),
            expires_at: now + life(&body),
        };
        return Ok(Grant {
            access,
            refresh_token: json::optional_text(&body, "refresh_token").map(Secret::new),
        });
    }
    let Some(code) = json::optional_text(&body, "error") else {
        let error = Error::new(ErrorKind::Answer, "it holds neither `access_token` nor `error`");
        return Err(error.with_status(answer.status));
    };
    let throttled = code.to_ascii_lowercase().replace('_', " ") == "access denied";
    let kind = if throttled { ErrorKind::TokenThrottle } else { ErrorKind::SignIn };
    let description = json::text(&body, "error_description");
    Err(Error::new(kind, description).with_code(code).with_status(answer.status))
}

/// How long the token lives; some servers tell milliseconds, and seconds under another key.
fn life(body: &Value) -> TimeDelta {
    let seconds = json::number(&body["expires_in_sec"]).or_else(|| {
        let told: i64 = json::number(&body["expires_in"])?;
        Some(if told > 86_400 { told / 1000 } else { told })
    });
    seconds.and_then(TimeDelta::try_seconds).unwrap_or(DEFAULT_LIFE)
}

/// What a code is about; Zoho sends nothing but the code.
fn refused(code: &str, connection: &Connection) -> Option<&'static str> {
    Some(match code {
        "invalid_client" => "it does not know this `client_id`",
        "invalid_client_secret" => "this `client_secret` does not belong to the `client_id`",
        "invalid_code" if connection.refresh_token.is_some() => "it does not know this `refresh_token`",
        "invalid_code" => "it does not take this `grant_code`",
        _ => return None,
    })
}

/// What to do about a refused exchange.
fn sign_in_hint(code: &str, connection: &Connection) -> Option<String> {
    let text = match code {
        "invalid_client" => format!(
            "this happens when the account lives in another data center than `{}`; \
             `zoho-crm auth status --find-data-center --config …` tries them all",
            connection.data_center
        ),
        "invalid_client_secret" => "the API console shows the secret; each data center may have its own"
            .to_owned(),
        "invalid_code" if connection.refresh_token.is_some() => {
            "the refresh token was revoked, or belongs to another client or data center; README, \"Your own account\", shows how to get a new one".to_owned()
        }
        "invalid_code" => "a code can be used once and within minutes of its making; make a new one in the API console".to_owned(),
        "invalid_redirect_uri" => "`redirect_uri` must be the one registered in the API console".to_owned(),
        _ => return None,
    };
    Some(text)
}

/// What one data center said to the refresh token.
#[derive(Debug)]
pub struct Trial {
    /// The data center asked.
    pub data_center: DataCenter,
    /// Its accounts host.
    pub accounts_url: String,
    /// Whether it knows client and refresh token.
    pub outcome: Result<(), Error>,
}

/// Asks the data centers, one after the other, whether they know client and refresh token.
///
/// Stops at the first that does. Uses up one of ten access tokens per ten minutes there.
///
/// # Errors
///
/// `Config` when there is no refresh token, or the connection settings cannot work.
pub async fn find_data_center(connection: &Connection, clock: Clock) -> Result<Vec<Trial>, Error> {
    let candidates = DataCenter::ALL.map(|center| (center, None));
    try_data_centers(connection, clock, &candidates).await
}

pub(super) async fn try_data_centers(
    connection: &Connection,
    clock: Clock,
    candidates: &[(DataCenter, Option<String>)],
) -> Result<Vec<Trial>, Error> {
    let Some(refresh) = &connection.refresh_token else {
        return Err(Error::new(ErrorKind::Config, "`refresh_token` is needed to find its data center"));
    };
    let mut trials = Vec::new();
    for (data_center, accounts_url) in candidates {
        let mut settings = connection.clone();
        settings.data_center = *data_center;
        settings.accounts_url.clone_from(accounts_url);
        settings.retry.max_attempts = 1;
        let accounts_url = settings.accounts_base();
        let transport = Arc::new(Transport::new(&settings)?);
        let auth = Auth::new(transport, Arc::new(settings), clock.clone(), Arc::new(|| 0.5));
        let form = vec![("grant_type", Secret::new("refresh_token")), ("refresh_token", refresh.clone())];
        let outcome = auth.mint(form).await.map(drop);
        let found = outcome.is_ok();
        trials.push(Trial { data_center: *data_center, accounts_url, outcome });
        if found {
            break;
        }
    }
    Ok(trials)
}
