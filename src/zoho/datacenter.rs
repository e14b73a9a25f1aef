//! Where Zoho is: data centers, their hosts, and which hosts may see a token.
//!
//! Follows the page "Multi-DC" of the accounts documentation and the hosts of the official SDKs.
//! An organisation lives in exactly one data center; a client or token of another one is refused
//! there as if it did not exist.

use serde::Deserialize;
use std::fmt;
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

#[cfg(test)]
mod tests {
    use super::{DataCenter, Environment};

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
}
