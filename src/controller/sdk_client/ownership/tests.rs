//! Model-based test of every way to ask for a hash, in any order, with two leaders whose indexes
//! are behind: the client that had a hash first keeps it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crd;
use crate::domain::credential::ApiKey;
use crate::index::{Index, IndexSettings};

/// Number of clients: the first two have delivery Secrets, the others list hashes.
const CLIENTS: usize = 4;
const DELIVERED: usize = 2;
const LEADERS: usize = 2;
/// Number of keys.
const KEYS: usize = 2;

type Keys = BTreeSet<usize>;

fn name(client: usize) -> ObjectName {
    ObjectName { namespace: format!("org-{client}"), name: "c".into() }
}

fn hash(key: usize) -> KeyHash {
    KeyHash::parse(&format!("{key:064x}")).unwrap()
}

/// A delivery Secret.
#[derive(Clone, Debug, Default)]
struct Stored {
    plain: Option<usize>,
    /// The Current key in the record; `previous` has the Previous ones.
    current: Option<usize>,
    previous: Keys,
    /// The client for which the MAC of the record is valid.
    mac: Option<usize>,
}

impl Stored {
    fn lists(&self, key: usize) -> bool {
        self.current == Some(key) || self.previous.contains(&key)
    }
}

/// A client as stored by the API server.
#[derive(Clone, Debug, Default)]
struct Client {
    version: u64,
    spec: Keys,
    status: Keys,
    observed: bool,
}

/// A status write in progress.
#[derive(Clone, Debug)]
struct FetchJob {
    leader: usize,
    client: usize,
    version: u64,
    status: Keys,
}

struct Leader {
    ownership: Ownership,
    index: Arc<Index>,
    /// The clients as they are in its index.
    view: Vec<Client>,
    events: VecDeque<(usize, Client)>,
}

struct Model {
    version: u64,
    clients: Vec<Client>,
    secrets: Vec<Stored>,
    leaders: Vec<Leader>,
    /// Receives every change immediately.
    validator: Arc<Index>,
    flights: Vec<FetchJob>,
    /// The client whose status listed each key first, while that client asks for it.
    owner: [Option<usize>; KEYS],
    /// The clients that have given a key up and whose status still listed it then. When the status
    /// follows, the key is free, even if the client has begun to ask for it again.
    released: [Keys; KEYS],
    /// The clients that may get each key since status was lost: those that had better evidence than
    /// all others at some time, those that began to ask for it while no client had a valid record,
    /// those that asked for it when another client gave it up, and the one that had the key when
    /// its status alone was lost.
    entitled: [Keys; KEYS],
}

