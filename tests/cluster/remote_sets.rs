//! Key sets of an identity provider that rotates, fails and is asked for by strangers. Three
//! replicas; the provider counts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::ids::SdkClientId;
use futures::StreamExt as _;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::kubectl::kubectl;
use crate::harness::provider::{Key, ca_secret, fetching_operator, follow, remote_pool};
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, webapp, with};
use crate::idp::{Idp, JWKS, Page};

/// Fetches in a row that asking brings at most, and how long one more takes (`jwks::schedule`).
const BURST: usize = 4;
const REFILL: u64 = 30;

async fn three() -> Vec<Operator> {
    join_all((0..3).map(|replica| fetching_operator(replica, &[]))).await
}

fn client(space: &Space, name: &str) -> String {
    SdkClientId::derive(&space.name, name).to_string()
}

async fn verdict(operator: &Operator, token: &str, client: &str) -> String {
    operator.validate(token, Some(client)).await.verdict()
}

/// Waits until every replica gives this verdict.
async fn all_say(operators: &[Operator], token: &str, client: &str, wanted: &str) {
    let asking = operators.iter().map(|operator| async {
        eventually(&format!("the verdict is {wanted}"), async || {
            let verdict = verdict(operator, token, client).await;
            expect(verdict == wanted, verdict)
        })
        .await;
    });
    join_all(asking).await;
}

#[tokio::test]
async fn a_rotation_is_followed_and_an_invented_key_is_refused() {
    let _turn = alone().await;
    let operators = three().await;
    let (space, idp) = (Space::new("rotates").await, Idp::start());
    let (first, second, stranger) = (Key::new(), Key::new(), Key::new());
    idp.serve_keys(&[first.jwk()]);
    follow(&space, &idp, "users", JWKS).await;
    space.ready::<UserPool>("users").await;
    let web = client(&space, "users");
    all_say(&operators, &first.token(), &web, "200").await;
    assert_eq!(idp.hits(JWKS), 1, "one fetch, through no proxy");

    // The provider signs with a new key at once. Nobody is told that the token is bad.
    idp.serve_keys(&[first.jwk(), second.jwk()]);
    let token = second.token();
    let asking = operators.iter().map(|operator| async {
        let (mut unavailable, token) = (0, token.clone());
        eventually("the new key is valid", async || {
            let verdict = verdict(operator, &token, &web).await;
            assert!(verdict == "200" || verdict == "503 key_not_yet_known", "{verdict}");
            unavailable += usize::from(verdict != "200");
            expect(verdict == "200", verdict)
        })
        .await;
        unavailable
    });
    join_all(asking).await;
    assert!((2..=1 + BURST).contains(&idp.hits(JWKS)), "{} fetches", idp.hits(JWKS));

    // An invented key: each replica has to be answered once, and then asks no more.
    let token = stranger.token();
    all_say(&operators, &token, &web, "401 key_unknown").await;
    let hits = idp.hits(JWKS);
    for operator in &operators {
        for _ in 0..20 {
            assert_eq!(verdict(operator, &token, &web).await, "401 key_unknown");
        }
    }
    assert_eq!(idp.hits(JWKS), hits);
}

#[tokio::test]
async fn a_provider_that_fails_is_said_and_changes_nothing() {
    let _turn = alone().await;
    let leader = fetching_operator(0, &[]).await;
    let (space, idp) = (Space::new("fails").await, Idp::start());
    let (key, stranger) = (Key::new(), Key::new());
    idp.serve_keys(&[key.jwk()]);
    follow(&space, &idp, "users", JWKS).await;
    let pool = space.ready::<UserPool>("users").await;
    let web = client(&space, "users");
    let operators = [leader];
    all_say(&operators, &key.token(), &web, "200").await;

    idp.serve(JWKS, Page::Raw(200, vec![], b"<html>back soon</html>".to_vec()));
    // Nobody can tell whether there is such a key.
    for _ in 0..5 {
        let verdict = verdict(&operators[0], &stranger.token(), &web).await;
        assert_eq!(verdict, "503 key_not_yet_known");
    }
    eventually("status says why", async || {
        let pool: UserPool = space.get("users").await.unwrap();
        let error = pool.status.and_then(|status| status.last_fetch_error);
        expect(error.is_some_and(|error| error.as_str() == "NotJson"), format!("{error:?}"))
    })
    .await;
    let failing = space.ready::<UserPool>("users").await;
    assert_eq!(failing.status.unwrap().keys, pool.status.unwrap().keys);
    let said = kubectl(&["describe", "userpool", "users", "--namespace", &space.name]).stdout;
    assert!(said.contains("FetchFailed") && said.contains("not a JSON object"), "{said}");
    assert!(!said.contains("back soon"), "{said}");
    assert_eq!(verdict(&operators[0], &key.token(), &web).await, "200");

    // A restarted validator serves from status, without a fetch.
    let [leader] = operators;
    leader.kill();
    let hits = idp.hits(JWKS);
    let restarted = fetching_operator(0, &["--roles=validator"]).await;
    all_say(std::slice::from_ref(&restarted), &key.token(), &web, "200").await;
    assert_eq!(verdict(&restarted, &stranger.token(), &web).await, "503 key_not_yet_known");
    assert_eq!(idp.hits(JWKS), hits);
    restarted.kill();

    // It recovers: the next leader finds out by itself.
    idp.serve_keys(&[key.jwk()]);
    crate::harness::turn::free_lease().await;
    let leader = fetching_operator(1, &[]).await;
    eventually("status says no more", async || {
        let pool: UserPool = space.get("users").await.unwrap();
        let error = pool.status.and_then(|status| status.last_fetch_error);
        expect(error.is_none(), format!("{error:?}"))
    })
    .await;
    all_say(&[leader], &key.token(), &web, "200").await;
}

