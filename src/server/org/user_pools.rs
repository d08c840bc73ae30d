//! `/org/userPool` and `/org/userPools`.

use std::time::Duration;

use axum::extract::State;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::audit;
use super::caller::Caller;
use super::client_id::label;
use super::fields::{Authorization, Description, Name, SpecPatch, filled};
use super::gitops::Force;
use super::list::{List, Range};
use super::resources::{self, ById};
use super::route::{Reply, changed, reply};
use super::user_pool_jwks::{self, ShownAuthorization};
use crate::crd;
use crate::domain::ids::{OrganizationId, UserPoolId};
use crate::server::body::{JsonBody, Object};
use crate::server::{ApiError, ApiState};

/// How long the response to a POST waits for the pool's first key.
const FIRST_KEY_TIMEOUT: Duration = Duration::from_secs(5);

/// A group of end users.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserPool {
    organization_id: OrganizationId,
    #[serde(flatten)]
    pool: UserPoolItem,
}

/// A pool in a list.
#[derive(Serialize, JsonSchema)]
pub struct UserPoolItem {
    id: UserPoolId,
    name: String,
    description: String,
    authorization: ShownAuthorization,
    /// Whether this operator creates the keys of the pool and issues its tokens.
    hosted: bool,
}

/// A new pool. Without `authorization`, it is hosted: this operator creates its keys and issues its
/// tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserPoolCreate {
    name: Name,
    description: Option<Description>,
    authorization: Option<Object<Authorization>>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Changes to a pool. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserPoolPatch {
    name: Option<Name>,
    description: Option<Description>,
    /// Only for a pool that was created with `authorization`.
    authorization: Option<Object<Authorization>>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

fn item(state: &ApiState, caller: &Caller, pool: &crd::UserPool) -> UserPoolItem {
    UserPoolItem {
        id: UserPoolId::derive(&caller.namespace, &pool.name_any()),
        name: pool.spec.display_name.clone().unwrap_or_else(|| pool.name_any()),
        description: pool.spec.description.clone().unwrap_or_default(),
        authorization: ShownAuthorization::of(pool, &state.public_url),
        hosted: pool.spec.hosted.is_some(),
    }
}

fn show(state: &ApiState, caller: &Caller, pool: &crd::UserPool) -> UserPool {
    UserPool { organization_id: caller.organization, pool: item(state, caller, pool) }
}

/// Creates a pool: a hosted one, or with `authorization` one for the organization's own identity
/// provider.
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<UserPoolCreate>,
) -> Result<Reply<UserPool>, ApiError> {
    let description = body.description.map(Description::checked).transpose()?;
    let spec = spec(body.name.checked()?, description, body.authorization.map(|it| it.0))?;
    let pool = make(&state, &caller, spec).await?;
    let shown = show(&state, &caller, &pool);
    audit::object(&shown.pool.id);
    let end = Instant::now() + FIRST_KEY_TIMEOUT;
    let ready = || state.reader.pool(shown.pool.id).is_some_and(|pool| !pool.keys.is_empty());
    while !ready() && Instant::now() < end {
        sleep(Duration::from_millis(25)).await;
    }
    Ok(reply(shown))
}

/// The spec that these fields describe.
///
/// # Errors
/// The `jwksUri` is missing.
pub fn spec(
    name: String,
    description: Option<String>,
    authorization: Option<Authorization>,
) -> Result<crd::UserPoolSpec, ApiError> {
    let mut spec = crd::UserPoolSpec {
        display_name: Some(name),
        description: filled(description),
        ..crd::UserPoolSpec::default()
    };
    match authorization {
        Some(authorization) => user_pool_jwks::put(authorization, &mut spec)?,
        None => spec.hosted = Some(crd::Hosted::default()),
    }
    Ok(spec)
}

/// Creates a pool with this spec.
pub async fn make(
    state: &ApiState,
    caller: &Caller,
    spec: crd::UserPoolSpec,
) -> Result<crd::UserPool, ApiError> {
    let wish = spec.display_name.clone().unwrap_or_default();
    let content = serde_json::to_value(&spec).unwrap_or_default();
    let make = |name: &str| crd::UserPool::new(name, spec.clone());
    resources::create(state, caller, &wish, &content, make).await
}

/// Returns a pool.
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::UserPool>,
) -> Result<Reply<UserPool>, ApiError> {
    let pool = id.read().await?;
    Ok(reply(show(&state, &caller, &pool)))
}

/// Returns the pools.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    range: Range,
) -> Result<Reply<List<UserPoolItem>>, ApiError> {
    let pools: Vec<crd::UserPool> = resources::list(&state, &caller).await?;
    let list = range.cut("UserPool", pools, ResourceExt::name_any);
    Ok(reply(list.map(|pool| item(&state, &caller, &pool))))
}

/// Changes name, description, and the key set URL of the organization's own identity provider.
pub async fn patch(
    State(state): State<ApiState>,
    id: ById<crd::UserPool>,
    JsonBody(body): JsonBody<UserPoolPatch>,
) -> Result<Reply<bool>, ApiError> {
    let mut spec = SpecPatch::default();
    spec.texts(body.name, body.description)?;
    let pool = id.read().await?;
    if let Some(Object(authorization)) = body.authorization {
        user_pool_jwks::change(authorization, &pool, &mut spec)?;
    }
    let patched = resources::patch(&state, &id.api, &pool, spec).await?;
    Ok(changed(resources::differ(&pool, &patched), true))
}

/// Deletes a pool that no client uses.
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::UserPool>,
    force: Force,
) -> Result<Reply<bool>, ApiError> {
    let pool = id.read().await?;
    ensure_unused(&state, &caller, &pool).await?;
    resources::delete(&state, &id.api, &pool, force).await?;
    Ok(reply(true))
}

/// How many clients an error names.
const MAX_NAMED: usize = 10;

/// Checks that no client has the pool: the tokens of all users of such a client would be rejected.
///
/// # Errors
/// A client has it.
async fn ensure_unused(
    state: &ApiState,
    caller: &Caller,
    pool: &crd::UserPool,
) -> Result<(), ApiError> {
    let mut clients: Vec<crd::SdkClient> = resources::list(state, caller).await?;
    let is_user =
        |webapp: &crd::Webapp| Some(&webapp.user_pool_ref.name) == pool.metadata.name.as_ref();
    clients.retain(|client| client.spec.webapp.as_ref().is_some_and(is_user));
    if clients.is_empty() {
        return Ok(());
    }
    let named: Vec<_> =
        clients.iter().take(MAX_NAMED).map(|client| label(caller, client)).collect();
    let more = match clients.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(ApiError::unprocessable(format!(
        "the pool is in use; delete its clients first: {}{more}",
        named.join(", ")
    )))
}
