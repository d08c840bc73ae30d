//! New API keys between publication and delivery: their hash is in status, and their plain text
//! exists only here until every validator has acknowledged the hash. A crash loses them. They are
//! then replaced, after a pause in which another leader, if there is one, can finish its rotation.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::domain::client::{SdkClient, StoredApiKey};
use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::ids::ObjectName;
use crate::replicas::tracker::{ReplicaTracker, Write};

/// How long a key may be pending before the client's status mentions it.
const REPORT_DELAY: Duration = Duration::from_secs(2);

/// How long the pending key of another leader is left alone. Without this pause, two leaders would
/// replace each other's keys endlessly.
const TAKEOVER_DELAY: Duration = Duration::from_secs(5);

/// A key whose hash is published and that is not delivered yet.
pub struct Pending {
    /// The key, in plain text.
    pub key: ApiKey,
    /// Its creation time, as published in status.
    pub made_at: Timestamp,
    /// The status write that published its hash.
    pub write: Write,
}

/// Pending keys, by client.
#[derive(Default)]
pub struct PendingKeys(Mutex<HashMap<ObjectName, OnItsWay>>);

enum OnItsWay {
    Ours(Pending),
    /// Keys published by another leader, which may have crashed, with the time at which each was
    /// first seen.
    Theirs(KeyHash, Instant),
}

impl PendingKeys {
    /// Takes the pending key of a client if status still publishes its hash. Any other pending key
    /// is dropped, because its hash has been withdrawn.
    pub fn take(&self, client: &ObjectName, published: Option<&StoredApiKey>) -> Option<Pending> {
        let Some(OnItsWay::Ours(pending)) = self.0.lock().remove(client) else {
            return None;
        };
        published.filter(|published| published.hash == pending.key.hash()).map(|_| pending)
    }

    /// Whether this client only has to wait until its new key is acknowledged everywhere. That
    /// usually takes a quarter of a second. When many clients rotate at once, reading from the API
    /// server in the meantime and reporting the wait would slow all of them down.
    pub fn is_on_its_way(&self, client: &SdkClient, replicas: &ReplicaTracker) -> bool {
        let Some(next) = client.next_key() else {
            return false;
        };
        let mut pending = self.0.lock();
        let first_seen = match pending.get(&client.name) {
            Some(OnItsWay::Ours(Pending { key, write, .. })) if key.hash() == next => {
                return write.at.elapsed() < REPORT_DELAY && !replicas.is_applied_everywhere(write);
            }
            Some(OnItsWay::Theirs(theirs, first_seen)) if *theirs == next => *first_seen,
            _ => Instant::now(),
        };
        pending.insert(client.name.clone(), OnItsWay::Theirs(next, first_seen));
        first_seen.elapsed() < TAKEOVER_DELAY
    }

    /// Puts a key back that is not acknowledged everywhere yet.
    pub fn put_back(&self, client: &ObjectName, pending: Pending) {
        self.0.lock().insert(client.clone(), OnItsWay::Ours(pending));
    }

    /// Drops everything about a client that was deleted.
    pub fn forget(&self, client: &ObjectName) {
        self.0.lock().remove(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd;
    use crate::validate;
    use serde_json::json;

    fn client(next: &ApiKey) -> SdkClient {
        let hash = next.hash();
        let object: crd::SdkClient = serde_json::from_value(json!({
            "metadata": {"namespace": "acme", "name": "backend"},
            "spec": {"service": {"role": "Member", "apiKey": {"delivery": {"secretName": "key"}}}},
            "status": {"secretName": "key", "keys": [{"id": hash.id(), "sha256": hash.to_string(), "state": "Next"}]},
        }))
        .unwrap();
        validate::sdk_client(&object).unwrap()
    }

    #[test]
    fn the_key_of_another_leader_has_its_turn_and_then_is_replaced() {
        let pending = PendingKeys::default();
        let replicas = ReplicaTracker::new(Duration::from_hours(1));
        let (theirs, ours) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let client = client(&theirs);
        // Another leader has replaced our key.
        let write = Write {
            kind: crate::crd::Kind::SdkClient,
            resource_version: "1".to_owned(),
            at: Instant::now(),
        };
        pending
            .put_back(&client.name, Pending { key: ours, made_at: Timestamp::UNIX_EPOCH, write });
        assert!(pending.is_on_its_way(&client, &replicas));
        // The pause is limited, however often the key is checked.
        let earlier = Instant::now().checked_sub(TAKEOVER_DELAY).unwrap();
        let late = OnItsWay::Theirs(theirs.hash(), earlier);
        pending.0.lock().insert(client.name.clone(), late);
        assert!(!pending.is_on_its_way(&client, &replicas));
        assert!(pending.take(&client.name, None).is_none());
        pending.forget(&client.name);
        assert!(pending.0.lock().is_empty());
    }
}
