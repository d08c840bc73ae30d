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

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::Api;

use super::delivery::{Contents, DeliverySecret, Desired, Observed};
use super::{ClientOutcome, ownership};
use crate::controller::apply::{self, Created};
use crate::controller::events::EventNote;
use crate::controller::{Context, Error, PROPAGATION_CHECK_INTERVAL, Requeue};
use crate::crd;
use crate::crd::condition::{ExtraCondition, Readiness};
use crate::crd::reasons::{EventReason, ExtraReason, ReadyReason};
use crate::domain::client::{Delivery, SdkClient, Service};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::duration::later;
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::record_mac::SignedBy;
use crate::domain::revocation::{Revocation, RevocationTarget};
use crate::domain::rotation::api_keys::{ApiKeyState, DeliveredKey, Plan, Rotate};
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;

/// The keys of a Secret that belong to the client.
#[derive(Default)]
struct Owned {
    all: HashSet<KeyHash>,
    /// A key that belongs to another client.
    conflict: Option<KeyHash>,
    /// Whether the status of another client lists one of them, too.
    contested: bool,
}

/// Creates, repairs or rotates the key in the client's Secret.
///
/// `version` is the resourceVersion of the client as read. Returns `None` if it is not known yet to
/// which client the key belongs.
pub async fn deliver(
    context: &Context,
    client: &SdkClient,
    version: &str,
    service: &Service,
    delivery: &Delivery,
) -> Result<Option<ClientOutcome>, Error> {
    let record_keys = context.record_keys.get(context).await?;
    let public_url = &context.settings.public_url;
    let secret = DeliverySecret::new(client, delivery, public_url, &record_keys);
    let now = context.clock.now();
    let revocations = context.reader.revocations(RevocationTarget::SdkClient, &client.name, now);
    // A key that is created now must be younger than the limit of any Revocation, even if this
    // clock is behind the clock of the API server. Otherwise it would be revoked and replaced
    // endlessly.
    let now = revocations.iter().filter_map(|it| it.created_before).fold(now, Timestamp::max);
    let this =
        ApiKeyReconciler { context, client, version, service, delivery, secret, revocations, now };
    let resolved = this.resolve().await?;
    let contents = match this.secret.observe(resolved.secret(), &service.keys) {
        Observed::Foreign => return Ok(Some(this.foreign())),
        Observed::Ours(contents) => contents,
    };
    this.reconcile(&resolved, contents).await
}

struct ApiKeyReconciler<'c> {
    context: &'c Context,
    client: &'c SdkClient,
    version: &'c str,
    service: &'c Service,
    delivery: &'c Delivery,
    secret: DeliverySecret<'c>,
    /// The Revocations of the client's keys.
    revocations: Vec<Arc<Revocation>>,
    /// The current time, but not before the limit of any Revocation.
    now: Timestamp,
}

