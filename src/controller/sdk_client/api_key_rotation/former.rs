//! The keys of a former Secret, which stay valid for an overlap: the spec names another Secret by
//! now, or the operator has deleted an immutable one to replace it. Pure.

use k8s_openapi::api::core::v1::Secret;

use super::Planner;
use crate::controller::sdk_client::delivery::Observed;
use crate::domain::rotation::api_keys::{ApiKeyState, StoredApiKey};

impl Planner<'_> {
    /// The name of the former Secret, if the spec names another one.
    pub(super) fn former_name(&self) -> Option<&str> {
        let name = self.facts.delivered_into.as_deref()?;
        (name != self.secret.name()).then_some(name)
    }

    /// The keys of a former Secret that are still valid. Status lists them. A Secret that a user has
    /// deleted is not a former one: its keys are rejected.
    pub(super) fn former_keys(&self) -> Vec<StoredApiKey> {
        let listed = &self.service.keys;
        let last = self.former_name().map_or(&self.facts.stored, |_| &self.facts.former);
        let found: Vec<_> = match (last, self.former_name()) {
            (Some(secret), Some(name)) => self.listed_in(secret, name),
            (None, _) if self.facts.replacing.is_some() => {
                // No one has the plain text of a Next key that was not delivered.
                listed.iter().filter(|key| key.state != ApiKeyState::Next).collect()
            }
            _ => Vec::new(),
        };
        let (policy, now) = (&self.delivery.rotation, self.facts.now);
        let mut keys: Vec<_> = found.into_iter().map(|key| policy.retire(key, now)).collect();
        keys.retain(|key| {
            !self.is_over(key) && !self.is_revoked(key) && !self.facts.contested.contains(&key.hash)
        });
        keys
    }

    /// The keys in status that this Secret contains or records.
    fn listed_in(&self, secret: &Secret, name: &str) -> Vec<&StoredApiKey> {
        let listed = &self.service.keys;
        let Observed::Ours(contents) = self.secret.named(name).observe(secret, listed) else {
            return Vec::new();
        };
        // With the times of status: those that it has once are not extended by the next plan.
        let is_in = |key: &&StoredApiKey| contents.delivered.iter().any(|it| it.hash == key.hash);
        listed.iter().filter(is_in).collect()
    }
}
