//! A `hosted` pool: the operator creates, rotates and revokes its signing keys in a Secret of the
//! operator's own namespace, and publishes the public keys in status and in a ConfigMap beside the
//! pool.
//!
//! The signing Secret is authoritative ([`former`] has the exception), and each step of
//! [`signing_keys`](crate::domain::rotation::signing_keys) is one write of it, with the
//! resourceVersion that was read: of two leaders, one gets a 409 and starts over. Everything public
//! is derived from it, so the order is: Secret -> ConfigMap -> status. A Next key signs only after
//! status has published it and every validator has acknowledged that: Secret (Next) -> status ->
//! acknowledgements -> Secret (acknowledged since) -> Secret (Active) -> status. The next
//! reconciliation completes a crash between any two of them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::desired::{self, SigningSecret};
use super::status_keys;
use crate::controller::events::EventNote;
use crate::controller::expectations::{Children, Published};
use crate::controller::plan::{Met, Plan, SecretWrite, Write};
use crate::controller::{
    Context, Error, PROPAGATION_CHECK_INTERVAL, Requeue, apply, former, matched,
};
use crate::crd::condition::{ExtraCondition, Readiness};
use crate::crd::reasons::{EventReason, ExtraReason, ReadyReason};
use crate::crd::{self, UserPoolStatus};
use crate::domain::algorithm::Algorithm;
use crate::domain::duration::later;
use crate::domain::pool::{Hosted, UserPool};
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::rotation::Reach;
use crate::domain::rotation::inheritance::inherit;
use crate::domain::rotation::signing_keys::{Change, Circumstances, Policy, Step};
use crate::domain::signing::SigningKey;
use crate::domain::signing_key_set::{StoredKey, StoredKeySet};
use crate::names;
use crate::validate;

/// The facts that the plan depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// The latest time that the clock has returned.
    pub latest: Timestamp,
    /// Base URL of the public endpoints.
    pub public_url: String,
    /// The namespace of the signing Secret.
    pub operator_namespace: String,
    /// The uid of the namespace of the pool.
    pub namespace_uid: String,
    /// The signing Secret; `None` if it does not exist.
    pub stored: Option<Secret>,
    /// The Secrets of a former namespace that the pool takes over.
    pub former: Vec<Secret>,
    /// The Revocations of keys of the pool.
    pub revocations: Vec<Arc<Revocation>>,
    /// How far the Next key has propagated.
    pub reach: Reach,
    /// The Pods that have not acknowledged the Next key, if that takes long.
    pub waiting_for: Option<String>,
    /// The key that the step asks for.
    pub new_key: Option<SigningKey>,
    /// The API server's message if it refuses to store the result of the step.
    pub refused: Option<String>,
}

/// Reads the signing Secret, and generates the key that the step asks for.
pub async fn observe(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    hosted: &Hosted,
    met: Option<Met>,
) -> Result<Observed, Error> {
    let operator_namespace = context.settings.operator_namespace.clone();
    let namespace_uid = context.namespace_uid(&pool.name.namespace).await?;
    let (existing, refused) = match met {
        Some(Met::Existing(secret)) => (Some(*secret), None),
        Some(Met::Refused(said)) => (None, Some(said)),
        None => (None, None),
    };
    let stored = if existing.is_some() {
        existing
    } else {
        let name = SigningSecret::new(pool, &namespace_uid).name;
        apply::read_secret(&context.client, &operator_namespace, &name).await?
    };
    let former = former::read(context, names::SIGNING_KEYS, &pool.name, &pool.id).await?;
    let now = context.clock.now();
    let mut observed = Observed {
        now,
        latest: context.clock.latest(),
        public_url: context.settings.public_url.clone(),
        operator_namespace,
        namespace_uid,
        stored,
        former,
        revocations: context.reader.revocations(RevocationTarget::UserPool, &pool.name, now),
        reach: Reach::Nowhere,
        waiting_for: None,
        new_key: None,
        refused,
    };
    // The acknowledgements are for the version at which this leader has first read status with the
    // key, even if another leader has written it.
    let Keys { set, unreadable, .. } = observed.keys();
    let published = object.status.iter().flat_map(|status| &status.keys);
    let next = set.as_ref().and_then(StoredKeySet::next).map(StoredKey::kid);
    if let Some(key) = published.into_iter().find(|key| Some(key.kid.as_str()) == next) {
        let Published { write, acknowledged, .. } =
            context.expectations.publication(object, &key.kid, &context.replicas);
        observed.reach = if acknowledged.everywhere { Reach::Everywhere } else { Reach::Published };
        observed.waiting_for = acknowledged.waiting_for(&write);
    }
    if unreadable.is_none() && observed.refused.is_none() {
        let step = observed.step(&policy(object, hosted), pool, set.as_ref());
        if let Some((algorithm, _)) = step.make {
            observed.new_key = Some(generate(context, algorithm).await?);
        }
    }
    Ok(observed)
}

