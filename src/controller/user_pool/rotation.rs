//! Creates, rotates and revokes the signing keys of a hosted pool.
//!
//! The signing Secret is authoritative, and each step of
//! [`signing_keys`](crate::domain::rotation::signing_keys) is one write of it, with the resourceVersion
//! that was read: of two leaders, one gets a 409 and starts over. Status is derived from it. A Next
//! key signs only after status has published it and every validator has acknowledged that, so the
//! order is: Secret (Next) -> status -> acknowledgements -> Secret (acknowledged since) -> Secret
//! (Active) -> status. The next reconciliation completes a crash between any two of them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;

use super::desired::{self, SigningSecret};
use super::status_keys;
use crate::controller::apply::{self, Created};
use crate::controller::events::{self, EventNote};
use crate::controller::{Context, Error, PROPAGATION_CHECK_INTERVAL, Requeue};
use crate::crd::UserPool;
use crate::crd::condition::ExtraCondition;
use crate::crd::reasons::{EventReason, ExtraReason};
use crate::domain::algorithm::Algorithm;
use crate::domain::duration::later;
use crate::domain::pool::{self, Hosted};
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::rotation::signing_keys::{Change, Circumstances, Policy, Reach, Step};
use crate::domain::signing::SigningKey;
use crate::domain::signing_key_set::{SigningKeyState, StoredKey, StoredKeySet};
use crate::validate;

/// How long a Next key may be unacknowledged before more is done than wait.
const REPORT_DELAY: Duration = Duration::from_secs(2);

/// The outcome of a step.
pub struct KeysOutcome {
    /// The stored key set.
    pub set: StoredKeySet,
    /// When the next key will sign.
    pub next_rotation: Option<jiff::Timestamp>,
    /// Why a rotation is deferred, if it is.
    pub note: Option<ExtraCondition>,
    /// When to reconcile again.
    pub requeue: Requeue,
    /// The API server's message if it refuses to store the set. The set is then the stored one
    /// without the revoked keys: these are withdrawn from status all the same.
    pub refused: Option<String>,
    /// Whether previously stored keys are lost.
    lost: bool,
    changes: Vec<Change>,
}

/// Takes the keys of a pool one step further. `None` if the stored set is unreadable.
pub async fn keys(
    context: &Context,
    object: &UserPool,
    pool: &pool::UserPool,
    hosted: &Hosted,
    secret: &SigningSecret,
) -> Result<Option<KeysOutcome>, Error> {
    let requested = validate::requested_rotation(object).unwrap_or_default();
    let policy = Policy {
        algorithm: hosted.algorithm,
        interval: hosted.rotation_interval,
        longest_lifetime: hosted.max_lifetime,
        requested,
    };
    let now = context.clock.now();
    let revocations = context.reader.revocations(RevocationTarget::UserPool, &pool.name, now);
    let keeper =
        SigningKeyReconciler { context, object, pool, hosted, secret, policy, revocations };
    let namespace = &context.settings.operator_namespace;
    let stored = match apply::read_secret(&context.client, namespace, &secret.name).await? {
        Some(stored) => stored,
        None => match keeper.begin().await? {
            Ok(keys) => return Ok(Some(keys)),
            // Another leader was faster: its key is the pool's key.
            Err(stored) => stored,
        },
    };
    match desired::read(&stored).filter(StoredKeySet::is_sound) {
        Some(set) => keeper.go_on(&stored, &set).await.map(Some),
        None => Ok(None),
    }
}

/// Whether this pool only has to wait until its Next key is acknowledged everywhere. That usually
/// takes a quarter of a second. When many pools rotate at once, reading from the API server in the
/// meantime would slow all of them down.
pub fn is_on_its_way(context: &Context, object: &UserPool) -> bool {
    let Some(status) = &object.status else { return false };
    let next = status.keys.iter().find(|key| key.state == SigningKeyState::Next);
    let write = next.and_then(|next| context.tracker.publication(object, &next.kid));
    status.observed_generation == object.meta().generation
        && write.is_some_and(|write| {
            write.at.elapsed() < REPORT_DELAY && !context.replicas.is_applied_everywhere(&write)
        })
}

/// Logs and publishes an Event for each change.
pub async fn report(context: &Context, object: &UserPool, keys: &KeysOutcome) {
    if keys.lost {
        let active = keys.set.active().map(StoredKey::kid).unwrap_or_default();
        let note = format!(
            "the Secret with the signing keys was deleted: key {active} signs from now on, and tokens signed by earlier keys are rejected"
        );
        events::log_and_publish(context, object, EventNote::new(EventReason::KeyReplaced, note))
            .await;
    }
    for change in &keys.changes {
        let happened = match change {
            Change::Published(kid) => EventNote::new(
                EventReason::KeyPublished,
                format!("published key {kid}; it signs once every verifier can have loaded it"),
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
        };
        events::log_and_publish(context, object, happened).await;
    }
}

struct SigningKeyReconciler<'k> {
    context: &'k Context,
    object: &'k UserPool,
    pool: &'k pool::UserPool,
    hosted: &'k Hosted,
    secret: &'k SigningSecret,
    policy: Policy,
    revocations: Vec<Arc<Revocation>>,
}

