//! The organisation and its users: `GET /crm/v8/org`, `GET /crm/v8/users`.

use super::records::{MAX_PER_PAGE, Page};
use crate::zoho::call::Call;
use crate::zoho::client::Client;
use crate::zoho::credits::{CALL, Category};
use crate::zoho::error::Error;
use crate::zoho::json;
use crate::zoho::memory;
use serde_json::Value;

// Response types

/// What an organisation has paid for; decides credits and simultaneous calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edition {
    /// Free edition.
    Free,
    /// Standard, Starter.
    Standard,
    /// Professional.
    Professional,
    /// Enterprise, Zoho One.
    Enterprise,
    /// Ultimate, CRM Plus.
    Ultimate,
    /// An edition this crate does not know.
    Other(String),
}

impl Edition {
    /// The name people know it by.
    pub fn name(&self) -> &str {
        match self {
            Self::Free => "Free",
            Self::Standard => "Standard",
            Self::Professional => "Professional",
            Self::Enterprise => "Enterprise",
            Self::Ultimate => "Ultimate",
            Self::Other(name) => name,
        }
    }

    /// Reads `license_details.paid_type`.
    pub fn from_paid_type(paid_type: &str) -> Self {
        match paid_type.to_ascii_lowercase().as_str() {
            "free" | "" => Self::Free,
            "standard" | "starter" | "zohoonestandard" | "crmplusstarter" => Self::Standard,
            "professional" => Self::Professional,
            "enterprise" | "zohoone" | "zohooneenterprise" => Self::Enterprise,
            "ultimate" | "crmplus" => Self::Ultimate,
            _ => Self::Other(paid_type.to_owned()),
        }
    }

    /// Simultaneous calls the organisation may have open. Source: "API Limits, Concurrency".
    ///
    /// An unknown edition counts as Standard.
    pub fn concurrency(&self) -> usize {
        match self {
            Self::Free => 5,
            Self::Standard | Self::Other(_) => 10,
            Self::Professional => 15,
            Self::Enterprise => 20,
            Self::Ultimate => 25,
        }
    }

    /// API credits per 24 hours, add-ons included. Source: "API Limits".
    ///
    /// `None` for an unknown edition.
    pub fn daily_credits(&self, users: u32, addon: u64) -> Option<u64> {
        let (base, per_user, cap) = match self {
            Self::Free => return Some(5_000),
            Self::Standard => (50_000, 250, 100_000),
            Self::Professional => (50_000, 500, 3_000_000),
            Self::Enterprise => (50_000, 1_000, 5_000_000),
            Self::Ultimate => (50_000, 2_000, u64::MAX),
            Self::Other(_) => return None,
        };
        Some((base + per_user * u64::from(users) + addon).min(cap))
    }
}

/// The organisation the token belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Org {
    /// Id of the organisation's record.
    pub id: String,
    /// What bulk upload wants as `X-CRM-ORG`.
    pub zgid: String,
    /// Name of the company.
    pub company_name: String,
    /// Zone of the organisation; datetimes of records use the user's zone instead.
    pub time_zone: String,
    /// `production`, `sandbox`, `developer` or `bigin`.
    pub org_type: String,
    /// What was paid for, or is being tried.
    pub edition: Edition,
    /// Bought user licences.
    pub user_licenses: u32,
    /// Whether amounts can be in several currencies.
    pub multi_currency: bool,
    /// ISO code of the home currency.
    pub currency_code: String,
}

impl Org {
    pub(in crate::zoho) fn from_json(value: &Value) -> Self {
        let license = &value["license_details"];
        let edition = json::optional_text(license, "paid_type")
            .filter(|paid| paid != "free")
            .or_else(|| json::optional_text(license, "trial_type"))
            .unwrap_or_default();
        Self {
            id: json::text(value, "id"),
            zgid: json::text(value, "zgid"),
            company_name: json::text(value, "company_name"),
            time_zone: json::text(value, "time_zone"),
            org_type: json::text(value, "type").to_ascii_lowercase(),
            edition: Edition::from_paid_type(&edition),
            user_licenses: json::number(&license["users_license_purchased"]).unwrap_or(0),
            multi_currency: json::flag(value, "mc_status"),
            currency_code: json::text(value, "iso_code"),
        }
    }
}

