//! Reconciles `Member`: creates a RoleBinding for its Kubernetes identity, and a hash of its
//! password.

mod desired;
pub mod password;
mod sessions;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::Api;
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};

use super::driver::Reconcile;
use super::plan::{Met, Plan, Write};
use super::queue::Reference;
use super::triggers::{self, Triggers};
use super::{
    Context, Error, Guarded, GuardedMeta, Requeue, bindings, former, labelled_secret, matched,
    ours, owner, revoked,
};
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::{self, Member, MemberStatus, SessionStatus};
use crate::domain::ids::{MemberId, ObjectName};
use crate::domain::member as domain;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::role::Role;
use crate::names;
use crate::validate::{self, Violations};
use password::Password;

pub(super) fn controller(context: &Context) -> Triggers<Member> {
    let client = &context.client;
    let hashes: Api<GuardedMeta<Secret>> =
        Api::namespaced(client.clone(), &context.settings.operator_namespace);
    let bindings: Vec<Api<GuardedMeta<RoleBinding>>> = context.apis();
    let passwords: Vec<Api<GuardedMeta<Secret>>> = context.apis();
    let revocations: Vec<Api<Guarded<crd::Revocation>>> = context.apis();
    let controller = triggers::controller::<Member>(client, &context.settings.scope, |member| {
        let reference = member.spec.password_secret_ref.as_ref()?;
        Some(Reference::secret(&reference.name))
    });
    let (bound, hashed) = (controller.objects(), controller.objects());
    let referrers = labelled_secret::referrers(controller.objects());
    let orphaned = Arc::clone(&context.orphaned);
    let former = Arc::clone(&context.former);
    controller
        .watches(bindings, &ours(names::MEMBER_ROLE), move |binding| {
            let (name, noted) = (binding.name_any(), owner::controller_of(&binding));
            let noted = noted.map(|owner| &*owner.name);
            let owner = owner::of(&bound, &binding.namespace()?, noted, |member, _| {
                Role::ALL.iter().any(|role| names::role_binding(member, *role) == name)
            });
            if owner.is_none() {
                orphaned.notify_one();
            }
            owner
        })
        .watches(vec![hashes], &ours(names::PASSWORD), move |secret| {
            let id = |namespace: &str, name: &str| MemberId::derive(namespace, name).to_string();
            let owner = owner::of_id(&hashed, &secret, id);
            former.seen(names::PASSWORD, &secret, owner.as_ref());
            owner
        })
        .watches(revocations, &watcher::Config::default(), |revocation| {
            revoked(&revocation, RevocationTarget::Member)
        })
        .watches(passwords, &labelled_secret::watched(&[names::USE_PASSWORD]), referrers)
}

/// The facts that the plan of a member depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// The namespace of password hashes.
    pub operator_namespace: String,
    /// The Revocations of its sessions.
    pub revocations: Vec<Arc<Revocation>>,
    /// An older member of the organization with the same e-mail address.
    pub holder: Option<String>,
    /// The Secrets with hashes of a former namespace, which the member takes over.
    pub former: Vec<Secret>,
    /// `None` if sessions have to end first. A failure must not keep permissions from being
    /// revoked.
    pub password: Option<Result<Password, Error>>,
}

impl Reconcile for Member {
    type Parsed = domain::Member;
    type Observed = Observed;

    fn parse(&self) -> Result<Self::Parsed, Violations> {
        validate::member(self)
    }

    async fn observe(
        &self,
        member: &Self::Parsed,
        context: &Context,
        _: Option<Met>,
    ) -> Result<Observed, Error> {
        let now = context.clock.now();
        let mut observed = Observed {
            now,
            operator_namespace: context.settings.operator_namespace.clone(),
            revocations: context.reader.revocations(RevocationTarget::Member, &member.name, now),
            holder: context.reader.email_holder(member).map(|holder| holder.name),
            former: Vec::new(),
            password: None,
        };
        if observed.remaining_sessions(self, member).is_none() {
            let former = former::read(context, names::PASSWORD, &member.name, &member.id).await;
            observed.password = Some(match former {
                Ok(former) => {
                    observed.former = former;
                    password::observe(context, member).await
                }
                Err(error) => Err(error),
            });
        }
        Ok(observed)
    }

    fn plan(&self, member: &Self::Parsed, observed: Observed) -> Result<Plan<MemberStatus>, Error> {
        if let Some(remaining) = observed.remaining_sessions(self, member) {
            // The event of this write triggers the next reconciliation, which does the rest.
            let mut writes = observed.matched(self);
            writes.push(Write::KeepSessions(remaining));
            return Ok(Plan::write(writes));
        }
        let owner =
            self.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;
        let binding = desired::role_binding(member, owner);
        // Deletes first, so that a demotion never leaves both roles.
        let keep = binding.as_ref().map(kube::ResourceExt::name_any);
        let mut writes = vec![Write::PruneRoleBindings(member.id, keep)];
        writes.extend(binding.map(|binding| Write::ApplyRoleBinding(Box::new(binding))));
        for former in &observed.former {
            writes.extend(password::take_over(former, member, &observed.operator_namespace));
        }
        let password = match observed.password.unwrap_or(Ok(Password::None)) {
            Ok(password) => password,
            // Permissions do not depend on the password.
            Err(error) => return Ok(Plan { failure: Some(error), ..Plan::write(writes) }),
        };
        let (id, secret, problem) = password.plan(&observed.operator_namespace);
        writes.extend(secret);
        let mut readiness = desired::readiness(member);
        if !member.suspended {
            let conflict = observed.holder.as_deref().map(desired::email_conflict);
            readiness = problem.or(conflict).unwrap_or(readiness);
        }
        readiness.notes.extend(desired::within_reach(member));
        let status = MemberStatus {
            id: Some(member.id.to_string()),
            password_id: id.map(|id| id.to_string()),
            ..MemberStatus::default()
        };
        let stalled = readiness.state() == ReadyState::Stalled;
        let requeue = if stalled { Requeue::Later } else { Requeue::OnChange };
        Ok(Plan { requeue, ..Plan::publish(writes, status, readiness) })
    }

    /// A missing RoleBinding is more important than a password that cannot be used.
    fn obstructed(planned: Readiness, obstacle: Readiness) -> Readiness {
        Readiness { notes: planned.notes, ..obstacle }
    }

    /// Without a valid spec the identity is unknown, too, so there must be no permissions.
    async fn end(context: &Context, name: &ObjectName) -> Result<(), Error> {
        let ObjectName { namespace, name } = name;
        bindings::prune(&context.client, namespace, MemberId::derive(namespace, name), None).await
    }

    async fn forget(context: &Context, _: &ObjectName) {
        context.orphaned.notify_one();
    }
}

impl Observed {
    /// The writes that record which sessions are revoked.
    fn matched(&self, object: &Member) -> Vec<Write> {
        let sessions = object.status.iter().flat_map(|status| &status.sessions);
        let sessions: Vec<_> = sessions.map(|it| (it.id.clone(), Some(it.created_at.0))).collect();
        matched::record(&self.revocations, &sessions, self.now)
    }

    fn remaining_sessions(
        &self,
        object: &Member,
        member: &domain::Member,
    ) -> Option<Vec<SessionStatus>> {
        sessions::remaining(object, member, &self.revocations, self.now)
    }
}
