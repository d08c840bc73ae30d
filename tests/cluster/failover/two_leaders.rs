//! Two leaders at once, as after a partition or a pause: election only keeps the peace, the
//! preconditions of the writes keep the keys.

use std::sync::Arc;
use std::time::Duration;

use anon_operator::testing::clock::SystemClock;
use anon_operator::testing::controller::{self, Context, Settings};
use anon_operator::testing::crd;
use anon_operator::testing::domain::scope::Scope;
use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Retiring};
use anon_operator::testing::index::{Index, IndexSettings, Reader};
use anon_operator::testing::metrics::Metrics;
use anon_operator::testing::replicas::tracker::ReplicaTracker;
use anon_operator::testing::watch;
use futures::future::join_all;
use jiff::SignedDuration;
use kube::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::books::{balance, sha256};
use crate::harness::cluster::{config_of, operator_namespace, variable};
use crate::harness::operator::PUBLIC_URL;
use crate::harness::provider::fetcher;
use crate::harness::signing::{active, ask_to_rotate, finish_rotation, key_set, states};
use crate::harness::{Operator, Space, alone, eventually, quick_pool, service};

const CLIENTS: usize = 40;
const POOLS: usize = 8;

/// Everything that a leader runs, and no election.
async fn lead(replica: usize) -> JoinSet<()> {
    let path = variable("ANON_OPERATOR_KUBECONFIGS").split(':').nth(replica).unwrap().to_owned();
    let mut config = config_of(&path).await;
    config.default_retry = false;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_from(config).unwrap();
    let index = Arc::new(Index::new(IndexSettings {
        scope: Scope::CLUSTER,
        max_jwks_age: SignedDuration::from_hours(24),
        max_staleness: None,
        for_admission: false,
    }));
    let settings = Settings {
        scope: Scope::CLUSTER,
        operator_namespace: operator_namespace(),
        public_url: PUBLIC_URL.to_owned(),
        orphan_grace: Duration::from_hours(1),
        allow_sign_up: false,
        max_jwks_age: Duration::from_hours(24),
        webhook_configuration: None,
        fetcher: fetcher(),
    };
    let replicas = Arc::new(ReplicaTracker::new(Duration::from_hours(1)));
    let context = Context::new(
        client.clone(),
        settings,
        Arc::new(SystemClock),
        Arc::new(Metrics::default()),
        Reader::new(Arc::clone(&index)),
        Arc::clone(&replicas),
        format!("leader-{replica}"),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(controller::run(Arc::new(context)));
    let follower = client.clone();
    tasks.spawn(async move { replicas.watch(follower, &operator_namespace()).await });
    tasks.spawn(async move { Box::pin(watch::run(client, &index)).await });
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_twice_and_nothing_is_lost() {
    let _turn = alone().await;
    let space = Space::new("leaders").await;
    let validator = Operator::start(&["--roles=validator"]).await;
    let _leaders = (lead(0).await, lead(1).await);
    for n in 0..CLIENTS {
        space.apply(&service(&format!("c{n}"), "Member", &format!("key-{n}"))).await;
    }
    for n in 0..POOLS {
        space.apply(&quick_pool(&format!("p{n}"))).await;
    }
    for n in 0..CLIENTS {
        space.ready::<crd::SdkClient>(&format!("c{n}")).await;
    }
    for n in 0..POOLS {
        space.ready::<crd::UserPool>(&format!("p{n}")).await;
    }
    let first = balance(&space, CLIENTS, POOLS).await;

    // And every key rotated, by whichever of the two.
    let rotate = (0..CLIENTS).map(async |n| {
        let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "now"}}});
        space.merge::<crd::SdkClient>(&format!("c{n}"), request).await;
    });
    join_all(rotate).await;
    for n in 0..CLIENTS {
        let name = format!("c{n}");
        eventually(&format!("{name} is rotated once"), async || {
            let key = space.api_key(&format!("key-{n}")).await;
            let status = space.get::<crd::SdkClient>(&name).await.unwrap().status.unwrap();
            let states: Vec<_> = status.keys.iter().map(|key| format!("{:?}", key.state)).collect();
            let done = key != first[&name]
                && states == ["Previous", "Current"]
                && status.keys[1].sha256 == sha256(&key);
            if !done {
                return Err(format!("{states:?}"));
            }
            let verdicts = (
                validator.validate(&key, None).await.verdict(),
                validator.validate(&first[&name], None).await.verdict(),
            );
            if verdicts == ("200".into(), "200".into()) {
                Ok(())
            } else {
                Err(format!("{verdicts:?}"))
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_keys_are_rotated_and_replaced_once() {
    let _turn = alone().await;
    let space = Space::new("leaders").await;
    let _validator = Operator::start(&["--roles=validator"]).await;
    let _leaders = (lead(0).await, lead(1).await);
    let names: Vec<_> = (0..POOLS).map(|n| format!("p{n}")).collect();
    for name in &names {
        space.apply(&quick_pool(name)).await;
    }
    for name in &names {
        space.ready::<crd::UserPool>(name).await;
    }
    join_all(names.iter().map(|name| ask_to_rotate(&space, name, "now"))).await;
    join_all(names.iter().map(|name| finish_rotation(&space, name))).await;
    for name in &names {
        assert_eq!(states(&space, name).await, [Retiring, Active], "{name}");
    }

    // And all of them revoked.
    let leaked = join_all(names.iter().map(|name| active(&space, name))).await;
    for (name, kid) in names.iter().zip(&leaked) {
        let spec = json!({"userPool": {"name": name, "keyIds": [kid]}});
        let revocation = json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation",
            "metadata": {"name": format!("leak-of-{name}")}, "spec": spec,
        });
        space.apply(&revocation).await;
    }
    for (name, kid) in names.iter().zip(&leaked) {
        eventually(&format!("{name} has a fresh key"), async || {
            let (states, now) = (states(&space, name).await, active(&space, name).await);
            let stored = key_set(&space, name).await.to_string();
            let done = states == [Retiring, Active]
                && now != *kid
                && stored.contains(&now)
                && !stored.contains(kid);
            if done { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
    }
}
