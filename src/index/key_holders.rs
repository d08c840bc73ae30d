//! The clients that list the hash of an API key: in status, which only the leader writes, and in
//! spec, which anyone who may edit the client can write. A change takes O(1) for each hash, however
//! many clients list the same hash.
//!
//! There may be millions of keys. So a hash that one client lists, as nearly all are, is stored
//! only in the keys of that client, and takes a pointer and a position here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use kube::Resource as _;

use crate::crd;
use crate::domain::client::{ClientKind, SdkClient};
use crate::domain::credential::KeyHash;
use crate::domain::ids::{ObjectName, SdkClientId};
use crate::domain::stored_key::StoredApiKeys;

/// The hashes that clients list, including clients that are not served: a client keeps its hashes
/// while it is suspended, invalid or being deleted. A client is identified by the id that is derived
/// from its name.
#[derive(Debug, Default)]
pub struct KeyHolders {
    hashes: HashTable<Holders>,
    hasher: RandomState,
    lists: HashMap<SdkClientId, Arc<List>>,
    /// The clients with a delivery Secret that the leader has not reconciled yet: new clients, and
    /// those whose status was lost. The content of their Secrets is not known here. Ordered by when
    /// they entered this state.
    unobserved: BTreeMap<u64, Arc<ObjectName>>,
    numbers: HashMap<Arc<ObjectName>, u64>,
    last_number: u64,
}

/// The hashes that a client lists, each once as far as this module is concerned: of several equal
/// ones, only the first has an entry in the table.
#[derive(Debug)]
struct List {
    client: SdkClientId,
    /// The keys that are used, shared with the client.
    used: StoredApiKeys,
    /// Where these are listed.
    used_in: Lists,
    /// All other hashes, and where they are listed.
    others: Box<[(KeyHash, Lists)]>,
}

/// The lists of a client that contain a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lists {
    recorded: bool,
    asserted: bool,
}

/// The clients that list a hash.
#[derive(Debug)]
enum Holders {
    /// One, in whose list the hash is at this position.
    One(Arc<List>, u32),
    /// Several.
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    hash: KeyHash,
    recorded: HashSet<SdkClientId>,
    asserted: HashSet<SdkClientId>,
}

impl List {
    fn new(object: &crd::SdkClient, name: &ObjectName, served: Option<&SdkClient>) -> Self {
        let service = served.and_then(|client| match &client.kind {
            ClientKind::Service(service) => Some(service),
            ClientKind::Webapp(_) => None,
        });
        let used_in =
            Lists { recorded: true, asserted: service.is_some_and(|it| !it.is_delivered) };
        let used = service.map(|service| service.keys.clone()).unwrap_or_default();
        let mut others: Vec<(KeyHash, Lists)> = Vec::new();
        for (hash, lists) in listed(object) {
            if lists == used_in && used.find(&hash).is_some() {
                continue;
            }
            others.push((hash, lists));
        }
        let client = SdkClientId::derive(&name.namespace, &name.name);
        Self { client, used, used_in, others: others.into() }
    }

    fn get(&self, position: u32) -> Option<(&KeyHash, Lists)> {
        let position = usize::try_from(position).ok()?;
        match position.checked_sub(self.used.len()) {
            None => self.used.hash(position).map(|hash| (hash, self.used_in)),
            Some(position) => self.others.get(position).map(|(hash, lists)| (hash, *lists)),
        }
    }

    fn len(&self) -> usize {
        self.used.len() + self.others.len()
    }
}

/// The hashes that status and spec list, each once.
fn listed(object: &crd::SdkClient) -> HashMap<KeyHash, Lists> {
    let mut all: HashMap<KeyHash, Lists> = HashMap::new();
    let recorded = object.status.iter().flat_map(|status| &status.keys);
    for hash in recorded.filter_map(|key| KeyHash::parse(&key.sha256)) {
        all.entry(hash).or_default().recorded = true;
    }
    let service = object.spec.service.as_ref();
    let asserted = service.and_then(|service| service.api_key.hashes.as_deref());
    for hash in asserted.unwrap_or_default().iter().filter_map(|key| KeyHash::parse(&key.sha256)) {
        all.entry(hash).or_default().asserted = true;
    }
    all
}