#[derive(Clone, Debug)]
enum Step {
    /// A user adds a hash to a spec, or removes it.
    Edit(usize, usize),
    /// A user writes a key to a Secret.
    Put(usize, Option<usize>),
    /// A user adds the hash of a key to the record of a Secret.
    Forge(usize, usize),
    /// A user copies a Secret, including its metadata.
    Copy(usize),
    Reconcile(usize, usize),
    /// A status write arrives at the API server.
    Land(usize),
    /// A leader's index receives the next change.
    Watch(usize),
    /// The status of a client is lost.
    Lose(usize),
    /// A new leader replaces this one, with the same index.
    Restart(usize),
    /// Everything except status is restored from a backup.
    Restore,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let listing = DELIVERED..CLIENTS;
    let step = prop_oneof![
        3 => (listing, 0..KEYS).prop_map(|(client, key)| Step::Edit(client, key)),
        3 => (0..DELIVERED, prop::option::weighted(0.9, 0..KEYS)).prop_map(|(client, key)| Step::Put(client, key)),
        2 => (0..DELIVERED, 0..KEYS).prop_map(|(client, key)| Step::Forge(client, key)),
        1 => (0..DELIVERED).prop_map(Step::Copy),
        12 => (0..LEADERS, 0..CLIENTS).prop_map(|(leader, client)| Step::Reconcile(leader, client)),
        8 => (0..4_usize).prop_map(Step::Land),
        16 => (0..LEADERS).prop_map(Step::Watch),
        1 => (0..CLIENTS).prop_map(Step::Lose),
        1 => (0..LEADERS).prop_map(Step::Restart),
        1 => Just(Step::Restore),
    ];
    prop::collection::vec(step, 1..120)
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            version: 0,
            clients: vec![Client::default(); CLIENTS],
            secrets: vec![Stored::default(); DELIVERED],
            leaders: Vec::new(),
            validator: Arc::new(Index::new(IndexSettings::UNLIMITED)),
            flights: Vec::new(),
            owner: [None; KEYS],
            released: [const { Keys::new() }; KEYS],
            entitled: [const { Keys::new() }; KEYS],
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
        index.apply(&Self::object(client, seen));
        index.advanced(Kind::SdkClient, None, &seen.version.to_string());
    }

    /// A leader with a complete index.
    fn leader(&self) -> Leader {
        let index = Arc::new(Index::new(IndexSettings::UNLIMITED));
        for (client, now) in self.clients.iter().enumerate() {
            index.apply(&Self::object(client, now));
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
        self.validator.apply(&Self::object(client, &now));
        for leader in &mut self.leaders {
            leader.events.push_back((client, now.clone()));
        }
    }

    /// Whether the client still asks for a key.
    fn asks(&self, client: usize, key: usize) -> bool {
        if client >= DELIVERED {
            return self.clients[client].spec.contains(&key);
        }
        let secret = &self.secrets[client];
        secret.plain == Some(key)
            || secret.plain.is_some()
                && secret.mac == Some(client)
                && secret.previous.contains(&key)
    }

    /// The clients with a valid record of a key.
    fn proven(&self, key: usize) -> Vec<usize> {
        let secrets = self.secrets.iter().enumerate();
        secrets
            .filter(|(client, it)| {
                it.mac == Some(*client) && it.lists(key) && self.asks(*client, key)
            })
            .map(|(client, _)| client)
            .collect()
    }

    /// To which client a key belongs if no status lists it.
    fn strongest(&self, key: usize) -> Option<usize> {
        let secrets = || self.secrets.iter().enumerate();
        let plain: Vec<_> =
            secrets().filter(|(_, it)| it.plain == Some(key)).map(|(client, _)| client).collect();
        let listed: Vec<_> = (DELIVERED..CLIENTS)
            .filter(|client| self.clients[*client].spec.contains(&key))
            .collect();
        let strongest =
            [self.proven(key), plain, listed].into_iter().find(|clients| !clients.is_empty());
        match strongest.as_deref() {
            Some([one]) => Some(*one),
            _ => None,
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
        self.flights.clear();
        self.leaders = (0..LEADERS).map(|_| self.leader()).collect();
    }

    fn step(&mut self, step: &Step) {
        let pairs = || (0..KEYS).flat_map(|key| (0..CLIENTS).map(move |client| (client, key)));
        let asked: Vec<_> = pairs().filter(|(client, key)| self.asks(*client, *key)).collect();
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
            Step::Land(number) => self.land(number),
            Step::Watch(leader) => {
                if let Some((client, now)) = self.leaders[leader].events.pop_front() {
                    self.leaders[leader].view[client] = now.clone();
                    Self::apply(&self.leaders[leader].index, client, &now);
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
            }
            Step::Restore => self.restore(),
        }
        for key in 0..KEYS {
            if let Some(owner) = self.owner[key].filter(|owner| !self.asks(*owner, key)) {
                self.owner[key] = None;
                self.released[key].insert(owner);
            }
            self.entitled[key].extend(self.strongest(key));
        }
        for (client, key) in pairs() {
            let begins = self.asks(client, key) && !asked.contains(&(client, key));
            // A key that a client gives up is free for every client that asks for it then: which of them a
            // leader has seen in the meantime is chance.
            if asked.contains(&(client, key)) && !self.asks(client, key) {
                let asking = (0..CLIENTS).filter(|other| self.asks(*other, key));
                let asking: Vec<_> = asking.collect();
                self.entitled[key].extend(asking);
            }
            if begins && self.proven(key).iter().all(|other| *other == client) {
                self.entitled[key].insert(client);
            }
        }
    }

    /// Mirrors `hashes` and `service`.
    fn reconcile(&mut self, leader: usize, client: usize) {
        let seen = self.leaders[leader].view[client].clone();
        let secret = self.secrets.get(client).cloned().unwrap_or_default();
        let valid = client < DELIVERED && secret.mac == Some(client);
        let mut wanted: Keys = if client < DELIVERED { Keys::new() } else { seen.spec.clone() };
        wanted.extend(secret.plain);
        if valid && secret.plain.is_some() {
            wanted.extend(&secret.previous);
        }
        let evidence = |key: usize| match client {
            DELIVERED.. => Evidence::Asserted,
            _ if valid && secret.lists(key) => Evidence::Recorded,
            _ => Evidence::PlainText,
        };
        let unknown = wanted.iter().filter(|key| !seen.status.contains(key));
        let asked: Vec<_> = unknown.map(|key| (hash(*key), evidence(*key))).collect();
        let Leader { ownership, index, .. } = &self.leaders[leader];
        let reader = Reader::new(Arc::clone(index));
        let mut rulings =
            ownership.decide(&reader, &name(client), &seen.version.to_string(), &asked);
        for key in 0..KEYS {
            let elsewhere = self.secrets.iter().enumerate().any(|(other, secret)| {
                other != client && secret.mac == Some(other) && secret.lists(key)
            });
            let granted = rulings.get(&hash(key)) == Some(&Ruling::Granted);
            if granted && evidence(key) < Evidence::Recorded && elsewhere {
                ownership.refuse(&name(client), hash(key), evidence(key));
                rulings.insert(hash(key), Ruling::Conflict);
            }
        }
        ownership.inspected(&name(client), false);
        if rulings.values().any(|ruling| *ruling == Ruling::Wait) {
            return;
        }
        let doubled = |key: &usize| reader.is_key_recorded_besides(&hash(*key), &name(client));
        let signed_elsewhere = |key: &usize| {
            let mut secrets = self.secrets.iter().enumerate();
            secrets.any(|(other, it)| other != client && it.mac == Some(other) && it.lists(*key))
        };
        let withdrawn = |key: &usize| {
            client >= DELIVERED
                && reader.is_key_delivered_besides(&hash(*key), &name(client))
                && signed_elsewhere(key)
        };
        let mut status = wanted;
        status.retain(|key| match rulings.get(&hash(*key)) {
            Some(ruling) => *ruling == Ruling::Granted,
            None => !withdrawn(key),
        });
        let signed = client < DELIVERED
            && secret.plain.is_some_and(|plain| status.contains(&plain))
            && !status.iter().any(doubled)
            && status
                .iter()
                .all(|key| seen.status.contains(key) || evidence(*key) == Evidence::Recorded);
        if signed {
            let mut previous = status.clone();
            previous.retain(|key| Some(*key) != secret.plain);
            let plain = secret.plain;
            self.secrets[client] = Stored { plain, current: plain, previous, mac: Some(client) };
        }
        if status != seen.status || !seen.observed {
            self.flights.push(FetchJob { leader, client, version: seen.version, status });
        }
    }

    fn land(&mut self, number: usize) {
        if number >= self.flights.len() {
            return;
        }
        let FetchJob { leader, client, version, status } = self.flights.remove(number);
        if self.clients[client].version != version {
            return;
        }
        for key in self.clients[client].status.difference(&status) {
            if self.released[*key].remove(&client) && self.owner[*key] == Some(client) {
                self.owner[*key] = None;
            }
        }
        self.clients[client].status = status;
        self.clients[client].observed = true;
        self.changed(client);
        let version = self.version.to_string();
        if let Some(leader) = self.leaders.get(leader) {
            leader.ownership.written(&name(client), &version);
        }
    }

    /// The client for which validators accept a key.
    fn user(&self, key: usize) -> Option<usize> {
        let user = Reader::new(Arc::clone(&self.validator)).client_by_key(&hash(key))?;
        (0..CLIENTS).find(|client| name(*client) == user.name)
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for key in 0..KEYS {
            let Some(user) = self.user(key) else { continue };
            let owner = *self.owner[key].get_or_insert(user);
            prop_assert_eq!(user, owner, "key {} is used for another client", key);
            prop_assert!(self.entitled[key].contains(&user), "{user} should not have got {key}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever users write, and whenever two leaders receive it: a key is never used for a client
    /// that did not have it first, unless the first one has given it up. After a loss of status,
    /// the strongest evidence decides, and if two clients have equal evidence, neither gets the
    /// key.
    #[test]
    fn a_hash_is_never_used_for_a_client_that_did_not_hold_it_first(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
            model.check()?;
        }
    }

    /// No client is locked out: once all changes have been received, a client that is the only one
    /// to ask for a key gets it.
    #[test]
    fn a_hash_that_one_client_asks_for_is_granted(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        for round in 0..8 * CLIENTS {
            for leader in 0..model.leaders.len() {
                while !model.leaders[leader].events.is_empty() {
                    model.step(&Step::Watch(leader));
                }
            }
            // The pending writes are accepted or rejected.
            while !model.flights.is_empty() {
                model.land(0);
            }
            if round == 2 {
                // The reservation of a leader whose write was rejected times out.
                model.step(&Step::Restart(0));
                model.leaders.truncate(1);
                while !model.leaders[0].events.is_empty() {
                    model.step(&Step::Watch(0));
                }
            }
            model.reconcile(0, round % CLIENTS);
        }
        for key in 0..KEYS {
            let asking: Vec<_> = (0..CLIENTS).filter(|client| model.asks(*client, key)).collect();
            let recorded = model.secrets.iter().any(|secret| secret.lists(key) && secret.mac.is_some());
            if let [one] = asking[..] && !recorded {
                prop_assert_eq!(model.user(key), Some(one), "key {}", key);
            }
        }
    }
}

/// An index with these clients: name, hashes in the spec, hashes in status.
fn reader(clients: &[(&str, &[KeyHash], &[KeyHash])]) -> (Arc<Index>, Reader) {
    let index = Arc::new(Index::new(IndexSettings::UNLIMITED));
    for (number, (name, listed, recorded)) in clients.iter().enumerate() {
        index.apply(&listing(name, number + 1, listed, recorded));
        index.advanced(Kind::SdkClient, None, &(number + 1).to_string());
    }
    let reader = Reader::new(Arc::clone(&index));
    (index, reader)
}

fn listing(name: &str, version: usize, listed: &[KeyHash], recorded: &[KeyHash]) -> crd::SdkClient {
    let entries = |hashes: &[KeyHash]| -> Vec<_> {
        let entry = |hash: &KeyHash| json!({"id": hash.id(), "sha256": hash.to_string(), "state": "Current"});
        hashes.iter().map(entry).collect()
    };
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name, "resourceVersion": version.to_string()},
        "spec": {"service": {"role": "Member", "apiKey": {"hashes": entries(listed)}}},
        "status": {"keys": entries(recorded), "observedGeneration": 1},
    }))
    .unwrap()
}

