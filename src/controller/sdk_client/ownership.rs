//! Determines to which client a hash belongs that no status lists yet. The leader gathers the facts
//! that [`key_ownership::rule`] decides on.
//!
//! Reading and writing are not atomic: the index may be behind the writes of this leader, and two
//! clients are reconciled at the same time. So a granted hash is reserved until the index shows it
//! in the status of the client. Reservations do not bind another leader. If two leaders grant the
//! same hash, the index finds it in the status of two clients and accepts it for neither.
//!
//! Nothing here needs to survive a restart: a new leader inspects every delivery Secret before it
//! grants a hash on evidence that may be forged.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::{Api, ListParams, PartialObjectMeta};
use parking_lot::Mutex;

use super::delivery;
use crate::controller::{Context, Error};
use crate::crd::Kind;
use crate::domain::client::SdkClient;
use crate::domain::credential::KeyHash;
use crate::domain::ids::ObjectName;
use crate::domain::key_ownership::{self, Evidence, Others, Ruling};
use crate::index::Reader;
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// How long a hash stays reserved for a status write whose outcome is unknown: longer than any
/// request takes.
const RESERVATION_TIMEOUT: Duration = Duration::from_mins(5);
/// The maximum time for which a client waits for others to be inspected.
const INSPECTION_TIMEOUT: Duration = Duration::from_mins(5);
/// The number of consecutive failures after which other clients no longer wait for a client.
const MAX_FAILURES: u32 = 3;
/// Deleted clients are removed from the uninspected ones once there are at most this many, because
/// each takes a look-up.
const PRUNE_THRESHOLD: usize = 256;

/// What this leader knows about the ownership of hashes, in addition to the index.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    /// The clients with a delivery Secret that existed when this leader started and that it has not
    /// inspected yet.
    uninspected: HashSet<ObjectName>,
    reservations: HashMap<KeyHash, Reservation>,
    /// The evidence of clients for hashes that were not granted to them.
    shown: HashMap<KeyHash, HashMap<ObjectName, Evidence>>,
    shown_by: HashMap<ObjectName, Vec<KeyHash>>,
    waiting: HashMap<ObjectName, Waiting>,
    /// Consecutive failures.
    failures: HashMap<ObjectName, u32>,
}

/// A client that waits until others have been inspected.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// The last client that it waits for. It does not wait for clients that are created later.
    last: u64,
}

#[derive(Debug)]
struct Reservation {
    client: ObjectName,
    /// The resourceVersion of the client whose status lists the hash; `None` if that is not known
    /// to be written yet.
    version: Option<String>,
    at: Instant,
}

impl Reservation {
    /// Whether the index alone shows by now to which client the hash belongs.
    fn is_over(&self, hash: &KeyHash, reader: &Reader) -> bool {
        reader.is_key_recorded_by(hash, &self.client)
            || match &self.version {
                Some(version) => reader.has(Kind::SdkClient, &self.client.namespace, version),
                None => self.at.elapsed() > RESERVATION_TIMEOUT,
            }
    }
}

impl Ownership {
    /// Records the clients with a delivery Secret at the start of this leader.
    pub fn begin(&self, clients: HashSet<ObjectName>) {
        self.0.lock().uninspected = clients;
    }

    /// Records the end of a reconciliation of the client.
    pub fn inspected(&self, client: &ObjectName, failed: bool) {
        let mut ledger = self.0.lock();
        if !failed {
            ledger.failures.remove(client);
            ledger.uninspected.remove(client);
            return;
        }
        let failures = ledger.failures.entry(client.clone()).or_default();
        *failures = failures.saturating_add(1);
        if *failures >= MAX_FAILURES {
            ledger.uninspected.remove(client);
        }
    }

    /// Reserves the hash of a key that was generated for the client, so that no other client gets
    /// it.
    pub fn reserve(&self, reader: &Reader, client: &ObjectName, hash: KeyHash) {
        let mut ledger = self.0.lock();
        ledger.end_reservations(reader);
        ledger.reserve(client, hash);
    }

    /// Records the resourceVersion at which the client's status was written.
    pub fn written(&self, client: &ObjectName, version: &str) {
        for reservation in self.0.lock().reservations.values_mut() {
            if reservation.client == *client {
                reservation.version = Some(version.to_owned());
            }
        }
    }

    /// Drops everything about a client that was deleted.
    pub fn forget(&self, reader: &Reader, client: &ObjectName) {
        let mut ledger = self.0.lock();
        ledger.end_reservations(reader);
        ledger.hide(client);
        ledger.uninspected.remove(client);
        ledger.waiting.remove(client);
        ledger.failures.remove(client);
    }

    /// Whether every client that existed when this leader started has been inspected.
    pub fn is_settled(&self) -> bool {
        self.0.lock().uninspected.is_empty()
    }

    /// Whether the requested hashes belong to the client, as read at `version`, as far as that can
    /// be decided without a request to the API server. `recorded` has what was looked up: whether the
    /// delivery Secret of another client records the hash.
    fn decide(
        &self,
        reader: &Reader,
        client: &ObjectName,
        version: &str,
        asked: &[(KeyHash, Evidence)],
        recorded: &HashMap<KeyHash, bool>,
    ) -> HashMap<KeyHash, Ruling> {
        let mut ledger = self.0.lock();
        ledger.end_reservations(reader);
        ledger.hide(client);
        let inspected = ledger.all_inspected(reader, client, version);
        let mut rulings = HashMap::new();
        for &(hash, evidence) in asked {
            let recorded = recorded.get(&hash).copied();
            let others = ledger.others(reader, client, &hash, recorded, inspected);
            let ruling = key_ownership::rule(evidence, others);
            if ruling == Ruling::Granted {
                ledger.reserve(client, hash);
            } else {
                ledger.show(client, hash, evidence);
            }
            rulings.insert(hash, ruling);
        }
        let any = |expected| rulings.values().any(|ruling| *ruling == expected);
        if any(Ruling::Wait) {
            let last = reader.last_unobserved_client();
            let waiting = Waiting { since: Instant::now(), last };
            ledger.waiting.entry(client.clone()).or_insert(waiting);
        } else if !any(Ruling::LookUp) {
            ledger.waiting.remove(client);
        }
        rulings
    }
}

