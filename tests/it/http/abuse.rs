//! Clients that abuse HTTP. None of them delays others, and what they occupy is bounded. Slow
//! senders are in `serve.rs` and in the unit tests of `server/listen.rs`, and clients that do not
//! read in `unread.rs`.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::serve::{Server, start};
use crate::h2::frame;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `GET /`, http, and the authority `x` (RFC 7541).
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x01, 1, b'x'];

/// What a test waits for at most; the server reacts at once.
const PATIENCE: Duration = Duration::from_mins(1);

fn ok() -> Router {
    Router::new().route("/", get(|| async { "ok" }))
}

/// A connection that has begun HTTP/2.
async fn http2(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    stream.write_all(&bytes).await.unwrap();
    stream
}

/// The next frame: its type and its payload.
async fn next(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// Reads until the server has ended the connection; with GOAWAY, as a rule.
async fn ended(mut stream: TcpStream) {
    let frames = async {
        while let Some((kind, _)) = next(&mut stream).await {
            if kind == GOAWAY {
                return;
            }
        }
    };
    timeout(PATIENCE, frames).await.expect("the connection remains open");
}

async fn send(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut text = String::new();
    let exchange = async {
        // The server may respond and close before it has read everything.
        let _ = stream.write_all(request).await;
        let _ = stream.read_to_string(&mut text).await;
    };
    timeout(PATIENCE, exchange).await.expect("no response");
    text
}

/// Another client is served.
async fn assert_others_are_served(server: &Server) {
    let text = send(server, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let server = start(ok(), Duration::ZERO);
    let mut stream = http2(&server).await;
    let mut bytes = Vec::new();
    for number in 0..2000 {
        let id = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_STREAM_AND_HEADERS, id, &GET));
        bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    let _ = stream.write_all(&bytes).await;
    ended(stream).await;
    assert_others_are_served(&server).await;
}

/// CVE-2024-27316 and its siblings.
#[tokio::test]
async fn continuation_flood_ends_the_connection() {
    let server = start(ok(), Duration::ZERO);
    let mut stream = http2(&server).await;
    let mut bytes = frame(HEADERS, 1, 1, &GET);
    for _ in 0..10_000 {
        // A literal that is not indexed: name `a`, value `b`.
        bytes.extend(frame(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b']));
    }
    let _ = stream.write_all(&bytes).await;
    ended(stream).await;
    assert_others_are_served(&server).await;
}

/// A client that sends frames which require an answer, and reads none of the answers.
#[tokio::test]
async fn floods_of_pings_and_settings_are_not_buffered() {
    let server = start(ok(), Duration::ZERO);
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut stream = http2(&server).await;
        let sending = async {
            let many = flood.repeat(4096);
            for _ in 0..4096 {
                if stream.write_all(&many).await.is_err() {
                    return;
                }
            }
            panic!("the server has read everything");
        };
        // It stalls, since the server waits until it can send the answers, or the server closes.
        tokio::select! {
            () = sending => {}
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
        assert_others_are_served(&server).await;
    }
}

#[tokio::test]
async fn surplus_streams_of_a_connection_are_refused() {
    let working = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&working);
    let stuck = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        pending::<()>().await;
    };
    let server = start(Router::new().route("/", get(stuck)), Duration::ZERO);
    let mut stream = http2(&server).await;
    let heads = (0..200).map(|number| frame(HEADERS, END_STREAM_AND_HEADERS, 2 * number + 1, &GET));
    stream.write_all(&heads.collect::<Vec<_>>().concat()).await.unwrap();
    let mut refused = 0;
    let frames = async {
        while refused < 200 - 64 {
            let (kind, payload) = next(&mut stream).await.expect("closed");
            // REFUSED_STREAM: the client may send the request again.
            refused += usize::from(kind == RST_STREAM && payload == 7_u32.to_be_bytes());
        }
    };
    timeout(PATIENCE, frames).await.expect("not refused");
    assert_eq!(working.load(Ordering::Relaxed), 64);
}

#[tokio::test]
async fn heads_that_are_too_large_are_rejected() {
    let server = start(ok(), Duration::ZERO);
    for head in ["a: b\r\n".repeat(500), format!("a: {}\r\n", "b".repeat(64 * 1024))] {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{head}\r\n");
        let text = send(&server, request.as_bytes()).await;
        // If the server closes before it has read everything, the response may be lost.
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert_others_are_served(&server).await;
}

/// A head of 14 kB that is 40 MB large once its references are resolved.
#[tokio::test]
async fn compressed_head_that_expands_is_rejected() {
    let called = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&called);
    let handler = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let server = start(Router::new().route("/", get(handler)), Duration::ZERO);
    let mut stream = http2(&server).await;
    // A literal that is added to the dynamic table, name `a` and a value of 3900 bytes; then 10,000
    // references to it.
    let literal = [&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d], [b'b'; 3900].as_slice()].concat();
    let block = [GET.as_slice(), &literal, &[0xbe; 10_000]].concat();
    stream.write_all(&frame(HEADERS, END_STREAM_AND_HEADERS, 1, &block)).await.unwrap();
    let answer = async {
        loop {
            match next(&mut stream).await {
                Some((HEADERS | RST_STREAM | GOAWAY, _)) | None => return,
                Some(_) => {}
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("no answer");
    assert_eq!(called.load(Ordering::Relaxed), 0);
}
