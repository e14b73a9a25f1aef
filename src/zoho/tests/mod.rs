//! How the whole layer behaves over HTTP, against a server that does what the test says.

mod calls;
mod server;
mod sign_in;

use super::config::{Connection, RetryPolicy};
use super::{Client, Error};
use crate::secret::Secret;
use server::{Reply, Seen};
use std::path::Path;
use std::time::Duration;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// Settings that point at a test's server and do not wait long.
fn connection(url: &str, state_dir: &Path) -> Connection {
    let mut connection = Connection::new("1000.ID", Secret::new("secret"), state_dir);
    connection.refresh_token = Some(Secret::new("1000.refresh"));
    connection.api_url = Some(url.to_owned());
    connection.accounts_url = Some(url.to_owned());
    connection.content_url = Some(url.to_owned());
    connection.retry = RetryPolicy {
        max_attempts: 4,
        base: Duration::from_millis(1),
        cap: Duration::from_millis(5),
        ..RetryPolicy::default()
    };
    connection
}

fn client(url: &str, state_dir: &Path) -> Result<Client, Error> {
    Client::new(connection(url, state_dir))
}

/// Hands out `token-0`, `token-1`, ... at the token address.
fn token(nth: usize) -> Reply {
    Reply::json(200, &format!(r#"{{"access_token":"token-{nth}","expires_in":3600,"token_type":"Bearer"}}"#))
}

/// Answers token calls; the rest is for the test.
fn signed_in(
    answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static {
    move |seen, nth| if seen.path == "/oauth/v2/token" { token(nth) } else { answer(seen, nth) }
}
