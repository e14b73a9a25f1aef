//! Sends one request and receives its answer: the only file that names the HTTP library.
//!
//! It knows TLS, proxies, timeouts, redirects, streaming and which hosts may see the token. It
//! sends a request once; what is tried again is decided in `retry`, what an answer means in `api`.

use super::config::Connection;
use super::datacenter::{Origin, Trust};
use super::download::Partial;
use super::error::{Error, ErrorKind};
use super::types::Method;
use crate::secret::Secret;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::multipart::{Form, Part};
use reqwest::{Client as Http, RequestBuilder, Response, Url, redirect};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

/// Bytes of a file read at once.
const UPLOAD_PIECE: usize = 128 << 10;

/// Hops after which a chain of redirects is taken for a loop.
const MAX_REDIRECTS: usize = 5;

/// Addresses that a connection can override: API, accounts, content.
const OVERRIDES: usize = 3;

/// One request, with its secrets; for that reason it cannot be shown.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Absolute address without query.
    pub(super) url: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// Access token; such a request goes to trusted hosts only.
    pub(super) token: Option<Secret>,
}

/// What is sent along.
#[derive(Clone, Default)]
pub(super) enum Body {
    #[default]
    Empty,
    Json(Bytes),
    /// Form fields, possibly secret.
    Form(Vec<(&'static str, Secret)>),
    /// A file as the multipart field `file`, streamed from disk.
    File(PathBuf),
}

/// An answer: status, the headers that matter, and the body unless it went to a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// The server's clock.
    pub(super) date: Option<DateTime<Utc>>,
    /// `X-API-CREDITS-REMAINING`.
    pub(super) credits_remaining: Option<u64>,
    pub(super) retry_after: Option<Duration>,
}

/// An attempt without an answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reach: Reach,
    pub(super) error: Error,
}

/// How far a failed attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The server surely did not see it.
    NotSent,
    /// The server may have executed it.
    Unknown,
    /// The trouble is ours, or final: repeating does not help.
    Local,
}

/// The HTTP clients of one connection.
pub(super) struct Transport {
    calls: Http,
    /// Without the idle limit, which would also count the time an upload takes.
    uploads: Http,
    trust: Trust,
    total: Duration,
}

impl Transport {
    /// Prepares TLS and pools; no network.
    ///
    /// # Errors
    ///
    /// `Config` for an address that is neither https nor loopback, `File` for a bad `ca_file`.
    pub(super) fn new(connection: &Connection) -> Result<Self, Error> {
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let named = named_origins(connection)?;
        let local = named.len() == OVERRIDES && named.iter().all(Origin::is_loopback);
        let build = |idle: bool| -> Result<Http, Error> {
            let mut builder = Http::builder()
                .user_agent(&connection.user_agent)
                .connect_timeout(connection.timeouts.connect)
                .redirect(redirect::Policy::none());
            if idle {
                builder = builder.read_timeout(connection.timeouts.read);
            }
            if local {
                // Nothing leaves this machine: no proxy, and no need for certificates, which a
                // slim container may not have.
                builder = builder.no_proxy().tls_certs_only([]);
            }
            if let Some(path) = &connection.ca_file {
                builder = builder.tls_certs_merge(certificates(path)?);
            }
            builder.build().map_err(|error| {
                Error::new(ErrorKind::Config, "the HTTP client cannot be set up").with_source(error)
            })
        };
        Ok(Self {
            calls: build(true)?,
            uploads: build(false)?,
            trust: Trust::new(connection.data_center, named),
            total: connection.timeouts.total,
        })
    }

