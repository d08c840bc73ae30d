//! Forged tokens for one organization, while others use the service.

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId};
use axum::body::Body;
use http::Request;
use serde_json::json;
use tokio::task::{JoinSet, yield_now};

use crate::support::objects::{self, claims, token};
use crate::support::{Reply, World, post};

const FORGED: usize = 300;

fn ask(token: &str, namespace: &str) -> Request<Body> {
    let client = SdkClientId::derive(namespace, "web");
    post("/v1/validate", json!({"token": token, "sdkClientId": client}).to_string())
}

/// How many signatures have been verified.
fn verifications(world: &World) -> usize {
    let metrics = world.state.metrics.expose().unwrap();
    let (_, rest) = metrics.split_once("anon_signature_verifications_total ").unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn forged_tokens_delay_neither_cached_tokens_nor_other_organizations() {
    let (world, acme) = World::acme();
    let other = objects::new_signing_key();
    world.add(&objects::pool("globex", "users", &other));
    world.add(&objects::webapp("globex", "web", "users"));
    let mut of_globex = claims();
    of_globex["iss"] = json!(objects::issuer("globex", "users"));
    of_globex["aud"] = json!(SdkClientId::derive("globex", "web"));
    let router = world.routes(&[Role::Validator]);
    let send = |request| Reply::of(router.clone(), request);
    let cached = token(acme.signing, &claims());
    assert_eq!(send(ask(&cached, "acme")).await.status, 200);
    assert_eq!(verifications(&world), 1);

    // The only turn is taken, as if by a verification that takes long, and one request waits.
    let (queue, first) = (world.state.verification_queue.clone(), OrganizationId::derive("acme"));
    let turn = queue.turn(first).await.unwrap();
    let mut waiting = JoinSet::new();
    let waits = queue.clone();
    waiting.spawn(async move { waits.turn(first).await.map(drop) });
    while queue.waiting() < 1 {
        yield_now().await;
    }
    let mut flood = JoinSet::new();
    let (input, _) = cached.rsplit_once('.').unwrap();
    for number in 0..FORGED {
        // Distinct signatures, of the right length.
        let forged = format!("{input}.{number:085}A");
        flood.spawn(send(ask(&forged, "acme")));
    }
    while queue.waiting() < FORGED + 1 {
        yield_now().await;
    }
    let shown = world.state.metrics.expose().unwrap();
    assert!(shown.contains("anon_verifications_waiting 301"), "{shown}");
    assert_eq!(send(ask(&cached, "acme")).await.status, 200, "a cached token needs no turn");
    let unknown = send(ask(&token(&other, &claims()), "acme")).await;
    assert_eq!(unknown.json()["reason"], "key_unknown", "nor does a token whose key is unknown");
    assert_eq!(verifications(&world), 1);

    let mut quiet = JoinSet::new();
    quiet.spawn(send(ask(&token(&other, &of_globex), "globex")));
    while queue.waiting() < FORGED + 2 {
        yield_now().await;
    }
    drop(turn);
    assert_eq!(quiet.join_next().await.unwrap().unwrap().status, 200);
    assert!(verifications(&world) <= 4, "{}", verifications(&world));
    for reply in flood.join_all().await {
        assert_eq!(reply.json()["reason"], "signature_invalid");
    }
    assert_eq!(queue.waiting(), 0);
}
