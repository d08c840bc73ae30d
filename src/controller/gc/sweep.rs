//! One pass over the Secrets of one kind: which of them are orphans, and their deletion.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use tracing::{info, warn};

use super::orphans::OrphanTracker;
use crate::controller::apply::delete_exactly;
use crate::controller::{Context, Error, GuardedMeta};
use crate::domain::ids::ObjectName;
use crate::domain::scope::Scope;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::names;

/// A kind of Secret that is collected, and its owners. Unless a kind differs, its Secrets are in the
/// operator's namespace.
pub trait Sweep {
    /// The component in the label of these Secrets.
    const COMPONENT: &str;
    /// The minimum grace period.
    const MIN_GRACE: Duration = Duration::ZERO;

    /// Where these Secrets are.
    fn places(context: &Context) -> Vec<Api<GuardedMeta<Secret>>> {
        let namespace = &context.settings.operator_namespace;
        vec![Api::namespaced(context.client.clone(), namespace)]
    }

    /// What the owner of the Secret names it.
    fn name(secret: &GuardedMeta<Secret>) -> String {
        let name = secret.name_any();
        // What will be taken over belongs to the owner already.
        match names::heir(&name, secret.labels()) {
            Some(uid) => names::inherited(&name, uid),
            None => name,
        }
    }

    /// The namespace of the owner of the Secret.
    fn owner_namespace(secret: &GuardedMeta<Secret>) -> Option<String> {
        secret.annotations().get(names::OWNER_NAMESPACE).cloned()
    }

    /// What all existing owners own.
    async fn owned(context: &Context) -> Result<Owned, Error>;
}

/// Ties a Secret to its owner: the id of the owner, and what the owner names the Secret.
pub type Claim = (String, String);

/// The Secrets that have an owner.
#[derive(Default)]
pub struct Owned {
    /// The Secrets of all existing owners.
    pub claims: HashSet<Claim>,
    /// Namespaces with an unreadable object: any Secret in them may belong to it.
    pub unclear: HashSet<String>,
    /// Ids of unreadable objects: any Secret with such an id may belong to them.
    pub unclear_ids: HashSet<String>,
}

impl Owned {
    fn holds<S: Sweep>(&self, secret: &GuardedMeta<Secret>) -> bool {
        let claim = claim::<S>(secret);
        self.claims.contains(&claim)
            || self.unclear_ids.contains(&claim.0)
            || secret.namespace().is_some_and(|namespace| self.unclear.contains(&namespace))
    }
}

/// Deletes the Secrets that have been orphans for the whole grace period.
pub async fn pass<S: Sweep>(context: &Context, orphans: &mut OrphanTracker) -> Result<(), Error> {
    let selector = ListParams::default().labels(&names::selector(S::COMPONENT));
    let mut secrets = Vec::new();
    let take = |secret| secrets.push(secret);
    let listed = pages::each_of(&S::places(context), selector, take).await;
    listed.map_err(Error::api("list Secrets"))?;
    // The owners are listed after the Secrets: see the documentation of `gc`.
    let owned = S::owned(context).await?;
    let grace = context.settings.orphan_grace.max(S::MIN_GRACE);
    for secret in secrets {
        let Some(uid) = secret.uid() else { continue };
        let may_go = may_go(&secret) && is_in::<S>(&context.settings.scope, &secret);
        if !may_go || owned.holds::<S>(&secret) {
            orphans.clear(&uid);
        } else if orphans.expired(&uid, Instant::now(), grace) {
            let (component, ObjectName { namespace, name }) = (S::COMPONENT, object_name(&secret));
            let api: Api<GuardedMeta<Secret>> = Api::namespaced(context.client.clone(), &namespace);
            // A Secret that cannot be deleted must not protect the following ones.
            if let Err(error) = delete_exactly(&api, &secret).await {
                warn!(kind = "Secret", %namespace, %name, component, %error, "failed to delete an orphaned Secret");
                continue;
            }
            orphans.clear(&uid);
            context.metrics.swept(component);
            info!(kind = "Secret", %namespace, %name, component, "deleted an orphaned Secret");
        }
    }
    Ok(())
}

/// What the owner of a Secret has to claim.
pub fn claim<S: Sweep>(secret: &GuardedMeta<Secret>) -> Claim {
    (secret.labels().get(names::ID).cloned().unwrap_or_default(), S::name(secret))
}

