//! Keys whose hash is published and whose plaintext is nowhere but here, until every validator
//! knows them. Lost in a crash, and then replaced, after a while in which another leader, if there
//! is one, may finish what it began.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::domain::client::{SdkClient, StoredApiKey};
use crate::domain::ids::ObjectName;
use crate::domain::opaque::{ApiKey, KeyHash};
use crate::index::propagation::{Propagation, Write};

/// How long a key may be on its way before anything is said of it.
const MOMENT: Duration = Duration::from_secs(2);

/// How long the key of another leader is left alone. Two leaders that replaced each other's keys at
/// once would never come to an end.
const TURN: Duration = Duration::from_secs(5);

/// A key on its way.
pub struct Pending {
    /// The key.
    pub key: ApiKey,
    /// When it was made, as status says.
    pub made_at: Timestamp,
    /// The write that published its hash.
    pub write: Write,
}

/// The keys on their way, by client.
#[derive(Default)]
pub struct PendingKeys(Mutex<HashMap<ObjectName, OnItsWay>>);

enum OnItsWay {
    Ours(Pending),
    /// Published by another leader, which may have crashed; first seen when.
    Theirs(KeyHash, Instant),
}

impl PendingKeys {
    /// The key that is on its way for this client, if it is the one that status publishes. Any
    /// other is dropped: its hash is not known any more.
    pub fn take(&self, client: &ObjectName, published: Option<&StoredApiKey>) -> Option<Pending> {
        let Some(OnItsWay::Ours(pending)) = self.0.lock().remove(client) else {
            return None;
        };
        published.filter(|published| published.hash == pending.key.hash()).map(|_| pending)
    }

    /// Whether there is nothing to do for this client but to wait a moment until its new key is
    /// known everywhere. It usually takes a quarter of a second; where many rotate at once, asking
    /// the API server meanwhile, and telling it of the waiting, would slow all of them down.
    pub fn is_on_its_way(&self, client: &SdkClient, propagation: &Propagation) -> bool {
        let Some(next) = client.next_key() else {
            return false;
        };
        let mut pending = self.0.lock();
        let first_seen = match pending.get(&client.name) {
            Some(OnItsWay::Ours(Pending { key, write, .. })) if key.hash() == next => {
                return write.at.elapsed() < MOMENT && !propagation.reached(write).everywhere;
            }
            Some(OnItsWay::Theirs(theirs, first_seen)) if *theirs == next => *first_seen,
            _ => Instant::now(),
        };
        pending.insert(client.name.clone(), OnItsWay::Theirs(next, first_seen));
        first_seen.elapsed() < TURN
    }

    /// It has to wait.
    pub fn put_back(&self, client: &ObjectName, pending: Pending) {
        self.0.lock().insert(client.clone(), OnItsWay::Ours(pending));
    }

    /// Forgets a client that is gone.
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
        let propagation = Propagation::new(Duration::from_hours(1));
        let (theirs, ours) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        let client = client(&theirs);
        // Ours was replaced by theirs.
        let write = Write {
            kind: crate::index::Kind::SdkClient,
            resource_version: "1".to_owned(),
            at: Instant::now(),
        };
        pending
            .put_back(&client.name, Pending { key: ours, made_at: Timestamp::UNIX_EPOCH, write });
        assert!(pending.is_on_its_way(&client, &propagation));
        // However often it is looked at, its turn ends.
        let earlier = Instant::now().checked_sub(TURN).unwrap();
        let late = OnItsWay::Theirs(theirs.hash(), earlier);
        pending.0.lock().insert(client.name.clone(), late);
        assert!(!pending.is_on_its_way(&client, &propagation));
        assert!(pending.take(&client.name, None).is_none());
        pending.forget(&client.name);
        assert!(pending.0.lock().is_empty());
    }
}
