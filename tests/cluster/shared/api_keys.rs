//! What one can do with ApiKeys, on a real cluster.

use anon_operator::testing::crd::{Revocation, SdkClient};
use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::stored_key::ApiKeyState;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::harness::cluster::{enforced, minor_version};
use crate::harness::{Operator, Space, eventually, immediately, service, shared, with};

const DELIVERY: &str = "/spec/service/apiKey/delivery";

/// A client that accepts keys made elsewhere.
fn by_hash(name: &str, role: &str, keys: &[&ApiKey]) -> Value {
    let entry = |key: &&ApiKey| json!({"id": key.hash().id(), "sha256": key.hash().to_string()});
    let hashes: Vec<_> = keys.iter().map(entry).collect();
    let key = json!({"hashes": hashes});
    with(service(name, role, "x"), "/spec/service/apiKey", key)
}

async fn counts(operator: &Operator, key: &str, verdict: &str) {
    eventually(&format!("the verdict is {verdict}"), async || {
        let now = operator.validate(key, None).await.verdict();
        if now == verdict { Ok(()) } else { Err(now) }
    })
    .await;
}

async fn states(space: &Space, name: &str) -> Vec<ApiKeyState> {
    let client: SdkClient = space.get(name).await.unwrap();
    client.status.unwrap_or_default().keys.iter().map(|key| key.state).collect()
}

async fn ask_to_rotate(space: &Space, value: &str) {
    let request = json!({"metadata": {"annotations": {"anon.dev/rotate": value}}});
    space.merge::<SdkClient>("backend", request).await;
}

