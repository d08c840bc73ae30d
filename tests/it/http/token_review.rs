//! `POST /v1/tokenreview/{clientId}`, as kube-apiserver calls it.

use std::sync::Arc;

use anon_operator::testing::domain::credential::SessionToken;
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::server::EndpointSettings;
use serde_json::{Value, json};

use crate::support::objects::{self, claims, token};
use crate::support::{Acme, Reply, World, post};

const V1: &str = "authentication.k8s.io/v1";

fn served(mut world: World, client: SdkClientId) -> World {
    let token_review_clients = vec![client];
    let settings = EndpointSettings { token_review_clients, ..EndpointSettings::default() };
    world.state.validator.settings = Arc::new(settings);
    world
}

fn acme() -> (World, Acme) {
    let (world, acme) = World::acme();
    (served(world, acme.client()), acme)
}

/// What kube-apiserver sends.
fn review(token: &str, audiences: &[&str]) -> Value {
    json!({
        "kind": "TokenReview", "apiVersion": V1, "metadata": {"creationTimestamp": null},
        "spec": {"token": token, "audiences": audiences}, "status": {"user": {}},
    })
}

async fn send(world: &World, client: impl std::fmt::Display, body: &Value) -> Reply {
    world.send(post(&format!("/v1/tokenreview/{client}"), body.to_string())).await
}

async fn status(world: &World, token: &str, audiences: &[&str]) -> Value {
    let client = SdkClientId::derive("acme", "web");
    let reply = send(world, client, &review(token, audiences)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["status"].clone()
}

#[tokio::test]
async fn a_user() {
    let (world, acme) = acme();
    let token = token(acme.signing, &claims());
    let pool = UserPoolId::derive("acme", "users");
    let expected = json!({
        "authenticated": true,
        "user": {
            "username": "anon:acme:users:user-123",
            "uid": format!("{pool}:user-123"),
            "groups": ["anon:organization:acme", "anon:pool:acme:users"],
            "extra": {
                "anon.dev/organization-id": [OrganizationId::derive("acme")],
                "anon.dev/user-pool-id": [pool],
                "anon.dev/sdk-client-id": [acme.client()],
                "anon.dev/app-user-id": ["user-123"],
            },
        },
    });
    for version in [V1, "authentication.k8s.io/v1beta1"] {
        let mut body = review(&token, &[]);
        body["apiVersion"] = json!(version);
        let reply = send(&world, acme.client(), &body).await;
        let response = json!({"apiVersion": version, "kind": "TokenReview", "status": expected});
        assert_eq!((reply.status.as_u16(), reply.json()), (200, response));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(status(&world, &token, &[]).await, expected);
}

#[tokio::test]
async fn no_token_makes_a_user_of_the_system_namespace() {
    let (world, acme) = acme();
    for (subject, encoded) in [
        ("system:admin", "system:admin"),
        ("system:serviceaccount:kube-system:default", "system:serviceaccount:kube-system:default"),
        (":system:masters", ":system:masters"),
        ("a\nsystem:masters", "a%0Asystem:masters"),
        ("../system:x", "../system:x"),
        ("x,system:masters", "x,system:masters"),
        ("\u{202e}retsam", "%E2%80%AEretsam"),
    ] {
        let mut claims = claims();
        claims["sub"] = json!(subject);
        for name in ["groups", "group", "roles", "username", "preferred_username", "extra", "uid"] {
            claims[name] = json!(["system:masters"]);
        }
        let status = status(&world, &token(acme.signing, &claims), &[]).await;
        let user = &status["user"];
        assert_eq!(user["username"], format!("anon:acme:users:{encoded}"), "{subject:?}");
        assert_eq!(user["groups"], json!(["anon:organization:acme", "anon:pool:acme:users"]));
    }
}

#[tokio::test]
async fn audiences_are_those_of_the_token() {
    let (world, acme) = acme();
    let api = "https://kubernetes.default.svc.cluster.local";
    let (web, issuer) = (acme.client().to_string(), claims()["iss"].clone());
    for (aud, requested, audiences) in [
        (json!(web), vec![], Some(vec![])),
        (json!(web), vec![api], None),
        (json!([web, api]), vec![api], Some(vec![api])),
        (json!([web, api]), vec!["other", api], Some(vec![api])),
        (json!([web]), vec!["other", &web], Some(vec![&*web])),
        (json!(web), vec![issuer.as_str().unwrap()], None),
    ] {
        let mut claims = claims();
        claims["aud"] = aud.clone();
        let status = status(&world, &token(acme.signing, &claims), &requested).await;
        let context = format!("{aud} {requested:?}");
        match audiences {
            None => assert_eq!(status, json!({"authenticated": false}), "{context}"),
            Some(audiences) => {
                assert_eq!(status["authenticated"], true, "{context}");
                let given = status.get("audiences").cloned().unwrap_or_else(|| json!([]));
                assert_eq!(given, json!(audiences), "{context}");
            }
        }
    }
}

/// kube-apiserver caches what has no error.
#[tokio::test]
async fn only_unknown_results_have_an_error() {
    let (world, acme) = acme();
    let good = token(acme.signing, &claims());
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "ada", "Admin", &session));
    for invalid in ["", "junk", &format!("{good}x"), acme.key(), session.expose()] {
        let status = status(&world, invalid, &[]).await;
        assert_eq!(status, json!({"authenticated": false}), "{invalid}");
    }
    world.add(&objects::suspended(objects::webapp("acme", "web", "users")));
    let suspended = status(&world, &good, &[]).await;
    assert_eq!(suspended, json!({"authenticated": false, "error": "the client is suspended"}));
    for world in [World::unlisted(), World::stale()] {
        let world = served(world, acme.client());
        let status = status(&world, &good, &[]).await;
        assert_eq!(status["authenticated"], false);
        assert!(status["error"].is_string(), "{status}");
    }
}

#[tokio::test]
async fn other_clients_are_not_served() {
    let (world, acme) = acme();
    world.add(&objects::webapp("acme", "second", "users"));
    let body = review(&token(acme.signing, &claims()), &[]);
    let unknown = world.send(post("/v1/nothing", "{}")).await;
    for client in [SdkClientId::derive("acme", "second").to_string(), "junk".to_owned()] {
        let reply = send(&world, client, &body).await;
        assert_eq!((reply.status.as_u16(), reply.text), (404, unknown.text.clone()));
    }
    // None at all, by default.
    let (world, acme) = World::acme();
    assert_eq!(send(&world, acme.client(), &body).await.status, 404);
}

#[tokio::test]
async fn malformed_reviews() {
    let (world, acme) = acme();
    let good = review("x", &[]);
    for (pointer, value) in [
        ("/apiVersion", json!("authentication.k8s.io/v2")),
        ("/apiVersion", json!(null)),
        ("/kind", json!("SubjectAccessReview")),
        ("/spec", json!({})),
        ("/spec/token", json!(1)),
        ("/spec/audiences", json!("x")),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        let reply = send(&world, acme.client(), &body).await;
        assert_eq!(reply.status, 400, "{pointer}: {}", reply.text);
    }
}
