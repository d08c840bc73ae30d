//! Tracks whether every validator, that is every replica that authenticates requests, has applied a
//! write.
//!
//! Each validator reports the resourceVersions that it has applied in its Lease
//! ([`super::lease`]). A validator is expected to acknowledge until it deletes its Lease,
//! or leaves it unchanged for `--max-staleness` plus [`LEASE_GRACE`]; by then it has stopped
//! answering requests. One whose Pod no longer exists has ended without deleting its Lease, and is
//! not waited for that long. The time of a change is measured with the local clock, never taken from the
//! Lease, whose times are from the clock of another machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use backon::ExponentialBuilder;
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, watcher};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{info, warn};

use super::refetch_requests::PendingRequests;
use super::watches;
use crate::crd::Kind;
use crate::domain::ids::UserPoolId;
use crate::kube_ext::api::delete_exactly;
use crate::kube_ext::error::short;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// How much longer than `--max-staleness` a silent validator is expected to acknowledge, because
/// clocks run at different speeds.
const LEASE_GRACE: Duration = Duration::from_mins(1);
/// The pause before the version of the API server is requested again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// After which time a write is assumed to be applied everywhere if acknowledgements are impossible:
/// no validator has a Lease, or the resourceVersions of the API server cannot be compared.
const UNACKNOWLEDGED_DELAY: Duration = Duration::from_secs(10);
/// After which time the missing validators are reported. Usually a write is applied everywhere by
/// then.
const REPORT_DELAY: Duration = Duration::from_secs(10);
/// After which silence the Pod of a validator is looked for. Longer than the longest time between
/// two writes of a Lease ([`super::lease`]), so that nothing is read while all is well.
const POD_CHECK_DELAY: Duration = Duration::from_secs(40);
/// How long the API server may take to answer about a Pod.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses before the Leases are watched again. Shorter than those of other watches, because
/// rotations and revocations wait until the acknowledgements are known.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How often the Leases of silent validators are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(20);

/// Only the metadata of a Lease is read. Its spec does not matter, and what is not parsed cannot
/// make the object unreadable.
type LeaseMeta = Tolerant<PartialObjectMeta<Lease>>;

/// Of a Pod, only its existence matters.
type PodMeta = Tolerant<PartialObjectMeta<Pod>>;

/// What every validator has applied, as far as this replica has observed it.
pub struct ReplicaTracker {
    replicas: Mutex<Option<HashMap<String, Replica>>>,
    /// Notified whenever `replicas` may have changed.
    changed: Notify,
    max_staleness: Duration,
    /// Whether the API server's resourceVersions can be compared; unset until its version is known.
    comparable: OnceLock<bool>,
    new_requests: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Replica {
    applied: HashMap<String, u64>,
    requests: PendingRequests,
    resource_version: Option<String>,
    changed_at: tokio::time::Instant,
}

impl Replica {
    /// Whether it has applied a version of an object of this kind in this namespace. It reports the
    /// namespace if it does not watch the whole cluster.
    fn has(&self, write: &Write, version: u64) -> bool {
        let applied = self.applied.get(write.kind.as_str());
        let applied = applied
            .or_else(|| self.applied.get(&watches::name(write.kind, Some(&write.namespace))));
        applied.is_some_and(|applied| *applied >= version)
    }
}

/// How far a write has propagated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Whether every validator has applied it.
    pub everywhere: bool,
    /// The validators that have applied it, for messages: `2 of 3 validators`.
    pub text: String,
    /// The Pods that have not acknowledged it.
    pub missing: Vec<String>,
}

impl Acknowledged {
    /// The validators that have not acknowledged a slow write, for messages. `None` for the first
    /// seconds, because otherwise status would be rewritten with every acknowledgement.
    #[must_use]
    pub fn waiting_for(&self, write: &Write) -> Option<String> {
        let slow = write.at.elapsed() > REPORT_DELAY && !self.missing.is_empty();
        slow.then(|| self.missing.iter().take(3).cloned().collect::<Vec<_>>().join(", "))
    }

