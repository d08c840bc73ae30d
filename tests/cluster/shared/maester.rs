//! The failures that were provoked in hydra-maester, the closest peer: each is something that its
//! users ran into, and none of them may happen here.

use anon_operator::testing::crd::SdkClient;
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use crate::harness::audit::operator_writes_for;
use crate::harness::{Operator, Space, alone, eventually, service, shared};

/// 1 and 2: a backend that refuses. Maester says Ready=True in between and hammers it (658 POSTs
/// in ten seconds), or never tries again.
#[tokio::test]
async fn a_refused_write_is_said_is_not_hammered_and_is_tried_again() {
    let operator = shared().await;
    let space = Space::new("refused").await;
    let quota = space.refuse("Secret").await;
    space.apply(&service("backend", "Member", "key")).await;
    let refused = space.stands::<SdkClient>("backend", "Refused").await;
    let ready = &refused.status.as_ref().unwrap().conditions[0];
    assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "False"));
    assert!(ready.message.contains("exceeded quota"), "{}", ready.message);

    // Tries are spaced out: doubling from half a second, a handful by the time this is over.
    let tries =
        || operator_writes_for(&space).iter().filter(|it| it.what() == "create secrets").count();
    eventually("it is tried again", async || if tries() >= 3 { Ok(()) } else { Err(tries()) })
        .await;
    assert!(tries() < 10, "{} tries", tries());

    space.delete::<ResourceQuota>(&quota).await;
    space.ready::<SdkClient>("backend").await;
    assert_eq!(operator.validate(&space.api_key("key").await, None).await.verdict(), "200");
}

/// 3 and 4: a change behind the operator's back. Maester never looks again.
#[tokio::test]
async fn drift_is_repaired_at_once() {
    let operator = shared().await;
    let space = Space::new("drift").await;
    space.apply(&service("backend", "Member", "key")).await;
    let client = space.ready::<SdkClient>("backend").await;
    let id = client.status.unwrap().client_id.unwrap();
    let key = space.api_key("key").await;

    space.merge::<Secret>("key", json!({"stringData": {"clientId": "edited"}})).await;
    eventually("the entry is repaired", async || {
        let now = space.value("key", "clientId").await.unwrap();
        if now == id { Ok(()) } else { Err(now) }
    })
    .await;
    assert_eq!(space.api_key("key").await, key, "the key is left alone");

    // A key of the right form is taken up: that is how one moves in from elsewhere.
    let own = anon_operator::testing::domain::credential::ApiKey::generate().unwrap();
    space.merge::<Secret>("key", json!({"stringData": {"apiKey": own.expose()}})).await;
    operator.gives(own.expose(), None, "200").await;
    eventually("the old one does not", async || {
        let verdict = operator.validate(&key, None).await.verdict();
        if verdict == "200" { Err("it does") } else { Ok(()) }
    })
    .await;
}

/// 5: the Secret deleted by hand. Maester makes a new client id and deletes the old client.
#[tokio::test]
async fn a_deleted_secret_keeps_the_client_id() {
    let _operator = shared().await;
    let space = Space::new("deleted").await;
    space.apply(&service("backend", "Member", "key")).await;
    let id = |client: SdkClient| client.status.unwrap().client_id.unwrap();
    let before = id(space.ready("backend").await);
    let key = space.api_key("key").await;
    space.api::<Secret>().delete("key", &DeleteParams::default()).await.unwrap();
    eventually("there is a new key", async || match space.value("key", "apiKey").await {
        Some(new) if new != key => Ok(()),
        _ => Err("not yet"),
    })
    .await;
    assert_eq!(id(space.ready("backend").await), before);
    assert_eq!(space.value("key", "clientId").await.unwrap(), before);
}

/// 6: more objects than a page. Maester reads the first page and never collects the rest.
#[tokio::test]
async fn nothing_stays_behind_beyond_the_first_page() {
    const MANY: usize = 120;
    let _turn = alone().await;
    let operator = Operator::start(&["--orphan-grace=1s"]).await;
    let space = Space::new("pages").await;
    for n in 0..MANY {
        space.apply(&service(&format!("c{n}"), "ReadOnly", &format!("key-{n}"))).await;
    }
    for n in 0..MANY {
        space.ready::<SdkClient>(&format!("c{n}")).await;
    }
    let all: Api<SdkClient> = space.api();
    all.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    eventually("every Secret is swept", async || {
        let ours = ListParams::default().labels("anon.dev/component=api-key");
        let left = space.api::<Secret>().list(&ours).await.unwrap().items.len();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    drop(operator);
    // 7, two replicas that make everything twice, is in `two_operators` and `two_leaders`.
}
