//! A server of a few lines that answers as a test tells it, connection by connection.
//!
//! Raw sockets, because the tests need what a real server avoids: answers that break off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What to answer.
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes of the body after which the connection breaks.
    cut_at: Option<usize>,
    /// Break the connection instead of answering.
    silent: bool,
    /// Time that passes before the answer.
    delay: Duration,
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        Self::bytes(status, body.as_bytes())
    }

    pub(super) fn bytes(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_vec(),
            cut_at: None,
            silent: false,
            delay: Duration::ZERO,
        }
    }

    /// Reads the request, then hangs up.
    pub(super) fn hang_up() -> Self {
        Self { silent: true, ..Self::bytes(0, b"") }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Takes this long.
    pub(super) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Announces the whole body, but sends only so many bytes of it.
    pub(super) fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }

    fn head(&self) -> String {
        let mut head = format!(
            "HTTP/1.1 {} Told\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// A running server; it ends with the test's runtime.
pub(super) struct Server {
    pub(super) url: String,
    log: Arc<Mutex<Vec<Seen>>>,
    open: Arc<Open>,
}

/// How many requests are being answered, and how many were at most.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Server {
    /// Starts a server; `answer` gets the request and how many came to the same path before.
    pub(super) async fn start(
        answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let log = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Open::default());
        let (shared, counted, answer) = (Arc::clone(&log), Arc::clone(&open), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, open, answer) = (Arc::clone(&shared), Arc::clone(&counted), Arc::clone(&answer));
                tokio::spawn(async move { serve(stream, &log, &open, &*answer).await });
            }
        });
        Ok(Self { url, log, open })
    }

    /// Most requests that were being answered at once.
    pub(super) fn peak(&self) -> usize {
        self.open.peak.load(Ordering::SeqCst)
    }

    /// The requests whose path starts like this.
    pub(super) fn seen(&self, path: &str) -> Vec<Seen> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|seen| seen.path.starts_with(path)).cloned().collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Seen>>,
    open: &Open,
    answer: &(dyn Fn(&Seen, usize) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let seen = read_request(&mut stream).await?;
    open.peak.fetch_max(open.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    let reply = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let path = |seen: &Seen| seen.path.split('?').next().map(str::to_owned);
        let before = log.iter().filter(|other| path(other) == path(&seen)).count();
        log.push(seen.clone());
        answer(&seen, before)
    };
    tokio::time::sleep(reply.delay).await;
    open.now.fetch_sub(1, Ordering::SeqCst);
    if !reply.silent {
        stream.write_all(reply.head().as_bytes()).await?;
        let sent = reply.cut_at.unwrap_or(reply.body.len());
        stream.write_all(&reply.body[..sent]).await?;
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + 4 + length && stream.read_buf(&mut bytes).await? > 0 {}
    Ok(Seen {
        method: first.next().unwrap_or_default(),
        path: first.next().unwrap_or_default(),
        headers,
        body: String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned(),
    })
}
