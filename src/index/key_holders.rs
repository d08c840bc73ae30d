//! The clients that list the hash of an API key: in status, which only the leader writes, and in
//! spec, which anyone who may edit the client can write. A change takes O(1) for each hash, however
//! many clients list the same hash.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use kube::Resource as _;

use crate::crd;
use crate::domain::credential::KeyHash;
use crate::domain::ids::ObjectName;

type Names = HashSet<Arc<ObjectName>>;

/// The hashes that clients list, including clients that are not served: a client keeps its hashes
/// while it is suspended, invalid or being deleted.
#[derive(Debug, Default)]
pub struct KeyHolders {
    recorded: HashMap<KeyHash, Names>,
    asserted: HashMap<KeyHash, Names>,
    lists: HashMap<Arc<ObjectName>, Lists>,
    /// The clients with a delivery Secret that the leader has not reconciled yet: new clients, and
    /// those whose status was lost. The content of their Secrets is not known here. Ordered by when
    /// they entered this state.
    unobserved: BTreeMap<u64, Arc<ObjectName>>,
    numbers: HashMap<Arc<ObjectName>, u64>,
    last_number: u64,
}

/// The entries of one client in the maps.
#[derive(Debug, Default)]
struct Lists {
    recorded: Vec<KeyHash>,
    asserted: Vec<KeyHash>,
}

impl KeyHolders {
    /// Replaces the entries of a client.
    pub fn note(&mut self, name: &ObjectName, client: &crd::SdkClient) {
        self.forget_lists(name);
        let recorded = client.status.iter().flat_map(|status| &status.keys);
        let recorded: Vec<_> = recorded.filter_map(|key| KeyHash::parse(&key.sha256)).collect();
        let service = client.spec.service.as_ref();
        let asserted = service.and_then(|service| service.api_key.hashes.as_deref());
        let asserted = asserted.unwrap_or_default().iter();
        let asserted: Vec<_> = asserted.filter_map(|key| KeyHash::parse(&key.sha256)).collect();
        let name = Arc::new(name.clone());
        let delivered = service.is_some_and(|service| service.api_key.delivery.is_some());
        let observed = client.status.as_ref().and_then(|status| status.observed_generation);
        let living = client.meta().deletion_timestamp.is_none();
        if delivered && observed.is_none() && living {
            self.await_observation(&name);
        } else {
            self.stop_awaiting(&name);
        }
        if recorded.is_empty() && asserted.is_empty() {
            return;
        }
        for hash in &recorded {
            self.recorded.entry(*hash).or_default().insert(Arc::clone(&name));
        }
        for hash in &asserted {
            self.asserted.entry(*hash).or_default().insert(Arc::clone(&name));
        }
        self.lists.insert(name, Lists { recorded, asserted });
    }

    /// Removes a deleted client.
    pub fn forget(&mut self, name: &ObjectName) {
        self.stop_awaiting(name);
        self.forget_lists(name);
    }

    fn await_observation(&mut self, name: &Arc<ObjectName>) {
        if !self.numbers.contains_key(name) {
            self.last_number = self.last_number.saturating_add(1);
            self.numbers.insert(Arc::clone(name), self.last_number);
            self.unobserved.insert(self.last_number, Arc::clone(name));
        }
    }

    fn stop_awaiting(&mut self, name: &ObjectName) {
        if let Some(number) = self.numbers.remove(name) {
            self.unobserved.remove(&number);
        }
    }

    fn forget_lists(&mut self, name: &ObjectName) {
        let Some(lists) = self.lists.remove(name) else { return };
        for hash in &lists.recorded {
            remove(&mut self.recorded, hash, name);
        }
        for hash in &lists.asserted {
            remove(&mut self.asserted, hash, name);
        }
    }

    /// The client that the hash belongs to: the one whose status lists it. If the statuses of two
    /// clients list it, which takes two leaders at the same time, it belongs to neither: the index
    /// cannot tell which of them had it first, and every replica must decide alike.
    pub fn holder(&self, hash: &KeyHash) -> Option<&ObjectName> {
        let recorded = self.recorded.get(hash)?;
        let mut names = recorded.iter();
        names.next().filter(|_| names.next().is_none()).map(AsRef::as_ref)
    }

    /// Whether the status of this client lists the hash.
    pub fn is_recorded_by(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.recorded.get(hash).is_some_and(|names| names.contains(name))
    }

    /// Whether the status of another client lists the hash.
    pub fn is_recorded_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.recorded.get(hash).is_some_and(|names| others(names, name))
    }

    /// Whether the spec of another client lists the hash.
    pub fn is_asserted_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.asserted.get(hash).is_some_and(|names| others(names, name))
    }

    /// Whether the status of another client lists the hash and its spec does not, so that the key
    /// was delivered to that client.
    pub fn is_delivered_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        let asserted = |other: &Arc<ObjectName>| {
            self.asserted.get(hash).is_some_and(|names| names.contains(other))
        };
        let recorded = self.recorded.get(hash).into_iter().flatten();
        recorded.into_iter().any(|other| **other != *name && !asserted(other))
    }

    /// The clients with a delivery Secret that the leader has not reconciled yet, and that already
    /// existed when [`Self::last_number`] returned `last_number`.
    pub fn unobserved(&self, last_number: u64) -> impl Iterator<Item = &ObjectName> {
        self.unobserved.range(..=last_number).map(|(_, name)| name.as_ref())
    }

    /// The number of the newest of these clients.
    pub const fn last_number(&self) -> u64 {
        self.last_number
    }

    /// The number of hashes in the maps.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.recorded.len(), self.asserted.len())
    }
}

fn others(names: &Names, name: &ObjectName) -> bool {
    names.len() > usize::from(names.contains(name))
}

fn remove(map: &mut HashMap<KeyHash, Names>, hash: &KeyHash, name: &ObjectName) {
    if let Some(names) = map.get_mut(hash) {
        names.remove(name);
        if names.is_empty() {
            map.remove(hash);
        }
    }
}
