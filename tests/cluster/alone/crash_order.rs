//! The order of writes, proven: an operator that dies right after its n-th write, for every n, and
//! the next one finishes the job. Nothing is lost, doubled or leaked.

use anon_operator::testing::crd::{Revocation, SdkClient};
use anon_operator::testing::domain::stored_key::ApiKeyState;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::books::{balance, sha256};
use crate::harness::fuse::{run_until, run_until_dead};
use crate::harness::{Operator, Space, alone, eventually, service};

async fn client(space: &Space) -> SdkClient {
    space.get("backend").await.unwrap()
}

async fn current(space: &Space) -> Option<String> {
    let keys = client(space).await.status.unwrap_or_default().keys;
    keys.into_iter().find(|key| key.state == ApiKeyState::Current).map(|key| key.sha256)
}

/// Status and Secret agree, and the key is valid.
async fn settled(operator: &Operator, space: &Space, secret: &str) -> String {
    eventually("status tells of the key in the Secret", async || {
        let key = space.value(secret, "apiKey").await.ok_or_else(|| "no Secret".to_owned())?;
        let keys = client(space).await.status.unwrap_or_default().keys;
        let next = keys.iter().any(|key| key.state == ApiKeyState::Next);
        let agree = current(space).await == Some(sha256(&key));
        if agree && !next && operator.validate(&key, None).await.verdict() == "200" {
            Ok(key)
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn dead_after_each_write_of_a_creation() {
    let _turn = alone().await;
    for writes in 0..2 {
        let space = Space::new("create").await;
        space.apply(&service("backend", "Member", "key")).await;
        assert!(run_until_dead(writes, &[]).await, "{writes} writes");
        let operator = Operator::start(&[]).await;
        space.ready::<SdkClient>("backend").await;
        settled(&operator, &space, "key").await;
        balance(&space, 1, 0).await;
        operator.stop().await;
    }
}

#[tokio::test]
async fn dead_after_each_write_of_a_rotation() {
    let _turn = alone().await;
    // Next in status, perhaps the validators that it waits for, the Secret, Current in status.
    let (mut writes, mut delivered) = (0, false);
    while !delivered {
        let space = Space::new("rotate").await;
        let operator = Operator::start(&[]).await;
        space.apply(&service("backend", "Member", "key")).await;
        space.ready::<SdkClient>("backend").await;
        let old = settled(&operator, &space, "key").await;
        operator.stop().await;

        let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "now"}}});
        space.merge::<SdkClient>("backend", request).await;
        assert!(run_until_dead(writes, &[]).await, "{writes} writes");
        let keys = client(&space).await.status.unwrap().keys;
        let next = keys.iter().find(|key| key.state == ApiKeyState::Next);
        assert_eq!(next.is_some(), writes > 0, "{writes} writes: {keys:?}");
        // Of unknown age it would be older than whatever a Revocation names.
        assert!(next.is_none_or(|next| next.created_at.is_some()), "{keys:?}");
        delivered = space.value("key", "apiKey").await.as_ref() != Some(&old);

        let operator = Operator::start(&[]).await;
        let new = eventually("the key was rotated", async || {
            let key = settled(&operator, &space, "key").await;
            if key == old { Err("the old key") } else { Ok(key) }
        })
        .await;
        assert_ne!(old, new);
        assert_eq!(operator.validate(&old, None).await.verdict(), "200", "within the overlap");
        let keys = client(&space).await.status.unwrap().keys;
        assert_eq!(keys.len(), 2, "one rotation, not two: {keys:?}");
        operator.stop().await;
        writes += 1;
    }
}

/// Starts with a client whose key is in the Secret `key`, edits it by `edit`, and kills an operator
/// after so many writes. The next one has a new key in the Secret `name`; the old one is in its
/// overlap, and was never refused. Returns what `killed` makes of the state in between.
async fn replaced_within_the_overlap<T>(
    name: &str,
    writes: usize,
    edit: impl AsyncFn(&Space),
    killed: impl Fn(&SdkClient, Option<Secret>) -> T,
) -> T {
    let space = Space::new("former").await;
    let operator = Operator::start(&[]).await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    let old = settled(&operator, &space, "key").await;
    operator.stop().await;

    edit(&space).await;
    assert!(run_until_dead(writes, &[]).await, "{writes} writes");
    let found = killed(&client(&space).await, space.get(name).await);

    let operator = Operator::start(&[]).await;
    assert_eq!(operator.validate(&old, None).await.verdict(), "200", "{writes} writes");
    eventually("there is a new key", async || {
        let key = settled(&operator, &space, name).await;
        if key == old { Err("the old key") } else { Ok(()) }
    })
    .await;
    assert_eq!(operator.validate(&old, None).await.verdict(), "200", "within the overlap");
    let status = client(&space).await.status.unwrap();
    let states: Vec<_> = status.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [ApiKeyState::Previous, ApiKeyState::Current], "{writes} writes");
    assert!(status.keys[0].expires_at.is_some() && status.replacing.is_none(), "{status:?}");
    assert_eq!(space.get::<Secret>(name).await.unwrap().immutable, None);
    operator.stop().await;
    found
}

