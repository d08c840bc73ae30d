//! The signing keys of a hosted pool, from the first to the last.
//!
//! The signing Secret is the truth, and each step of [`key_lifecycle`](crate::domain::key_lifecycle)
//! is one write of it, with the resourceVersion that was read: of two leaders one gets a 409 and
//! looks again. Status follows from it. A Next key signs only after status has published it and
//! every validator is known to have taken that up, so the order is: Secret (Next) -> status ->
//! proof -> Secret (since when it is known) -> Secret (Active) -> status. A crash between any two
//! of them is finished by the next reconciliation.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;

use super::desired::{self, SigningSecret};
use super::published;
use crate::controller::apply::{self, Created};
use crate::controller::news::{self, News};
use crate::controller::{Context, Error, Look, PATIENCE};
use crate::crd::UserPool;
use crate::crd::condition::Note;
use crate::domain::algorithm::Algorithm;
use crate::domain::duration::later;
use crate::domain::key_lifecycle::{Change, Circumstances, Policy, Reach, Step};
use crate::domain::keyset::{SigningKeyState, StoredKey, StoredKeySet};
use crate::domain::pool::{self, Hosted};
use crate::domain::revocation::{Of, Revocation};
use crate::domain::signing::SigningKey;
use crate::validate;

/// How long a key may be on its way to the validators before more is done than to wait.
const MOMENT: Duration = Duration::from_secs(2);

/// What came of a look at the keys.
pub struct Keys {
    /// What is stored.
    pub set: StoredKeySet,
    /// When the next key will sign.
    pub next_rotation: Option<jiff::Timestamp>,
    /// Why a rotation has to wait, if it has to.
    pub note: Option<Note>,
    /// When to look again.
    pub look: Look,
    /// What the API server said if it refuses to store them. Then this is not what is stored, but
    /// that without what is revoked: it goes from what is published all the same.
    pub refused: Option<String>,
    /// What was stored before is gone.
    lost: bool,
    changes: Vec<Change>,
}

/// Takes the keys of a pool one step further. `None` when what is stored cannot be read.
pub async fn keys(
    context: &Context,
    object: &UserPool,
    pool: &pool::UserPool,
    hosted: &Hosted,
    secret: &SigningSecret,
) -> Result<Option<Keys>, Error> {
    let requested = validate::requested_rotation(object).unwrap_or_default();
    let policy = Policy {
        algorithm: hosted.algorithm,
        interval: hosted.rotation_interval,
        longest_lifetime: hosted.max_lifetime,
        requested,
    };
    let now = context.clock.now();
    let revocations = context.reader.revocations(Of::UserPool, &pool.name, now);
    let keeper = Keeper { context, object, pool, hosted, secret, policy, revocations };
    let namespace = &context.settings.operator_namespace;
    let stored = match apply::read_secret(&context.client, namespace, &secret.name).await? {
        Some(stored) => stored,
        None => match keeper.begin().await? {
            Ok(keys) => return Ok(Some(keys)),
            // Another leader was faster: its key is the key.
            Err(stored) => stored,
        },
    };
    match desired::read(&stored).filter(StoredKeySet::is_sound) {
        Some(set) => keeper.go_on(&stored, &set).await.map(Some),
        None => Ok(None),
    }
}

/// Whether there is nothing to do for this pool but to wait a moment until its Next key is known
/// everywhere. It usually takes a quarter of a second; where many rotate at once, asking the API
/// server meanwhile would slow all of them down.
pub fn is_on_its_way(context: &Context, object: &UserPool) -> bool {
    let Some(status) = &object.status else { return false };
    let next = status.keys.iter().find(|key| key.state == SigningKeyState::Next);
    let write = next.and_then(|next| context.memory.publication(object, &next.kid));
    status.observed_generation == object.meta().generation
        && write.is_some_and(|write| {
            write.at.elapsed() < MOMENT && !context.propagation.reached(&write).everywhere
        })
}

/// Tells of what happened.
pub async fn report(context: &Context, object: &UserPool, keys: &Keys) {
    if keys.lost {
        let active = keys.set.active().map(StoredKey::kid).unwrap_or_default();
        let note = format!(
            "the Secret with the signing keys was gone: key {active} signs from now on, and every token of the keys before it is refused"
        );
        news::tell(context, object, News::warning("KeyReplaced", note)).await;
    }
    for change in &keys.changes {
        let happened = match change {
            Change::Published(kid) => News::normal(
                "KeyPublished",
                format!("key {kid} is published; it signs once everybody can have learned of it"),
            ),
            Change::Activated(kid) => {
                News::normal("KeyActivated", format!("key {kid} signs from now on"))
            }
            Change::Retired(kid, until) => News::normal(
                "KeyRetired",
                format!("key {kid} signs no more; what it signed counts, and it goes at {until}"),
            ),
            Change::Gone(kid) => News::normal(
                "KeyGone",
                format!("key {kid} is gone: all that it signed has expired"),
            ),
            Change::Discarded(kid) => News::normal(
                "KeyDiscarded",
                format!("key {kid} is gone: another algorithm is wanted, and it never signed"),
            ),
            Change::Revoked(kid) => {
                News::warning("KeyRevoked", format!("key {kid} is revoked and destroyed"))
            }
        };
        news::tell(context, object, happened).await;
    }
}

