//! Reports the progress of this replica to the leader: a Lease for each replica that authenticates,
//! with the applied resourceVersions and the open refetch requests in annotations.
//!
//! It is written before the replica becomes ready, on every change (at most every 250 ms), and
//! otherwise often enough that the replica is not considered gone. A replica that can no longer
//! write it stops answering after `--max-staleness`, before the leader excludes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams};
use tracing::{info, warn};

use super::Reader;
use crate::kube_error::short;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The shortest time between two writes.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// How long the API server may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed write. Short, because requests may wait for a refetch request in it.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// The longest time between two writes, however quiet the cluster is.
const MAX_INTERVAL: Duration = Duration::from_secs(30);

/// Publishes the progress of this replica.
#[derive(Clone)]
pub struct Publisher {
    api: Api<Tolerant<Lease>>,
    identity: String,
    max_staleness: Duration,
    reader: Reader,
}

impl Publisher {
    /// For the replica called `identity`: the name of its Pod, because the API server lets a Pod
    /// write only its own Lease.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        identity: String,
        max_staleness: Duration,
        reader: Reader,
    ) -> Self {
        reader.progress().limit(max_staleness);
        Self { api: Api::namespaced(client, namespace), identity, max_staleness, reader }
    }

    /// Publishes until dropped.
    pub async fn run(&self) {
        let mut versions = self.reader.progress().subscribe();
        let quiet = MAX_INTERVAL.min(self.max_staleness / 4);
        // Before every kind has been listed there is no progress to report.
        self.reader.listed().await;
        loop {
            versions.mark_unchanged();
            let sent = Instant::now();
            let mut pause = quiet;
            match tokio::time::timeout(REQUEST_TIMEOUT, self.write()).await {
                Ok(Ok(())) => self.reader.progress().published(sent),
                Ok(Err(error)) => {
                    warn!(error = %short(&error), lease = %self.name(), "failed to publish progress");
                    pause = RETRY_INTERVAL;
                }
                Err(_) => warn!(lease = %self.name(), "timed out publishing progress"),
            }
            tokio::time::sleep(MIN_INTERVAL).await;
            tokio::select! {
                _ = versions.changed() => {}
                () = self.reader.refetch_requests().news() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Deletes the Lease: this replica no longer answers.
    pub async fn retire(&self) {
        let (name, parameters) = (self.name(), DeleteParams::default());
        let deleted = self.api.delete(&name, &parameters);
        match tokio::time::timeout(Duration::from_secs(2), deleted).await {
            Ok(Ok(_)) => info!(lease = %self.name(), "retired"),
            Ok(Err(error)) => {
                warn!(error = %short(&error), lease = %self.name(), "failed to delete the Lease of this replica");
            }
            Err(_) => warn!(lease = %self.name(), "timed out deleting the Lease of this replica"),
        }
    }

    async fn write(&self) -> Result<(), kube::Error> {
        let json = |json: serde_json::Result<String>| json.map_err(kube::Error::SerdeError);
        let applied = json(serde_json::to_string(&self.reader.progress().applied()))?;
        let asked = self.reader.refetch_requests().send(|id| self.reader.pool(id), Instant::now());
        let mut annotations = BTreeMap::from([(names::APPLIED.to_owned(), applied)]);
        if !asked.pools.is_empty() {
            let asked = json(serde_json::to_string(&asked))?;
            annotations.insert(names::ASKED.to_owned(), asked);
        }
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name()),
                labels: Some(
                    [
                        (names::MANAGED_BY.to_owned(), names::MANAGER.to_owned()),
                        (names::COMPONENT.to_owned(), names::VALIDATOR.to_owned()),
                    ]
                    .into(),
                ),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.max_staleness.as_secs().max(1)).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let parameters = PatchParams::apply(&format!("{}/validator", names::MANAGER)).force();
        self.api.patch(&self.name(), &parameters, &Patch::Apply(&lease)).await.map(drop)
    }

    fn name(&self) -> String {
        format!("{}{}", names::VALIDATOR_LEASE, self.identity)
    }
}
