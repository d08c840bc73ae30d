//! Garbage collection of orphaned Secrets. Key material has neither finalizers nor owner references
//! (a restore changes uids, and Kubernetes would then delete the keys), so the leader looks for
//! orphans itself.
//!
//! Safe by construction: the Secrets are listed first and their owners after that, both from the
//! API server's most recent state, so a missing owner has really been deleted. Only Secrets with
//! our labels and an id of ours are considered. An orphan is deleted only after it has been one for
//! the whole grace period, with uid and resourceVersion as preconditions. The grace period allows
//! Secrets to be restored before their owners. It restarts with a new leader. The Secrets of owners in
//! namespaces that are not watched are left alone.

mod orphans;
mod sign_ups;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::apply::delete_exactly;
use super::{Context, Error, Guarded, GuardedMeta, bindings};
use crate::crd::{Member, SdkClient, UserPool};
use crate::domain::ids::{MemberId, ObjectName, SdkClientId, UserPoolId};
use crate::domain::scope::Scope;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::names;
use crate::validate;
use orphans::OrphanTracker;

/// The maximum time between two passes.
const MAX_INTERVAL: Duration = Duration::from_mins(5);
/// The minimum grace period of a password hash, which is stored before status of its Member refers
/// to it.
const MIN_PASSWORD_GRACE: Duration = Duration::from_mins(3);
/// How long after a notification RoleBindings are checked, so that one pass covers many deletions.
const NOTIFICATION_DELAY: Duration = Duration::from_secs(1);

/// Collects garbage until dropped.
pub async fn run(context: &Context) {
    let grace = context.settings.orphan_grace;
    let interval = (grace / 4).clamp(Duration::from_millis(500), MAX_INTERVAL);
    let mut orphans = OrphanTracker::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate.
    ticks.tick().await;
    loop {
        if let Err(error) = bindings::collect(context).await {
            warn!(%error, "failed to check for orphaned RoleBindings; the next pass retries");
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = context.orphaned.notified() => {
                // Many members may be deleted together, and the index may be behind.
                tokio::time::sleep(NOTIFICATION_DELAY).await;
                continue;
            }
        }
        let mut complete = true;
        for sweep in [Sweep::SigningKeys, Sweep::Passwords, Sweep::ApiKeys] {
            if let Err(error) = pass(context, sweep, &mut orphans, sweep.grace(grace)).await {
                complete = false;
                warn!(component = sweep.component(), %error, "failed to check for orphaned Secrets; the next pass retries");
            }
        }
        if let Err(error) = sign_ups::records(context, &mut orphans, grace).await {
            complete = false;
            warn!(%error, "failed to delete old sign-up records; the next pass retries");
        }
        if context.settings.allow_sign_up
            && let Err(error) = sign_ups::pass(context, &mut orphans, grace).await
        {
            complete = false;
            warn!(%error, "failed to check for interrupted sign-ups; the next pass retries");
        }
        if complete {
            orphans.forget_unseen();
        }
    }
}

/// The kinds of Secret that are collected.
#[derive(Clone, Copy)]
enum Sweep {
    SigningKeys,
    Passwords,
    ApiKeys,
}

impl Sweep {
    const fn component(self) -> &'static str {
        match self {
            Self::SigningKeys => names::SIGNING_KEYS,
            Self::Passwords => names::PASSWORD,
            Self::ApiKeys => names::API_KEY,
        }
    }

    fn grace(self, grace: Duration) -> Duration {
        match self {
            Self::Passwords => grace.max(MIN_PASSWORD_GRACE),
            Self::SigningKeys | Self::ApiKeys => grace,
        }
    }
}

