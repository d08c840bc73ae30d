//! The id of a request, in the header `X-Request-Id` of the request and of its response. Callers may
//! set it; otherwise the server does.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header with the id of a request, set on every response too.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The length of an id that the server sets.
const LENGTH: usize = 28;
/// Random, so that the ids of two processes differ.
static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);
/// The number of the last request without an id.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The id of a request, which is in its headers afterwards.
pub fn ensure(request: &mut Request) -> HeaderValue {
    let id = of(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    id
}

/// The id of a request with these headers.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    headers.get(REQUEST_ID).filter(|id| is_acceptable(id)).cloned().unwrap_or_else(next)
}

/// Whether the id consists of 1 to 128 letters, digits and `-_.`.
fn is_acceptable(id: &HeaderValue) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    !id.is_empty() && id.len() <= 128 && id.as_bytes().iter().all(letter)
}

/// A new id: a random number of this process, and the number of the request, in hexadecimal. It is
/// unique, and can be guessed.
fn next() -> HeaderValue {
    let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    HeaderValue::from_bytes(&format(*PROCESS, number))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// `00112233445566aa-0000000000b`: without an allocation, for every request.
fn format(process: u64, number: u64) -> [u8; LENGTH] {
    let mut id = [b'-'; LENGTH];
    let (first, rest) = id.split_at_mut(16);
    hexadecimal(process, first);
    // 44 bits: 17 trillion requests.
    hexadecimal(number, rest.split_at_mut(1).1);
    id
}

/// The last digits of a number, as many as there is room for.
fn hexadecimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        let value = (number & 15) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_hexadecimal() {
        let id = format(0x1_23ab, 0xbeef);
        assert_eq!(id.as_slice(), b"00000000000123ab-0000000beef");
        let ids: HashSet<_> = (0..100).map(|_| next()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(is_acceptable));
    }

    #[test]
    fn id_of_the_caller_is_used_if_it_is_acceptable() {
        for (sent, used) in [
            ("mine-1", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            (&*"x".repeat(128), true),
            (&*"x".repeat(129), false),
        ] {
            let mut request = Request::default();
            request.headers_mut().insert(REQUEST_ID, sent.parse().unwrap());
            let id = ensure(&mut request);
            assert_eq!(id == sent, used, "{sent:?}");
            assert_eq!(request.headers().get(REQUEST_ID), Some(&id));
        }
    }
}
