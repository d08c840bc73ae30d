//! Two replicas whose clocks differ by minutes.

use std::collections::BTreeSet;
use std::fs;

use anon_operator::testing::crd::UserPool;
use anon_operator::testing::domain::signing_key_set::SigningKeyState::{Active, Retiring};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

use crate::harness::operator::Setup;
use crate::harness::signing::{ask_to_rotate, finish_rotation, states};
use crate::harness::wait::expect;
use crate::harness::{Operator, Tenant, alone, eventually};

/// A replica whose clock is four minutes ahead: more than the Lease is valid, more than the default
/// leeway of a pool, and less than the longest.
async fn four_minutes_ahead(replica: usize) -> Operator {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library =
        libraries.find(|library| library.exists()).expect("libfaketime: dev/prerequisites");
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", "+4m"),
        // Timers are not set by people.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Operator::launch(Setup { replica, env, ..Setup::default() }).await
}

#[tokio::test]
async fn clocks_that_differ_delay_no_takeover_and_end_no_key_early() {
    let _turn = alone().await;
    let ahead = four_minutes_ahead(0).await;
    let exact = Operator::launch(Setup { replica: 1, ..Setup::default() }).await;
    let tenant = Tenant::new(&ahead, "clocks").await;
    assert!(ahead.leads().await && !exact.leads().await);
    let (space, web) = (&tenant.space, Some(tenant.web.as_str()));

    // Its token comes from the future, for the other.
    ahead.gives(&tenant.token, web, "200").await;
    exact.gives(&tenant.token, web, "401 token_not_yet_valid").await;
    let other = tenant.mint(&exact, "bob").await;
    space.merge::<UserPool>("users", json!({"spec": {"leeway": "5m"}})).await;
    let valid = async |operators: &[&Operator], tokens: &[&str]| {
        for operator in operators {
            for token in tokens {
                operator.gives(token, web, "200").await;
            }
        }
    };
    valid(&[&ahead, &exact], &[&tenant.token, &other]).await;

    ask_to_rotate(space, "users", "now").await;
    finish_rotation(space, "users").await;
    let new = [tenant.mint(&ahead, "ada").await, tenant.mint(&exact, "bob").await];
    let tokens = [&*tenant.token, &other, &new[0], &new[1]];
    valid(&[&ahead, &exact], &tokens).await;

    // The Lease was renewed at a time that the other clock reaches in four minutes.
    ahead.kill();
    eventually("the other takes over", async || expect(exact.leads().await, "not yet")).await;
    // And for this one, the Lease that the other renews has expired.
    let ahead = four_minutes_ahead(0).await;
    let mut renewed = BTreeSet::new();
    eventually("the Lease is renewed again and again", async || {
        assert!(exact.leads().await && !ahead.leads().await);
        let lease: Lease = space.operators().get("anon-operator-leader").await.unwrap();
        renewed.insert(lease.spec.unwrap().renew_time.unwrap().0);
        expect(renewed.len() > 4, renewed.len())
    })
    .await;
    valid(&[&ahead, &exact], &tokens).await;
    assert_eq!(states(space, "users").await, [Retiring, Active], "one rotation");
}
