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
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, ResourceExt as _};
use tracing::{info, warn};

use super::apply::delete_exactly;
use super::{Context, Error, sign_ups};
use crate::crd::{Member, SdkClient, UserPool};
use crate::domain::ids::{MemberId, SdkClientId, UserPoolId};
use crate::names;

/// The longest time between two looks.
const MAX_INTERVAL: Duration = Duration::from_mins(5);

/// Sweeps for as long as it is not dropped.
pub async fn run(context: &Context) {
    let grace = context.settings.orphan_grace;
    let interval = (grace / 4).clamp(Duration::from_millis(500), MAX_INTERVAL);
    let mut orphans = Orphans::default();
    loop {
        tokio::time::sleep(interval).await;
        for sweep in [Sweep::SigningKeys, Sweep::Passwords, Sweep::ApiKeys] {
            if let Err(error) = pass(context, sweep, &mut orphans, grace).await {
                warn!(component = sweep.component(), %error, "could not sweep; the next pass tries again");
            }
        }
        if context.settings.allow_sign_up
            && let Err(error) = sign_ups::pass(context, &mut orphans, grace).await
        {
            warn!(%error, "could not look after sign-ups; the next pass tries again");
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
}

/// Since when each orphan has been seen, by uid.
#[derive(Default)]
pub struct Orphans(HashMap<String, Instant>);

impl Orphans {
    /// Whether `uid`, seen as an orphan at `now`, has been one for `grace`.
    pub fn ripe(&mut self, uid: &str, now: Instant, grace: Duration) -> bool {
        let since = *self.0.entry(uid.to_owned()).or_insert(now);
        now.saturating_duration_since(since) >= grace
    }

    /// It belongs to somebody (again), or is gone.
    pub fn clear(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

async fn pass(
    context: &Context,
    sweep: Sweep,
    orphans: &mut Orphans,
    grace: Duration,
) -> Result<(), Error> {
    let client = &context.client;
    let api: Api<Secret> = match sweep {
        Sweep::SigningKeys | Sweep::Passwords => {
            Api::namespaced(client.clone(), &context.settings.operator_namespace)
        }
        Sweep::ApiKeys => Api::all(client.clone()),
    };
    let selector = ListParams::default().labels(&names::selector(sweep.component()));
    let secrets = api.list_metadata(&selector).await.map_err(Error::api("list Secrets"))?;
    // Order matters: see the module's comment.
    let owned = owned(client, sweep).await?;
    for secret in secrets {
        let Some(uid) = secret.uid() else { continue };
        if !may_go(&secret) || owned.contains(&claim(sweep, &secret)) {
            orphans.clear(&uid);
        } else if orphans.ripe(&uid, Instant::now(), grace) {
            let namespace = secret.namespace().unwrap_or_default();
            let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            delete_exactly(&api, &secret).await?;
            orphans.clear(&uid);
            context.metrics.swept(sweep.component());
            info!(%namespace, name = %secret.name_any(), component = sweep.component(), "removed a Secret that belonged to nobody");
        }
    }
    Ok(())
}

/// What ties a Secret to its owner: the owner's id, and the place where that owner wants it.
type Claim = (String, String);

/// The claims of everything that lives.
async fn owned(client: &Client, sweep: Sweep) -> Result<HashSet<Claim>, Error> {
    let all = ListParams::default();
    match sweep {
        Sweep::SigningKeys => {
            let pools = Api::<UserPool>::all(client.clone()).list_metadata(&all).await;
            let pools = pools.map_err(Error::api("list UserPools"))?;
            let uids = namespace_uids(client).await?;
            let claim = |pool: &PartialObjectMeta<UserPool>| {
                let (namespace, name) = (pool.namespace()?, pool.name_any());
                let uid = uids.get(&namespace)?.as_deref()?;
                let id = UserPoolId::derive(&namespace, &name);
                Some((id.to_string(), names::signing_secret(uid, &name)))
            };
            Ok(pools.iter().filter_map(claim).collect())
        }
        Sweep::Passwords => {
            let members = Api::<Member>::all(client.clone()).list_metadata(&all).await;
            let members = members.map_err(Error::api("list Members"))?;
            let uids = namespace_uids(client).await?;
            let claim = |member: &PartialObjectMeta<Member>| {
                let (namespace, name) = (member.namespace()?, member.name_any());
                let uid = uids.get(&namespace)?.as_deref()?;
                let id = MemberId::derive(&namespace, &name);
                Some((id.to_string(), names::password_secret(uid, &name)))
            };
            Ok(members.iter().filter_map(claim).collect())
        }
        Sweep::ApiKeys => {
            let clients = Api::<SdkClient>::all(client.clone()).list(&all).await;
            let clients = clients.map_err(Error::api("list SdkClients"))?;
            Ok(clients.iter().filter_map(delivery_claim).collect())
        }
    }
}

/// By name. What belongs to a namespace that was deleted and created again is an orphan, though an
/// object of the same id lives.
async fn namespace_uids(client: &Client) -> Result<HashMap<String, Option<String>>, Error> {
    let all = ListParams::default();
    let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&all).await;
    let namespaces = namespaces.map_err(Error::api("list Namespaces"))?;
    Ok(namespaces.iter().map(|namespace| (namespace.name_any(), namespace.uid())).collect())
}

fn delivery_claim(client: &SdkClient) -> Option<Claim> {
    let namespace = client.namespace()?;
    let delivery = client.spec.service.as_ref()?.api_key.delivery.as_ref()?;
    let id = SdkClientId::derive(&namespace, &client.name_any());
    Some((id.to_string(), format!("{namespace}/{}", delivery.secret_name)))
}

fn claim(sweep: Sweep, secret: &PartialObjectMeta<Secret>) -> Claim {
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
fn may_go(secret: &PartialObjectMeta<Secret>) -> bool {
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
    }

    #[test]
    fn a_secret_is_claimed_by_id_and_place() {
        let client: SdkClient = serde_json::from_value(serde_json::json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient",
            "metadata": {"namespace": "acme", "name": "backend"},
            "spec": {"service": {"role": "Member", "apiKey": {"delivery": {"secretName": "key"}}}}
        }))
        .unwrap();
        let secret = |namespace: &str, name: &str| -> PartialObjectMeta<Secret> {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {
                    "namespace": namespace, "name": name,
                    "labels": {"anon.dev/id": SdkClientId::derive("acme", "backend").to_string()}
                }
            }))
            .unwrap()
        };
        let owned = delivery_claim(&client).unwrap();
        assert_eq!(claim(Sweep::ApiKeys, &secret("acme", "key")), owned);
        assert_ne!(claim(Sweep::ApiKeys, &secret("acme", "old-key")), owned);
        assert_ne!(claim(Sweep::ApiKeys, &secret("copied", "key")), owned);
    }
}
