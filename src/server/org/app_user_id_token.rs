//! `POST /org/appUserIdToken`: issues a token for an end user of a hosted pool.

use std::sync::Arc;

use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{error, warn};
use uuid::Uuid;

use crate::domain::client::SdkClient;
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::policy::Audience;
use crate::domain::pool::{Hosted, Source, UserPool};
use crate::domain::reason::Reason;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::token::{HostedClaims, MAX_APP_USER_ID_BYTES, sign};
use crate::server::body::JsonBody;
use crate::server::{ApiError, ApiState};

use super::audit;
use super::caller::Caller;
use super::fields::filled;
use super::route::{Reply, reply};
use super::signer::ActiveKey;

/// The user that a token is issued for, and how long it is valid.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppUserIdTokenRequest {
    /// The id of the user in your own system: at most 255 bytes.
    #[schemars(length(min = 1), example = "user-1".to_owned())]
    app_user_id: String,
    /// The webapp client that the user comes through. It determines the pool, and is a claim of the
    /// token.
    sdk_client_id: Option<String>,
    /// The pool, if no client is specified. By default, that of the organization.
    user_pool_id: Option<String>,
    /// When the token expires: an absolute time in seconds since 1970, not a lifetime. Defaults to
    /// the UserPool's default lifetime, six months unless configured.
    #[schemars(range(max = u32::MAX), example = 1_893_456_000)]
    exp: Option<u32>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// A token of an end user.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppUserIdToken {
    /// A JWT (RFC 7519), to be sent as a bearer token.
    app_user_id_token: String,
}

/// What the token is issued for.
struct Target {
    pool: Arc<UserPool>,
    client: Option<SdkClientId>,
}

/// Authenticates, authorizes, resolves the pool, signs.
pub async fn mint(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<AppUserIdTokenRequest>,
) -> Result<Reply<AppUserIdToken>, ApiError> {
    let app_user_id = app_user_id(filled(Some(body.app_user_id)))?;
    let target = target(&state, &caller, body.sdk_client_id, body.user_pool_id)?;
    let hosted = hosted(&target.pool)?;
    let now = state.clock.now();
    let expires_at = expiry(body.exp, hosted, now)?;

    if target.pool.active_key().is_none() {
        return Err(no_keys());
    }
    // A key that validators do not know must not sign, and no token may outlive its key, as
    // recorded in the Secret.
    let lifetime = SignedDuration::from_secs(expires_at.saturating_sub(now.as_second()));
    let revocations = state.reader.revocations(RevocationTarget::UserPool, &target.pool.name, now);
    let refused = |it: &Arc<Revocation>| it.covers_token(&app_user_id, None, Some(now));
    if let Some(reason) = revocations.iter().find_map(refused) {
        let reason = reason.message();
        return Err(ApiError::unprocessable(format!(
            "{reason}; a new token would be rejected too"
        )));
    }
    let may_sign = |key: &ActiveKey| {
        let published = target.pool.key(&key.kid, key.key.algorithm().into());
        let revoked = |it: &Arc<Revocation>| {
            it.covers_key(&key.kid, published.and_then(|published| published.published_at), now)
        };
        published.is_some() && key.longest_lifetime >= lifetime && !revocations.iter().any(revoked)
    };
    let key = state.signer.key(target.pool.id, may_sign).await.map_err(|error| {
        warn!(pool = %target.pool.id, %error, "failed to read the signing key");
        no_keys()
    })?;
    let active = key.ok_or_else(no_keys)?;
    let claims = HostedClaims {
        iss: &active.issuer,
        sub: &app_user_id,
        aud: audience(&target),
        iat: now.as_second(),
        nbf: now.as_second(),
        exp: expires_at,
        jti: Uuid::new_v4().to_string(),
        sdk_client_id: target.client,
        user_pool_id: target.pool.id,
    };
    let app_user_id_token = sign(&active.key, &active.kid, &claims).map_err(|error| {
        error!(pool = %target.pool.id, %error, "failed to sign a token");
        ApiError::internal()
    })?;
    state.metrics.token_issued();
    audit::object(&target.pool.id);
    Ok(reply(AppUserIdToken { app_user_id_token }))
}

/// A checked appUserId.
pub fn app_user_id(id: Option<String>) -> Result<String, ApiError> {
    let field = "appUserId";
    let id = id.ok_or_else(|| {
        let message = "`appUserId` is required: the id of the user in your own system";
        ApiError::missing_field(field, message)
    })?;
    if id.len() > MAX_APP_USER_ID_BYTES {
        let message = format!("`appUserId` must have at most {MAX_APP_USER_ID_BYTES} bytes");
        return Err(ApiError::invalid_field(field, message));
    }
    if id.chars().any(char::is_control) {
        let message = "`appUserId` must not contain control characters";
        return Err(ApiError::invalid_field(field, message));
    }
    Ok(id)
}

