//! `Organization` and `Member`.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::{Violations, displayed, object_name, violation};
use crate::crd;
use crate::domain::credential::KeyHash;
use crate::domain::duration;
use crate::domain::ids::{MemberId, OrganizationId, PasswordId};
use crate::domain::member::{KubernetesSubject, Member};
use crate::domain::organization::Organization;
use crate::domain::secret_ref::SecretEntry;
use crate::domain::session::{SessionPolicy, StoredSession};
use crate::names;

/// The only valid name of an Organization object.
pub const ORGANIZATION_NAME: &str = "default";

/// An organization with its defaults.
///
/// # Errors
/// The object is not named `default`, or its display name has control characters.
pub fn organization(object: &crd::Organization) -> Result<Organization, Violations> {
    let name = object_name(object)?;
    if name.name != ORGANIZATION_NAME {
        return Err(violation(
            "metadata.name",
            "must be `default`: each namespace is one organization",
        ));
    }
    let spec = &object.spec;
    displayed("spec.displayName", spec.display_name.as_ref())?;
    Ok(Organization {
        id: OrganizationId::derive(&name.namespace),
        display_name: spec.display_name.clone().unwrap_or_else(|| name.namespace.clone()),
        namespace: name.namespace,
        logo_url: spec.logo_url.clone(),
        session: parse_session(spec.session.as_ref())?,
        default_user_pool: spec.default_user_pool_ref.as_ref().map(|pool| pool.name.clone()),
        default_sdk_client: spec.default_sdk_client_ref.as_ref().map(|client| client.name.clone()),
    })
}

fn parse_session(spec: Option<&crd::SessionSpec>) -> Result<SessionPolicy, Violations> {
    let default = SessionPolicy::default();
    let Some(spec) = spec else { return Ok(default) };
    let lifetime = spec.lifetime.as_ref().map(|text| {
        let positive = duration::parse(text).filter(SignedDuration::is_positive);
        positive.ok_or_else(|| {
            violation(
                "spec.session.lifetime",
                "must be a duration in hours, minutes and seconds, such as `24h` or `1h30m`",
            )
        })
    });
    let max_per_member = spec.max_per_member.and_then(|max| usize::try_from(max).ok());
    Ok(SessionPolicy {
        lifetime: lifetime.transpose()?.unwrap_or(default.lifetime),
        max_per_member: max_per_member.unwrap_or(default.max_per_member),
    })
}

/// A member with the sessions in its status.
///
/// # Errors
/// The Kubernetes identity is a system user, or not exactly one, or a name has control characters.
pub fn member(object: &crd::Member) -> Result<Member, Violations> {
    let name = object_name(object)?;
    displayed("spec.displayName", object.spec.display_name.as_ref())?;
    displayed("spec.email", Some(&object.spec.email))?;
    let user = object.spec.kubernetes.as_ref().and_then(|identity| identity.user.as_ref());
    displayed("spec.kubernetes.user", user)?;
    let field = "spec.kubernetes";
    let kubernetes = match &object.spec.kubernetes {
        None => None,
        Some(identity) => Some(match (&identity.user, &identity.service_account) {
            (Some(user), None) if user.starts_with("system:") => {
                return Err(violation(
                    "spec.kubernetes.user",
                    "`system:` users cannot be members; use `serviceAccount` for a ServiceAccount of this namespace",
                ));
            }
            (Some(user), None) => KubernetesSubject::User(user.clone()),
            (None, Some(account)) => KubernetesSubject::ServiceAccount(account.name.clone()),
            _ => return Err(violation(field, "set exactly one of `user` and `serviceAccount`")),
        }),
    };
    Ok(Member {
        id: MemberId::derive(&name.namespace, &name.name),
        organization: OrganizationId::derive(&name.namespace),
        name,
        created_at: object.metadata.creation_timestamp.as_ref().map(|Time(time)| *time),
        email: object.spec.email.clone(),
        role: object.spec.role,
        suspended: object.spec.suspended.unwrap_or(false),
        password: object.spec.password_secret_ref.as_ref().map(|reference| SecretEntry {
            secret: reference.name.clone(),
            entry: reference.key.clone(),
        }),
        password_id: password_id(object),
        kubernetes,
        sessions: object.status.iter().flat_map(|it| &it.sessions).filter_map(parse_one).collect(),
    })
}

/// Which password a member has: of one from a Secret the leader says so in status, of one that was
/// sent to the API an annotation does.
#[must_use]
pub fn password_id(object: &crd::Member) -> Option<PasswordId> {
    let id = if object.spec.password_secret_ref.is_some() {
        object.status.as_ref()?.password_id.as_ref()
    } else {
        object.annotations().get(names::PASSWORD_ID)
    };
    PasswordId::parse(id?)
}

/// A session; one that cannot be parsed is omitted, since no token could match it.
fn parse_one(session: &crd::SessionStatus) -> Option<StoredSession> {
    let password = match &session.password_id {
        Some(id) => Some(PasswordId::parse(id)?),
        None => None,
    };
    let (Time(created_at), Time(expires_at)) = (&session.created_at, &session.expires_at);
    let hash = KeyHash::parse(&session.sha256)?;
    Some(StoredSession { hash, created_at: *created_at, expires_at: *expires_at, password })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn rejects_control_characters_in_names_and_email_addresses() {
        let member = |patch: &Value| {
            let mut spec = json!({"email": "ada@acme.example", "role": "Admin"});
            spec.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
            let metadata = json!({"namespace": "acme", "name": "ada"});
            super::member(
                &serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap(),
            )
        };
        assert!(member(&json!({"displayName": "Ada Łovelace 👩‍💻", "email": "a@b"})).is_ok());
        for control in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}'] {
            let text = format!("a{control}@b");
            for (patch, field) in [
                (json!({"displayName": text}), "spec.displayName"),
                (json!({"email": text}), "spec.email"),
                (json!({"kubernetes": {"user": text}}), "spec.kubernetes.user"),
            ] {
                assert_eq!(member(&patch).unwrap_err()[0].field, field, "{control:?}");
            }
            let organization = json!({
                "metadata": {"namespace": "acme", "name": "default"}, "spec": {"displayName": text},
            });
            let organization = serde_json::from_value(organization).unwrap();
            assert!(super::organization(&organization).is_err(), "{control:?}");
        }
    }
}
