//! The HTTP server: [`public`] lists the public endpoints, [`admin`] the endpoints for the cluster,
//! and [`serve`] listens.

pub mod authenticate;
mod cacheable;
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
mod request;
mod tls;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware;
use axum::routing::{get, post};
use tower_http::ServiceBuilderExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::MakeRequestUuid;

use crate::clock::SharedClock;
use crate::config::Role;
use crate::index::Reader;
use crate::metrics::Metrics;
use concurrency::RequestLimiter;
pub use connection_limit::ConnectionLimits;
pub use error::ApiError;
pub use listen::serve;
pub use org::openapi::document as openapi;
pub use org::signer::Signer;
pub use org::{Platform, PlatformSettings};
pub use tls::TlsFiles;

/// The header with the id of a request, set on every response too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Shared state of the handlers.
#[derive(Clone)]
pub struct AppState {
    /// Access to the index.
    pub reader: Reader,
    /// The clock.
    pub clock: SharedClock,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Signs tokens of hosted pools.
    pub signer: Arc<Signer>,
    /// What the REST API needs besides the index.
    pub platform: Arc<Platform>,
}

/// The public endpoints of this process's roles.
pub fn public(state: AppState, roles: &[Role]) -> Router {
    let mut router = Router::new();
    let bounded =
        || middleware::from_fn_with_state(RequestLimiter::default(), concurrency::bounded);
    if roles.contains(&Role::Validator) {
        let endpoints = Router::new()
            .route("/v1/validate", post(endpoints::validate::validate))
            .route(
                "/v1/clients/{clientId}",
                get(endpoints::clients::public_data).options(endpoints::clients::preflight),
            )
            .route("/userPools/{id}/.well-known/jwks.json", get(endpoints::keys::jwks))
            .route(
                "/userPools/{id}/.well-known/openid-configuration",
                get(endpoints::keys::discovery),
            );
        router = router.merge(endpoints.layer(bounded()));
    }
    if roles.contains(&Role::Api) {
        router = router.merge(org::routes().layer(bounded()));
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
        .with_state(state)
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
pub fn admin(state: AppState) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(error::no_such_path)
        .with_state(state)
}
