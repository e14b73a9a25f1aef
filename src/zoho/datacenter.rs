//! Where Zoho is: data centers, their hosts, and which hosts may see a token.
//!
//! Follows the page "Multi-DC" of the accounts documentation and the hosts of the official SDKs.
//! An organisation lives in exactly one data center; a client or token of another one is refused
//! there as if it did not exist.

use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The region an organisation lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DataCenter {
    #[default]
    Us,
    Eu,
    In,
    Au,
    Jp,
    Cn,
    Ca,
    Sa,
    Uk,
}

/// Which edition of the organisation's data a grant was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The real data.
    #[default]
    Production,
    /// A copy for trials.
    Sandbox,
    /// A developer's organisation.
    Developer,
}

impl DataCenter {
    /// Every data center, in the order in which they are tried.
    pub const ALL: [Self; 9] =
        [Self::Us, Self::Eu, Self::In, Self::Au, Self::Jp, Self::Cn, Self::Ca, Self::Sa, Self::Uk];

    /// The short name used in configuration and in `location` of the consent redirect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::In => "in",
            Self::Au => "au",
            Self::Jp => "jp",
            Self::Cn => "cn",
            Self::Ca => "ca",
            Self::Sa => "sa",
            Self::Uk => "uk",
        }
    }

    /// The ending that the API hosts of this data center share.
    fn top_level(self) -> &'static str {
        match self {
            Self::Us => "com",
            Self::Eu => "eu",
            Self::In => "in",
            Self::Au => "com.au",
            Self::Jp => "jp",
            Self::Cn => "com.cn",
            Self::Ca => "ca",
            Self::Sa => "sa",
            Self::Uk => "uk",
        }
    }

    /// The registered domain of the accounts and download hosts.
    fn account_domain(self) -> String {
        match self {
            Self::Ca => "zohocloud.ca".to_owned(),
            other => format!("zoho.{}", other.top_level()),
        }
    }

    /// Where tokens come from.
    pub fn accounts_url(self) -> String {
        format!("https://accounts.{}", self.account_domain())
    }

    /// Where the API is, unless the token answer names another host.
    pub fn api_url(self, environment: Environment) -> String {
        format!("https://{}.zohoapis.{}", environment.host_label(), self.top_level())
    }

    /// Where bulk write files are uploaded to.
    ///
    /// Sources differ for `ca` and `sa`; a connection can name another host.
    pub fn content_url(self) -> String {
        format!("https://content.zohoapis.{}", self.top_level())
    }

    /// Where bulk write results lie when their address is relative.
    pub fn download_url(self) -> String {
        format!("https://download-accl.{}", self.account_domain())
    }

    /// The domains whose hosts may see a token of this data center.
    pub fn families(self) -> [String; 2] {
        [format!("zohoapis.{}", self.top_level()), self.account_domain()]
    }
}

impl fmt::Display for DataCenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DataCenter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|center| center.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            format!("`{text}` is not a data center; known are us, eu, in, au, jp, cn, ca, sa, uk")
        })
    }
}

impl Environment {
    /// The name used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
            Self::Developer => "developer",
        }
    }

    /// First label of the API host.
    pub(super) fn host_label(self) -> &'static str {
        match self {
            Self::Production => "www",
            Self::Sandbox => "sandbox",
            Self::Developer => "developer",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The hosts that may see a token: Zoho's of one data center over TLS, and those configured by name.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    families: [String; 2],
    named: Vec<Origin>,
}

/// Scheme, host and port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Trust {
    pub(super) fn new(data_center: DataCenter, named: Vec<Origin>) -> Self {
        Self { families: data_center.families(), named }
    }

    /// Whether a token may be sent there.
    pub(super) fn allows(&self, origin: &Origin) -> bool {
        self.named.contains(origin) || (origin.scheme == "https" && self.is_family(&origin.host))
    }

    fn is_family(&self, host: &str) -> bool {
        self.families
            .iter()
            .any(|family| host.strip_suffix(family.as_str()).is_some_and(|rest| rest.ends_with('.')))
    }
}

impl Origin {
    /// Whether the address stays on this machine, the only place where plain HTTP is allowed.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::{DataCenter, Environment, Origin, Trust};

    #[test]
    fn hosts_follow_the_table() {
        let hosts =
            |dc: DataCenter| (dc.accounts_url(), dc.api_url(Environment::Production), dc.content_url());
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            hosts(DataCenter::Us),
            row("https://accounts.zoho.com", "https://www.zohoapis.com", "https://content.zohoapis.com")
        );
        assert_eq!(
            hosts(DataCenter::Au),
            row(
                "https://accounts.zoho.com.au",
                "https://www.zohoapis.com.au",
                "https://content.zohoapis.com.au"
            )
        );
        assert_eq!(
            hosts(DataCenter::Ca),
            row("https://accounts.zohocloud.ca", "https://www.zohoapis.ca", "https://content.zohoapis.ca")
        );
        assert_eq!(DataCenter::Eu.api_url(Environment::Sandbox), "https://sandbox.zohoapis.eu");
    }

    #[test]
    fn names_are_read_back() {
        for center in DataCenter::ALL {
            assert_eq!(center.as_str().parse(), Ok(center));
        }
        assert!("mars".parse::<DataCenter>().is_err());
    }

    fn origin(scheme: &str, host: &str, port: Option<u16>) -> Origin {
        Origin { scheme: scheme.to_owned(), host: host.to_owned(), port }
    }

    #[test]
    fn a_token_stays_with_zoho_and_the_named_hosts() {
        let local = origin("http", "127.0.0.1", Some(4100));
        let trust = Trust::new(DataCenter::Us, vec![local.clone()]);
        for host in ["www.zohoapis.com", "download-accl.zoho.com", "sandbox.zohoapis.com"] {
            assert!(trust.allows(&origin("https", host, None)), "{host}");
        }
        assert!(trust.allows(&local));
        for host in ["evilzoho.com", "zoho.com.evil.test", "www.zohoapis.eu", "zoho.com"] {
            assert!(!trust.allows(&origin("https", host, None)), "{host}");
        }
        assert!(!trust.allows(&origin("http", "www.zohoapis.com", None)));
        assert!(!trust.allows(&origin("http", "127.0.0.1", Some(4101))));
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(origin("http", host, None).is_loopback(), "{host}");
        }
        assert!(!origin("http", "127.0.0.1.evil.test", None).is_loopback());
    }
}
