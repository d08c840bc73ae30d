//! A service client whose ApiKey is delivered into a Secret.
//!
//! The Secret is the truth: which key is in it, and in an annotation, under a MAC, what is recorded
//! of every key that counts. Status is a projection of it, so a crash between any two writes is
//! finished by the next reconciliation. The orders of writes:
//!
//! * **create**: Secret, then status. A hash in status without a Secret would be a key that
//!   nobody has.
//! * **rotate**: the hash of the new key in status (`Next`) -> every validator has it -> Secret ->
//!   status. A consumer never holds a key that a validator does not know. A `Next` whose plaintext
//!   was lost in a crash is replaced.
//! * **a key that somebody else put into the Secret**: status, if no other client has it -> Secret.
//!   The MAC of the record is evidence of ownership, so no hash comes under it before it is the
//!   client's.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::Api;

use super::delivery::{Contents, DeliverySecret, Desired, Observed};
use super::{Made, ownership};
use crate::controller::apply::{self, Created};
use crate::controller::news::News;
use crate::controller::{Context, Error, Look, PATIENCE};
use crate::crd;
use crate::crd::condition::{Note, Standing};
use crate::domain::api_key_life::{ApiKeyState, DeliveredKey, Plan, Rotate};
use crate::domain::client::{Delivery, SdkClient, Service};
use crate::domain::duration::later;
use crate::domain::key_ownership::{Evidence, Ruling};
use crate::domain::opaque::{ApiKey, KeyHash};
use crate::domain::record_mac::SignedBy;
use crate::domain::revocation::{Of, Revocation};
use crate::kube_ext::api::ReadExt as _;
use crate::kube_ext::tolerant::Tolerant;

/// Reason: the Secret differed from what it has to be.
pub const REPAIRED: &str = "SecretRepaired";

/// Which keys of a Secret are the client's.
#[derive(Default)]
struct Owned {
    all: HashSet<KeyHash>,
    /// One that is not.
    conflict: Option<KeyHash>,
    /// Whether another client's status lists one of them, too.
    contested: bool,
}

/// Sees to it that the client's key is in its Secret.
///
/// `version` is that of the client as read. `None`: it cannot be told yet whose the key is.
pub async fn deliver(
    context: &Context,
    client: &SdkClient,
    version: &str,
    service: &Service,
    delivery: &Delivery,
) -> Result<Option<Made>, Error> {
    let record_keys = context.record_keys.get(context).await?;
    let public_url = &context.settings.public_url;
    let secret = DeliverySecret::new(client, delivery, public_url, &record_keys);
    let now = context.clock.now();
    let revocations = context.reader.revocations(Of::SdkClient, &client.name, now);
    // A key that is made now was made after what a Revocation says, even if this clock is behind
    // that of the API server: it would be revoked at once, and replaced, again and again.
    let now = revocations.iter().filter_map(|it| it.created_before).fold(now, Timestamp::max);
    let this = Deliverer { context, client, version, service, delivery, secret, revocations, now };
    let resolved = this.resolve().await?;
    let contents = match this.secret.observe(resolved.secret(), &service.keys) {
        Observed::Foreign => return Ok(Some(this.foreign())),
        Observed::Ours(contents) => contents,
    };
    this.reconcile(&resolved, contents).await
}

struct Deliverer<'c> {
    context: &'c Context,
    client: &'c SdkClient,
    version: &'c str,
    service: &'c Service,
    delivery: &'c Delivery,
    secret: DeliverySecret<'c>,
    /// Those of its keys that are in force.
    revocations: Vec<Arc<Revocation>>,
    /// The time, and not before any of the revocations.
    now: Timestamp,
}