/// A client with a delivery Secret.
fn delivered(name: &str) -> crd::SdkClient {
    serde_json::from_value(json!({
        "metadata": {"namespace": "acme", "name": name},
        "spec": {"service": {"role": "Member", "apiKey": {"delivery": {"secretName": name}}}},
        "status": {"observedGeneration": 1},
    }))
    .unwrap()
}

fn named(name: &str) -> ObjectName {
    ObjectName { namespace: "acme".into(), name: name.into() }
}

fn ruling(ownership: &Ownership, reader: &Reader, client: &str, hash: KeyHash) -> Ruling {
    ownership.decide(reader, &named(client), "1", &[(hash, Evidence::Asserted)])[&hash]
}

/// Both are reconciled before the index has received either status.
#[test]
fn of_two_clients_that_are_reconciled_at_once_one_gets_a_hash() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[], &[]), ("b", &[], &[])]);
    let ownership = Ownership::default();
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted, "it has it");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    // Status is written, and the index has not received it yet.
    ownership.written(&named("a"), "7");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    // The index receives it, and then its removal.
    index.apply(&listing("a", 7, &[key], &[key]));
    index.advanced(Kind::SdkClient, None, "7");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Conflict);
    index.apply(&listing("a", 8, &[], &[]));
    index.advanced(Kind::SdkClient, None, "8");
    assert_eq!(ruling(&ownership, &reader, "b", key), Ruling::Granted);
}

