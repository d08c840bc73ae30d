//! The load generator: HTTP/1.1 on keep-alive connections ([`grpc`] for gRPC), each of which sends its next request when
//! it has received a response. It runs on a thread with a CPU of its own, so that it takes no time
//! from the server that is measured.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::grpc;

/// The CPU of the servers that are measured.
pub const SERVER_CORE: usize = 0;
/// The CPU of the load generator.
const LOAD_CORE: usize = 1;
/// How long to wait before a connection that failed is opened again.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// The requests of a load: all are the same except for the credential.
pub struct Requests {
    before: String,
    credentials: Vec<String>,
    after: String,
    next: AtomicUsize,
    once: bool,
    /// The status of the responses; others are counted as failures.
    pub expected: u16,
    /// The call that is sent instead, over gRPC.
    call: Option<Bytes>,
}

impl Requests {
    /// `GET` with each of the credentials in turn.
    pub fn get(path: &str, credentials: Vec<String>) -> Self {
        Self {
            before: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "),
            credentials,
            after: "\r\n\r\n".to_owned(),
            next: AtomicUsize::new(0),
            once: false,
            expected: 200,
            call: None,
        }
    }

    /// `GET` without a credential.
    pub fn anonymous(path: &str) -> Self {
        Self {
            before: format!("GET {path} HTTP/1.1\r\nHost: localhost"),
            ..Self::get("/", vec![String::new()])
        }
    }

    /// `POST /v1/validate` with each of the credentials in turn.
    pub fn validate(credentials: Vec<String>, client: Option<&str>) -> Self {
        let client = client.map(|id| format!("\r\nX-Anon-Sdk-Client-Id: {id}")).unwrap_or_default();
        Self {
            before: "POST /v1/validate HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                .to_owned(),
            after: format!("{client}\r\nContent-Length: 0\r\n\r\n"),
            ..Self::get("/", credentials)
        }
    }

    /// `POST` of a JSON body with one credential.
    pub fn post(path: &str, credential: String, body: &str) -> Self {
        Self::post_as("application/json", path, credential, body)
    }

    /// `POST` of a form with one credential.
    pub fn post_form(path: &str, credential: String, form: &str) -> Self {
        Self::post_as("application/x-www-form-urlencoded", path, credential, form)
    }

    fn post_as(media_type: &str, path: &str, credential: String, body: &str) -> Self {
        Self {
            before: format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "),
            after: format!(
                "\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            ..Self::get("/", vec![credential])
        }
    }

    /// `Check` of Envoy's ext_authz, over gRPC.
    pub fn ext_authz(token: &str, client: &str) -> Self {
        Self { call: Some(grpc::check(token, client).into()), ..Self::get("/", Vec::new()) }
    }

    /// Each credential is sent once; the load ends with the last one.
    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    pub fn expecting(self, expected: u16) -> Self {
        Self { expected, ..self }
    }

    /// Writes the next request; `None` after the last one.
    pub fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let index = if self.once { index } else { index % self.credentials.len() };
        let credential = self.credentials.get(index)?;
        to.clear();
        for part in [&self.before, credential, &self.after] {
            to.extend_from_slice(part.as_bytes());
        }
        Some(())
    }
}

/// Connections that send the same kind of requests.
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub requests: Arc<Requests>,
    /// How long each connection waits between two requests.
    pub pause: Duration,
}

impl Load {
    /// As many requests as the server can answer.
    pub fn full(address: SocketAddr, connections: usize, requests: &Arc<Requests>) -> Self {
        Self { address, connections, requests: Arc::clone(requests), pause: Duration::ZERO }
    }
}

/// What a load has measured.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Milliseconds, in ascending order.
    latencies: Vec<f64>,
    /// Responses with another status, and connections that broke.
    pub failures: usize,
}

impl Outcome {
    pub fn responses(&self) -> usize {
        self.latencies.len()
    }

    pub fn record(&mut self, expected: bool, milliseconds: f64) {
        if expected {
            self.latencies.push(milliseconds);
        } else {
            self.failures += 1;
        }
    }

