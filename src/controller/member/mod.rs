//! `Member`: a RoleBinding for the member's Kubernetes identity.

mod desired;

use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};

use super::{Context, Error, Outcome, Reconcile, apply, ours, status};
use crate::crd::condition::Standing;
use crate::crd::{Member, MemberStatus};
use crate::domain::ids::MemberId;
use crate::names;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<Member> {
    let client = &context.client;
    Controller::new(Api::all(client.clone()), watcher::Config::default())
        .owns(Api::<RoleBinding>::all(client.clone()), ours(names::MEMBER_ROLE))
}

impl Reconcile for Member {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        // resolve: nothing; a member refers to no object.
        let uid = self.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
        let owner =
            self.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

        // validate
        let member = match validate::member(self) {
            Ok(member) => member,
            Err(violations) => {
                // Whose identity cannot be told has no rights.
                let namespace = self.namespace().unwrap_or_default();
                let id = MemberId::derive(&namespace, &self.name_any());
                prune(context, &namespace, id, &uid, None).await?;
                let unchanged = self.status.clone().unwrap_or_default();
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };

        // desired
        let binding = desired::role_binding(&member, owner);

        // apply; what is too much goes first, so that a demotion never leaves both roles
        let keep = binding.as_ref().map(kube::ResourceExt::name_any);
        prune(context, &member.name.namespace, member.id, &uid, keep.as_deref()).await?;
        let applied = match &binding {
            Some(binding) => apply::apply_child(&context.client, &uid, binding).await?,
            None => Ok(()),
        };

        // status
        let standing = desired::standing(&member, applied);
        let desired = MemberStatus { id: Some(member.id.to_string()), ..MemberStatus::default() };
        let outcome = if applied_foreign(&standing) { Outcome::BLOCKED } else { Outcome::SETTLED };
        status::write(context, self, desired, &standing).await?;
        Ok(outcome)
    }
}

/// Removes the member's RoleBindings but one.
async fn prune(
    context: &Context,
    namespace: &str,
    id: MemberId,
    uid: &str,
    keep: Option<&str>,
) -> Result<(), Error> {
    let selector = names::selector_of(names::MEMBER_ROLE, &id);
    apply::prune_children::<RoleBinding>(&context.client, namespace, &selector, uid, keep).await
}

fn applied_foreign(standing: &Standing) -> bool {
    standing.state == crate::crd::condition::State::Stalled
}
