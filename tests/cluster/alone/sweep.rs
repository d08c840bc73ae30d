//! Secrets that belong to nobody go after the grace, and nothing else does.

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{Operator, Space, alone, eventually, pool, quick_pool, service, webapp, with};

const POLICY: &str = "/spec/service/apiKey/delivery/deletionPolicy";

fn keep(client: Value) -> Value {
    with(client, POLICY, json!("Retain"))
}

async fn gone(space: &Space, secret: &str) {
    eventually(&format!("Secret {secret} is gone"), async || {
        space.get::<Secret>(secret).await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
}

/// Waits for whole sweeps: a Secret that becomes an orphan now goes only after the grace.
async fn later(space: &Space, name: &str) {
    space.apply(&service(name, "Member", name)).await;
    space.ready::<SdkClient>(name).await;
    space.delete::<SdkClient>(name).await;
    gone(space, name).await;
}

#[tokio::test]
async fn what_belongs_to_nobody_goes() {
    let _turn = alone().await;
    let operator = Operator::start(&["--orphan-grace=2s"]).await;
    let space = Space::new("sweep").await;
    let fast = |policy: &str| json!({"algorithm": "EdDSA", "deletionPolicy": policy});
    // One that chose its clientId has that on its Secret.
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    let consent = json!({"metadata": {"annotations": {"anon.dev/client-ids": "*"}}});
    namespaces.patch(&space.name, &PatchParams::default(), &Patch::Merge(&consent)).await.unwrap();
    let id = json!(uuid::Uuid::new_v4());
    space
        .apply_all(&[
            with(service("chosen", "Member", "chosen"), "/spec/clientId", id),
            service("deleted", "Member", "deleted"),
            keep(service("kept", "Member", "kept")),
            service("renamed", "Member", "old-name"),
            service("lives", "Member", "lives"),
            service("becomes-webapp", "Member", "becomes-webapp"),
            pool("deleted", fast("Delete")),
            pool("kept", fast("Retain")),
            pool("lives", fast("Delete")),
        ])
        .await;
    for name in ["chosen", "deleted", "kept", "renamed", "lives", "becomes-webapp"] {
        space.ready::<SdkClient>(name).await;
    }
    for name in ["deleted", "kept", "lives"] {
        space.ready::<UserPool>(name).await;
    }
    // Another owner's, and a look-alike: labelled like ours, without our annotation.
    let labels = json!({
        "app.kubernetes.io/managed-by": "anon-operator", "anon.dev/component": "api-key",
        "anon.dev/id": uuid::Uuid::new_v4().to_string(),
    });
    for (name, labels) in [("unrelated", json!({})), ("look-alike", labels)] {
        let metadata = json!({"name": name, "labels": labels});
        space.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).await;
    }
    let (lived, chosen) = (space.api_key("lives").await, space.api_key("chosen").await);
    // Ours, but an administrator removed the label: it is not ours to delete any more. The operator is down
    // meanwhile, since it repairs the Secret as long as it has not heard of the client's deletion.
    operator.stop().await;
    space.delete::<SdkClient>("becomes-webapp").await;
    space.merge::<Secret>("becomes-webapp", json!({"metadata": {"labels": null}})).await;
    space.apply(&webapp("becomes-webapp", "lives")).await;
    let _operator = Operator::start(&["--orphan-grace=2s"]).await;

    for name in ["deleted", "kept"] {
        space.delete::<SdkClient>(name).await;
    }
    space.apply(&service("renamed", "Member", "new-name")).await;
    space.delete::<UserPool>("deleted").await;
    space.delete::<UserPool>("kept").await;

    gone(&space, "deleted").await;
    gone(&space, "old-name").await;
    eventually("the signing Secret is gone", async || {
        space.signing_secret("deleted").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    later(&space, "later").await;
    for name in ["kept", "new-name", "lives", "unrelated", "look-alike", "becomes-webapp"] {
        assert!(space.get::<Secret>(name).await.is_some(), "{name}");
    }
    assert_eq!(space.api_key("lives").await, lived);
    assert_eq!(space.api_key("chosen").await, chosen);
    assert!(space.signing_secret("kept").await.is_some());
    assert!(space.signing_secret("lives").await.is_some());

    // With the namespace goes what may go.
    namespaces.delete(&space.name, &DeleteParams::default()).await.unwrap();
    eventually("the last signing Secret is gone", async || {
        space.signing_secret("lives").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
    assert!(space.signing_secret("kept").await.is_some());
}

#[tokio::test]
async fn within_the_grace_an_object_takes_its_keys_up_again() {
    let _turn = alone().await;
    let operator = Operator::start(&["--orphan-grace=1h"]).await;
    let space = Space::new("grace").await;
    space.apply_all(&[service("backend", "Member", "key"), quick_pool("users")]).await;
    let client: SdkClient = space.ready("backend").await;
    let pool: UserPool = space.ready("users").await;
    let key = space.api_key("key").await;

    space.delete::<SdkClient>("backend").await;
    space.delete::<UserPool>("users").await;
    operator.gives(&key, None, "401 api_key_unknown").await;

    space.apply_all(&[service("backend", "Member", "key"), quick_pool("users")]).await;
    let client_again: SdkClient = space.ready("backend").await;
    let pool_again: UserPool = space.ready("users").await;
    assert_ne!(client_again.uid(), client.uid());
    let (before, after) = (client.status.unwrap(), client_again.status.unwrap());
    assert_eq!((before.client_id, before.keys), (after.client_id, after.keys));
    let (before, after) = (pool.status.unwrap(), pool_again.status.unwrap());
    assert_eq!((before.id, before.keys), (after.id, after.keys));
    assert_eq!(space.api_key("key").await, key);
    operator.gives(&key, None, "200").await;
}
