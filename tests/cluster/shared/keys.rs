//! The delivery Secret of a service client: what is in it is the truth, and what is not ours is
//! left alone.

use anon_operator::testing::crd::SdkClient;
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::stored_key::ApiKeyState;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::harness::books::sha256;
use crate::harness::operator::operator_patches_status;
use crate::harness::{Operator, Space, eventually, immediately, service, shared, with};

/// A backend that is ready, and its key.
async fn backend(operator: &Operator, label: &str) -> (Space, String) {
    let space = Space::new(label).await;
    let key = space.backend().await;
    counts(operator, &key, "200").await;
    (space, key)
}

/// Waits until the key has this verdict.
async fn counts(operator: &Operator, key: &str, verdict: &str) {
    immediately(&format!("the key's verdict is {verdict}"), async || {
        let now = operator.validate(key, None).await.verdict();
        if now == verdict { Ok(()) } else { Err(now) }
    })
    .await;
}

/// Waits until there is another key than `old`, which counts, and `old` does not.
async fn replaced(operator: &Operator, space: &Space, old: &str) -> String {
    let new = eventually("there is a new key", async || match space.value("key", "apiKey").await {
        Some(new) if new != old && operator.validate(&new, None).await.status == 200 => Ok(new),
        other => Err(format!("{:?}", other.map(|key| key.len()))),
    })
    .await;
    counts(operator, old, "401 api_key_unknown").await;
    assert_status_is_a_projection(space, &new).await;
    new
}

/// Status, Secret and the record on the Secret tell of the same key.
async fn assert_status_is_a_projection(space: &Space, key: &str) {
    let hex = sha256(key);
    let client: SdkClient = space.ready("backend").await;
    let keys = client.status.unwrap().keys;
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].sha256.as_str(), keys[0].id.as_str()), (hex.as_str(), &hex[..16]));
    let secret: Secret = space.get("key").await.unwrap();
    let record = &secret.metadata.annotations.unwrap()["anon.dev/keys"];
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!(record[0]["sha256"], json!(hex));
}

#[tokio::test]
async fn a_key_that_is_lost_is_replaced_and_refused() {
    let operator = shared().await;
    let (space, first) = backend(&operator, "lost").await;

    // Garbage, for whatever reason, is no key.
    space.merge::<Secret>("key", json!({"stringData": {"apiKey": "garbage"}})).await;
    let second = replaced(&operator, &space, &first).await;

    // Neither is a key with a typing error, nor an empty value, nor none.
    let other = if second.ends_with('x') { 'y' } else { 'x' };
    let mistyped = format!("{}{other}", &second[..second.len() - 1]);
    space.merge::<Secret>("key", json!({"stringData": {"apiKey": mistyped}})).await;
    let third = replaced(&operator, &space, &second).await;
    assert_ne!(third, mistyped);
    space.merge::<Secret>("key", json!({"data": {"apiKey": null}})).await;
    let fourth = replaced(&operator, &space, &third).await;

    // A deleted Secret is one way to ask for a new key, also where it did not say whose it is.
    let nobody = json!({"metadata": {"annotations": {"anon.dev/owner-name": "nobody"}}});
    space.merge::<Secret>("key", nobody).await;
    eventually("it says whose it is", async || {
        let secret: Secret = space.get("key").await.unwrap();
        let owner = secret.metadata.annotations.unwrap().remove("anon.dev/owner-name");
        if owner.as_deref() == Some("backend") { Ok(()) } else { Err(format!("{owner:?}")) }
    })
    .await;
    space.api::<Secret>().delete("key", &DeleteParams::default()).await.unwrap();
    replaced(&operator, &space, &fourth).await;
}

