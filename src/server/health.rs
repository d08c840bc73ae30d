//! `/livez`, `/readyz` and `/metrics`, on a listener of their own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ValidatorState;

/// 200 while the process responds at all. An unavailable API server is no reason to restart.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while the replica can answer: once every kind has been listed, so that absence means
/// something, and until the index is too old. Otherwise traffic should go to another replica. The
/// second line has the age of the index, for people; metrics have it by kind.
pub async fn readyz(State(state): State<Arc<ValidatorState>>) -> Response {
    let (status, message) = match state.reader.answers() {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason.message()),
    };
    let oldest = state.reader.applied().silences().into_iter().max_by_key(|(_, silence)| *silence);
    let age = oldest.map_or_else(String::new, |(kind, silence)| {
        format!("received nothing about {} for {} s\n", kind.as_str(), silence.as_secs())
    });
    (status, format!("{message}\n{age}")).into_response()
}

/// The metrics in OpenMetrics text format.
pub async fn metrics(State(state): State<Arc<ValidatorState>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match state.metrics.expose() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
