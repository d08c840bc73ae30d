//! [`server::serve`] on a real socket, and what bounds the work of a request. Time is paused: it
//! jumps to the next timer when nothing else can happen.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anon_operator::testing::clock::Clock;
use anon_operator::testing::config::Role;
use anon_operator::testing::server::{self, ConnectionLimits, Listener, RequestLimits, Routes};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::future::join_all;
use http::Request;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, World, get as get_request, post};

pub struct Server {
    pub address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

pub fn start(router: impl Into<Routes>, drain: Duration) -> Server {
    start_with(router, ConnectionLimits { drain_timeout: drain, ..ConnectionLimits::default() })
}

pub fn start_with(router: impl Into<Routes>, limits: ConnectionLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let listener = Listener { socket: listener, name: "public", metrics: Arc::default() };
    let task = tokio::spawn(server::serve(listener, router.into(), None, stop.clone(), limits));
    Server { address, stop, task }
}

/// A route that answers after `pause`.
fn slow(pause: Duration) -> Router {
    Router::new().route("/", get(move || async move { tokio::time::sleep(pause).await }))
}

async fn connect(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let _ = timeout(Duration::from_mins(10), stream.read_to_string(&mut text))
        .await
        .expect("never closed");
    text
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let server = start(slow(Duration::ZERO), Duration::ZERO);
    for beginning in ["", "G", "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"] {
        let started = Instant::now();
        rest(connect(&server, beginning).await).await;
        assert!(started.elapsed() < Duration::from_mins(1), "{beginning:?}");
    }
}

/// RFC 9112 section 3.2.
#[tokio::test]
async fn rejects_http11_requests_without_exactly_one_host() {
    let server = start(slow(Duration::ZERO), Duration::ZERO);
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\nhost:\r\n", "200 OK"),
        ("GET http://x/ HTTP/1.1\r\nhost: x\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\n", "400 Bad Request"),
        ("GET http://x/ HTTP/1.1\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n", "400 Bad Request"),
        ("GET / HTTP/1.1\r\nhost: x\r\nHost: x\r\n", "400 Bad Request"),
        ("GET / HTTP/1.0\r\n", "200 OK"),
        ("GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n", "400 Bad Request"),
    ] {
        let stream = connect(&server, &format!("{head}connection: close\r\n\r\n")).await;
        let reply = rest(stream).await;
        let line = reply.lines().next().unwrap_or_default();
        assert!(line.ends_with(status), "{head:?}: {reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_falls_silent_is_closed() {
    let server = start(slow(Duration::ZERO), Duration::ZERO);
    for (rest_of_it, minutes) in [("", 3), ("GET / HT", 1)] {
        let mut stream = connect(&server, REQUEST).await;
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        stream.write_all(rest_of_it.as_bytes()).await.unwrap();
        let started = Instant::now();
        rest(stream).await;
        assert!(started.elapsed() < Duration::from_mins(minutes), "{rest_of_it:?}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_refuse_a_new_one() {
    let limits = ConnectionLimits { max_connections: 8, ..ConnectionLimits::default() };
    let server = start_with(slow(Duration::ZERO), limits);
    let mut idle = Vec::new();
    for request in [REQUEST, "", REQUEST, REQUEST, "", REQUEST, REQUEST, ""] {
        let mut stream = connect(&server, request).await;
        if !request.is_empty() {
            stream.read_exact(&mut [0; 15]).await.unwrap();
        }
        idle.push(stream);
    }
    // Connections that are open for less than a second are not closed.
    let served = async {
        loop {
            let text = REQUEST.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            if rest(connect(&server, &text).await).await.starts_with("HTTP/1.1 200") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_mins(1), served).await.expect("refused");
    // The oldest of them were closed, the newest was not.
    assert!(!rest(idle.remove(0)).await.contains("connection: close"));
    let mut newest = idle.pop().unwrap();
    newest.write_all(REQUEST.as_bytes()).await.unwrap();
    newest.read_exact(&mut [0; 15]).await.unwrap();
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_a_shutdown() {
    let server = start(slow(Duration::ZERO), Duration::from_hours(1));
    let silent = connect(&server, "").await;
    let mut idle = connect(&server, REQUEST).await;
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    server.stop.cancel();
    timeout(Duration::from_secs(30), server.task).await.expect("hangs").unwrap().unwrap();
    assert_eq!(rest(silent).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "still listening");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_finishes_within_the_drain() {
    for (work, drain, finishes) in [(5, 15, true), (60, 15, false), (5, 0, false)] {
        let router = slow(Duration::from_secs(work));
        let server = start(router, Duration::from_secs(drain));
        let stream = connect(&server, REQUEST).await;
        // Until the request has arrived; real time, because the socket is real.
        let arrived = std::time::Instant::now();
        while arrived.elapsed() < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        server.stop.cancel();
        let text = rest(stream).await;
        assert_eq!(text.starts_with("HTTP/1.1 200"), finishes, "{work} {drain}: {text}");
        assert_eq!(text.contains("connection: close"), finishes, "{work} {drain}: {text}");
        server.task.await.unwrap().unwrap();
        assert!(started.elapsed() <= Duration::from_secs(drain + 1), "{work} {drain}");
    }
}

/// A body that never comes to its end.
fn endless() -> Request<Body> {
    let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    Request::post("/v1/validate").body(Body::from_stream(never)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_sends_slowly_holds_nobody_up() {
    let world = World::new();
    let router = world.routes(&[Role::Validator]);
    let started = Instant::now();
    // Three times as many as are read at the same time.
    let slow = join_all((0..3 * 1024).map(|_| Reply::of(router.clone(), endless())));
    let swift = async {
        // After all of them have begun.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let request = get_request("/v1/clients/x");
        assert_eq!(Reply::of(router.clone(), request).await.status, 404);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    };
    let (slow, ()) = tokio::join!(slow, swift);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let too_slow = slow.iter().filter(|it| it.error() == (408, "RequestTimeoutError".into()));
    assert_eq!(too_slow.count(), 1024);
    let shed = slow.iter().filter(|it| it.error() == (503, "UnavailableError".into()));
    assert_eq!(shed.count(), 2 * 1024);
    assert!(slow.iter().all(|it| it.header("x-request-id").is_some()));
    // And it is over with them.
    let reply = Reply::of(router, post("/v1/validate", "{}")).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_its_time_and_waiting_is_part_of_it() {
    let (world, acme) = World::acme();
    world.api.silent(true);
    let router = world.routes(&[Role::Api, Role::Validator]);
    let list = || {
        let mut request = get_request("/org/userPools");
        let bearer = format!("Bearer {}", acme.key()).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        request
    };
    let started = Instant::now();
    // More than are worked on and wait at the same time.
    let requests = join_all((0..5 * 1024 + 80).map(|_| Reply::of(router.clone(), list())));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // What the API server does to the API does nothing to what is answered from memory.
        let reply = Reply::of(router.clone(), post("/v1/validate", "{}")).await;
        assert_eq!(reply.status, 401);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    };
    let (replies, ()) = tokio::join!(requests, meanwhile);
    for reply in &replies {
        assert_eq!(reply.error(), (503, "UnavailableError".into()));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(reply.header("x-request-id").is_some());
    }
    let shed =
        replies.iter().filter(|reply| reply.text.contains("too many concurrent requests")).count();
    assert_eq!(shed, 80);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limits_are_told_to_retry() {
    let (world, acme) = World::acme();
    world.api.silent(true);
    let limits = RequestLimits { max_in_progress: 2, max_waiting: 1 };
    let router = server::routes(None, Some(world.state.clone()), limits);
    let list = || {
        let request = Request::get("/org/userPools");
        request.header("authorization", format!("Bearer {}", acme.key())).body(Body::empty())
    };
    let requests = (0..5).map(|_| Reply::of(router.clone(), list().unwrap()));
    let replies = join_all(requests).await;
    let shed = replies.iter().filter(|reply| reply.text.contains("too many concurrent requests"));
    assert_eq!(shed.count(), 2);
    for reply in &replies {
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, Some("1")));
    }
}

#[tokio::test]
async fn a_panic_is_a_500_in_json() {
    struct Broken;
    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            panic!("s3cr3t")
        }
    }
    let mut world = World::new();
    world.state.validator.clock = Arc::new(Broken);
    let reply = world.post("/v1/validate", Some("x"), &json!({})).await;
    assert_eq!(reply.error(), (500, "InternalError".into()));
    assert!(reply.header("x-request-id").is_some());
    assert!(!reply.text.contains("s3cr3t"));
    assert_eq!(world.get("/userPools/x/.well-known/jwks.json").await.status, 404, "it goes on");
}