#[tokio::test]
async fn a_key_survives_whatever_is_not_the_key() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "survives").await;
    let before: SdkClient = space.ready("backend").await;

    // The label by which we find the Secret, and what else we wrote beside the key.
    let labels = json!({"anon.dev/component": null, "anon.dev/id": null, "team": "blue"});
    space.merge::<Secret>("key", json!({"metadata": {"labels": labels}})).await;
    let annotations = json!({"anon.dev/keys": null, "anon.dev/deletion-policy": "Retain"});
    space.merge::<Secret>("key", json!({"metadata": {"annotations": annotations}})).await;
    let edits = json!({"clientId": "wrong", "more": "data"});
    space.merge::<Secret>("key", json!({"stringData": edits})).await;
    let repaired = eventually("the Secret is repaired", async || {
        let secret: Secret = space.get("key").await.unwrap();
        let metadata = serde_json::to_value(&secret.metadata).unwrap();
        let whole = metadata["labels"]["anon.dev/id"] == metadata_id(&before)
            && metadata["labels"]["anon.dev/component"] == "api-key"
            && metadata["annotations"]["anon.dev/deletion-policy"] == "Delete"
            && metadata["annotations"]["anon.dev/keys"].is_string();
        let data = secret.data.clone().unwrap();
        if whole && data.len() == 4 && data["clientId"].0 != b"wrong" {
            Ok(secret)
        } else {
            Err(metadata)
        }
    })
    .await;
    assert_eq!(repaired.metadata.labels.unwrap()["team"], "blue", "labels of others stay");
    assert_eq!(space.api_key("key").await, key);
    counts(&operator, &key, "200").await;

    // Status, with everything that validators served from it.
    operator_patches_status(&space, "sdkclients", "backend", &json!({"status": null}));
    let after = space.ready::<SdkClient>("backend").await.status.unwrap();
    assert_eq!(after.keys.len(), 1);
    assert_eq!(after.keys[0].sha256, before.status.unwrap().keys[0].sha256);
    assert_eq!(space.api_key("key").await, key);
    counts(&operator, &key, "200").await;
    assert_status_is_a_projection(&space, &key).await;
}

fn metadata_id(client: &SdkClient) -> Value {
    json!(client.status.as_ref().unwrap().client_id)
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_touched() {
    let operator = shared().await;
    let space = Space::new("foreign").await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
        "stringData": {"apiKey": "theirs"}
    });
    space.apply(&theirs).await;
    let before: Secret = space.get("key").await.unwrap();
    space.apply(&service("backend", "Member", "key")).await;
    let client: SdkClient = space.stands("backend", "SecretConflict").await;
    let status = client.status.unwrap();
    assert!(status.keys.is_empty() && status.secret_name.is_none());
    let types: Vec<_> = status.conditions.iter().map(|it| (&*it.type_, &*it.status)).collect();
    assert_eq!(types, [("Ready", "False"), ("Stalled", "True")]);
    assert!(status.conditions[0].message.contains("`key`"));
    assert_eq!(space.get::<Secret>("key").await.unwrap(), before);

    // What the message says to do.
    space.apply(&service("backend", "Member", "my-key")).await;
    space.ready::<SdkClient>("backend").await;
    counts(&operator, &space.api_key("my-key").await, "200").await;
    assert_eq!(space.get::<Secret>("key").await.unwrap(), before);
}

#[tokio::test]
async fn two_clients_do_not_share_a_secret() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "shared-secret").await;
    space.apply(&service("second", "Member", "key")).await;
    space.stands::<SdkClient>("second", "SecretConflict").await;
    // Whatever moves the Secret or the clients, it stays the first one's.
    space.merge::<Secret>("key", json!({"metadata": {"labels": {"moved": "yes"}}})).await;
    let described = with(service("second", "Member", "key"), "/spec/description", json!("mine!"));
    space.apply(&described).await;
    space.stands::<SdkClient>("second", "SecretConflict").await;
    space.ready::<SdkClient>("backend").await;
    assert_eq!(space.api_key("key").await, key);
    let holder = operator.validate(&key, None).await.json()["sdkClientId"].clone();
    assert_eq!(holder, metadata_id(&space.ready("backend").await));
}

#[tokio::test]
async fn another_secret_name_keeps_the_overlap() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "renamed").await;
    space.apply(&service("backend", "Member", "other")).await;
    let client: SdkClient = space.ready("backend").await;
    let new = space.api_key("other").await;
    assert_ne!(new, key);
    counts(&operator, &new, "200").await;
    counts(&operator, &key, "200").await;
    assert_is_previous(&client, &key);
    // An unrelated edit does not end the overlap, and neither does a lost status.
    let nothing = json!({"status": null});
    operator_patches_status(&space, "sdkclients", "backend", &nothing);
    assert_is_previous(&space.ready("backend").await, &key);
    counts(&operator, &key, "200").await;
    let events: Api<Event> = space.api();
    eventually("an Event reports the new name", async || {
        let all = events.list(&ListParams::default()).await.unwrap();
        let mut notes = all.iter().filter(|it| it.reason.as_deref() == Some("SecretNameChanged"));
        let note = notes.next().and_then(|it| it.note.clone()).ok_or("no Event")?;
        let parts = ["from `key` to `other`", "previous keys still valid: 1"];
        if parts.iter().all(|it| note.contains(it)) { Ok(()) } else { Err("another note") }
    })
    .await;
    // A deleted Secret refuses its keys, those of the former one included.
    space.api::<Secret>().delete("other", &DeleteParams::default()).await.unwrap();
    counts(&operator, &new, "401 api_key_unknown").await;
    counts(&operator, &key, "401 api_key_unknown").await;
}

