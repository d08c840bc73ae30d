//! `/org/member` and `/org/members`.

use axum::extract::State;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::fields::{Email, Name, NewPassword, SpecPatch};
use super::gitops::{Force, deletable, ensure_not_externally_managed};
use super::list::{List, Range};
use super::resources::{self, ById, namespaced_api};
use super::route::{Reply, changed, reply};
use super::{audit, last_admin, sessions};
use crate::crd;
use crate::domain::ids::{MemberId, OrganizationId, PasswordId};
use crate::domain::password::PasswordHash;
use crate::domain::role::Role;
use crate::names;
use crate::server::body::{JsonBody, Word};
use crate::server::{ApiError, ApiState};
use crate::{domain, validate};

/// A staff user of the organization.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    id: MemberId,
    name: String,
    email: String,
    organization_id: OrganizationId,
    role: Role,
    /// While true, the member cannot log in.
    suspended: bool,
}

impl Member {
    /// A member in the form of a response.
    pub fn of(member: &crd::Member) -> Self {
        let namespace = member.namespace().unwrap_or_default();
        Self {
            id: MemberId::derive(&namespace, &member.name_any()),
            name: name_of(member),
            email: member.spec.email.clone(),
            organization_id: OrganizationId::derive(&namespace),
            role: member.spec.role,
            suspended: member.spec.suspended.unwrap_or_default(),
        }
    }
}

/// A member in a list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberItem {
    id: MemberId,
    name: String,
    email: String,
    role: Role,
    #[schemars(with = "String", extend("format" = "date-time"))]
    created_at: Option<Time>,
    suspended: bool,
}

/// A new member.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberCreate {
    name: Name,
    email: Email,
    password: NewPassword,
    /// Permissions of the member: Admin, Member or ReadOnly.
    role: Word<Role>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

/// Changes to a member. What is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberPatch {
    name: Option<Name>,
    email: Option<Email>,
    /// Ends all sessions of the member.
    password: Option<NewPassword>,
    /// Permissions of the member: Admin, Member or ReadOnly.
    role: Option<Word<Role>>,
    /// While true, the member cannot log in. Ends all of its sessions.
    suspended: Option<bool>,
    /// The caller's own organization.
    #[serde(rename = "organizationId")]
    _organization_id: Option<String>,
}

fn name_of(member: &crd::Member) -> String {
    member.spec.display_name.clone().unwrap_or_else(|| member.name_any())
}

/// Creates a member with a password.
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<MemberCreate>,
) -> Result<Reply<Member>, ApiError> {
    let spec = crd::MemberSpec {
        display_name: Some(body.name.checked()?),
        email: body.email.checked()?,
        role: body.role.0,
        password_secret_ref: None,
        kubernetes: None,
        suspended: None,
    };
    let password = body.password.checked()?;
    // Without the password, which could be guessed from the fingerprint of the request.
    let content = serde_json::to_value(&spec).unwrap_or_default();
    let wish = spec.display_name.clone().unwrap_or_default();
    let make = |name: &str| {
        let mut member = crd::Member::new(name, spec.clone());
        let id = PasswordId::random().to_string();
        member.annotations_mut().insert(names::PASSWORD_ID.to_owned(), id);
        member
    };
    let taken = email_taken(&state, &caller, &spec.email, None);
    let repeated = resources::repeated(&state, &caller, &wish, &content).await?;
    let object = match repeated {
        Some(object) => object,
        None if taken => return Err(email_in_use()),
        None => resources::create(&state, &caller, &wish, &content, make).await?,
    };
    let member = validate::member(&object).map_err(|_| ApiError::internal())?;
    let hash = state.platform.passwords.hash(password).await?;
    let made = match member.password_id {
        Some(id) => create_password(&state, &member, id, &hash).await?,
        None => false,
    };
    if !made {
        // Either the first of two identical requests got further, perhaps with another password, or
        // the annotation has been removed.
        let id = PasswordId::random();
        create_password(&state, &member, id, &hash).await?;
        let annotations = json!({ names::PASSWORD_ID: id.to_string() });
        let api = namespaced_api(&state, &caller);
        resources::patch_with(&state, &api, &object, annotations, json!({})).await?;
        after_change(&state, &member, id).await?;
    }
    audit::object(&member.id);
    Ok(reply(Member::of(&object)))
}

/// Returns a member.
pub async fn get(id: ById<crd::Member>) -> Result<Reply<Member>, ApiError> {
    Ok(reply(Member::of(&id.read().await?)))
}

/// Returns the members.
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    range: Range,
) -> Result<Reply<List<MemberItem>>, ApiError> {
    let members: Vec<crd::Member> = resources::list(&state, &caller).await?;
    let item = |member: crd::Member| MemberItem {
        id: MemberId::derive(&caller.namespace, &member.name_any()),
        name: name_of(&member),
        email: member.spec.email,
        role: member.spec.role,
        created_at: member.metadata.creation_timestamp,
        suspended: member.spec.suspended.unwrap_or_default(),
    };
    Ok(reply(range.cut("Member", members, ResourceExt::name_any).map(item)))
}