    /// Whether the token may be sent to this address.
    pub(super) fn trusts(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.trust.allows(&origin(&url)))
    }

    /// Sends a request once and reads its answer into memory.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let response = self.open(request, None).await?;
        let mut answer = heads(&response);
        answer.body = response.bytes().await.map_err(|error| broken(&error, "while reading the answer"))?;
        Ok(answer)
    }

    /// Sends a request once and streams a good answer to the end of `partial`.
    ///
    /// What has arrived stays there when the connection breaks, so that the next attempt asks for
    /// the rest only. Answers other than 200 and 206 are read into memory.
    pub(super) async fn download(&self, request: &Request, partial: &mut Partial) -> Result<Answer, Failure> {
        let mut response = self.open(request, Some(partial)).await?;
        let mut answer = heads(&response);
        if !matches!(answer.status, 200 | 206) {
            answer.body =
                response.bytes().await.map_err(|error| broken(&error, "while reading the answer"))?;
            return Ok(answer);
        }
        let header = |name: &str| text(response.headers(), name).map(str::to_owned);
        let (range, validator) = (header("content-range"), header("etag"));
        partial
            .begin(answer.status, range.as_deref(), response.content_length(), validator)
            .map_err(unfit)?;
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error, "while downloading"))? {
            partial.append(&chunk).map_err(local)?;
        }
        partial.check().map_err(unfit)?;
        Ok(answer)
    }

    /// Sends, following redirects of reads as long as they stay within the trusted hosts.
    async fn open(&self, request: &Request, partial: Option<&Partial>) -> Result<Response, Failure> {
        let mut url = Url::parse(&request.url)
            .map_err(|error| local(Error::new(ErrorKind::Config, "not an address").with_source(error)))?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        for _ in 0..=MAX_REDIRECTS {
            if request.token.is_some() && !self.trust.allows(&origin(&url)) {
                return Err(local(foreign(&url)));
            }
            let response = self.build(request, url.clone(), partial).await?.send().await;
            let response = response.map_err(|error| broken(&error, "while waiting for the answer"))?;
            match redirect_target(request.method, &response)? {
                None => return Ok(response),
                Some(next) => url = next,
            }
        }
        Err(local(Error::new(ErrorKind::Answer, format!("more than {MAX_REDIRECTS} redirects"))))
    }

    async fn build(
        &self,
        request: &Request,
        url: Url,
        partial: Option<&Partial>,
    ) -> Result<RequestBuilder, Failure> {
        let http = if matches!(request.body, Body::File(_)) { &self.uploads } else { &self.calls };
        let mut builder = http.request(verb(request.method), url);
        if let Some(token) = &request.token {
            builder = builder.header("authorization", format!("Zoho-oauthtoken {}", token.expose()));
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        match partial {
            // Offsets count the bytes of the file itself, so no coding may come between. The connection is
            // closed after it: kept, it would keep the 400 KiB of buffer that a large body makes it take.
            Some(partial) => {
                builder = builder.header("accept-encoding", "identity").header("connection", "close");
                for (name, value) in partial.headers() {
                    builder = builder.header(name, value);
                }
            }
            None => builder = builder.timeout(self.total),
        }
        Ok(match &request.body {
            Body::Empty => builder,
            Body::Json(bytes) => builder.header("content-type", "application/json").body(bytes.clone()),
            Body::Form(fields) => {
                let plain: Vec<_> = fields.iter().map(|(name, value)| (*name, value.expose())).collect();
                builder.form(&plain)
            }
            Body::File(path) => builder.multipart(file_form(path).await.map_err(local)?),
        })
    }
}

async fn file_form(path: &Path) -> Result<Form, Error> {
    file_part(path).await.map(|part| Form::new().part("file", part)).map_err(|error| {
        Error::new(ErrorKind::File, format!("`{}` cannot be read for upload", path.display()))
            .with_source(error)
    })
}

/// A zip file as it lies on the disk. The library's own way reads it in pieces of 8 KiB, each of them a job for
/// another thread: measured, 4,500 of those for the files of 200,000 rows.
async fn file_part(path: &Path) -> io::Result<Part> {
    let file = File::open(path).await?;
    let length = file.metadata().await?.len();
    let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, UPLOAD_PIECE));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let part = Part::stream_with_length(body, length).file_name(name);
    part.mime_str("application/zip").map_err(io::Error::other)
}

/// Where a redirect leads; an error if this kind of call must not follow one.
fn redirect_target(method: Method, response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(target) = text(response.headers(), "location") else {
        return Err(local(Error::new(ErrorKind::Answer, "a redirect without an address")));
    };
    if method != Method::Get {
        let error = Error::new(ErrorKind::Answer, "a redirect of a call that is no read is not followed");
        return Err(local(error.with_status(response.status().as_u16())));
    }
    response.url().join(target).map(Some).map_err(|error| {
        local(Error::new(ErrorKind::Answer, "a redirect to what is no address").with_source(error))
    })
}

