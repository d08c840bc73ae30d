//! Which client gets a hash that no status lists yet: what [`key_ownership::rule`] needs to know,
//! gathered by the leader.
//!
//! Reading and writing are not one step: the index may be behind what this leader has just written,
//! and two clients are reconciled at the same time. So a hash is reserved when it is granted, until
//! the index shows it in the client's status. Against another leader nothing can be reserved; if both
//! grant the same hash, the index finds it in two statuses and uses it for neither.
//!
//! All of it may be lost. A leader that starts inspects every delivery Secret before it grants
//! anything on evidence that may be false.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::{Api, ListParams, PartialObjectMeta};
use parking_lot::Mutex;

use super::delivery;
use crate::controller::{Context, Error};
use crate::domain::client::SdkClient;
use crate::domain::ids::ObjectName;
use crate::domain::key_ownership::{self, Evidence, Others, Ruling};
use crate::domain::opaque::KeyHash;
use crate::index::{Kind, Reader};
use crate::kube_ext::pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// How long the status write of a client may be under way: longer than a request may take.
const IN_FLIGHT: Duration = Duration::from_mins(5);
/// How long a client waits at most for others to be inspected.
const PATIENCE: Duration = Duration::from_mins(5);
/// After how many failures in a row a client is not waited for.
const FAILURES: u32 = 3;
/// Few enough to look for those that need no inspection any more.
const FEW: usize = 256;

/// What this leader knows of who owns which hash, beside the index.
#[derive(Debug, Default)]
pub struct Ownership(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    /// The clients with a delivery Secret that were there when this leader started and that it has
    /// not inspected yet.
    uninspected: HashSet<ObjectName>,
    reservations: HashMap<KeyHash, Reservation>,
    /// What clients have shown for hashes that they did not get.
    shown: HashMap<KeyHash, HashMap<ObjectName, Evidence>>,
    shown_by: HashMap<ObjectName, Vec<KeyHash>>,
    waiting: HashMap<ObjectName, Waiting>,
    /// Failures in a row.
    failures: HashMap<ObjectName, u32>,
}

/// A client that waits for others to be inspected.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    /// The latest client that it waits for. Those that come after it hold it up no longer.
    last: u64,
}

#[derive(Debug)]
struct Reservation {
    client: ObjectName,
    /// The version of the client whose status lists the hash; `None`: not written yet, as far as is
    /// known.
    version: Option<String>,
    at: Instant,
}

impl Reservation {
    /// Whether the index tells by itself who has the hash.
    fn is_over(&self, hash: &KeyHash, reader: &Reader) -> bool {
        reader.is_key_recorded_by(hash, &self.client)
            || match &self.version {
                Some(version) => reader.has(Kind::SdkClient, version),
                None => self.at.elapsed() > IN_FLIGHT,
            }
    }
}

impl Ownership {
    /// This leader starts, and these are the clients with a delivery Secret.
    pub fn begin(&self, clients: HashSet<ObjectName>) {
        self.0.lock().uninspected = clients;
    }

    /// A reconciliation of the client has ended.
    pub fn inspected(&self, client: &ObjectName, failed: bool) {
        let mut ledger = self.0.lock();
        if !failed {
            ledger.failures.remove(client);
            ledger.uninspected.remove(client);
            return;
        }
        let failures = ledger.failures.entry(client.clone()).or_default();
        *failures = failures.saturating_add(1);
        if *failures >= FAILURES {
            ledger.uninspected.remove(client);
        }
    }

    /// A key was generated for the client, and nobody else can have it.
    pub fn reserve(&self, client: &ObjectName, hash: KeyHash) {
        self.0.lock().reserve(client, hash);
    }

    /// The client's status was written at this version.
    pub fn written(&self, client: &ObjectName, version: &str) {
        for reservation in self.0.lock().reservations.values_mut() {
            if reservation.client == *client {
                reservation.version = Some(version.to_owned());
            }
        }
    }

    /// Forgets a client that is gone.
    pub fn forget(&self, client: &ObjectName) {
        let mut ledger = self.0.lock();
        ledger.hide(client);
        ledger.uninspected.remove(client);
        ledger.waiting.remove(client);
        ledger.failures.remove(client);
    }

    /// Whether everything was inspected that was there when this leader started.
    pub fn is_settled(&self) -> bool {
        self.0.lock().uninspected.is_empty()
    }

