//! A model of every way to ask for a hash, in any order, with two leaders whose indexes are behind.
//! What must hold in it is in `properties`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::crd;
use crate::index::{Index, IndexSettings};

mod leaders;
mod rights;

/// Number of clients: the first two have delivery Secrets, the others list hashes.
pub const CLIENTS: usize = 4;
pub const DELIVERED: usize = 2;
pub const LEADERS: usize = 2;
/// Number of keys.
pub const KEYS: usize = 2;

type Keys = BTreeSet<usize>;

fn name(client: usize) -> ObjectName {
    ObjectName { namespace: format!("org-{client}"), name: "c".into() }
}

fn hash(key: usize) -> KeyHash {
    KeyHash::parse(&format!("{key:064x}")).unwrap()
}

/// A delivery Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    plain: Option<usize>,
    /// The Current key in the record; `previous` has the Previous ones.
    current: Option<usize>,
    previous: Keys,
    /// The client for which the MAC of the record is valid.
    pub mac: Option<usize>,
}

impl Stored {
    pub fn lists(&self, key: usize) -> bool {
        self.current == Some(key) || self.previous.contains(&key)
    }
}

/// A client as stored by the API server.
#[derive(Clone, Debug, Default)]
struct Client {
    is_deleted: bool,
    version: u64,
    spec: Keys,
    status: Keys,
    observed: bool,
}

/// A reconciliation in progress, which looks up records.
#[derive(Clone, Debug)]
struct Pass {
    leader: usize,
    client: usize,
    /// The client and its Secret as they were read.
    seen: Client,
    secret: Stored,
    recorded: HashMap<KeyHash, bool>,
    /// The keys that it is looking up.
    unknown: Vec<usize>,
}

/// A status write in progress.
#[derive(Clone, Debug)]
struct StatusWrite {
    leader: usize,
    client: usize,
    version: u64,
    status: Keys,
}

pub struct Leader {
    ownership: Ownership,
    index: Arc<Index>,
    /// The clients as they are in its index.
    view: Vec<Client>,
    events: VecDeque<(usize, Client)>,
}

