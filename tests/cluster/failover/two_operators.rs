//! Two replicas of the operator, in the place of the Deployment's two Pods.

use std::future::Future;

use anon_operator::testing::crd::{SdkClient, UserPool};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::json;

use crate::harness::audit::operator_writes_for;
use crate::harness::books::balance;
use crate::harness::cluster::{operator_namespace, variable};
use crate::harness::operator::Setup;
use crate::harness::{Operator, Space, alone, eventually, quick_pool, service, webapp};

const CLIENTS: usize = 60;
const POOLS: usize = 10;

async fn replica(number: usize) -> Operator {
    Operator::launch(Setup { replica: number, ..Setup::default() }).await
}

async fn holder(space: &Space) -> String {
    let leases: Api<Lease> = Api::namespaced(space.client.clone(), &operator_namespace());
    let lease = leases.get_opt("anon-operator-leader").await.unwrap();
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

async fn one_leads(space: &Space, replicas: &[Operator; 2]) -> usize {
    let pods: Vec<_> = variable("ANON_OPERATOR_PODS").split(':').map(str::to_owned).collect();
    eventually("one of the two leads", async || {
        let leading = (replicas[0].leads().await, replicas[1].leads().await);
        let holder = holder(space).await;
        match leading {
            (true, false) if holder.starts_with(&pods[0]) => Ok(0),
            (false, true) if holder.starts_with(&pods[1]) => Ok(1),
            _ => Err(format!("{leading:?}, the Lease is held by `{holder}`")),
        }
    })
    .await
}

/// Makes a share of the clients and pools.
async fn create(space: &Space, part: usize, parts: usize) {
    let clients = (0..CLIENTS).map(|n| service(&format!("c{n}"), "Member", &format!("key-{n}")));
    let pools = (0..POOLS).map(|n| quick_pool(&format!("p{n}")));
    let share = clients.chain(pools).enumerate().filter(|(n, _)| n % parts == part);
    let share: Vec<_> = share.map(|(_, manifest)| manifest).collect();
    join_all(share.iter().map(|manifest| space.apply(manifest))).await;
}

async fn all_ready(space: &Space) {
    for n in 0..CLIENTS {
        space.ready::<SdkClient>(&format!("c{n}")).await;
    }
    for n in 0..POOLS {
        space.ready::<UserPool>(&format!("p{n}")).await;
    }
}

/// A Lease is no fence: for up to two seconds after a change of leader both believe that they
/// lead. So leadership is taken away again and again while both have work to do.
#[tokio::test]
async fn nothing_is_made_twice_while_leaders_change() {
    let _turn = alone().await;
    let replicas = [replica(0).await, replica(1).await];
    let space = Space::new("two").await;
    let home = space.operators();
    one_leads(&space, &replicas).await;

    let parts = 10;
    let mut holders = vec![holder(&space).await];
    for part in 0..parts {
        take_away(&home, &mut holders, create(&space, part, parts)).await;
    }
    let changes = holders.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 0, "nobody took over from anybody: {holders:?}");
    all_ready(&space).await;
    one_leads(&space, &replicas).await;
    let keys = balance(&space, CLIENTS, POOLS).await;

    // Either replica knows every key.
    for replica in &replicas {
        for key in keys.values() {
            replica.gives(key, None, "200").await;
        }
    }
    // The rights that the chart gives suffice, for either Pod.
    let writes_here = operator_writes_for(&space).into_iter();
    let forbidden: Vec<_> = writes_here.filter(|it| it.code == 403).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

/// Takes the Lease away while `work` is done, and notes who has it next.
async fn take_away(home: &Space, holders: &mut Vec<String>, work: impl Future<Output = ()>) {
    // Free for the first that comes.
    let free = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
    home.merge::<Lease>("anon-operator-leader", free).await;
    work.await;
    let next = eventually("the Lease is held", async || {
        let now = holder(home).await;
        if now.is_empty() { Err("by nobody") } else { Ok(now) }
    })
    .await;
    holders.push(next);
}

/// Manifests in three namespaces, in every order, edited, deleted and re-created, while the leader
/// changes.
#[tokio::test]
async fn three_namespaces_in_any_order_while_leaders_change() {
    let _turn = alone().await;
    let replicas = [replica(0).await, replica(1).await];
    let spaces = [Space::new("any-a").await, Space::new("any-b").await, Space::new("any-c").await];
    let home = spaces[0].operators();
    one_leads(&spaces[0], &replicas).await;
    let mut holders = Vec::new();

    let manifests = [
        webapp("web", "users"),
        service("backend", "Member", "key"),
        quick_pool("users"),
        webapp("moves", "users"),
        quick_pool("others"),
        service("goes", "ReadOnly", "goes"),
    ];
    take_away(&home, &mut holders, async {
        let applied = spaces.iter().enumerate().map(async |(turn, space)| {
            let mut manifests = manifests.clone();
            manifests.rotate_left(2 * turn);
            space.apply_all(&manifests).await;
        });
        join_all(applied).await;
    })
    .await;
    let settled = async || {
        for space in &spaces {
            for pool in ["users", "others"] {
                space.ready::<UserPool>(pool).await;
            }
            for client in ["web", "moves", "backend"] {
                space.ready::<SdkClient>(client).await;
            }
        }
    };
    settled().await;
    let mut before = Vec::new();
    for space in &spaces {
        space.ready::<SdkClient>("goes").await;
        let web = space.get::<SdkClient>("web").await.unwrap().status.unwrap().client_id.unwrap();
        let (key, gone) = (space.api_key("key").await, space.api_key("goes").await);
        let body = json!({"appUserId": "u", "sdkClientId": web});
        before.push((web, replicas[0].minted(&key, &body).await, key, gone));
    }

    // Edited, deleted, re-created; in each namespace at the same time.
    take_away(&home, &mut holders, async {
        let edited = spaces.iter().map(async |space| {
            space.apply(&webapp("moves", "others")).await;
            space.merge::<SdkClient>("backend", json!({"spec": {"description": "edited"}})).await;
            space.delete::<SdkClient>("goes").await;
            space.delete::<UserPool>("users").await;
            space.delete::<SdkClient>("web").await;
            space.apply(&webapp("web", "users")).await;
            space.apply(&quick_pool("users")).await;
        });
        join_all(edited).await;
    })
    .await;
    settled().await;
    for replica in &replicas {
        for (index, (web, token, key, gone)) in before.iter().enumerate() {
            for (credential, client, wanted) in [
                (key, None, "200"),
                (gone, None, "401 api_key_unknown"),
                // The very same pool and client again, and so the same keys.
                (token, Some(web), "200"),
                (token, Some(&before[(index + 1) % 3].0), "401 key_unknown"),
            ] {
                eventually(&format!("namespace {index}: {wanted}"), async || {
                    let client = client.map(String::as_str);
                    let verdict = replica.validate(credential, client).await.verdict();
                    if verdict == wanted { Ok(()) } else { Err(verdict) }
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn the_other_takes_over_when_the_leader_is_killed() {
    let _turn = alone().await;
    let replicas = [replica(0).await, replica(1).await];
    let space = Space::new("takeover").await;
    let leader = one_leads(&space, &replicas).await;
    space.apply(&service("before", "Member", "before")).await;
    space.ready::<SdkClient>("before").await;
    let key = space.api_key("before").await;
    for replica in &replicas {
        replica.gives(&key, None, "200").await;
    }

    // Killed in the middle of its work.
    create(&space, 0, 2).await;
    let mut replicas = Vec::from(replicas);
    replicas.remove(leader).kill();
    let survivor = replicas.remove(0);
    create(&space, 1, 2).await;

    // The survivor serves all the time, long before it leads.
    let finish = async {
        all_ready(&space).await;
        space.ready::<SdkClient>("before").await;
    };
    let mut finish = std::pin::pin!(finish);
    let mut answers = 0;
    loop {
        tokio::select! {
            () = &mut finish => break,
            reply = survivor.validate(&key, None) => {
                assert_eq!(reply.verdict(), "200");
                answers += 1;
            }
        }
    }
    assert!(answers > 10, "{answers} answers");
    assert!(survivor.leads().await);
    balance(&space, CLIENTS + 1, POOLS).await;
}