/// RSA takes 50 ms of CPU time and sometimes several times that, so few keys are generated at a
/// time, and none on a thread that serves requests.
async fn generate(context: &Context, algorithm: Algorithm) -> Result<SigningKey, Error> {
    // The semaphore is never closed, so this cannot fail.
    let _permit = context.generating.acquire().await;
    Ok(tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await??)
}

fn policy(object: &crd::UserPool, hosted: &Hosted) -> Policy {
    Policy {
        algorithm: hosted.algorithm,
        interval: hosted.rotation_interval,
        longest_lifetime: hosted.max_lifetime,
        requested: validate::requested_rotation(object).unwrap_or_default(),
    }
}

/// Takes the keys of the pool one step further. Pure.
pub fn plan(
    object: &crd::UserPool,
    pool: &UserPool,
    hosted: &Hosted,
    observed: &Observed,
) -> Result<Plan<UserPoolStatus>, Error> {
    let secret = SigningSecret::new(pool, &observed.namespace_uid);
    let policy = policy(object, hosted);
    let Keys { set, taken_over, inherited, unused, unreadable } = observed.keys();
    if let Some(name) = &unreadable {
        let unchanged = object.status.clone().unwrap_or_default();
        let readiness = desired::unreadable(&observed.operator_namespace, name);
        // Without our labels the watch would not see the Secret either.
        let requeue = Requeue::Later;
        return Ok(Plan { requeue, ..Plan::publish(vec![], unchanged, readiness) });
    }
    let mut writes = observed.matched(set.as_ref());
    if let (Some(said), Some(mut set)) = (&observed.refused, set.clone()) {
        // Revoked keys are withdrawn all the same.
        set.keys.retain(|key| !observed.is_revoked(key));
        let readiness = Readiness::new(ReadyReason::Refused, said.clone());
        let publishes = set.next().map(|next| next.kid().to_owned());
        let status = desired::status(pool, &set, &observed.public_url);
        writes.push(desired::config_map(object, pool, &status)?);
        let requeue = Requeue::Later;
        return Ok(Plan { requeue, publishes, ..Plan::publish(writes, status, readiness) });
    }
    let mut step = observed.step(&policy, pool, set.as_ref());
    if step.make.is_some() {
        let key = observed.new_key.as_ref().ok_or(Error::Incomplete { what: "a new key" })?;
        let issuer = desired::issuer(pool, &observed.public_url);
        observed.case(pool, |case| policy.add(&mut step, key, issuer, case))?;
    }
    let mut status = desired::status(pool, &step.set, &observed.public_url);
    status.next_rotation = step.next_rotation.map(Time);
    let transitions = step.changes.iter().map(transition).collect();
    let write = |secret, may_be_refused| SecretWrite {
        transitions,
        may_be_refused,
        ..SecretWrite::new(&observed.operator_namespace, secret)
    };
    let mut events = Vec::new();
    if let Some(stored) = &observed.stored {
        if let Some(corrected) = secret.corrected(stored, hosted, &step.set)? {
            writes.push(Write::ReplaceSecret(write(corrected, true)));
        }
        events.extend(step.changes.iter().map(event));
    } else {
        writes.push(Write::CreateSecret(write(secret.secret(hosted, &step.set)?, false)));
        // The first key of a pool deserves no Event, unless there was a key before.
        if set.is_some() {
            events.extend(step.changes.iter().map(event));
        } else if !status_keys::of_same_source(pool, object.status.as_ref()).is_empty() {
            events.push(lost(&step.set));
        }
    }
    // Before status publishes their keys: the API signs with an Active key that is published, and
    // what is Active in a former Secret is now Retiring.
    for former in taken_over {
        let former = SecretWrite::new(&observed.operator_namespace, former.clone());
        writes.push(Write::DeleteSecret(former));
    }
    events.extend(event_of_inheritance(&inherited, &step.set));
    writes.push(desired::config_map(object, pool, &status)?);
    let mut readiness = desired::readiness(&step.set);
    readiness.notes.extend(observed.deferral(&step));
    readiness.notes.extend(not_inherited(&observed.operator_namespace, &unused));
    let version = observed.stored.as_ref().and_then(ResourceExt::resource_version);
    Ok(Plan {
        events,
        requeue: if step.waits_for_validators {
            Requeue::At(later(observed.now, PROPAGATION_CHECK_INTERVAL))
        } else {
            step.wake_at.map_or(Requeue::OnChange, Requeue::At)
        },
        children: Some(Children::from_iter(version.map(|version| ("Secret".into(), version)))),
        publishes: step.set.next().map(|next| next.kid().to_owned()),
        ..Plan::publish(writes, status, readiness)
    })
}

