//! Reads what the plan depends on, and generates the key that it will need.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::Api;

use super::decide::{Decision, Owned, Stored};
use super::{Facts, Next, Observed};
use crate::controller::expectations::Published;
use crate::controller::plan::Met;
use crate::controller::sdk_client::delivery::Contents;
use crate::controller::sdk_client::ownership;
use crate::controller::sdk_client::pending::Pending;
use crate::controller::{Context, Error, apply};
use crate::crd;
use crate::domain::client::{Delivery, SdkClient, Service};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::revocation::RevocationTarget;
use crate::domain::rotation::Reach;
use crate::domain::rotation::api_keys::NextKey;
use crate::domain::stored_key::ApiKeyState;
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;

/// How long another leader has to deliver its Next key, from the acknowledgement by every validator
/// on. Without this pause, two leaders would replace each other's keys endlessly.
const TAKEOVER_DELAY: Duration = Duration::from_secs(5);

/// Reads the Secret, determines which of its keys belong to the client, and generates the key that
/// the plan will need.
pub async fn observe(
    context: &Context,
    object: &crd::SdkClient,
    client: &SdkClient,
    service: &Service,
    delivery: &Delivery,
    met: Option<Met>,
) -> Result<Observed, Error> {
    let namespace = &client.name.namespace;
    let stored = match met {
        Some(Met::Existing(secret)) => Some(*secret),
        // The Secret of a client without keys in status usually does not exist yet, so the read is
        // skipped. If it does exist, the attempt to create it returns it.
        _ if service.keys.is_empty() => None,
        _ => apply::read_secret(&context.client, namespace, &delivery.secret_name).await?,
    };
    let now = context.clock.now();
    let revocations = context.reader.revocations(RevocationTarget::SdkClient, &client.name, now);
    let status = object.status.as_ref();
    let delivered_into = status.and_then(|status| status.secret_name.clone());
    let former = match &delivered_into {
        Some(name) if *name != delivery.secret_name => {
            apply::read_secret(&context.client, namespace, name).await?
        }
        _ => None,
    };
    // Two leaders have written them to status of two clients. Validators reject them.
    let is_contested = |hash: &KeyHash| context.reader.is_key_recorded_besides(hash, &client.name);
    let facts = Facts {
        now: revocations.iter().filter_map(|it| it.created_before).fold(now, Timestamp::max),
        public_url: context.settings.public_url.clone(),
        record_keys: context.record_keys.get(context).await?,
        revocations,
        stored,
        delivered_into,
        former,
        replacing: status.and_then(|status| status.replacing.clone()),
        contested: service.keys.hashes().copied().filter(is_contested).collect(),
        next: next(context, object, client, service),
    };
    let planner = facts.planner(client, service, delivery);
    let stored = planner.read();
    let owned = match &stored {
        Stored::Ours { contents, .. } => {
            owned(context, object, client, service, &facts, contents).await?
        }
        Stored::Missing { .. } | Stored::Foreign { .. } => None,
    };
    let mut decision = planner.decide(stored, owned);
    let (mut new_key, mut new_next) = (None, None);
    match &mut decision {
        Decision::Create { .. } | Decision::Replace { .. } => {
            new_key = Some(generate(context, client)?);
        }
        Decision::Step(ready) => match (ready.step.next, &facts.next) {
            (NextKey::Publish, _) => {
                let (key, created_at) = (generate(context, client)?, facts.now);
                new_next = Some(key.hash());
                context.pending.put(&client.name, Pending { key, created_at });
            }
            (NextKey::Deliver, Some(next))
                if !is_published(context, client, &next.hash).await? =>
            {
                ready.step.next = NextKey::Acknowledge;
            }
            _ => {}
        },
        _ => {}
    }
    Ok(Observed { facts, decision, new_key, new_next })
}

/// Generates a key, and reserves its hash until status lists it.
fn generate(context: &Context, client: &SdkClient) -> Result<ApiKey, Error> {
    let key = ApiKey::generate()?;
    context.ownership.reserve(&context.reader, &client.name, key.hash());
    Ok(key)
}

