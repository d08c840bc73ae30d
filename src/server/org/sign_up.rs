//! `POST /org/organization`: creates an organization and its first Admin, for a caller who has no
//! credential yet. Disabled unless `--allow-sign-up` is set.
//!
//! A sign-up succeeds completely or not at all. An organization is a namespace, so the namespace is
//! created first, labeled as pending ([`reservation`]); then the hash of the password, the
//! Organization, and last the Member, before which nobody can log in. At the end the label is
//! removed. After a crash, the leader deletes a pending namespace that has no Member, and removes
//! the label of one that has ([`crate::controller`]'s `sign_ups`).
//!
//! If the same request is repeated within a minute, it continues with what exists already, provided
//! that its password is the stored one. With another password it creates another organization.

use std::fmt::Debug;

use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PartialObjectMeta, Patch};
use kube::{Resource, ResourceExt as _};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::fields::{Email, Name, NewPassword};
use super::idempotency::slug;
use super::organization::Organization;
use super::reservation::{self, ReservedNamespace};
use super::route::{Reply, reply};
use super::{audit, propagation, rate_limit, resources};
use crate::crd;
use crate::domain::digest::short_hex;
use crate::domain::ids::{OrganizationId, PasswordId};
use crate::domain::member::Member;
use crate::domain::role::Role;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::body::{JsonBody, Object};
use crate::server::{ApiError, ApiState};
use crate::validate;

/// A new organization.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrganizationCreate {
    name: Name,
    /// The first Admin.
    member: Object<FirstAdmin>,
}

/// The first Admin of a new organization.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FirstAdmin {
    name: Name,
    email: Email,
    password: NewPassword,
}

/// The checked fields of the request.
struct Wish {
    organization: String,
    name: String,
    email: String,
    password: NewPassword,
}

impl Wish {
    fn read(body: OrganizationCreate) -> Result<Self, ApiError> {
        let OrganizationCreate { name, member: Object(member) } = body;
        member.password.checked()?;
        Ok(Self {
            organization: name.checked()?,
            name: member.name.checked()?,
            email: member.email.checked()?,
            password: member.password,
        })
    }

    /// Identifies a repeated request. Without the password, which could be guessed from it.
    fn key(&self, minute: i64) -> String {
        let text = json!([self.organization, self.name, self.email, minute]).to_string();
        short_hex(text.as_bytes(), 16)
    }

    fn member(&self, namespace: &str) -> crd::Member {
        let spec = crd::MemberSpec {
            display_name: Some(self.name.clone()),
            email: self.email.clone(),
            role: Role::Admin,
            password_secret_ref: None,
            kubernetes: None,
            suspended: None,
        };
        let name = slug(&self.name).unwrap_or_else(|| "admin".to_owned());
        let mut member = crd::Member::new(&name, spec);
        member.metadata.namespace = Some(namespace.to_owned());
        member
    }
}

/// Creates the organization.
pub async fn sign_up(
    State(state): State<ApiState>,
    extensions: Extensions,
    headers: HeaderMap,
    JsonBody(body): JsonBody<OrganizationCreate>,
) -> Result<Reply<Organization>, ApiError> {
    if !state.platform.settings.allow_sign_up {
        return Err(ApiError::forbidden(
            "sign-up is disabled; ask your platform administrator to create the organization",
        ));
    }
    state.reader.answers()?;
    let wish = Wish::read(body)?;
    let peer = rate_limit::peer(&extensions, &headers, state.platform.settings.proxy_hops);
    state.platform.limits.sign_up(peer)?;
    let minute = state.clock.now().as_second() / 60;
    // These exist only if the same request was made before.
    for key in [wish.key(minute - 1), wish.key(minute)] {
        if let Some(reserved) = reservation::find(&state, &key).await?
            && let Some(reply) = complete(&state, &wish, &reserved).await?
        {
            return Ok(reply);
        }
    }
    state.platform.limits.sign_up_email(&Member::login_name(&wish.email))?;
    let random = uuid::Uuid::new_v4().simple().to_string();
    for key in [wish.key(minute), random] {
        let reserved = reservation::take(&state, &key).await?;
        if let Some(reply) = complete(&state, &wish, &reserved).await? {
            return Ok(reply);
        }
    }
    Err(ApiError::unavailable("no namespace could be reserved; try again"))
}

