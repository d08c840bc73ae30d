//! Unary gRPC calls over HTTP/2: one message in the body of the request, and one in that of the
//! response, each behind a flag and its length, and the status in the trailers (gRPC over HTTP2,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). The size of a message is that
//! of a body, which `server/frame.rs` limits.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, Full};
use prost::Message;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Why a body has no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The message is compressed, although [`ACCEPT_ENCODING`] does not allow that.
    Compressed,
    /// There is not exactly one, or it is not of this type.
    Malformed,
}

/// The message in the body of a request. Fields that are not declared are skipped.
pub fn read<M: Message + Default>(body: &[u8]) -> Result<M, Unreadable> {
    let (prefix, message) = body.split_first_chunk::<5>().ok_or(Unreadable::Malformed)?;
    let [flag, length @ ..] = *prefix;
    match flag {
        0 => {}
        1 => return Err(Unreadable::Compressed),
        _ => return Err(Unreadable::Malformed),
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(Unreadable::Malformed);
    }
    M::decode(message).map_err(|_| Unreadable::Malformed)
}

/// A successful response with a message.
pub fn reply(message: &impl Message) -> Response {
    let message = message.encode_to_vec();
    // Far from 4 GiB.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let bytes = Bytes::from([&[0], length.as_slice(), &message].concat());
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let trailers = async move { Some(Ok::<_, Infallible>(trailers)) };
    response(Body::new(Full::new(bytes).with_trailers(trailers)))
}

/// The response to a compressed message: status 12, UNIMPLEMENTED, and what is accepted
/// (<https://github.com/grpc/grpc/blob/master/doc/compression.md>).
pub fn compression_unsupported() -> Response {
    let mut response = response(Body::empty());
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from_static("12"));
    headers.insert(MESSAGE, HeaderValue::from_static("compressed messages are not supported"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    response
}

fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::endpoints::ext_authz::messages::Status;

    #[test]
    fn reads_exactly_one_uncompressed_message_and_skips_unknown_fields() {
        // `code` is 7; field 15 is unknown.
        let message = Ok(Status { code: 7, message: String::new() });
        let malformed = Err(Unreadable::Malformed);
        for (body, expected) in [
            (&[0, 0, 0, 0, 2, 8, 7][..], message.clone()),
            (&[0, 0, 0, 0, 5, 8, 7, 0x7a, 1, b'x'], message),
            (&[0, 0, 0, 0, 0], Ok(Status::default())),
            (&[1, 0, 0, 0, 2, 8, 7], Err(Unreadable::Compressed)),
            (&[2, 0, 0, 0, 2, 8, 7], malformed.clone()),
            (&[], malformed.clone()),
            (&[0, 0, 0, 0], malformed.clone()),
            (&[0, 0, 0, 0, 1, 8, 7], malformed.clone()),
            (&[0, 0, 0, 0, 3, 8, 7], malformed.clone()),
            (&[0, 0xff, 0xff, 0xff, 0xff, 8, 7], malformed.clone()),
            (&[0, 0, 0, 0, 1, 8], malformed.clone()),
            (&[0, 0, 0, 0, 2, 8, 7, 0, 0, 0, 0, 2, 8, 7], malformed),
        ] {
            assert_eq!(read::<Status>(body), expected, "{body:?}");
        }
    }
}
