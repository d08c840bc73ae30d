//! Load over gRPC: `Check` of Envoy's ext_authz, on HTTP/2 connections with one call at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::load::{Outcome, RECONNECT_PAUSE};

/// Only responses that allow the request set this header.
const IDENTITY_HEADER: &[u8] = b"x-anon-app-user-id";

/// The call for a request with this token, on a route of this client, in its frame.
pub fn check(token: &str, client: &str) -> Vec<u8> {
    let entry =
        |key: &str, value: &str| [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    let header = field(3, &entry("authorization", &format!("Bearer {token}")));
    let request = field(4, &field(2, &header));
    let extension = field(10, &entry("sdkClientId", client));
    let message = field(1, &[request, extension].concat());
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// A field of Protocol Buffers that contains bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or_default());
    field.extend_from_slice(content);
    field
}

/// Sends calls until the deadline, and connects again if the connection breaks.
pub async fn connection(
    address: SocketAddr,
    check: Bytes,
    deadline: Instant,
    outcome: Arc<Mutex<Outcome>>,
) {
    while Instant::now() < deadline {
        if calls(address, &check, deadline, &outcome).await.is_err() {
            outcome.lock().failures += 1;
            sleep(RECONNECT_PAUSE).await;
        }
    }
}

async fn calls(
    address: SocketAddr,
    check: &Bytes,
    deadline: Instant,
    outcome: &Mutex<Outcome>,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut calls, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    loop {
        let start = Instant::now();
        if start >= deadline {
            return Ok(());
        }
        let path = "http://localhost/envoy.service.auth.v3.Authorization/Check";
        let call = Request::post(path)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(check.clone()))?;
        calls.ready().await?;
        let response = calls.send_request(call).await?.into_body().collect().await?.to_bytes();
        let allowed = response
            .windows(IDENTITY_HEADER.len())
            .any(|part| part.eq_ignore_ascii_case(IDENTITY_HEADER));
        outcome.lock().record(allowed, start.elapsed().as_secs_f64() * 1000.0);
    }
}
