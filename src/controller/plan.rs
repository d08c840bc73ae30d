//! What a reconciliation will do, as data: the return type of the pure function `plan` of each kind.
//! [`Plan::apply`] executes the writes in their order, on which it depends that a crash between any
//! two of them is safe. Status comes last, because validators use what it publishes immediately.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt as _;
use kube::api::Api;

use super::apply::{self, Applied, Child, Created};
use super::events::EventNote;
use super::expectations::Children;
use super::requeue::Requeue;
use super::{Context, Error, bindings, status};
use crate::crd::HasStatus;
use crate::crd::condition::Readiness;
use crate::crd::{MatchedCredential, SessionStatus};
use crate::domain::ids::{MemberId, ObjectName};
use crate::kube_ext::tolerant::Tolerant;

/// The plan of a reconciliation.
pub struct Plan<S> {
    /// The writes before that of status, in their order.
    pub writes: Vec<Write>,
    /// What to publish in status; `None` leaves status as it is.
    pub status: Option<(S, Readiness)>,
    /// The Events to publish once status is written.
    pub events: Vec<EventNote>,
    /// When to reconcile again.
    pub requeue: Requeue,
    /// The children as they were read, if everything that the plan depends on is observed by
    /// [`Expectations`](super::expectations::Expectations): then the events of our own writes need no
    /// reconciliation.
    pub children: Option<Children>,
    /// The id of the key that status publishes and every validator must acknowledge.
    pub publishes: Option<String>,
    /// What prevents the rest of the plan, after these writes.
    pub failure: Option<Error>,
}

/// A write.
pub enum Write {
    /// Creates a Secret with random material. An existing one is authoritative, and the object is
    /// observed and planned again ([`Met::Existing`]).
    CreateSecret(SecretWrite),
    /// Creates a Secret whose name identifies its content: an existing one is as good.
    EnsureSecret(SecretWrite),
    /// Replaces a Secret as it was read.
    ReplaceSecret(SecretWrite),
    /// Deletes exactly the Secret that was read.
    DeleteSecret(SecretWrite),
    /// Creates or repairs the ConfigMap.
    ApplyConfigMap(Box<ConfigMap>),
    /// Creates or repairs the RoleBinding.
    ApplyRoleBinding(Box<RoleBinding>),
    /// Deletes the RoleBindings of a member except the one of this name.
    PruneRoleBindings(MemberId, Option<String>),
    /// Records what a Revocation matches, before it is destroyed.
    RecordMatched(ObjectName, Vec<MatchedCredential>),
    /// Replaces the sessions of the member by these.
    KeepSessions(Vec<SessionStatus>),
    /// Deletes the object itself.
    Delete,
}

/// A Secret to write.
pub struct SecretWrite {
    /// Its namespace.
    pub namespace: String,
    /// The whole of it.
    pub secret: Box<Secret>,
    /// The transitions of signing keys that this write makes, as metric labels.
    pub transitions: Vec<&'static str>,
    /// Whether the object is planned again if the API server refuses ([`Met::Refused`]), because
    /// something has to be published all the same.
    pub may_be_refused: bool,
}

impl SecretWrite {
    /// Creates the write.
    pub fn new(namespace: &str, secret: Secret) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: Box::new(secret),
            transitions: Vec::new(),
            may_be_refused: false,
        }
    }

    fn done(&self, context: &Context, written: &Secret, children: &mut Children) {
        for transition in &self.transitions {
            context.metrics.signing_key(transition);
        }
        children.extend(written.resource_version().map(|version| ("Secret".into(), version)));
    }
}

/// The result of a write on which the following ones depend.
pub enum Met {
    /// This Secret exists already.
    Existing(Box<Secret>),
    /// The API server refuses to replace the Secret, with this message.
    Refused(String),
}

