//! Repairs responses of the API server that are not valid UTF-8.
//!
//! JSON must be UTF-8, and in kube a list or watch that is not fails as a whole. But the API server
//! stores and serves the names in `fieldsV1` byte by byte as they were sent, for Secrets, Leases
//! and all other built-in kinds (not for custom resources). So invalid sequences are replaced
//! before the response is parsed.

use std::mem;

use axum::body::HttpBody;
use axum::http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;

/// The response with invalid UTF-8 sequences in its body replaced.
pub fn repaired<B>(reply: Response<B>) -> Response<impl HttpBody<Data = Bytes, Error = B::Error>>
where
    B: HttpBody<Data = Bytes>,
{
    let mut repair = Repair::default();
    reply.map(|body| body.map_frame(move |frame| frame.map_data(|chunk| repair.take(chunk))))
}

/// Repairs a stream of bytes, chunk by chunk.
#[derive(Default)]
struct Repair {
    /// The beginning of a character that continues in the next chunk; a maximum of three bytes.
    held: Vec<u8>,
}

impl Repair {
    fn take(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() && str::from_utf8(&chunk).is_ok() {
            return chunk;
        }
        let mut bytes = mem::take(&mut self.held);
        bytes.extend_from_slice(&chunk);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(piece) = chunks.next() {
            text.push_str(piece.valid());
            let (invalid, is_last) = (piece.invalid(), chunks.peek().is_none());
            if is_last && is_begin(invalid) {
                self.held = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text.into()
    }
}

/// Whether these are the first bytes of a valid character.
fn is_begin(invalid: &[u8]) -> bool {
    str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    async fn through(chunks: Vec<Vec<u8>>) -> Vec<u8> {
        let chunks = chunks.into_iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
        let reply = Response::new(Body::from_stream(stream::iter(chunks)));
        repaired(reply).into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    fn cut(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        bytes.chunks(size).map(<[u8]>::to_vec).collect()
    }

    #[tokio::test]
    async fn replaces_what_is_no_character_wherever_chunks_end() {
        let text = "{\"f:ü€😀\":{}}\n";
        let odd = b"{\"f:\xff\xfe\xe2\x82\":{}}\n".as_slice();
        for size in 1..=text.len() {
            assert_eq!(through(cut(text.as_bytes(), size)).await, text.as_bytes(), "{size}");
            let repaired = through(cut(odd, size)).await;
            assert_eq!(repaired, String::from_utf8_lossy(odd).as_bytes(), "{size}");
        }
    }

    proptest! {
        #[test]
        fn is_utf8_and_keeps_what_was(bytes in any::<Vec<u8>>(), size in 1..8_usize) {
            let mut repair = Repair::default();
            let mut out = Vec::new();
            for chunk in cut(&bytes, size) {
                out.extend(repair.take(chunk.into()));
            }
            prop_assert!(repair.held.len() < 4);
            out.extend(String::from_utf8_lossy(&repair.held).as_bytes());
            let expected = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(out, expected.as_bytes());
        }
    }
}