/// The pool given by `sdkClientId`, by `userPoolId`, or by the organization's defaults.
fn target(
    state: &ApiState,
    caller: &Caller,
    client: Option<String>,
    pool: Option<String>,
) -> Result<Target, ApiError> {
    let own = caller.organization;
    let by_client = client.map(|id| by_client(state, own, &id)).transpose()?;
    let by_pool = pool
        .map(|id| {
            let pool = state.reader.own::<UserPool>(own, &id);
            pool.ok_or_else(|| ApiError::not_found("UserPool not found"))
        })
        .transpose()?;
    match (by_client, by_pool) {
        (Some(target), Some(pool)) if target.pool.id != pool.id => Err(ApiError::invalid_field(
            "userPoolId",
            "`userPoolId` is not the pool of `sdkClientId`; leave one of them out",
        )),
        (Some(target), _) => Ok(target),
        (None, Some(pool)) => Ok(Target { pool, client: None }),
        (None, None) => by_default(state, caller),
    }
}

fn by_client(state: &ApiState, own: OrganizationId, id: &str) -> Result<Target, ApiError> {
    let client = state.reader.own::<SdkClient>(own, id);
    let client = client.ok_or_else(|| ApiError::not_found("SdkClient not found"))?;
    of_client(state, &client)
}

fn of_client(state: &ApiState, client: &SdkClient) -> Result<Target, ApiError> {
    let pool = client
        .live_pool()
        .map_err(|reason| ApiError::invalid_field("sdkClientId", reason.message()))?;
    let pool = state.reader.find_pool(pool).map_err(|reason| match reason {
        Reason::PoolNotFound => ApiError::unprocessable(reason.message()),
        _ => no_keys(),
    })?;
    Ok(Target { pool, client: Some(client.id) })
}

fn by_default(state: &ApiState, caller: &Caller) -> Result<Target, ApiError> {
    let own = caller.organization;
    let organization = state.reader.organization(own);
    if let Some(organization) = &organization {
        let namespace = &organization.namespace;
        if let Some(name) = &organization.default_sdk_client {
            let client = ObjectName { namespace: namespace.clone(), name: name.clone() };
            let client = state.reader.client_named(&client).ok_or_else(|| {
                ApiError::missing_field("sdkClientId", format!("`sdkClientId` is required: the organization's default client `{name}` does not exist"))
            })?;
            return of_client(state, &client);
        }
        if let Some(name) = &organization.default_user_pool {
            let pool = state.reader.pool(UserPoolId::derive(namespace, name));
            let pool = pool.ok_or_else(|| {
                ApiError::missing_field("userPoolId", format!("`userPoolId` is required: the organization's default pool `{name}` does not exist"))
            })?;
            return Ok(Target { pool, client: None });
        }
    }
    let hosted = |pool: &Arc<UserPool>| matches!(pool.source, Source::Hosted(_));
    let mut pools = state.reader.pools_of(own).into_iter().filter(hosted);
    match (pools.next(), pools.next()) {
        (Some(pool), None) => Ok(Target { pool, client: None }),
        _ => Err(ApiError::missing_field(
            "userPoolId",
            "`userPoolId` or `sdkClientId` is required: the organization has neither a default nor exactly one hosted pool",
        )),
    }
}

/// Tokens of other pools are issued by the holder of their private keys.
fn hosted(pool: &UserPool) -> Result<&Hosted, ApiError> {
    match &pool.source {
        Source::Hosted(hosted) => Ok(hosted),
        Source::Provided(_) => Err(ApiError::unprocessable(
            "this operator issues tokens for hosted UserPools only; you hold the private keys of this one: use `kubectl anon token mint --jwks`",
        )),
        Source::Remote(_) | Source::Inline => Err(ApiError::unprocessable(
            "this operator issues tokens for hosted UserPools only; the tokens of this one come from your identity provider",
        )),
    }
}

/// `exp` is an absolute NumericDate. A lifetime above the pool's maximum is rejected, not
/// shortened.
fn expiry(exp: Option<u32>, hosted: &Hosted, now: Timestamp) -> Result<i64, ApiError> {
    let now = now.as_second();
    let Some(exp) = exp.map(i64::from) else {
        return Ok(now.saturating_add(hosted.default_lifetime.as_secs()));
    };
    if exp <= now {
        return Err(ApiError::invalid_field(
            "exp",
            "`exp` is in the past: it is the time of expiry in seconds since 1970, not a lifetime",
        ));
    }
    let latest = now.saturating_add(hosted.max_lifetime.as_secs());
    if exp > latest {
        return Err(ApiError::invalid_field(
            "exp",
            format!(
                "`exp` exceeds the maximum token lifetime of the UserPool; it can currently be at most {latest}"
            ),
        ));
    }
    Ok(exp)
}

fn audience(target: &Target) -> Vec<String> {
    match &target.pool.claims.audience {
        Audience::OneOf(audiences) => audiences.clone(),
        Audience::Own | Audience::Any => {
            vec![target.client.map_or_else(|| target.pool.id.to_string(), |id| id.to_string())]
        }
    }
}

fn no_keys() -> ApiError {
    ApiError::unavailable("the UserPool's signing key is currently unavailable; try again")
}