/// The API server, its users, and the leaders.
pub struct Model {
    version: u64,
    clients: Vec<Client>,
    pub secrets: Vec<Stored>,
    pub leaders: Vec<Leader>,
    /// Receives every change immediately.
    validator: Arc<Index>,
    passes: Vec<Pass>,
    writes: Vec<StatusWrite>,
    /// The client whose status listed each key first, while that client asks for it.
    owner: [Option<usize>; KEYS],
    /// The clients that have given a key up and whose status still listed it then. When the status
    /// follows, the key is free, even if the client has begun to ask for it again.
    released: [Keys; KEYS],
    /// The clients that may get each key since status was lost: those that had better evidence than
    /// all others at some time, those that began to ask for it while no client had a valid record,
    /// those that asked for it when another client gave it up, the one that had the key when its
    /// status alone was lost, and those that asked for it before a client with a record was created
    /// (they do not wait for that client) whose record became invalid.
    entitled: [Keys; KEYS],
    /// The clients that asked for keys when this one was created.
    older: [BTreeSet<(usize, usize)>; CLIENTS],
    /// A key that the operator has taken from the only client that may have it.
    taken: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// A user adds a hash to a spec, or removes it.
    Edit(usize, usize),
    /// A user writes a key to a Secret.
    Put(usize, Option<usize>),
    /// A user adds the hash of a key to the record of a Secret.
    Forge(usize, usize),
    /// A user copies a Secret, including its metadata.
    Copy(usize),
    Reconcile(usize, usize),
    /// The list of Secrets that record a key arrives at the leader that asked for it.
    LookUp(usize),
    /// A status write arrives at the API server.
    Land(usize),
    /// A leader's index receives the next change.
    Watch(usize),
    /// Nothing more happens for a while.
    Settle,
    /// A user deletes a client, or creates it again. Its Secret stays.
    Toggle(usize),
    /// The status of a client is lost.
    Lose(usize),
    /// A new leader replaces this one, with the same index.
    Restart(usize),
    /// Everything except status is restored from a backup, perhaps a Secret with a rotated key.
    Restore(Option<usize>),
}

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            version: 0,
            clients: vec![Client::default(); CLIENTS],
            secrets: vec![Stored::default(); DELIVERED],
            leaders: Vec::new(),
            validator: Arc::new(Index::new(IndexSettings::UNLIMITED)),
            passes: Vec::new(),
            writes: Vec::new(),
            owner: [None; KEYS],
            released: [const { Keys::new() }; KEYS],
            entitled: [const { Keys::new() }; KEYS],
            older: [const { BTreeSet::new() }; CLIENTS],
            taken: None,
        };
        model.restore();
        model
    }

    fn object(client: usize, seen: &Client) -> crd::SdkClient {
        let entries = |keys: &Keys| -> Vec<_> {
            let entry = |key: &usize| json!({"id": hash(*key).id(), "sha256": hash(*key).to_string(), "state": "Current"});
            keys.iter().map(entry).collect()
        };
        let source = if client < DELIVERED {
            json!({"delivery": {"secretName": "s"}})
        } else {
            json!({"hashes": entries(&seen.spec)})
        };
        let ObjectName { namespace, name } = name(client);
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "resourceVersion": seen.version.to_string()},
            "spec": {"service": {"role": "Member", "apiKey": source}},
            "status": {
                "secretName": "s", "keys": entries(&seen.status),
                "observedGeneration": seen.observed.then_some(1),
            },
        }))
        .unwrap()
    }

    fn apply(index: &Index, client: usize, seen: &Client) {
        if seen.is_deleted {
            index.delete::<crd::SdkClient>(&name(client));
        } else {
            index.apply(&Self::object(client, seen));
        }
        index.advanced(Kind::SdkClient, None, &seen.version.to_string());
    }

    /// A leader with a complete index.
    fn leader(&self) -> Leader {
        let index = Arc::new(Index::new(IndexSettings::UNLIMITED));
        for (client, now) in self.clients.iter().enumerate() {
            Self::apply(&index, client, now);
        }
        index.advanced(Kind::SdkClient, None, &self.version.to_string());
        let ownership = Ownership::default();
        ownership.begin(Reader::new(Arc::clone(&index)).delivered_clients());
        Leader { ownership, index, view: self.clients.clone(), events: VecDeque::new() }
    }

    fn changed(&mut self, client: usize) {
        self.version += 1;
        self.clients[client].version = self.version;
        let now = self.clients[client].clone();
        Self::apply(&self.validator, client, &now);
        for leader in &mut self.leaders {
            leader.events.push_back((client, now.clone()));
        }
    }

    fn restore(&mut self) {
        for client in 0..CLIENTS {
            self.clients[client].status.clear();
            self.clients[client].observed = false;
            self.changed(client);
        }
        self.owner = [None; KEYS];
        self.released = [const { Keys::new() }; KEYS];
        self.entitled = [const { Keys::new() }; KEYS];
        self.older = [const { BTreeSet::new() }; CLIENTS];
        self.passes.clear();
        self.writes.clear();
        self.leaders = (0..LEADERS).map(|_| self.leader()).collect();
    }

    /// Delivers a key to this client, and then another one, if no other client has them.
    fn rotated(&mut self, client: usize) {
        let is_free = |key: &usize| !self.is_recorded_besides(client, *key);
        let mut previous: Keys = (0..KEYS).filter(is_free).collect();
        let plain = previous.pop_last();
        self.secrets[client] = Stored { plain, current: plain, previous, mac: Some(client) };
    }

    pub fn step(&mut self, step: &Step) {
        let asked: Vec<_> =
            Self::pairs().filter(|(client, key)| self.asks(*client, *key)).collect();
        let proven: Vec<_> = (0..KEYS).map(|key| self.proven(key)).collect();
        match *step {
            Step::Edit(client, key) => {
                let spec = &mut self.clients[client].spec;
                if !spec.remove(&key) {
                    spec.insert(key);
                }
                self.changed(client);
            }
            Step::Put(client, key) => {
                self.secrets[client].plain = key;
            }
            Step::Forge(client, key) => {
                self.secrets[client].previous.insert(key);
                self.secrets[client].mac = None;
            }
            Step::Copy(from) => {
                self.secrets[1 - from] = self.secrets[from].clone();
            }
            Step::Reconcile(leader, client) => self.reconcile(leader, client),
            Step::LookUp(number) => self.look_up(number),
            Step::Land(number) => self.land(number),
            Step::Watch(leader) => self.watch(leader),
            Step::Settle => self.settle(),
            Step::Toggle(client) => {
                let spec = std::mem::take(&mut self.clients[client].spec);
                let is_deleted = !self.clients[client].is_deleted;
                self.clients[client] = Client { is_deleted, spec, ..Client::default() };
                self.older[client] = asked.iter().copied().collect();
                self.changed(client);
                for key in 0..KEYS {
                    self.lose_race(client, key);
                }
            }
            Step::Lose(client) => {
                let lost = std::mem::take(&mut self.clients[client].status);
                self.clients[client].observed = false;
                self.changed(client);
                for key in lost {
                    // Who was first is lost with the status that said so. The client may get the key
                    // back, also if a copy has turned up; a second leader that is behind may still
                    // grant it to a client that asked for it before, which is a known limit.
                    self.owner[key] = None;
                    self.entitled[key].insert(client);
                }
            }
            Step::Restart(leader) => {
                let index = Arc::clone(&self.leaders[leader].index);
                let ownership = Ownership::default();
                ownership.begin(Reader::new(index).delivered_clients());
                self.leaders[leader].ownership = ownership;
                self.passes.retain(|pass| pass.leader != leader);
            }
            Step::Restore(rotated) => {
                if let Some(client) = rotated {
                    self.rotated(client);
                }
                self.restore();
            }
        }
        self.follow(step, &asked, &proven);
    }
}
