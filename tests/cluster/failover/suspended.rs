//! A replica that is stopped in the middle of its work: nobody takes it for done, and when it goes
//! on, it does not answer from what it knew.

use std::time::{Duration, Instant};

use anon_operator::testing::crd::{
    Member, Organization, Revocation, SdkClient, UserPool, condition,
};
use serde_json::{Value, json};

use crate::harness::cluster::{acknowledges, enforced};
use crate::harness::operator::Setup;
use crate::harness::{Operator, Space, alone, eventually, member, organization, quick_pool};

/// Changes an object of every kind: a replica that may not have been deaf for long is told nothing
/// for up to a minute where nothing happens.
async fn stir(space: &Space) {
    let stirred = || json!({"metadata": {"annotations": {"stirred": uuid::Uuid::new_v4()}}});
    space.merge::<Organization>("default", stirred()).await;
    space.merge::<Member>("ada", stirred()).await;
    space.merge::<UserPool>("users", stirred()).await;
    space.merge::<SdkClient>("web", stirred()).await;
    space.merge::<Revocation>("other", stirred()).await;
}

fn revocation(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": name},
        "spec": spec,
    })
}

#[tokio::test]
async fn a_suspended_validator_is_waited_for_and_does_not_accept_what_was_revoked() {
    let _turn = alone().await;
    let leader = Operator::start(&[]).await;
    let flags = ["--roles=validator", "--max-staleness=3s"].map(str::to_owned).to_vec();
    let sleeper = Operator::launch(Setup { replica: 1, flags, ..Setup::default() }).await;
    let space = Space::new("suspended").await;
    space.apply(&quick_pool("users")).await;
    let ada = member("ada", "ReadOnly", json!({"serviceAccount": {"name": "ada"}}));
    let other = json!({"userPool": {"name": "users", "subjects": ["somebody else"]}});
    space.apply_all(&[organization("default", json!({})), ada, revocation("other", &other)]).await;
    let (web, key) = space.web_and_backend().await;
    let token = leader.minted(&key, &json!({"appUserId": "ada", "sdkClientId": web})).await;
    eventually("the token is valid", async || {
        stir(&space).await;
        let verdict = sleeper.validate(&token, Some(&web)).await.verdict();
        if verdict == "200" { Ok(()) } else { Err(verdict) }
    })
    .await;

    sleeper.pause().await;
    let stopped = Instant::now();
    let spec = json!({"userPool": {"name": "users", "subjects": ["ada"]}});
    space.apply(&revocation("ada", &spec)).await;
    let pod = std::env::var("ANON_OPERATOR_PODS").unwrap();
    let pod = pod.split(':').nth(1).unwrap();
    if acknowledges().await {
        eventually("the status names the one that is waited for", async || {
            let revocation = space.get::<Revocation>("ada").await.unwrap();
            let conditions = revocation.status.unwrap_or_default().conditions;
            assert!(!condition::is_ready(&conditions), "a stopped replica was counted as done");
            let named = conditions.iter().any(|it| it.message.contains(pod));
            if named { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    } else {
        // The time after which a write is assumed to be known is longer than `--max-staleness`.
        space.ready::<Revocation>("ada").await;
    }
    assert!(stopped.elapsed() > Duration::from_secs(3));

    // The request is there before the replica goes on: it says that it cannot tell, or that the
    // user is revoked, if it has learned of that meanwhile.
    let asked = sleeper.validate(&token, Some(&web));
    let go_on = async {
        tokio::task::yield_now().await;
        sleeper.signal("CONT");
    };
    let (reply, ()) = tokio::join!(asked, go_on);
    let verdict = reply.verdict();
    assert!(["503 index_stale", "401 user_revoked"].contains(&verdict.as_str()), "{verdict}");
    eventually("it knows of the revocation", async || {
        stir(&space).await;
        let verdict = sleeper.validate(&token, Some(&web)).await.verdict();
        assert_ne!(verdict, "200");
        if verdict == "401 user_revoked" { Ok(()) } else { Err(verdict) }
    })
    .await;
    let said = space.ready::<Revocation>("ada").await.status.unwrap().conditions;
    assert!(said[0].message.contains(&enforced(2).await), "{said:?}");
}
