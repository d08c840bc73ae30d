//! Removes Secrets that belong to nobody any more. There are no finalizers and no owner references
//! on key material (a restore changes uids, and garbage collection would eat the keys), so
//! somebody has to look.
//!
//! Safe by construction: the Secrets are listed first and their owners after that, both from the
//! API server's most recent state, so an owner that is missing really is gone; only what is ours
//! by label and by id is considered; only an orphan that has been seen for the whole grace goes,
//! and with uid and resourceVersion as preconditions. The grace lets Secrets be restored before
//! the objects that own them. A new leader starts the grace anew.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt as _};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::apply::delete_exactly;
use super::{Context, Error, Guarded, GuardedMeta, bindings, sign_ups};
use crate::crd::{Member, SdkClient, UserPool};
use crate::domain::ids::{MemberId, SdkClientId, UserPoolId};
use crate::kube_ext::pages;
use crate::names;
use crate::validate;

/// The longest time between two looks.
const MAX_INTERVAL: Duration = Duration::from_mins(5);
/// A password is stored before its Member names it: at least this much later it is nobody's.
const NAMED_BY_THEN: Duration = Duration::from_mins(3);
/// How long after a hint RoleBindings are looked at.
const MOMENT: Duration = Duration::from_secs(1);

/// Sweeps for as long as it is not dropped.
pub async fn run(context: &Context) {
    let grace = context.settings.orphan_grace;
    let interval = (grace / 4).clamp(Duration::from_millis(500), MAX_INTERVAL);
    let mut orphans = Orphans::default();
    let mut look = tokio::time::interval(interval);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate.
    look.tick().await;
    loop {
        if let Err(error) = bindings::collect(context).await {
            warn!(%error, "could not look for RoleBindings without a Member; the next pass tries again");
        }
        tokio::select! {
            _ = look.tick() => {}
            () = context.orphaned.notified() => {
                // Many members may go together, and the index hears of it in its own time.
                tokio::time::sleep(MOMENT).await;
                continue;
            }
        }
        let mut complete = true;
        for sweep in [Sweep::SigningKeys, Sweep::Passwords, Sweep::ApiKeys] {
            if let Err(error) = pass(context, sweep, &mut orphans, sweep.grace(grace)).await {
                complete = false;
                warn!(component = sweep.component(), %error, "could not sweep; the next pass tries again");
            }
        }
        if let Err(error) = sign_ups::records(context, &mut orphans, grace).await {
            complete = false;
            warn!(%error, "could not remove records of sign-ups; the next pass tries again");
        }
        if context.settings.allow_sign_up
            && let Err(error) = sign_ups::pass(context, &mut orphans, grace).await
        {
            complete = false;
            warn!(%error, "could not look after sign-ups; the next pass tries again");
        }
        if complete {
            orphans.forget_unseen();
        }
    }
}

/// The sorts of Secret.
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
            Self::Passwords => grace.max(NAMED_BY_THEN),
            Self::SigningKeys | Self::ApiKeys => grace,
        }
    }
}

/// The orphans, by uid.
#[derive(Default)]
pub struct Orphans(HashMap<String, Orphan>);

struct Orphan {
    /// Since when it has been one.
    since: Instant,
    /// Whether it was seen since the others were forgotten.
    seen: bool,
}

impl Orphans {
    /// Whether `uid`, seen as an orphan at `now`, has been one for `grace`.
    pub fn ripe(&mut self, uid: &str, now: Instant, grace: Duration) -> bool {
        let orphan = self.0.entry(uid.to_owned()).or_insert(Orphan { since: now, seen: true });
        orphan.seen = true;
        now.saturating_duration_since(orphan.since) >= grace
    }

    /// It belongs to somebody (again), or is gone.
    pub fn clear(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// Forgets what was not seen since this was called last: somebody else has removed it.
    pub fn forget_unseen(&mut self) {
        self.0.retain(|_, orphan| std::mem::take(&mut orphan.seen));
    }
}

async fn pass(
    context: &Context,
    sweep: Sweep,
    orphans: &mut Orphans,
    grace: Duration,
) -> Result<(), Error> {
    let client = &context.client;
    let api: Api<GuardedMeta<Secret>> = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => {
            Api::namespaced(client.clone(), &context.settings.operator_namespace)
        }
        Sweep::ApiKeys => Api::all(client.clone()),
    };
    let selector = ListParams::default().labels(&names::selector(sweep.component()));
    let mut secrets = Vec::new();
    let listed = pages::each(&api, selector, |secret| secrets.push(secret)).await;
    listed.map_err(Error::api("list Secrets"))?;
    // Order matters: see the module's comment.
    let owned = owned(client, sweep).await?;
    for secret in secrets {
        let Some(uid) = secret.uid() else { continue };
        if !may_go(&secret) || owned.holds(sweep, &secret) {
            orphans.clear(&uid);
        } else if orphans.ripe(&uid, Instant::now(), grace) {
            let namespace = secret.namespace().unwrap_or_default();
            let (name, component) = (secret.name_any(), sweep.component());
            let api: Api<GuardedMeta<Secret>> = Api::namespaced(client.clone(), &namespace);
            // One that cannot be removed must not protect all that come after it.
            if let Err(error) = delete_exactly(&api, &secret).await {
                warn!(%namespace, %name, component, %error, "could not remove a Secret that belongs to nobody");
                continue;
            }
            orphans.clear(&uid);
            context.metrics.swept(component);
            info!(%namespace, %name, component, "removed a Secret that belonged to nobody");
        }
    }
    Ok(())
}

/// What ties a Secret to its owner: the owner's id, and the place where that owner wants it.
type Claim = (String, String);

