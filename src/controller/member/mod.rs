//! Reconciles `Member`: creates a RoleBinding for its Kubernetes identity, and a hash of its
//! password.

mod desired;
mod password;
mod sessions;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};

use super::{
    Context, Error, Guarded, GuardedMeta, Outcome, Reconcile, apply, bindings, labelled_secret,
    ours, owner, revoked, status, triggers,
};
use crate::crd::condition::{Readiness, ReadyState};
use crate::crd::{Member, MemberStatus, Revocation};
use crate::domain;
use crate::domain::ids::MemberId;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::RevocationTarget;
use crate::domain::role::Role;
use crate::kube_ext::name::object_name;
use crate::names;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<Guarded<Member>> {
    let client = &context.client;
    let hashes: Api<GuardedMeta<Secret>> =
        Api::namespaced(client.clone(), &context.settings.operator_namespace);
    let bindings: Api<GuardedMeta<RoleBinding>> = Api::all(client.clone());
    let passwords: Api<GuardedMeta<Secret>> = Api::all(client.clone());
    let revocations: Api<Guarded<Revocation>> = Api::all(client.clone());
    let controller = triggers::controller::<Member>(Api::all(client.clone()));
    let (members, bound, hashed) = (controller.store(), controller.store(), controller.store());
    let orphaned = Arc::clone(&context.orphaned);
    controller
        .watches_stream(triggers::touched(bindings, ours(names::MEMBER_ROLE)), move |binding| {
            let (name, noted) = (binding.name_any(), owner::controller_of(&binding));
            let noted = noted.map(|owner| &*owner.name);
            let owner = owner::of(&bound, &binding.namespace()?, noted, |member: &Member| {
                Role::ALL.iter().any(|role| names::role_binding(&member.name_any(), *role) == name)
            });
            if owner.is_none() {
                orphaned.notify_one();
            }
            owner
        })
        .watches_stream(triggers::touched(hashes, ours(names::PASSWORD)), move |secret| {
            let id = |namespace: &str, name: &str| MemberId::derive(namespace, name).to_string();
            owner::of_id(&hashed, &secret, id)
        })
        .watches_stream(triggers::touched(revocations, watcher::Config::default()), |revocation| {
            let owner = revoked(&revocation, RevocationTarget::Member)?;
            Some(ObjectRef::new(&owner.name).within(&owner.namespace))
        })
        .watches_stream(
            triggers::touched(passwords, labelled_secret::watched(&[names::USE_PASSWORD])),
            labelled_secret::referrers(members, |member: &Member, secret| {
                let reference = member.spec.password_secret_ref.as_ref();
                reference.is_some_and(|reference| reference.name == secret)
            }),
        )
}

impl Reconcile for Member {
    async fn end(context: &Context, namespace: &str, name: &str) -> Result<(), Error> {
        bindings::prune(&context.client, namespace, MemberId::derive(namespace, name), None).await
    }

    fn forget(context: &Context, _namespace: &str, _name: &str) {
        context.orphaned.notify_one();
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        // resolve: nothing here; `password` reads the referenced Secret
        let uid = self.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
        let owner =
            self.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

        // validate
        let member = match validate::member(self) {
            Ok(member) => member,
            Err(violations) => {
                // Without a valid spec the identity is unknown, so there must be no permissions.
                let ObjectName { namespace, name } = object_name(self);
                let id = MemberId::derive(&namespace, &name);
                bindings::prune(&context.client, &namespace, id, None).await?;
                let unchanged = self.status.clone().unwrap_or_default();
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };

        if let Some(remaining) = sessions::remaining(context, self, &member) {
            let ended = sessions::keep(&context.client, self, &remaining).await?;
            context.tracker.superseded(self, ended.as_deref());
            // The event of this write triggers the next reconciliation, which does the rest.
            return Ok(Outcome::SETTLED);
        }

        // desired
        let binding = desired::role_binding(&member, owner);

        // apply; deletes first, so that a demotion never leaves both roles
        let keep = binding.as_ref().map(kube::ResourceExt::name_any);
        let (client, namespace) = (&context.client, &member.name.namespace);
        bindings::prune(client, namespace, member.id, keep.as_deref()).await?;
        let applied = match &binding {
            Some(binding) => apply::apply_child(&context.client, &uid, binding).await?,
            None => Ok(()),
        };

        let password = password::follow(context, &member).await?;

        // status
        let blocked = applied.is_err();
        let mut readiness = desired::readiness(&member, applied);
        let within_reach = desired::within_reach(&member);
        let (password, problem) = match password {
            Ok(id) => (id, None),
            Err(problem) => (None, Some(problem)),
        };
        if let (ReadyState::Ready, false, Some(problem)) =
            (readiness.state(), member.suspended, problem)
        {
            readiness = problem;
        }
        if let (ReadyState::Ready, false) = (readiness.state(), member.suspended) {
            readiness = contested(context, &member).unwrap_or(readiness);
        }
        let desired = MemberStatus {
            id: Some(member.id.to_string()),
            password_id: password.map(|id| id.to_string()),
            ..MemberStatus::default()
        };
        readiness.notes.extend(within_reach);
        let blocked = blocked || readiness.state() == ReadyState::Stalled;
        let outcome = if blocked { Outcome::BLOCKED } else { Outcome::SETTLED };
        status::write(context, self, desired, &readiness).await?;
        Ok(outcome)
    }
}

/// The readiness if an older member of the organization has the same e-mail address.
fn contested(context: &Context, member: &domain::member::Member) -> Option<Readiness> {
    let login_name = domain::member::Member::login_name(&member.email);
    let holders = context.reader.members_by_email(&login_name);
    let holder = holders.iter().find(|holder| holder.organization == member.organization)?;
    (holder.name != member.name).then(|| desired::email_conflict(&holder.name.name))
}