#[tokio::test]
async fn dead_after_each_write_of_another_secret_name() {
    let _turn = alone().await;
    // The new Secret, status.
    for writes in 0..2 {
        let edit = async |space: &Space| {
            drop(space.apply(&service("backend", "Member", "other")).await);
        };
        replaced_within_the_overlap("other", writes, edit, |client, new| {
            assert_eq!(new.is_some(), writes > 0, "{writes} writes");
            let status = client.status.as_ref().unwrap();
            assert_eq!(status.secret_name.as_deref(), Some("key"), "{writes} writes");
        })
        .await;
    }
}

/// What the writes that replace an immutable Secret have done so far, in their order.
#[derive(Debug, PartialEq)]
enum Replacement {
    Nothing,
    NextInStatus,
    Announced,
    Deleted,
    Created,
}

fn replacement(client: &SdkClient, secret: Option<Secret>) -> Replacement {
    let status = client.status.as_ref().unwrap();
    let next = status.keys.iter().any(|key| key.state == ApiKeyState::Next);
    let immutable = secret.as_ref().is_some_and(|secret| secret.immutable == Some(true));
    match (next, status.replacing.is_some(), secret.is_some(), immutable) {
        (false, false, true, true) => Replacement::Nothing,
        (true, false, true, true) => Replacement::NextInStatus,
        (true, true, true, true) => Replacement::Announced,
        (true, true, false, false) => Replacement::Deleted,
        (true, true, true, false) => Replacement::Created,
        other => panic!("(next, replacing, Secret, immutable) is {other:?}"),
    }
}

#[tokio::test]
async fn dead_after_each_write_that_replaces_an_immutable_secret() {
    let _turn = alone().await;
    // Status can tell in between of the validators that it waits for, so what was written is judged
    // by what is there, not by the number of writes.
    let mut reached = Vec::new();
    while reached.last() != Some(&Replacement::Created) {
        let edit = async |space: &Space| {
            space.merge::<Secret>("key", json!({"immutable": true})).await;
            let request = json!({"metadata": {"annotations": {"anon.dev/rotate": "now"}}});
            space.merge::<SdkClient>("backend", request).await;
        };
        reached.push(replaced_within_the_overlap("key", reached.len(), edit, replacement).await);
    }
    reached.dedup();
    let all = [
        Replacement::Nothing,
        Replacement::NextInStatus,
        Replacement::Announced,
        Replacement::Deleted,
        Replacement::Created,
    ];
    assert_eq!(reached, all);
}

#[tokio::test]
async fn dead_after_each_write_of_a_revocation() {
    let _turn = alone().await;
    // What the Revocation matches, the new key's Secret, the client's status, and the Revocation's own,
    // in any order. It can have written the first of them itself, with its status.
    for writes in 0..4 {
        let space = Space::new("revoke").await;
        let operator = Operator::start(&[]).await;
        space.apply(&service("backend", "Member", "key")).await;
        space.ready::<SdkClient>("backend").await;
        let old = settled(&operator, &space, "key").await;
        operator.stop().await;

        space
            .apply(&json!({
                "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "leak"},
                "spec": {"sdkClient": {"name": "backend", "keyIds": [&sha256(&old)[..16]]}},
            }))
            .await;
        let finished = async {
            space.ready::<Revocation>("leak").await;
            eventually("the revoked key was replaced", async || {
                let now = current(&space).await;
                if now.is_none() || now == Some(sha256(&old)) { Err("not yet") } else { Ok(()) }
            })
            .await;
        };
        assert!(run_until(writes, &[], finished).await || writes == 3, "{writes} writes");

        let operator = Operator::start(&[]).await;
        // Whatever was destroyed before, it is known that it was there.
        let status = space.ready::<Revocation>("leak").await.status.unwrap();
        assert_eq!(status.matched[0].id, sha256(&old)[..16]);
        let new = eventually("the revoked key was replaced", async || {
            let key = settled(&operator, &space, "key").await;
            if key == old { Err("the revoked key") } else { Ok(key) }
        })
        .await;
        assert_ne!(operator.validate(&old, None).await.verdict(), "200");
        assert_ne!(old, new);
        // A restored Secret brings the revoked key back into the cluster, not into service.
        let restored = json!({"stringData": {"apiKey": old}});
        space.merge::<Secret>("key", restored).await;
        eventually("the restored key was replaced", async || {
            let key = settled(&operator, &space, "key").await;
            if key == old { Err("the revoked key") } else { Ok(()) }
        })
        .await;
        assert_ne!(operator.validate(&old, None).await.verdict(), "200");
        operator.stop().await;
    }
}

#[tokio::test]
async fn dead_before_the_sweep_of_a_deleted_client() {
    let _turn = alone().await;
    let space = Space::new("delete").await;
    let operator = Operator::start(&[]).await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    let key = settled(&operator, &space, "key").await;
    operator.stop().await;
    space.delete::<SdkClient>("backend").await;

    assert!(run_until_dead(0, &["--orphan-grace=1s"]).await, "it wants to sweep");
    assert!(space.get::<Secret>("key").await.is_some());
    let operator = Operator::start(&["--orphan-grace=1s"]).await;
    assert_eq!(operator.validate(&key, None).await.verdict(), "401 api_key_unknown");
    eventually("the Secret is swept", async || {
        space.get::<Secret>("key").await.map_or(Ok(()), |_| Err("it is there"))
    })
    .await;
}