/// The user the token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id of the user.
    pub id: String,
    /// Address the user signs in with.
    pub email: String,
    /// Full name.
    pub full_name: String,
    /// Name of the role.
    pub role: String,
    /// Name of the profile, which decides permissions.
    pub profile: String,
    /// Zone that datetimes of records are written in.
    pub time_zone: String,
}

impl User {
    pub(super) fn from_json(value: &Value) -> Self {
        Self {
            id: json::text(value, "id"),
            email: json::text(value, "email"),
            full_name: json::text(value, "full_name"),
            role: json::text(&value["role"], "name"),
            profile: json::text(&value["profile"], "name"),
            time_zone: json::text(value, "time_zone"),
        }
    }
}

impl Client {
    /// The organisation; from then on gates and budget follow its edition.
    ///
    /// # Errors
    ///
    /// Those of every call: sign-in, permission, credits, network.
    pub async fn org(&self) -> Result<Org, Error> {
        let call = Call::get("/crm/v8/org").price(Category::Metadata, CALL);
        let value = self.fetch_value(&call).await?;
        let Some(first) = json::list(&value["org"]).first() else {
            return Err(call.unclear("no organisation in the answer"));
        };
        self.memory().keep(memory::ORG, first);
        let org = Org::from_json(first);
        self.learn_org(&org);
        Ok(org)
    }

    /// Lets gates and budget follow what the organisation has paid for, and the settings where it does
    /// not tell.
    pub(in crate::zoho) fn learn_org(&self, org: &Org) {
        let limits = &self.connection().credits;
        let edition = match (&org.edition, &limits.edition) {
            (Edition::Other(_), Some(edition)) => edition,
            (told, _) => told,
        };
        let users = if org.user_licenses == 0 { limits.users } else { org.user_licenses };
        self.learn_edition(edition.concurrency(), edition.daily_credits(users, limits.addon));
    }

    /// The same by the settings alone, until the organisation is known.
    pub(in crate::zoho) fn learn_settings(&self) {
        let limits = &self.connection().credits;
        if let Some(edition) = &limits.edition {
            self.learn_edition(edition.concurrency(), edition.daily_credits(limits.users, limits.addon));
        }
    }

    /// The user that the token belongs to.
    ///
    /// # Errors
    ///
    /// Those of every call: sign-in, permission, credits, network.
    pub async fn current_user(&self) -> Result<User, Error> {
        let call = Call::get("/crm/v8/users").query("type", "CurrentUser").price(Category::Metadata, CALL);
        let value = self.fetch_value(&call).await?;
        match json::list(&value["users"]).first() {
            Some(user) => Ok(User::from_json(user)),
            None => Err(call.unclear("no user in the answer")),
        }
    }

    /// One page of all users, numbered from 1, as raw records.
    ///
    /// # Errors
    ///
    /// Those of every call: sign-in, permission, credits, network.
    pub async fn users(&self, page: u32) -> Result<Page, Error> {
        let call = Call::get("/crm/v8/users")
            .query("type", "AllUsers")
            .query("page", page.to_string())
            .query("per_page", MAX_PER_PAGE.to_string())
            .price(Category::Data, CALL);
        self.fetch_page(&call).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Edition, Org};
    use serde_json::json;

    #[test]
    fn edition_decides_the_allowance() {
        assert_eq!(Edition::from_paid_type("enterprise").daily_credits(40, 0), Some(90_000));
        assert_eq!(Edition::from_paid_type("standard").daily_credits(1_000, 0), Some(100_000));
        assert_eq!(Edition::from_paid_type("CRMPlus").concurrency(), 25);
        assert_eq!(Edition::from_paid_type("galactic").daily_credits(1, 0), None);
    }

    #[test]
    fn a_trial_counts_as_the_edition_tried() {
        let org = Org::from_json(&json!({"id": 7, "zgid": "803", "type": "Production",
            "license_details": {"paid_type": "free", "trial_type": "enterprise", "users_license_purchased": "3"}}));
        assert_eq!((org.edition, org.user_licenses), (Edition::Enterprise, 3));
        assert_eq!((org.id.as_str(), org.org_type.as_str()), ("7", "production"));
        let bare = Org::from_json(&json!({"license_details": null}));
        assert_eq!(bare.edition, Edition::Free);
    }
}
