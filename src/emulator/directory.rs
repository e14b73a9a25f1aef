//! The people and the firm: users, edition, time zone. Made from nothing but a count and a name.

use super::time::Zone;
use super::value::Id;
use serde::Deserialize;

/// A user of the organisation.
#[derive(Debug, Clone)]
pub struct User {
    /// Record-like id with the organisation's prefix.
    pub id: Id,
    /// Given name.
    pub first_name: String,
    /// Family name; what COQL shows for a user.
    pub last_name: String,
    /// Address, unique.
    pub email: String,
    /// False once deactivated; such users still own records elsewhere.
    pub active: bool,
    /// Administrators may read Notes as a module.
    pub admin: bool,
    /// The zone in which this user sees every datetime.
    pub zone: Zone,
    /// When the user was made, seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
}

impl User {
    /// First and last name.
    pub fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }
}

const NAMES: [(&str, &str); 12] = [
    ("Ann", "Boyle"),
    ("Bashir", "Çelik"),
    ("Chloé", "D'Arcy"),
    ("Dong", "Lê"),
    ("Elena", "Müller"),
    ("Faith", "Okafor"),
    ("Giō", "Tanaka"),
    ("Hugo", "Nuñez"),
    ("Iris", "van Dijk"),
    ("Jan", "Žižka"),
    ("Kofi", "Smith, Jr."),
    ("Lin", "李"),
];

/// The seeded users: the first is the administrator whose token the client has.
pub fn users(org_base: Id, count: u32, zone: &str) -> Vec<User> {
    let zone = Zone::named(zone).unwrap_or(Zone::UTC);
    let make = |number: u32| {
        let (first, last) = NAMES[number as usize % NAMES.len()];
        let round = number as usize / NAMES.len();
        let suffix = if round == 0 { String::new() } else { format!(" {}", round + 1) };
        User {
            id: org_base + 225_013 + Id::from(number) * 4,
            first_name: first.to_owned(),
            last_name: format!("{last}{suffix}"),
            email: format!("user{}@zylker.example", number + 1),
            active: number == 0 || number % 7 != 6,
            admin: number == 0,
            zone,
            created: 1_640_995_200 + i64::from(number) * 86_400,
        }
    };
    (0..count.max(1)).map(make).collect()
}

/// What the organisation pays for; decides credits and concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Edition {
    Free,
    Standard,
    Professional,
    #[default]
    Enterprise,
    Ultimate,
}

impl Edition {
    /// The word in `license_details.paid_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Standard => "standard",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
            Self::Ultimate => "ultimate",
        }
    }

    /// API credits per rolling 24 hours. Source: API reference, "credits, concurrency, throttling".
    pub fn daily_credits(self, users: u64) -> u64 {
        match self {
            Self::Free => 5_000,
            Self::Standard => (50_000 + 250 * users).min(100_000),
            Self::Professional => (50_000 + 500 * users).min(3_000_000),
            Self::Enterprise => (50_000 + 1_000 * users).min(5_000_000),
            Self::Ultimate => 50_000 + 2_000 * users,
        }
    }

    /// Calls that may be open at once, per organisation and app.
    pub fn concurrency(self) -> usize {
        match self {
            Self::Free => 5,
            Self::Standard => 10,
            Self::Professional => 15,
            Self::Enterprise => 20,
            Self::Ultimate => 25,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_follow_the_edition() {
        assert_eq!(Edition::Enterprise.daily_credits(40), 90_000);
        assert_eq!(Edition::Standard.daily_credits(1_000), 100_000);
        assert_eq!(Edition::Free.daily_credits(3), 5_000);
    }

    #[test]
    fn users_differ_and_the_first_is_the_administrator() {
        let users = users(1_000_000, 30, "Australia/Sydney");
        let names: std::collections::BTreeSet<String> = users.iter().map(User::full_name).collect();
        assert_eq!(names.len(), 30);
        assert!(users[0].admin && users[0].active);
        assert!(users.iter().any(|user| !user.active));
    }
}