async fn pass(
    context: &Context,
    sweep: Sweep,
    orphans: &mut OrphanTracker,
    grace: Duration,
) -> Result<(), Error> {
    let client = &context.client;
    let apis: Vec<Api<GuardedMeta<Secret>>> = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => {
            vec![Api::namespaced(client.clone(), &context.settings.operator_namespace)]
        }
        Sweep::ApiKeys => context.apis(),
    };
    let selector = ListParams::default().labels(&names::selector(sweep.component()));
    let mut secrets = Vec::new();
    let listed = pages::each_of(&apis, selector, |secret| secrets.push(secret)).await;
    listed.map_err(Error::api("list Secrets"))?;
    // The owners are listed after the Secrets: see the module documentation.
    let owned = owned(context, sweep).await?;
    for secret in secrets {
        let Some(uid) = secret.uid() else { continue };
        if !may_go(&secret)
            || owned.holds(sweep, &secret)
            || !is_in(&context.settings.scope, sweep, &secret)
        {
            orphans.clear(&uid);
        } else if orphans.expired(&uid, Instant::now(), grace) {
            let (component, ObjectName { namespace, name }) =
                (sweep.component(), object_name(&secret));
            let api: Api<GuardedMeta<Secret>> = Api::namespaced(client.clone(), &namespace);
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

/// Ties a Secret to its owner: the id of the owner, and the name that the owner specifies for the
/// Secret.
type Claim = (String, String);

/// The Secrets that have an owner.
#[derive(Default)]
struct Owned {
    /// The Secrets of all existing owners.
    claims: HashSet<Claim>,
    /// Namespaces with an unreadable object: any Secret in them may belong to it.
    unclear: HashSet<String>,
    /// Ids of unreadable objects: any Secret with such an id may belong to them.
    unclear_ids: HashSet<String>,
}

impl Owned {
    fn holds(&self, sweep: Sweep, secret: &GuardedMeta<Secret>) -> bool {
        let claim = claim(sweep, secret);
        self.claims.contains(&claim)
            || self.unclear_ids.contains(&claim.0)
            || secret.namespace().is_some_and(|namespace| self.unclear.contains(&namespace))
    }
}

async fn owned(context: &Context, sweep: Sweep) -> Result<Owned, Error> {
    let mut owned = Owned::default();
    match sweep {
        Sweep::SigningKeys => {
            let mut pools = Vec::new();
            let take = |pool: GuardedMeta<UserPool>| pools.push(object_name(&pool));
            let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
            listed.map_err(Error::api("list UserPools"))?;
            let uids = namespace_uids(context).await?;
            let claim = |ObjectName { namespace, name }: &ObjectName| {
                let uid = uids.get(namespace)?.as_deref()?;
                let id = UserPoolId::derive(namespace, name);
                Some((id.to_string(), names::signing_secret(uid, name)))
            };
            owned.claims = pools.iter().filter_map(claim).collect();
        }
        Sweep::Passwords => {
            let mut members: Vec<Guarded<Member>> = Vec::new();
            let take = |member| members.push(member);
            let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
            listed.map_err(Error::api("list Members"))?;
            let uids = namespace_uids(context).await?;
            for member in members {
                let ObjectName { namespace, name } = object_name(&member);
                let id = MemberId::derive(&namespace, &name).to_string();
                match &member.0 {
                    Ok(member) => {
                        let uid = uids.get(&namespace).and_then(Option::as_deref);
                        let claimed = uid.zip(validate::password_id(member));
                        owned.claims.extend(claimed.map(|(uid, password)| {
                            (id, names::password_secret(uid, &name, password))
                        }));
                    }
                    Err(_) => {
                        owned.unclear_ids.insert(id);
                    }
                }
            }
        }
        Sweep::ApiKeys => {
            let take = |client: Guarded<SdkClient>| match client.0 {
                Ok(client) => {
                    owned.claims.extend(delivery_claims(&client).into_iter().flatten());
                }
                Err(unreadable) => owned.unclear.extend(unreadable.metadata.namespace),
            };
            let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
            listed.map_err(Error::api("list SdkClients"))?;
        }
    }
    Ok(owned)
}

/// The uids of all watched namespaces, by name. A Secret of a deleted and re-created namespace is an
/// orphan, even if an object with the same id exists.
async fn namespace_uids(context: &Context) -> Result<HashMap<String, Option<String>>, Error> {
    let api: Api<GuardedMeta<Namespace>> = Api::all(context.client.clone());
    let mut uids = HashMap::new();
    let scope = &context.settings.scope;
    if !scope.namespaces().is_empty() {
        for name in scope.namespaces() {
            let namespace = api.read(name).await.map_err(Error::api("read Namespace"))?;
            uids.insert(name.clone(), namespace.uid());
        }
        return Ok(uids);
    }
    let take = |namespace: GuardedMeta<Namespace>| {
        uids.insert(namespace.name_any(), namespace.uid());
    };
    let listed = pages::each(&api, ListParams::default(), take).await;
    listed.map_err(Error::api("list Namespaces"))?;
    Ok(uids)
}

/// The Secret that the spec specifies, and the one that the keys in status were delivered into: as
/// long as these differ, the latter is read to decide which keys are still valid.
fn delivery_claims(client: &SdkClient) -> Option<impl Iterator<Item = Claim>> {
    let namespace = client.namespace()?;
    let delivery = client.spec.service.as_ref()?.api_key.delivery.as_ref()?;
    // As in the Secret's label. The spec need not be valid otherwise.
    let derived = || SdkClientId::derive(&namespace, &client.name_any()).to_string();
    let id = client.spec.client_id.clone().unwrap_or_else(derived);
    let former = client.status.as_ref().and_then(|status| status.secret_name.as_ref());
    let secrets = [Some(&delivery.secret_name), former].into_iter().flatten();
    Some(secrets.map(move |secret| (id.clone(), format!("{namespace}/{secret}"))))
}

fn claim(sweep: Sweep, secret: &GuardedMeta<Secret>) -> Claim {
    let id = secret.labels().get(names::ID).cloned().unwrap_or_default();
    let place = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => {
            let name = secret.name_any();
            // What will be taken over belongs to the owner already.
            match names::heir(&name, secret.labels()) {
                Some(uid) => names::inherited(&name, uid),
                None => name,
            }
        }
        Sweep::ApiKeys => object_name(secret).to_string(),
    };
    (id, place)
}

/// Whether the owner of the Secret would be in a watched namespace. Signing keys and password hashes
/// are in the operator's namespace and have it in an annotation.
fn is_in(scope: &Scope, sweep: Sweep, secret: &GuardedMeta<Secret>) -> bool {
    let noted = || secret.annotations().get(names::OWNER_NAMESPACE).cloned();
    let namespace = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => noted(),
        Sweep::ApiKeys => secret.namespace(),
    };
    *scope == Scope::CLUSTER || namespace.is_some_and(|namespace| scope.contains(&namespace))
}