/// The key was replaced, and is valid for the overlap of an hour.
fn assert_is_previous(client: &SdkClient, key: &str) {
    let keys = &client.status.as_ref().unwrap().keys;
    let old = keys.iter().find(|it| it.sha256 == sha256(key)).unwrap();
    assert_eq!((keys.len(), old.state), (2, ApiKeyState::Previous), "{keys:?}");
    let Time(end) = old.expires_at.as_ref().unwrap();
    let left = end.duration_since(Timestamp::now());
    assert!(left <= SignedDuration::from_hours(1), "{left}");
}

/// A name that is in use is a mistake, and not a revocation.
#[tokio::test]
async fn a_secret_name_that_is_taken_keeps_the_overlap() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "taken").await;
    space.apply(&foreign_secret("other")).await;
    space.apply(&service("backend", "Member", "other")).await;
    let client: SdkClient = space.stands("backend", "SecretConflict").await;
    assert!(client.status.unwrap().keys[0].expires_at.is_some());
    counts(&operator, &key, "200").await;
    // The Secret that contained the key still decides.
    space.api::<Secret>().delete("key", &DeleteParams::default()).await.unwrap();
    counts(&operator, &key, "401 api_key_unknown").await;
}

#[tokio::test]
async fn a_copied_key_is_used_for_the_client_that_had_it_first() {
    let operator = shared().await;
    // The older one.
    let (thief, _) = backend(&operator, "thief").await;
    let (space, key) = backend(&operator, "copied").await;
    thief.merge::<Secret>("key", json!({"stringData": {"apiKey": key}})).await;
    let copied: SdkClient = thief.stands("backend", "KeyConflict").await;
    let own = space.ready::<SdkClient>("backend").await.status.unwrap();
    assert!(copied.status.unwrap().keys.is_empty(), "a status lists only what is the client's");
    assert_eq!(own.keys[0].sha256, sha256(&key));
    let verdict = operator.validate(&key, None).await.json();
    assert_eq!(verdict["sdkClientId"], metadata_id(&space.ready("backend").await));
    // The record of the copy is not signed for the thief either.
    let secret: Secret = thief.get("key").await.unwrap();
    assert!(!secret.metadata.annotations.unwrap()["anon.dev/keys"].contains(&sha256(&key)));
    // A key of its own ends the conflict.
    thief.api::<Secret>().delete("key", &DeleteParams::default()).await.unwrap();
    replaced(&operator, &thief, &key_of_nobody()).await;
}

/// A well-formed key that no client has.
fn key_of_nobody() -> String {
    ApiKey::generate().unwrap().expose().to_owned()
}

/// Anyone who may edit Secrets in one organization, and read another, adds the hash of the other's key
/// to the record of a Secret.
#[tokio::test]
async fn a_hash_in_a_forged_record_takes_no_key() {
    let operator = shared().await;
    let (thief, own_key) = backend(&operator, "thief").await;
    let (space, key) = backend(&operator, "victim").await;
    let own: SdkClient = space.ready("backend").await;
    let published = &own.status.as_ref().unwrap().keys[0];
    let record = async || {
        let secret: Secret = thief.get("key").await.unwrap();
        secret.metadata.annotations.unwrap()["anon.dev/keys"].clone()
    };
    let before = record().await;
    let mut forged: Value = serde_json::from_str(&before).unwrap();
    forged.as_array_mut().unwrap().push(json!({
        "id": published.id, "sha256": published.sha256, "state": "Previous",
        "createdAt": "2026-01-01T00:00:00Z", "expiresAt": "2099-01-01T00:00:00Z",
    }));
    let annotations = json!({"anon.dev/keys": forged.to_string()});
    // As it is, and when status is computed anew.
    for lost in [false, true] {
        thief.merge::<Secret>("key", json!({"metadata": {"annotations": annotations}})).await;
        if lost {
            let nothing = json!({"status": null});
            operator_patches_status(&thief, "sdkclients", "backend", &nothing);
        }
        eventually("the record is repaired", async || {
            let now = record().await;
            if now.contains(&published.sha256) { Err(now) } else { Ok(()) }
        })
        .await;
        let verdict = operator.validate(&key, None).await.json();
        assert_eq!(verdict["sdkClientId"], metadata_id(&own), "{verdict}");
        let keys = thief.ready::<SdkClient>("backend").await.status.unwrap().keys;
        let hashes: Vec<_> = keys.into_iter().map(|key| key.sha256).collect();
        assert_eq!(hashes, [sha256(&own_key)]);
        counts(&operator, &own_key, "200").await;
    }
}

