//! The order of writes of signing keys, proven like that of ApiKeys: an operator that dies right
//! after its n-th write, for every n, and the next one finishes the job.

use anon_operator::testing::crd::Revocation;
use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Retiring};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::fuse::{run_until, run_until_dead};
use crate::harness::signing::{
    active, ask_to_rotate, backdate, finish_rotation, key_set, next_is_known, states,
};
use crate::harness::{Operator, Space, Tenant, alone, eventually};

/// One rotation, not two: the old token is valid and so is a new one.
async fn rotated_once(tenant: &Tenant, operator: &Operator) {
    eventually("the key was rotated", async || {
        let states = states(&tenant.space, "users").await;
        if states == [Retiring, Active] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    let new = tenant.mint(operator, "ada").await;
    for token in [&tenant.token, &new] {
        operator.gives(token, Some(&tenant.web), "200").await;
    }
    let set = key_set(&tenant.space, "users").await;
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    assert!(set["keys"][0].get("pkcs8").is_none());
}

#[tokio::test]
async fn dead_after_each_write_that_publishes_the_next_key() {
    let _turn = alone().await;
    // The Secret, the ConfigMap, status; and since when it is known, the Secret.
    for writes in 0..4 {
        let operator = Operator::start(&[]).await;
        let tenant = Tenant::new(&operator, "keys").await;
        operator.stop().await;
        ask_to_rotate(&tenant.space, "users", "now").await;
        assert!(run_until_dead(writes, &[]).await, "{writes} writes");

        let operator = Operator::start(&[]).await;
        finish_rotation(&tenant.space, "users").await;
        rotated_once(&tenant, &operator).await;
        operator.stop().await;
    }
}

#[tokio::test]
async fn dead_after_each_write_that_activates_it() {
    let _turn = alone().await;
    // The Secret, status. The public set stays the same, and so does the ConfigMap.
    for writes in 0..2 {
        let operator = Operator::start(&[]).await;
        let tenant = Tenant::new(&operator, "keys").await;
        ask_to_rotate(&tenant.space, "users", "now").await;
        next_is_known(&tenant.space, "users").await;
        operator.stop().await;
        backdate(&tenant.space, "users", "Next", "knownAt").await;
        assert!(run_until_dead(writes, &[]).await, "{writes} writes");

        let operator = Operator::start(&[]).await;
        rotated_once(&tenant, &operator).await;
        operator.stop().await;
    }
}

async fn destroyed_and_replaced(tenant: &Tenant, leaked: &str) {
    eventually("the key is destroyed and replaced once", async || {
        let set = key_set(&tenant.space, "users").await;
        let states = states(&tenant.space, "users").await;
        let gone = !set.to_string().contains(leaked);
        let fresh = active(&tenant.space, "users").await;
        let done = gone && states == [Active] && fresh != leaked;
        if done { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
}

#[tokio::test]
async fn dead_after_each_write_of_a_revoked_key() {
    let _turn = alone().await;
    // What the Revocation matches, the Secret, the ConfigMap, status, and the Revocation's own, in any
    // order. It can have written the first of them itself, with its status.
    for writes in 0..5 {
        let operator = Operator::start(&[]).await;
        let tenant = Tenant::new(&operator, "keys").await;
        let leaked = active(&tenant.space, "users").await;
        operator.stop().await;
        tenant.space
            .apply(&json!({
                "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "leak"},
                "spec": {"userPool": {"name": "users", "keyIds": [leaked]}},
            }))
            .await;
        let finished = async {
            tenant.space.ready::<Revocation>("leak").await;
            destroyed_and_replaced(&tenant, &leaked).await;
        };
        assert!(run_until(writes, &[], finished).await || writes == 4, "{writes} writes");

        let operator = Operator::start(&[]).await;
        assert_eq!(
            operator.validate(&tenant.token, Some(&tenant.web)).await.verdict(),
            "401 key_revoked"
        );
        // Whatever was destroyed before, it is known that it was there.
        let status = tenant.space.ready::<Revocation>("leak").await.status.unwrap();
        assert_eq!(status.matched[0].id, leaked);
        destroyed_and_replaced(&tenant, &leaked).await;
        operator.stop().await;
    }
}

/// Replaces the signing Secret by one that is stored for a namespace that no longer exists, and is
/// to be taken over. Returns its manifest.
async fn former_secret(space: &Space) -> Value {
    let secret = space.signing_secret("users").await.unwrap();
    let own = secret.name_any();
    let mut labels = secret.labels().clone();
    labels.insert("anon.dev/inherited-by".to_owned(), space.uid.clone());
    space.operators().delete::<Secret>(&own).await;
    json!({
        "apiVersion": "v1", "kind": "Secret", "data": secret.data,
        "metadata": {
            "name": own.replace(&space.uid, "former"), "labels": labels,
            "annotations": secret.annotations(),
        },
    })
}

#[tokio::test]
async fn dead_after_each_write_of_a_takeover() {
    let _turn = alone().await;
    // The Secret, the deletion of the former one, the ConfigMap, status.
    for writes in 0..4 {
        let operator = Operator::start(&[]).await;
        let tenant = Tenant::new(&operator, "takeover").await;
        operator.stop().await;
        let former = former_secret(&tenant.space).await;
        // The pool starts with a new key before the former one is there.
        let operator = Operator::start(&[]).await;
        operator.gives(&tenant.token, Some(&tenant.web), "401 key_unknown").await;
        operator.stop().await;
        let home = tenant.space.operators();
        home.apply(&former).await;
        assert!(run_until_dead(writes, &[]).await, "{writes} writes");

        let operator = Operator::start(&[]).await;
        rotated_once(&tenant, &operator).await;
        assert!(home.get::<Secret>(former["metadata"]["name"].as_str().unwrap()).await.is_none());
        operator.stop().await;
    }
}