#[tokio::test]
async fn the_old_key_counts_until_the_end_of_the_overlap() {
    let operator = shared().await;
    let space = Space::new("overlap").await;
    let rotation = json!({"interval": "24h", "overlap": "10s"});
    let client =
        with(service("backend", "Member", "key"), &format!("{DELIVERY}/rotation"), rotation);
    // A request that is there at first sight is not acted on.
    space
        .apply(&with(client, "/metadata/annotations", json!({"anon.dev/rotate": "restored"})))
        .await;
    let ready: SdkClient = space.ready("backend").await;
    assert!(ready.status.unwrap().next_rotation.is_some());
    let old = space.api_key("key").await;
    assert_eq!(states(&space, "backend").await, [ApiKeyState::Current]);

    ask_to_rotate(&space, "now").await;
    let new = eventually("the key was rotated", async || {
        let key = space.api_key("key").await;
        if key == old { Err("the old key") } else { Ok(key) }
    })
    .await;
    assert_eq!(
        operator.validate(&new, None).await.verdict(),
        "200",
        "known before it was delivered"
    );
    assert_eq!(operator.validate(&old, None).await.verdict(), "200");
    // The verdict changes with the clock, not with a write.
    eventually("the overlap ends", async || {
        let verdict = operator.validate(&old, None).await.verdict();
        if verdict.starts_with("401 api_key_") { Ok(()) } else { Err(verdict) }
    })
    .await;
    eventually("status forgets the old key", async || {
        let states = states(&space, "backend").await;
        if states == [ApiKeyState::Current] { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    assert_eq!(operator.validate(&new, None).await.verdict(), "200");
}

#[tokio::test]
async fn more_rotations_than_keys_may_live_wait_and_say_so() {
    let _operator = shared().await;
    let space = Space::new("deferred").await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    for n in 1..=8 {
        ask_to_rotate(&space, &n.to_string()).await;
        eventually("it is done", async || {
            let states = states(&space, "backend").await;
            let done = states.len() == n + 1 && !states.contains(&ApiKeyState::Next);
            if done { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
    }
    ask_to_rotate(&space, "9").await;
    eventually("it is deferred", async || {
        let client: SdkClient = space.get("backend").await.unwrap();
        let conditions = client.status.unwrap().conditions;
        let said = conditions.iter().find(|condition| condition.type_ == "RotationDeferred");
        match said {
            Some(said) if said.reason == "TooManyKeys" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn entries_labels_and_annotations_of_the_secret() {
    let _operator = shared().await;
    let space = Space::new("entries").await;
    let delivery = json!({
        "secretName": "key", "keyNames": {"apiKey": "ANON_API_KEY", "clientId": "ANON_CLIENT_ID"},
        "labels": {"team": "shop"}, "annotations": {"reloader.stakater.com/match": "true"},
    });
    space.apply(&with(service("backend", "ReadOnly", "key"), DELIVERY, delivery.clone())).await;
    space.ready::<SdkClient>("backend").await;
    let secret: Secret = space.get("key").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let names: Vec<_> = secret.data.as_ref().unwrap().keys().cloned().collect();
    assert_eq!(names, ["ANON_API_KEY", "ANON_CLIENT_ID", "baseUrl", "organizationId"]);
    assert_eq!(secret.metadata.labels.unwrap()["team"], "shop");
    let key = space.value("key", "ANON_API_KEY").await.unwrap();

    // Another name for the entry and no label: the key is the same.
    let mut renamed = delivery;
    renamed["keyNames"] = json!({"apiKey": "KEY"});
    if minor_version().await >= 35 {
        renamed["labels"] = json!({});
    } else {
        // There, a server-side apply that takes the last item away makes the map null: 422.
        renamed.as_object_mut().unwrap().remove("labels");
    }
    space.apply(&with(service("backend", "ReadOnly", "key"), DELIVERY, renamed)).await;
    eventually("the label is gone", async || {
        let labels = space.get::<Secret>("key").await.unwrap().metadata.labels.unwrap();
        if labels.contains_key("team") { Err(format!("{labels:?}")) } else { Ok(()) }
    })
    .await;
    let new = space.value("key", "KEY").await.expect("the renamed entry");
    assert_eq!(new, key, "an entry of another name is no other key");

    for reserved in ["argocd.argoproj.io/instance", "app.kubernetes.io/name", "anon.dev/id"] {
        let labels = json!({"secretName": "other", "labels": {reserved: "x"}});
        let refused = space.try_apply(&with(service("bad", "Member", "x"), DELIVERY, labels)).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("reserved"), "{error}");
    }
}

#[tokio::test]
async fn keys_made_elsewhere() {
    let operator = shared().await;
    let space = Space::new("hashes").await;
    let [first, second] = [ApiKey::generate().unwrap(), ApiKey::generate().unwrap()];
    space.apply(&by_hash("ci", "Admin", &[&first])).await;
    space.ready::<SdkClient>("ci").await;
    counts(&operator, first.expose(), "200").await;
    let reply = operator.validate(first.expose(), None).await;
    assert_eq!(reply.json()["role"], "Admin");
    // To rotate: add, then remove.
    space.apply(&by_hash("ci", "Admin", &[&first, &second])).await;
    counts(&operator, second.expose(), "200").await;
    counts(&operator, first.expose(), "200").await;
    space.apply(&by_hash("ci", "Admin", &[&second])).await;
    counts(&operator, first.expose(), "401 api_key_unknown").await;
    space.ready::<SdkClient>("ci").await;
    // Nothing was stored but hashes.
    let secrets = space.api::<Secret>().list(&kube::api::ListParams::default()).await.unwrap();
    assert!(secrets.items.is_empty());

    // What may be used is what status lists.
    let ci: SdkClient = space.ready("ci").await;
    let listed: Vec<_> = ci.status.unwrap().keys.into_iter().map(|key| key.sha256).collect();
    assert_eq!(listed, [second.hash().to_string()]);

    // The same hash in another client: the one that has it keeps it, and the other says so.
    let other = Space::new("thief").await;
    other.apply(&by_hash("ci", "ReadOnly", &[&second])).await;
    other.stands::<SdkClient>("ci", "KeyConflict").await;
    assert_eq!(operator.validate(second.expose(), None).await.json()["role"], "Admin");
    let mut entry = by_hash("ended", "Member", &[&first]);
    entry["spec"]["service"]["apiKey"]["hashes"][0]["expiresAt"] = json!("2026-01-01T00:00:00Z");
    other.apply(&entry).await;
    counts(&operator, first.expose(), "401 api_key_expired").await;
}

#[tokio::test]
async fn revocation_of_keys() {
    let operator = shared().await;
    let space = Space::new("revoked").await;
    let made = ApiKey::generate().unwrap();
    space.apply(&by_hash("ci", "Member", &[&made])).await;
    space.ready::<SdkClient>("ci").await;
    counts(&operator, made.expose(), "200").await;
    let revocation = |name: &str, keys: Value| {
        json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": name},
            "spec": {"sdkClient": keys},
        })
    };
    space.apply(&revocation("leak", json!({"name": "ci", "keyIds": [made.hash().id()]}))).await;
    immediately("the key is refused", async || {
        let verdict = operator.validate(made.expose(), None).await.verdict();
        if verdict == "401 api_key_revoked" { Ok(()) } else { Err(verdict) }
    })
    .await;
    let ready: Revocation = space.ready("leak").await;
    assert!(ready.status.unwrap().conditions[0].message.contains(&enforced(1).await));

    // It cannot be changed, and it outlives its client.
    let wider = json!({"spec": {"reason": "another"}});
    let error = space.try_merge::<Revocation>("leak", &wider).await.unwrap_err().to_string();
    assert!(error.contains("a Revocation is immutable"), "{error}");
    space.delete::<SdkClient>("ci").await;
    space.apply(&by_hash("ci", "Member", &[&made])).await;
    space.ready::<SdkClient>("ci").await;
    counts(&operator, made.expose(), "401 api_key_revoked").await;

    // By age: a key of unknown age counts as oldest.
    let other = ApiKey::generate().unwrap();
    space.apply(&by_hash("old", "Member", &[&other])).await;
    counts(&operator, other.expose(), "200").await;
    let before = json!({"name": "old", "keysCreatedBefore": "2020-01-01T00:00:00Z"});
    space.apply(&revocation("old", before)).await;
    counts(&operator, other.expose(), "401 api_key_revoked").await;
    // Taken back by deleting it.
    space.delete::<Revocation>("old").await;
    counts(&operator, other.expose(), "200").await;

    let error = space.try_apply(&revocation("nothing", json!({"name": "ci"}))).await.unwrap_err();
    assert!(error.to_string().contains("specify which keys"), "{error}");
}

/// A key that replaces one which is revoked by its age must not be revoked itself, nor any that comes
/// after it, for as long as the Revocation stands.
#[tokio::test]
async fn delivered_keys_revoked_by_age_are_replaced_once_and_rotate_on() {
    let operator = shared().await;
    let space = Space::new("aged").await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    let stolen = space.api_key("key").await;
    // A time to come, of which as much counts as is over when the object is made.
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "all"},
            "spec": {"sdkClient": {"name": "backend", "keysCreatedBefore": "2099-01-01T00:00:00Z"}},
        }))
        .await;
    immediately("the stolen key is refused", async || {
        let verdict = operator.validate(&stolen, None).await.verdict();
        if verdict.starts_with("401 api_key_") { Ok(()) } else { Err(verdict) }
    })
    .await;
    space.ready::<Revocation>("all").await;
    let second = eventually("it is replaced", async || {
        let key = space.api_key("key").await;
        let verdict = operator.validate(&key, None).await.verdict();
        if key != stolen && verdict == "200" { Ok(key) } else { Err(verdict) }
    })
    .await;
    // The consumer's view of a rotation: every key that is ever in the Secret counts.
    ask_to_rotate(&space, "now").await;
    eventually("it is rotated", async || {
        let key = space.api_key("key").await;
        let verdict = operator.validate(&key, None).await.verdict();
        assert_eq!(verdict, "200", "a key in the Secret is refused");
        let states = states(&space, "backend").await;
        let done = key != second && states == [ApiKeyState::Previous, ApiKeyState::Current];
        if done { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    assert_eq!(operator.validate(&second, None).await.verdict(), "200", "replaced only once");
}
