//! A service client whose API key is delivered into a Secret.
//!
//! The Secret is authoritative: it contains the current key, and an annotation with a MAC records
//! every valid key. Status is derived from it, so the next reconciliation completes a crash between
//! any two writes. The orders of writes:
//!
//! * **create**: Secret -> status. A hash in status without a Secret would belong to a key that no
//!   one has.
//! * **rotate**: hash of the new key in status (`Next`) -> acknowledgement by every validator ->
//!   Secret -> status. So consumers never get a key that a validator rejects. A `Next` key whose
//!   plain text was lost in a crash is replaced.
//! * **a key that someone else wrote to the Secret**: status, if no other client has it -> Secret.
//!   The MAC of the record is evidence of ownership, so the record contains only hashes that belong
//!   to the client already.

mod observe;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::ClientPlan;
use super::delivery::{self, Contents, DeliverySecret, Desired};
use super::pending::Pending;
use crate::controller::events::EventNote;
use crate::controller::expectations::Children;
use crate::controller::plan::{SecretWrite, Write};
use crate::controller::{Error, PROPAGATION_CHECK_INTERVAL, Requeue, matched};
use crate::crd;
use crate::crd::condition::{ExtraCondition, Readiness};
use crate::crd::reasons::{EventReason, ExtraReason, ReadyReason};
use crate::domain::client::{Delivery, SdkClient, Service};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::duration::later;
use crate::domain::record_mac::{RecordKeys, SignedBy};
use crate::domain::revocation::Revocation;
use crate::domain::rotation::Reach;
use crate::domain::rotation::api_keys::{ApiKeyState, DeliveredKey, NextKey, Step};
pub use observe::observe;

/// The facts that the plan depends on.
pub struct Observed {
    /// The current time, but not before the limit of any Revocation: a key that is created now must
    /// not be covered by one, even if this clock is behind the clock of the API server. Otherwise it
    /// would be revoked and replaced endlessly.
    pub now: Timestamp,
    /// Base URL of the public endpoints.
    pub public_url: String,
    /// The keys of the MACs.
    pub record_keys: Arc<RecordKeys>,
    /// The Revocations of the client's keys.
    pub revocations: Vec<Arc<Revocation>>,
    /// The Secret; `None` if it does not exist.
    pub stored: Option<Secret>,
    /// The keys of the Secret that belong to the client. `None` if that is not known yet.
    pub owned: Option<Owned>,
    /// The Next key in status.
    pub next: Option<Next>,
    /// A new key for the Secret, if one is needed.
    pub new_key: Option<ApiKey>,
    /// The hash of a new Next key, if one is to be published.
    pub new_next: Option<KeyHash>,
}

/// The keys of a Secret that belong to the client.
#[derive(Default)]
pub struct Owned {
    /// Their hashes.
    pub all: HashSet<KeyHash>,
    /// A key that belongs to another client.
    pub conflict: Option<KeyHash>,
    /// Whether the status of another client lists one of them, too.
    pub contested: bool,
}

/// A Next key.
pub struct Next {
    /// Its hash.
    pub hash: KeyHash,
    /// Its creation time, as published in status.
    pub created_at: Option<Timestamp>,
    /// How far it has propagated. A key whose plain text is lost has to be replaced: nowhere.
    pub reach: Reach,
    /// Its plain text, unless another leader has published it.
    pub pending: Option<Arc<Pending>>,
    /// The validators that have acknowledged it, for messages.
    pub acknowledged_by: String,
    /// The validators that have not acknowledged it, for a message, if that takes long.
    pub waiting: String,
}

