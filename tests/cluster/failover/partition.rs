//! One of three replicas loses the connection to the API server, and the others do not.

use std::time::Duration;

use anon_operator::testing::crd::{Revocation, SdkClient, UserPool, condition};
use anon_operator::testing::domain::credential::ApiKey;
use serde_json::json;

use crate::harness::cluster::{acknowledges, enforced, variable};
use crate::harness::operator::Setup;
use crate::harness::signing::{ask_to_rotate, finish_rotation, key_set};
use crate::harness::wait::expect;
use crate::harness::{Link, Operator, Space, Tenant, alone, eventually, service};

/// The Pod that a replica stands for.
fn pod(replica: usize) -> String {
    variable("ANON_OPERATOR_PODS").split(':').nth(replica).unwrap().to_owned()
}

async fn validator(replica: usize, link: Option<&Link>) -> Operator {
    let kubeconfig = link.map(Link::kubeconfig);
    let flags = vec!["--roles=validator".to_owned()];
    Operator::launch(Setup { replica, flags, kubeconfig, ..Setup::default() }).await
}

#[tokio::test]
async fn partitioned_validator_is_waited_for_and_answers_from_what_it_knew() {
    let _turn = alone().await;
    let link = Link::new(2);
    let leader = Operator::start(&[]).await;
    let (connected, partitioned) = (validator(1, None).await, validator(2, Some(&link)).await);
    let tenant = Tenant::new(&leader, "partition").await;
    let (space, web) = (&tenant.space, Some(tenant.web.as_str()));
    for replica in [&leader, &connected, &partitioned] {
        replica.gives(&tenant.key, None, "200").await;
        replica.gives(&tenant.token, web, "200").await;
    }

    link.stall();
    tenant.revoke("ada").await;
    ask_to_rotate(space, "users", "now").await;
    for replica in [&leader, &connected] {
        replica.gives(&tenant.token, web, "401 user_revoked").await;
    }
    let answers = async || {
        let unknown = ApiKey::generate().unwrap();
        // Issued now, by a replica that knows more.
        let token = tenant.mint(&leader, "bob").await;
        for (credential, client, verdict) in [
            (tenant.key.as_str(), None, "200"),
            (tenant.token.as_str(), web, "200"),
            (token.as_str(), web, "200"),
            (unknown.expose(), None, "401 api_key_unknown"),
        ] {
            assert_eq!(partitioned.validate(credential, client).await.verdict(), verdict);
        }
    };
    if acknowledges().await {
        let pod = pod(2);
        eventually("the Revocation names the validator that is missing", async || {
            answers().await;
            let revocation: Revocation = space.get("ada").await.unwrap();
            let conditions = revocation.status.unwrap_or_default().conditions;
            assert!(!condition::is_ready(&conditions), "{conditions:?}");
            let waiting = format!("waiting for: {pod}");
            let named = conditions.iter().any(|it| it.message.contains(&waiting));
            expect(named, format!("{conditions:?}"))
        })
        .await;
        eventually("the rotation names it, too", async || {
            answers().await;
            let pool: UserPool = space.get("users").await.unwrap();
            let conditions = pool.status.unwrap().conditions;
            let deferred = condition::find(&conditions, "RotationDeferred");
            let named = deferred.is_some_and(|it| it.message.contains(&pod));
            expect(named, format!("{conditions:?}"))
        })
        .await;
        let set = key_set(space, "users").await;
        assert!(
            set["keys"].as_array().unwrap().iter().all(|key| key["knownAt"].is_null()),
            "{set}"
        );
    } else {
        // Nobody is waited for: it is answered from what it knows nevertheless.
        space.ready::<Revocation>("ada").await;
        answers().await;
    }
    let silences = partitioned.silences().await;
    assert!(
        silences.iter().all(|it| *it > 8),
        "it says how long it has heard nothing: {silences:?}"
    );
    link.restore();
    partitioned.gives(&tenant.token, web, "401 user_revoked").await;
    let said = space.ready::<Revocation>("ada").await.status.unwrap().conditions;
    assert!(said[0].message.contains(&enforced(3).await), "{said:?}");
    finish_rotation(space, "users").await;
    let token = tenant.mint(&leader, "bob").await;
    for replica in [&leader, &connected, &partitioned] {
        replica.gives(&token, web, "200").await;
    }
}

#[tokio::test]
async fn partitioned_leader_stops_leading_and_keeps_answering() {
    let _turn = alone().await;
    let link = Link::new(0);
    let setup = Setup { kubeconfig: Some(link.kubeconfig()), ..Setup::default() };
    let partitioned = Operator::launch(setup).await;
    let space = Space::new("leader").await;
    space.apply(&service("before", "Member", "before")).await;
    space.ready::<SdkClient>("before").await;
    let key = space.api_key("before").await;
    partitioned.gives(&key, None, "200").await;
    let other = Operator::launch(Setup { replica: 1, ..Setup::default() }).await;
    assert!(partitioned.leads().await && !other.leads().await);

    link.stall();
    eventually("the other takes over", async || {
        assert_eq!(partitioned.validate(&key, None).await.verdict(), "200");
        let (both, leads) = (partitioned.leads().await, other.leads().await);
        assert!(!(both && leads), "two leaders");
        expect(leads, "not yet")
    })
    .await;
    space.apply(&service("after", "Member", "after")).await;
    eventually("the new leader works", async || {
        space.value("after", "apiKey").await.ok_or("no key yet")
    })
    .await;
    assert_eq!(partitioned.validate(&key, None).await.verdict(), "200");

    link.restore();
    space.merge::<SdkClient>("before", json!({"spec": {"suspended": true}})).await;
    for replica in [&partitioned, &other] {
        replica.gives(&key, None, "401 client_suspended").await;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < deadline {
        assert!(!partitioned.leads().await && other.leads().await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
