//! What a connection to Zoho CRM needs to know; filled by the command line, never read from files here.
//!
//! Each setting says its unit, its default and where the default comes from.

use super::api::org::Edition;
use super::datacenter::{DataCenter, Environment};
use super::token_file::key_of;
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one connection: who signs in, where, and how patient and thrifty the client is.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Client id of the API console, `1000.…`.
    pub client_id: String,
    /// Client secret that belongs to the id, in this data center.
    pub client_secret: Secret,
    /// Refresh token; `None` when only a grant code is at hand.
    pub refresh_token: Option<Secret>,
    /// A self client's code, good for one exchange within minutes.
    pub grant_code: Option<Secret>,
    /// Redirect address the code was issued for; self clients have none.
    pub redirect_uri: Option<String>,
    /// Where the organisation lives. Default: `us`.
    pub data_center: DataCenter,
    /// Production, sandbox or developer edition. Default: production.
    pub environment: Environment,
    /// Instead of the API host. Default: `api_domain` of the token answer, else the data center's.
    pub api_url: Option<String>,
    /// Instead of the accounts host. Default: the data center's.
    pub accounts_url: Option<String>,
    /// Instead of the upload host. Default: the data center's.
    pub content_url: Option<String>,
    /// Folder that is kept between runs and shared by processes: token cache, gained refresh tokens.
    pub state_dir: PathBuf,
    /// Most simultaneous calls. Default: the pool of the edition, once the `org` call told it.
    pub max_concurrency: Option<usize>,
    /// `User-Agent` of every call.
    pub user_agent: String,
    /// PEM file of certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long to wait for the network.
    pub timeouts: Timeouts,
    /// What to try again, and for how long.
    pub retry: RetryPolicy,
    /// How many API credits may be spent.
    pub credits: CreditLimits,
    /// Bulk Read results fetched per minute. Default: 10; the server refuses more ("Bulk Read, Limitations").
    pub downloads_per_minute: usize,
    /// How many processes share the pool of simultaneous calls. Default: 1.
    pub processes: usize,
}

impl Connection {
    /// Settings with every default, for the US data center.
    pub fn new(client_id: impl Into<String>, client_secret: Secret, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret,
            refresh_token: None,
            grant_code: None,
            redirect_uri: None,
            data_center: DataCenter::default(),
            environment: Environment::default(),
            api_url: None,
            accounts_url: None,
            content_url: None,
            state_dir: state_dir.into(),
            max_concurrency: None,
            user_agent: concat!("zoho-crm-connector/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_file: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            credits: CreditLimits::default(),
            downloads_per_minute: 10,
            processes: 1,
        }
    }

    /// The accounts host in use, without a slash at the end.
    pub fn accounts_base(&self) -> String {
        base(self.accounts_url.as_deref(), || self.data_center.accounts_url())
    }

    /// Names the organisation's client, whichever token it signs in with: for memory that outlives tokens.
    pub fn key(&self) -> String {
        key_of(&[
            &self.accounts_base(),
            self.api_url.as_deref().unwrap_or_default(),
            self.environment.host_label(),
            &self.client_id,
        ])
    }

    /// Leaves to this process its part of what the settings and the organisation allow to all of them, at
    /// least one of each.
    pub fn divide_among(&mut self, processes: usize) {
        self.processes = processes.max(1);
        self.downloads_per_minute = (self.downloads_per_minute / self.processes).max(1);
        self.credits.per_run = self.credits.per_run.map(|cap| (cap / self.processes as u64).max(1));
    }

    /// Most simultaneous calls of this process, where the edition's pool has so many.
    pub(super) fn pool(&self, of_edition: usize) -> usize {
        (self.max_concurrency.unwrap_or(of_edition) / self.processes.max(1)).max(1)
    }

    /// The upload host in use, without a slash at the end.
    pub fn content_base(&self) -> String {
        base(self.content_url.as_deref(), || self.data_center.content_url())
    }
}

fn base(url: Option<&str>, default: impl FnOnce() -> String) -> String {
    url.map_or_else(default, |url| url.trim_end_matches('/').to_owned())
}

/// How long to wait for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands, TLS included. Default: 10 s.
    pub connect: Duration,
    /// Between two pieces of an answer. Default: 60 s.
    pub read: Duration,
    /// For a whole call, uploads included; downloads are bounded by `read` only. Default: 300 s.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(60),
            total: Duration::from_secs(300),
        }
    }
}

/// How often a call is tried again, and how long the pauses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most attempts of one call, the first included. Default: 8.
    pub max_attempts: u32,
    /// No new attempt after this time. Default: 600 s.
    pub max_elapsed: Duration,
    /// Length of the first pause, before jitter. Default: 2 s.
    pub base: Duration,
    /// Longest pause. Default: 60 s.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 8,
            max_elapsed: Duration::from_secs(600),
            base: Duration::from_secs(2),
            cap: Duration::from_secs(60),
        }
    }
}

/// How many API credits may be spent, and what is known of the organisation's allowance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreditLimits {
    /// Most credits of one run. Default: no cap of our own.
    pub per_run: Option<u64>,
    /// Share of the daily credits that is left to others, in percent. Default: 0.
    pub reserve_percent: u8,
    /// Credits per day, where `org` does not tell edition and users. Default: computed from `org`.
    pub per_day: Option<u64>,
    /// Credits bought on top of the edition's. Default: 0.
    pub addon: u64,
    /// The edition, where `org` does not tell. Default: the smallest pool, and no figure for the day.
    pub edition: Option<Edition>,
    /// User licences, where `org` does not tell. Default: 0.
    pub users: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_divide_what_is_allowed_and_each_may_do_something() {
        let mut one = Connection::new("1000.X", Secret::new("hush"), "state");
        one.credits.per_run = Some(100);
        one.divide_among(8);
        assert_eq!((one.credits.per_run, one.downloads_per_minute, one.pool(20)), (Some(12), 1, 2));
        one.max_concurrency = Some(4);
        assert_eq!(one.pool(20), 1);
    }
}
