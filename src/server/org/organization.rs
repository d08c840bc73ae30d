//! `/org/organization/{organizationId}`.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::caller::{Caller, authorize};
use super::gitops::{Force, deletable};
use super::resources::{self, ApiObject, Objects, id_in_path, namespaced_api, unknown};
use super::{audit, members, reply};
use crate::crd;
use crate::domain::ids::OrganizationId;
use crate::domain::operation::Operation;
use crate::kube_ext::api::ReadExt as _;
use crate::server::{ApiError, ApiState};

/// The name of the one Organization object that a namespace can have.
const DEFAULT: &str = "default";

/// Returns the organization and its members.
pub async fn get(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetOrganization).await?;
    only_own(&caller, path)?;
    let object = stored(&namespaced_api(&state, &caller)).await?;
    let members: Vec<crd::Member> = resources::list(&state, &caller).await?;
    let spec = object.map(|object| object.spec).unwrap_or_default();
    Ok(reply(&show(&caller.namespace, spec, &members)))
}

/// An organization in the form of a response.
pub fn show(
    namespace: &str,
    spec: crd::OrganizationSpec,
    members: &[crd::Member],
) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(OrganizationId::derive(namespace)));
    let name = spec.display_name.unwrap_or_else(|| namespace.to_owned());
    shown.insert("name".to_owned(), json!(name));
    shown.extend(spec.logo_url.map(|url| ("logoUrl".to_owned(), json!(url))));
    let members: Vec<_> = members.iter().map(members::show).collect();
    shown.insert("members".to_owned(), json!(members));
    shown
}

/// Changes name and logo. Creates the Organization object if there is none.
pub async fn patch(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::PatchOrganization;
    let caller = authorize(&state, &headers, operation).await?;
    only_own(&caller, path)?;
    let fields = caller.fields(body)?;
    let mut spec = Map::new();
    fields.patch_name(&mut spec)?;
    fields.patch_text("logoUrl", &mut spec)?;
    drop(fields);
    let api = namespaced_api(&state, &caller);
    let object = if let Some(object) = stored(&api).await? {
        object
    } else {
        let make = |_: &str| crd::Organization::new(DEFAULT, crd::OrganizationSpec::default());
        resources::create(&state, &caller, DEFAULT, &Value::Null, make).await?
    };
    resources::patch(&state, &api, &object, Value::Object(spec)).await?;
    audit::object(&caller.organization);
    Ok(reply(&true))
}

/// Deletes what makes the namespace an organization: clients, pools, members and the Organization
/// object. The namespace and all other objects in it are retained.
pub async fn delete(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let operation = Operation::DeleteOrganization;
    let caller = authorize(&state, &headers, operation).await?;
    only_own(&caller, path)?;
    let force = Force::read(&caller, query.as_deref())?;
    let clients: Vec<crd::SdkClient> = all(&state, &caller, force).await?;
    let pools: Vec<crd::UserPool> = all(&state, &caller, force).await?;
    let people: Vec<crd::Member> = all(&state, &caller, force).await?;
    let organizations: Vec<crd::Organization> = all(&state, &caller, force).await?;
    // The members last, so that an Admin whose request is interrupted can repeat it.
    each(&state, &caller, &clients, force).await?;
    each(&state, &caller, &pools, force).await?;
    each(&state, &caller, &organizations, force).await?;
    each(&state, &caller, &people, force).await?;
    audit::object(&caller.organization);
    Ok(reply(&true))
}

/// All objects of a kind. Fails if another tool manages one of them and would re-create it.
async fn all<K: ApiObject>(
    state: &ApiState,
    caller: &Caller,
    force: Force,
) -> Result<Vec<K>, ApiError> {
    let found: Vec<K> = resources::list(state, caller).await?;
    for object in &found {
        deletable(object, force)?;
    }
    Ok(found)
}

async fn each<K: ApiObject>(
    state: &ApiState,
    caller: &Caller,
    objects: &[K],
    force: Force,
) -> Result<(), ApiError> {
    let api = namespaced_api(state, caller);
    for object in objects {
        resources::delete(state, &api, object, force).await?;
    }
    Ok(())
}

async fn stored(api: &Objects<crd::Organization>) -> Result<Option<crd::Organization>, ApiError> {
    let found = api.find(DEFAULT).await.map_err(|error| resources::refused(&error))?;
    Ok(found.filter(|found| found.metadata.deletion_timestamp.is_none()))
}

/// A caller has only one organization, so any other id is unknown.
fn only_own(caller: &Caller, path: Result<Path<String>, PathRejection>) -> Result<(), ApiError> {
    let id = id_in_path(path, OrganizationId::parse)?;
    if id == caller.organization { Ok(()) } else { Err(unknown()) }
}