/// Whether the owner of the Secret would be in a watched namespace.
fn is_in<S: Sweep>(scope: &Scope, secret: &GuardedMeta<Secret>) -> bool {
    let owner = || S::owner_namespace(secret);
    *scope == Scope::CLUSTER || owner().is_some_and(|namespace| scope.contains(&namespace))
}

/// Whether the deletion policy of the Secret allows deleting it after its owner.
fn may_go(secret: &GuardedMeta<Secret>) -> bool {
    secret.annotations().get(names::DELETION_POLICY).is_some_and(|policy| policy == "Delete")
}

/// The uids of all watched namespaces, by name. A Secret of a deleted and re-created namespace is an
/// orphan, even if an object with the same id exists.
pub async fn namespace_uids(context: &Context) -> Result<HashMap<String, String>, Error> {
    let api: Api<GuardedMeta<Namespace>> = Api::all(context.client.clone());
    let mut uids = HashMap::new();
    let scope = &context.settings.scope;
    if !scope.namespaces().is_empty() {
        for name in scope.namespaces() {
            let namespace = api.read(name).await.map_err(Error::api("read Namespace"))?;
            uids.extend(namespace.uid().map(|uid| (name.clone(), uid)));
        }
        return Ok(uids);
    }
    let take = |namespace: GuardedMeta<Namespace>| {
        uids.extend(namespace.uid().map(|uid| (namespace.name_any(), uid)));
    };
    let listed = pages::each(&api, ListParams::default(), take).await;
    listed.map_err(Error::api("list Namespaces"))?;
    Ok(uids)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::api_keys::ApiKeys;
    use super::super::passwords::Passwords;
    use super::super::signing_keys::SigningKeys;
    use super::*;

    /// A Secret of the client, pool or member with the id `id`.
    fn secret(namespace: &str, name: &str, annotations: &Value) -> GuardedMeta<Secret> {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "namespace": namespace, "name": name, "labels": {"anon.dev/id": "id"},
                "annotations": annotations,
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_secret_to_take_over_is_claimed_by_its_new_owner() {
        let mut former = secret("anon-system", "old.users.signing-keys", &json!({}));
        assert_eq!(claim::<SigningKeys>(&former).1, "old.users.signing-keys");
        former.labels_mut().insert(names::INHERITED_BY.to_owned(), "new".to_owned());
        let claim = claim::<SigningKeys>(&former);
        assert_eq!(claim, ("id".to_owned(), names::signing_secret("new", "users")));
    }

    /// Otherwise an operator that no longer watches a namespace would delete its signing keys.
    #[test]
    fn secrets_of_unwatched_namespaces_are_left_alone() {
        let stored = |annotations| secret("anon-system", "s", &annotations);
        let of = |namespace| stored(json!({names::OWNER_NAMESPACE: namespace}));
        let scope = Scope::new(vec!["acme".into()]);
        assert!(is_in::<SigningKeys>(&scope, &of("acme")));
        assert!(!is_in::<SigningKeys>(&scope, &of("other")));
        assert!(!is_in::<Passwords>(&scope, &stored(json!({}))));
        assert!(is_in::<Passwords>(&Scope::CLUSTER, &stored(json!({}))));
        assert!(is_in::<ApiKeys>(&scope, &secret("acme", "key", &json!({}))));
        assert!(!is_in::<ApiKeys>(&scope, &secret("other", "key", &json!({}))));
    }

    #[test]
    fn beside_an_object_that_cannot_be_read_nothing_goes() {
        let (acme, other) = (secret("acme", "key", &json!({})), secret("other", "key", &json!({})));
        let owned = Owned { unclear: ["acme".to_owned()].into(), ..Owned::default() };
        assert!(owned.holds::<ApiKeys>(&acme));
        assert!(!owned.holds::<ApiKeys>(&other));
        let owned = Owned { unclear_ids: ["id".to_owned()].into(), ..Owned::default() };
        assert!(owned.holds::<Passwords>(&other));
        let owned = Owned { unclear_ids: ["another".to_owned()].into(), ..Owned::default() };
        assert!(!owned.holds::<Passwords>(&other));
    }
}
