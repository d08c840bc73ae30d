//! Two Admins who leave at the same time, on two replicas.

use anon_operator::testing::crd;
use anon_operator::testing::domain::role::Role;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::caller::Caller;
use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually};

/// Enough that some of them meet: without the marks about every second pair does.
const ROUNDS: usize = 12;

async fn admins(space: &Space) -> Vec<String> {
    let members = space.api::<crd::Member>().list(&ListParams::default()).await.unwrap();
    let admins = members.items.into_iter().filter(|it| it.spec.role == Role::Admin);
    admins.map(|it| it.metadata.name.unwrap()).collect()
}

#[tokio::test]
async fn one_admin_is_left() {
    let _turn = alone().await;
    let one = Operator::start(&[]).await;
    let two = Operator::launch(Setup { replica: 1, ..Setup::default() }).await;
    let space = Space::new("admins").await;
    let ada = Caller::ada(&one, &space).await;
    let there = ada.at(&two);
    eventually("the session is valid there too", async || {
        let (status, _) = there.call("GET", "/org/members", &json!({})).await;
        expect(status == 200, status)
    })
    .await;
    let own = format!("/org/member/{}", ada.id().await);
    let mut left = 0;
    for round in 0..ROUNDS {
        // Bob is an Admin too; both are demoted, or one of them deleted, at once.
        let bob = json!({
            "name": format!("bob-{round}"), "email": format!("bob-{round}@acme.example"),
            "password": "correct horse", "role": "Admin",
        });
        let bob = ada.ok("POST", "/org/member", bob).await;
        let bob = format!("/org/member/{}", bob["id"].as_str().unwrap());
        let demotion = json!({"role": "Member"});
        let method = if round % 2 == 0 { "PATCH" } else { "DELETE" };
        eventually("both replicas know Bob", async || {
            let (status, _) = there.call("GET", &bob, &json!({})).await;
            expect(status == 200, status)
        })
        .await;
        let (a, b) =
            tokio::join!(ada.call("PATCH", &own, &demotion), there.call(method, &bob, &demotion));
        for (status, reply) in [&a, &b] {
            assert!([200, 401, 403, 422, 503].contains(status), "{reply}");
        }
        let rest = admins(&space).await;
        assert!(!rest.is_empty(), "round {round}: {a:?} {b:?}");
        left += usize::from(a.0 == 200 || b.0 == 200);
        // As before, for the next round; a mark that was left is in nobody's way for long.
        let admin = json!({"spec": {"role": "Admin"}, "metadata": {"annotations": {"anon.dev/leaving": null}}});
        space.merge::<crd::Member>("ada", admin).await;
        eventually("Ada is an Admin again", async || {
            let here = ada.call("PATCH", &own, &json!({"name": "Ada"})).await.0;
            let there = there.call("PATCH", &own, &json!({"name": "Ada"})).await.0;
            expect((here, there) == (200, 200), format!("{here} {there}"))
        })
        .await;
        for name in rest.iter().filter(|name| *name != "ada") {
            space.delete::<crd::Member>(name).await;
        }
    }
    assert!(left > 0, "nobody ever left");
}
