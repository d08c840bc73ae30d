//! `/org/userPool` and `/org/userPools`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::caller::{Caller, authorize};
use super::gitops::Force;
use super::resources::{self, find, namespaced_api};
use super::user_pool_jwks::{Authorization, Shown};
use super::{audit, reply};
use crate::crd;
use crate::domain::ids::{OrganizationId, UserPoolId};
use crate::domain::operation::Operation;
use crate::server::request::Fields;
use crate::server::{ApiError, ApiState};

/// How long the response to a POST waits for the pool's first key.
const FIRST_KEY_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool in the form of a response.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserPool {
    id: UserPoolId,
    name: String,
    description: String,
    authorization: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<OrganizationId>,
    hosted: bool,
}

/// A list of pools in the form of a response.
#[derive(Serialize)]
struct List {
    resource: &'static str,
    items: Vec<UserPool>,
}

fn show(state: &ApiState, caller: &Caller, pool: &crd::UserPool) -> UserPool {
    let id = UserPoolId::derive(&caller.namespace, &pool.name_any());
    UserPool {
        id,
        name: pool.spec.display_name.clone().unwrap_or_else(|| pool.name_any()),
        description: pool.spec.description.clone().unwrap_or_default(),
        authorization: Shown::of(pool, &state.public_url),
        organization_id: Some(caller.organization),
        hosted: pool.spec.hosted.is_some(),
    }
}

/// Creates a pool: a hosted one, or with `authorization` one for the organization's own identity
/// provider.
pub async fn create(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::CreateUserPool;
    let caller = authorize(&state, &headers, operation).await?;
    let spec = spec(&caller.fields(body)?)?;
    let pool = make(&state, &caller, spec).await?;
    let shown = show(&state, &caller, &pool);
    audit::object(&shown.id);
    let end = Instant::now() + FIRST_KEY_TIMEOUT;
    let ready = || state.reader.pool(shown.id).is_some_and(|pool| !pool.keys.is_empty());
    while !ready() && Instant::now() < end {
        sleep(Duration::from_millis(25)).await;
    }
    Ok(reply(&shown))
}

/// The spec that `name`, `description` and `authorization` describe.
pub fn spec(fields: &Fields) -> Result<crd::UserPoolSpec, ApiError> {
    let mut spec = crd::UserPoolSpec {
        display_name: Some(fields.name()?),
        description: fields.description()?,
        ..crd::UserPoolSpec::default()
    };
    match Authorization::read(fields)? {
        Some(authorization) => authorization.put(&mut spec),
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
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetUserPool).await?;
    let pool: crd::UserPool = find(&state, &caller, path).await?;
    Ok(reply(&show(&state, &caller, &pool)))
}

/// Returns all pools.
pub async fn list(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::ListUserPools).await?;
    let pools: Vec<crd::UserPool> = resources::list(&state, &caller).await?;
    let item = |pool| UserPool { organization_id: None, ..show(&state, &caller, pool) };
    Ok(reply(&List { resource: "UserPool", items: pools.iter().map(item).collect() }))
}

/// Changes name, description, and the key set URL of the organization's own identity provider.
pub async fn patch(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::PatchUserPool;
    let caller = authorize(&state, &headers, operation).await?;
    let fields = caller.fields(body)?;
    let authorization = Authorization::read(&fields)?;
    let mut spec = Map::new();
    fields.patch_texts(&mut spec)?;
    drop(fields);
    let pool: crd::UserPool = find(&state, &caller, path).await?;
    let change = authorization.map(|authorization| authorization.change(&pool)).transpose()?;
    spec.extend(change.unwrap_or_default());
    resources::patch(&state, &namespaced_api(&state, &caller), &pool, Value::Object(spec)).await?;
    audit::object(&show(&state, &caller, &pool).id);
    Ok(reply(&true))
}

/// Deletes a pool. Its clients are retained, and wait for a pool with the same name.
pub async fn delete(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let operation = Operation::DeleteUserPool;
    let caller = authorize(&state, &headers, operation).await?;
    let force = Force::read(&caller, query.as_deref())?;
    let pool: crd::UserPool = find(&state, &caller, path).await?;
    resources::delete(&state, &namespaced_api(&state, &caller), &pool, force).await?;
    audit::object(&show(&state, &caller, &pool).id);
    Ok(reply(&true))
}
