//! Tokens: renewed once, shared, never asked for too often; refusals in words.

use super::server::{Reply, Seen, Server};
use super::{Tested, client, connection, signed_in, token};
use crate::diagnostic::Diagnostic;
use crate::secret::Secret;
use crate::zoho::auth::try_data_centers;
use crate::zoho::{Client, Clock, DataCenter, ErrorKind};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

const DEAD: &str =
    r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#;

fn refused(seen: &Seen, dead: &[&str]) -> Reply {
    if dead.iter().any(|token| seen.header("authorization").ends_with(token)) {
        Reply::json(401, DEAD)
    } else {
        Reply::json(200, r#"{"modules":[]}"#)
    }
}

#[tokio::test]
async fn a_dead_token_is_replaced_once() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|seen, _| refused(seen, &["token-0"]))).await?;
    client(&server.url, folder.path())?.modules().await?;
    assert_eq!(server.seen("/oauth").len(), 2);
    let calls = server.seen("/crm");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].header("authorization"), "Zoho-oauthtoken token-1");
    Ok(())
}

#[tokio::test]
async fn a_second_refusal_ends_the_call() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|_, _| Reply::json(401, DEAD))).await?;
    let error = client(&server.url, folder.path())?.modules().await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.code(), error.status()),
        (ErrorKind::SignIn, Some("INVALID_TOKEN"), Some(401))
    );
    assert_eq!(server.seen("/oauth").len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_missing_scope_costs_no_token_and_names_the_scope() -> Tested {
    let folder = tempfile::tempdir()?;
    let body =
        r#"{"code":"OAUTH_SCOPE_MISMATCH","details":{},"message":"invalid oauth scope","status":"error"}"#;
    let server = Server::start(signed_in(move |_, _| Reply::json(401, body))).await?;
    let error = client(&server.url, folder.path())?.modules().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.hint().is_some_and(|hint| hint.contains("`ZohoCRM.settings.modules.READ`")));
    assert_eq!(server.seen("/oauth").len(), 1);
    Ok(())
}

#[tokio::test]
async fn ten_clients_share_one_token() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|seen, _| refused(seen, &[]))).await?;
    let clients: Vec<Client> =
        (0..10).map(|_| client(&server.url, folder.path())).collect::<Result<_, _>>()?;
    let calls: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(async move { client.modules().await })).collect();
    for call in calls {
        call.await??;
    }
    assert_eq!(server.seen("/oauth").len(), 1);
    assert_eq!(server.seen("/crm").len(), 10);
    Ok(())
}

#[tokio::test]
async fn a_token_that_others_gained_is_used() -> Tested {
    let folder = tempfile::tempdir()?;
    let dead = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&dead);
    let server = Server::start(signed_in(move |seen, _| {
        let dead = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused(seen, &dead)
    }))
    .await?;
    let (one, two) = (client(&server.url, folder.path())?, client(&server.url, folder.path())?);
    one.modules().await?;
    two.modules().await?;
    dead.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push("token-0");
    one.modules().await?;
    two.modules().await?;
    assert_eq!(server.seen("/oauth").len(), 2, "`two` takes what `one` gained");
    Ok(())
}

/// A clock that a test turns, in seconds.
fn turnable(start: DateTime<Utc>) -> (Arc<AtomicI64>, Clock) {
    let offset = Arc::new(AtomicI64::new(0));
    let shared = Arc::clone(&offset);
    (offset, Arc::new(move || start + TimeDelta::seconds(shared.load(Ordering::SeqCst))))
}

#[tokio::test]
async fn a_token_is_renewed_a_minute_before_its_end() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|seen, _| refused(seen, &[]))).await?;
    let (offset, clock) = turnable(Utc::now());
    let client = Client::builder(connection(&server.url, folder.path())).with_clock(clock).build()?;
    for (seconds, mints) in [(0, 1), (3539, 1), (3541, 2)] {
        offset.store(seconds, Ordering::SeqCst);
        client.sign_in().await?;
        assert_eq!(server.seen("/oauth").len(), mints, "after {seconds} s");
    }
    Ok(())
}