impl Deliverer<'_> {
    /// The Secret, created if it is not there. A client that has never had a key has no Secret
    /// either, and if it has, the POST finds it.
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

    /// A new key. Nobody else has it, and nobody gets it before status lists it.
    fn generate(&self) -> Result<ApiKey, Error> {
        let key = ApiKey::generate()?;
        self.context.ownership.reserve(&self.client.name, key.hash());
        Ok(key)
    }

    async fn reconcile(
        &self,
        resolved: &Created,
        mut contents: Contents,
    ) -> Result<Option<Made>, Error> {
        let stored = resolved.secret();
        let ended = contents.delivered.iter().any(|key| self.is_over(key));
        contents.delivered.retain(|key| !self.is_revoked(key) && !self.is_over(key));
        let Some(owned) = self.owned(resolved, &contents).await? else { return Ok(None) };
        let Contents { key, mut delivered, rotated, signed_by, recorded } = contents;
        let Some(key) = key else {
            return self.replace(stored, &delivered, "was no ApiKey any more").await.map(Some);
        };
        let current = |key: &DeliveredKey| key.state == ApiKeyState::Current;
        if !delivered.iter().any(current) {
            delivered.retain(|key| owned.all.contains(&key.hash));
            return self.replace(stored, &delivered, "is revoked").await.map(Some);
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
        // Nothing is signed of a hash that may be another client's.
        if owned.contested || !delivered.iter().all(own) {
            let plan = self.delivery.schedule.plan(self.client.id, &delivered, false, self.now);
            let mut made = self.made(&plan.live, Look::Soon);
            made.next_rotation = plan.next_rotation;
            made.conflict = owned.conflict;
            return Ok(Some(made));
        }
        let mut made = self.go_on(resolved, &key, &delivered, rotated).await?;
        made.conflict = owned.conflict;
        // Every record is signed again once the key of the MACs has been rotated, and changes when
        // an overlap ends. Neither is a repair.
        if made.is_repair() && (ended || signed_by == Some(SignedBy::Previous)) {
            made.news = None;
        }
        Ok(Some(made))
    }

    /// Which of the delivered keys are the client's. `None`: it cannot be told yet.
    async fn owned(&self, resolved: &Created, contents: &Contents) -> Result<Option<Owned>, Error> {
        let is_new = matches!(resolved, Created::New(_));
        let (mut owned, mut asked) = (Owned::default(), Vec::new());
        for key in &contents.delivered {
            if is_new {
                owned.all.insert(key.hash);
            } else if self.is_in_status(&key.hash) {
                owned.all.insert(key.hash);
                // Two leaders have written it, and validators use it for neither.
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

    /// With keys that are the client's own.
    async fn go_on(
        &self,
        resolved: &Created,
        key: &ApiKey,
        delivered: &[DeliveredKey],
        rotated: Option<String>,
    ) -> Result<Made, Error> {
        let stored = resolved.secret();
        // A request that is there at first sight is recorded and not acted on: a restored or
        // copied object must not rotate by itself.
        let rotated = rotated.unwrap_or_else(|| self.requested().to_owned());
        let requested = self.delivery.requested_rotation.is_some() && rotated != self.requested();
        let schedule = &self.delivery.schedule;
        let plan = schedule.plan(self.client.id, delivered, requested, self.now);
        if plan.rotate == Rotate::Now {
            return self.rotate(stored, key, &plan, &rotated).await;
        }
        let desired = Desired { key, delivered: &plan.live, rotated: &rotated };
        let repaired = self.correct(stored, &desired).await?;
        let mut made = self.made(&plan.live, plan.wake_at.map_or(Look::OnChange, Look::At));
        made.next_rotation = plan.next_rotation;
        made.secret_version = repaired.as_ref().unwrap_or(stored).resource_version();
        if repaired.is_some() {
            let note = "the Secret was not as it has to be; repaired";
            made.news = Some(News::normal(REPAIRED, note));
        }
        if matches!(resolved, Created::New(_)) && !self.service.keys.is_empty() {
            made.news = Some(News::warning(
                "KeyReplaced",
                "the Secret with the ApiKey was gone; a new key is in a new one, and every key before it is refused",
            ));
        }
        if let Rotate::Deferred(until) = plan.rotate {
            made.standing.notes.push(Note::new(
                "RotationDeferred",
                "TooManyKeys",
                format!("as many replaced keys still count as there may be; not before {until}"),
            ));
        }
        Ok(made)
    }

    /// A new key at once, in place of one that is gone, unreadable or revoked. Of the old ones
    /// those go on that had been replaced before and are not revoked.
    async fn replace(
        &self,
        stored: &Secret,
        previous: &[DeliveredKey],
        why: &str,
    ) -> Result<Made, Error> {
        let key = self.generate()?;
        let delivered = self.delivery.schedule.deliver(previous, key.hash(), self.now);
        let rotated = self.requested();
        self.correct(stored, &Desired { key: &key, delivered: &delivered, rotated }).await?;
        let mut made = self.made(&delivered, Look::Soon);
        made.news = Some(News::warning(
            "KeyReplaced",
            format!("the key in the Secret {why}; a new one is there"),
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
    ) -> Result<Made, Error> {
        let published = self.service.keys.iter().find(|key| key.state == ApiKeyState::Next);
        let pending = self.context.pending.take(&self.client.name, published);
        let Some(pending) = pending else {
            // Keep the Secret in order meanwhile.
            let desired = Desired { key, delivered: &plan.live, rotated };
            self.correct(stored, &desired).await?;
            let next = self.generate()?;
            let mut made = self.with_next(plan, &next, self.now);
            made.publish = Some((next, self.now));
            return Ok(made);
        };
        let reached = self.context.propagation.reached(&pending.write);
        if !(reached.everywhere && self.is_published(&pending.key).await?) {
            let mut made = self.with_next(plan, &pending.key, pending.made_at);
            made.look = Look::At(later(self.now, PATIENCE));
            let waiting = reached.waiting_for(&pending.write);
            let waiting = waiting.map(|pods| format!("; not known of: {pods}")).unwrap_or_default();
            made.standing.notes.push(Note::new(
                "RotationDeferred",
                "WaitingForValidators",
                format!("the new key is delivered once every validator knows it{waiting}"),
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
                // It is published: the next attempt goes on with it, not with another one.
                self.context.pending.put_back(&self.client.name, pending);
                return Err(error);
            }
        };
        // Planned on now and not with the next look, which would have to write status once more.
        let next = self.delivery.schedule.plan(self.client.id, &delivered, false, self.now);
        let mut made = self.made(&delivered, next.wake_at.map_or(Look::OnChange, Look::At));
        made.next_rotation = next.next_rotation;
        made.secret_version = replaced.and_then(|secret| secret.resource_version());
        made.news = Some(News::normal(
            "KeyRotated",
            format!("a new ApiKey is in the Secret; {} knew it before", reached.text),
        ));
        Ok(made)
    }

    /// Whether status still lists the key, by a fresh read: another leader may have replaced it.
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

    /// Whether it was replaced, and the overlap has ended.
    fn is_over(&self, key: &DeliveredKey) -> bool {
        key.state == ApiKeyState::Previous && key.expires_at.is_none_or(|end| end <= self.now)
    }

    fn is_revoked(&self, key: &DeliveredKey) -> bool {
        self.revocations.iter().any(|it| it.covers_key(&key.hash.id(), key.created_at, self.now))
    }

    /// Corrects the Secret if it differs. The corrected one, if it did.
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

    /// The live keys, and the one that is on its way.
    fn with_next(&self, plan: &Plan, next: &ApiKey, made_at: Timestamp) -> Made {
        let mut made = self.made(&plan.live, Look::Soon);
        made.standing.message.push_str("; the next one is on its way");
        made.keys.push(next_status(next, made_at));
        made.next_rotation = plan.next_rotation;
        made
    }

    fn made(&self, delivered: &[DeliveredKey], look: Look) -> Made {
        let current = delivered.iter().find(|key| key.state == ApiKeyState::Current);
        let expired = current.and_then(|key| key.expires_at).is_some_and(|end| end <= self.now);
        let name = self.secret.name();
        let standing = if expired {
            Standing::stalled(
                "KeyExpired",
                format!(
                    "the ApiKey in Secret `{name}` has expired; annotate the SdkClient with `anon.dev/rotate: <any new value>`, or set spec.service.apiKey.delivery.rotation"
                ),
            )
        } else {
            let old = delivered.len().saturating_sub(1);
            let others = if old > 0 {
                format!("; replaced ones that still count: {old}")
            } else {
                String::new()
            };
            Standing::ready("KeyDelivered", format!("the ApiKey is in Secret `{name}`{others}"))
        };
        Made {
            secret_name: Some(name.to_owned()),
            keys: delivered.iter().map(status).collect(),
            look,
            ..Made::of(standing)
        }
    }

    /// The key in the Secret is another client's. Nothing is written over it.
    fn another_clients(&self, previous: &[DeliveredKey], key: KeyHash) -> Made {
        let plan = self.delivery.schedule.plan(self.client.id, previous, false, self.now);
        let mut made = self.made(&plan.live, plan.wake_at.map_or(Look::OnChange, Look::At));
        made.conflict = Some(key);
        made
    }

    fn foreign(&self) -> Made {
        let name = self.secret.name();
        Made::of(Standing::stalled(
            "SecretConflict",
            format!(
                "Secret `{name}` exists and was not made for this client, so it is not touched; choose another spec.service.apiKey.delivery.secretName, or delete the Secret"
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
        // Of unknown age it would be older than whatever a Revocation names.
        created_at: Some(Time(made_at)),
        expires_at: None,
    }
}
