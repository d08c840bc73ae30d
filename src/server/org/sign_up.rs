//! `POST /org/organization`: a new organization and its first Admin, for somebody who has no
//! credential yet. Off unless `--allow-sign-up`.
//!
//! All or nothing. One namespace is one organization, so a namespace comes first, labelled as
//! pending; then the hash of the password, the Organization, and last the Member, with which the
//! organization begins to be: before that nobody can log in. At the end the label goes. What a crash
//! leaves without a Member the leader removes ([`crate::controller`]'s `sign_ups`), and from what has
//! one it takes the label.
//!
//! Every write is a POST under a name that follows from what is asked for and when: so the same
//! request within a minute finds what there is and goes on with it, if its password is the one that
//! was stored. Another's request for the same makes another organization.

use std::fmt::Debug;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PartialObjectMeta, Patch};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::repeat::slug;
use super::{audit, limits, members, organization, reply, resources};
use crate::crd;
use crate::domain::digest::short_hex;
use crate::domain::ids::OrganizationId;
use crate::domain::password::Password;
use crate::domain::role::Role;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::request::Fields;
use crate::server::{ApiError, AppState};
use crate::validate;

/// What is asked for.
struct Wish {
    organization: String,
    name: String,
    email: String,
    password: String,
}

impl Wish {
    fn read(fields: &Fields) -> Result<Self, ApiError> {
        let organization = fields.name()?;
        let member = fields.object("member")?.ok_or_else(|| {
            ApiError::missing_field("member", "`member` is required: the first Admin")
        })?;
        let password = member.required("password")?.to_owned();
        Password::chosen(&password)
            .map_err(|refused| ApiError::invalid_field("password", refused.to_string()))?;
        Ok(Self { organization, name: member.name()?, email: members::email(&member)?, password })
    }

    /// A name for the namespace. It is not to be guessed from the outside, nor a secret.
    fn namespace(&self, minute: i64) -> String {
        let text = json!([self.organization, self.name, self.email, minute]).to_string();
        format!("{}{}", names::SIGN_UP_PREFIX, short_hex(text.as_bytes(), 6))
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

/// Makes the organization.
pub async fn sign_up(
    State(state): State<AppState>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    if !state.platform.allow_sign_up {
        return Err(ApiError::forbidden(
            "sign-up is off here: who runs this platform makes the organizations",
        ));
    }
    state.reader.answers()?;
    let wish = Wish::read(&Fields::required_body(body)?)?;
    let peer = limits::peer(&extensions, &headers, state.platform.proxy_hops);
    state.platform.limits.sign_up(peer)?;
    let minute = state.clock.now().as_second() / 60;
    let random = uuid::Uuid::new_v4().simple().to_string();
    let random = format!("{}{}", names::SIGN_UP_PREFIX, random.get(..12).unwrap_or(&random));
    // The first is there only if this request was made before.
    let names =
        [(wish.namespace(minute - 1), false), (wish.namespace(minute), true), (random, true)];
    for (namespace, may_begin) in names {
        let Some((spec, member)) = complete(&state, &wish, &namespace, may_begin).await? else {
            continue;
        };
        resources::known(&state, &member).await;
        let id = OrganizationId::derive(&namespace);
        audit::organization(id);
        return Ok(reply(&organization::show(&namespace, spec, &[member])));
    }
    Err(ApiError::unavailable("no free name was found; try again"))
}

/// Makes of the namespace what is asked for, or goes on where an earlier request was interrupted.
/// `None` if it is somebody else's.
async fn complete(
    state: &AppState,
    wish: &Wish,
    namespace: &str,
    may_begin: bool,
) -> Result<Option<(crd::OrganizationSpec, crd::Member)>, ApiError> {
    let refused = |error: kube::Error| resources::refused(&error);
    let client = &state.platform.client;
    let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> = Api::all(client.clone());
    if may_begin {
        created(&Api::all(client.clone()), pending(namespace)).await.map_err(refused)?;
    }
    let found = namespaces.get_opt(namespace).await.map_err(refused)?;
    let Some(found) = found.filter(|it| it.meta().deletion_timestamp.is_none()) else {
        return Ok(None);
    };

    let mut member = wish.member(namespace);
    let parsed = validate::member(&member).map_err(|_| ApiError::internal())?;
    let Some(id) = state.platform.passwords.claim(&parsed, &wish.password).await? else {
        return Ok(None);
    };
    member.annotations_mut().insert(names::PASSWORD_ID.to_owned(), id);

    let spec = crd::OrganizationSpec {
        display_name: Some(wish.organization.clone()),
        ..crd::OrganizationSpec::default()
    };
    let object = crd::Organization::new(validate::ORGANIZATION_NAME, spec.clone());
    created(&Api::namespaced(client.clone(), namespace), object).await.map_err(refused)?;
    let members: Api<Tolerant<crd::Member>> = Api::namespaced(client.clone(), namespace);
    created(&members, member.clone()).await.map_err(refused)?;
    let member = members.read(&member.name_any()).await.map_err(refused)?;

    // Only now it is certain that the leader takes it for no ruin.
    if found.labels().contains_key(names::SIGN_UP) {
        let done = Patch::Merge(json!({"metadata": {"labels": {names::SIGN_UP: null}}}));
        let done = namespaces.patch(namespace, &resources::patching(), &done).await;
        // Whoever asked for the same at the same time may have been faster: the look tells.
        let now = namespaces.get_opt(namespace).await.map_err(refused)?;
        let living = now.filter(|it| it.meta().deletion_timestamp.is_none());
        let Some(living) = living else { return Ok(None) };
        if living.labels().contains_key(names::SIGN_UP) {
            done.map_err(refused)?;
        }
    }
    Ok(Some((spec, member)))
}

fn pending(name: &str) -> Namespace {
    let labels = [(names::MANAGED_BY, names::MANAGER), (names::SIGN_UP, names::SIGN_UP_PENDING)];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

/// Creates an object, unless it is there.
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
    fn the_same_wish_within_a_minute_has_the_same_name() {
        let wish = |email: &str| Wish {
            organization: "Cool Kids".into(),
            name: "Ada".into(),
            email: email.into(),
            password: "x".into(),
        };
        let name = wish("ada@acme.example").namespace(7);
        assert!(name.starts_with("anon-org-") && name.len() == 21, "{name}");
        assert_eq!(name, wish("ada@acme.example").namespace(7));
        assert_ne!(name, wish("ada@acme.example").namespace(8));
        assert_ne!(name, wish("eve@acme.example").namespace(7));
    }
}
