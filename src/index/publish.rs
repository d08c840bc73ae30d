//! Tells the leader how far this replica has come, and what it asks for: a Lease per replica that
//! authenticates, with the applied resourceVersions and the open questions in annotations.
//!
//! Written before the replica is ready, whenever there is news (at most every 250 ms), and often
//! enough otherwise that nobody takes the replica for gone. A replica that can no longer write it
//! stops answering after `--max-staleness`: before the leader stops to count it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams};
use tracing::{info, warn};

use super::Reader;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::said::Said;

/// The least time between two writes.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The pause after a write that failed: a question may be in it that somebody waits for.
const RETRY: Duration = Duration::from_secs(2);
/// The most time between two writes, however quiet the cluster is.
const MAX_INTERVAL: Duration = Duration::from_secs(30);

/// What a replica needs to publish its progress.
#[derive(Clone)]
pub struct Publisher {
    api: Api<Tolerant<Lease>>,
    identity: String,
    max_staleness: Duration,
    reader: Reader,
}

impl Publisher {
    /// For the replica called `identity`: the name of its Pod, because the API server lets a Pod
    /// write its own Lease only.
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

    /// Publishes for as long as it is not dropped.
    pub async fn run(&self) {
        let mut versions = self.reader.progress().subscribe();
        let quiet = MAX_INTERVAL.min(self.max_staleness / 4);
        // Nothing can be claimed before every kind was listed.
        self.reader.listed().await;
        loop {
            versions.mark_unchanged();
            let sent = Instant::now();
            let mut pause = quiet;
            match tokio::time::timeout(ANSWER, self.write()).await {
                Ok(Ok(())) => self.reader.progress().published(sent),
                Ok(Err(error)) => {
                    warn!(error = %Said(&error), lease = %self.name(), "could not publish progress");
                    pause = RETRY;
                }
                Err(_) => warn!(lease = %self.name(), "could not publish progress in time"),
            }
            tokio::time::sleep(MIN_INTERVAL).await;
            tokio::select! {
                _ = versions.changed() => {}
                () = self.reader.questions().news() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Says that this replica no longer answers.
    pub async fn retire(&self) {
        let (name, parameters) = (self.name(), DeleteParams::default());
        let deleted = self.api.delete(&name, &parameters);
        match tokio::time::timeout(Duration::from_secs(2), deleted).await {
            Ok(Ok(_)) => info!(lease = %self.name(), "retired"),
            Ok(Err(error)) => {
                warn!(error = %Said(&error), lease = %self.name(), "could not retire");
            }
            Err(_) => warn!(lease = %self.name(), "could not retire in time"),
        }
    }

    async fn write(&self) -> Result<(), kube::Error> {
        let json = |json: serde_json::Result<String>| json.map_err(kube::Error::SerdeError);
        let applied = json(serde_json::to_string(&self.reader.progress().applied()))?;
        let asked = self.reader.questions().send(|id| self.reader.pool(id), Instant::now());
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
