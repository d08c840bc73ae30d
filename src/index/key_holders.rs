//! The clients that list the hash of an API key: in status, which only the leader writes, and in
//! spec, which anyone who may edit the client can write. A change takes O(1) for each hash, however
//! many clients list the same hash.
//!
//! There may be millions of keys. So a hash that one client lists, as nearly all are, is stored
//! only in the keys of that client, and takes a pointer and a position here. From the hash of a key in
//! use, that pointer leads to the client without a second lookup: in a large table, each one waits for
//! memory that is in no cache of the processor.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use kube::Resource as _;

use crate::crd;
use crate::domain::client::SdkClient;
use crate::domain::credential::KeyHash;
use crate::domain::ids::{ObjectName, SdkClientId};

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
    /// The client, if it is served: its keys are listed, too.
    served: Option<Arc<SdkClient>>,
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
    /// One, which is served and uses the key: its position among the client's keys.
    User(Arc<SdkClient>, u32),
    /// One that does not use it: its position among the others of the list.
    Other(Arc<List>, u32),
    /// Several.
    Many(Box<Many>),
}

/// The client that a hash belongs to.
pub enum Holder<'c> {
    /// It is served and uses the key.
    User(&'c Arc<SdkClient>),
    /// Its status lists the hash.
    Recorded(SdkClientId),
}

#[derive(Debug)]
struct Many {
    hash: KeyHash,
    recorded: HashSet<SdkClientId>,
    asserted: HashSet<SdkClientId>,
}

impl List {
    fn new(object: &crd::SdkClient, name: &ObjectName, served: Option<&Arc<SdkClient>>) -> Self {
        let is_used = |hash: &KeyHash, lists| {
            served.is_some_and(|client| client.has_key(hash) && used_in(client) == lists)
        };
        let listed = listed(object).into_iter();
        let others = listed.filter(|(hash, lists)| !is_used(hash, *lists)).collect();
        Self { client: derived_id(name), served: served.map(Arc::clone), others }
    }

    /// The same list of a client that is no longer served.
    fn withdrawn(&self) -> Self {
        let others = self.hashes().map(|(hash, lists)| (*hash, lists)).collect();
        Self { client: self.client, served: None, others }
    }

    fn hashes(&self) -> impl Iterator<Item = (&KeyHash, Lists)> {
        let used =
            self.served.iter().flat_map(|client| keys(client).map(|hash| (hash, used_in(client))));
        used.chain(self.others.iter().map(|(hash, lists)| (hash, *lists)))
    }
}

/// The keys that a client uses.
fn keys(client: &SdkClient) -> impl Iterator<Item = &KeyHash> {
    client.service().into_iter().flat_map(|service| service.keys.hashes())
}

