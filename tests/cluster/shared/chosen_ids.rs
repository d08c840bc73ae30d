//! Chosen clientIds: consent, one holder, and those who would like to have the id of another.

use anon_operator::testing::crd::SdkClient;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::harness::{Operator, Space, eventually, service, shared, with};

fn chosen(id: &str) -> Value {
    with(service("backend", "Member", "key"), "/spec/clientId", json!(id))
}

/// A cluster admin allows the id in this namespace.
async fn consent(space: &Space, id: &str) {
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    let patch = json!({"metadata": {"annotations": {"anon.dev/client-ids": id}}});
    let parameters = PatchParams::default();
    namespaces.patch(&space.name, &parameters, &Patch::Merge(&patch)).await.unwrap();
    touch(space).await;
}

/// Any change of the client makes the operator look again at once.
async fn touch(space: &Space) {
    let touch = json!({"metadata": {"annotations": {"touched": uuid::Uuid::new_v4()}}});
    space.merge::<SdkClient>("backend", touch).await;
}

async fn answers(operator: &Operator, key: &str, verdict: &str) {
    eventually(&format!("the verdict is {verdict}"), async || {
        let now = operator.validate(key, None).await.verdict();
        if now == verdict { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn a_chosen_client_id_needs_consent_and_has_one_holder() {
    let operator = shared().await;
    let id = uuid::Uuid::new_v4().to_string();
    // The older object, without consent: age alone gives no claim.
    let old = Space::new("older").await;
    old.apply(&chosen(&id)).await;
    let refused: SdkClient = old.stands("backend", "ClientIdNotAllowed").await;
    assert_eq!(refused.status.unwrap().client_id, None);
    assert!(old.get::<Secret>("key").await.is_none());

    let space = Space::new("chosen").await;
    space.apply(&chosen(&id)).await;
    consent(&space, &id).await;
    let ready: SdkClient = space.ready("backend").await;
    assert_eq!(ready.status.unwrap().client_id.as_deref(), Some(id.as_str()));
    assert_eq!(space.value("key", "clientId").await.unwrap(), id);
    let key = space.api_key("key").await;
    answers(&operator, &key, "200").await;

    // Others, allowed too, come later, be they older or younger: refused, and the recorded holder
    // is not disturbed.
    let late = Space::new("late").await;
    late.apply(&chosen(&id)).await;
    late.stands::<SdkClient>("backend", "ClientIdNotAllowed").await;
    for other in [&late, &old] {
        consent(other, &id).await;
        other.stands::<SdkClient>("backend", "ClientIdConflict").await;
    }
    assert_eq!(operator.validate(&key, None).await.json()["sdkClientId"], json!(id));

    for (change, said) in
        [(json!(null), "cannot be set"), (json!(uuid::Uuid::new_v4()), "cannot be set")]
    {
        let patch = json!({"spec": {"clientId": change}});
        let error = space.try_merge::<SdkClient>("backend", &patch).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // The id of a client that chose none cannot be chosen by another.
    let derived = chosen("fb18ec6c-7b4e-5bff-8551-f3fbf9c8f841");
    let error = Space::new("v5").await.try_apply(&derived).await.unwrap_err().to_string();
    assert!(error.contains("version 5"), "{error}");
}

/// The gap of a restore, in which the object does not exist, is when an id can be taken: only with
/// consent, and then it is reported and no caller is served as another one.
#[tokio::test]
async fn nobody_without_consent_gets_an_id_around_a_restore() {
    let operator = shared().await;
    let id = uuid::Uuid::new_v4().to_string();
    let space = Space::new("restored").await;
    space.apply(&chosen(&id)).await;
    consent(&space, &id).await;
    space.ready::<SdkClient>("backend").await;
    let key = space.api_key("key").await;
    let (thief, rival) = (Space::new("thief").await, Space::new("rival").await);
    for other in [&thief, &rival] {
        other.apply(&chosen(&id)).await;
    }
    thief.stands::<SdkClient>("backend", "ClientIdNotAllowed").await;
    consent(&rival, &id).await;
    rival.stands::<SdkClient>("backend", "ClientIdConflict").await;

    // The object is lost, and its Secret with it. The thief gets nothing, the rival the id.
    let backup: Secret = space.get("key").await.unwrap();
    space.delete::<SdkClient>("backend").await;
    space.delete::<Secret>("key").await;
    answers(&operator, &key, "401 api_key_unknown").await;
    touch(&thief).await;
    touch(&rival).await;
    rival.ready::<SdkClient>("backend").await;
    let rivals_key = rival.api_key("key").await;
    answers(&operator, &rivals_key, "200").await;
    thief.stands::<SdkClient>("backend", "ClientIdNotAllowed").await;

    // The restore: the Secret first, then the object, as new objects without a status.
    let ObjectMeta { name, labels, annotations, .. } = backup.metadata;
    let metadata = ObjectMeta { name, labels, annotations, ..ObjectMeta::default() };
    let restored = Secret { metadata, data: backup.data, ..Secret::default() };
    space.api::<Secret>().create(&PostParams::default(), &restored).await.unwrap();
    space.apply(&chosen(&id)).await;
    space.stands::<SdkClient>("backend", "ClientIdConflict").await;
    assert_eq!(operator.validate(&key, None).await.verdict(), "401 api_key_unknown");
    let holder = operator.validate(&rivals_key, None).await.json();
    assert_eq!((&holder["sdkClientId"], &holder["active"]), (&json!(id), &json!(true)));

    // Once the rival gives it up, the client is what it was, with the key that was restored.
    rival.delete::<SdkClient>("backend").await;
    touch(&space).await;
    space.ready::<SdkClient>("backend").await;
    assert_eq!(space.api_key("key").await, key);
    answers(&operator, &key, "200").await;
    answers(&operator, &rivals_key, "401 api_key_unknown").await;
    touch(&thief).await;
    thief.stands::<SdkClient>("backend", "ClientIdNotAllowed").await;
}