/// Changes a member. A new password or a suspension ends all of its sessions.
pub async fn patch(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::Member>,
    JsonBody(body): JsonBody<MemberPatch>,
) -> Result<Reply<bool>, ApiError> {
    let (role, suspended) = (body.role.map(|it| it.0), body.suspended);
    let email = body.email.map(Email::checked).transpose()?;
    let password = body.password.as_ref().map(NewPassword::checked).transpose()?;
    drop(body.password);
    let mut spec = SpecPatch::default();
    spec.set("displayName", body.name.map(Name::checked).transpose()?);
    spec.set("role", role.map(Role::as_str));
    spec.set("suspended", suspended);
    let object = id.read().await?;
    if let Some(email) = &email
        && email_taken(&state, &caller, email, Some(&object))
    {
        return Err(email_in_use());
    }
    spec.set("email", email);
    let before = validate::member(&object).map_err(|_| ApiError::internal())?;
    if password.is_some() && object.spec.password_secret_ref.is_some() {
        return Err(ApiError::unprocessable(
            "the password of this member comes from a Secret: change it there",
        ));
    }
    // Checked before anything is written.
    ensure_not_externally_managed(&object)?;
    let mut annotations = Map::new();
    // Stored first; it takes effect once the Member refers to it.
    let new_password = if let Some(password) = password {
        let hash = state.platform.passwords.hash(password).await?;
        let id = PasswordId::random();
        create_password(&state, &before, id, &hash).await?;
        annotations.insert(names::PASSWORD_ID.to_owned(), json!(id.to_string()));
        Some(id)
    } else {
        None
    };
    let leaves = role.is_some_and(|role| role < Role::Admin) || suspended == Some(true);
    let object = if leaves { last_admin::reserve(&state, &caller, object).await? } else { object };
    if object.annotations().contains_key(names::LEAVING) {
        annotations.insert(names::LEAVING.to_owned(), Value::Null);
    }
    let patched = resources::patch_with(&state, &id.api, &object, annotations.into(), spec.into());
    let patched = match patched.await {
        Ok(patched) => patched,
        Err(error) => {
            last_admin::release(&id.api, &object).await;
            return Err(error);
        }
    };
    let member = validate::member(&patched).map_err(|_| ApiError::internal())?;
    if let Some(id) = new_password {
        after_change(&state, &before, id).await?;
    }
    if member.suspended {
        sessions::end(&state, &member.name, |_| true).await?;
    }
    let has_changed = new_password.is_some() || resources::differ(&object, &patched);
    Ok(changed(has_changed, true))
}

/// Deletes a member, with its password and sessions.
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    id: ById<crd::Member>,
    force: Force,
) -> Result<Reply<bool>, ApiError> {
    let object = id.read().await?;
    deletable(&object, force)?;
    let object = last_admin::reserve(&state, &caller, object).await?;
    if let Err(error) = resources::delete(&state, &id.api, &object, force).await {
        last_admin::release(&id.api, &object).await;
        return Err(error);
    }
    if let Ok(member) = validate::member(&object) {
        // Now, and not by garbage collection: a member with the same name may be created.
        if let Some(id) = member.password_id {
            let removed = state.platform.passwords.remove(&member, id).await;
            removed.map_err(|error| resources::refused(&error))?;
        }
    }
    Ok(reply(true))
}

async fn create_password(
    state: &ApiState,
    member: &domain::member::Member,
    id: PasswordId,
    hash: &PasswordHash,
) -> Result<bool, ApiError> {
    let created = state.platform.passwords.create(member, id, hash).await;
    created.map_err(|error| resources::refused(&error))
}

/// Cleans up once the Member refers to another password than in `before`. Nothing depends on it:
/// the sessions that began with the old password are already invalid, and nobody can log in with
/// it.
async fn after_change(
    state: &ApiState,
    before: &domain::member::Member,
    now: PasswordId,
) -> Result<(), ApiError> {
    sessions::end(state, &before.name, |session| session.password != Some(now)).await?;
    if let Some(old) = before.password_id.filter(|old| *old != now) {
        let removed = state.platform.passwords.remove(before, old).await;
        removed.map_err(|error| resources::refused(&error))?;
    }
    Ok(())
}

fn email_taken(
    state: &ApiState,
    caller: &Caller,
    email: &str,
    except: Option<&crd::Member>,
) -> bool {
    let members = state.reader.members_by_email(&domain::member::Member::login_name(email));
    members.iter().any(|member| {
        member.organization == caller.organization
            && except.is_none_or(|except| except.name_any() != member.name.name)
    })
}

fn email_in_use() -> ApiError {
    ApiError::unprocessable("another member of the organization has this e-mail address")
}