struct Keeper<'k> {
    context: &'k Context,
    object: &'k UserPool,
    pool: &'k pool::UserPool,
    hosted: &'k Hosted,
    secret: &'k SigningSecret,
    policy: Policy,
    revocations: Vec<Arc<Revocation>>,
}

impl Keeper<'_> {
    /// Makes and stores the first key of the pool, or finds the Secret that is there by now.
    async fn begin(&self) -> Result<Result<Keys, Secret>, Error> {
        let id = self.pool.id.to_string();
        let case = self.circumstances(&id, Reach::Nowhere, &|_| false);
        let mut step = self.policy.first();
        self.make(&mut step, &case).await?;
        let secret = self.secret.secret(self.hosted, &step.set)?;
        let namespace = &self.context.settings.operator_namespace;
        match apply::create_secret(&self.context.client, namespace, &secret).await? {
            Created::New(_) => {
                self.count(&step);
                // The first key of a pool is no news, unless there was one before.
                step.changes.clear();
                let lost = published::of_same_source(self.pool, self.object.status.as_ref());
                let lost = !lost.is_empty();
                Ok(Ok(Keys { lost, ..self.keys(step, &case, None) }))
            }
            Created::Existing(stored) => Ok(Err(stored)),
        }
    }

    async fn go_on(&self, stored: &Secret, set: &StoredKeySet) -> Result<Keys, Error> {
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
                return Ok(Keys {
                    set,
                    next_rotation: None,
                    note: None,
                    look: Look::Later,
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
        // A key that is made in the very second of a revocation counts as made after it.
        let limits = self.revocations.iter().filter_map(|it| it.created_before);
        let made_at = limits.max().unwrap_or(now).max(now);
        Circumstances { now, latest, made_at, next, is_revoked, id }
    }

    /// How far the Next key has come, and for whom it is waited if that takes long. What is proven
    /// is the version at which this leader has read status with the key in it, whoever wrote it.
    fn reach(&self, set: &StoredKeySet) -> (Reach, Option<String>) {
        let published = self.object.status.iter().flat_map(|status| &status.keys);
        let next = set.next().map(StoredKey::kid);
        let next = published.map(|key| &key.kid).find(|kid| Some(kid.as_str()) == next);
        let Some(kid) = next else { return (Reach::Nowhere, None) };
        let write = self.context.memory.published(self.object, kid);
        let reached = self.context.propagation.reached(&write);
        let reach = if reached.everywhere { Reach::Everywhere } else { Reach::Published };
        (reach, reached.waiting_for(&write))
    }

    /// Makes the key that the step asks for. RSA takes 50 ms of pure computation, and up to several
    /// times that, so few are made at a time, and none on a thread that serves requests.
    async fn make(&self, step: &mut Step, case: &Circumstances<'_>) -> Result<(), Error> {
        let Some((algorithm, _)) = step.make else { return Ok(()) };
        let key = generate(self.context, algorithm).await?;
        let issuer = desired::issuer(self.pool, &self.context.settings.public_url);
        Ok(self.policy.add(step, &key, issuer, case)?)
    }

    fn keys(&self, step: Step, case: &Circumstances<'_>, waiting: Option<String>) -> Keys {
        let look = if step.waits_for_validators {
            Look::At(later(case.now, PATIENCE))
        } else {
            step.wake_at.map_or(Look::OnChange, Look::At)
        };
        let on_its_way = look != Look::OnChange && is_on_its_way(self.context, self.object);
        let deferred = |reason, text| Note::new("RotationDeferred", reason, text);
        let note = match (step.deferred_until, waiting.filter(|_| step.waits_for_validators)) {
            (Some(until), _) => Some(deferred(
                "TooManyKeys",
                format!("as many keys are published as there may be; not before {until}"),
            )),
            (None, Some(pods)) => Some(deferred(
                "WaitingForValidators",
                format!("the next key signs once every validator knows it; not known of: {pods}"),
            )),
            (None, None) => None,
        };
        Keys {
            look: if on_its_way { Look::Soon } else { look },
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
    // Never closed, so there is always a permit to come.
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
