//! New API keys between publication and delivery: their hash is in status, and their plain text
//! exists only here until every validator has acknowledged the hash. A crash loses them. They are
//! then replaced, after a pause in which another leader, if there is one, can finish its rotation.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::domain::credential::{ApiKey, KeyHash};
use crate::domain::ids::ObjectName;

/// A key whose hash is published and that is not delivered yet.
pub struct Pending {
    /// The key, in plain text.
    pub key: ApiKey,
    /// Its creation time, as published in status.
    pub created_at: Timestamp,
}

/// Pending keys, by client.
#[derive(Default)]
pub struct PendingKeys(Mutex<HashMap<ObjectName, Arc<Pending>>>);

impl PendingKeys {
    /// The pending key of a client whose status publishes this hash. Any other pending key is
    /// dropped, because its hash has been withdrawn.
    pub fn get(&self, client: &ObjectName, published: KeyHash) -> Option<Arc<Pending>> {
        let mut pending = self.0.lock();
        let ours = pending.get(client).filter(|it| it.key.hash() == published).map(Arc::clone);
        if ours.is_none() {
            pending.remove(client);
        }
        ours
    }

    /// Stores a key that will be published.
    pub fn put(&self, client: &ObjectName, pending: Pending) {
        self.0.lock().insert(client.clone(), Arc::new(pending));
    }

    /// Drops the key of a client: it was delivered or withdrawn, or the client was deleted.
    pub fn forget(&self, client: &ObjectName) {
        self.0.lock().remove(client);
    }
}
