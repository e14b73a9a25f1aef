//! Calls: what is repeated, what is in doubt, where the token may go, how files come and go.

use super::server::{Reply, Seen, Server};
use super::{Tested, client, connection, signed_in};
use crate::diagnostic::{Diagnostic, ErrorClass};
use crate::zoho::api::deleted::DeletedKind;
use crate::zoho::api::records::WriteCall;
use crate::zoho::types::Method;
use crate::zoho::{Client, Connection, Error, ErrorKind};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

const ADDED: &str =
    r#"{"data":[{"code":"SUCCESS","status":"success","message":"record added","details":{"id":"9"}}]}"#;
const THROTTLED: &str =
    r#"{"code":"TOO_MANY_REQUESTS","details":{},"message":"too many requests, try later","status":"error"}"#;

fn one_row(idempotent: bool) -> Result<WriteCall, serde_json::Error> {
    Ok(WriteCall {
        module: "Leads".to_owned(),
        rows: vec![RawValue::from_string(r#"{"Last_Name":"Ng"}"#.to_owned())?],
        idempotent,
        ..WriteCall::default()
    })
}

/// Answers the first call of a path like this, later ones well.
fn at_first(
    first: fn() -> Reply,
    then: &'static str,
) -> impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static {
    signed_in(move |_, nth| if nth == 0 { first() } else { Reply::json(200, then) })
}

#[tokio::test]
async fn a_failing_server_is_asked_again_for_reads() -> Tested {
    let folder = tempfile::tempdir()?;
    let failures: [fn() -> Reply; 3] =
        [|| Reply::json(500, "{}"), || Reply::json(503, "<html>busy</html>"), || Reply::hang_up()];
    for failure in failures {
        let server = Server::start(at_first(failure, r#"{"modules":[]}"#)).await?;
        let client = client(&server.url, folder.path())?;
        client.modules().await?;
        assert_eq!(server.seen("/crm").len(), 2);
        let usage = client.usage();
        assert_eq!((usage.calls, usage.retries, usage.credits.metadata), (2, 1, 2));
    }
    Ok(())
}

#[tokio::test]
async fn patience_ends_and_says_how_much_it_was() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|_, _| Reply::json(502, "bad gateway"))).await?;
    let error = client(&server.url, folder.path())?.modules().await.expect_err("it never works");
    assert_eq!((error.kind(), error.attempts(), error.in_doubt()), (ErrorKind::Service, 4, false));
    assert_eq!(error.class(), ErrorClass::Retriable);
    assert!(error.to_string().contains("`GET /crm/v8/settings/modules`, after 4 attempts"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_write_that_may_have_run_is_in_doubt() -> Tested {
    let folder = tempfile::tempdir()?;
    let failures: [fn() -> Reply; 3] =
        [|| Reply::hang_up(), || Reply::json(201, ADDED).cut_at(20), || Reply::json(500, "{}")];
    for failure in failures {
        let server = Server::start(at_first(failure, ADDED)).await?;
        let error = client(&server.url, folder.path())?.insert(&one_row(false)?).await.expect_err("cut");
        assert!(error.in_doubt(), "{error}");
        assert_eq!(error.class(), ErrorClass::InDoubt);
        assert_eq!(server.seen("/crm").len(), 1, "sent once");
    }
    Ok(())
}

#[tokio::test]
async fn a_harmless_write_is_sent_again() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(at_first(Reply::hang_up, ADDED)).await?;
    let answers = client(&server.url, folder.path())?.upsert(&one_row(true)?).await?;
    assert!(answers[0].success);
    assert_eq!(server.seen("/crm/v8/Leads/upsert").len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_call_that_never_arrived_is_repeated_and_costs_nothing() -> Tested {
    let folder = tempfile::tempdir()?;
    let accounts = Server::start(signed_in(|_, _| Reply::json(200, "{}"))).await?;
    let mut settings = connection(&accounts.url, folder.path());
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    settings.api_url = Some(format!("http://{unused}"));
    let client = Client::new(settings)?;
    let error = client.insert(&one_row(false)?).await.expect_err("nobody listens");
    assert_eq!((error.kind(), error.attempts(), error.in_doubt()), (ErrorKind::Network, 4, false));
    assert_eq!((client.usage().calls, client.usage().credits.total()), (0, 0));
    Ok(())
}

#[tokio::test]
async fn a_refused_call_waits_as_long_as_it_is_told() -> Tested {
    let folder = tempfile::tempdir()?;
    let server =
        Server::start(at_first(|| Reply::json(429, THROTTLED).header("retry-after", "1"), ADDED)).await?;
    let client = client(&server.url, folder.path())?;
    let started = Instant::now();
    client.insert(&one_row(false)?).await?;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.seen("/crm").len(), 2, "a refused insert may be repeated");
    assert_eq!(client.usage().throttled, 1);
    Ok(())
}

#[tokio::test]
async fn missing_credits_end_the_call_at_once() -> Tested {
    let folder = tempfile::tempdir()?;
    let empty = || Reply::json(429, THROTTLED).header("x-api-credits-remaining", "0");
    let server = Server::start(signed_in(move |_, _| empty())).await?;
    let client = client(&server.url, folder.path())?;
    let error = client.modules().await.expect_err("no credits");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Quota, ErrorClass::Quota));
    assert_eq!(server.seen("/crm").len(), 1);
    assert!(client.modules().await.is_err_and(|error| error.kind() == ErrorKind::Quota));
    assert_eq!(server.seen("/crm").len(), 1, "not even asked");
    Ok(())
}

#[tokio::test]
async fn a_good_status_may_hide_a_refusal() -> Tested {
    let folder = tempfile::tempdir()?;
    let body = r#"{"data":[{"code":"INVALID_QUERY","details":{"column_name":"Fone"},"message":"no such column","status":"error"}]}"#;
    let server = Server::start(signed_in(move |_, _| Reply::json(200, body))).await?;
    let error =
        client(&server.url, folder.path())?.coql("select Fone from Leads", 200).await.expect_err("refused");
    assert_eq!((error.code(), error.field()), (Some("INVALID_QUERY"), Some("Fone")));
    Ok(())
}

#[tokio::test]
async fn nothing_there_is_empty() -> Tested {
    let folder = tempfile::tempdir()?;
    for status in [204, 304] {
        let server = Server::start(signed_in(move |_, _| Reply::json(status, ""))).await?;
        let client = client(&server.url, folder.path())?;
        assert!(client.coql("select id from Leads where id is null", 200).await?.records.is_empty());
        assert!(client.deleted("Leads", DeletedKind::All, None, 1).await?.records.is_empty());
        assert!(client.record("Leads", &"7".into()).await?.is_none());
        assert_eq!(client.count("Leads").await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn the_servers_clock_is_kept() -> Tested {
    let folder = tempfile::tempdir()?;
    let dated = || Reply::json(200, r#"{"modules":[]}"#).header("date", "Sun, 01 Mar 2026 09:00:00 GMT");
    let server = Server::start(signed_in(move |_, _| dated())).await?;
    let client = client(&server.url, folder.path())?;
    assert_eq!(client.server_time(), None);
    client.modules().await?;
    assert_eq!(
        client.server_time().map(|time| time.to_rfc3339()).as_deref(),
        Some("2026-03-01T09:00:00+00:00")
    );
    Ok(())
}

/// Bytes that do not repeat soon.
fn archive() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|seen, nth| {
        let whole = archive();
        let start: usize =
            seen.header("range").trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
        let rest = &whole[start..];
        let range = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
        match (nth, start) {
            (0, _) => Reply::bytes(200, rest).header("etag", "\"v1\"").cut_at(150_000),
            (1, _) => Reply::bytes(206, rest).header("content-range", range).cut_at(100_000),
            _ => Reply::bytes(206, rest).header("content-range", range),
        }
    }))
    .await?;
    let target = folder.path().join("result.zip");
    let client = client(&server.url, folder.path())?;
    let bytes = client.bulk_read_download("/crm/bulk/v8/read/7/result", &target, 0).await?;
    assert_eq!(bytes, archive().len() as u64);
    assert!(std::fs::read(&target)? == archive());
    let calls = server.seen("/crm");
    assert_eq!(calls.len(), 3);
    // How much of a cut answer still arrives is for the network to say; nothing is asked for twice.
    assert!(calls[1].header("range").starts_with("bytes=") && calls[1].header("if-range") == "\"v1\"");
    assert_eq!(client.usage().credits.total(), 0);
    Ok(())
}

#[tokio::test]
async fn a_download_that_is_no_file_is_refused() -> Tested {
    let folder = tempfile::tempdir()?;
    let body = r#"{"code":"RESOURCE_NOT_FOUND","details":{},"message":"gone","status":"error"}"#;
    let server = Server::start(signed_in(move |_, _| Reply::json(404, body))).await?;
    let target = folder.path().join("result.zip");
    let error = client(&server.url, folder.path())?
        .bulk_write_download("/v8/crm/r.zip", &target)
        .await
        .expect_err("gone");
    assert_eq!(error.code(), Some("RESOURCE_NOT_FOUND"));
    assert!(!target.exists());
    Ok(())
}

#[tokio::test]
async fn the_token_follows_no_redirect_to_others() -> Tested {
    let folder = tempfile::tempdir()?;
    let stranger = Server::start(|_: &Seen, _| Reply::json(200, "{}")).await?;
    let elsewhere = format!("{}/steal", stranger.url);
    let server =
        Server::start(signed_in(move |_, _| Reply::json(302, "").header("location", elsewhere.clone())))
            .await?;
    let client = client(&server.url, folder.path())?;
    let error = client.modules().await.expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::ForeignHost);
    let target = folder.path().join("r.zip");
    let error =
        client.bulk_write_download(&format!("{}/r.zip", stranger.url), &target).await.expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::ForeignHost);
    assert!(stranger.seen("/").is_empty());
    Ok(())
}

#[tokio::test]
async fn reads_follow_redirects_at_home_and_writes_none() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|seen, _| match seen.path.as_str() {
        "/moved" => Reply::json(200, r#"{"modules":[]}"#),
        _ => Reply::json(307, "").header("location", "/moved"),
    }))
    .await?;
    let client = client(&server.url, folder.path())?;
    client.modules().await?;
    assert!(!server.seen("/moved")[0].header("authorization").is_empty());
    let error = client.insert(&one_row(false)?).await.expect_err("not followed");
    assert!(!error.in_doubt(), "{error}");
    assert_eq!(server.seen("/moved").len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_upload_carries_file_and_headers() -> Tested {
    let folder = tempfile::tempdir()?;
    let zip = folder.path().join("contacts.zip");
    std::fs::write(&zip, "PK-file-content")?;
    let body = r#"{"status":"success","code":"FILE_UPLOAD_SUCCESS","message":"file uploaded.","details":{"file_id":4812000000600001}}"#;
    let server = Server::start(signed_in(move |_, _| Reply::json(200, body))).await?;
    let id = client(&server.url, folder.path())?.bulk_write_upload(&zip, "803311224").await?;
    assert_eq!(id.as_str(), "4812000000600001");
    let seen = &server.seen("/crm/v8/upload")[0];
    assert_eq!((seen.header("feature"), seen.header("x-crm-org")), ("bulk-write", "803311224"));
    assert!(seen.body.contains("PK-file-content") && seen.body.contains("contacts.zip"));
    Ok(())
}

#[tokio::test]
async fn calls_keep_within_the_pools() -> Tested {
    let org =
        r#"{"org":[{"id":"1","license_details":{"paid_type":"enterprise","users_license_purchased":1}}]}"#;
    for (max_concurrency, heavy, peak) in
        [(None, false, 20), (None, true, 10), (Some(3), false, 3), (Some(3), true, 3)]
    {
        let folder = tempfile::tempdir()?;
        let server = Server::start(signed_in(move |seen, _| match seen.path.as_str() {
            "/crm/v8/org" => Reply::json(200, org),
            _ => Reply::json(200, "{}").after(Duration::from_millis(20)),
        }))
        .await?;
        let client = Client::new(Connection { max_concurrency, ..connection(&server.url, folder.path()) })?;
        client.org().await?;
        let calls: Vec<_> = (0..60)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    match heavy {
                        true => client.coql("select id from Leads where id is not null", 200).await.map(drop),
                        false => client.modules().await.map(drop),
                    }
                })
            })
            .collect();
        for call in calls {
            call.await??;
        }
        assert_eq!(server.peak(), peak, "{max_concurrency:?} {heavy}");
    }
    Ok(())
}

#[tokio::test]
async fn the_cap_of_a_run_holds() -> Tested {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|_, _| Reply::json(200, r#"{"modules":[]}"#))).await?;
    let mut settings = connection(&server.url, folder.path());
    settings.credits.per_run = Some(2);
    let client = Client::new(settings)?;
    client.modules().await?;
    client.modules().await?;
    let error = client.modules().await.expect_err("over the cap");
    assert_eq!(error.class(), ErrorClass::Quota);
    assert_eq!(server.seen("/crm").len(), 2);
    Ok(())
}

#[tokio::test]
async fn raw_answers_come_as_they_are() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(signed_in(|_, _| Reply::json(400, r#"{"code":"INVALID_DATA"}"#))).await?;
    let client = client(&server.url, folder.path())?;
    let query = [("module".to_owned(), "Leads & more".to_owned())];
    let answer: Result<_, Error> = client.raw(Method::Get, "crm/v8/settings/fields", &query, None).await;
    let answer = answer?;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body, Some(serde_json::json!({"code": "INVALID_DATA"})));
    assert_eq!(server.seen("/crm")[0].path, "/crm/v8/settings/fields?module=Leads+%26+more");
    assert_eq!(server.seen("/crm")[0].method, "GET");
    Ok(())
}