#[tokio::test]
async fn the_eleventh_token_of_ten_minutes_is_not_asked_for() -> Tested {
    let folder = tempfile::tempdir()?;
    let short = |_: &Seen, _| Reply::json(200, r#"{"access_token":"short","expires_in":30}"#);
    let server = Server::start(short).await?;
    let (offset, clock) = turnable(Utc::now());
    for _ in 0..10 {
        let client =
            Client::builder(connection(&server.url, folder.path())).with_clock(clock.clone()).build()?;
        client.sign_in().await?;
    }
    let client = Client::builder(connection(&server.url, folder.path())).with_clock(clock).build()?;
    let error = client.sign_in().await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::TokenThrottle);
    assert!(error.to_string().contains("the next one is free in 600 s"), "{error}");
    assert_eq!(server.seen("/oauth").len(), 10);
    offset.store(601, Ordering::SeqCst);
    client.sign_in().await?;
    Ok(())
}

#[tokio::test]
async fn a_grant_code_is_exchanged_once() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(|seen: &Seen, nth: usize| match seen.body.contains("authorization_code") {
        true if nth > 0 => Reply::json(200, r#"{"error":"invalid_code"}"#),
        true => {
            Reply::json(200, r#"{"access_token":"first","refresh_token":"1000.gained","expires_in":3600}"#)
        }
        false => token(nth),
    })
    .await?;
    let mut settings = connection(&server.url, folder.path());
    settings.refresh_token = None;
    settings.grant_code = Some(Secret::new("1000.code"));
    Client::new(settings.clone())?.sign_in().await?;
    let later = Clock::from(Arc::new(|| Utc::now() + TimeDelta::days(1)) as Arc<_>);
    Client::builder(settings).with_clock(later).build()?.sign_in().await?;
    let calls = server.seen("/oauth");
    assert_eq!(calls.len(), 2);
    assert!(calls[1].body.contains("refresh_token=1000.gained"), "the dead code is not tried again");
    Ok(())
}

#[tokio::test]
async fn refusals_are_put_in_words() -> Tested {
    for (body, kind, hint) in [
        (r#"{"error":"invalid_client"}"#, ErrorKind::SignIn, "another data center"),
        (r#"{"error":"invalid_client_secret"}"#, ErrorKind::SignIn, "the API console shows the secret"),
        (r#"{"error":"invalid_code"}"#, ErrorKind::SignIn, "was revoked"),
        (
            r#"{"error":"Access Denied","error_description":"too many requests"}"#,
            ErrorKind::TokenThrottle,
            "wait ten minutes",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        let server = Server::start(move |_: &Seen, _| Reply::json(200, body)).await?;
        let error = client(&server.url, folder.path())?.modules().await.expect_err("refused");
        assert_eq!(error.kind(), kind);
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{error} {:?}", error.hint());
        assert!(error.to_string().contains(&format!("asked {} for data center `us`", server.url)), "{error}");
        assert!(!format!("{error:?}").contains("1000.refresh"));
    }
    Ok(())
}

#[tokio::test]
async fn the_data_center_is_found_by_asking() -> Tested {
    let folder = tempfile::tempdir()?;
    let unknown = Server::start(|_: &Seen, _| Reply::json(200, r#"{"error":"invalid_client"}"#)).await?;
    let known = Server::start(|_: &Seen, nth| token(nth)).await?;
    let candidates = [
        (DataCenter::Us, Some(unknown.url.clone())),
        (DataCenter::Eu, Some(known.url.clone())),
        (DataCenter::In, Some(unknown.url.clone())),
    ];
    let trials =
        try_data_centers(&connection("http://127.0.0.1:1", folder.path()), Arc::new(Utc::now), &candidates)
            .await?;
    assert_eq!(trials.len(), 2);
    assert!(trials[0].outcome.is_err() && trials[1].outcome.is_ok());
    assert_eq!(trials[1].data_center, DataCenter::Eu);
    Ok(())
}

#[tokio::test]
async fn revoking_forgets_the_token() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|_, _| Reply::json(200, r#"{"status":"success"}"#))).await?;
    let client = client(&server.url, folder.path())?;
    client.sign_in().await?;
    client.revoke().await?;
    assert_eq!(server.seen("/oauth/v2/token/revoke?token=1000.refresh").len(), 1);
    let kept: Vec<_> = std::fs::read_dir(folder.path().join("tokens"))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
    Ok(())
}
