//! Proof of propagation, both ends of it, with an API server that a test plays by hand: what a
//! replica claims to have taken up, and what the leader makes of such claims.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::Kind;
use anon_operator::testing::index::Reader;
use anon_operator::testing::replicas::tracker::{ReplicaTracker, Write};
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::watch::{Wire, bookmark, list};
use crate::support::api::{FakeApi, Seen, ok, status};
use crate::support::script::{Events, Script};

const STALENESS: Duration = Duration::from_hours(1);

fn lease(pod: &str, version: &str, applied: u64) -> Value {
    let applied = json!({"UserPool": applied}).to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "namespace": "anon-system", "name": format!("anon-validator-{pod}"),
            "resourceVersion": version, "annotations": {"anon.dev/applied": applied},
        },
        // Clocks of other machines say anything.
        "spec": {"renewTime": "2099-01-01T00:00:00.000000Z", "leaseDurationSeconds": 1},
    })
}

fn leases(version: &str, items: &[Value]) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "items": items,
        "metadata": {"resourceVersion": version},
    })
}

/// The end of the sweep: an API server that says this about every Pod, and deletes Leases.
fn sweep(pods: u16) -> impl FnMut(&Seen) -> Response<Body> + Send + 'static {
    move |seen| match (seen.method.as_str(), pods) {
        ("DELETE", _) => ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
        (_, 200) => ok(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})),
        (_, 404) => status(404, "NotFound"),
        (_, code) => status(code, "Other"),
    }
}

