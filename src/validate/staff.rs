//! `Organization` and `Member`.

use super::{Violations, object_name, violation};
use crate::crd;
use crate::domain::ids::{MemberId, OrganizationId};
use crate::domain::staff::{KubernetesSubject, Member, Organization};

/// The one name of an Organization object.
pub const ORGANIZATION_NAME: &str = "default";

/// An organization with its defaults.
///
/// # Errors
/// The object is not named `default`.
pub fn organization(object: &crd::Organization) -> Result<Organization, Violations> {
    let name = object_name(object)?;
    if name.name != ORGANIZATION_NAME {
        return Err(violation("metadata.name", "must be `default`"));
    }
    let spec = &object.spec;
    Ok(Organization {
        id: OrganizationId::derive(&name.namespace),
        display_name: spec.display_name.clone().unwrap_or_else(|| name.namespace.clone()),
        namespace: name.namespace,
        logo_url: spec.logo_url.clone(),
        default_user_pool: spec.default_user_pool_ref.as_ref().map(|pool| pool.name.clone()),
        default_sdk_client: spec.default_sdk_client_ref.as_ref().map(|client| client.name.clone()),
    })
}

/// A member.
///
/// # Errors
/// The Kubernetes identity is one of the system, or not exactly one.
pub fn member(object: &crd::Member) -> Result<Member, Violations> {
    let name = object_name(object)?;
    let field = "spec.kubernetes";
    let kubernetes = match &object.spec.kubernetes {
        None => None,
        Some(identity) => Some(match (&identity.user, &identity.service_account) {
            (Some(user), None) if user.starts_with("system:") => {
                return Err(violation(
                    "spec.kubernetes.user",
                    "`system:` users cannot be members; use `serviceAccount`",
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
        role: object.spec.role,
        suspended: object.spec.suspended.unwrap_or(false),
        kubernetes,
    })
}
