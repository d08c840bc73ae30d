//! Whose a key is after a restore: hashes are public, and a client that listed or copied them
//! before may be restored first.

use std::collections::BTreeMap;

use anon_operator::testing::crd::SdkClient;
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::stored_key::ApiKeyState;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::harness::books::sha256;
use crate::harness::operator::operator_patches_status;
use crate::harness::{Operator, Space, alone, eventually, service, with};

/// The Secret with the keys of the MACs.
const RECORD_KEYS: &str = "anon-operator.record-keys";

/// A client that lists these hashes.
fn listing(name: &str, hashes: &[String]) -> Value {
    let entry = |hash: &String| json!({"id": &hash[..16], "sha256": hash});
    let hashes: Vec<_> = hashes.iter().map(entry).collect();
    with(service(name, "Member", "x"), "/spec/service/apiKey", json!({"hashes": hashes}))
}

/// Status is lost with the object; what it says comes back.
async fn restore(space: &Space, manifest: &Value) {
    let name = manifest["metadata"]["name"].as_str().unwrap();
    space.delete::<SdkClient>(name).await;
    space.apply(manifest).await;
}

/// An organization whose key was rotated: the old one is still valid.
struct Victim {
    space: Space,
    manifest: Value,
    old: String,
    key: String,
    id: Value,
}

