//! Requests of HTTP/1.1 without `Host`, or with more than one, are rejected (RFC 9112 section 3.2):
//! what stands in front may have taken another one for the host than whatever comes behind.

use axum::extract::Request;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiError;

/// Passes on requests with one host. In HTTP/2 it is the pseudo-header `:authority`, and `Host` may
/// repeat it.
pub async fn required(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let fits = match request.version() {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    };
    if !fits {
        return ApiError::malformed("the request must have exactly one `Host` header")
            .into_response();
    }
    next.run(request).await
}
