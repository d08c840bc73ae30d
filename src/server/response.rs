//! What all responses have in common.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

/// The challenge of a 401. RFC 6750 section 3 requires a parameter.
pub const CHALLENGE: &str = r#"Bearer realm="anon-operator""#;

/// Larger than most responses, so that the buffer of few of them has to grow.
const BUFFER_BYTES: usize = 1024;

/// A JSON response, finished.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    if serde_json::to_writer(&mut buffer, body).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let media_type = HeaderValue::from_static("application/json");
    finish(status, ([(header::CONTENT_TYPE, media_type)], buffer).into_response())
}

/// Sets the status and its headers: a challenge with 401 (RFC 6750 section 3), Retry-After with
/// 503; and forbids caching.
pub fn finish(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}
