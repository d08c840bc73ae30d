//! What one can do with the signing keys of a hosted pool, on a real cluster.

use anon_operator::testing::crd::UserPool;
use anon_operator::testing::domain::algorithm::VerifyingAlgorithm;
use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Next, Retiring};
use serde_json::json;

use crate::harness::kubectl::kubectl;
use crate::harness::signing::{
    active, ask_to_rotate, edit_key_set, finish_rotation, key_set, next_is_known, states,
};
use crate::harness::{Space, eventually, pool, shared, with};

#[tokio::test]
async fn kubectl_tells_the_story_of_a_rotation() {
    let _operator = shared().await;
    let space = Space::new("story").await;
    let hosted = json!({"algorithm": "ES256", "rotation": {"interval": "720h"}});
    // A request that is there at first sight is not acted on.
    let asked = with(
        pool("users", hosted),
        "/metadata/annotations",
        json!({"anon.dev/rotate": "restored"}),
    );
    space.apply(&asked).await;
    let first = space.ready::<UserPool>("users").await.status.unwrap();
    assert_eq!(states(&space, "users").await, [Active]);
    assert!(first.next_rotation.is_some());

    ask_to_rotate(&space, "users", "now").await;
    next_is_known(&space, "users").await;
    assert_eq!(states(&space, "users").await, [Active, Next]);
    let waiting = key_set(&space, "users").await;
    assert!(waiting["keys"][1]["activeAt"].is_null(), "published ahead: {}", waiting["rotated"]);
    finish_rotation(&space, "users").await;
    assert_eq!(states(&space, "users").await, [Retiring, Active]);
    let set = key_set(&space, "users").await;
    assert!(set["keys"][0].get("pkcs8").is_none(), "the private part went with the retirement");
    let status = space.ready::<UserPool>("users").await.status.unwrap();
    assert!(status.keys[0].retire_at.is_some() && status.keys[1].retire_at.is_none());

    let get = kubectl(&["get", "userpools", "--namespace", &space.name, "-o", "wide"]);
    let table = &get.stdout;
    for column in ["SIGNS-SINCE", "NEXT-ROTATION", "RETIRES"] {
        assert!(table.contains(column), "{table}");
    }
    let retires = status.keys[0].retire_at.as_ref().unwrap().0.to_string();
    assert!(table.contains(&retires) && !table.contains("<invalid>"), "{table}");
    assert!(table.contains("keys published: 1 Retiring, 1 Active"), "{table}");
    eventually("the events tell it too", async || {
        let events = kubectl(&["get", "events", "--namespace", &space.name]).stdout;
        let told = ["KeyPublished", "KeyActivated", "KeyRetired"];
        if told.iter().all(|reason| events.contains(reason)) { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test]
async fn another_algorithm_is_a_rotation() {
    let operator = shared().await;
    let space = Space::new("algorithm").await;
    space.apply(&pool("users", json!({"algorithm": "ES256"}))).await;
    let id = space.ready::<UserPool>("users").await.status.unwrap().id.unwrap();
    space.apply(&pool("users", json!({"algorithm": "EdDSA"}))).await;
    finish_rotation(&space, "users").await;
    let keys = space.ready::<UserPool>("users").await.status.unwrap().keys;
    let algorithms: Vec<_> = keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [VerifyingAlgorithm::ES256, VerifyingAlgorithm::EdDSA]);
    let path = format!("/userPools/{id}/.well-known/openid-configuration");
    eventually("discovery names both", async || {
        let reply = crate::harness::http::get(&operator.url(&path)).await?;
        let both =
            reply.json()["id_token_signing_alg_values_supported"] == json!(["ES256", "EdDSA"]);
        if both { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

/// As the clock would: a key that is older than the interval.
#[tokio::test]
async fn the_schedule_rotates() {
    let _operator = shared().await;
    let space = Space::new("schedule").await;
    let hosted = json!({
        "algorithm": "ES256", "rotation": {"interval": "1h"},
        "tokenLifetime": {"default": "1h", "max": "2h"},
    });
    space.apply(&pool("users", hosted)).await;
    space.ready::<UserPool>("users").await;
    let first = active(&space, "users").await;
    edit_key_set(&space, "users", |set| {
        set["keys"][0]["activeAt"] = json!("2020-01-01T00:00:00Z");
    })
    .await;
    finish_rotation(&space, "users").await;
    assert_eq!(states(&space, "users").await, [Retiring, Active]);
    let set = key_set(&space, "users").await;
    assert_eq!(set["keys"][0]["jwk"]["kid"], json!(first));
    assert_eq!(set["keys"][0]["longestLifetime"], json!(7200));
}
