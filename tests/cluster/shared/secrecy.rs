//! No key is ever written anywhere but into its Secret.

use std::fs;

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::harness::cluster::directory;
use crate::harness::{Space, eventually, pool, shared};

/// The logs of every operator that this run has started so far.
fn logs() -> Vec<(String, String)> {
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("test-operator-"))
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn logs_metrics_and_objects_hold_no_key() {
    let operator = shared().await;
    let space = Space::new("secrecy").await;
    let algorithms = ["RS256", "ES256", "EdDSA"];
    for algorithm in algorithms {
        space.apply(&pool(&algorithm.to_lowercase(), json!({"algorithm": algorithm}))).await;
    }
    let key = space.backend().await;
    let mut tokens = Vec::new();
    for algorithm in algorithms {
        let pool: UserPool = space.ready(&algorithm.to_lowercase()).await;
        let body = json!({"appUserId": "somebody-secret", "userPoolId": pool.status.unwrap().id});
        tokens.push(operator.minted(&key, &body).await);
    }
    // Every way to be refused, with secrets in all places.
    for body in [json!({"appUserId": &key, "exp": &key}), json!({"userPoolId": &key}), json!(&key)]
    {
        operator.mint(&key, &body).await;
    }
    operator.validate(&format!("{key}x"), Some(&key)).await;
    operator.validate(&tokens[0], Some(&tokens[1])).await;
    let foreign = format!("{key}x");
    space.merge::<Secret>("key", json!({"stringData": {"apiKey": foreign}})).await;
    eventually("the key is replaced", async || {
        let now = space.api_key("key").await;
        if now != key && now != foreign { Ok(()) } else { Err("not yet") }
    })
    .await;

    // What must be nowhere: every key that is stored now, of whichever test.
    let all: Api<Secret> = Api::all(space.client.clone());
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=anon-operator");
    let mut needles = tokens;
    needles.push("somebody-secret".to_owned());
    needles.push(key);
    for secret in all.list(&ours).await.unwrap() {
        let data = secret.data.unwrap_or_default();
        if let Some(key) = data.get("apiKey") {
            needles.push(String::from_utf8(key.0.clone()).unwrap());
        }
        if let Some(set) = data.get("keyset.json") {
            let set: Value = serde_json::from_slice(&set.0).unwrap();
            // Other tests put junk into theirs. The beginning of a PKCS #8 is the same for all.
            let private = set["keys"][0]["pkcs8"].as_str().unwrap_or_default();
            needles.push(private.chars().rev().take(24).collect::<Vec<_>>().iter().rev().collect());
        }
    }
    assert!(needles.len() > 8);
    let logs = logs();
    assert!(logs.iter().any(|(_, log)| log.contains("KeysPublished")));
    let metrics = crate::harness::http::get(&operator.admin_url("/metrics")).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let pools = space.api::<UserPool>().list(&ListParams::default()).await.unwrap();
    let clients = space.api::<SdkClient>().list(&ListParams::default()).await.unwrap();
    let objects = json!([pools.items, clients.items]).to_string();
    for (place, text) in logs
        .iter()
        .chain([&("the metrics".to_owned(), metrics), &("the objects".to_owned(), objects.clone())])
    {
        for needle in needles.iter().filter(|needle| needle.len() > 8) {
            assert!(!text.contains(needle), "{place} has a secret of {} bytes", needle.len());
        }
        let mut keys = text.match_indices("ory_apikey_").map(|(at, _)| &text[at + 11..]);
        let body = |rest: &str| {
            rest.len() >= 49 && rest.bytes().take(49).all(|b| b.is_ascii_alphanumeric())
        };
        assert!(!keys.any(body), "{place} has an ApiKey");
    }
    // Nor does anything that is stored hold a null, which a server or a tool might stumble on.
    assert!(!objects.contains(":null"), "{objects}");
}
