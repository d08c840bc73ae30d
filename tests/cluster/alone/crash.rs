//! `kill -9` at any point loses nothing, doubles nothing and leaks nothing.

use std::time::Duration;

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::credential::ApiKey;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;

use crate::harness::books::balance;
use crate::harness::operator::operator_patches_status;
use crate::harness::turn::free_lease;
use crate::harness::{Operator, Space, alone, eventually, quick_pool, service};

const CLIENTS: usize = 30;
const POOLS: usize = 10;

#[tokio::test]
async fn killed_at_random_points() {
    let _turn = alone().await;
    let space = Space::new("killed").await;
    let create = async {
        for n in 0..CLIENTS {
            space.apply(&service(&format!("c{n}"), "Member", &format!("key-{n}"))).await;
            if n % (CLIENTS / POOLS) == 0 {
                space.apply(&quick_pool(&format!("p{}", n * POOLS / CLIENTS))).await;
            }
            // Spread over the lives of several operators.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let kill = async {
        for _ in 0..6 {
            let operator = Operator::start(&[]).await;
            let random = u64::try_from(uuid::Uuid::new_v4().as_u128() % 700).unwrap();
            tokio::time::sleep(Duration::from_millis(random)).await;
            operator.kill();
            free_lease().await;
        }
    };
    tokio::join!(create, kill);

    let operator = Operator::start(&[]).await;
    for n in 0..CLIENTS {
        space.ready::<SdkClient>(&format!("c{n}")).await;
    }
    for n in 0..POOLS {
        space.ready::<UserPool>(&format!("p{n}")).await;
    }
    let keys = balance(&space, CLIENTS, POOLS).await;
    for key in keys.values() {
        counts(&operator, key, "200").await;
    }
}

/// What each crash would leave behind, made by hand while no operator runs.
#[tokio::test]
async fn killed_between_two_writes() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let space = Space::new("between").await;
    for name in ["first", "changed", "deleted"] {
        space.apply(&service(name, "Member", name)).await;
        space.ready::<SdkClient>(name).await;
    }
    for name in ["secret-only", "map-only"] {
        space.apply(&quick_pool(name)).await;
        space.ready::<UserPool>(name).await;
    }
    let pool = async |name: &str| space.ready::<UserPool>(name).await.status.unwrap().keys;
    let pools = (pool("secret-only").await, pool("map-only").await);
    let first = space.api_key("first").await;
    let gone = space.api_key("deleted").await;
    operator.kill();
    free_lease().await;

    // After the Secret of a new client or pool, before its status.
    operator_patches_status(&space, "sdkclients", "first", &json!({"status": null}));
    operator_patches_status(&space, "userpools", "secret-only", &json!({"status": null}));
    space.delete::<ConfigMap>("secret-only-jwks").await;
    operator_patches_status(&space, "userpools", "map-only", &json!({"status": null}));
    // After a new key went into the Secret, before status told of it: the record on the Secret
    // may be of either.
    let changed = ApiKey::generate().unwrap();
    let old = space.api_key("changed").await;
    let new = json!({"stringData": {"apiKey": changed.expose()}});
    space.merge::<Secret>("changed", new).await;
    // And what happens without us: the Secret goes.
    space.delete::<Secret>("deleted").await;

    let operator = Operator::start(&[]).await;
    counts(&operator, &first, "200").await;
    counts(&operator, changed.expose(), "200").await;
    counts(&operator, &old, "401 api_key_unknown").await;
    counts(&operator, &gone, "401 api_key_unknown").await;
    let made = eventually("there is a key again", async || {
        space.value("deleted", "apiKey").await.ok_or("there is none")
    })
    .await;
    counts(&operator, &made, "200").await;
    assert_eq!(space.api_key("first").await, first);
    assert_eq!(space.api_key("changed").await, changed.expose());
    assert_eq!((pool("secret-only").await, pool("map-only").await), pools);
    assert!(space.get::<ConfigMap>("secret-only-jwks").await.is_some());
}

async fn counts(operator: &Operator, key: &str, verdict: &str) {
    eventually(&format!("the key's verdict is {verdict}"), async || {
        let now = operator.validate(key, None).await.verdict();
        if now == verdict { Ok(()) } else { Err(now) }
    })
    .await;
}
