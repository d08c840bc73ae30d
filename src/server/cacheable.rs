//! Documents that browsers and proxies may cache.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ApiError;
use crate::domain::digest::short_hex;

/// A document with an ETag; 304 if the client has the same version (RFC 9110 section 13.1.2).
/// `cache` is its Cache-Control.
///
/// # Errors
/// It could not be encoded.
pub fn cacheable(
    headers: &HeaderMap,
    media_type: &'static str,
    cache: &'static str,
    body: &impl Serialize,
) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(body).map_err(|_| ApiError::internal())?;
    let hex = short_hex(&body, 16);
    let etag = HeaderValue::from_str(&format!("\"{hex}\"")).map_err(|_| ApiError::internal())?;
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains(&hex) || value.trim() == "*"));
    let common = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, media_type)], body).into_response())
}
