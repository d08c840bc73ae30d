//! The HTTP server: [`router`] has the routes of each role, [`admin`] those for the cluster, and
//! [`serve`] listens.

mod body;
mod concurrency;
mod connection;
mod connection_limit;
pub mod endpoints;
mod error;
mod health;
mod held;
mod host;
mod listen;
mod org;
mod public;
mod request;
mod state;
mod tls;
mod wire;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::routing::get;
use tower_http::ServiceBuilderExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::MakeRequestUuid;

use concurrency::RequestLimiter;
pub use connection::ConnectionLimits;
pub use error::ApiError;
pub use listen::serve;
pub use org::openapi::document as openapi;
pub use org::{ApiState, PlatformSettings};
pub use state::{EndpointSettings, ValidatorState};
pub use tls::TlsFiles;

/// The header with the id of a request, set on every response too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The routes of the roles of this process: those with a state.
pub fn router(validator: Option<ValidatorState>, api: Option<ApiState>) -> Router {
    let mut router = Router::new();
    let bounded =
        || middleware::from_fn_with_state(RequestLimiter::default(), concurrency::bounded);
    if let Some(state) = validator {
        let routes = endpoints::routes().merge(public::routes());
        router = router.merge(routes.layer(bounded()).with_state(state.clone()));
        let gateways = endpoints::gateway_routes().layer(bounded()).with_state(state);
        router = router.merge(endpoints::verdicts_only(gateways));
    }
    if let Some(state) = api {
        let routes = org::routes(&state.platform.allowed_origins);
        router = router.merge(routes.layer(bounded()).with_state(state));
    }
    // Outermost layer first.
    let stack = tower::ServiceBuilder::new()
        .map_request(drop_unfit_id)
        .set_request_id(REQUEST_ID, MakeRequestUuid)
        .propagate_request_id(REQUEST_ID)
        .layer(CatchPanicLayer::custom(error::panicked));
    router
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(stack)
}

/// Callers may set the id of their request, if it consists of letters, digits and `-_.`; otherwise
/// the server does.
fn drop_unfit_id(mut request: Request) -> Request {
    let fits = |id: &HeaderValue| {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !id.is_empty() && id.len() <= 128 && id.as_bytes().iter().all(letter)
    };
    if !request.headers().get(REQUEST_ID).is_some_and(fits) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// Health and metrics.
pub fn admin(state: ValidatorState) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_path)
        .with_state(state)
}