impl ApiKeyReconciler<'_> {
    /// Reads the Secret, or creates it. For a client without keys in status, the Secret usually
    /// does not exist yet, so the read is skipped; if it does exist, the POST returns it.
    async fn resolve(&self) -> Result<Created, Error> {
        let (client, namespace) = (&self.context.client, &self.client.name.namespace);
        if !self.service.keys.is_empty()
            && let Some(stored) = apply::read_secret(client, namespace, self.secret.name()).await?
        {
            return Ok(Created::Existing(stored));
        }
        let key = self.generate()?;
        let delivered = self.delivery.schedule.deliver(&[], key.hash(), self.now);
        let rotated = self.requested();
        let desired = Desired { key: &key, delivered: &delivered, rotated };
        apply::create_secret(client, namespace, &self.secret.secret(&desired)?).await
    }

    /// Generates a key, and reserves its hash until status lists it.
    fn generate(&self) -> Result<ApiKey, Error> {
        let key = ApiKey::generate()?;
        self.context.ownership.reserve(&self.client.name, key.hash());
        Ok(key)
    }

    async fn reconcile(
        &self,
        resolved: &Created,
        mut contents: Contents,
    ) -> Result<Option<ClientOutcome>, Error> {
        let stored = resolved.secret();
        let ended = contents.delivered.iter().any(|key| self.is_over(key));
        contents.delivered.retain(|key| !self.is_revoked(key) && !self.is_over(key));
        let Some(owned) = self.owned(resolved, &contents).await? else { return Ok(None) };
        let Contents { key, mut delivered, rotated, signed_by, recorded } = contents;
        let Some(key) = key else {
            return self.replace(stored, &delivered, "was missing or malformed").await.map(Some);
        };
        let current = |key: &DeliveredKey| key.state == ApiKeyState::Current;
        if !delivered.iter().any(current) {
            delivered.retain(|key| owned.all.contains(&key.hash));
            return self.replace(stored, &delivered, "was revoked").await.map(Some);
        }
        delivered.retain(|key| owned.all.contains(&key.hash));
        if !delivered.iter().any(current) {
            return Ok(Some(self.another_clients(&delivered, key.hash())));
        }
        let own = |key: &DeliveredKey| {
            matches!(resolved, Created::New(_))
                || recorded.contains(&key.hash)
                || self.is_in_status(&key.hash)
        };
        // A hash that may belong to another client must not be recorded with a MAC.
        if owned.contested || !delivered.iter().all(own) {
            let plan = self.delivery.schedule.plan(self.client.id, &delivered, false, self.now);
            let mut made = self.made(&plan.live, Requeue::Soon);
            made.next_rotation = plan.next_rotation;
            made.conflict = owned.conflict;
            return Ok(Some(made));
        }
        let mut made = self.go_on(resolved, &key, &delivered, rotated).await?;
        made.conflict = owned.conflict;
        // A record changes when the MAC key is rotated and when an overlap ends. Neither is a
        // repair.
        if made.is_repair() && (ended || signed_by == Some(SignedBy::Previous)) {
            made.news = None;
        }
        Ok(Some(made))
    }

    /// The delivered keys that belong to the client. `None` if that is not known yet.
    async fn owned(&self, resolved: &Created, contents: &Contents) -> Result<Option<Owned>, Error> {
        let is_new = matches!(resolved, Created::New(_));
        let (mut owned, mut asked) = (Owned::default(), Vec::new());
        for key in &contents.delivered {
            if is_new {
                owned.all.insert(key.hash);
            } else if self.is_in_status(&key.hash) {
                owned.all.insert(key.hash);
                // Two leaders have written it to status of two clients. Validators reject it.
                if self.context.reader.is_key_recorded_besides(&key.hash, &self.client.name) {
                    owned.conflict = owned.conflict.or(Some(key.hash));
                    owned.contested = true;
                }
            } else if contents.recorded.contains(&key.hash) {
                asked.push((key.hash, Evidence::Recorded));
            } else {
                asked.push((key.hash, Evidence::PlainText));
            }
        }
        let rulings = ownership::rule(self.context, self.client, self.version, &asked).await?;
        for (hash, ruling) in rulings {
            match ruling {
                Ruling::Granted => drop(owned.all.insert(hash)),
                Ruling::Conflict => owned.conflict = Some(hash),
                Ruling::Wait => return Ok(None),
            }
        }
        Ok(Some(owned))
    }

    fn is_in_status(&self, hash: &KeyHash) -> bool {
        self.service.keys.iter().any(|key| key.hash == *hash)
    }

    /// Continues once all keys are known to belong to the client.
    async fn go_on(
        &self,
        resolved: &Created,
        key: &ApiKey,
        delivered: &[DeliveredKey],
        rotated: Option<String>,
    ) -> Result<ClientOutcome, Error> {
        let stored = resolved.secret();
        // A rotation request that exists when the Secret is first seen is recorded and not carried
        // out: restoring or copying an object must not rotate its key.
        let rotated = rotated.unwrap_or_else(|| self.requested().to_owned());
        let requested = self.delivery.requested_rotation.is_some() && rotated != self.requested();
        let schedule = &self.delivery.schedule;
        let plan = schedule.plan(self.client.id, delivered, requested, self.now);
        if plan.rotate == Rotate::Now {
            return self.rotate(stored, key, &plan, &rotated).await;
        }
        let desired = Desired { key, delivered: &plan.live, rotated: &rotated };
        let repaired = self.correct(stored, &desired).await?;
        let mut made = self.made(&plan.live, plan.wake_at.map_or(Requeue::OnChange, Requeue::At));
        made.next_rotation = plan.next_rotation;
        made.secret_version = repaired.as_ref().unwrap_or(stored).resource_version();
        if repaired.is_some() {
            let note = format!("Secret `{}` had drifted and was repaired", self.secret.name());
            made.news = Some(EventNote::new(EventReason::SecretRepaired, note));
        }
        if matches!(resolved, Created::New(_)) && !self.service.keys.is_empty() {
            made.news = Some(EventNote::new(
                EventReason::KeyReplaced,
                format!(
                    "Secret `{}` was deleted; re-created it with a new API key, and all earlier keys are rejected",
                    self.secret.name()
                ),
            ));
        }
        if let Rotate::Deferred(until) = plan.rotate {
            made.readiness.notes.push(ExtraCondition::new(ExtraReason::TooManyKeys,
                format!(
                    "rotation is deferred at least until {until}: {} previous keys are still valid, which is the maximum",
                    plan.live.len().saturating_sub(1)
                ),
            ));
        }
        Ok(made)
    }

    /// Immediately replaces a key that was deleted, is malformed or is revoked. Previous keys that
    /// are not revoked remain valid.
    async fn replace(
        &self,
        stored: &Secret,
        previous: &[DeliveredKey],
        why: &str,
    ) -> Result<ClientOutcome, Error> {
        let key = self.generate()?;
        let delivered = self.delivery.schedule.deliver(previous, key.hash(), self.now);
        let rotated = self.requested();
        self.correct(stored, &Desired { key: &key, delivered: &delivered, rotated }).await?;
        let mut made = self.made(&delivered, Requeue::Soon);
        made.news = Some(EventNote::new(
            EventReason::KeyReplaced,
            format!(
                "the key in Secret `{}` {why}; replaced it with API key {}",
                self.secret.name(),
                key.hash().id()
            ),
        ));
        Ok(made)
    }

    /// One step of a rotation.
    async fn rotate(
        &self,
        stored: &Secret,
        key: &ApiKey,
        plan: &Plan,
        rotated: &str,
    ) -> Result<ClientOutcome, Error> {
        let published = self.service.keys.iter().find(|key| key.state == ApiKeyState::Next);
        let pending = self.context.pending.take(&self.client.name, published);
        let Some(pending) = pending else {
            // In the meantime, the Secret is still repaired.
            let desired = Desired { key, delivered: &plan.live, rotated };
            self.correct(stored, &desired).await?;
            let next = self.generate()?;
            let mut made = self.with_next(plan, &next, self.now);
            made.publish = Some((next, self.now));
            return Ok(made);
        };
        let reached = self.context.replicas.acknowledged(&pending.write);
        if !(reached.everywhere && self.is_published(&pending.key).await?) {
            let mut made = self.with_next(plan, &pending.key, pending.made_at);
            made.requeue = Requeue::At(later(self.now, PROPAGATION_CHECK_INTERVAL));
            let waiting = reached.waiting_note(&pending.write);
            made.readiness.notes.push(ExtraCondition::new(
                ExtraReason::WaitingForValidators,
                format!(
                    "the new key is delivered once every validator has acknowledged it{waiting}"
                ),
            ));
            self.context.pending.put_back(&self.client.name, pending);
            return Ok(made);
        }
        let delivered = self.delivery.schedule.deliver(&plan.live, pending.key.hash(), self.now);
        let rotated = self.requested();
        let desired = Desired { key: &pending.key, delivered: &delivered, rotated };
        let replaced = match self.correct(stored, &desired).await {
            Ok(replaced) => replaced,
            Err(error) => {
                // Its hash is published already: the next attempt must deliver the same key.
                self.context.pending.put_back(&self.client.name, pending);
                return Err(error);
            }
        };
        // Planned now, because the next reconciliation would have to write status once more.
        let next = self.delivery.schedule.plan(self.client.id, &delivered, false, self.now);
        let mut made = self.made(&delivered, next.wake_at.map_or(Requeue::OnChange, Requeue::At));
        made.next_rotation = next.next_rotation;
        made.secret_version = replaced.and_then(|secret| secret.resource_version());
        made.news = Some(EventNote::new(
            EventReason::KeyRotated,
            format!(
                "rotated API key {} into Secret `{}` (acknowledged by {})",
                pending.key.hash().id(),
                self.secret.name(),
                reached.text
            ),
        ));
        Ok(made)
    }

    /// Whether status still lists the key. Reads it again, as another leader may have replaced it.
    async fn is_published(&self, key: &ApiKey) -> Result<bool, Error> {
        let api: Api<Tolerant<crd::SdkClient>> =
            Api::namespaced(self.context.client.clone(), &self.client.name.namespace);
        let fresh = api.read(&self.client.name.name).await;
        let fresh = fresh.map_err(Error::api("read SdkClient"))?;
        let hash = key.hash().to_string();
        let keys = fresh.status.iter().flat_map(|status| &status.keys);
        Ok(fresh.metadata.deletion_timestamp.is_none()
            && keys.into_iter().any(|it| it.sha256 == hash))
    }

    /// Whether the key was replaced and its overlap has ended.
    fn is_over(&self, key: &DeliveredKey) -> bool {
        key.state == ApiKeyState::Previous && key.expires_at.is_none_or(|end| end <= self.now)
    }

    fn is_revoked(&self, key: &DeliveredKey) -> bool {
        self.revocations.iter().any(|it| it.covers_key(&key.hash.id(), key.created_at, self.now))
    }

    /// Repairs the Secret and returns it; `None` if it had not drifted.
    async fn correct(
        &self,
        stored: &Secret,
        desired: &Desired<'_>,
    ) -> Result<Option<Secret>, Error> {
        let Some(corrected) = self.secret.corrected(stored, desired)? else {
            return Ok(None);
        };
        let namespace = &self.client.name.namespace;
        apply::replace_secret(&self.context.client, namespace, &corrected).await.map(Some)
    }

    /// The result while the next key is being propagated.
    fn with_next(&self, plan: &Plan, next: &ApiKey, made_at: Timestamp) -> ClientOutcome {
        let mut made = self.made(&plan.live, Requeue::Soon);
        made.readiness.message.push_str("; the next key is being propagated");
        made.keys.push(next_status(next, made_at));
        made.next_rotation = plan.next_rotation;
        made
    }

    fn made(&self, delivered: &[DeliveredKey], requeue: Requeue) -> ClientOutcome {
        let current = delivered.iter().find(|key| key.state == ApiKeyState::Current);
        let expired = current.and_then(|key| key.expires_at).is_some_and(|end| end <= self.now);
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
        ClientOutcome {
            secret_name: Some(name.to_owned()),
            keys: delivered.iter().map(status).collect(),
            requeue,
            ..ClientOutcome::of(readiness)
        }
    }

    /// The key in the Secret belongs to another client. It is not overwritten.
    fn another_clients(&self, previous: &[DeliveredKey], key: KeyHash) -> ClientOutcome {
        let plan = self.delivery.schedule.plan(self.client.id, previous, false, self.now);
        let mut made = self.made(&plan.live, plan.wake_at.map_or(Requeue::OnChange, Requeue::At));
        made.conflict = Some(key);
        made
    }

    fn foreign(&self) -> ClientOutcome {
        let name = self.secret.name();
        ClientOutcome::of(Readiness::new(
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

fn next_status(key: &ApiKey, made_at: Timestamp) -> crd::ApiKeyStatus {
    let hash = key.hash();
    crd::ApiKeyStatus {
        id: hash.id(),
        sha256: hash.to_string(),
        state: ApiKeyState::Next,
        // A key of unknown age would be covered by every Revocation by age.
        created_at: Some(Time(made_at)),
        expires_at: None,
    }
}
