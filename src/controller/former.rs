//! Secrets in the operator's namespace that were stored for a namespace that has been deleted, or is
//! one of another cluster, and that its successor of the same name takes over.
//!
//! The names of these Secrets contain the uid of the namespace, so that anyone who is given a
//! namespace of the same name gets nothing of the former one. Only a platform administrator, who can
//! write in the operator's namespace, can decide otherwise, by a label ([`names::INHERITED_BY`]) with
//! the uid of the successor
//! ([ADR 0010](../../docs/adr/0010-a-label-on-the-secret-hands-keys-over.md)).
//!
//! Each Secret is taken over by its owner, in two writes: what it contains is stored under the uid
//! of the successor, and then it is deleted. A crash between them only repeats the first one, which
//! then changes nothing.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;

use super::{Context, Error, GuardedMeta};
use crate::domain::ids::ObjectName;
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The owners of which a watch has seen a Secret to take over, by component: most have none, and
/// then nothing is listed for them.
#[derive(Default)]
pub struct FormerSecrets(Mutex<HashSet<(&'static str, ObjectName)>>);

impl FormerSecrets {
    /// Records that a watch has seen this Secret, which has this owner.
    pub fn seen(
        &self,
        component: &'static str,
        secret: &GuardedMeta<Secret>,
        owner: Option<&ObjectName>,
    ) {
        if let Some(owner) = owner.filter(|_| is_marked(secret)) {
            self.0.lock().insert((component, owner.clone()));
        }
    }
}

/// Whether a Secret is to be taken over.
fn is_marked(secret: &impl kube::Resource) -> bool {
    names::heir(&secret.name_any(), secret.labels()).is_some()
}

/// Reads the Secrets that `owner`, which has this id, takes over.
pub async fn read(
    context: &Context,
    component: &'static str,
    owner: &ObjectName,
    id: &impl ToString,
) -> Result<Vec<Secret>, Error> {
    // Removed before they are read, so that one that is marked in the meantime is recorded again.
    if !context.former.0.lock().remove(&(component, owner.clone())) {
        return Ok(Vec::new());
    }
    let found = list(context, component, owner, id).await;
    // Until none is left: the writes that follow may fail.
    if !matches!(&found, Ok(found) if found.is_empty()) {
        context.former.0.lock().insert((component, owner.clone()));
    }
    found
}

async fn list(
    context: &Context,
    component: &'static str,
    owner: &ObjectName,
    id: &impl ToString,
) -> Result<Vec<Secret>, Error> {
    let uid = context.namespace_uid(&owner.namespace).await?;
    let api: Api<Tolerant<Secret>> =
        Api::namespaced(context.client.clone(), &context.settings.operator_namespace);
    // The id is that of the name, so a namespace of another name inherits nothing.
    let selector = format!("{},{}={uid}", names::selector_of(component, id), names::INHERITED_BY);
    let mut found = Vec::new();
    let take = |secret: Tolerant<Secret>| found.extend(secret.0.ok().filter(is_marked));
    let listed = pages::each(&api, ListParams::default().labels(&selector), take).await;
    listed.map_err(Error::api("list Secrets"))?;
    Ok(found)
}
