//! Connections that a proxy keeps open between requests.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::shared;

/// Whether a complete response to a request arrives on this connection.
async fn responds(stream: &mut TcpStream) -> bool {
    let request = b"GET /v1/clients/x HTTP/1.1\r\nhost: x\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut text = String::new();
    while !text.ends_with('}') {
        match stream.read_u8().await {
            Ok(byte) => text.push(char::from(byte)),
            Err(_) => return false,
        }
    }
    text.starts_with("HTTP/1.1 404")
}

/// 60 s is the idle timeout of nginx and of many load balancers.
#[tokio::test]
async fn four_hundred_connections_are_reused_after_65_seconds() {
    let operator = shared().await;
    let mut streams = join_all((0..400).map(|_| TcpStream::connect(operator.address()))).await;
    let mut reuse = async || {
        let streams = streams.iter_mut().map(|stream| responds(stream.as_mut().unwrap()));
        join_all(streams).await.into_iter().filter(|responded| *responded).count()
    };
    assert_eq!(reuse().await, 400);
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert_eq!(reuse().await, 400);
}
