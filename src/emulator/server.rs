//! The HTTP side: the listener, the routes, and the gate that every call passes.
//!
//! The gate fires faults, signs the call in, counts it, keeps the limits and puts Zoho's headers on
//! the answer. Handlers see only calls that were let through.

use super::faults::{Action, Fired, Kind};
use super::reply::Reply;
use super::state::{AppState, Call, CallSeed, Org, version_of};
use super::stats::Stats;
use super::time::{http_date, push_utc};
use super::writer::Writer;
use super::{api, control, jobs, meddle, oauth};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State, connect_info::Connected};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Larger than the largest upload, so that the upload call itself can refuse.
const MOST_BODY_BYTES: usize = 64 * 1024 * 1024;

/// How long the first part of a cut body is given to leave before the connection breaks.
const FLUSH: Duration = Duration::from_millis(10);

/// All routes behind the gate.
pub(super) fn router(app: AppState) -> Router {
    Router::new()
        .merge(oauth::routes())
        .merge(control::routes())
        .merge(api::routes())
        .fallback(|| async { Reply::invalid_url() })
        .method_not_allowed_fallback(|| async { Reply::invalid_method() })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), gate))
        .with_state(app)
}

async fn gate(
    State(app): State<AppState>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if path.starts_with("/__emulator") {
        return next.run(request).await;
    }
    let label = Stats::label(request.method().as_str(), path);
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BODY_BYTES).await else {
        return Reply::error(413, "FILE_TOO_LARGE", "the body is too large", json!({})).into_response();
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let fired = app.faults.fire(parts.method.as_str(), target, &body);
    if fired.get(Kind::Drop).is_some() {
        app.stats.answered(&label, 0);
        return wire.broken();
    }
    let response = answer(&app, parts, body, &fired, &label, next).await;
    if fired.get(Kind::CutAfterExecute).is_some() {
        app.stats.answered(&label, 0);
        return wire.broken();
    }
    app.stats.answered(&label, response.status().as_u16());
    let response = dated(&app, response);
    if let Some(cut) = fired.get(Kind::CutBody) {
        return cut_body(response, cut).await;
    }
    match fired.get(Kind::TruncatedZip) {
        Some(cut) => truncate(response, cut).await,
        None => response,
    }
}

async fn delay(fired: &Fired) {
    if let Some(delay) = fired.get(Kind::Delay) {
        tokio::time::sleep(Duration::from_millis(delay.milliseconds.unwrap_or(100))).await;
    }
}

/// Lets a call through to its handler, or says why not.
async fn answer(
    app: &AppState,
    mut parts: Parts,
    body: Bytes,
    fired: &Fired,
    label: &str,
    next: Next,
) -> Response {
    meddle::meddle(app, fired);
    if let Some(refusal) = planned_refusal(fired) {
        return refusal.into_response();
    }
    let path = parts.uri.path();
    if !path.starts_with("/crm") && !path.contains("/bulk-write/") {
        delay(fired).await;
        return next.run(Request::from_parts(parts, Body::from(body))).await;
    }
    let (org, expiry_ms) = match sign_in(app, &parts, fired) {
        Ok(signed_in) => signed_in,
        Err(refusal) => return refusal.into_response(),
    };
    if !org.meter.open() {
        return Reply::too_many_requests().into_response();
    }
    let seed = CallSeed {
        app: Arc::clone(app),
        org: Arc::clone(&org),
        fired: fired.clone(),
        label: label.to_owned(),
    };
    let call = Call::new(seed, &parts);
    parts.extensions.insert(call.clone());
    // Now that it has its place in the pools: a slow call keeps others out.
    delay(fired).await;
    Writer::on_call(app, &org);
    jobs::run_due(app, &org).await;
    let mut response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if app.switches().wrap_errors && needs_module(&call.path) {
        response = wrapped(response).await;
    }
    let mut reset = String::new();
    push_utc(&mut reset, expiry_ms / 1_000);
    set(&mut response, "x-accesstoken-reset", &reset);
    if let Some(left) = org.meter.remaining_to_tell(app.clock.now_ms()) {
        set(&mut response, "x-api-credits-remaining", &left.to_string());
    }
    response
}

/// Whether the path is one of a record call.
fn needs_module(path: &str) -> bool {
    let mut parts = path.split('/').skip(2);
    let first = parts.next().unwrap_or_default();
    version_of(first).is_some()
        && !matches!(parts.next(), Some("settings" | "org" | "users" | "coql" | "upload"))
}