    /// A quantile of the latencies in milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let index = (self.latencies.len() as f64 * quantile) as usize;
        self.latencies.get(index).or(self.latencies.last()).copied().unwrap_or_default()
    }
}

/// Runs all loads at the same time. Each outcome belongs to the load at the same place.
pub async fn run(loads: Vec<Load>, duration: Duration) -> anyhow::Result<Vec<Outcome>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Not a thread of the pool: it would stay on its CPU afterwards.
    std::thread::spawn(move || {
        pin_this_thread();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcomes = runtime.map(|runtime| runtime.block_on(all(loads, duration)));
        let _ = sender.send(outcomes);
    });
    receiver.await?.context("cannot start the load")?
}

async fn all(loads: Vec<Load>, duration: Duration) -> anyhow::Result<Vec<Outcome>> {
    let deadline = Instant::now() + duration;
    let mut tasks = JoinSet::new();
    if loads.iter().all(|load| load.pause.is_zero()) {
        tasks.spawn(stay_awake(deadline));
    }
    let outcomes: Vec<_> = loads.iter().map(|_| Arc::<Mutex<Outcome>>::default()).collect();
    for (load, outcome) in loads.iter().zip(&outcomes) {
        for _ in 0..load.connections {
            let (requests, outcome) = (Arc::clone(&load.requests), Arc::clone(outcome));
            if let Some(call) = &requests.call {
                tasks.spawn(grpc::connection(load.address, call.clone(), deadline, outcome));
                continue;
            }
            tasks.spawn(connection(load.address, requests, load.pause, deadline, outcome));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    let sorted = |outcome: Arc<Mutex<Outcome>>| {
        let mut outcome = std::mem::take(&mut *outcome.lock());
        outcome.latencies.sort_by(f64::total_cmp);
        outcome
    };
    Ok(outcomes.into_iter().map(sorted).collect())
}

/// Keeps this thread from sleeping until the deadline. The kernel would otherwise have to wake it
/// for almost every response of a slow server, and for few of a fast one, and it counts the time for
/// that, which is as long as the rest of sending a response, as CPU time of the server.
async fn stay_awake(deadline: Instant) {
    while Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
}

/// Sends requests until the deadline, and connects again if the connection breaks.
async fn connection(
    address: SocketAddr,
    requests: Arc<Requests>,
    pause: Duration,
    deadline: Instant,
    outcome: Arc<Mutex<Outcome>>,
) {
    let mut request = Vec::with_capacity(2048);
    'connect: while Instant::now() < deadline {
        let Ok(mut connection) = Connection::open(address).await else {
            outcome.lock().failures += 1;
            sleep(RECONNECT_PAUSE).await;
            continue;
        };
        loop {
            let start = Instant::now();
            if start >= deadline || requests.write(&mut request).is_none() {
                return;
            }
            let Ok(status) = connection.exchange(&request).await else {
                outcome.lock().failures += 1;
                sleep(RECONNECT_PAUSE).await;
                continue 'connect;
            };
            let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
            outcome.lock().record(status == requests.expected, milliseconds);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }
}

/// A connection that is used for one request at a time.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and returns the status of its response.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
            let end = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let head = std::str::from_utf8(self.received.get(..end).unwrap_or_default())?;
            let length: usize = header(head, "content-length").unwrap_or("0").parse()?;
            if self.received.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).context("no status")?;
                return Ok(status.parse()?);
            }
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Moves this thread to its CPU and raises its priority, which needs root.
fn pin_this_thread() {
    let Ok(link) = fs::read_link("/proc/thread-self") else { return };
    let Some(thread) = link.file_name().and_then(|name| name.to_str()) else { return };
    let run = |program: &str, arguments: [&str; 4]| {
        let arguments = arguments.iter().filter(|argument| !argument.is_empty());
        let mut command = Command::new(program);
        let _ = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    };
    run("taskset", ["-p", "-c", &LOAD_CORE.to_string(), thread]);
    run("renice", ["-n", "-19", "-p", thread]);
}