impl SigningKeyReconciler<'_> {
    /// Creates and stores the first key of the pool, or reads the Secret that exists by now.
    async fn begin(&self) -> Result<Result<KeysOutcome, Secret>, Error> {
        let id = self.pool.id.to_string();
        let case = self.circumstances(&id, Reach::Nowhere, &|_| false);
        let mut step = self.policy.first();
        self.make(&mut step, &case).await?;
        let secret = self.secret.secret(self.hosted, &step.set)?;
        let namespace = &self.context.settings.operator_namespace;
        match apply::create_secret(&self.context.client, namespace, &secret).await? {
            Created::New(_) => {
                self.count(&step);
                // The first key of a pool deserves no Event, unless there was a key before.
                step.changes.clear();
                let lost = status_keys::of_same_source(self.pool, self.object.status.as_ref());
                let lost = !lost.is_empty();
                Ok(Ok(KeysOutcome { lost, ..self.keys(step, &case, None) }))
            }
            Created::Existing(stored) => Ok(Err(stored)),
        }
    }

    async fn go_on(&self, stored: &Secret, set: &StoredKeySet) -> Result<KeysOutcome, Error> {
        let id = self.pool.id.to_string();
        let (reach, waiting) = self.reach(set);
        let now = self.context.clock.now();
        let is_revoked = |key: &StoredKey| {
            let created_at = Some(key.published_at);
            self.revocations.iter().any(|it| it.covers_key(key.kid(), created_at, now))
        };
        let case = self.circumstances(&id, reach, &is_revoked);
        let mut step = self.policy.step(set, &case);
        self.make(&mut step, &case).await?;
        if let Some(corrected) = self.secret.corrected(stored, self.hosted, &step.set)? {
            let namespace = &self.context.settings.operator_namespace;
            let replaced = apply::replace_secret(&self.context.client, namespace, &corrected).await;
            if let Err(error) = replaced {
                let Some(said) = error.refusal() else { return Err(error) };
                let mut set = set.clone();
                set.keys.retain(|key| !is_revoked(key));
                return Ok(KeysOutcome {
                    set,
                    next_rotation: None,
                    note: None,
                    requeue: Requeue::Later,
                    refused: Some(said),
                    lost: false,
                    changes: Vec::new(),
                });
            }
            self.count(&step);
        }
        Ok(self.keys(step, &case, waiting))
    }

    fn circumstances<'c>(
        &self,
        id: &'c str,
        next: Reach,
        is_revoked: &'c (dyn Fn(&StoredKey) -> bool + Sync),
    ) -> Circumstances<'c> {
        let now = self.context.clock.now();
        let latest = self.context.clock.latest();
        // A key created in the same second as a revocation must not be covered by it.
        let limits = self.revocations.iter().filter_map(|it| it.created_before);
        let made_at = limits.max().unwrap_or(now).max(now);
        Circumstances { now, latest, made_at, next, is_revoked, id }
    }

    /// How far the Next key has propagated, and which Pods have not acknowledged it if that takes
    /// long. The acknowledgements are for the version at which this leader has first read status
    /// with the key, even if another leader has written it.
    fn reach(&self, set: &StoredKeySet) -> (Reach, Option<String>) {
        let published = self.object.status.iter().flat_map(|status| &status.keys);
        let next = set.next().map(StoredKey::kid);
        let next = published.map(|key| &key.kid).find(|kid| Some(kid.as_str()) == next);
        let Some(kid) = next else { return (Reach::Nowhere, None) };
        let write = self.context.tracker.published(self.object, kid);
        let reached = self.context.replicas.acknowledged(&write);
        let reach = if reached.everywhere { Reach::Everywhere } else { Reach::Published };
        (reach, reached.waiting_for(&write))
    }

    /// Generates the key that the step asks for. RSA takes 50 ms of CPU time and sometimes several
    /// times that, so few keys are generated at a time, and none on a thread that serves requests.
    async fn make(&self, step: &mut Step, case: &Circumstances<'_>) -> Result<(), Error> {
        let Some((algorithm, _)) = step.make else { return Ok(()) };
        let key = generate(self.context, algorithm).await?;
        let issuer = desired::issuer(self.pool, &self.context.settings.public_url);
        Ok(self.policy.add(step, &key, issuer, case)?)
    }

    fn keys(&self, step: Step, case: &Circumstances<'_>, waiting: Option<String>) -> KeysOutcome {
        let requeue = if step.waits_for_validators {
            Requeue::At(later(case.now, PROPAGATION_CHECK_INTERVAL))
        } else {
            step.wake_at.map_or(Requeue::OnChange, Requeue::At)
        };
        let on_its_way = requeue != Requeue::OnChange && is_on_its_way(self.context, self.object);
        let note = match (step.deferred_until, waiting.filter(|_| step.waits_for_validators)) {
            (Some(until), _) => Some(ExtraCondition::new(
                ExtraReason::TooManyKeys,
                format!("the maximum number of keys is published; deferred at least until {until}"),
            )),
            (None, Some(pods)) => Some(ExtraCondition::new(
                ExtraReason::WaitingForValidators,
                format!(
                    "the next key signs once every validator has acknowledged it; waiting for: {pods}"
                ),
            )),
            (None, None) => None,
        };
        KeysOutcome {
            requeue: if on_its_way { Requeue::Soon } else { requeue },
            next_rotation: step.next_rotation,
            set: step.set,
            note,
            refused: None,
            lost: false,
            changes: step.changes,
        }
    }

    fn count(&self, step: &Step) {
        for change in &step.changes {
            self.context.metrics.signing_key(transition(change));
        }
    }
}

async fn generate(context: &Context, algorithm: Algorithm) -> Result<SigningKey, Error> {
    // The semaphore is never closed, so this cannot fail.
    let _permit = context.generating.acquire().await;
    Ok(tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await??)
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