impl Holders {
    fn hash(&self) -> Option<&KeyHash> {
        match self {
            Self::One(list, position) => list.get(*position).map(|(hash, _)| hash),
            Self::Many(many) => Some(&many.hash),
        }
    }

    /// Adds a client.
    fn add(&mut self, hash: &KeyHash, client: SdkClientId, lists: Lists) {
        if let Self::One(list, position) = self {
            let mut many = Box::new(Many::new(*hash));
            if let Some((_, lists)) = list.get(*position) {
                many.add(list.client, lists);
            }
            *self = Self::Many(many);
        }
        if let Self::Many(many) = self {
            many.add(client, lists);
        }
    }

    /// Removes a client, and returns whether none is left.
    fn remove(&mut self, client: SdkClientId) -> bool {
        match self {
            Self::One(list, _) => list.client == client,
            Self::Many(many) => {
                many.recorded.remove(&client);
                many.asserted.remove(&client);
                many.recorded.is_empty() && many.asserted.is_empty()
            }
        }
    }

    /// The only client whose status lists the hash.
    fn holder(&self) -> Option<SdkClientId> {
        match self {
            Self::One(list, position) => {
                list.get(*position).filter(|(_, lists)| lists.recorded).map(|_| list.client)
            }
            Self::Many(many) => {
                let mut clients = many.recorded.iter();
                clients.next().filter(|_| clients.next().is_none()).copied()
            }
        }
    }

    /// The lists of this client that contain the hash.
    fn lists_of(&self, client: SdkClientId) -> Lists {
        match self {
            Self::One(list, position) if list.client == client => {
                list.get(*position).map(|(_, lists)| lists).unwrap_or_default()
            }
            Self::One(..) => Lists::default(),
            Self::Many(many) => Lists {
                recorded: many.recorded.contains(&client),
                asserted: many.asserted.contains(&client),
            },
        }
    }

    /// The lists of all other clients that contain the hash.
    fn lists_besides(&self, client: SdkClientId) -> Lists {
        match self {
            Self::One(list, position) if list.client != client => {
                list.get(*position).map(|(_, lists)| lists).unwrap_or_default()
            }
            Self::One(..) => Lists::default(),
            Self::Many(many) => {
                let others = |clients: &HashSet<SdkClientId>| {
                    clients.len() > usize::from(clients.contains(&client))
                };
                Lists { recorded: others(&many.recorded), asserted: others(&many.asserted) }
            }
        }
    }

    /// Whether the status of another client lists the hash and its spec does not.
    fn is_delivered_besides(&self, client: SdkClientId) -> bool {
        match self {
            Self::One(..) => {
                let Lists { recorded, asserted } = self.lists_besides(client);
                recorded && !asserted
            }
            Self::Many(many) => {
                let mut others = many.recorded.iter().filter(|other| **other != client);
                others.any(|other| !many.asserted.contains(other))
            }
        }
    }
}

impl Many {
    fn new(hash: KeyHash) -> Self {
        Self { hash, recorded: HashSet::new(), asserted: HashSet::new() }
    }

    fn add(&mut self, client: SdkClientId, lists: Lists) {
        if lists.recorded {
            self.recorded.insert(client);
        }
        if lists.asserted {
            self.asserted.insert(client);
        }
    }
}

impl KeyHolders {
    /// Replaces the entries of a client. `served` is its domain value, if it is valid.
    pub fn note(&mut self, name: &ObjectName, object: &crd::SdkClient, served: Option<&SdkClient>) {
        let delivery = object.spec.service.as_ref().and_then(|it| it.api_key.delivery.as_ref());
        let observed = object.status.as_ref().and_then(|status| status.observed_generation);
        let living = object.meta().deletion_timestamp.is_none();
        if delivery.is_some() && observed.is_none() && living {
            self.await_observation(name);
        } else {
            self.stop_awaiting(name);
        }
        let list = Arc::new(List::new(object, name, served));
        self.forget_list(list.client);
        if list.len() == 0 {
            return;
        }
        for position in 0..u32::try_from(list.len()).unwrap_or(u32::MAX) {
            self.add(&list, position);
        }
        self.lists.insert(list.client, list);
    }

