//! Documents that browsers and proxies may cache.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::document::Document;
use crate::server::ApiError;

/// A document with an ETag; 304 if the client has the same version (RFC 9110 section 13.1.2).
/// `cache` is its Cache-Control. The bytes are shared with every other response that contains the
/// same document.
///
/// # Errors
/// Never in practice: hex digits are a header.
pub fn cacheable(
    headers: &HeaderMap,
    media_type: &'static str,
    cache: &'static str,
    document: &Document,
) -> Result<Response, ApiError> {
    let tag = document.tag.as_str();
    let etag = HeaderValue::from_str(&format!("\"{tag}\"")).map_err(|_| ApiError::internal())?;
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains(tag) || value.trim() == "*"));
    let common = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, media_type)], shared(document)).into_response())
}

/// The text as a body that shares its bytes.
pub fn shared(document: &Document) -> Bytes {
    Bytes::from_owner(Arc::clone(&document.json))
}