#[test]
fn a_generated_key_is_nobody_elses_before_status_lists_it() {
    let key = ApiKey::generate().unwrap().hash();
    let (_, reader) = reader(&[("a", &[], &[]), ("thief", &[key], &[])]);
    let ownership = Ownership::default();
    ownership.reserve(&reader, &named("a"), key);
    assert_eq!(ruling(&ownership, &reader, "thief", key), Ruling::Conflict);
}

#[test]
fn reservations_do_not_grow_with_the_number_of_keys() {
    let (index, reader) = reader(&[]);
    let ownership = Ownership::default();
    for number in 1..=100 {
        let (client, version) = (format!("c{number}"), number.to_string());
        ownership.reserve(&reader, &named(&client), ApiKey::generate().unwrap().hash());
        ownership.written(&named(&client), &version);
        index.advanced(Kind::SdkClient, None, &version);
        assert_eq!(ownership.0.lock().reservations.len(), 1);
    }
    ownership.forget(&reader, &named("c100"));
    assert!(ownership.0.lock().reservations.is_empty());
}

#[test]
fn a_hash_that_two_specs_list_is_granted_to_neither() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[]), ("b", &[key], &[])]);
    let ownership = Ownership::default();
    for client in ["a", "b", "a"] {
        assert_eq!(ruling(&ownership, &reader, client, key), Ruling::Conflict);
    }
    index.apply(&listing("b", 3, &[], &[]));
    index.advanced(Kind::SdkClient, None, "3");
    // The evidence of b is dropped when b is reconciled.
    ownership.decide(&reader, &named("b"), "3", &[]);
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn a_leader_that_starts_inspects_every_client_first() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    for client in ["b", "c"] {
        index.apply(&delivered(client));
    }
    let ownership = Ownership::default();
    ownership.begin(reader.delivered_clients());
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    ownership.inspected(&named("b"), false);
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    // A client that fails repeatedly does not make others wait, nor does a deleted one.
    for _ in 0..MAX_FAILURES {
        assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
        ownership.inspected(&named("c"), true);
    }
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);

    let ownership = Ownership::default();
    ownership.begin(reader.delivered_clients());
    for client in ["b", "c"] {
        index.delete::<crd::SdkClient>(&named(client));
    }
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn a_client_waits_for_new_ones_that_were_there_before_it() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    let ownership = Ownership::default();
    let unobserved = |name: &str| {
        let mut client = delivered(name);
        client.status = None;
        client
    };
    index.apply(&unobserved("b"));
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Wait);
    // It does not wait for clients that are created later.
    index.apply(&unobserved("c"));
    index.apply(&delivered("b"));
    assert_eq!(ruling(&ownership, &reader, "a", key), Ruling::Granted);
}

