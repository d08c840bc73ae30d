//! `/livez`, `/readyz` and `/metrics`, on an address of their own.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::AppState;

/// 200 as long as the process answers at all. What the API server does is no reason to restart.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while credentials are answered: once every kind has been listed, from when on the index can
/// tell "no" from "not yet", and until it is too old. Then another replica should be asked.
pub async fn readyz(State(state): State<AppState>) -> Response {
    match state.reader.answers() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.message())).into_response()
        }
    }
}

/// The metrics in OpenMetrics text.
pub async fn metrics(State(state): State<AppState>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match state.metrics.expose(state.reader.sizes()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