/// The Next key in status.
fn next(
    context: &Context,
    object: &crd::SdkClient,
    client: &SdkClient,
    service: &Service,
) -> Option<Next> {
    let published = service.keys.iter().find(|key| key.state == ApiKeyState::Next)?;
    let hash = published.hash.to_string();
    let Published { write, acknowledged, acknowledged_for } =
        context.expectations.publication(object, &hash, &context.replicas);
    let pending = context.pending.get(&client.name, published.hash);
    let reach = reach(pending.is_some(), acknowledged_for);
    Some(Next {
        hash: published.hash,
        created_at: published.created_at,
        reach,
        pending,
        waiting: acknowledged.waiting_note(&write),
        acknowledged_by: acknowledged.text,
    })
}

/// How far a key has propagated that every validator has acknowledged for this long, as this leader
/// has seen it. If the plain text is lost, or another leader has it, the key is left alone for a
/// while. Before it is acknowledged, nobody could deliver it, and no other key either.
fn reach(has_plain_text: bool, acknowledged_for: Option<Duration>) -> Reach {
    match (has_plain_text, acknowledged_for) {
        (true, Some(_)) => Reach::Everywhere,
        (false, Some(time)) if time >= TAKEOVER_DELAY => Reach::Nowhere,
        _ => Reach::Published,
    }
}

/// The delivered keys that belong to the client. `None` if that is not known yet.
async fn owned(
    context: &Context,
    object: &crd::SdkClient,
    client: &SdkClient,
    service: &Service,
    facts: &Facts,
    contents: &Contents,
) -> Result<Option<Owned>, Error> {
    let (mut owned, mut asked) = (Owned::default(), Vec::new());
    for key in &contents.delivered {
        if service.lists(&key.hash) {
            owned.all.insert(key.hash);
            if facts.contested.contains(&key.hash) {
                owned.conflict = owned.conflict.or(Some(key.hash));
            }
        } else if contents.recorded.contains(&key.hash) {
            asked.push((key.hash, Evidence::Recorded));
        } else {
            asked.push((key.hash, Evidence::PlainText));
        }
    }
    let version = object.resource_version().unwrap_or_default();
    for (hash, ruling) in ownership::rule(context, client, &version, &asked).await? {
        match ruling {
            Ruling::Granted => drop(owned.all.insert(hash)),
            Ruling::Conflict => owned.conflict = Some(hash),
            Ruling::Wait | Ruling::LookUp => return Ok(None),
        }
    }
    Ok(Some(owned))
}

/// Whether status still lists the key. Reads it again, as another leader may have replaced it.
async fn is_published(context: &Context, client: &SdkClient, key: &KeyHash) -> Result<bool, Error> {
    let api: Api<Tolerant<crd::SdkClient>> =
        Api::namespaced(context.client.clone(), &client.name.namespace);
    let fresh = api.read(&client.name.name).await;
    let fresh = fresh.map_err(Error::api("read SdkClient"))?;
    let hash = key.to_string();
    let keys = fresh.status.iter().flat_map(|status| &status.keys);
    Ok(fresh.metadata.deletion_timestamp.is_none() && keys.into_iter().any(|it| it.sha256 == hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_another_leader_has_its_turn_and_then_is_replaced() {
        let before = TAKEOVER_DELAY.saturating_sub(Duration::from_millis(1));
        // However long the acknowledgement takes: the other leader waits for it, too.
        assert_eq!(reach(false, None), Reach::Published);
        assert_eq!(reach(false, Some(Duration::ZERO)), Reach::Published);
        assert_eq!(reach(false, Some(before)), Reach::Published);
        assert_eq!(reach(false, Some(TAKEOVER_DELAY)), Reach::Nowhere);
        // Our own waits until it is acknowledged, however long that takes.
        assert_eq!(reach(true, None), Reach::Published);
        assert_eq!(reach(true, Some(Duration::ZERO)), Reach::Everywhere);
    }
}
