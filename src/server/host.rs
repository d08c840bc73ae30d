//! Rejects HTTP/1.1 requests that do not have exactly one `Host` header (RFC 9112 section 3.2): a
//! proxy may have chosen another one of several than this server would.

use axum::extract::Request;
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiError;

/// Passes on requests with one host. In HTTP/2 the host is the pseudo-header `:authority`, which
/// `Host` may repeat.
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
