//! The plans that write the Secret, and those that wait to. Pure.

use kube::ResourceExt as _;

use super::decide::Ready;
use super::status::still_valid;
use super::{Next, Planner};
use crate::controller::events::EventNote;
use crate::controller::expectations::Children;
use crate::controller::plan::{SecretWrite, Write};
use crate::controller::sdk_client::ClientPlan;
use crate::controller::sdk_client::delivery::{Desired, mutable_copy};
use crate::controller::{Error, PROPAGATION_CHECK_INTERVAL, Requeue};
use crate::crd::condition::ExtraCondition;
use crate::crd::reasons::{EventReason, ExtraReason};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::duration::later;
use crate::domain::rotation::api_keys::NextKey;
use crate::domain::stored_key::StoredApiKey;

/// How the stored Secret gets its desired content.
enum Correction {
    /// By these writes. None, if nothing differs.
    Writes(Vec<Write>),
    /// It is immutable and has to be re-created, once status lists its uid, which is this.
    Announce(String),
}

impl Planner<'_> {
    /// Creates the Secret. Nothing is in status before, so that no hash belongs to a key that no one
    /// has.
    pub(super) fn create(
        &self,
        former: &[StoredApiKey],
        key: &ApiKey,
    ) -> Result<ClientPlan, Error> {
        let delivered = self.delivery.rotation.deliver(former, key.hash(), self.facts.now);
        let desired = Desired { key, delivered: &delivered, rotated: self.requested() };
        let write = SecretWrite::new(&self.client.name.namespace, self.secret.secret(&desired)?);
        let was_deleted = self.former_name().is_none() && !self.service.keys.is_empty();
        let event = was_deleted.then(|| self.re_created(&delivered));
        let settled = self.settled(&self.step(&delivered, false), Children::new());
        let events = event.or_else(|| self.moved(&delivered)).into_iter().collect();
        Ok(ClientPlan { writes: vec![Write::CreateSecret(write)], events, ..settled })
    }

    /// Reports that a Secret which did not exist any more contains a new key.
    fn re_created(&self, delivered: &[StoredApiKey]) -> EventNote {
        let name = self.secret.name();
        let note = if self.facts.replacing.is_some() {
            format!(
                "re-created Secret `{name}`, which was immutable, with a new API key{}",
                still_valid(delivered)
            )
        } else {
            format!(
                "Secret `{name}` was deleted; re-created it with a new API key, and all earlier keys are rejected"
            )
        };
        EventNote::new(EventReason::KeyReplaced, note)
    }

    /// Replaces the key immediately.
    pub(super) fn replace(
        &self,
        previous: &[StoredApiKey],
        why: &str,
        key: &ApiKey,
    ) -> Result<ClientPlan, Error> {
        let delivered = self.delivery.rotation.deliver(previous, key.hash(), self.facts.now);
        let desired = Desired { key, delivered: &delivered, rotated: self.requested() };
        let writes = match self.correct(&desired)? {
            Correction::Writes(writes) => writes,
            Correction::Announce(uid) => {
                return Ok(self.replacing(uid, self.deliver_status(previous, Requeue::Soon)));
            }
        };
        let event = EventNote::new(
            EventReason::KeyReplaced,
            format!(
                "the key in Secret `{}` {why}; replaced it with API key {}",
                self.secret.name(),
                key.hash().id()
            ),
        );
        let events = [event].into_iter().chain(self.moved(&delivered)).collect();
        Ok(ClientPlan { writes, events, ..self.deliver_status(&delivered, Requeue::Soon) })
    }

    /// Repairs the Secret if it has drifted. No rotation is due, or it is deferred.
    pub(super) fn settle(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let step = &ready.step;
        let mut planned = self.settled(step, self.stored_version());
        if let NextKey::Deferred(until) = step.next {
            planned.readiness.notes.push(ExtraCondition::new(
                ExtraReason::TooManyKeys,
                format!(
                    "rotation is deferred at least until {until}: {} previous keys are still valid, which is the maximum",
                    step.live.len().saturating_sub(1)
                ),
            ));
        }
        let planned = self.repaired(ready, planned)?;
        let drifted = !planned.writes.is_empty() && !ready.is_expected;
        let note = || format!("Secret `{}` had drifted and was repaired", self.secret.name());
        let repaired = drifted.then(|| EventNote::new(EventReason::SecretRepaired, note()));
        Ok(ClientPlan { events: planned.events.into_iter().chain(repaired).collect(), ..planned })
    }

    /// Publishes the hash of the Next key. In the meantime, the Secret is still repaired.
    pub(super) fn publish(
        &self,
        ready: &Ready,
        next: Option<KeyHash>,
    ) -> Result<ClientPlan, Error> {
        let next = next.ok_or(Error::Incomplete { what: "a new key" })?;
        self.repaired(ready, self.with_next(ready, next, Some(self.facts.now)))
    }

    /// Waits until every validator has acknowledged the Next key.
    pub(super) fn acknowledge(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let next = self.next()?;
        let mut planned = self.with_next(ready, next.hash, next.created_at);
        planned.requeue = Requeue::At(later(self.facts.now, PROPAGATION_CHECK_INTERVAL));
        // The key of another leader is not reported at once, but what holds it up is.
        if next.pending.is_some() || !next.waiting.is_empty() {
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
    pub(super) fn deliver(&self, ready: &Ready) -> Result<ClientPlan, Error> {
        let next = self.next()?;
        let pending = next.pending.as_ref().ok_or(Error::Incomplete { what: "the next key" })?;
        let now = self.facts.now;
        let delivered = self.delivery.rotation.deliver(&ready.step.live, next.hash, now);
        let desired =
            Desired { key: &pending.key, delivered: &delivered, rotated: self.requested() };
        let writes = match self.correct(&desired)? {
            Correction::Writes(writes) => writes,
            Correction::Announce(uid) => {
                let waiting = self.with_next(ready, next.hash, next.created_at);
                return Ok(self.replacing(uid, waiting));
            }
        };
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
            writes,
            events: vec![event],
            // Planned now, because the next reconciliation would have to write status once more.
            ..self.settled(&self.step(&delivered, false), self.stored_version())
        })
    }

    fn next(&self) -> Result<&Next, Error> {
        self.facts.next.as_ref().ok_or(Error::Incomplete { what: "the next key" })
    }

    /// The plan, and the writes that give the Secret the keys that it should have already.
    fn repaired(&self, ready: &Ready, planned: ClientPlan) -> Result<ClientPlan, Error> {
        let Ready { key, step, rotated, .. } = ready;
        match self.correct(&Desired { key, delivered: &step.live, rotated })? {
            Correction::Writes(writes) => {
                let events = self.moved(&step.live).into_iter().collect();
                Ok(ClientPlan { writes, events, ..planned })
            }
            Correction::Announce(uid) => Ok(self.replacing(uid, planned)),
        }
    }

    /// The data of an immutable Secret cannot be changed, only its metadata. It is deleted and
    /// created again, after status has announced that. A Secret that a user deletes is left alone:
    /// its keys are rejected as soon as its finalizers allow the end of the deletion.
    fn correct(&self, desired: &Desired<'_>) -> Result<Correction, Error> {
        let corrected = match &self.facts.stored {
            Some(stored) => self.secret.corrected(stored, desired)?.map(|it| (stored, it)),
            None => None,
        };
        let Some((stored, corrected)) = corrected else { return Ok(Correction::Writes(vec![])) };
        let write = |secret| SecretWrite::new(&self.client.name.namespace, secret);
        let is_deleted = stored.metadata.deletion_timestamp.is_some();
        let is_announced = stored.uid().is_some() && stored.uid() == self.facts.replacing;
        let is_frozen = stored.immutable == Some(true) && corrected.data != stored.data;
        Ok(match stored.uid() {
            Some(uid) if is_frozen && is_deleted == is_announced => Correction::Announce(uid),
            Some(_) if is_frozen && is_announced => Correction::Writes(vec![
                Write::DeleteSecret(write(stored.clone())),
                Write::CreateSecret(write(mutable_copy(&corrected))),
            ]),
            _ => Correction::Writes(vec![Write::ReplaceSecret(write(corrected))]),
        })
    }
}