/// The result of the writes of a plan.
#[derive(Default)]
pub struct Written {
    /// The children as written, or as read.
    pub children: Children,
    /// The readiness of an object whose child could not be written.
    pub obstacle: Option<Readiness>,
}

/// How far the writes of a plan got.
pub enum Progress {
    /// All of them were executed.
    Complete(Written),
    /// One has met something that the plan did not know: the object has to be observed and planned
    /// again.
    Interrupted(Met),
}

impl<S> Plan<S> {
    /// Nothing to write.
    pub const fn wait(requeue: Requeue) -> Self {
        Self {
            writes: Vec::new(),
            status: None,
            events: Vec::new(),
            requeue,
            children: None,
            publishes: None,
            failure: None,
        }
    }

    /// These writes, and no status.
    pub fn write(writes: Vec<Write>) -> Self {
        Self { writes, ..Self::wait(Requeue::OnChange) }
    }

    /// This status, after these writes.
    pub fn publish(writes: Vec<Write>, status: S, readiness: Readiness) -> Self {
        Self { status: Some((status, readiness)), ..Self::write(writes) }
    }

    /// Executes the writes in their order.
    pub async fn apply<K: HasStatus>(
        &self,
        context: &Context,
        object: &K,
    ) -> Result<Progress, Error> {
        let client = &context.client;
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<Tolerant<K>> = Api::namespaced(client.clone(), &namespace);
        let children = self.children.clone().unwrap_or_default();
        let mut written = Written { children, obstacle: None };
        for write in &self.writes {
            match write {
                Write::CreateSecret(write) => {
                    match apply::create_secret(client, &write.namespace, &write.secret).await? {
                        Created::New(secret) => write.done(context, &secret, &mut written.children),
                        Created::Existing(secret) => {
                            return Ok(Progress::Interrupted(Met::Existing(secret.into())));
                        }
                    }
                }
                Write::EnsureSecret(write) => {
                    apply::create_secret(client, &write.namespace, &write.secret).await?;
                }
                Write::ReplaceSecret(write) => {
                    let replaced =
                        apply::replace_secret(client, &write.namespace, &write.secret).await;
                    match replaced {
                        Ok(secret) => write.done(context, &secret, &mut written.children),
                        Err(error) => match error.refusal().filter(|_| write.may_be_refused) {
                            Some(said) => {
                                return Ok(Progress::Interrupted(Met::Refused(said)));
                            }
                            None => return Err(error),
                        },
                    }
                }
                Write::DeleteSecret(write) => {
                    let api: Api<Tolerant<Secret>> =
                        Api::namespaced(client.clone(), &write.namespace);
                    apply::delete_exactly(&api, &*write.secret).await?;
                }
                Write::ApplyConfigMap(child) => written.child(client, object, &**child).await?,
                Write::ApplyRoleBinding(child) => written.child(client, object, &**child).await?,
                Write::PruneRoleBindings(id, keep) => {
                    bindings::prune(client, &namespace, *id, keep.as_deref()).await?;
                }
                Write::RecordMatched(revocation, matched) => {
                    status::record_matched(client, revocation, matched).await?;
                }
                Write::KeepSessions(sessions) => {
                    let version = status::keep_sessions(&api, object, sessions).await?;
                    context.expectations.replaced(object, version.as_deref());
                }
                Write::Delete => apply::delete_exactly(&api, object).await?,
            }
        }
        Ok(Progress::Complete(written))
    }
}

impl Written {
    async fn child<C: Child>(
        &mut self,
        client: &kube::Client,
        owner: &impl HasStatus,
        child: &C,
    ) -> Result<(), Error> {
        let uid = owner.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
        let kind = C::kind(&());
        match apply::apply_child(client, &uid, child).await? {
            Applied::Done(version) => {
                self.children.extend(version.map(|version| (kind, version)));
            }
            Applied::Foreign => self.obstacle = Some(child.foreign()),
            Applied::Refused(said) => self.obstacle = Some(child.refused(said)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
