//! Checks that the stored objects are consistent with status and with the audit log.

use std::collections::BTreeMap;

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::Space;
use super::audit::all_writes_for;

/// The SHA-256 hash in lower-case hex.
pub fn sha256(text: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let hash = digest(&SHA256, text.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

/// Checks a namespace with `clients` service clients and `pools` hosted pools, all of them Ready:
/// each has one Secret that was created once, and its status matches the Secret. Returns the API
/// keys by client name.
pub async fn balance(space: &Space, clients: usize, pools: usize) -> BTreeMap<String, String> {
    let all = ListParams::default();
    let of = |component: &str| all.clone().labels(&format!("anon.dev/component={component}"));
    let mut keys = BTreeMap::new();
    for client in space.api::<SdkClient>().list(&all).await.unwrap() {
        let Some(service) = &client.spec.service else { continue };
        let secret = &service.api_key.delivery.as_ref().unwrap().secret_name;
        let key = space.api_key(secret).await;
        let status = client.status.as_ref().unwrap();
        assert_eq!(status.keys.len(), 1, "{status:?}");
        assert_eq!(status.keys[0].sha256, sha256(&key), "{}", client.name_any());
        keys.insert(client.name_any(), key);
    }
    assert_eq!(keys.len(), clients);
    let delivered = space.api::<Secret>().list(&of("api-key")).await.unwrap();
    assert_eq!(delivered.items.len(), clients, "delivery Secrets");

    let mut found = 0;
    for pool in space.api::<UserPool>().list(&all).await.unwrap() {
        let secret = space.signing_secret(&pool.name_any()).await.unwrap();
        let set: Value = serde_json::from_slice(&secret.data.unwrap()["keyset.json"].0).unwrap();
        let status = pool.status.unwrap();
        let published: Vec<_> = status.keys.iter().map(|key| json!(key.jwk)).collect();
        let stored: Vec<_> =
            set["keys"].as_array().unwrap().iter().map(|key| key["jwk"].clone()).collect();
        assert_eq!(published, stored);
        found += 1;
    }
    assert_eq!(found, pools);
    let signing = space.operators().api::<Secret>().list(&of("signing-keys")).await.unwrap();
    let own = signing.iter().filter(|it| it.name_any().starts_with(&space.uid));
    assert_eq!(own.count(), pools, "signing Secrets");

    // A request that lost a race got a 409 and created nothing. The API server records a 504 if the
    // caller was killed during the request: this may have created the Secret, and then no other
    // request did.
    let writes = all_writes_for(space).await;
    let mut made: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for write in &writes {
        if write.what() == "create secrets" && write.code != 409 {
            made.entry(&write.name).or_default().push(write.code);
        }
    }
    assert_eq!(made.len(), clients + pools);
    // No Secret was changed after its creation, because a client may already have read the key.
    let changed = writes.iter().filter(|it| it.resource == "secrets" && it.verb != "create");
    let changed: Vec<_> = changed.collect();
    assert!(changed.is_empty(), "{changed:?}");
    let once = |codes: &[u16]| match codes.iter().filter(|code| **code == 201).count() {
        0 => codes.contains(&504),
        count => count == 1,
    };
    for (name, codes) in &made {
        assert!(once(codes), "{name}: {codes:?}");
    }
    keys
}
