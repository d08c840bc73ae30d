//! `POST /v1/tokenreview/{clientId}`: a webhook token authenticator of kube-apiserver, for the
//! clients of `--token-review-client`.
//!
//! End users become Kubernetes users whose names and groups begin with `anon:`, so that no token can
//! make its holder a user of the `system:` namespace. kube-apiserver caches a response without an
//! `error`, and neither caches nor retries one with it. So `error` says that the result is unknown, or
//! that the configuration is wrong, and never that a token is invalid.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::identity::{claims, encode};
use super::{Presented, TOKEN_REVIEW, gateway};
use crate::domain::ids::{ObjectName, SdkClientId};
use crate::domain::principal::{AppUser, Principal, Verified};
use crate::domain::reason::Reason;
use crate::domain::token::MAX_TOKEN_BYTES;
use crate::server::body::JsonBody;
use crate::server::error::no_such_path;
use crate::server::response::json;
use crate::server::{ApiError, ValidatorState};

const V1: &str = "authentication.k8s.io/v1";
/// The default of kube-apiserver's `--authentication-token-webhook-version`. Its fields are those of
/// v1.
const V1BETA1: &str = "authentication.k8s.io/v1beta1";

/// A TokenReview as kube-apiserver sends it. Its other members have no effect.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReviewRequest {
    /// `authentication.k8s.io/v1` or `authentication.k8s.io/v1beta1`.
    api_version: String,
    /// `TokenReview`.
    kind: String,
    /// What is reviewed.
    spec: TokenReviewSpec,
}

/// What is reviewed.
#[derive(Deserialize, JsonSchema)]
pub struct TokenReviewSpec {
    /// The appUserIdToken.
    token: String,
    /// The token must have one of these in `aud`.
    #[serde(default)]
    audiences: Option<Vec<String>>,
}

/// The result of a review.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReviewResponse {
    api_version: &'static str,
    #[schemars(extend("const" = "TokenReview"))]
    kind: &'static str,
    status: TokenReviewStatus,
}

/// Whether the token is valid, and whose it is.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TokenReviewStatus {
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    /// Which of the requested audiences the token is valid for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    audiences: Vec<String>,
    /// Why the result is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// A Kubernetes user.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct User {
    /// `anon:<namespace>:<UserPool>:<appUserId>`, the last one percent-encoded.
    username: String,
    /// The id of the pool and the appUserId.
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<&'static str, [String; 1]>,
}

/// Reviews a token.
pub async fn review(
    State(state): State<Arc<ValidatorState>>,
    Path(client): Path<String>,
    body: JsonBody<TokenReviewRequest>,
) -> Result<Response, ApiError> {
    // Another client is not served at all.
    let client = SdkClientId::parse(&client);
    let Some(client) = client.filter(|id| state.settings.token_review_clients.contains(id)) else {
        return Err(no_such_path().await);
    };
    let JsonBody(TokenReviewRequest { api_version, kind, spec }) = body;
    let api_version = [V1, V1BETA1].into_iter().find(|version| *version == api_version);
    let api_version = api_version.filter(|_| kind == "TokenReview").ok_or_else(|| {
        let message = format!("the body must be a TokenReview of `{V1}` or `{V1BETA1}`");
        ApiError::invalid_field("apiVersion", message)
    })?;
    let TokenReviewSpec { token, audiences } = spec;
    let token = Zeroizing::new(token);
    let presented = presented(&state, client, &token);
    let verdict = TOKEN_REVIEW.authenticate(&state, presented).await;
    let status = status(&state, verdict, audiences.unwrap_or_default());
    let response = TokenReviewResponse { api_version, kind: "TokenReview", status };
    Ok(json(StatusCode::OK, &response))
}

fn presented<'r>(
    state: &ValidatorState,
    client: SdkClientId,
    credential: &'r str,
) -> Result<Presented<'r>, Reason> {
    let client = gateway::bound_client(state, Some(client))?;
    match credential.len() {
        0 => Err(Reason::CredentialMissing),
        1..=MAX_TOKEN_BYTES => Ok(gateway::bound_to(&client, credential)),
        _ => Err(Reason::CredentialTooLarge),
    }
}

fn status(
    state: &ValidatorState,
    verdict: Result<Verified, Reason>,
    audiences: Vec<String>,
) -> TokenReviewStatus {
    let result = verdict.and_then(|verified| {
        let Principal::AppUser(user) = verified.principal() else {
            return Err(Reason::CredentialKindRefused);
        };
        // Deleted since.
        let pool = state.reader.pool(user.pool).ok_or(Reason::PoolNotFound)?;
        authenticated(user, &pool.name, audiences)
    });
    result.unwrap_or_else(|reason| {
        let (status, _) = gateway::rejection(reason);
        let error = (status != StatusCode::UNAUTHORIZED).then(|| reason.message());
        TokenReviewStatus { error, ..TokenReviewStatus::default() }
    })
}

/// A token is valid for those of the requested audiences that it has, so that a token for another
/// backend is not one for kube-apiserver.
fn authenticated(
    user: &AppUser,
    pool: &ObjectName,
    mut audiences: Vec<String>,
) -> Result<TokenReviewStatus, Reason> {
    if !audiences.is_empty() {
        let claims = claims(user);
        let of_token = claims.get("aud");
        audiences.retain(|wanted| {
            let items = of_token.and_then(Value::as_array).into_iter().flatten();
            let mut all = of_token.into_iter().chain(items);
            all.any(|aud| aud.as_str() == Some(wanted.as_str()))
        });
        if audiences.is_empty() {
            return Err(Reason::AudienceMismatch);
        }
    }
    let user = Some(kubernetes_user(user, pool));
    Ok(TokenReviewStatus { authenticated: true, user, audiences, error: None })
}

/// The Kubernetes user that an end user is. Namespaces and names of pools contain no colon, so two
/// users never have the same name. Groups never come from claims.
fn kubernetes_user(user: &AppUser, pool: &ObjectName) -> User {
    let ObjectName { namespace, name } = pool;
    let id = encode(&user.app_user_id);
    User {
        username: format!("anon:{namespace}:{name}:{id}"),
        uid: format!("{}:{id}", user.pool),
        groups: vec![
            format!("anon:organization:{namespace}"),
            format!("anon:pool:{namespace}:{name}"),
        ],
        extra: BTreeMap::from([
            ("anon.dev/organization-id", [user.organization.to_string()]),
            ("anon.dev/user-pool-id", [user.pool.to_string()]),
            ("anon.dev/sdk-client-id", [user.client.to_string()]),
            ("anon.dev/app-user-id", [id]),
        ]),
    }
}
