//! Objects in any order, in several namespaces, edited, deleted and re-created.

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::harness::{Space, eventually, quick_pool, service, shared, webapp};

#[tokio::test]
async fn a_client_waits_for_its_pool() {
    let operator = shared().await;
    let space = Space::new("waits").await;
    space.apply_all(&[webapp("web", "users"), service("backend", "Member", "key")]).await;
    let web: SdkClient = space.stands("web", "UserPoolNotFound").await;
    let status = web.status.unwrap();
    let types: Vec<_> = status.conditions.iter().map(|it| (&*it.type_, &*it.status)).collect();
    assert_eq!(types, [("Ready", "False"), ("Reconciling", "True")]);
    assert!(status.conditions[0].message.contains("`users`"));
    let id = status.client_id.unwrap();
    space.ready::<SdkClient>("backend").await;
    let key = space.api_key("key").await;

    // A pool that existed before it is asked for, and one that comes later.
    space.apply_all(&[quick_pool("other"), quick_pool("users")]).await;
    space.ready::<SdkClient>("web").await;
    let token = operator.minted(&key, &json!({"appUserId": "u", "sdkClientId": id})).await;
    assert_eq!(operator.validate(&token, Some(&id)).await.verdict(), "200");

    // Another pool: the tokens of the first no longer count for this client.
    space.apply(&webapp("web", "other")).await;
    space.ready::<SdkClient>("web").await;
    operator.gives(&token, Some(&id), "401 key_unknown").await;
    space.delete::<UserPool>("other").await;
    space.stands::<SdkClient>("web", "UserPoolNotFound").await;
    // The very same key again, by default.
    space.apply(&webapp("web", "users")).await;
    space.delete::<UserPool>("users").await;
    space.stands::<SdkClient>("web", "UserPoolNotFound").await;
    space.apply(&quick_pool("users")).await;
    space.ready::<SdkClient>("web").await;
    operator.gives(&token, Some(&id), "200").await;
}

#[tokio::test]
async fn equal_names_in_three_namespaces() {
    let operator = shared().await;
    let spaces =
        [Space::new("three-a").await, Space::new("three-b").await, Space::new("three-c").await];
    let mut manifests =
        [quick_pool("users"), webapp("web", "users"), service("backend", "Member", "key")];
    for space in &spaces {
        space.apply_all(&manifests).await;
        // Every namespace has another order.
        manifests.rotate_left(1);
    }
    let mut seen = Vec::new();
    for space in &spaces {
        let pool = space.ready::<UserPool>("users").await.status.unwrap();
        let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
        space.ready::<SdkClient>("backend").await;
        let key = space.api_key("key").await;
        let token = operator.minted(&key, &json!({"appUserId": "u"})).await;
        seen.push((pool.id.unwrap(), pool.keys[0].kid.clone(), web, key, token));
    }
    for (index, (pool, kid, web, key, token)) in seen.iter().enumerate() {
        for (other, (other_pool, other_kid, other_web, other_key, _)) in seen.iter().enumerate() {
            let same = index == other;
            assert_eq!(pool == other_pool, same);
            assert_eq!(kid == other_kid, same);
            assert_eq!(web == other_web, same);
            assert_eq!(key == other_key, same);
            // A token of a pool without audiences and without a client carries the pool's id.
            let verdict = operator.validate(token, Some(other_web)).await.verdict();
            assert_eq!(verdict == "200", same, "{verdict}");
        }
    }
}

#[tokio::test]
async fn a_namespace_made_again_has_the_same_ids_and_fresh_keys() {
    let operator = shared().await;
    let space = Space::new("again").await;
    let manifests = [quick_pool("users"), service("backend", "Member", "key")];
    space.apply_all(&manifests).await;
    let before: UserPool = space.ready("users").await;
    let client: SdkClient = space.ready("backend").await;
    let key = space.api_key("key").await;

    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    namespaces.delete(&space.name, &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || {
        let there = namespaces.get_opt(&space.name).await.unwrap();
        there.map_or(Ok(()), |_| Err("it terminates"))
    })
    .await;
    let again = Space::named(&space.name).await;
    again.apply_all(&manifests).await;
    let after: UserPool = again.ready("users").await;
    let (before, after) = (before.status.unwrap(), after.status.unwrap());
    assert_eq!(before.id, after.id);
    assert_ne!(before.keys[0].kid, after.keys[0].kid, "the former owner of the name has no key");
    assert!(space.signing_secret("users").await.is_some(), "Retain");
    let client_again: SdkClient = again.ready("backend").await;
    assert_eq!(client.status.unwrap().client_id, client_again.status.unwrap().client_id);
    assert_ne!(again.api_key("key").await, key);
    operator.gives(&key, None, "401 api_key_unknown").await;
}
