//! Public documents, for which no credential is needed: the data of webapp clients ([`clients`]) and
//! the key sets of pools ([`keys`]).

pub mod cacheable;
pub mod clients;
pub mod keys;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::routing::get;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::ValidatorState;
use super::error::no_such_method;

/// How long a browser may remember that any page may read key sets: no longer than two hours in
/// any browser.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);

/// The routes of the public documents.
pub fn routes() -> Router<Arc<ValidatorState>> {
    // Pages read a key set with the same function as their other requests, so with headers that
    // cause a preflight, such as `Authorization`; it is ignored.
    let any_page = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_MAX_AGE)
        .vary([]);
    let keys = Router::new()
        .route("/userPools/{id}/.well-known/jwks.json", get(keys::jwks))
        .route("/userPools/{id}/.well-known/openid-configuration", get(keys::discovery))
        // Inside the layer, so that the layer answers preflights.
        .method_not_allowed_fallback(no_such_method)
        .layer(any_page);
    Router::new()
        .route("/v1/clients/{clientId}", get(clients::public_data).options(clients::preflight))
        .merge(keys)
}
