//! Users by e-mail address, for owners and other lookups of users.
//!
//! Read once per run, where a mapping asks for it. Follows the v8 page "Get Users".

use std::collections::HashMap;

use serde::Deserialize;

use super::outcome::Outcome;
use crate::zoho::{self, Client};

/// The users of the organisation.
#[derive(Debug, Default)]
pub struct Users {
    by_email: HashMap<String, User>,
}

#[derive(Debug)]
struct User {
    id: String,
    active: bool,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

impl Users {
    /// Asks for all users.
    ///
    /// # Errors
    /// Those of the users call.
    pub async fn read(client: &Client) -> Result<Self, zoho::Error> {
        let mut users = Self::default();
        for number in 1.. {
            let page = client.users(number).await?;
            users.add(page.records.iter().map(|record| record.get()));
            if !page.more_records {
                break;
            }
        }
        Ok(users)
    }

    fn add<'a>(&mut self, records: impl Iterator<Item = &'a str>) {
        for user in records.filter_map(|record| serde_json::from_str::<Listed>(record).ok()) {
            let active = user.status.is_none_or(|status| status.eq_ignore_ascii_case("active"));
            let email = user.email.unwrap_or_default().trim().to_lowercase();
            // An address may stand at a user who left, too.
            if !email.is_empty() && (active || !self.by_email.contains_key(&email)) {
                self.by_email.insert(email, User { id: user.id, active });
            }
        }
    }

    /// The id of the active user with that address.
    ///
    /// # Errors
    /// The outcome of a row that names somebody else.
    pub fn id(&self, email: &str, field: &str) -> Result<&str, Box<Outcome>> {
        let refused =
            |text: String| Box::new(Outcome::rejected("RESOURCE_NOT_FOUND", Some(field.to_owned()), text));
        match self.by_email.get(&email.trim().to_lowercase()) {
            Some(user) if user.active => Ok(&user.id),
            Some(_) => Err(refused(format!("the user \"{email}\" is not active"))),
            None => Err(refused(format!("no user has the e-mail address \"{email}\""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_whatever_the_case() {
        let mut users = Users::default();
        users.add(
            [
                r#"{"id":"1","email":"Ann@x.test","status":"active"}"#,
                r#"{"id":"2","email":"bob@x.test","status":"inactive"}"#,
                r#"{"id":"3","email":null,"status":"active"}"#,
                r#"{"id":"4","email":"ann@x.test","status":"deleted"}"#,
            ]
            .into_iter(),
        );
        assert_eq!(users.id(" ann@X.test", "Owner").unwrap(), "1");
        let message = |email| users.id(email, "Owner").unwrap_err().message.unwrap();
        assert!(message("bob@x.test").contains("not active"));
        assert!(message("eve@x.test").contains("no user has the e-mail address \"eve@x.test\""));
    }
}