#[tokio::test]
async fn an_openid_provider_is_found_by_its_issuer() {
    let _turn = alone().await;
    let operators = [fetching_operator(0, &[]).await];
    let (space, idp, key) = (Space::new("openid").await, Idp::start(), Key::new());
    idp.serve_keys(&[key.jwk()]);
    space.apply(&ca_secret(&idp)).await;
    let oidc = json!({"issuer": idp.issuer(), "caRef": {"name": "id-ca", "key": "ca.crt"}});
    let spec = json!({"oidc": oidc, "anyAudience": true});
    let pool = with(remote_pool("users", ""), "/spec", spec);
    space.apply(&pool).await;
    space.apply(&webapp("users", "users")).await;
    space.ready::<UserPool>("users").await;
    let web = client(&space, "users");
    all_say(&operators, &key.token_of(&idp.issuer()), &web, "200").await;
    all_say(&operators, &key.token_of("https://evil.example"), &web, "401 issuer_mismatch").await;

    // Without the consent of its label the CA is not read; what was fetched remains in use.
    space.merge::<Secret>("id-ca", json!({"metadata": {"labels": {"anon.dev/use": null}}})).await;
    eventually("status says that the CA is missing", async || {
        let pool: UserPool = space.get("users").await.unwrap();
        let error = pool.status.and_then(|status| status.last_fetch_error);
        expect(error.is_some_and(|error| error.as_str() == "CaUnusable"), format!("{error:?}"))
    })
    .await;
    space.ready::<UserPool>("users").await;
    all_say(&operators, &key.token_of(&idp.issuer()), &web, "200").await;
}

/// 40 hosts that hang keep their own namespace busy for half a minute.
#[tokio::test]
async fn hosts_that_hang_hold_up_nobody_else() {
    let _turn = alone().await;
    let _operator = fetching_operator(0, &[]).await;
    let (slow, space) = (Space::new("hangs").await, Space::new("answers").await);
    let (idp, key) = (Idp::start(), Key::new());
    idp.serve_keys(&[key.jwk()]);
    idp.serve("/hang", Page::Hang);
    let hanging: Vec<_> = (0..40).map(|n| format!("p{n}")).collect();
    join_all(hanging.iter().map(|name| follow(&slow, &idp, name, "/hang"))).await;
    follow(&space, &idp, "users", JWKS).await;
    space.ready::<UserPool>("users").await;
    assert!(idp.hits_before("/hang", JWKS) < hanging.len(), "the others were waited for");
}

/// 10,000 tokens with invented keys, over 10 pools and 3 validators.
#[tokio::test]
async fn a_flood_of_invented_keys_costs_the_budget_and_no_good_token() {
    const POOLS: usize = 10;
    const TOKENS: usize = 10_000;
    let _turn = alone().await;
    let operators = three().await;
    let (space, idp, key) = (Space::new("flood").await, Idp::start(), Key::new());
    let pools: Vec<_> = (0..POOLS).map(|n| (format!("p{n}"), format!("/{n}.json"))).collect();
    for (name, path) in &pools {
        idp.serve(path, Page::json(json!({"keys": [key.jwk()]})));
        follow(&space, &idp, name, path).await;
    }
    for (name, _) in &pools {
        space.ready::<UserPool>(name).await;
        space.ready::<SdkClient>(name).await;
        all_say(&operators, &key.token(), &client(&space, name), "200").await;
    }

    let started = Instant::now();
    let before: Vec<_> = pools.iter().map(|(_, path)| idp.hits(path)).collect();
    let good = key.token();
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = async {
        let tokens = futures::stream::iter(0..TOKENS);
        tokens
            .for_each_concurrent(200, |n| {
                let (name, _) = &pools[n % POOLS];
                let client = client(&space, name);
                let token = key.token_with_kid(&format!("invented-{n}"));
                let operator = &operators[n % operators.len()];
                async move {
                    let verdict = verdict(operator, &token, &client).await;
                    let refused =
                        ["503 key_not_yet_known", "401 key_unknown"].contains(&verdict.as_str());
                    assert!(refused, "{verdict}");
                }
            })
            .await;
        over.store(true, Ordering::Relaxed);
    };
    let users = async {
        let mut turn = 0;
        while !over.load(Ordering::Relaxed) {
            let (name, _) = &pools[turn % POOLS];
            let operator = &operators[turn % operators.len()];
            assert_eq!(verdict(operator, &good, &client(&space, name)).await, "200");
            answered.fetch_add(1, Ordering::Relaxed);
            turn += 1;
        }
    };
    futures::join!(flood, users);
    assert!(answered.load(Ordering::Relaxed) > 20, "good tokens pass meanwhile");

    let refills = usize::try_from(started.elapsed().as_secs() / REFILL).unwrap();
    for ((name, path), before) in pools.iter().zip(before) {
        let hits = idp.hits(path) - before;
        // The budget, and one that may have begun as the last second passed.
        assert!(hits <= BURST + refills + 1, "{name}: {hits} fetches, {refills} refills");
        assert!(hits > 0, "{name} was asked for");
    }
}