/// Whether the deletion policy of the Secret allows deleting it after its owner.
fn may_go(secret: &GuardedMeta<Secret>) -> bool {
    secret.annotations().get(names::DELETION_POLICY).is_some_and(|policy| policy == "Delete")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::SdkClientStatus;

    fn client(spec: &serde_json::Value) -> SdkClient {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"namespace": "acme", "name": "backend"}, "spec": spec,
        }))
        .unwrap()
    }

    fn secret(namespace: &str, name: &str, id: &str) -> GuardedMeta<Secret> {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "namespace": namespace, "name": name, "labels": {"anon.dev/id": id},
            }
        }))
        .unwrap()
    }

    fn is_claimed(client: &SdkClient, secret: &GuardedMeta<Secret>) -> bool {
        delivery_claims(client).unwrap().any(|owned| owned == claim(Sweep::ApiKeys, secret))
    }

    #[test]
    fn a_secret_is_claimed_by_id_and_place() {
        let service = serde_json::json!(
            {"role": "Member", "apiKey": {"delivery": {"secretName": "key"}}}
        );
        let derived = SdkClientId::derive("acme", "backend").to_string();
        let mut backend = client(&serde_json::json!({"service": service}));
        assert!(is_claimed(&backend, &secret("acme", "key", &derived)));
        assert!(!is_claimed(&backend, &secret("acme", "old-key", &derived)));
        assert!(!is_claimed(&backend, &secret("copied", "key", &derived)));

        // The Secret that the keys in status were delivered into, until they are in the new one.
        let old = Some("old-key".to_owned());
        backend.status = Some(SdkClientStatus { secret_name: old, ..SdkClientStatus::default() });
        assert!(is_claimed(&backend, &secret("acme", "key", &derived)));
        assert!(is_claimed(&backend, &secret("acme", "old-key", &derived)));

        // A client with a clientId of its own has that in the label of its Secret.
        let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
        let spec = serde_json::json!({"clientId": chosen, "service": service});
        assert!(is_claimed(&client(&spec), &secret("acme", "key", chosen)));
    }

    #[test]
    fn a_secret_to_take_over_is_claimed_by_its_new_owner() {
        let mut former = secret("anon-system", "old.users.signing-keys", "id");
        assert_eq!(claim(Sweep::SigningKeys, &former).1, "old.users.signing-keys");
        former.labels_mut().insert(names::INHERITED_BY.to_owned(), "new".to_owned());
        let claim = claim(Sweep::SigningKeys, &former);
        assert_eq!(claim, ("id".to_owned(), names::signing_secret("new", "users")));
    }

    /// Otherwise an operator that no longer watches a namespace would delete its signing keys.
    #[test]
    fn secrets_of_unwatched_namespaces_are_left_alone() {
        let signing = |annotations: serde_json::Value| -> GuardedMeta<Secret> {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"namespace": "anon-system", "name": "s", "annotations": annotations},
            }))
            .unwrap()
        };
        let of = |namespace| signing(serde_json::json!({names::OWNER_NAMESPACE: namespace}));
        let scope = Scope::new(vec!["acme".into()]);
        assert!(is_in(&scope, Sweep::SigningKeys, &of("acme")));
        assert!(!is_in(&scope, Sweep::SigningKeys, &of("other")));
        assert!(!is_in(&scope, Sweep::Passwords, &signing(serde_json::json!({}))));
        assert!(is_in(&Scope::CLUSTER, Sweep::Passwords, &signing(serde_json::json!({}))));
        assert!(is_in(&scope, Sweep::ApiKeys, &secret("acme", "key", "x")));
        assert!(!is_in(&scope, Sweep::ApiKeys, &secret("other", "key", "x")));
    }

    #[test]
    fn beside_an_object_that_cannot_be_read_nothing_goes() {
        let owned = Owned { unclear: ["acme".to_owned()].into(), ..Owned::default() };
        assert!(owned.holds(Sweep::ApiKeys, &secret("acme", "key", "x")));
        assert!(!owned.holds(Sweep::ApiKeys, &secret("other", "key", "x")));
        let owned = Owned { unclear_ids: ["x".to_owned()].into(), ..Owned::default() };
        assert!(owned.holds(Sweep::Passwords, &secret("anon-system", "key", "x")));
        assert!(!owned.holds(Sweep::Passwords, &secret("anon-system", "key", "y")));
    }
}
