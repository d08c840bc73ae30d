//! A client of HTTP/2 that asks and does not read: frames by hand (RFC 9113), because no library
//! behaves so. Shared by the tests with and without a cluster.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

/// A frame (section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET path`, so many times on a connection whose streams may not be sent a single byte of data.
pub fn ask_and_close_the_window(path: &str, times: u32) -> Vec<u8> {
    // SETTINGS_INITIAL_WINDOW_SIZE (4) = 0
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    // HPACK without compression (RFC 7541): GET, http, and two literals.
    let length = u8::try_from(path.len()).unwrap();
    let block = [&[0x82, 0x86, 0x01, 1, b'x', 0x04, length], path.as_bytes()].concat();
    for number in 0..times {
        bytes.extend(frame(HEADERS, END_STREAM_AND_HEADERS, 2 * number + 1, &block));
    }
    bytes
}

/// Reads frames until the server closes, and does what keeps a connection alive. Tells `heard` of
/// each response head. Returns how many there were, and how much data.
pub async fn keep_alive(mut stream: TcpStream, mut heard: impl FnMut()) -> (usize, usize) {
    let (mut heads, mut data) = (0, 0);
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return (heads, data);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            return (heads, data);
        }
        match (head[3], head[4]) {
            (HEADERS, _) => {
                heads += 1;
                heard();
            }
            (DATA, _) => data += length,
            (PING, 0) => drop(stream.write_all(&frame(PING, ACK, 0, &payload)).await),
            (SETTINGS, 0) => drop(stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await),
            _ => {}
        }
    }
}