/// The override addresses of a connection, checked: https, or http to this machine.
fn named_origins(connection: &Connection) -> Result<Vec<Origin>, Error> {
    let settings = [
        ("api_url", &connection.api_url),
        ("accounts_url", &connection.accounts_url),
        ("content_url", &connection.content_url),
    ];
    let mut named = Vec::new();
    for (key, setting) in settings {
        let Some(text) = setting else { continue };
        let refuse = |why: &str| Error::new(ErrorKind::Config, format!("`{key}` is `{text}`, {why}"));
        let url = Url::parse(text).map_err(|error| refuse("which is not an address").with_source(error))?;
        let origin = origin(&url);
        if origin.scheme != "https" && !(origin.scheme == "http" && origin.is_loopback()) {
            return Err(refuse("but must be https, or http to this machine"));
        }
        named.push(origin);
    }
    Ok(named)
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let refuse = |what: &str| Error::new(ErrorKind::Config, format!("`ca_file` `{}` {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| refuse("cannot be read").with_source(error))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| refuse("holds no PEM certificates").with_source(error))?;
    if found.is_empty() { Err(refuse("holds no PEM certificates")) } else { Ok(found) }
}

fn origin(url: &Url) -> Origin {
    Origin {
        scheme: url.scheme().to_owned(),
        host: url.host_str().unwrap_or_default().to_ascii_lowercase(),
        port: url.port(),
    }
}

fn verb(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(HeaderName::from_bytes(name.as_bytes()).ok()?)?.to_str().ok()
}

/// Status and the headers that matter.
fn heads(response: &Response) -> Answer {
    let headers = response.headers();
    let date = text(headers, "date").and_then(http_date);
    Answer {
        status: response.status().as_u16(),
        body: Bytes::new(),
        date,
        credits_remaining: text(headers, "x-api-credits-remaining").and_then(|text| text.trim().parse().ok()),
        retry_after: text(headers, "retry-after").and_then(|text| retry_after(text, date)),
    }
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).map(|date| date.with_timezone(&Utc)).ok()
}

/// Seconds, or a date to be held against the server's own clock.
fn retry_after(text: &str, now: Option<DateTime<Utc>>) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => http_date(text)?.signed_duration_since(now?).to_std().ok(),
    }
}

fn local(error: Error) -> Failure {
    Failure { reach: Reach::Local, error }
}

/// A part that does not fit is asked for again; a file that cannot be written is not.
fn unfit(error: Error) -> Failure {
    let reach = if error.kind() == ErrorKind::Download { Reach::Unknown } else { Reach::Local };
    Failure { reach, error }
}

fn foreign(url: &Url) -> Error {
    let host = url.host_str().unwrap_or_default();
    Error::new(ErrorKind::ForeignHost, format!("`{}://{host}` may not see the token", url.scheme()))
        .with_hint("only hosts of the configured `data_center`, `api_url`, `accounts_url` and `content_url` are trusted")
}

/// Sorts a failure of the library by how far the request came.
fn broken(error: &reqwest::Error, doing: &str) -> Failure {
    let reach = if error.is_connect() {
        Reach::NotSent
    } else if error.is_builder() {
        Reach::Local
    } else {
        Reach::Unknown
    };
    let what = match reach {
        Reach::NotSent if error.is_timeout() => "no connection in time",
        Reach::NotSent => "no connection",
        _ if error.is_timeout() => "timed out",
        _ => "the connection broke",
    };
    let host = error.url().and_then(Url::host_str).map(|host| format!(" to `{host}`")).unwrap_or_default();
    let message = match reach {
        Reach::NotSent => format!("{what}{host}"),
        _ => format!("{what} {doing}{}", host.replacen(" to ", " of ", 1)),
    };
    let failure = Error::new(ErrorKind::Network, message);
    // The library's own text may show the query; its cause does not.
    let failure = match root_cause(error) {
        Some(cause) => failure.with_source(cause),
        None => failure,
    };
    Failure { reach, error: failure }
}

/// The innermost cause as text.
fn root_cause(error: &reqwest::Error) -> Option<String> {
    let mut cause = std::error::Error::source(error)?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Transport, http_date, retry_after};
    use crate::secret::Secret;
    use crate::zoho::config::Connection;
    use std::time::Duration;

    fn connection() -> Connection {
        Connection::new("1000.ID", Secret::new("s"), "unused")
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = http_date("Sun, 01 Mar 2026 09:00:00 GMT");
        assert!(now.is_some());
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 01 Mar 2026 09:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let with = |url: &str| Transport::new(&Connection { api_url: Some(url.to_owned()), ..connection() });
        assert!(with("http://127.0.0.1:4100").is_ok());
        assert!(with("https://proxy.example.test").is_ok());
        for url in ["http://www.zohoapis.com", "ftp://127.0.0.1", "zoho"] {
            let error = with(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("`api_url`"), "{url}: {error}");
        }
    }

    #[test]
    fn a_bad_ca_file_is_named() {
        let error = Transport::new(&Connection { ca_file: Some("no/such.pem".into()), ..connection() }).err();
        assert!(error.is_some_and(|error| error.to_string().contains("`no/such.pem` cannot be read")));
    }
}
