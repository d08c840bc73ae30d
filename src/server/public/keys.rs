//! The public key set of a pool (RFC 7517) and its discovery document (OpenID Connect Discovery 1.0
//! section 3), for JOSE libraries and for kube-apiserver's structured authentication.

use std::sync::{Arc, LazyLock};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::cacheable::cacheable;
use crate::domain::document::Document;
use crate::domain::ids::UserPoolId;
use crate::domain::pool::{Source, UserPool};
use crate::domain::rotation::signing_keys::{MAX_CACHE_AGE, PUBLISH_AHEAD};
use crate::domain::signing_key_set::PublishedKey;
use crate::server::{ApiError, ValidatorState};

/// How long others may cache a key set. New keys are published for longer than this before they
/// sign.
static CACHE: LazyLock<String> =
    LazyLock::new(|| format!("public, max-age={}", MAX_CACHE_AGE.as_secs()));
const _: () = assert!(MAX_CACHE_AGE.as_secs() < PUBLISH_AHEAD.as_secs());

/// `GET /userPools/{id}/.well-known/jwks.json`.
pub async fn jwks(
    State(state): State<Arc<ValidatorState>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let pool = find(&state, id)?;
    let document = pool.published().map_err(|_| ApiError::internal())?;
    cacheable(&headers, "application/jwk-set+json", &CACHE, document)
}

/// The metadata that a consumer of ID tokens needs. There is no authorization endpoint: tokens come
/// from `POST /org/appUserIdToken`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Discovery<'p> {
    issuer: &'p str,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

/// `GET /userPools/{id}/.well-known/openid-configuration`.
pub async fn discovery(
    State(state): State<Arc<ValidatorState>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let pool = find(&state, id)?;
    let issuer = issuer(&state, &pool)?;
    let algorithm = |key: &PublishedKey| key.verifying.algorithm().as_str();
    let mut algorithms: Vec<_> = pool.keys.iter().map(algorithm).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let document = Discovery {
        issuer: &issuer,
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: algorithms,
    };
    let document = Document::of(&document).map_err(|_| ApiError::internal())?;
    cacheable(&headers, "application/json", &CACHE, &document)
}

/// The issuer of the Active key. An organization that signs with keys of its own may use the pool's
/// URL, at which this document is found.
fn issuer(state: &ValidatorState, pool: &UserPool) -> Result<String, ApiError> {
    match pool.source {
        Source::Hosted(_) => {
            pool.active_key().and_then(|key| key.issuer.clone()).ok_or_else(no_keys)
        }
        _ => Ok(format!("{}/userPools/{}", state.public_url, pool.id)),
    }
}

fn find(
    state: &ValidatorState,
    id: Result<Path<String>, PathRejection>,
) -> Result<Arc<UserPool>, ApiError> {
    state.reader.answers()?;
    // A path segment that is not text cannot be an id.
    let id = id.ok().and_then(|Path(id)| UserPoolId::parse(&id));
    let pool = id.and_then(|id| state.reader.pool(id));
    let pool = pool.ok_or_else(|| ApiError::not_found("UserPool not found"))?;
    if !pool.source.is_published_here() {
        return Err(ApiError::not_found(
            "the keys of this UserPool are published by its identity provider; this operator does not publish them",
        ));
    }
    if pool.keys.is_empty() { Err(no_keys()) } else { Ok(pool) }
}

fn no_keys() -> ApiError {
    ApiError::unavailable("the UserPool has no keys yet")
}
