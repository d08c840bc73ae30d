//! Keys whose hash is published and whose plaintext is nowhere but here, until every validator
//! knows them. Lost in a crash, and then replaced.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::controller::propagation::Write;
use crate::domain::client::StoredApiKey;
use crate::domain::ids::ObjectName;
use crate::domain::opaque::ApiKey;

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

    /// It has to wait.
    pub fn put_back(&self, client: &ObjectName, pending: Pending) {
        self.0.lock().insert(client.clone(), pending);
    }
}