impl Ledger {
    /// Drops the reservations that are over. Not only when a client asks for a hash: each generated
    /// key is reserved, so the reservations would grow with the number of keys.
    fn end_reservations(&mut self, reader: &Reader) {
        self.reservations.retain(|hash, reservation| !reservation.is_over(hash, reader));
    }

    fn reserve(&mut self, client: &ObjectName, hash: KeyHash) {
        let reservation = Reservation { client: client.clone(), version: None, at: Instant::now() };
        self.reservations.insert(hash, reservation);
    }

    fn show(&mut self, client: &ObjectName, hash: KeyHash, evidence: Evidence) {
        self.shown.entry(hash).or_default().insert(client.clone(), evidence);
        self.shown_by.entry(client.clone()).or_default().push(hash);
    }

    fn hide(&mut self, client: &ObjectName) {
        for hash in self.shown_by.remove(client).into_iter().flatten() {
            if let Some(clients) = self.shown.get_mut(&hash) {
                clients.remove(client);
                if clients.is_empty() {
                    self.shown.remove(&hash);
                }
            }
        }
    }

    fn others(
        &self,
        reader: &Reader,
        client: &ObjectName,
        hash: &KeyHash,
        recorded: Option<bool>,
        inspected: bool,
    ) -> Others {
        let reserved = self.reservations.get(hash).is_some_and(|it| it.client != *client);
        let shown = self.shown.get(hash).into_iter().flatten();
        let shown = shown.filter(|(other, _)| *other != client).map(|(_, evidence)| *evidence);
        let asserted = reader.is_key_asserted_besides(hash, client).then_some(Evidence::Asserted);
        Others {
            hold: reserved || reader.is_key_recorded_besides(hash, client),
            recorded,
            strongest: shown.max().max(asserted),
            inspected,
        }
    }

    /// Whether no other client may turn out to have better evidence. The index contains the hashes
    /// in specs; those in the Secret of a client are known once this leader has inspected it. It
    /// must have inspected every client that existed when it started, and every client that is new
    /// or has lost its status.
    fn all_inspected(&mut self, reader: &Reader, client: &ObjectName, version: &str) -> bool {
        let waiting = self.waiting.get(client);
        if waiting.is_some_and(|waiting| waiting.since.elapsed() > INSPECTION_TIMEOUT) {
            return true;
        }
        let last = waiting.map_or_else(|| reader.last_unobserved_client(), |waiting| waiting.last);
        if self.uninspected.len() <= PRUNE_THRESHOLD {
            // A client whose deletion is in progress is not reconciled any more.
            self.uninspected.retain(|name| reader.client_named(name).is_some());
        }
        let first_pass = self.uninspected.iter().all(|other| other == client);
        let not_seen = |other: &ObjectName| {
            other != client
                && !self.shown_by.contains_key(other)
                && self.failures.get(other).is_none_or(|failures| *failures < MAX_FAILURES)
        };
        // An index without this version of the client may lack other clients, too.
        first_pass
            && reader.has_everywhere(Kind::SdkClient, version)
            && !reader.has_unobserved_client(last, not_seen)
    }
}

/// Whether the requested hashes, none of which is in the client's status, belong to the client, as
/// read at `version`.
pub async fn rule(
    context: &Context,
    client: &SdkClient,
    version: &str,
    asked: &[(KeyHash, Evidence)],
) -> Result<HashMap<KeyHash, Ruling>, Error> {
    let mut recorded = HashMap::new();
    loop {
        // Nothing is reserved during the look-ups. A client with a MAC would be refused if it is
        // reconciled in the meantime, and would remove the hash from the very record that this
        // client is looking up.
        let ownership = &context.ownership;
        let rulings = ownership.decide(&context.reader, &client.name, version, asked, &recorded);
        let unknown = rulings.iter().filter(|(_, ruling)| **ruling == Ruling::LookUp);
        let unknown: Vec<_> = unknown.map(|(hash, _)| *hash).collect();
        if unknown.is_empty() {
            return Ok(rulings);
        }
        for hash in unknown {
            recorded.insert(hash, is_recorded_elsewhere(context, client, &hash).await?);
        }
    }
}

/// Whether the delivery Secret of another client records the hash with a valid MAC. That client
/// need not exist (yet), because Secrets are restored before the objects that own them.
pub async fn is_recorded_elsewhere(
    context: &Context,
    client: &SdkClient,
    hash: &KeyHash,
) -> Result<bool, Error> {
    let apis: Vec<Api<Tolerant<PartialObjectMeta<Secret>>>> = context.apis();
    let selector = format!("{},{}", names::selector(names::API_KEY), names::key_label(&hash.id()));
    let mut secrets = Vec::new();
    let take = |secret| secrets.push(secret);
    let listed = pages::each_of(&apis, ListParams::default().labels(&selector), take).await;
    listed.map_err(Error::api("list Secrets"))?;
    if secrets.is_empty() {
        return Ok(false);
    }
    let keys = context.record_keys.get(context).await?;
    Ok(secrets
        .iter()
        .any(|secret| delivery::records_for_another(secret.meta(), client, hash, &keys)))
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
