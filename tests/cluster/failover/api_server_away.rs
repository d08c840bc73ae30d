//! The API server is away, or has lost the history of what it stores: validators answer from what
//! they knew, and find out by themselves what they have missed.

use std::fs;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{Revocation, SdkClient};
use anon_operator::testing::domain::credential::ApiKey;
use serde_json::json;

use crate::harness::cluster::enforced;
use crate::harness::operator::Setup;
use crate::harness::wait::expect;
use crate::harness::{Link, Operator, Space, Tenant, alone, api_server, eventually, http, service};

const OUTAGE: Duration = Duration::from_mins(1);

fn validator(replica: usize) -> Setup {
    Setup { replica, flags: vec!["--roles=validator".to_owned()], ..Setup::default() }
}

/// Three replicas, the last of them behind a link.
async fn replicas(link: &Link) -> [Operator; 3] {
    let linked = Setup { kubeconfig: Some(link.kubeconfig()), ..validator(2) };
    let leader = Operator::start(&[]).await;
    [leader, Operator::launch(validator(1)).await, Operator::launch(linked).await]
}

/// Credentials that lose their validity while one of the replicas is cut off.
struct Missed {
    tenant: Tenant,
    deleted: String,
    suspended: String,
}

impl Missed {
    async fn new(replicas: &[Operator], label: &str) -> Self {
        let tenant = Tenant::new(&replicas[0], label).await;
        for name in ["deleted", "suspended"] {
            tenant.space.apply(&service(name, "Member", name)).await;
            tenant.space.ready::<SdkClient>(name).await;
        }
        let deleted = tenant.space.api_key("deleted").await;
        let suspended = tenant.space.api_key("suspended").await;
        let missed = Self { tenant, deleted, suspended };
        for replica in replicas {
            missed.valid(replica).await;
        }
        missed
    }

    async fn happens(&self) {
        self.tenant.space.delete::<SdkClient>("deleted").await;
        suspend(&self.tenant.space, "suspended").await;
        self.tenant.revoke("ada").await;
    }

    /// Waits until all of them are valid, before it happens.
    async fn valid(&self, replica: &Operator) {
        for key in [&self.tenant.key, &self.deleted, &self.suspended] {
            replica.gives(key, None, "200").await;
        }
        replica.gives(&self.tenant.token, Some(&self.tenant.web), "200").await;
    }

    /// Waits until the replica knows.
    async fn known(&self, replica: &Operator) {
        replica.gives(&self.deleted, None, "401 api_key_unknown").await;
        replica.gives(&self.suspended, None, "401 client_suspended").await;
        replica.gives(&self.tenant.token, Some(&self.tenant.web), "401 user_revoked").await;
        replica.gives(&self.tenant.key, None, "200").await;
    }

    /// What is answered now.
    async fn verdicts(&self, replica: &Operator) -> [String; 5] {
        let unknown = ApiKey::generate().unwrap();
        let web = Some(self.tenant.web.as_str());
        [
            replica.validate(&self.tenant.key, None).await.verdict(),
            replica.validate(unknown.expose(), None).await.verdict(),
            replica.validate(&self.deleted, None).await.verdict(),
            replica.validate(&self.suspended, None).await.verdict(),
            replica.validate(&self.tenant.token, web).await.verdict(),
        ]
    }
}

async fn suspend(space: &Space, client: &str) {
    space.merge::<SdkClient>(client, json!({"spec": {"suspended": true}})).await;
}

/// Every replica has acknowledged the Revocation, and a change that is made now is enforced by all.
async fn recovered(missed: &Missed, replicas: &[Operator]) {
    for replica in replicas {
        missed.known(replica).await;
    }
    let space = &missed.tenant.space;
    let said = space.ready::<Revocation>("ada").await.status.unwrap().conditions;
    assert!(said[0].message.contains(&enforced(3).await), "{said:?}");
    space.apply(&service("after", "Member", "after")).await;
    space.ready::<SdkClient>("after").await;
    let after = space.api_key("after").await;
    for replica in replicas {
        replica.gives(&after, None, "200").await;
    }
    suspend(space, "backend").await;
    for replica in replicas {
        replica.gives(&missed.tenant.key, None, "401 client_suspended").await;
    }
}

#[tokio::test]
async fn validators_answer_for_a_minute_without_an_api_server_and_catch_up() {
    let _turn = alone().await;
    let link = Link::new(2);
    let mut replicas = replicas(&link).await;
    let missed = Missed::new(&replicas, "away").await;
    // One of them is cut off a little earlier than the others.
    link.cut();
    missed.happens().await;
    for replica in &replicas[..2] {
        missed.known(replica).await;
    }
    let killed = api_server::kill().await;
    let start = Instant::now();
    // And one of them is restarted: it knows nothing.
    let [_, restarted, _] = &mut replicas;
    let newcomer = Operator::launch_unready(&validator(1)).await;
    std::mem::replace(restarted, newcomer).kill();

    let knows = [
        "200",
        "401 api_key_unknown",
        "401 api_key_unknown",
        "401 client_suspended",
        "401 user_revoked",
    ];
    let knew = ["200", "401 api_key_unknown", "200", "200", "200"];
    let [leader, restarted, cut_off] = &replicas;
    while start.elapsed() < OUTAGE {
        assert_eq!(missed.verdicts(leader).await, knows);
        assert_eq!(missed.verdicts(cut_off).await, knew);
        assert_eq!(missed.verdicts(restarted).await, ["503 index_not_ready"; 5]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for (replica, status) in [(leader, 200), (cut_off, 200), (restarted, 503)] {
        assert_eq!(http::get(&replica.admin_url("/readyz")).await.unwrap().status, status);
        assert_eq!(http::get(&replica.admin_url("/livez")).await.unwrap().status, 200);
    }
    for replica in [leader, cut_off] {
        let away = start.elapsed().as_secs();
        let silences = replica.silences().await;
        assert!(silences.len() == 5 && silences.iter().all(|it| *it >= away), "{silences:?}");
    }
    assert!(restarted.silences().await.is_empty());
    let issued = leader.mint(&missed.tenant.key, &json!({"appUserId": "u"})).await;
    assert_eq!(issued.status, 503, "the signing key cannot be read: {issued:?}");
    assert!(!leader.leads().await);

    killed.start().await;
    link.restore();
    recovered(&missed, &replicas).await;
    for replica in &replicas {
        eventually("the age of the index is that of an event", async || {
            let silences = replica.silences().await;
            let recent = silences.iter().all(|it| *it < OUTAGE.as_secs());
            expect(silences.len() == 5 && recent, format!("{silences:?}"))
        })
        .await;
    }
}

/// A watch cannot continue where it was: the API server and its etcd have forgotten the changes since.
#[tokio::test]
async fn expired_watch_lists_again_and_applies_what_was_deleted() {
    let _turn = alone().await;
    let link = Link::new(2);
    let replicas = replicas(&link).await;
    let missed = Missed::new(&replicas, "expired").await;
    // It does not try again while it is stalled: that would end with a list, too.
    link.stall();
    missed.happens().await;
    let killed = api_server::kill().await;
    killed.compact();
    killed.start().await;
    assert_eq!(missed.verdicts(&replicas[2]).await[2], "200", "it knows already");
    link.restore();
    recovered(&missed, &replicas).await;
    let log = fs::read_to_string(&replicas[2].log).unwrap();
    assert!(log.contains("resourceVersion expired; listing again"), "{}", replicas[2].log_tail());
}