    /// The same as the end of a message; empty if there is nothing to report.
    #[must_use]
    pub fn waiting_note(&self, write: &Write) -> String {
        self.waiting_for(write).map(|pods| format!("; waiting for: {pods}")).unwrap_or_default()
    }
}

/// A write whose propagation is tracked.
#[derive(Clone, Debug)]
pub struct Write {
    /// The kind that was written.
    pub kind: Kind,
    /// The namespace of the object.
    pub namespace: String,
    /// The resourceVersion that the write returned.
    pub resource_version: String,
    /// When it returned.
    pub at: Instant,
}

impl ReplicaTracker {
    /// Without any validators yet; [`Self::watch`] observes them.
    #[must_use]
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            replicas: Mutex::new(None),
            changed: Notify::new(),
            new_requests: Notify::new(),
            max_staleness,
            comparable: OnceLock::new(),
        }
    }

    /// How far a write has propagated, according to the Leases that this replica has observed.
    ///
    /// A new key comes into use (unless it replaces a revoked signing key), and a Revocation
    /// becomes `Ready`, only after this reports `everywhere`. Too early a report would hand out
    /// credentials that some validator rejects, or announce a revocation that some validator does
    /// not enforce yet. Too late a report only delays. So whatever is unknown is not acknowledged:
    /// before the Leases are listed, for a kind that a Lease does not contain, and for a Lease that
    /// cannot be parsed.
    ///
    /// Every validator that answers requests has a Lease: it writes the Lease before it becomes
    /// ready, and stops answering before the Lease can be removed as stale. Where acknowledgements
    /// are impossible, waiting for them would block rotation permanently. There a fixed delay has
    /// to suffice, and the text says that propagation was assumed and not acknowledged.
    #[must_use]
    pub fn acknowledged(&self, write: &Write) -> Acknowledged {
        let replicas = self.replicas.lock();
        let (Some(replicas), Some(&comparable)) = (replicas.as_ref(), self.comparable.get()) else {
            let text = "an unknown number of validators".to_owned();
            return Acknowledged { everywhere: false, text, missing: Vec::new() };
        };
        let version: Option<u64> = write.resource_version.parse().ok().filter(|_| comparable);
        let (Some(version), false) = (version, replicas.is_empty()) else {
            let everywhere = write.at.elapsed() >= UNACKNOWLEDGED_DELAY;
            let text = "every validator (assumed after 10s, not acknowledged)".to_owned();
            return Acknowledged { everywhere, text, missing: Vec::new() };
        };
        let behind = replicas.iter().filter(|(_, replica)| !replica.has(write, version));
        let pod = |name: &String| name.trim_start_matches(names::VALIDATOR_LEASE).to_owned();
        let mut missing: Vec<_> = behind.map(|(name, _)| pod(name)).collect();
        missing.sort_unstable();
        let (have, all) = (replicas.len() - missing.len(), replicas.len());
        let text = format!("{have} of {all} validators");
        Acknowledged { everywhere: missing.is_empty(), text, missing }
    }

    /// Whether every validator has acknowledged the write: see [`Self::acknowledged`].
    #[must_use]
    pub fn is_applied_everywhere(&self, write: &Write) -> bool {
        self.acknowledged(write).everywhere
    }

    /// Waits until a Lease changes. Subscribes at once, so that a check between the call and the
    /// wait misses no change.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Waits until every validator except `me` has acknowledged the write, for a maximum of
    /// `patience`. `me` is this replica, which knows its own progress without its Lease. Does not
    /// wait where acknowledgements are impossible.
    pub async fn wait_elsewhere(&self, me: &str, write: &Write, patience: Duration) {
        let Ok(version) = write.resource_version.parse::<u64>() else { return };
        let me = format!("{}{me}", names::VALIDATOR_LEASE);
        let waiting = async {
            loop {
                // Subscribes before the check, so that no change in between is missed.
                let changed = self.changed.notified();
                let behind = self.comparable.get() == Some(&true)
                    && self
                        .replicas
                        .lock()
                        .iter()
                        .flatten()
                        .any(|(name, replica)| *name != me && !replica.has(write, version));
                if !behind {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(patience, waiting).await;
    }

    /// The open refetch requests by pool: the requesting process and the number of its request.
    #[must_use]
    pub fn refetch_requests(&self) -> HashMap<UserPoolId, BTreeMap<String, u64>> {
        let mut requests: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for replica in self.replicas.lock().iter().flat_map(HashMap::values) {
            for (pool, number) in &replica.requests.pools {
                requests.entry(*pool).or_default().insert(replica.requests.by.clone(), *number);
            }
        }
        requests
    }

    /// Waits until there may be a new refetch request.
    pub async fn new_requests(&self) {
        self.new_requests.notified().await;
    }

    /// As if the Lease of this validator had reported these versions, to an API server whose
    /// versions can be compared.
    #[cfg(test)]
    pub fn reported(&self, validator: &str, applied: &[(&str, u64)]) {
        let _ = self.comparable.set(true);
        let replica = Replica {
            applied: applied.iter().map(|(kind, version)| ((*kind).into(), *version)).collect(),
            requests: PendingRequests::default(),
            resource_version: None,
            changed_at: tokio::time::Instant::now(),
        };
        self.replicas.lock().get_or_insert_default().insert(validator.to_owned(), replica);
        self.changed.notify_waiters();
    }

    /// Watches the Leases until dropped.
    pub async fn watch(&self, client: Client, namespace: &str) {
        while self.comparable.get().is_none() {
            match comparable(&client).await {
                Ok(comparable) => drop(self.comparable.set(comparable)),
                Err(error) => {
                    warn!(error = %short(&error), "failed to get the version of the API server");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
        let api: Api<LeaseMeta> = Api::namespaced(client, namespace);
        let backoff = ExponentialBuilder::default()
            .with_min_delay(MIN_BACKOFF)
            .with_max_delay(MAX_BACKOFF)
            .without_max_times()
            .with_jitter();
        let backoff = ExponentialBackoff::from(backoff);
        let events = watcher(api, watcher::Config::default()).backoff(backoff);
        pin_mut!(events);
        let mut listing = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing = HashMap::new(),
                Ok(Event::InitApply(lease)) => {
                    note(&mut listing, self.replicas.lock().as_ref(), &lease);
                }
                Ok(Event::InitDone) => {
                    *self.replicas.lock() = Some(std::mem::take(&mut listing));
                    self.new_requests.notify_one();
                }
                Ok(Event::Apply(lease)) => {
                    note(self.replicas.lock().get_or_insert_default(), None, &lease);
                    if lease.annotations().contains_key(names::ASKED) {
                        self.new_requests.notify_one();
                    }
                }
                Ok(Event::Delete(lease)) => {
                    if let Some(replicas) = self.replicas.lock().as_mut() {
                        replicas.remove(&lease.name_any());
                    }
                }
                Err(error) => warn!(%error, "failed to watch the validators' Leases"),
            }
            self.changed.notify_waiters();
        }
    }

    /// Removes the Leases of validators that ended without deleting them, until dropped. Only the
    /// leader runs this.
    pub async fn remove_stale_leases(&self, client: Client, namespace: &str) {
        let api: Api<LeaseMeta> = Api::namespaced(client.clone(), namespace);
        let pods: Api<PodMeta> = Api::namespaced(client, namespace);
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.remove_stale(&api, &pods).await;
        }
    }

    /// The Leases that have not changed for a while, and for how long.
    fn silent(&self) -> Vec<(ObjectMeta, Duration)> {
        let replicas = self.replicas.lock();
        let mut silent = Vec::new();
        for (name, replica) in replicas.iter().flatten() {
            let silence = replica.changed_at.elapsed();
            if silence > POD_CHECK_DELAY {
                let lease = ObjectMeta {
                    name: Some(name.clone()),
                    resource_version: replica.resource_version.clone(),
                    ..ObjectMeta::default()
                };
                silent.push((lease, silence));
            }
        }
        silent
    }

    async fn remove_stale(&self, api: &Api<LeaseMeta>, pods: &Api<PodMeta>) {
        let limit = self.max_staleness + LEASE_GRACE;
        for (lease, silence) in self.silent() {
            let name = lease.name.as_deref().unwrap_or_default();
            if silence <= limit && !is_pod_gone(pods, name).await {
                continue;
            }
            // A Lease that has just been renewed is not deleted.
            match delete_exactly(api, &lease, DeleteParams::default()).await {
                Ok(_) => info!(lease = %name, "removed the stale Lease of a validator"),
                Err(error) => {
                    warn!(lease = %name, error = %short(&error), "failed to remove the stale Lease of a validator");
                }
            }
        }
    }
}

/// Whether the Pod of the validator with this Lease no longer exists. If that is unknown, the Pod may
/// still run. The name suffices: a new Pod of the same name has the same Lease. The kubelet removes
/// the Pod object once its processes have ended; anyone who deletes it by force, or the Node, vouches
/// for that.
async fn is_pod_gone(pods: &Api<PodMeta>, lease: &str) -> bool {
    let Some(pod) = lease.strip_prefix(names::VALIDATOR_LEASE) else { return false };
    match timeout(REQUEST_TIMEOUT, pods.get_opt(pod)).await {
        Ok(Ok(found)) => found.is_none(),
        Ok(Err(error)) => {
            warn!(pod, error = %short(&error), "failed to look for the Pod of a silent validator");
            false
        }
        Err(_) => false,
    }
}

/// Whether the API server's resourceVersions can be compared: since Kubernetes 1.35 (KEP-5504).
async fn comparable(client: &Client) -> kube::Result<bool> {
    let version = client.apiserver_version().await?;
    // Some distributions report `36+`.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    let version: Option<(u32, u32)> = number(&version.major).zip(number(&version.minor));
    Ok(version.is_some_and(|version| version >= (1, 35)))
}

/// Records a Lease. If it is unchanged since it was `known`, its time of change is retained.
fn note(
    replicas: &mut HashMap<String, Replica>,
    known: Option<&HashMap<String, Replica>>,
    lease: &LeaseMeta,
) {
    let name = lease.name_any();
    if !name.starts_with(names::VALIDATOR_LEASE) {
        return;
    }
    let known = known.and_then(|known| known.get(&name));
    let unchanged = known.filter(|known| known.resource_version == lease.resource_version());
    let fresh = || Replica {
        applied: annotation(lease, names::APPLIED),
        requests: annotation(lease, names::ASKED),
        resource_version: lease.resource_version(),
        changed_at: tokio::time::Instant::now(),
    };
    replicas.insert(name, unchanged.cloned().unwrap_or_else(fresh));
}

/// The parsed value of an annotation; the default if it is missing or cannot be parsed.
fn annotation<T: DeserializeOwned + Default>(lease: &LeaseMeta, name: &str) -> T {
    let json = lease.annotations().get(name);
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::Resource as _;

    fn lease(name: &str, version: &str, applied: u64) -> LeaseMeta {
        let applied = format!(r#"{{"SdkClient":{applied}}}"#);
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: Some(version.to_owned()),
            annotations: Some([(names::APPLIED.to_owned(), applied)].into()),
            ..ObjectMeta::default()
        };
        Tolerant::new(PartialObjectMeta { metadata, ..PartialObjectMeta::default() })
    }

    fn write(version: &str) -> Write {
        Write {
            kind: Kind::SdkClient,
            namespace: "acme".into(),
            resource_version: version.to_owned(),
            at: Instant::now(),
        }
    }

    fn knowing(comparable: bool, leases: &[LeaseMeta]) -> ReplicaTracker {
        let tracker = ReplicaTracker::new(Duration::from_hours(1));
        tracker.comparable.set(comparable).unwrap();
        let mut replicas = HashMap::new();
        for lease in leases {
            note(&mut replicas, None, lease);
        }
        *tracker.replicas.lock() = Some(replicas);
        tracker
    }

    #[test]
    fn everywhere_means_every_replica() {
        let behind =
            knowing(true, &[lease("anon-validator-a", "1", 7), lease("anon-validator-b", "2", 6)]);
        assert_eq!(behind.acknowledged(&write("7")).text, "1 of 2 validators");
        assert!(!behind.acknowledged(&write("7")).everywhere);
        assert!(behind.acknowledged(&write("6")).everywhere);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_of_the_others_and_not_for_ever() {
        let took = async |tracker: &ReplicaTracker, me: &str| {
            let begun = tokio::time::Instant::now();
            tracker.wait_elsewhere(me, &write("7"), Duration::from_secs(9)).await;
            begun.elapsed().as_secs()
        };
        let leases = [lease("anon-validator-a", "1", 6), lease("anon-validator-b", "2", 7)];
        let behind = knowing(true, &leases);
        assert_eq!(took(&behind, "b").await, 9);
        assert_eq!(took(&behind, "a").await, 0, "its own progress is not waited for");
        assert_eq!(took(&knowing(false, &leases), "b").await, 0, "versions cannot be compared");
        assert_eq!(took(&ReplicaTracker::new(Duration::from_hours(1)), "b").await, 0);
        let catches_up = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let caught_up = lease("anon-validator-a", "3", 8);
            note(behind.replicas.lock().get_or_insert_default(), None, &caught_up);
            behind.changed.notify_waiters();
        };
        let (took, ()) = tokio::join!(took(&behind, "b"), catches_up);
        assert_eq!(took, 4);
    }

    #[test]
    fn a_validator_of_some_namespaces_reports_each_of_them() {
        let report = |text: &str| {
            let mut lease = lease("anon-validator-a", "1", 1);
            lease.annotations_mut().insert(names::APPLIED.to_owned(), text.to_owned());
            knowing(true, &[lease]).acknowledged(&write("9")).everywhere
        };
        assert!(report(r#"{"SdkClient/acme": 9, "SdkClient/other": 1}"#));
        assert!(!report(r#"{"SdkClient/acme": 8, "SdkClient/other": 12}"#));
    }

    #[test]
    fn other_leases_do_not_count() {
        let tracker = knowing(
            true,
            &[lease("anon-operator-leader", "1", 1), lease("anon-validator-a", "1", 9)],
        );
        assert!(tracker.acknowledged(&write("9")).everywhere);
    }

    #[test]
    fn requests_are_gathered_by_pool() {
        let pool = UserPoolId::derive("acme", "users");
        let requesting = |name: &str, text: String| {
            let mut lease = lease(name, "1", 1);
            lease.annotations_mut().insert(names::ASKED.to_owned(), text);
            lease
        };
        let request = |by: &str, n: u64| format!(r#"{{"by":"{by}","pools":{{"{pool}":{n}}}}}"#);
        let tracker = knowing(
            true,
            &[
                requesting("anon-validator-a", request("x", 3)),
                requesting("anon-validator-b", request("y", 1)),
                requesting("anon-validator-c", "junk".to_owned()),
                requesting("somebody-else", request("z", 1)),
            ],
        );
        let of_pool = BTreeMap::from([("x".to_owned(), 3), ("y".to_owned(), 1)]);
        assert_eq!(tracker.refetch_requests(), HashMap::from([(pool, of_pool)]));
    }

    #[test]
    fn nothing_is_claimed_of_what_is_not_known() {
        let unknown = ReplicaTracker::new(Duration::from_hours(1));
        assert!(!unknown.acknowledged(&write("1")).everywhere);
        let mut kind_unknown = lease("anon-validator-a", "1", 9);
        kind_unknown.meta_mut().annotations = None;
        assert!(!knowing(true, &[kind_unknown]).acknowledged(&write("1")).everywhere);
        // Assumed only after UNACKNOWLEDGED_DELAY.
        assert!(!knowing(true, &[]).acknowledged(&write("1")).everywhere);
        assert!(
            !knowing(false, &[lease("anon-validator-a", "1", 9)])
                .acknowledged(&write("1"))
                .everywhere
        );
        let mut old = write("1");
        old.at = Instant::now().checked_sub(UNACKNOWLEDGED_DELAY).unwrap();
        assert!(knowing(true, &[]).acknowledged(&old).everywhere);
        assert!(knowing(false, &[lease("anon-validator-a", "1", 0)]).acknowledged(&old).everywhere);
    }
}