    /// Whether the client, as read at `version`, gets the hashes that it asks for; as far as that
    /// can be told without asking the API server.
    fn decide(
        &self,
        reader: &Reader,
        client: &ObjectName,
        version: &str,
        asked: &[(KeyHash, Evidence)],
    ) -> HashMap<KeyHash, Ruling> {
        let mut ledger = self.0.lock();
        ledger.reservations.retain(|hash, reservation| !reservation.is_over(hash, reader));
        ledger.hide(client);
        let inspected = ledger.all_inspected(reader, client, version);
        let mut rulings = HashMap::new();
        for &(hash, evidence) in asked {
            let others = ledger.others(reader, client, &hash, inspected);
            let ruling = key_ownership::rule(evidence, others);
            match ruling {
                Ruling::Granted => ledger.reserve(client, hash),
                Ruling::Wait | Ruling::Conflict => ledger.show(client, hash, evidence),
            }
            rulings.insert(hash, ruling);
        }
        if rulings.values().any(|ruling| *ruling == Ruling::Wait) {
            let last = reader.last_unobserved_client();
            let waiting = Waiting { since: Instant::now(), last };
            ledger.waiting.entry(client.clone()).or_insert(waiting);
        } else {
            ledger.waiting.remove(client);
        }
        rulings
    }

    /// Takes a grant back: a record under a valid MAC says that the hash is another client's.
    fn refuse(&self, client: &ObjectName, hash: KeyHash, evidence: Evidence) {
        let mut ledger = self.0.lock();
        ledger.reservations.remove(&hash);
        ledger.show(client, hash, evidence);
    }
}

impl Ledger {
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
        inspected: bool,
    ) -> Others {
        let reserved = self.reservations.get(hash).is_some_and(|it| it.client != *client);
        let shown = self.shown.get(hash).into_iter().flatten();
        let shown = shown.filter(|(other, _)| *other != client).map(|(_, evidence)| *evidence);
        let asserted = reader.is_key_asserted_besides(hash, client).then_some(Evidence::Asserted);
        Others {
            hold: reserved || reader.is_key_recorded_besides(hash, client),
            recorded: false,
            strongest: shown.max().max(asserted),
            inspected,
        }
    }

    /// Whether no other client may turn out to have better evidence. What specs list is in the index;
    /// what is in the Secret of a client is known once this leader has inspected it. It has inspected
    /// each that was there when it started, and each that is new or has lost its status.
    fn all_inspected(&mut self, reader: &Reader, client: &ObjectName, version: &str) -> bool {
        let waiting = self.waiting.get(client);
        if waiting.is_some_and(|waiting| waiting.since.elapsed() > PATIENCE) {
            return true;
        }
        let last = waiting.map_or_else(|| reader.last_unobserved_client(), |waiting| waiting.last);
        if self.uninspected.len() <= FEW {
            // One that is being deleted is not reconciled.
            self.uninspected.retain(|name| reader.client_named(name).is_some());
        }
        let first_pass = self.uninspected.iter().all(|other| other == client);
        let not_seen = |other: &ObjectName| {
            other != client
                && !self.shown_by.contains_key(other)
                && self.failures.get(other).is_none_or(|failures| *failures < FAILURES)
        };
        // An index that does not have the client as it was read may lack others, too.
        first_pass
            && reader.has(Kind::SdkClient, version)
            && !reader.has_unobserved_client(last, not_seen)
    }
}

/// Whether the client, as read at `version`, gets the hashes that it asks for. None of them is in
/// its status.
pub async fn rule(
    context: &Context,
    client: &SdkClient,
    version: &str,
    asked: &[(KeyHash, Evidence)],
) -> Result<HashMap<KeyHash, Ruling>, Error> {
    let mut rulings = context.ownership.decide(&context.reader, &client.name, version, asked);
    for &(hash, evidence) in asked {
        // Reserved meanwhile, so nobody else can get it.
        if evidence < Evidence::Recorded
            && rulings.get(&hash) == Some(&Ruling::Granted)
            && is_recorded_elsewhere(context, client, &hash).await?
        {
            context.ownership.refuse(&client.name, hash, evidence);
            rulings.insert(hash, Ruling::Conflict);
        }
    }
    Ok(rulings)
}

/// Whether the delivery Secret of another client records the hash under a valid MAC, also if there
/// is no such client (yet): Secrets are restored before the objects that own them.
async fn is_recorded_elsewhere(
    context: &Context,
    client: &SdkClient,
    hash: &KeyHash,
) -> Result<bool, Error> {
    let api: Api<Tolerant<PartialObjectMeta<Secret>>> = Api::all(context.client.clone());
    let selector = format!("{},{}", names::selector(names::API_KEY), names::key_label(&hash.id()));
    let mut secrets = Vec::new();
    let take = |secret| secrets.push(secret);
    let listed = pages::each(&api, ListParams::default().labels(&selector), take).await;
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
mod tests;
