//! The desired RoleBinding and conditions of a member. Pure.

use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::crd::condition::{ExtraCondition, Readiness};
use crate::crd::reasons::{ExtraReason, ReadyReason};
use crate::domain::member::{KubernetesSubject, Member};
use crate::domain::role::Role;
use crate::names;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The RoleBinding that grants the ClusterRole of the member's role to its Kubernetes identity, in
/// this namespace only. `None` without an identity, and while the member is suspended.
pub fn role_binding(member: &Member, owner: OwnerReference) -> Option<RoleBinding> {
    let identity = member.kubernetes.as_ref().filter(|_| !member.suspended)?;
    let subject = match identity {
        KubernetesSubject::User(user) => Subject {
            api_group: Some(RBAC.to_owned()),
            kind: "User".to_owned(),
            name: user.clone(),
            namespace: None,
        },
        KubernetesSubject::ServiceAccount(account) => Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name: account.clone(),
            namespace: Some(member.name.namespace.clone()),
        },
    };
    Some(RoleBinding {
        metadata: ObjectMeta {
            name: Some(names::role_binding(&member.name.name, member.role)),
            namespace: Some(member.name.namespace.clone()),
            labels: Some(names::labels(names::MEMBER_ROLE, &member.id)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "ClusterRole".to_owned(),
            name: member.role.cluster_role().to_owned(),
        },
        subjects: Some(vec![subject]),
    })
}

/// The readiness of a member whose RoleBinding is as desired.
pub fn readiness(member: &Member) -> Readiness {
    let role = member.role.as_str();
    if member.suspended {
        return Readiness::new(
            ReadyReason::Suspended,
            "the member is suspended and has no permissions",
        );
    }
    if member.kubernetes.is_some() {
        Readiness::new(ReadyReason::Bound, format!("the Kubernetes identity has role {role}"))
    } else {
        Readiness::new(
            ReadyReason::Accepted,
            format!("role {role}; no Kubernetes identity is specified"),
        )
    }
}

/// Warns about an Admin whose proof of identity lies in the namespace itself: everyone with `edit`
/// there can write Secrets and create tokens, and is not meant to be an Admin.
pub fn within_reach(member: &Member) -> Option<ExtraCondition> {
    if member.role != Role::Admin || member.suspended {
        return None;
    }
    match (&member.password, &member.kubernetes) {
        (Some(entry), _) => Some(ExtraCondition::new(
            ExtraReason::PasswordInNamespace,
            format!(
                "anyone who can write Secret `{}` in this namespace, or read a plain-text password in it, can log in as this Admin",
                entry.secret
            ),
        )),
        (None, Some(KubernetesSubject::ServiceAccount(account))) => Some(ExtraCondition::new(
            ExtraReason::ServiceAccountInNamespace,
            format!(
                "anyone who can create tokens for, or run Pods as, ServiceAccount `{account}` in this namespace effectively has this Admin's permissions"
            ),
        )),
        (None, _) => None,
    }
}

/// The readiness of a member whose e-mail address belongs to `holder`: everything works except
/// logging in with that address.
pub fn email_conflict(holder: &str) -> Readiness {
    Readiness::new(
        ReadyReason::EmailConflict,
        format!(
            "the older member `{holder}` already has this e-mail address, so this member cannot log in with it; choose another spec.email"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{MemberId, ObjectName, OrganizationId};
    use crate::domain::secret_ref::SecretEntry;

    fn member(kubernetes: Option<KubernetesSubject>) -> Member {
        Member {
            id: MemberId::derive("acme", "ada"),
            organization: OrganizationId::derive("acme"),
            name: ObjectName { namespace: "acme".into(), name: "ada".into() },
            created_at: None,
            email: "ada@acme.example".into(),
            role: Role::Member,
            suspended: false,
            password: None,
            password_id: None,
            kubernetes,
            sessions: vec![],
        }
    }

    #[test]
    fn binds_the_role_in_the_members_namespace_only() {
        let account = KubernetesSubject::ServiceAccount("ci".into());
        let binding = role_binding(&member(Some(account)), OwnerReference::default()).unwrap();
        assert_eq!(binding.metadata.namespace.as_deref(), Some("acme"));
        assert_eq!(binding.metadata.name.as_deref(), Some("anon-member-ada-member"));
        assert_eq!(binding.role_ref.name, "anon-member");
        let subject = &binding.subjects.unwrap()[0];
        assert_eq!(subject.namespace.as_deref(), Some("acme"));
    }

    #[test]
    fn an_admin_whom_others_can_become_is_said_to_be_one() {
        let account = || Some(KubernetesSubject::ServiceAccount("ci".into()));
        let admin = |kubernetes| Member { role: Role::Admin, ..member(kubernetes) };
        assert!(within_reach(&member(account())).is_none(), "`edit` has the rights of a Member");
        assert!(within_reach(&admin(Some(KubernetesSubject::User("ada".into())))).is_none());
        assert_eq!(within_reach(&admin(account())).unwrap().reason, "ServiceAccountInNamespace");
        let entry = SecretEntry { secret: "ada".into(), entry: "password".into() };
        let by_password = Member { password: Some(entry), ..admin(None) };
        assert_eq!(within_reach(&by_password).unwrap().reason, "PasswordInNamespace");
        assert!(within_reach(&Member { suspended: true, ..by_password }).is_none());
    }

    #[test]
    fn nothing_without_an_identity_or_while_suspended() {
        assert!(role_binding(&member(None), OwnerReference::default()).is_none());
        let mut suspended = member(Some(KubernetesSubject::User("ada".into())));
        suspended.suspended = true;
        assert!(role_binding(&suspended, OwnerReference::default()).is_none());
        assert_eq!(readiness(&suspended).reason, ReadyReason::Suspended);
    }
}