    fn add(&mut self, list: &Arc<List>, position: u32) {
        let Some((hash, lists)) = list.get(position) else { return };
        let hasher = &self.hasher;
        let entry = self.hashes.entry(
            hasher.hash_one(hash),
            |holders| holders.hash() == Some(hash),
            |holders| holders.hash().map_or(0, |hash| hasher.hash_one(hash)),
        );
        match entry {
            Entry::Vacant(entry) => {
                entry.insert(Holders::One(Arc::clone(list), position));
            }
            Entry::Occupied(mut entry) => {
                // A client may list the same key twice.
                if !matches!(entry.get(), Holders::One(other, _) if Arc::ptr_eq(other, list)) {
                    entry.get_mut().add(hash, list.client, lists);
                }
            }
        }
    }

    /// Removes a deleted client.
    pub fn forget(&mut self, name: &ObjectName) {
        self.stop_awaiting(name);
        self.forget_list(SdkClientId::derive(&name.namespace, &name.name));
    }

    fn await_observation(&mut self, name: &ObjectName) {
        if !self.numbers.contains_key(name) {
            let name = Arc::new(name.clone());
            self.last_number = self.last_number.saturating_add(1);
            self.numbers.insert(Arc::clone(&name), self.last_number);
            self.unobserved.insert(self.last_number, name);
        }
    }

    fn stop_awaiting(&mut self, name: &ObjectName) {
        if let Some(number) = self.numbers.remove(name) {
            self.unobserved.remove(&number);
        }
    }

    fn forget_list(&mut self, client: SdkClientId) {
        let Some(list) = self.lists.remove(&client) else { return };
        for position in 0..u32::try_from(list.len()).unwrap_or(u32::MAX) {
            let Some((hash, _)) = list.get(position) else { continue };
            let same = |holders: &Holders| holders.hash() == Some(hash);
            if let Ok(mut entry) = self.hashes.find_entry(self.hasher.hash_one(hash), same)
                && entry.get_mut().remove(client)
            {
                entry.remove();
            }
        }
    }

    fn holders(&self, hash: &KeyHash) -> Option<&Holders> {
        self.hashes.find(self.hasher.hash_one(hash), |holders| holders.hash() == Some(hash))
    }

    /// The client that the hash belongs to: the one whose status lists it. If the statuses of two
    /// clients list it, which takes two leaders at the same time, it belongs to neither: the index
    /// cannot tell which of them had it first, and every replica must decide alike.
    pub fn holder(&self, hash: &KeyHash) -> Option<SdkClientId> {
        self.holders(hash)?.holder()
    }

    /// Whether the status of this client lists the hash.
    pub fn is_recorded_by(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_of(id(name)).recorded)
    }

    /// Whether the status of another client lists the hash.
    pub fn is_recorded_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_besides(id(name)).recorded)
    }

    /// Whether the spec of another client lists the hash.
    pub fn is_asserted_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_besides(id(name)).asserted)
    }

    /// Whether the status of another client lists the hash and its spec does not, so that the key
    /// was delivered to that client.
    pub fn is_delivered_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.is_delivered_besides(id(name)))
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

    /// The number of hashes that statuses, and that specs list.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let nobody = ObjectName { namespace: String::new(), name: String::new() };
        let lists = || self.hashes.iter().map(|holders| holders.lists_besides(id(&nobody)));
        (lists().filter(|it| it.recorded).count(), lists().filter(|it| it.asserted).count())
    }

    /// The size of the table of all hashes.
    #[cfg(test)]
    pub fn table_bytes(&self) -> usize {
        self.hashes.allocation_size()
    }
}

fn id(name: &ObjectName) -> SdkClientId {
    SdkClientId::derive(&name.namespace, &name.name)
}
