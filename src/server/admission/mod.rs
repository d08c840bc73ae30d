//! The admission webhook: `POST /admission/conflicts`, on a listener of its own.
//!
//! kube-apiserver asks before it stores an object of the operator's kinds. The answer comes from the
//! index alone, without I/O, and nothing is written. The webhook only reports conflicts earlier: the
//! controllers report in status those that it misses (an object that is created at the same time, a
//! write while the webhook is down), and no decision about credentials depends on it.

mod review;
mod rules;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::concurrency::{BodyLimits, RequestLimits};
use super::error::{ApiError, no_such_method, no_such_path};
use super::response::json;
use crate::crd::Kind;
use crate::index::Reader;
use crate::metrics::Metrics;
use review::{Answer, Review};
use verdict::Verdict;

/// The path that a ValidatingWebhookConfiguration specifies.
pub const PATH: &str = "/admission/conflicts";

/// The API server has few requests at the same time, but those of large objects contain them twice.
pub const REQUESTS: RequestLimits = RequestLimits { max_in_progress: 64, max_waiting: 256 };
/// The API server accepts objects of up to 3 MiB.
pub const BODIES: BodyLimits = BodyLimits { max_body: 8 * 1024 * 1024, max_reading: 8 };

/// What the webhook knows.
#[derive(Clone)]
pub struct AdmissionState {
    /// Access to the index.
    pub reader: Reader,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// The maximum time since any watch was last heard of: three bookmarks. After that, the duplicate may
/// have been deleted, and a write must not be rejected because of outdated data. Credentials are
/// validated for longer: an outage of the API server must not lock everyone out.
const RECENT: Duration = Duration::from_mins(3);

/// The routes of the webhook.
pub fn routes() -> Router<AdmissionState> {
    Router::new()
        .route(PATH, post(answer))
        // The frame has read the body.
        .layer(DefaultBodyLimit::disable())
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_path)
}

async fn answer(State(state): State<AdmissionState>, body: Bytes) -> Response {
    let Some(review) = Review::parse(&body) else {
        let error = "the body is not an AdmissionReview of admission.k8s.io/v1 with a request";
        return ApiError::malformed(error).into_response();
    };
    let verdict = if state.reader.is_ready() && state.reader.applied().heard_within(RECENT) {
        rules::decide(&state.reader, &review.request)
    } else {
        Verdict::unchecked(
            "the operator has not listed all objects yet, or has lost contact with the API server",
        )
    };
    let kind = Kind::ALL.map(Kind::as_str).into_iter().find(|it| *it == review.request.kind.kind);
    state.metrics.admission_reviewed(kind.unwrap_or("other"), verdict.as_str());
    json(StatusCode::OK, &Answer::new(&review, verdict))
}

#[cfg(test)]
mod tests;
