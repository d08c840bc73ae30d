//! Clients that ask and do not read. Time is paused, as in `serve`, unless a test says otherwise.

use std::time::Duration;

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::ids::UserPoolId;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::serve::{Server, start};
use crate::h2::{ask_and_close_the_window, keep_alive};
use crate::support::World;

async fn connect(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Answers with 8 MB, more than a socket takes.
fn large() -> Router {
    let bytes = Bytes::from(vec![b'x'; 8 * 1024 * 1024]);
    Router::new().route("/", get(move || async move { bytes }))
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_whose_responses_are_not_read_is_closed() {
    let server = start(large(), Duration::ZERO);
    let stream = connect(&server, &ask_and_close_the_window("/", 64)).await;
    let started = Instant::now();
    let reading = timeout(Duration::from_mins(10), keep_alive(stream, || ()));
    let read = reading.await.expect("never closed");
    assert!(read.0 > 0 && read.1 == 0, "{read:?}");
    assert!(started.elapsed() >= Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_http1_connection_whose_response_is_not_read_is_closed() {
    let server = start(large(), Duration::ZERO);
    let mut stream = connect(&server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_mins(10), stream.read_to_end(&mut rest)).await.expect("open");
    assert!(rest.len() < 8 * 1024 * 1024, "{} bytes were kept", rest.len());
}

/// In real time: a paused clock would jump to the deadline while the bytes are on their way.
#[tokio::test]
async fn a_connection_that_reads_slowly_and_is_done_in_time_stays() {
    let server = start(large(), Duration::ZERO);
    for _ in 0..2 {
        let mut stream = connect(&server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut left: usize = 8 * 1024 * 1024;
        while left > 0 {
            let mut part = vec![0; 1024 * 1024];
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "closed");
            left = left.saturating_sub(read);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // And it can be used again.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut part = [0; 15];
        while !part.starts_with(b"HTTP/1.1 200 OK") {
            assert!(stream.read(&mut part[..1]).await.unwrap() > 0, "closed");
            if part[0] == b'H' {
                stream.read_exact(&mut part[1..]).await.unwrap();
            }
        }
    }
}

/// As many unread responses as there are places: the next caller gets one all the same.
#[tokio::test(start_paused = true)]
async fn unread_responses_do_not_keep_others_out() {
    let (world, _) = World::acme();
    let server = start(world.routes(&[Role::Validator]), Duration::ZERO);
    let id = UserPoolId::derive("acme", "users");
    let path = format!("/userPools/{id}/.well-known/jwks.json");
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let stream = connect(&server, &ask_and_close_the_window(&path, 64)).await;
        greedy.push(tokio::spawn(keep_alive(stream, || ())));
    }
    // Until they have all places; real time, because the sockets are real.
    let real = std::time::Instant::now();
    while real.elapsed() < Duration::from_millis(500) {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut modest = connect(&server, request.as_bytes()).await;
    let mut text = String::new();
    modest.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    for stream in greedy {
        stream.abort();
    }
}