#[test]
fn an_index_that_is_behind_the_client_decides_nothing() {
    let key = ApiKey::generate().unwrap().hash();
    let (index, reader) = reader(&[("a", &[key], &[])]);
    let ownership = Ownership::default();
    let asked = [(key, Evidence::Asserted)];
    assert_eq!(ownership.decide(&reader, &named("a"), "2", &asked)[&key], Ruling::Wait);
    index.advanced(Kind::SdkClient, None, "2");
    assert_eq!(ownership.decide(&reader, &named("a"), "2", &asked)[&key], Ruling::Granted);
}

#[test]
fn nothing_is_kept_of_what_is_settled_or_gone() {
    let [one, two] = [ApiKey::generate().unwrap().hash(), ApiKey::generate().unwrap().hash()];
    let (index, reader) = reader(&[("a", &[one], &[]), ("b", &[two], &[two])]);
    let ownership = Ownership::default();
    assert_eq!(ruling(&ownership, &reader, "a", two), Ruling::Conflict);
    assert_eq!(ruling(&ownership, &reader, "a", one), Ruling::Granted);
    ownership.inspected(&named("a"), true);
    ownership.written(&named("a"), "3");
    index.advanced(Kind::SdkClient, None, "3");
    ownership.forget(&reader, &named("a"));
    ownership.decide(&reader, &named("b"), "2", &[]);
    let ledger = ownership.0.lock();
    assert!(ledger.reservations.is_empty() && ledger.shown.is_empty());
    assert!(ledger.shown_by.is_empty() && ledger.waiting.is_empty() && ledger.failures.is_empty());
}
