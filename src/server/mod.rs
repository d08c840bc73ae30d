//! The HTTP server: [`routes`] has the routes of each role, [`admin`] those for the cluster, and
//! [`serve`] listens.

mod admission;
mod arrival;
mod body;
mod concurrency;
mod connection;
mod connection_limit;
pub mod endpoints;
mod error;
mod frame;
mod health;
mod held;
mod host;
mod listen;
mod openapi;
mod org;
mod public;
mod request;
mod request_id;
mod response;
mod shortcut;
mod state;
mod tls;
mod wire;
mod worker_slot;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;

use crate::metrics::sampled::value;
use crate::metrics::{Metrics, catalog};
pub use admission::AdmissionState;
use concurrency::RequestLimiter;
pub use concurrency::RequestLimits;
pub use connection::ConnectionLimits;
pub use endpoints::verification_queue::VerificationQueue;
pub use endpoints::verified_tokens::VerifiedTokens;
pub use error::ApiError;
use frame::Frame;
pub use listen::{Listener, serve};
pub use openapi::document as openapi_document;
pub use org::{ApiState, PlatformSettings};
pub use request_id::REQUEST_ID;
pub use shortcut::Routes;
use shortcut::Shortcut;
pub use state::{EndpointSettings, ValidatorState};
pub use tls::{Certificate, TlsFiles};

/// The routes of the roles of this process: those with a state. Each part has its own limits.
pub fn routes(
    validator: Option<ValidatorState>,
    api: Option<ApiState>,
    limits: RequestLimits,
) -> Routes {
    let mut shortcut = None;
    let mut router = Router::new().fallback(error::no_such_path);
    let metrics = validator.as_ref().or_else(|| api.as_ref().map(|api| &api.validator));
    if let Some(metrics) = metrics.map(|state| &state.metrics) {
        let limiter = limiter("other", limits, metrics);
        router = router.layer(Frame::new(limiter, metrics.requests("other")));
    }
    if let Some(state) = validator {
        let queue = state.verification_queue.clone();
        let sample = move || vec![(Vec::new(), value(queue.waiting()))];
        state.metrics.sample(&catalog::VERIFICATIONS_WAITING, "queue", sample);
        let limiter = limiter("validator", limits, &state.metrics);
        let frame = |endpoint| Frame::new(limiter.clone(), state.metrics.requests(endpoint));
        let framed = |endpoint, routes: Router<Arc<ValidatorState>>| {
            routes.method_not_allowed_fallback(error::no_such_method).layer(frame(endpoint))
        };
        let routes = framed("validate", endpoints::routes());
        let routes = routes.merge(framed("documents", public::routes()));
        let gateways = framed("auth", endpoints::gateway_routes());
        let envoy = framed("ext_authz", endpoints::envoy_routes());
        let (validate, auth) = (frame("validate"), frame("auth"));
        let state = Arc::new(state);
        shortcut = Some(Shortcut { state: Arc::clone(&state), validate, auth });
        router = router.merge(routes.with_state(Arc::clone(&state)));
        let gateways = gateways.with_state(Arc::clone(&state));
        router = router.merge(endpoints::forward_auth::verdicts_only(gateways));
        router = router.merge(endpoints::ext_authz::verdicts_only(envoy.with_state(state)));
    }
    if let Some(state) = api {
        let limiter = limiter("api", limits, &state.metrics);
        let frame = Frame::new(limiter, state.metrics.requests("org"));
        let routes = org::routes(&state.platform.settings.allowed_origins);
        let routes = routes.method_not_allowed_fallback(error::no_such_method).layer(frame);
        router = router.merge(routes.with_state(state));
    }
    Routes::new(router, shortcut)
}

fn limiter(part: &'static str, limits: RequestLimits, metrics: &Metrics) -> RequestLimiter {
    limiter_of(part, RequestLimiter::new(limits), metrics)
}

/// The limiter of a part of the server, which shows its state in the metrics.
fn limiter_of(part: &'static str, limiter: RequestLimiter, metrics: &Metrics) -> RequestLimiter {
    let (in_progress, waiting) = (limiter.clone(), limiter.clone());
    let sample = move |count| vec![(vec![part], value(count))];
    metrics.sample(&catalog::REQUESTS_IN_PROGRESS, part, move || sample(in_progress.in_progress()));
    metrics.sample(&catalog::REQUESTS_WAITING, part, move || sample(waiting.waiting()));
    limiter
}

/// The admission webhook.
pub fn admission(state: AdmissionState) -> Router {
    let limiter = RequestLimiter::with_bodies(admission::REQUESTS, admission::BODIES);
    let limiter = limiter_of("admission", limiter, &state.metrics);
    let frame = Frame::new(limiter, state.metrics.requests("admission"));
    admission::routes().layer(frame).with_state(state)
}

/// Health and metrics.
pub fn admin(state: ValidatorState) -> Router {
    let reader = state.reader.clone();
    state.metrics.sample(&catalog::INDEX_OBJECTS, "index", move || {
        reader.sizes().into_iter().map(|(kind, count)| (vec![kind], value(count))).collect()
    });
    let applied = Arc::clone(state.reader.applied());
    state.metrics.sample(&catalog::INDEX_AGE, "index", move || {
        let seconds = |silence: Duration| i64::try_from(silence.as_secs()).unwrap_or(i64::MAX);
        let silences = applied.silences().into_iter();
        silences.map(|(kind, silence)| (vec![kind.as_str()], seconds(silence))).collect()
    });
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_path)
        .with_state(Arc::new(state))
}
