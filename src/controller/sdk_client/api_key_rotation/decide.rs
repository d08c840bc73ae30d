//! What to do about the keys of a client, before any new key exists. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use super::Planner;
use crate::controller::matched;
use crate::controller::plan::Write;
use crate::controller::sdk_client::delivery::{self, Contents};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::record_mac::SignedBy;
use crate::domain::revocation::Revocation;
use crate::domain::rotation::Reach;
use crate::domain::rotation::api_keys::{ApiKeyState, MAX_PREVIOUS, Step, StoredApiKey};

/// What to do.
pub enum Decision {
    /// The Secret was not created for this client. Keys of a former one are still valid.
    Foreign { former: Vec<StoredApiKey> },
    /// It does not exist. Keys of a former one are still valid.
    Create { former: Vec<StoredApiKey> },
    /// It is not known yet to which client a key belongs.
    Wait,
    /// Immediately replaces a key that was deleted, is malformed or is revoked. Previous keys that
    /// are not revoked remain valid.
    Replace { previous: Vec<StoredApiKey>, why: &'static str },
    /// The key in the Secret belongs to another client. It is not overwritten.
    Conflict { previous: Vec<StoredApiKey>, hash: KeyHash },
    /// These belong to the client, but must be in status before they are recorded with a MAC.
    Adopt { delivered: Vec<StoredApiKey>, conflict: Option<KeyHash> },
    /// All keys belong to the client: its next step.
    Step(Box<Ready>),
}

/// The keys of a client that all belong to it.
pub struct Ready {
    /// The key in the Secret.
    pub key: ApiKey,
    /// The next step.
    pub step: Step,
    /// The last completed rotation request.
    pub rotated: String,
    /// Whether a correction of the Secret is no repair: a record changes when the MAC key is
    /// rotated, when an overlap ends, and when the keys of a former Secret are added.
    pub is_expected: bool,
    /// A key of the record that belongs to another client.
    pub conflict: Option<KeyHash>,
}

/// The Secret of the client as it was read.
pub enum Stored {
    /// It does not exist.
    Missing { former: Vec<StoredApiKey> },
    /// It was not created for this client.
    Foreign { former: Vec<StoredApiKey> },
    /// Its content, with the keys of a former Secret and without keys that are revoked or whose
    /// overlap has ended.
    Ours { contents: Contents, is_expected: bool },
}

/// The keys of a Secret that belong to the client.
#[derive(Default)]
pub struct Owned {
    /// Their hashes.
    pub all: HashSet<KeyHash>,
    /// A key that belongs to another client.
    pub conflict: Option<KeyHash>,
}

impl Planner<'_> {
    /// Interprets the Secret.
    pub fn read(&self) -> Stored {
        let mut former = self.former_keys();
        let Some(stored) = &self.facts.stored else { return Stored::Missing { former } };
        let delivery::Observed::Ours(mut contents) =
            self.secret.observe(stored, &self.service.keys)
        else {
            return Stored::Foreign { former };
        };
        let delivered = &mut contents.delivered;
        let ended = delivered.iter().any(|key| self.is_over(key));
        former.retain(|former| delivered.iter().all(|key| key.hash != former.hash));
        let is_expected =
            ended || !former.is_empty() || contents.signed_by == Some(SignedBy::Previous);
        delivered.retain(|key| !self.is_revoked(key) && !self.is_over(key));
        delivered.splice(0..0, former);
        // All but the Current key, which is the last, are Previous.
        delivered.drain(..delivered.len().saturating_sub(MAX_PREVIOUS + 1));
        Stored::Ours { contents, is_expected }
    }

    /// Decides what to do. `owned` are the keys of the Secret that belong to the client; `None` if
    /// that is not known yet.
    pub fn decide(&self, stored: Stored, owned: Option<Owned>) -> Decision {
        let (contents, is_expected) = match stored {
            Stored::Missing { former } => return Decision::Create { former },
            Stored::Foreign { former } => return Decision::Foreign { former },
            Stored::Ours { contents, is_expected } => (contents, is_expected),
        };
        let Some(owned) = owned else { return Decision::Wait };
        let Contents { key, mut delivered, rotated, recorded, .. } = contents;
        let Some(key) = key else {
            return Decision::Replace { previous: delivered, why: "was missing or malformed" };
        };
        let is_owned = |key: &StoredApiKey| owned.all.contains(&key.hash);
        let has_current =
            |keys: &[StoredApiKey]| keys.iter().any(|key| key.state == ApiKeyState::Current);
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
            |key: &StoredApiKey| recorded.contains(&key.hash) || self.service.lists(&key.hash);
        let contested = |key: &StoredApiKey| self.facts.contested.contains(&key.hash);
        if delivered.iter().any(contested) || !delivered.iter().all(own) {
            return Decision::Adopt { delivered, conflict: owned.conflict };
        }
        // A rotation request that exists when the Secret is first seen is recorded and not carried
        // out: restoring or copying an object must not rotate its key.
        let rotated = rotated.unwrap_or_else(|| self.requested().to_owned());
        let requested = self.delivery.requested_rotation.is_some() && rotated != self.requested();
        let step = self.step(&delivered, requested);
        let conflict = owned.conflict;
        Decision::Step(Box::new(Ready { key, step, rotated, is_expected, conflict }))
    }

    /// The next step of the delivered keys.
    pub(super) fn step(&self, delivered: &[StoredApiKey], requested: bool) -> Step {
        let reach = self.facts.next.as_ref().map_or(Reach::Nowhere, |next| next.reach);
        self.delivery.rotation.step(self.client.id, delivered, requested, reach, self.facts.now)
    }

    pub(super) fn requested(&self) -> &str {
        self.delivery.requested_rotation.as_deref().unwrap_or_default()
    }

    /// Whether the key was replaced and its overlap has ended.
    pub(super) fn is_over(&self, key: &StoredApiKey) -> bool {
        key.state == ApiKeyState::Previous && key.expires_at.is_none_or(|end| end <= self.facts.now)
    }

    pub(super) fn is_revoked(&self, key: &StoredApiKey) -> bool {
        let covers =
            |it: &Arc<Revocation>| it.covers_key(&key.hash.id(), key.created_at, self.facts.now);
        self.facts.revocations.iter().any(covers)
    }

    /// The writes that record which keys of the client are revoked: of those in status, and of those
    /// in the Secret, which may have been restored.
    pub(super) fn matched(&self) -> Vec<Write> {
        // As a rule there is none, and the Secret need not be interpreted once more.
        if self.facts.revocations.is_empty() {
            return Vec::new();
        }
        let id = |hash: &KeyHash, created_at| (hash.id(), created_at);
        let mut keys: Vec<_> =
            self.service.keys.iter().map(|key| id(&key.hash, key.created_at)).collect();
        let stored = self.facts.stored.as_ref();
        if let Some(delivery::Observed::Ours(contents)) =
            stored.map(|stored| self.secret.observe(stored, &self.service.keys))
        {
            keys.extend(contents.delivered.iter().map(|key| id(&key.hash, key.created_at)));
        }
        matched::record(&self.facts.revocations, &keys, self.facts.now)
    }
}
