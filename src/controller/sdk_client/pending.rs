//! Keys whose hash is published and whose plaintext is nowhere but here, until every validator
//! knows them. Lost in a crash, and then replaced.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::domain::client::{SdkClient, StoredApiKey};
use crate::domain::ids::ObjectName;
use crate::domain::opaque::ApiKey;
use crate::index::propagation::{Propagation, Write};

/// How long a key may be on its way before anything is said of it.
const MOMENT: Duration = Duration::from_secs(2);

/// A key on its way.
pub struct Pending {
    /// The key.
    pub key: ApiKey,
    /// The write that published its hash.
    pub write: Write,
}

/// The keys on their way, by client.
#[derive(Default)]
pub struct PendingKeys(Mutex<HashMap<ObjectName, Pending>>);

impl PendingKeys {
    /// The key that is on its way for this client, if it is the one that status publishes. Any
    /// other is dropped: its hash is not known any more.
    pub fn take(&self, client: &ObjectName, published: Option<&StoredApiKey>) -> Option<Pending> {
        let pending = self.0.lock().remove(client)?;
        published.filter(|published| published.hash == pending.key.hash()).map(|_| pending)
    }

    /// Whether there is nothing to do for this client but to wait a moment until its new key is
    /// known everywhere. It usually takes a quarter of a second; where many rotate at once, asking
    /// the API server meanwhile, and telling it of the waiting, would slow all of them down.
    pub fn is_on_its_way(&self, client: &SdkClient, propagation: &Propagation) -> bool {
        let pending = self.0.lock();
        pending.get(&client.name).is_some_and(|Pending { key, write }| {
            let hash = key.hash();
            write.at.elapsed() < MOMENT
                && client.key_hashes().any(|published| published == hash)
                && !propagation.reached(write).everywhere
        })
    }

    /// It has to wait.
    pub fn put_back(&self, client: &ObjectName, pending: Pending) {
        self.0.lock().insert(client.clone(), pending);
    }
}
