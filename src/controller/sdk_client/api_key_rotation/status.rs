//! The status of the client after a plan. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use super::Planner;
use super::decide::Ready;
use crate::controller::Requeue;
use crate::controller::events::EventNote;
use crate::controller::expectations::Children;
use crate::controller::sdk_client::ClientPlan;
use crate::crd::condition::Readiness;
use crate::crd::reasons::{EventReason, ReadyReason};
use crate::domain::credential::KeyHash;
use crate::domain::rotation::api_keys::{ApiKeyState, Step, StoredApiKey};

impl Planner<'_> {
    /// While the Next key is being propagated.
    pub(super) fn with_next(
        &self,
        ready: &Ready,
        next: KeyHash,
        created_at: Option<Timestamp>,
    ) -> ClientPlan {
        let mut planned = self.deliver_status(&ready.step.live, Requeue::Soon);
        planned.readiness.message.push_str("; the next key is being propagated");
        // A key of unknown age would be covered by every Revocation by age.
        let next_key =
            StoredApiKey { hash: next, state: ApiKeyState::Next, created_at, expires_at: None };
        planned.keys.push((&next_key).into());
        ClientPlan {
            next_rotation: ready.step.next_rotation,
            children: Some(self.stored_version()),
            publishes: Some(next),
            ..planned
        }
    }

    /// After this step, in which there is nothing to wait for.
    pub(super) fn settled(&self, step: &Step, children: Children) -> ClientPlan {
        let requeue = step.wake_at.map_or(Requeue::OnChange, Requeue::At);
        ClientPlan {
            next_rotation: step.next_rotation,
            children: Some(children),
            ..self.deliver_status(&step.live, requeue)
        }
    }

    pub(super) fn deliver_status(
        &self,
        delivered: &[StoredApiKey],
        requeue: Requeue,
    ) -> ClientPlan {
        let current = delivered.iter().find(|key| key.state == ApiKeyState::Current);
        let expired =
            current.and_then(|key| key.expires_at).is_some_and(|end| end <= self.facts.now);
        let name = self.secret.name();
        let readiness = if expired {
            Readiness::new(
                ReadyReason::KeyExpired,
                format!(
                    "the API key in Secret `{name}` has expired; annotate the SdkClient with `anon.dev/rotate: <any new value>`, or set spec.service.apiKey.delivery.rotation"
                ),
            )
        } else {
            let message = format!("API key delivered to Secret `{name}`{}", still_valid(delivered));
            Readiness::new(ReadyReason::KeyDelivered, message)
        };
        ClientPlan {
            secret_name: Some(name.to_owned()),
            keys: delivered.iter().map(Into::into).collect(),
            requeue,
            ..ClientPlan::of(readiness)
        }
    }

    /// The Secret is not ours. The keys of the former one are valid until the end of their overlap.
    pub(super) fn foreign(&self, former: &[StoredApiKey]) -> ClientPlan {
        let name = self.secret.name();
        let readiness = Readiness::new(
            ReadyReason::SecretConflict,
            format!(
                "Secret `{name}` exists and was not created for this client, so it is not modified; choose another spec.service.apiKey.delivery.secretName, or delete the Secret{}",
                still_valid(former)
            ),
        );
        let keys = former.iter().map(Into::into).collect();
        self.in_former(ClientPlan { keys, ..ClientPlan::of(readiness) })
    }

    /// The status of keys that the Secret of the spec does not record yet: it continues to name the
    /// former Secret, so that the next reconciliation finds them.
    pub(super) fn in_former(&self, planned: ClientPlan) -> ClientPlan {
        match self.former_name() {
            Some(former) if !planned.keys.is_empty() => ClientPlan {
                secret_name: Some(former.to_owned()),
                replacing: planned.replacing.or_else(|| self.facts.replacing.clone()),
                ..planned
            },
            _ => planned,
        }
    }

    /// The status that announces that the immutable Secret with this uid will be replaced.
    pub(super) fn replacing(&self, uid: String, planned: ClientPlan) -> ClientPlan {
        let mut planned = ClientPlan { replacing: Some(uid), children: None, ..planned };
        let note = format!("; Secret `{}` is immutable and is being replaced", self.secret.name());
        planned.readiness.message.push_str(&note);
        let stored = self.facts.stored.as_ref();
        planned.requeue = if stored.is_some_and(|it| it.metadata.deletion_timestamp.is_some()) {
            // A finalizer delays the end of the deletion.
            Requeue::Later
        } else {
            Requeue::Soon
        };
        self.in_former(planned)
    }

    /// Reports that the keys are in another Secret than before.
    pub(super) fn moved(&self, delivered: &[StoredApiKey]) -> Option<EventNote> {
        let (former, name) = (self.former_name()?, self.secret.name());
        let note = format!(
            "secretName has changed from `{former}` to `{name}`, which contains the API key{}",
            still_valid(delivered)
        );
        Some(EventNote::new(EventReason::SecretNameChanged, note))
    }

    pub(super) fn stored_version(&self) -> Children {
        let version = self.facts.stored.as_ref().and_then(ResourceExt::resource_version);
        version.map(|version| ("Secret".into(), version)).into_iter().collect()
    }
}

/// How many keys that were replaced are still valid, for messages; empty if none is.
pub(super) fn still_valid(delivered: &[StoredApiKey]) -> String {
    let previous = delivered.iter().filter(|key| key.state == ApiKeyState::Previous);
    match previous.count() {
        0 => String::new(),
        count => format!("; previous keys still valid: {count}"),
    }
}
