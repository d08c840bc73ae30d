//! Connections in memory. Time is paused and jumps to the next timer when nothing else can happen,
//! so the timeouts are those of production, and exact.

use axum::Router;
use axum::routing::get;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, advance, timeout_at};
use tokio_rustls::TlsConnector;

use super::*;

const GOAWAY: u8 = 7;
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const PROTOCOLS: [Protocol; 4] = [
    Protocol { http2: false, tls: false },
    Protocol { http2: true, tls: false },
    Protocol { http2: false, tls: true },
    Protocol { http2: true, tls: true },
];

#[derive(Clone, Copy, Debug)]
struct Protocol {
    http2: bool,
    tls: bool,
}

fn server() -> Arc<Server> {
    let slow = || async {
        sleep(Duration::from_secs(5)).await;
        "ok"
    };
    let router = Router::new().route("/", get(|| async { "ok" })).route("/slow", get(slow));
    Server::new(router.into(), ConnectionLimits::default())
}

/// A new connection, if the server has a place for it.
fn open(server: &Arc<Server>, tls: Option<TlsAcceptor>) -> Option<DuplexStream> {
    let (client, stream) = duplex(64 * 1024);
    let connection = server.connections.open()?;
    let server = Arc::clone(server);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    tokio::spawn(async move { server.accept(stream, address, tls, connection).await });
    Some(client)
}

fn tls() -> (TlsAcceptor, TlsConnector) {
    let issued = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = issued.cert.der().clone();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server).into(), Arc::new(client).into())
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A client of HTTP/1.1, or of HTTP/2 with frames by hand (RFC 9113): it sends incomplete ones, too.
struct Client {
    stream: Box<dyn Stream>,
    http2: bool,
    requests: u32,
    /// Whether the server has announced that it closes the connection.
    goodbye: bool,
}

impl Client {
    async fn connect(server: &Arc<Server>, protocol: Protocol) -> Self {
        let stream: Box<dyn Stream> = if protocol.tls {
            let (acceptor, connector) = tls();
            let stream = open(server, Some(acceptor)).unwrap();
            Box::new(connector.connect(ServerName::try_from("x").unwrap(), stream).await.unwrap())
        } else {
            Box::new(open(server, None).unwrap())
        };
        let mut client = Self { stream, http2: protocol.http2, requests: 0, goodbye: false };
        if protocol.http2 {
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            client.send(&frame(4, 0, 0, b"")).await;
        }
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed the connection.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The bytes of the next request.
    fn request(&mut self, path: &str) -> Vec<u8> {
        if !self.http2 {
            return format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes();
        }
        self.requests += 1;
        // GET, http, and two literals (RFC 7541); END_STREAM and END_HEADERS.
        let length = u8::try_from(path.len()).unwrap();
        let block = [&[0x82, 0x86, 1, 1, b'x', 4, length], path.as_bytes()].concat();
        frame(1, 5, 2 * self.requests - 1, &block)
    }

    async fn get(&mut self, path: &str) -> bool {
        let request = self.request(path);
        self.send(&request).await;
        self.response().await
    }

    /// Whether a complete response arrives.
    async fn response(&mut self) -> bool {
        if self.http2 {
            while let Some((kind, flags)) = self.frame().await {
                if kind < 2 && flags & 1 == 1 {
                    return true;
                }
            }
            return false;
        }
        let mut text = String::new();
        while !text.ends_with("\r\n\r\nok") {
            let Ok(byte) = self.stream.read_u8().await else { return false };
            text.push(char::from(byte));
        }
        self.goodbye |= text.contains("connection: close");
        text.starts_with("HTTP/1.1 200 OK")
    }

    /// The next frame of HTTP/2: its type and flags. Confirms settings and pings.
    async fn frame(&mut self) -> Option<(u8, u8)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let (kind, flags) = (head[3], head[4]);
        match (kind, flags) {
            (4, 0) => self.send(&frame(4, 1, 0, b"")).await,
            (6, 0) => self.send(&frame(6, 1, 0, &payload)).await,
            (GOAWAY, _) => self.goodbye = true,
            _ => {}
        }
        Some((kind, flags))
    }

    async fn pause(&mut self, time: Duration) {
        let end = Instant::now() + time;
        if self.http2 {
            while let Ok(Some(_)) = timeout_at(end, self.frame()).await {}
        }
        tokio::time::sleep_until(end).await;
    }