/// Where they are listed.
fn used_in(client: &SdkClient) -> Lists {
    let asserted = client.service().is_some_and(|service| !service.is_delivered);
    Lists { recorded: true, asserted }
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
            Self::User(client, position) => client.service()?.keys.hash(index(*position)),
            Self::Other(list, position) => list.others.get(index(*position)).map(|(hash, _)| hash),
            Self::Many(many) => Some(&many.hash),
        }
    }

    /// The client and its lists, if it is only one.
    fn only(&self) -> Option<(SdkClientId, Lists)> {
        match self {
            Self::User(client, _) if client.id.is_derived() => Some((client.id, used_in(client))),
            Self::User(client, _) => Some((derived_id(&client.name), used_in(client))),
            Self::Other(list, position) => {
                let (_, lists) = list.others.get(index(*position))?;
                Some((list.client, *lists))
            }
            Self::Many(_) => None,
        }
    }

    /// Adds a client.
    fn add(&mut self, client: SdkClientId, lists: Lists) {
        if let (Some(hash), Some((client, lists))) = (self.hash(), self.only()) {
            let mut many = Box::new(Many::new(*hash));
            many.add(client, lists);
            *self = Self::Many(many);
        }
        if let Self::Many(many) = self {
            many.add(client, lists);
        }
    }

    /// Removes a client, and returns whether none is left.
    fn remove(&mut self, client: SdkClientId) -> bool {
        match self {
            Self::User(..) | Self::Other(..) => self.only().is_some_and(|(id, _)| id == client),
            Self::Many(many) => {
                many.recorded.remove(&client);
                many.asserted.remove(&client);
                many.recorded.is_empty() && many.asserted.is_empty()
            }
        }
    }

    /// The lists of this client that contain the hash.
    fn lists_of(&self, client: SdkClientId) -> Lists {
        match (self, self.only()) {
            (Self::Many(many), _) => Lists {
                recorded: many.recorded.contains(&client),
                asserted: many.asserted.contains(&client),
            },
            (_, Some((only, lists))) if only == client => lists,
            _ => Lists::default(),
        }
    }

    /// The lists of all other clients that contain the hash.
    fn lists_besides(&self, client: SdkClientId) -> Lists {
        match (self, self.only()) {
            (Self::Many(many), _) => {
                let others = |clients: &HashSet<SdkClientId>| {
                    clients.len() > usize::from(clients.contains(&client))
                };
                Lists { recorded: others(&many.recorded), asserted: others(&many.asserted) }
            }
            (_, Some((only, lists))) if only != client => lists,
            _ => Lists::default(),
        }
    }

    /// Whether the status of another client lists the hash and its spec does not.
    fn is_delivered_besides(&self, client: SdkClientId) -> bool {
        match self {
            Self::User(..) | Self::Other(..) => {
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

const fn index(position: u32) -> usize {
    position as usize
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
    /// Replaces the entries of a client. `served` is its domain value, if it is served.
    pub fn note(
        &mut self,
        name: &ObjectName,
        object: &crd::SdkClient,
        served: Option<&Arc<SdkClient>>,
    ) {
        let delivery = object.spec.service.as_ref().and_then(|it| it.api_key.delivery.as_ref());
        let observed = object.status.as_ref().and_then(|status| status.observed_generation);
        let living = object.meta().deletion_timestamp.is_none();
        if delivery.is_some() && observed.is_none() && living {
            self.await_observation(name);
        } else {
            self.stop_awaiting(name);
        }
        self.replace(List::new(object, name, served));
    }

    /// Stops serving a client that exists. Its hashes stay assigned to it.
    pub fn withdraw(&mut self, name: &ObjectName) {
        if let Some(list) = self.lists.get(&derived_id(name)) {
            self.replace(list.withdrawn());
        }
    }

    fn replace(&mut self, list: List) {
        self.forget_list(list.client);
        let list = Arc::new(list);
        if let Some(client) = &list.served {
            for (position, _) in (0..).zip(keys(client)) {
                self.add(Holders::User(Arc::clone(client), position));
            }
        }
        for (position, _) in (0..).zip(&list.others) {
            self.add(Holders::Other(Arc::clone(&list), position));
        }
        if list.hashes().next().is_some() {
            self.lists.insert(list.client, list);
        }
    }

    fn add(&mut self, holder: Holders) {
        let (Some(hash), Some((client, lists))) = (holder.hash(), holder.only()) else { return };
        let hasher = &self.hasher;
        let entry = self.hashes.entry(
            hasher.hash_one(hash),
            |holders| holders.hash() == Some(hash),
            |holders| holders.hash().map_or(0, |hash| hasher.hash_one(hash)),
        );
        match entry {
            Entry::Vacant(entry) => {
                entry.insert(holder);
            }
            Entry::Occupied(mut entry) => {
                // A client may list the same key twice.
                if entry.get().only().is_none_or(|(other, _)| other != client) {
                    entry.get_mut().add(client, lists);
                }
            }
        }
    }

    /// Removes a deleted client.
    pub fn forget(&mut self, name: &ObjectName) {
        self.stop_awaiting(name);
        self.forget_list(derived_id(name));
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
        for (hash, _) in list.hashes() {
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
    /// cannot tell which of them had it first, and every replica must decide alike. `None` also if that
    /// client is certain not to use the key.
    pub fn holder(&self, hash: &KeyHash) -> Option<Holder<'_>> {
        match self.holders(hash)? {
            Holders::User(client, _) => Some(Holder::User(client)),
            // Its client does not use it.
            Holders::Other(..) => None,
            Holders::Many(many) => {
                let mut clients = many.recorded.iter();
                let one = clients.next().filter(|_| clients.next().is_none());
                one.map(|client| Holder::Recorded(*client))
            }
        }
    }

    /// Whether the status of this client lists the hash.
    pub fn is_recorded_by(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_of(derived_id(name)).recorded)
    }

    /// Whether the status of another client lists the hash.
    pub fn is_recorded_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_besides(derived_id(name)).recorded)
    }

    /// Whether the spec of another client lists the hash.
    pub fn is_asserted_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.lists_besides(derived_id(name)).asserted)
    }

    /// Whether the status of another client lists the hash and its spec does not, so that the key
    /// was delivered to that client.
    pub fn is_delivered_besides(&self, hash: &KeyHash, name: &ObjectName) -> bool {
        self.holders(hash).is_some_and(|holders| holders.is_delivered_besides(derived_id(name)))
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
        let lists = || self.hashes.iter().map(|holders| holders.lists_besides(derived_id(&nobody)));
        (lists().filter(|it| it.recorded).count(), lists().filter(|it| it.asserted).count())
    }

    /// The size of the table of all hashes.
    #[cfg(test)]
    pub fn table_bytes(&self) -> usize {
        self.hashes.allocation_size()
    }
}

/// The id that is derived from a client's name, whatever its clientId is.
pub fn derived_id(name: &ObjectName) -> SdkClientId {
    SdkClientId::derive(&name.namespace, &name.name)
}
