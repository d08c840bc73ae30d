//! `/org/organization/{organizationId}`.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit;
use super::caller::Caller;
use super::fields::{Name, SpecPatch, or_empty};
use super::gitops::{Force, deletable};
use super::members::Member;
use super::resources::{self, ById, namespaced_api};
use super::route::{Reply, changed, reply};
use crate::crd::{self, CustomKind};
use crate::domain::constraint::{LOGO_URL, MAX_URL};
use crate::domain::ids::OrganizationId;
use crate::kube_ext::api::ReadExt as _;
use crate::server::body::JsonBody;
use crate::server::{ApiError, ApiState};

/// An organization and its members.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    id: OrganizationId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    members: Vec<Member>,
}

impl Organization {
    /// An organization in the form of a response.
    pub fn of(namespace: &str, spec: crd::OrganizationSpec, members: &[crd::Member]) -> Self {
        Self {
            id: OrganizationId::derive(namespace),
            name: spec.display_name.unwrap_or_else(|| namespace.to_owned()),
            logo_url: spec.logo_url,
            members: members.iter().map(Member::of).collect(),
        }
    }
}

/// Changes to an organization. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrganizationPatch {
    name: Option<Name>,
    /// URL of the logo: http or https, at most 2048 characters. Empty removes it.
    #[schemars(length(max = MAX_URL), regex(pattern = or_empty(LOGO_URL)))]
    logo_url: Option<String>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Returns the organization and its members.
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::Organization>,
) -> Result<Reply<Organization>, ApiError> {
    let object = stored(&id).await?;
    let members: Vec<crd::Member> = resources::list(&state, &caller).await?;
    let spec = object.map(|object| object.spec).unwrap_or_default();
    Ok(reply(Organization::of(&caller.namespace, spec, &members)))
}

/// Changes name and logo. Creates the Organization object if there is none.
pub async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::Organization>,
    JsonBody(body): JsonBody<OrganizationPatch>,
) -> Result<Reply<bool>, ApiError> {
    let mut spec = SpecPatch::default();
    spec.set("displayName", body.name.map(Name::checked).transpose()?);
    spec.text("logoUrl", body.logo_url);
    let (object, created) = if let Some(object) = stored(&id).await? {
        (object, false)
    } else {
        let make = |_: &str| crd::Organization::new(&id.name, crd::OrganizationSpec::default());
        (resources::create(&state, &caller, &id.name, &Value::Null, make).await?, true)
    };
    let patched = resources::patch(&state, &id.api, &object, spec).await?;
    audit::object(&caller.organization);
    Ok(changed(created || resources::differ(&object, &patched), true))
}

/// Deletes what makes the namespace an organization: clients, pools, members and the Organization
/// object. The namespace and all other objects in it are retained.
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    _: ById<crd::Organization>,
    force: Force,
) -> Result<Reply<bool>, ApiError> {
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
    Ok(reply(true))
}

/// All objects of a kind. Fails if another tool manages one of them and would re-create it.
async fn all<K: CustomKind>(
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

async fn each<K: CustomKind>(
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

/// The object, if there is one. An organization exists without it.
async fn stored(id: &ById<crd::Organization>) -> Result<Option<crd::Organization>, ApiError> {
    let found = id.api.find(&id.name).await.map_err(|error| resources::refused(&error))?;
    Ok(found.filter(|found| found.metadata.deletion_timestamp.is_none()))
}