    /// How long it takes until the server closes.
    async fn closed(&mut self) -> Duration {
        let start = Instant::now();
        if self.http2 {
            while self.frame().await.is_some() {}
        } else {
            let _ = self.stream.read_to_end(&mut Vec::new()).await;
        }
        start.elapsed()
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
}

fn assert_seconds(time: Duration, seconds: u64, what: &str) {
    let range = Duration::from_secs(seconds)..Duration::from_secs(seconds + 1);
    assert!(range.contains(&time), "{what}: {time:?} instead of {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn reuse_after_a_long_pause_loses_nothing() {
    let server = server();
    for protocol in PROTOCOLS {
        let mut client = Client::connect(&server, protocol).await;
        for number in 0..400 {
            client.pause(Duration::from_secs(if number % 10 == 9 { 119 } else { 65 })).await;
            if number == 0 {
                // The first request must not take that long.
                client = Client::connect(&server, protocol).await;
            }
            assert!(client.get("/").await, "{protocol:?}: request {number} got no response");
        }
        assert!(!client.goodbye);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_after_its_timeout() {
    let server = server();
    for protocol in PROTOCOLS {
        let mut client = Client::connect(&server, protocol).await;
        assert!(client.get("/slow").await);
        assert_seconds(client.closed().await, 120, &format!("{protocol:?}"));
        assert_eq!(client.goodbye, protocol.http2, "GOAWAY");
    }
}

#[tokio::test(start_paused = true)]
async fn head_that_stalls_closes_the_connection() {
    let server = server();
    for protocol in PROTOCOLS {
        for (sent, served) in [(1, true), (12, true), (1, false), (12, false)] {
            let mut start = Instant::now();
            let mut client = Client::connect(&server, protocol).await;
            if served {
                assert!(client.get("/").await);
                client.pause(Duration::from_secs(65)).await;
                start = Instant::now();
            } else {
                // For the settings of HTTP/2.
                client.pause(Duration::from_secs(1)).await;
            }
            let request = client.request("/");
            client.send(&request[..sent]).await;
            client.closed().await;
            assert_seconds(start.elapsed(), 10, &format!("{protocol:?} {sent} {served}"));
        }
    }
    // Headers that have to be continued.
    let mut client = Client::connect(&server, PROTOCOLS[1]).await;
    assert!(client.get("/").await);
    client.send(&frame(1, 1, 3, &[0x82])).await;
    assert_seconds(client.closed().await, 10, "CONTINUATION");
}

#[tokio::test(start_paused = true)]
async fn head_that_trickles_in_closes_the_connection() {
    let server = server();
    for protocol in PROTOCOLS {
        let mut client = Client::connect(&server, protocol).await;
        assert!(client.get("/").await);
        let (request, start) = (client.request("/"), Instant::now());
        for byte in request {
            client.send(&[byte]).await;
            client.pause(Duration::from_secs(1)).await;
        }
        assert!(!client.response().await, "{protocol:?}");
        assert!(start.elapsed() < Duration::from_secs(40), "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_request_is_closed() {
    let server = server();
    for protocol in PROTOCOLS {
        let mut client = Client::connect(&server, protocol).await;
        assert_seconds(client.closed().await, 10, &format!("{protocol:?}"));
    }
    // No handshake, and half of one.
    for bytes in [b"".as_slice(), b"\x16\x03\x01"] {
        let mut stream = open(&server, Some(tls().0)).unwrap();
        stream.write_all(bytes).await.unwrap();
        let start = Instant::now();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert_seconds(start.elapsed(), 10, "TLS");
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered() {
    let server = server();
    let mut client = Client::connect(&server, PROTOCOLS[0]).await;
    client.send(REQUEST.repeat(50).as_bytes()).await;
    for _ in 0..50 {
        assert!(client.response().await);
    }
    assert_seconds(client.closed().await, 120, "idle");
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_idle_connections_at_once() {
    for protocol in PROTOCOLS {
        let server = server();
        let mut used = Client::connect(&server, protocol).await;
        assert!(used.get("/").await);
        let mut unused = Client::connect(&server, protocol).await;
        used.pause(Duration::from_secs(5)).await;
        server.connections.drain();
        assert_seconds(used.closed().await, 0, &format!("{protocol:?}"));
        assert_seconds(unused.closed().await, 0, &format!("{protocol:?}"));
        assert_eq!((used.goodbye, unused.goodbye), (protocol.http2, protocol.http2), "GOAWAY");
    }
}

/// A client cannot know that the server is closing the connection on which it sends.
#[tokio::test(start_paused = true)]
async fn shutdown_answers_the_next_request_of_a_connection_in_use() {
    for protocol in PROTOCOLS.into_iter().filter(|protocol| !protocol.http2) {
        let server = server();
        let mut in_use = Client::connect(&server, protocol).await;
        assert!(in_use.get("/").await);
        let mut idle = Client::connect(&server, protocol).await;
        assert!(idle.get("/").await);

        server.connections.drain();
        in_use.pause(Duration::from_millis(900)).await;
        assert!(in_use.get("/").await, "{protocol:?}");
        assert!(in_use.goodbye, "{protocol:?}: Connection: close");
        assert_seconds(in_use.closed().await, 0, &format!("{protocol:?}: in use"));
        let start = Instant::now();
        idle.closed().await;
        assert!(start.elapsed() <= Duration::from_millis(101), "{protocol:?}: idle for a second");
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_what_has_begun_and_says_goodbye() {
    let server = server();
    for protocol in PROTOCOLS {
        let mut in_flight = Client::connect(&server, protocol).await;
        assert!(in_flight.get("/").await);
        let request = in_flight.request("/slow");
        in_flight.send(&request).await;
        let mut begun = Client::connect(&server, protocol).await;
        assert!(begun.get("/").await);
        let request = begun.request("/");
        begun.send(&request[..12]).await;
        in_flight.pause(Duration::from_secs(1)).await;

        server.connections.drain();
        begun.pause(Duration::from_secs(1)).await;
        begun.send(&request[12..]).await;
        for (mut client, what) in [(in_flight, "in flight"), (begun, "begun")] {
            assert!(client.response().await, "{protocol:?}: {what}");
            assert_seconds(client.closed().await, 0, &format!("{protocol:?}: {what}"));
            assert!(client.goodbye, "{protocol:?}: {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_ignores_goaway_is_closed() {
    let server = server();
    let mut client = Client::connect(&server, PROTOCOLS[1]).await;
    assert!(client.get("/").await);
    server.connections.drain();
    let start = Instant::now();
    // Reads, and does not confirm the ping after GOAWAY.
    let _ = client.stream.read_to_end(&mut Vec::new()).await;
    assert_seconds(start.elapsed(), 10, "GOAWAY");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_do_not_refuse_a_new_one() {
    let server = server();
    let mut clients = Vec::new();
    for _ in 0..4096 {
        let mut client = Client::connect(&server, PROTOCOLS[0]).await;
        assert!(client.get("/").await);
        clients.push(client);
        advance(Duration::from_micros(100)).await;
    }
    assert!(open(&server, None).is_none());
    // They have just been used.
    server.connections.make_room();
    sleep(Duration::from_millis(500)).await;
    assert!(open(&server, None).is_none());

    sleep(Duration::from_secs(5)).await;
    let mut last = clients.split_off(4095);
    assert!(clients[0].get("/").await && last[0].get("/").await);
    let (first, oldest) = clients.split_at_mut(1);
    server.connections.make_room();
    for client in &mut oldest[..1024] {
        assert_seconds(client.closed().await, 0, "the oldest");
    }
    for client in first.iter_mut().chain(&mut oldest[1024..]).chain(&mut last) {
        assert!(client.get("/").await, "one that was used later");
        advance(Duration::from_micros(100)).await;
    }
    let mut newest = Client::connect(&server, PROTOCOLS[0]).await;
    assert!(newest.get("/").await);
    // One more than three quarters: only the one that has been idle longest is closed.
    sleep(Duration::from_secs(5)).await;
    server.connections.make_room();
    assert_seconds(clients[0].closed().await, 0, "the oldest");
    for client in [&mut last[0], &mut clients[2000], &mut newest] {
        assert!(client.get("/").await);
    }
}

#[tokio::test]
async fn responses_do_not_wait_for_acknowledgements() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, client) = tokio::join!(super::accept(&listener), client);
    client.unwrap();
    assert!(accepted.unwrap().0.nodelay().unwrap());
}