/// What belongs to somebody.
#[derive(Default)]
struct Owned {
    /// The claims of everything that lives.
    claims: HashSet<Claim>,
    /// Namespaces with an object that cannot be read: whatever is in there may be its.
    unclear: HashSet<String>,
    /// Ids of objects that cannot be read: whatever bears one may be theirs.
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

async fn owned(client: &Client, sweep: Sweep) -> Result<Owned, Error> {
    let mut owned = Owned::default();
    match sweep {
        Sweep::SigningKeys => {
            let mut pools = Vec::new();
            let api: Api<GuardedMeta<UserPool>> = Api::all(client.clone());
            let take = |pool: GuardedMeta<UserPool>| pools.extend(name_of(&pool));
            let listed = pages::each(&api, ListParams::default(), take).await;
            listed.map_err(Error::api("list UserPools"))?;
            let uids = namespace_uids(client).await?;
            let claim = |(namespace, name): &(String, String)| {
                let uid = uids.get(namespace)?.as_deref()?;
                let id = UserPoolId::derive(namespace, name);
                Some((id.to_string(), names::signing_secret(uid, name)))
            };
            owned.claims = pools.iter().filter_map(claim).collect();
        }
        Sweep::Passwords => {
            let mut members: Vec<Guarded<Member>> = Vec::new();
            let api: Api<Guarded<Member>> = Api::all(client.clone());
            let listed = pages::each(&api, ListParams::default(), |member| members.push(member));
            listed.await.map_err(Error::api("list Members"))?;
            let uids = namespace_uids(client).await?;
            for member in members {
                let (namespace, name) = (member.namespace().unwrap_or_default(), member.name_any());
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
            let api: Api<Guarded<SdkClient>> = Api::all(client.clone());
            let take = |client: Guarded<SdkClient>| match client.0 {
                Ok(client) => owned.claims.extend(delivery_claim(&client)),
                Err(unreadable) => owned.unclear.extend(unreadable.metadata.namespace),
            };
            let listed = pages::each(&api, ListParams::default(), take).await;
            listed.map_err(Error::api("list SdkClients"))?;
        }
    }
    Ok(owned)
}

/// Also of an object that cannot be read.
fn name_of(object: &impl Resource) -> Option<(String, String)> {
    Some((object.meta().namespace.clone()?, object.meta().name.clone()?))
}

/// By name. What belongs to a namespace that was deleted and created again is an orphan, though an
/// object of the same id lives.
async fn namespace_uids(client: &Client) -> Result<HashMap<String, Option<String>>, Error> {
    let api: Api<GuardedMeta<Namespace>> = Api::all(client.clone());
    let mut uids = HashMap::new();
    let take = |namespace: GuardedMeta<Namespace>| {
        uids.insert(namespace.name_any(), namespace.uid());
    };
    let listed = pages::each(&api, ListParams::default(), take).await;
    listed.map_err(Error::api("list Namespaces"))?;
    Ok(uids)
}

fn delivery_claim(client: &SdkClient) -> Option<Claim> {
    let namespace = client.namespace()?;
    let delivery = client.spec.service.as_ref()?.api_key.delivery.as_ref()?;
    // As the Secret's label says it, also of a client whose spec is refused for another reason.
    let derived = || SdkClientId::derive(&namespace, &client.name_any()).to_string();
    let id = client.spec.client_id.clone().unwrap_or_else(derived);
    Some((id, format!("{namespace}/{}", delivery.secret_name)))
}

fn claim(sweep: Sweep, secret: &GuardedMeta<Secret>) -> Claim {
    let id = secret.labels().get(names::ID).cloned().unwrap_or_default();
    let place = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => secret.name_any(),
        Sweep::ApiKeys => {
            format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name_any())
        }
    };
    (id, place)
}

/// Whether the Secret says that it may be removed with its owner.
fn may_go(secret: &GuardedMeta<Secret>) -> bool {
    secret.annotations().get(names::DELETION_POLICY).is_some_and(|policy| policy == "Delete")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_goes_after_the_whole_grace() {
        let mut orphans = Orphans::default();
        let grace = Duration::from_hours(1);
        let start = Instant::now();
        assert!(!orphans.ripe("a", start, grace));
        assert!(!orphans.ripe("a", start + grace / 2, grace));
        orphans.clear("a");
        assert!(!orphans.ripe("a", start + grace, grace));
        assert!(orphans.ripe("a", start + grace * 2, grace));
        // Whoever removed it, it is forgotten with the next pass that does not see it.
        orphans.forget_unseen();
        assert!(orphans.ripe("a", start + grace * 3, grace));
        orphans.forget_unseen();
        orphans.forget_unseen();
        assert!(orphans.0.is_empty());
    }

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

    #[test]
    fn a_secret_is_claimed_by_id_and_place() {
        let service = serde_json::json!(
            {"role": "Member", "apiKey": {"delivery": {"secretName": "key"}}}
        );
        let derived = SdkClientId::derive("acme", "backend").to_string();
        let owned = delivery_claim(&client(&serde_json::json!({"service": service}))).unwrap();
        assert_eq!(claim(Sweep::ApiKeys, &secret("acme", "key", &derived)), owned);
        assert_ne!(claim(Sweep::ApiKeys, &secret("acme", "old-key", &derived)), owned);
        assert_ne!(claim(Sweep::ApiKeys, &secret("copied", "key", &derived)), owned);

        // One that chose its clientId has that on its Secret.
        let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
        let spec = serde_json::json!({"clientId": chosen, "service": service});
        let owned = delivery_claim(&client(&spec)).unwrap();
        assert_eq!(claim(Sweep::ApiKeys, &secret("acme", "key", chosen)), owned);
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
