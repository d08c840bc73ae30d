//! The Lease of this replica, which reports to the leader: the applied resourceVersions and the open
//! refetch requests are in annotations. Every replica that authenticates requests has one.
//!
//! It is written before the replica becomes ready, on every change (at most every 250 ms, but at
//! once for a new Revocation), and otherwise often enough that the replica is not considered gone. A replica that can no longer
//! write it stops answering after `--max-staleness`, before the leader excludes it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams};
use tokio::time::timeout;
use tracing::{info, warn};

use super::applied::AppliedVersions;
use super::refetch_requests::{PendingRequests, RefetchRequests};
use crate::clock;
use crate::domain::ids::UserPoolId;
use crate::domain::pool::UserPool;
use crate::kube_ext::error::short;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// The shortest time between two writes.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// The shortest time between two writes if someone waits for the second one.
const MIN_AWAITED_INTERVAL: Duration = Duration::from_millis(20);
/// How long the API server may take to answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the deletion may take, on shutdown.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a failed write. Short, because requests may wait for a refetch request in it.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// The longest time between two writes, however quiet the cluster is.
const MAX_INTERVAL: Duration = Duration::from_secs(30);

/// The Lease of this replica.
#[derive(Clone)]
pub struct ReplicaLease {
    /// Client of the API server.
    pub client: Client,
    /// The operator's namespace.
    pub namespace: String,
    /// The name of this replica's Pod, because the API server lets a Pod write only its own Lease.
    pub identity: String,
    /// After which time without a write the replica no longer answers.
    pub max_staleness: Duration,
    /// What the Lease reports.
    pub applied: Arc<AppliedVersions>,
    /// What the Lease requests.
    pub refetch_requests: Arc<RefetchRequests>,
}

impl ReplicaLease {
    /// Writes the Lease until dropped. `pool` looks a pool up by its id while it exists. There is
    /// nothing to report before every kind has been listed.
    pub async fn run<P: Deref<Target = UserPool>>(&self, pool: impl Fn(UserPoolId) -> Option<P>) {
        let mut versions = self.applied.subscribe();
        let max_interval = MAX_INTERVAL.min(self.max_staleness / 4);
        loop {
            versions.mark_unchanged();
            let sent = Instant::now();
            let pending = self.refetch_requests.take_pending(&pool, sent);
            let mut pause = max_interval;
            match timeout(REQUEST_TIMEOUT, self.write(&pending)).await {
                Ok(Ok(())) => self.applied.reported(sent),
                Ok(Err(error)) => {
                    warn!(error = %short(&error), lease = %self.name(), "failed to write the Lease of this replica");
                    pause = RETRY_INTERVAL;
                }
                Err(_) => {
                    warn!(lease = %self.name(), "timed out writing the Lease of this replica");
                }
            }
            tokio::time::sleep(MIN_AWAITED_INTERVAL).await;
            let rest = MIN_INTERVAL.saturating_sub(MIN_AWAITED_INTERVAL);
            if timeout(rest, self.applied.awaited()).await.is_ok() {
                continue;
            }
            tokio::select! {
                () = self.applied.awaited() => {}
                _ = versions.changed() => {}
                () = self.refetch_requests.new_request() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Deletes the Lease: this replica no longer answers.
    pub async fn delete(&self) {
        let (api, name, parameters) = (self.api(), self.name(), DeleteParams::default());
        let deleted = api.delete(&name, &parameters);
        match timeout(DELETE_TIMEOUT, deleted).await {
            Ok(Ok(_)) => info!(lease = %name, "deleted the Lease of this replica"),
            Ok(Err(error)) => {
                warn!(error = %short(&error), lease = %name, "failed to delete the Lease of this replica");
            }
            Err(_) => warn!(lease = %name, "timed out deleting the Lease of this replica"),
        }
    }

    async fn write(&self, pending: &PendingRequests) -> Result<(), kube::Error> {
        let json = |json: serde_json::Result<String>| json.map_err(kube::Error::SerdeError);
        let applied = json(serde_json::to_string(&self.applied.versions()))?;
        let mut annotations = BTreeMap::from([(names::APPLIED.to_owned(), applied)]);
        if !pending.pools.is_empty() {
            let pending = json(serde_json::to_string(pending))?;
            annotations.insert(names::ASKED.to_owned(), pending);
        }
        let labels = [
            (names::MANAGED_BY.to_owned(), names::MANAGER.to_owned()),
            (names::COMPONENT.to_owned(), names::VALIDATOR.to_owned()),
        ];
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name()),
                labels: Some(labels.into()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.max_staleness.as_secs().max(1)).ok(),
                renew_time: Some(MicroTime(clock::to_show())),
                ..LeaseSpec::default()
            }),
        };
        let parameters = PatchParams::apply(&format!("{}/validator", names::MANAGER)).force();
        self.api().patch(&self.name(), &parameters, &Patch::Apply(&lease)).await.map(drop)
    }

    fn api(&self) -> Api<Tolerant<Lease>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn name(&self) -> String {
        format!("{}{}", names::VALIDATOR_LEASE, self.identity)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use axum::body::Body;
    use futures::StreamExt as _;
    use futures::channel::mpsc::unbounded;
    use http::{Method, Request, Response};
    use serde_json::json;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::crd::Kind;

    #[tokio::test(start_paused = true)]
    async fn what_someone_waits_for_is_reported_at_once_and_other_changes_are_collected() {
        let (sent, mut writes) = unbounded();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            assert_eq!(request.method(), Method::PATCH);
            sent.unbounded_send(Instant::now()).unwrap();
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "anon-validator-a"}});
            ready(Ok::<_, Infallible>(Response::new(Body::from(lease.to_string()))))
        });
        let applied = Arc::new(AppliedVersions::new(crate::domain::scope::Scope::CLUSTER, None));
        let lease = ReplicaLease {
            client: Client::new(service, "anon-system"),
            namespace: "anon-system".into(),
            identity: "a".into(),
            max_staleness: Duration::from_hours(1),
            applied: Arc::clone(&applied),
            refetch_requests: Arc::default(),
        };
        tokio::spawn(async move { lease.run(|_| None::<&UserPool>).await });
        let mut delay = async |change: &dyn Fn(&AppliedVersions)| {
            let begun = Instant::now();
            change(&applied);
            let written: Instant = writes.next().await.unwrap();
            written.saturating_duration_since(begun)
        };
        delay(&|_| {}).await;
        sleep(Duration::from_secs(1)).await;
        let other = |applied: &AppliedVersions| applied.advanced(Kind::SdkClient, None, "1");
        assert!(delay(&other).await <= MIN_AWAITED_INTERVAL, "nothing was written for long");
        let another = |applied: &AppliedVersions| applied.advanced(Kind::SdkClient, None, "2");
        assert!(delay(&another).await >= MIN_INTERVAL, "it was just written");
        let revocation = |applied: &AppliedVersions| {
            applied.advanced(Kind::Revocation, None, "3");
            applied.report_at_once();
        };
        assert!(delay(&revocation).await <= MIN_AWAITED_INTERVAL * 2);
    }
}
