//! Public documents, for which no credential is needed: the data of webapp clients ([`clients`]) and
//! the key sets of pools ([`keys`]).

pub mod cacheable;
pub mod clients;
pub mod keys;

use axum::Router;
use axum::routing::get;

use super::ValidatorState;

/// The routes of the public documents.
pub fn routes() -> Router<ValidatorState> {
    Router::new()
        .route("/v1/clients/{clientId}", get(clients::public_data).options(clients::preflight))
        .route("/userPools/{id}/.well-known/jwks.json", get(keys::jwks))
        .route("/userPools/{id}/.well-known/openid-configuration", get(keys::discovery))
}