/// A leader that follows the Leases of a scripted API server.
struct Leader {
    server: Script,
    sweep: FakeApi,
    replicas: Arc<ReplicaTracker>,
    task: JoinHandle<()>,
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leader {
    async fn start(minor: &str, found: &[Value]) -> (Self, Events) {
        let (mut server, client) = Script::new();
        let swept = FakeApi::new(sweep(200));
        let replicas = Arc::new(ReplicaTracker::new(STALENESS));
        let running = Arc::clone(&replicas);
        let sweeping = swept.client();
        let task = tokio::spawn(async move {
            let namespace = "anon-system";
            tokio::join!(
                running.watch(client, namespace),
                running.remove_stale_leases(sweeping, namespace)
            );
        });
        server.next().await.ok(&json!({
            "major": "1", "minor": minor, "gitVersion": "", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        }));
        server.list().await.ok(&leases("10", found));
        let events = server.watch("10").await.stream();
        let leader = Self { server, sweep: swept, replicas, task };
        leader.says("1", |reached| reached != "an unknown number of validators").await;
        (leader, events)
    }

    /// The Leases that it deleted.
    fn deleted(&self) -> Vec<String> {
        let seen = self.sweep.seen().into_iter().filter(|seen| seen.method == "DELETE");
        seen.map(|seen| seen.path.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }

    fn reached(&self, version: &str) -> (bool, String) {
        let write = Write {
            kind: Kind::UserPool,
            namespace: "acme".into(),
            resource_version: version.to_owned(),
            at: Instant::now(),
        };
        let reached = self.replicas.acknowledged(&write);
        (reached.everywhere, reached.text)
    }

    /// Waits until this is reported of a write of this version.
    async fn says(&self, version: &str, wanted: impl Fn(&str) -> bool) {
        for _ in 0..1000 {
            if wanted(&self.reached(version).1) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{:?}", self.reached(version));
    }
}

/// Of any Lease in the namespace, whatever is in it.
#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_disturbs_no_other() {
    let odd = |mut lease: Value| {
        lease["spec"]["renewTime"] = json!("9999-12-31T23:59:59.999999Z");
        lease["metadata"]["managedFields"] =
            json!([{"manager": "x", "time": "9999-12-31T23:59:59Z"}]);
        lease
    };
    let mut other = lease("x", "1", 0);
    other["metadata"]["name"] = json!("somebodys");
    let found = [odd(other), lease("a", "1", 50), odd(lease("b", "2", 49))];
    let (leader, events) = Leader::start("36+", &found).await;
    assert_eq!(leader.reached("50"), (false, "1 of 2 validators".into()));
    events.send("MODIFIED", &odd(lease("b", "11", 60)));
    leader.says("50", |text| text == "2 of 2 validators").await;
    events.send("MODIFIED", &lease("a", "12", 70));
    leader.says("60", |text| text == "2 of 2 validators").await;
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_counts_every_replica_that_may_answer() {
    let old = [lease("old-1", "1", 50), lease("old-2", "2", 49)];
    let (leader, events) = Leader::start("36+", &old).await;
    assert_eq!(leader.reached("50"), (false, "1 of 2 validators".into()));
    // A quiet cluster: nothing is written to the kind, and bookmarks carry the replica on.
    events.send("MODIFIED", &lease("old-2", "11", 60));
    leader.says("50", |text| text == "2 of 2 validators").await;
    // A new one answers before an old one goes, and counts at once.
    events.send("ADDED", &lease("new-1", "12", 40));
    leader.says("50", |text| text == "2 of 3 validators").await;
    events.send("DELETED", &lease("old-1", "13", 50));
    leader.says("50", |text| text == "1 of 2 validators").await;
    assert!(!leader.reached("50").0);
    events.send("MODIFIED", &lease("new-1", "14", 70));
    leader.says("50", |text| text == "2 of 2 validators").await;
    assert!(leader.reached("50").0);
}

/// Suspended, partitioned, or on a machine without power: it may answer from what it knew, until
/// its own clock tells it to stop. Only after that it is ignored.
#[tokio::test(start_paused = true)]
async fn a_silent_replica_counts_until_it_must_have_stopped_to_answer() {
    let (mut leader, events) =
        Leader::start("35", &[lease("well", "1", 50), lease("silent", "2", 49)]).await;
    // The watch of the Leases breaks meanwhile, which is no sign of life of anybody.
    tokio::time::sleep(STALENESS / 20).await;
    events.send("ERROR", &crate::support::api::failure(410, "Expired"));
    let found = [lease("well", "15", 55), lease("silent", "2", 49)];
    leader.server.list().await.ok(&leases("20", &found));
    let events = leader.server.watch("20").await.stream();
    for minutes in 1..=19 {
        tokio::time::sleep(STALENESS / 20).await;
        let version = format!("{}", 20 + minutes);
        events.send("MODIFIED", &lease("well", &version, 56));
        leader.says("50", |text| text == "1 of 2 validators").await;
        assert!(!leader.reached("50").0);
    }

    assert!(leader.deleted().is_empty());
    tokio::time::sleep(STALENESS / 20).await;
    events.send("MODIFIED", &lease("well", "50", 56));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(leader.deleted().contains(&"anon-validator-silent".to_owned()));
    assert!(!leader.reached("50").0, "until it is gone");
    events.send("DELETED", &lease("silent", "90", 49));
    leader.says("50", |text| text == "1 of 1 validators").await;
    assert!(leader.reached("50").0);
}

/// It was killed, or lost its machine, and did not delete its Lease.
#[tokio::test(start_paused = true)]
async fn a_silent_replica_whose_pod_is_gone_is_not_waited_for() {
    let (leader, events) =
        Leader::start("35", &[lease("well", "1", 50), lease("dead", "2", 49)]).await;
    for found in [200, 403, 500] {
        leader.sweep.answer(sweep(found));
        events.send("MODIFIED", &lease("well", &found.to_string(), 50));
        // No sweep has begun when this ends.
        tokio::time::sleep(Duration::from_secs(125)).await;
        assert!(leader.deleted().is_empty(), "{found}: the Pod may run");
    }
    // A replica that writes its Lease is not asked about, whatever has become of the Pod object.
    events.send("MODIFIED", &lease("well", "11", 50));
    leader.says("49", |text| text == "2 of 2 validators").await;
    leader.sweep.answer(sweep(404));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(leader.deleted()[0], "anon-validator-dead");
    assert!(!leader.deleted().contains(&"anon-validator-well".to_owned()));
    events.send("DELETED", &lease("dead", "12", 49));
    leader.says("50", |text| text == "1 of 1 validators").await;
}

#[tokio::test(start_paused = true)]
async fn without_comparable_versions_or_without_validators_it_is_by_time() {
    for (minor, found) in [("34", vec![lease("a", "1", 99)]), ("36", vec![])] {
        let (leader, _events) = Leader::start(minor, &found).await;
        assert_eq!(
            leader.reached("50"),
            (false, "every validator (assumed after 10s, not acknowledged)".into()),
            "1.{minor}"
        );
    }
}

/// What a replica claims, while its watch is down: nothing that it cannot know.
#[tokio::test(start_paused = true)]
async fn a_delete_that_was_missed_is_not_claimed_to_be_known() {
    let (mut wire, events) = Wire::watching(&["a", "b"]).await;
    let reader = Reader::new(Arc::clone(&wire.index));
    assert!(reader.has(Kind::UserPool, "acme", "10") && !reader.has(Kind::UserPool, "acme", "21"));
    // `b` is deleted at version 21, unseen.
    events.reset();
    let ask = wire.server.watch("10").await;
    assert!(!reader.has(Kind::UserPool, "acme", "21"));
    ask.status(410, "Expired");
    let ask = wire.server.list().await;
    wire.serves(&["a", "b"]).await;
    assert!(!reader.has(Kind::UserPool, "acme", "21"));
    ask.ok(&list("30", &["a"], ""));
    let events = wire.server.watch("30").await.stream();
    wire.serves(&["a"]).await;
    assert!(reader.has(Kind::UserPool, "acme", "21") && reader.has(Kind::UserPool, "acme", "30"));

    // A quiet cluster: a bookmark says that there was nothing.
    events.send("BOOKMARK", &bookmark("40"));
    assert!(reader.wait_for(Kind::UserPool, "acme", "40", Duration::from_mins(1)).await);
    assert_eq!(reader.applied().versions(), [("UserPool".to_owned(), 40)].into());
}