/// The stored keys, together with those of former Secrets.
struct Keys<'o> {
    /// `None` if there are none, or if they are unreadable.
    set: Option<StoredKeySet>,
    /// The former Secrets whose keys are in the set.
    taken_over: Vec<&'o Secret>,
    /// The ids of the keys that come from them.
    inherited: Vec<String>,
    /// The names of the former Secrets whose keys cannot be used.
    unused: Vec<String>,
    /// The name of a Secret that has to be restored before anything is written.
    unreadable: Option<String>,
}

fn kids(set: Option<&StoredKeySet>) -> Vec<String> {
    set.iter().flat_map(|set| &set.keys).map(|key| key.kid().to_owned()).collect()
}

fn sound(secret: &Secret) -> Option<StoredKeySet> {
    desired::read(secret).filter(StoredKeySet::is_sound)
}

impl Observed {
    fn keys(&self) -> Keys<'_> {
        let mut keys = Keys {
            set: self.stored.as_ref().and_then(sound),
            taken_over: Vec::new(),
            inherited: Vec::new(),
            unused: Vec::new(),
            unreadable: None,
        };
        if keys.set.is_none() && self.stored.is_some() {
            keys.unreadable = self.stored.as_ref().map(ResourceExt::name_any);
            return keys;
        }
        for former in &self.former {
            let own = kids(keys.set.as_ref());
            let at = self.latest.max(self.now);
            let merged = sound(former).and_then(|set| inherit(keys.set.clone(), set, at));
            if let Some(merged) = merged {
                let new = kids(Some(&merged)).into_iter().filter(|kid| !own.contains(kid));
                keys.inherited.extend(new);
                keys.set = Some(merged);
                keys.taken_over.push(former);
            } else {
                keys.unused.push(former.name_any());
            }
        }
        if keys.set.is_none() {
            // A new key would sign in the place of one that can perhaps still be restored.
            keys.unreadable = keys.unused.first().cloned();
        }
        keys
    }

    fn step(&self, policy: &Policy, pool: &UserPool, set: Option<&StoredKeySet>) -> Step {
        match set {
            Some(set) => self.case(pool, |case| policy.step(set, case)),
            None => policy.first(),
        }
    }

    /// The writes that record which of the stored keys are revoked.
    fn matched(&self, set: Option<&StoredKeySet>) -> Vec<Write> {
        let keys = set.iter().flat_map(|set| &set.keys);
        let keys: Vec<_> = keys.map(|key| (key.kid().to_owned(), Some(key.published_at))).collect();
        matched::record(&self.revocations, &keys, self.now)
    }

    fn is_revoked(&self, key: &StoredKey) -> bool {
        let created_at = Some(key.published_at);
        self.revocations.iter().any(|it| it.covers_key(key.kid(), created_at, self.now))
    }

    fn case<R>(&self, pool: &UserPool, with: impl FnOnce(&Circumstances<'_>) -> R) -> R {
        // A key created in the same second as a revocation must not be covered by it.
        let limits = self.revocations.iter().filter_map(|it| it.created_before);
        with(&Circumstances {
            now: self.now,
            latest: self.latest,
            made_at: limits.fold(self.now, Timestamp::max),
            next: self.reach,
            is_revoked: &|key: &StoredKey| self.is_revoked(key),
            id: &pool.id.to_string(),
        })
    }

    /// Why a rotation is deferred, if it is.
    fn deferral(&self, step: &Step) -> Option<ExtraCondition> {
        if let Some(until) = step.deferred_until {
            return Some(ExtraCondition::new(
                ExtraReason::TooManyKeys,
                format!("the maximum number of keys is published; deferred at least until {until}"),
            ));
        }
        let pods = self.waiting_for.as_ref().filter(|_| step.waits_for_validators)?;
        Some(ExtraCondition::new(
            ExtraReason::WaitingForValidators,
            format!(
                "the next key signs once every validator has acknowledged it; waiting for: {pods}"
            ),
        ))
    }
}

