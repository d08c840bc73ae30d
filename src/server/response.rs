//! What all responses have in common.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

/// The challenge of a 401. RFC 6750 section 3 requires a parameter.
pub const CHALLENGE: &str = r#"Bearer realm="anon-operator""#;

/// Larger than most responses, so that the buffer of few of them has to grow.
const BUFFER_BYTES: usize = 1024;

/// A JSON response, finished.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    finished_json(status, json_text(body))
}

/// The text of a JSON response.
///
/// # Errors
/// The type cannot be serialized.
pub fn json_text(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    serde_json::to_writer(&mut buffer, body)?;
    Ok(buffer)
}

/// A response with this JSON text, finished.
pub fn finished_json(status: StatusCode, text: serde_json::Result<impl Into<Body>>) -> Response {
    let Ok(text) = text else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = Response::new(text.into());
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    finish(status, response)
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