/// What to do, before any new key exists.
enum Decision {
    /// The Secret was not created for this client.
    Foreign,
    /// It does not exist.
    Create,
    /// It is not known yet to which client a key belongs.
    Wait,
    /// Immediately replaces a key that was deleted, is malformed or is revoked. Previous keys that
    /// are not revoked remain valid.
    Replace { previous: Vec<DeliveredKey>, why: &'static str },
    /// The key in the Secret belongs to another client. It is not overwritten.
    Conflict { previous: Vec<DeliveredKey>, hash: KeyHash },
    /// These belong to the client, but must be in status before they are recorded with a MAC.
    Adopt(Vec<DeliveredKey>),
    /// All keys belong to the client: its next step.
    Step(Box<Ready>),
}

struct Ready {
    key: ApiKey,
    step: Step,
    /// The last completed rotation request.
    rotated: String,
    /// Whether a correction of the Secret is no repair: a record changes when the MAC key is
    /// rotated and when an overlap ends.
    is_expected: bool,
}

/// Creates, repairs or rotates the key in the client's Secret. Pure. `None` if it is not known yet
/// to which client a key belongs.
pub fn plan(
    client: &SdkClient,
    service: &Service,
    delivery: &Delivery,
    observed: &Observed,
) -> Result<Option<ClientPlan>, Error> {
    let planner = observed.planner(client, service, delivery);
    let planned = match planner.decide() {
        Decision::Wait => return Ok(None),
        Decision::Foreign => planner.foreign(),
        Decision::Create => planner.create()?,
        Decision::Replace { previous, why } => planner.replace(&previous, why)?,
        Decision::Conflict { previous, hash } => {
            let step = planner.step(&previous, false);
            let requeue = step.wake_at.map_or(Requeue::OnChange, Requeue::At);
            ClientPlan { conflict: Some(hash), ..planner.deliver_status(&step.live, requeue) }
        }
        Decision::Adopt(delivered) => {
            let step = planner.step(&delivered, false);
            ClientPlan {
                next_rotation: step.next_rotation,
                conflict: planner.conflict(),
                ..planner.deliver_status(&step.live, Requeue::Soon)
            }
        }
        Decision::Step(ready) => {
            let planned = match ready.step.next {
                NextKey::Publish => planner.publish(&ready)?,
                NextKey::Acknowledge => planner.acknowledge(&ready)?,
                NextKey::Deliver => planner.deliver(&ready)?,
                NextKey::NotDue | NextKey::Deferred(_) => planner.settle(&ready)?,
            };
            ClientPlan { conflict: planner.conflict(), ..planned }
        }
    };
    Ok(Some(ClientPlan { matched: planner.matched(), ..planned }))
}

impl Observed {
    fn planner<'o>(
        &'o self,
        client: &'o SdkClient,
        service: &'o Service,
        delivery: &'o Delivery,
    ) -> Planner<'o> {
        let secret = DeliverySecret::new(client, delivery, &self.public_url, &self.record_keys);
        Planner { observed: self, client, service, delivery, secret }
    }
}

struct Planner<'o> {
    observed: &'o Observed,
    client: &'o SdkClient,
    service: &'o Service,
    delivery: &'o Delivery,
    secret: DeliverySecret<'o>,
}