impl Victim {
    async fn new(operator: &Operator) -> Self {
        let space = Space::new("victim").await;
        let manifest = service("backend", "Member", "key");
        space.apply(&manifest).await;
        let ready: SdkClient = space.ready("backend").await;
        let old = space.api_key("key").await;
        let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "now"}}});
        space.merge::<SdkClient>("backend", request).await;
        eventually("the key is rotated", async || {
            let keys = space.get::<SdkClient>("backend").await.unwrap().status.unwrap().keys;
            let states: Vec<_> = keys.iter().map(|key| key.state).collect();
            let done = states == [ApiKeyState::Previous, ApiKeyState::Current];
            if done { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
        let key = space.api_key("key").await;
        for key in [&old, &key] {
            operator.gives(key, None, "200").await;
        }
        let id = json!(ready.status.unwrap().client_id);
        Self { space, manifest, old, key, id }
    }

    fn hashes(&self) -> [String; 2] {
        [sha256(&self.old), sha256(&self.key)]
    }

    /// Its key is valid, and is its own.
    async fn has(&self, operator: &Operator, key: &str) {
        operator.gives(key, None, "200").await;
        let reply = operator.validate(key, None).await.json();
        assert_eq!(reply["sdkClientId"], self.id, "{reply}");
    }
}

/// The ids of the keys that a client's status lists.
async fn ids(space: &Space, name: &str) -> Vec<String> {
    let client: SdkClient = space.get(name).await.unwrap();
    client.status.unwrap_or_default().keys.into_iter().map(|key| key.id).collect()
}

#[tokio::test]
async fn a_restored_key_is_its_clients_whoever_is_restored_first() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    // Older, and of a name that comes first.
    let thief = Space::new("a-thief").await;
    let copier = service("copies", "Member", "key");
    thief.apply(&copier).await;
    thief.ready::<SdkClient>("copies").await;
    let victim = Victim::new(&operator).await;
    let lister = listing("lists", &victim.hashes());
    thief.apply(&lister).await;
    let stolen: Secret = victim.space.get("key").await.unwrap();
    let annotations: BTreeMap<_, _> = stolen.metadata.annotations.unwrap().into_iter().collect();
    let copy = json!({
        "metadata": {"annotations": {
            "anon.dev/keys": annotations["anon.dev/keys"],
            "anon.dev/keys-mac": annotations["anon.dev/keys-mac"],
        }},
        "stringData": {"apiKey": victim.key},
    });
    thief.merge::<Secret>("key", copy).await;
    for name in ["lists", "copies"] {
        thief.stands::<SdkClient>(name, "KeyConflict").await;
        assert!(ids(&thief, name).await.is_empty());
    }

    // The operator comes when everything is there, but for status.
    operator.stop().await;
    restore(&thief, &lister).await;
    restore(&thief, &copier).await;
    restore(&victim.space, &victim.manifest).await;
    let operator = Operator::start(&[]).await;
    victim.space.ready::<SdkClient>("backend").await;
    for key in [&victim.old, &victim.key] {
        victim.has(&operator, key).await;
    }
    for name in ["lists", "copies"] {
        thief.stands::<SdkClient>(name, "KeyConflict").await;
    }

    // Or it is there all the time, and the thieves are restored before the client.
    victim.space.delete::<SdkClient>("backend").await;
    restore(&thief, &lister).await;
    restore(&thief, &copier).await;
    for name in ["lists", "copies"] {
        thief.stands::<SdkClient>(name, "KeyConflict").await;
    }
    assert_ne!(operator.validate(&victim.key, None).await.status, 200);
    victim.space.apply(&victim.manifest).await;
    victim.space.ready::<SdkClient>("backend").await;
    for key in [&victim.old, &victim.key] {
        victim.has(&operator, key).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn without_the_keys_of_the_macs_the_key_in_the_secret_is_valid_and_no_other() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let thief = Space::new("a-thief").await;
    let victim = Victim::new(&operator).await;
    let lister = listing("lists", &victim.hashes());
    thief.apply(&lister).await;
    thief.stands::<SdkClient>("lists", "KeyConflict").await;

    operator.stop().await;
    restore(&thief, &listing("lists", &victim.hashes()[1..])).await;
    restore(&victim.space, &victim.manifest).await;
    thief.operators().delete::<Secret>(RECORD_KEYS).await;
    let operator = Operator::start(&[]).await;
    victim.space.ready::<SdkClient>("backend").await;
    victim.has(&operator, &victim.key).await;
    operator.gives(&victim.old, None, "401 api_key_unknown").await;
    thief.stands::<SdkClient>("lists", "KeyConflict").await;
    // The record is signed again.
    eventually("the record has a MAC of the new key", async || {
        let secret: Secret = victim.space.get("key").await.unwrap();
        let now = secret.metadata.annotations.unwrap()["anon.dev/keys"].clone();
        if now.contains(&sha256(&victim.old)) { Err(now) } else { Ok(()) }
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn the_keys_of_the_macs_are_rotated() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let victim = Victim::new(&operator).await;
    operator.stop().await;
    let mac = async || {
        let secret: Secret = victim.space.get("key").await.unwrap();
        secret.metadata.annotations.unwrap()["anon.dev/keys-mac"].clone()
    };
    let before = mac().await;
    let home = victim.space.operators();
    let stored: Secret = home.get(RECORD_KEYS).await.unwrap();
    assert_eq!(stored.metadata.labels.unwrap()["anon.dev/component"], "record-keys");
    let current = serde_json::to_value(&stored.data.unwrap()["current"]).unwrap();
    // As docs/operations.md says.
    let rotate = json!({"data": {"previous": current, "current": null}});
    home.merge::<Secret>(RECORD_KEYS, rotate).await;
    // A record that was signed with the previous one is believed, also without status.
    restore(&victim.space, &victim.manifest).await;
    let operator = Operator::start(&[]).await;
    victim.space.ready::<SdkClient>("backend").await;
    for key in [&victim.old, &victim.key] {
        victim.has(&operator, key).await;
    }
    eventually("the record is signed again", async || {
        if mac().await == before { Err("not yet") } else { Ok(()) }
    })
    .await;
    let rotated = home.get::<Secret>(RECORD_KEYS).await.unwrap().data.unwrap();
    assert_ne!(rotated["current"], rotated["previous"]);
    operator.stop().await;
}

#[tokio::test]
async fn a_hash_that_two_restored_specs_list_is_used_for_neither() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let (first, second) = (Space::new("first").await, Space::new("second").await);
    let key = ApiKey::generate().unwrap();
    let manifest = listing("ci", &[key.hash().to_string()]);
    first.apply(&manifest).await;
    first.ready::<SdkClient>("ci").await;
    second.apply(&manifest).await;
    second.stands::<SdkClient>("ci", "KeyConflict").await;
    operator.gives(key.expose(), None, "200").await;
    operator.stop().await;

    restore(&second, &manifest).await;
    restore(&first, &manifest).await;
    let operator = Operator::start(&[]).await;
    for space in [&first, &second] {
        space.stands::<SdkClient>("ci", "KeyConflict").await;
    }
    assert_eq!(operator.validate(key.expose(), None).await.verdict(), "401 api_key_unknown");
    // The only client that lists it has it.
    let other = ApiKey::generate().unwrap().hash().to_string();
    second.apply(&listing("ci", &[other])).await;
    first.ready::<SdkClient>("ci").await;
    operator.gives(key.expose(), None, "200").await;
    operator.stop().await;
}

/// As two leaders could leave it that did not know of each other.
#[tokio::test]
async fn a_hash_in_two_statuses_goes_back_to_the_client_that_has_the_key() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let victim = Victim::new(&operator).await;
    let thief = Space::new("thief").await;
    let hash = sha256(&victim.key);
    thief.apply(&listing("lists", std::slice::from_ref(&hash))).await;
    thief.stands::<SdkClient>("lists", "KeyConflict").await;
    // Validators alone, who decide by what is written.
    operator.stop().await;
    let written = json!([{"id": &hash[..16], "sha256": hash, "state": "Current"}]);
    operator_patches_status(&thief, "sdkclients", "lists", &json!({"status": {"keys": written}}));
    let validator = Operator::start(&["--roles=validator"]).await;
    assert_eq!(validator.validate(&victim.key, None).await.verdict(), "401 api_key_unknown");
    victim.has(&validator, &victim.old).await;

    let operator = Operator::start(&["--roles=controller"]).await;
    eventually("the thief's status is repaired", async || {
        let ids = ids(&thief, "lists").await;
        if ids.is_empty() { Ok(()) } else { Err(format!("{ids:?}")) }
    })
    .await;
    victim.has(&validator, &victim.key).await;
    operator.stop().await;
    validator.stop().await;
}
