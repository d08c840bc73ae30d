//! `/org/member` and `/org/members`.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::caller::{Caller, authorize};
use super::gitops::{Force, deletable, ensure_not_externally_managed};
use super::resources::{self, find, namespaced_api};
use super::{audit, last_admin, reply, sessions};
use crate::crd;
use crate::domain::ids::{MemberId, OrganizationId, PasswordId};
use crate::domain::member::Member;
use crate::domain::operation::Operation;
use crate::domain::password::{Password, PasswordHash};
use crate::domain::role::Role;
use crate::names;
use crate::server::request::Fields;
use crate::server::{ApiError, ApiState};
use crate::validate;

/// A member in the form of a response.
pub fn show(member: &crd::Member) -> Value {
    let namespace = member.namespace().unwrap_or_default();
    json!({
        "id": MemberId::derive(&namespace, &member.name_any()),
        "name": name_of(member),
        "email": member.spec.email,
        "organizationId": OrganizationId::derive(&namespace),
        "role": member.spec.role,
    })
}

fn name_of(member: &crd::Member) -> String {
    member.spec.display_name.clone().unwrap_or_else(|| member.name_any())
}

/// Creates a member with a password.
pub async fn create(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::CreateMember;
    let caller = authorize(&state, &headers, operation).await?;
    let fields = caller.fields(body)?;
    let spec = crd::MemberSpec {
        display_name: Some(fields.name()?),
        email: email(&fields)?,
        role: role(&fields)?.ok_or_else(|| {
            ApiError::missing_field("role", "`role` is required: Admin, Member or ReadOnly")
        })?,
        password_secret_ref: None,
        kubernetes: None,
        suspended: None,
    };
    let password = fields.required("password")?;
    let password = Password::chosen(password)
        .map_err(|refused| ApiError::invalid_field("password", refused.to_string()))?;
    drop(fields);
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
    Ok(reply(&show(&object)))
}

/// Returns a member.
pub async fn get(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::GetMember).await?;
    let member: crd::Member = find(&state, &caller, path).await?;
    Ok(reply(&show(&member)))
}

/// Returns all members.
pub async fn list(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = authorize(&state, &headers, Operation::ListMembers).await?;
    let members: Vec<crd::Member> = resources::list(&state, &caller).await?;
    let item = |member: &crd::Member| {
        json!({
            "id": MemberId::derive(&caller.namespace, &member.name_any()),
            "name": name_of(member),
            "email": member.spec.email,
            "role": member.spec.role,
            "createdAt": member.metadata.creation_timestamp,
        })
    };
    let items: Vec<_> = members.iter().map(item).collect();
    Ok(reply(&json!({"resource": "Member", "items": items})))
}

/// Changes a member. A new password or a suspension ends all of its sessions.
pub async fn patch(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let operation = Operation::PatchMember;
    let caller = authorize(&state, &headers, operation).await?;
    let fields = caller.fields(body)?;
    let mut spec = Map::new();
    fields.patch_name(&mut spec)?;
    let email = fields.value("email").map(|_| email(&fields)).transpose()?;
    let role = role(&fields)?;
    spec.extend(role.map(|role| ("role".to_owned(), json!(role))));
    let suspended = fields.bool("suspended")?;
    spec.extend(suspended.map(|suspended| ("suspended".to_owned(), json!(suspended))));
    let password = fields.string("password")?.map(Password::chosen).transpose();
    let password =
        password.map_err(|refused| ApiError::invalid_field("password", refused.to_string()))?;
    drop(fields);
    let object: crd::Member = find(&state, &caller, path).await?;
    if let Some(email) = email {
        if email_taken(&state, &caller, &email, Some(&object)) {
            return Err(email_in_use());
        }
        spec.insert("email".to_owned(), json!(email));
    }
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
    let api = namespaced_api(&state, &caller);
    let leaves = role.is_some_and(|role| role < Role::Admin) || suspended == Some(true);
    let object = if leaves { last_admin::reserve(&state, &caller, object).await? } else { object };
    if object.annotations().contains_key(names::LEAVING) {
        annotations.insert(names::LEAVING.to_owned(), Value::Null);
    }
    let patched = resources::patch_with(&state, &api, &object, annotations.into(), spec.into());
    let patched = match patched.await {
        Ok(patched) => patched,
        Err(error) => {
            last_admin::release(&api, &object).await;
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
    audit::object(&member.id);
    Ok(reply(&true))
}

/// Deletes a member, with its password and sessions.
pub async fn delete(
    State(state): State<ApiState>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let operation = Operation::DeleteMember;
    let caller = authorize(&state, &headers, operation).await?;
    let force = Force::read(&caller, query.as_deref())?;
    let object: crd::Member = find(&state, &caller, path).await?;
    deletable(&object, force)?;
    let object = last_admin::reserve(&state, &caller, object).await?;
    let api = namespaced_api(&state, &caller);
    if let Err(error) = resources::delete(&state, &api, &object, force).await {
        last_admin::release(&api, &object).await;
        return Err(error);
    }
    if let Ok(member) = validate::member(&object) {
        // Now, and not by garbage collection: a member with the same name may be created.
        if let Some(id) = member.password_id {
            let removed = state.platform.passwords.remove(&member, id).await;
            removed.map_err(|error| resources::refused(&error))?;
        }
    }
    audit::object(&MemberId::derive(&caller.namespace, &object.name_any()));
    Ok(reply(&true))
}

async fn create_password(
    state: &ApiState,
    member: &Member,
    id: PasswordId,
    hash: &PasswordHash,
) -> Result<bool, ApiError> {
    let created = state.platform.passwords.create(member, id, hash).await;
    created.map_err(|error| resources::refused(&error))
}

/// Cleans up once the Member refers to another password than in `before`. Nothing depends on it:
/// the sessions that began with the old password are already invalid, and nobody can log in with
/// it.
async fn after_change(state: &ApiState, before: &Member, now: PasswordId) -> Result<(), ApiError> {
    sessions::end(state, &before.name, |session| session.password != Some(now)).await?;
    if let Some(old) = before.password_id.filter(|old| *old != now) {
        let removed = state.platform.passwords.remove(before, old).await;
        removed.map_err(|error| resources::refused(&error))?;
    }
    Ok(())
}

/// The e-mail address in a body, in the form that the CRD requires.
pub fn email(fields: &Fields) -> Result<String, ApiError> {
    let email = fields.required("email")?.trim();
    let parts = email.split_once('@').filter(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !host.contains('@') && email.chars().count() <= 254
    });
    let odd = |char: char| char.is_whitespace() || char.is_control();
    if parts.is_none() || email.chars().any(odd) {
        return Err(ApiError::invalid_field("email", "`email` must be an e-mail address"));
    }
    Ok(email.to_owned())
}

fn email_taken(
    state: &ApiState,
    caller: &Caller,
    email: &str,
    except: Option<&crd::Member>,
) -> bool {
    let members = state.reader.members_by_email(&Member::login_name(email));
    members.iter().any(|member| {
        member.organization == caller.organization
            && except.is_none_or(|except| except.name_any() != member.name.name)
    })
}

fn email_in_use() -> ApiError {
    ApiError::unprocessable("another member of the organization has this e-mail address")
}

fn role(fields: &Fields) -> Result<Option<Role>, ApiError> {
    let Some(text) = fields.string("role")? else { return Ok(None) };
    let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
    role.map(Some)
        .ok_or_else(|| ApiError::invalid_field("role", "`role` must be Admin, Member or ReadOnly"))
}