/// That keys were taken over, if any of them are in the set that is stored.
fn event_of_inheritance(inherited: &[String], set: &StoredKeySet) -> Option<EventNote> {
    let count = kids(Some(set)).iter().filter(|kid| inherited.contains(kid)).count();
    let active = set.active().map(StoredKey::kid)?;
    (count > 0).then(|| {
        EventNote::new(
            EventReason::KeysInherited,
            format!(
                "took over the keys of the former namespace ({count}), whose tokens are valid again; key {active} signs"
            ),
        )
    })
}

/// That the keys of former Secrets cannot be used, if there are such Secrets.
fn not_inherited(operator_namespace: &str, unused: &[String]) -> Option<ExtraCondition> {
    let name = unused.first()?;
    Some(ExtraCondition::new(
        ExtraReason::FormerKeysUnusable,
        format!(
            "Secret `{operator_namespace}/{name}` is to be taken over, but has no usable key set, or more keys than the pool can publish; restore it, or remove its label {}",
            names::INHERITED_BY
        ),
    ))
}

fn lost(set: &StoredKeySet) -> EventNote {
    let active = set.active().map(StoredKey::kid).unwrap_or_default();
    EventNote::new(
        EventReason::KeyReplaced,
        format!(
            "the Secret with the signing keys was deleted: key {active} signs from now on, and tokens signed by earlier keys are rejected"
        ),
    )
}

fn event(change: &Change) -> EventNote {
    match change {
        Change::Published(kid) => EventNote::new(
            EventReason::KeyPublished,
            format!(
                "published key {kid}; it starts to sign once every verifier has had time to load it"
            ),
        ),
        Change::Activated(kid) => {
            EventNote::new(EventReason::KeyActivated, format!("key {kid} signs from now on"))
        }
        Change::Retired(kid, until) => EventNote::new(
            EventReason::KeyRetired,
            format!("retired key {kid}; its tokens remain valid, and it is removed at {until}"),
        ),
        Change::Gone(kid) => EventNote::new(
            EventReason::KeyRemoved,
            format!("removed key {kid}: every token that it signed has expired"),
        ),
        Change::Discarded(kid) => EventNote::new(
            EventReason::KeyDiscarded,
            format!("removed key {kid} before it signed: the algorithm has changed"),
        ),
        Change::Revoked(kid) => {
            EventNote::new(EventReason::KeyRevoked, format!("revoked and destroyed key {kid}"))
        }
    }
}

const fn transition(change: &Change) -> &'static str {
    match change {
        Change::Published(_) => "published",
        Change::Activated(_) => "activated",
        Change::Retired(..) => "retired",
        Change::Gone(_) => "gone",
        Change::Discarded(_) => "discarded",
        Change::Revoked(_) => "revoked",
    }
}
