//! The signing Secret of a pool, read and changed as a platform administrator could.

use anon_operator::testing::crd::UserPool;
use anon_operator::testing::domain::signing_key_set::SigningKeyState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Space;
use super::wait::eventually;

/// The key set in the signing Secret.
pub async fn key_set(space: &Space, pool: &str) -> Value {
    let secret = space.signing_secret(pool).await.expect("a signing Secret");
    serde_json::from_slice(&secret.data.unwrap()["keyset.json"].0).unwrap()
}

/// Changes the key set in the signing Secret, and retries if another writer changed it meanwhile.
pub async fn edit_key_set(space: &Space, pool: &str, edit: impl Fn(&mut Value)) {
    eventually("the signing Secret is edited", async || {
        let secret = space.signing_secret(pool).await.expect("a signing Secret");
        let mut set = serde_json::from_slice(&secret.data.as_ref().unwrap()["keyset.json"].0);
        edit(set.as_mut().unwrap());
        let data = STANDARD.encode(set.unwrap().to_string());
        let patch = json!({
            "metadata": {"resourceVersion": secret.resource_version()},
            "data": {"keyset.json": data},
        });
        let api = space.operators().api::<Secret>();
        api.patch(&secret.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
    })
    .await;
}

/// Sets a date of the keys in this state far into the past, as if a long time had passed.
pub async fn backdate(space: &Space, pool: &str, state: &str, date: &str) {
    edit_key_set(space, pool, |set| {
        for key in set["keys"].as_array_mut().unwrap() {
            if key["state"] == state {
                key[date] = json!("2020-01-01T00:00:00Z");
            }
        }
    })
    .await;
}

/// Requests a rotation.
pub async fn ask_to_rotate(space: &Space, pool: &str, value: &str) {
    let request = json!({"metadata": {"annotations": {"anon.dev/rotate": value}}});
    space.merge::<UserPool>(pool, request).await;
}

/// Waits until the key set records that every validator has acknowledged the Next key.
pub async fn next_is_known(space: &Space, pool: &str) {
    eventually(&format!("the next key of {pool} is known everywhere"), async || {
        let set = key_set(space, pool).await;
        let keys = set["keys"].as_array().unwrap();
        let known = keys.iter().any(|key| key["state"] == "Next" && key["knownAt"].is_string());
        if known { Ok(()) } else { Err(states_of(&set)) }
    })
    .await;
}

fn states_of(set: &Value) -> String {
    let keys = set["keys"].as_array().unwrap();
    let states: Vec<_> = keys.iter().map(|key| (&key["state"], &key["knownAt"])).collect();
    format!("{states:?}")
}

/// Completes a rotation that was requested, without the wait for caches.
pub async fn finish_rotation(space: &Space, pool: &str) {
    next_is_known(space, pool).await;
    let before = active(space, pool).await;
    backdate(space, pool, "Next", "knownAt").await;
    eventually(&format!("the next key of {pool} is Active"), async || {
        if active(space, pool).await == before { Err("the old one is") } else { Ok(()) }
    })
    .await;
}

/// The `kid` of the key that is Active in status.
pub async fn active(space: &Space, pool: &str) -> String {
    let keys = space.get::<UserPool>(pool).await.unwrap().status.unwrap_or_default().keys;
    let active = keys.into_iter().find(|key| key.state == SigningKeyState::Active);
    active.map(|key| key.kid).unwrap_or_default()
}

/// The states of the keys in status, oldest first.
pub async fn states(space: &Space, pool: &str) -> Vec<SigningKeyState> {
    let keys = space.get::<UserPool>(pool).await.unwrap().status.unwrap_or_default().keys;
    keys.iter().map(|key| key.state).collect()
}