impl Planner<'_> {
    /// The content of a Secret of ours, without keys that are revoked or whose overlap has ended,
    /// and whether an overlap has ended.
    fn contents(&self) -> Option<(Contents, bool)> {
        let stored = self.observed.stored.as_ref()?;
        let delivery::Observed::Ours(mut contents) =
            self.secret.observe(stored, &self.service.keys)
        else {
            return None;
        };
        let ended = contents.delivered.iter().any(|key| self.is_over(key));
        contents.delivered.retain(|key| !self.is_revoked(key) && !self.is_over(key));
        Some((contents, ended))
    }

    fn decide(&self) -> Decision {
        if self.observed.stored.is_none() {
            return Decision::Create;
        }
        let Some((contents, ended)) = self.contents() else { return Decision::Foreign };
        let Some(owned) = &self.observed.owned else { return Decision::Wait };
        let Contents { key, mut delivered, rotated, signed_by, recorded } = contents;
        let Some(key) = key else {
            return Decision::Replace { previous: delivered, why: "was missing or malformed" };
        };
        let is_owned = |key: &DeliveredKey| owned.all.contains(&key.hash);
        let has_current =
            |keys: &[DeliveredKey]| keys.iter().any(|key| key.state == ApiKeyState::Current);
        if !has_current(&delivered) {
            delivered.retain(is_owned);
            return Decision::Replace { previous: delivered, why: "was revoked" };
        }
        delivered.retain(is_owned);
        if !has_current(&delivered) {
            return Decision::Conflict { previous: delivered, hash: key.hash() };
        }
        // A hash that may belong to another client must not be recorded with a MAC.
        let own =
            |key: &DeliveredKey| recorded.contains(&key.hash) || self.service.lists(&key.hash);
        if owned.contested || !delivered.iter().all(own) {
            return Decision::Adopt(delivered);
        }
        // A rotation request that exists when the Secret is first seen is recorded and not carried
        // out: restoring or copying an object must not rotate its key.
        let rotated = rotated.unwrap_or_else(|| self.requested().to_owned());
        let requested = self.delivery.requested_rotation.is_some() && rotated != self.requested();
        let step = self.step(&delivered, requested);
        let is_expected = ended || signed_by == Some(SignedBy::Previous);
        Decision::Step(Box::new(Ready { key, step, rotated, is_expected }))
    }

    /// Creates the Secret. Nothing is in status before, so that no hash belongs to a key that no one
    /// has.
    fn create(&self) -> Result<ClientPlan, Error> {
        let key = self.new_key()?;
        let delivered = self.delivery.rotation.deliver(&[], key.hash(), self.observed.now);
        let desired = Desired { key, delivered: &delivered, rotated: self.requested() };
        let write = SecretWrite::new(&self.client.name.namespace, self.secret.secret(&desired)?);
        let was_deleted = !self.service.keys.is_empty();
        let event = was_deleted.then(|| {
            EventNote::new(
                EventReason::KeyReplaced,
                format!(
                    "Secret `{}` was deleted; re-created it with a new API key, and all earlier keys are rejected",
                    self.secret.name()
                ),
            )
        });
        let settled = self.settled(&self.step(&delivered, false), Children::new());
        Ok(ClientPlan { write: Some(Write::CreateSecret(write)), event, ..settled })
    }

    fn replace(&self, previous: &[DeliveredKey], why: &str) -> Result<ClientPlan, Error> {
        let key = self.new_key()?;
        let delivered = self.delivery.rotation.deliver(previous, key.hash(), self.observed.now);
        let desired = Desired { key, delivered: &delivered, rotated: self.requested() };
        let event = EventNote::new(
            EventReason::KeyReplaced,
            format!(
                "the key in Secret `{}` {why}; replaced it with API key {}",
                self.secret.name(),
                key.hash().id()
            ),
        );
        Ok(ClientPlan {
            write: self.correct(&desired)?,
            event: Some(event),
            ..self.deliver_status(&delivered, Requeue::Soon)
        })
    }

    /// Repairs the Secret if it has drifted. No rotation is due, or it is deferred.
    fn settle(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let step = &ready.step;
        let mut planned = self.settled(step, self.stored_version());
        planned.write = self.repair(ready)?;
        if planned.write.is_some() && !ready.is_expected {
            let note = format!("Secret `{}` had drifted and was repaired", self.secret.name());
            planned.event = Some(EventNote::new(EventReason::SecretRepaired, note));
        }
        if let NextKey::Deferred(until) = step.next {
            planned.readiness.notes.push(ExtraCondition::new(
                ExtraReason::TooManyKeys,
                format!(
                    "rotation is deferred at least until {until}: {} previous keys are still valid, which is the maximum",
                    step.live.len().saturating_sub(1)
                ),
            ));
        }
        Ok(planned)
    }

    /// Publishes the hash of the Next key. In the meantime, the Secret is still repaired.
    fn publish(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let next = self.observed.new_next.ok_or(Error::Incomplete { what: "a new key" })?;
        let planned = self.with_next(ready, next, Some(self.observed.now));
        Ok(ClientPlan { write: self.repair(ready)?, ..planned })
    }

    /// Waits until every validator has acknowledged the Next key.
    fn acknowledge(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let next = self.next()?;
        let mut planned = self.with_next(ready, next.hash, next.created_at);
        planned.requeue = Requeue::At(later(self.observed.now, PROPAGATION_CHECK_INTERVAL));
        if next.pending.is_some() {
            planned.readiness.notes.push(ExtraCondition::new(
                ExtraReason::WaitingForValidators,
                format!(
                    "the new key is delivered once every validator has acknowledged it{}",
                    next.waiting
                ),
            ));
        }
        Ok(planned)
    }

    /// Delivers the Next key: it becomes Current, and the Current key becomes Previous.
    fn deliver(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let next = self.next()?;
        let pending = next.pending.as_ref().ok_or(Error::Incomplete { what: "the next key" })?;
        let now = self.observed.now;
        let delivered = self.delivery.rotation.deliver(&ready.step.live, next.hash, now);
        let desired =
            Desired { key: &pending.key, delivered: &delivered, rotated: self.requested() };
        let event = EventNote::new(
            EventReason::KeyRotated,
            format!(
                "rotated API key {} into Secret `{}` (acknowledged by {})",
                next.hash.id(),
                self.secret.name(),
                next.acknowledged_by
            ),
        );
        Ok(ClientPlan {
            write: self.correct(&desired)?,
            event: Some(event),
            // Planned now, because the next reconciliation would have to write status once more.
            ..self.settled(&self.step(&delivered, false), self.stored_version())
        })
    }

    fn step(&self, delivered: &[DeliveredKey], requested: bool) -> Step {
        let reach = self.observed.next.as_ref().map_or(Reach::Nowhere, |next| next.reach);
        self.delivery.rotation.step(self.client.id, delivered, requested, reach, self.observed.now)
    }

    fn new_key(&self) -> Result<&ApiKey, Error> {
        self.observed.new_key.as_ref().ok_or(Error::Incomplete { what: "a new key" })
    }

    fn next(&self) -> Result<&Next, Error> {
        self.observed.next.as_ref().ok_or(Error::Incomplete { what: "the next key" })
    }

    fn conflict(&self) -> Option<KeyHash> {
        self.observed.owned.as_ref().and_then(|owned| owned.conflict)
    }

    /// Whether the key was replaced and its overlap has ended.
    fn is_over(&self, key: &DeliveredKey) -> bool {
        key.state == ApiKeyState::Previous
            && key.expires_at.is_none_or(|end| end <= self.observed.now)
    }

    fn is_revoked(&self, key: &DeliveredKey) -> bool {
        let covers =
            |it: &Arc<Revocation>| it.covers_key(&key.hash.id(), key.created_at, self.observed.now);
        self.observed.revocations.iter().any(covers)
    }

    /// The writes that record which keys of the client are revoked: of those in status, and of those
    /// in the Secret, which may have been restored.
    fn matched(&self) -> Vec<Write> {
        let id = |hash: &KeyHash, created_at| (hash.id(), created_at);
        let mut keys: Vec<_> =
            self.service.keys.iter().map(|key| id(&key.hash, key.created_at)).collect();
        let stored = self.observed.stored.as_ref();
        if let Some(delivery::Observed::Ours(contents)) =
            stored.map(|stored| self.secret.observe(stored, &self.service.keys))
        {
            keys.extend(contents.delivered.iter().map(|key| id(&key.hash, key.created_at)));
        }
        matched::record(&self.observed.revocations, &keys, self.observed.now)
    }

    fn repair(&self, ready: &Ready) -> Result<Option<Write>, Error> {
        let Ready { key, step, rotated, .. } = ready;
        self.correct(&Desired { key, delivered: &step.live, rotated })
    }

    /// The write that corrects the Secret; `None` if nothing differs.
    fn correct(&self, desired: &Desired<'_>) -> Result<Option<Write>, Error> {
        let Some(stored) = &self.observed.stored else { return Ok(None) };
        let corrected = self.secret.corrected(stored, desired)?;
        let namespace = &self.client.name.namespace;
        Ok(corrected.map(|secret| Write::ReplaceSecret(SecretWrite::new(namespace, secret))))
    }

    fn stored_version(&self) -> Children {
        let version = self.observed.stored.as_ref().and_then(ResourceExt::resource_version);
        version.map(|version| ("Secret".into(), version)).into_iter().collect()
    }

    /// The status while the Next key is being propagated.
    fn with_next(&self, ready: &Ready, next: KeyHash, created_at: Option<Timestamp>) -> ClientPlan {
        let mut planned = self.deliver_status(&ready.step.live, Requeue::Soon);
        planned.readiness.message.push_str("; the next key is being propagated");
        planned.keys.push(crd::ApiKeyStatus {
            id: next.id(),
            sha256: next.to_string(),
            state: ApiKeyState::Next,
            // A key of unknown age would be covered by every Revocation by age.
            created_at: created_at.map(Time),
            expires_at: None,
        });
        ClientPlan {
            next_rotation: ready.step.next_rotation,
            children: Some(self.stored_version()),
            publishes: Some(next),
            ..planned
        }
    }

    /// The status after this step, in which there is nothing to wait for.
    fn settled(&self, step: &Step, children: Children) -> ClientPlan {
        let requeue = step.wake_at.map_or(Requeue::OnChange, Requeue::At);
        ClientPlan {
            next_rotation: step.next_rotation,
            children: Some(children),
            ..self.deliver_status(&step.live, requeue)
        }
    }

    fn deliver_status(&self, delivered: &[DeliveredKey], requeue: Requeue) -> ClientPlan {
        let current = delivered.iter().find(|key| key.state == ApiKeyState::Current);
        let expired =
            current.and_then(|key| key.expires_at).is_some_and(|end| end <= self.observed.now);
        let name = self.secret.name();
        let readiness = if expired {
            Readiness::new(
                ReadyReason::KeyExpired,
                format!(
                    "the API key in Secret `{name}` has expired; annotate the SdkClient with `anon.dev/rotate: <any new value>`, or set spec.service.apiKey.delivery.rotation"
                ),
            )
        } else {
            let old = delivered.len().saturating_sub(1);
            let others =
                if old > 0 { format!("; previous keys still valid: {old}") } else { String::new() };
            Readiness::new(
                ReadyReason::KeyDelivered,
                format!("API key delivered to Secret `{name}`{others}"),
            )
        };
        ClientPlan {
            secret_name: Some(name.to_owned()),
            keys: delivered.iter().map(status).collect(),
            requeue,
            ..ClientPlan::of(readiness)
        }
    }

    fn foreign(&self) -> ClientPlan {
        let name = self.secret.name();
        ClientPlan::of(Readiness::new(
            ReadyReason::SecretConflict,
            format!(
                "Secret `{name}` exists and was not created for this client, so it is not modified; choose another spec.service.apiKey.delivery.secretName, or delete the Secret"
            ),
        ))
    }

    fn requested(&self) -> &str {
        self.delivery.requested_rotation.as_deref().unwrap_or_default()
    }
}

fn status(key: &DeliveredKey) -> crd::ApiKeyStatus {
    crd::ApiKeyStatus {
        id: key.hash.id(),
        sha256: key.hash.to_string(),
        state: key.state,
        created_at: key.created_at.map(Time),
        expires_at: key.expires_at.map(Time),
    }
}