/// Puts a bare error into `data`, as one of the sources has it for record calls.
async fn wrapped(response: Response) -> Response {
    if !response.status().is_client_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if !bytes.starts_with(b"{\"code\"") {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from([b"{\"data\":[", bytes.as_ref(), b"]}"].concat()))
}

fn planned_refusal(fired: &Fired) -> Option<Reply> {
    if let Some(action) = fired.get(Kind::Status) {
        let code = action.code.as_deref().unwrap_or("INTERNAL_ERROR");
        return Some(Reply::error(action.status.unwrap_or(500), code, "Internal Server Error", json!({})));
    }
    let throttle = fired.get(Kind::Throttle)?;
    let refusal = Reply::too_many_requests();
    Some(match throttle.retry_after_seconds {
        Some(seconds) => refusal.with_header("retry-after", seconds.to_string()),
        None => refusal,
    })
}

/// Finds the organisation of the access token, and when the token ends.
fn sign_in(app: &AppState, parts: &Parts, fired: &Fired) -> Result<(Arc<Org>, i64), Reply> {
    let refusal = |code, message| Reply::error(401, code, message, json!({}));
    let path = parts.uri.path();
    if !path.split('/').skip(1).take(3).any(|segment| version_of(segment).is_some()) {
        return Err(Reply::invalid_url());
    }
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Zoho-oauthtoken ")).map(str::trim);
    let token = token.ok_or_else(|| refusal("AUTHENTICATION_FAILURE", "Authentication failed"))?;
    let now_ms = app.clock.now_ms();
    for org in &app.orgs {
        let mut tokens = org.tokens();
        let Some(expiry_ms) = tokens.expiry(token, now_ms) else { continue };
        if fired.get(Kind::InvalidToken).is_some() {
            tokens.forget(Some(token));
            break;
        }
        if !tokens.allows(path) {
            return Err(refusal("OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL"));
        }
        return Ok((Arc::clone(org), expiry_ms));
    }
    Err(refusal("INVALID_TOKEN", "invalid oauth token"))
}

fn dated(app: &AppState, mut response: Response) -> Response {
    set(&mut response, "date", &http_date(app.clock.now()));
    response
}

fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// Announces the whole body, sends a part of it, and breaks the connection.
async fn cut_body(response: Response, cut: &Action) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let kept = bytes.slice(..part(bytes.len(), cut));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let stream = futures_util::stream::unfold(Some(kept), |kept| async move {
        let kept = kept?;
        if kept.is_empty() {
            tokio::time::sleep(FLUSH).await;
            return Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None));
        }
        Some((Ok(kept), Some(Bytes::new())))
    });
    Response::from_parts(parts, Body::from_stream(stream))
}

async fn truncate(response: Response, cut: &Action) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(bytes.slice(..part(bytes.len(), cut))))
}

fn part(length: usize, cut: &Action) -> usize {
    (length as f64 * cut.fraction.unwrap_or(0.5).clamp(0.0, 1.0)) as usize
}

/// The switch that breaks one connection.
#[derive(Debug, Clone)]
struct Wire(Arc<AtomicBool>);

impl Wire {
    /// An answer that never leaves: the connection refuses to send it.
    fn broken(&self) -> Response {
        self.0.store(true, Ordering::Release);
        Response::new(Body::empty())
    }
}

impl Connected<IncomingStream<'_, Lines>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        Self(Arc::clone(&stream.io().broken))
    }
}

/// Accepts connections that can be broken.
pub(super) struct Lines {
    listener: TcpListener,
    stopped: Arc<AtomicBool>,
}

/// A connection that sends nothing more once it is broken or the emulator has stopped.
pub(super) struct Line {
    stream: TcpStream,
    broken: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) || self.stopped.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are small; waiting to fill a packet would cost 40 ms each.
                    let _ = stream.set_nodelay(true);
                    let line = Line { stream, broken: Arc::default(), stopped: Arc::clone(&self.stopped) };
                    return (line, address);
                }
                // Out of file handles, or the peer was gone already: try again after a moment.
                Err(_) => tokio::time::sleep(FLUSH).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves until the task is aborted.
pub(super) async fn serve(listener: TcpListener, app: AppState) -> io::Result<()> {
    let lines = Lines { listener, stopped: Arc::clone(&app.stopped) };
    axum::serve(lines, router(app).into_make_service_with_connect_info::<Wire>()).await
}
