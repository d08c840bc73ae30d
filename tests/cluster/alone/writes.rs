//! What the operator writes, counted by the API server's audit log.

use anon_operator::testing::crd::{Member, Organization, SdkClient, UserPool};
use serde_json::json;

use crate::harness::audit::{Write, all_writes_for};
use crate::harness::{
    Operator, Space, alone, eventually, member, organization, quick_pool, service, webapp, with,
};

fn summary(writes: &[Write]) -> Vec<String> {
    writes.iter().map(|write| format!("{} {}", write.what(), write.code)).collect()
}

#[tokio::test]
async fn nothing_is_written_twice() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;

    // A service client: the Secret, then status. No Event.
    let clients = Space::new("writes-client").await;
    clients.apply(&service("backend", "Member", "key")).await;
    clients.ready::<SdkClient>("backend").await;
    // One that lists hashes: status.
    let listing = Space::new("writes-hashes").await;
    let hash = "6cfb9ed0778cd7e8c35a7321dd84df7f6e8b21e5b87ce2e631df784026c8f607";
    let hashes = json!({"hashes": [{"id": &hash[..16], "sha256": hash}]});
    listing.apply(&with(service("ci", "Member", "x"), "/spec/service/apiKey", hashes)).await;
    listing.ready::<SdkClient>("ci").await;
    // A hosted pool: the signing Secret, the ConfigMap, status.
    let pools = Space::new("writes-pool").await;
    pools.apply(&quick_pool("users")).await;
    pools.ready::<UserPool>("users").await;
    // A webapp whose pool is there, a member with an identity, an organization.
    let others = Space::new("writes-other").await;
    others.apply(&organization("default", json!({}))).await;
    others.apply(&member("ada", "Member", json!({"user": "ada"}))).await;
    others.ready::<Organization>("default").await;
    others.ready::<Member>("ada").await;
    pools.apply(&webapp("web", "users")).await;
    pools.ready::<SdkClient>("web").await;

    let client_writes = ["create secrets 201", "update sdkclients/status 200"];
    let pool_writes = [
        "create secrets 201",
        "create configmaps 201",
        "update userpools/status 200",
        "update sdkclients/status 200",
    ];
    let other_writes =
        ["update organizations/status 200", "create rolebindings 201", "update members/status 200"];
    assert_eq!(summary(&all_writes_for(&clients).await), client_writes);
    assert_eq!(summary(&all_writes_for(&listing).await), client_writes[1..]);
    assert_eq!(summary(&all_writes_for(&pools).await), pool_writes);
    let mut other = summary(&all_writes_for(&others).await);
    other.sort();
    let mut wanted = other_writes.map(str::to_owned);
    wanted.sort();
    assert_eq!(other, wanted);

    // A new leader looks at everything again and finds nothing to do. That it has looked is seen
    // by an object that is made last and of every kind, and by the next change of an old one.
    assert!(operator.stop().await.success());
    let restarted = Operator::start(&[]).await;
    let last = Space::new("writes-last").await;
    last.apply_all(&[
        organization("default", json!({})),
        member("ada", "Member", json!({"user": "ada"})),
        quick_pool("users"),
        webapp("web", "users"),
        service("backend", "Member", "key"),
    ])
    .await;
    last.ready::<Organization>("default").await;
    last.ready::<Member>("ada").await;
    last.ready::<SdkClient>("web").await;
    last.ready::<SdkClient>("backend").await;
    reconciled(&restarted).await;
    assert_eq!(summary(&all_writes_for(&clients).await), client_writes);
    assert_eq!(summary(&all_writes_for(&listing).await), client_writes[1..]);
    assert_eq!(summary(&all_writes_for(&pools).await), pool_writes);
    assert_eq!(summary(&all_writes_for(&others).await).len(), other_writes.len());

    // An edit that changes nothing for the operator costs the one write that says so.
    clients.merge::<SdkClient>("backend", json!({"spec": {"description": "edited"}})).await;
    clients.ready::<SdkClient>("backend").await;
    let after = summary(&all_writes_for(&clients).await);
    assert_eq!(after[2..], ["update sdkclients/status 200"]);
}

/// Waits until every object has been looked at and nothing is in progress: the counters of
/// reconciliations stand still.
async fn reconciled(operator: &Operator) {
    let count = async || {
        let url = operator.admin_url("/metrics");
        let text = crate::harness::http::get(&url).await.unwrap().body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let counters = text.lines().filter(|line| line.starts_with("anon_reconcile"));
        counters.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut before = count().await;
    assert!(!before.is_empty(), "no reconcile metrics");
    let mut quiet = 0;
    eventually("the controllers are idle", async || {
        let now = count().await;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet >= 8 { Ok(()) } else { Err("busy") }
    })
    .await;
}
