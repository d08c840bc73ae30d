//! Rejects HTTP/1.1 requests that do not have exactly one `Host` header (RFC 9112 section 3.2): a
//! proxy may have chosen another one of several than this server would.

use axum::http::{Request, Version, header};

use super::ApiError;

/// Whether a request has one host. In HTTP/2 the host is the pseudo-header `:authority`, which
/// `Host` may repeat.
pub fn is_unambiguous<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), request.version()) {
        (None, version) => version != Version::HTTP_11,
        (Some(_), _) => hosts.next().is_none(),
    }
}

/// The response to a request that has none or several.
pub fn rejection() -> ApiError {
    ApiError::malformed("the request must have exactly one `Host` header")
}