/// Creates the organization in the namespace, or continues where an earlier request was
/// interrupted. `None` if that had another password, or the namespace is not the one that was
/// created for it.
async fn complete(
    state: &ApiState,
    wish: &Wish,
    reserved: &ReservedNamespace,
) -> Result<Option<Reply<Organization>>, ApiError> {
    let refused = |error: kube::Error| resources::refused(&error);
    let (client, namespace) = (&state.platform.client, reserved.namespace.as_str());
    if pending(state, reserved).await?.is_none() {
        return Ok(None);
    }
    let mut member = wish.member(namespace);
    let parsed = validate::member(&member).map_err(|_| ApiError::internal())?;
    let id = PasswordId::derive(&["sign-up", &reserved.uid]);
    if !state.platform.passwords.claim(&parsed, id, wish.password.expose()).await? {
        return Ok(None);
    }
    member.annotations_mut().insert(names::PASSWORD_ID.to_owned(), id.to_string());

    let spec = crd::OrganizationSpec {
        display_name: Some(wish.organization.clone()),
        ..crd::OrganizationSpec::default()
    };
    let object = crd::Organization::new(validate::ORGANIZATION_NAME, spec.clone());
    created(&Api::namespaced(client.clone(), namespace), object).await.map_err(refused)?;
    let members: Api<Tolerant<crd::Member>> = Api::namespaced(client.clone(), namespace);
    created(&members, member.clone()).await.map_err(refused)?;
    let member = members.read(&member.name_any()).await.map_err(refused)?;

    // From now on the leader no longer deletes the namespace as incomplete, but it may have before.
    let Some(mut pending_now) = pending(state, reserved).await? else { return Ok(None) };
    if pending_now {
        let done = json!({"metadata": {"uid": reserved.uid, "labels": {names::SIGN_UP: null}}});
        let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> = Api::all(client.clone());
        let done = Patch::Merge(done);
        let done = namespaces.patch(namespace, &resources::patching(), &done).await;
        // A concurrent identical request may have removed the label first, so an error alone does
        // not mean that the label is still there.
        match pending(state, reserved).await? {
            Some(now) => pending_now = now,
            None => return Ok(None),
        }
        if pending_now {
            done.map_err(refused)?;
        }
    }
    propagation::written::<crd::Member>(state, &member).await;
    let id = OrganizationId::derive(namespace);
    audit::organization(id);
    Ok(Some(reply(Organization::of(namespace, spec, &[member]))))
}

/// Whether the sign-up of the namespace is still pending. `None` if the namespace has been or is
/// being deleted, or is another one with the same name.
async fn pending(state: &ApiState, reserved: &ReservedNamespace) -> Result<Option<bool>, ApiError> {
    let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> =
        Api::all(state.platform.client.clone());
    let found = namespaces.get_opt(&reserved.namespace).await;
    let found = found.map_err(|error| resources::refused(&error))?;
    let ours = found.filter(|found| {
        found.meta().deletion_timestamp.is_none() && found.uid().as_ref() == Some(&reserved.uid)
    });
    Ok(ours.map(|found| found.labels().contains_key(names::SIGN_UP)))
}

/// Creates an object, unless it exists.
async fn created<K>(api: &Api<Tolerant<K>>, object: K) -> kube::Result<()>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&resources::parameters(), &Tolerant::new(object)).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => created.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_within_a_minute_has_the_same_key() {
        let wish = |email: &str| Wish {
            organization: "Cool Kids".into(),
            name: "Ada".into(),
            email: email.into(),
            password: serde_json::from_value(json!("x")).unwrap(),
        };
        let key = wish("ada@acme.example").key(7);
        assert_eq!(key, wish("ada@acme.example").key(7));
        assert_ne!(key, wish("ada@acme.example").key(8));
        assert_ne!(key, wish("eve@acme.example").key(7));
    }
}