/// The hash of a delivered key stands in status. Who lists it has not got the key.
#[tokio::test]
async fn a_hash_that_is_only_listed_takes_no_delivered_key() {
    let operator = shared().await;
    let thief = Space::new("thief").await;
    let trap = |hashes: Value| {
        json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient", "metadata": {"name": "trap"},
            "spec": {"service": {"role": "Member", "apiKey": {"hashes": hashes}}},
        })
    };
    thief.apply(&trap(json!([]))).await;
    let (space, key) = backend(&operator, "victim").await;
    let own: SdkClient = space.ready("backend").await;
    let published = &own.status.as_ref().unwrap().keys[0];
    thief.apply(&trap(json!([{"id": published.id, "sha256": published.sha256}]))).await;
    thief.stands::<SdkClient>("trap", "KeyConflict").await;
    let verdict = operator.validate(&key, None).await.json();
    assert_eq!(verdict["sdkClientId"], metadata_id(&own));
}

/// `edit` may make a delivery Secret immutable. A rotation replaces it.
#[tokio::test]
async fn a_rotation_replaces_an_immutable_secret() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "immutable").await;
    let others = json!({"immutable": true, "metadata": {"labels": {"team": "shop"}}});
    space.merge::<Secret>("key", others).await;
    let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "1"}}});
    space.merge::<SdkClient>("backend", request).await;
    let new = eventually("there is a new key", async || {
        let new = space.value("key", "apiKey").await.ok_or("no Secret")?;
        if new == key { Err("the old key") } else { Ok(new) }
    })
    .await;
    counts(&operator, &new, "200").await;
    counts(&operator, &key, "200").await;
    let secret: Secret = space.get("key").await.unwrap();
    assert_eq!(secret.immutable, None);
    assert_eq!(secret.labels()["team"], "shop");
    let client: SdkClient = eventually("the replacement has ended", async || {
        let client: SdkClient = space.ready("backend").await;
        let status = client.status.as_ref().unwrap();
        if status.replacing.is_none() { Ok(client) } else { Err("it has not") }
    })
    .await;
    assert_is_previous(&client, &key);
    // A Secret that a user deletes refuses its keys all the same.
    space.api::<Secret>().delete("key", &DeleteParams::default()).await.unwrap();
    let newer = replaced(&operator, &space, &new).await;
    assert_ne!(newer, key);
    counts(&operator, &key, "401 api_key_unknown").await;
}

fn foreign_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"},
    })
}

/// Anyone who may write an object can empty its `managedFields`. What is withdrawn is removed all the
/// same.
#[tokio::test]
async fn status_is_withdrawn_whoever_owns_its_fields() {
    let operator = shared().await;
    let (space, key) = backend(&operator, "unmanaged").await;
    let nobody = json!({"metadata": {"managedFields": [{}]}});
    space.merge::<SdkClient>("backend", nobody).await;
    let client: SdkClient = space.get("backend").await.unwrap();
    assert!(client.metadata.managed_fields.is_none_or(|fields| fields.is_empty()));
    space.apply(&foreign_secret("other")).await;
    let rotation = json!({"interval": "24h", "overlap": "0s"});
    let delivery = json!({"secretName": "other", "rotation": rotation});
    let spec = json!({"spec": {"service": {"apiKey": {"delivery": delivery}}}});
    space.merge::<SdkClient>("backend", spec).await;
    let client: SdkClient = space.stands("backend", "SecretConflict").await;
    assert!(client.status.unwrap().keys.is_empty());
    counts(&operator, &key, "401 api_key_unknown").await;
}
