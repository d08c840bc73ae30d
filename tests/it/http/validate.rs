//! `POST /v1/validate`: the exact replies, and every form of the question.

use std::time::Duration;

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::credential::SessionToken;
use anon_operator::testing::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use serde_json::json;

use crate::support::objects::{self, claims, token};
use crate::support::{CHALLENGE, NOW, Reply, World, post};

const PATH: &str = "/v1/validate";

#[tokio::test]
async fn a_token_that_counts() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let reply = world.post(PATH, Some(&token), &json!({"sdkClientId": acme.client()})).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({
            "active": true,
            "principal": "appUser",
            "organizationId": OrganizationId::derive("acme"),
            "userPoolId": UserPoolId::derive("acme", "users"),
            "sdkClientId": acme.client(),
            "appUserId": "user-123",
            "issuedAt": "2027-01-15T07:59:50Z",
            "expiresAt": "2027-01-15T08:10:00Z",
            "claims": claims(),
        })
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn an_api_key_that_counts() {
    let (world, acme) = World::acme();
    let reply = world.post(PATH, Some(acme.key()), &json!({})).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({
            "active": true,
            "principal": "apiKey",
            "organizationId": OrganizationId::derive("acme"),
            "sdkClientId": SdkClientId::derive("acme", "backend"),
            "role": "Member",
            "keyId": acme.api_key.hash().id(),
            "issuedAt": "2026-01-02T03:04:05Z",
        })
    );
    assert!(!reply.text.contains(acme.key()));
}

#[tokio::test]
async fn every_form_of_the_question() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let client = acme.client().to_string();
    let bearer = format!("Bearer {token}");
    let own = OrganizationId::derive("acme");
    for (authorization, header, body) in [
        (Some(bearer.as_str()), Some(client.as_str()), json!(null)),
        (Some(&bearer), None, json!({"sdkClientId": client})),
        (Some(&bearer), Some(&client), json!({"sdkClientId": client})),
        (None, Some(&client), json!({"token": token})),
        (None, None, json!({"token": token, "sdkClientId": client})),
        // The generated client sends the header on every call, empty where it has none.
        (None, Some(""), json!({"token": token, "sdkClientId": client})),
        (None, Some(&client), json!({"token": token, "sdkClientId": ""})),
        (None, Some(&client), json!({"token": token, "sdkClientId": null})),
        (Some(&bearer), Some(&client), json!({"token": null})),
        (Some(&bearer), Some(&client), json!({"organizationId": own})),
        (Some(&bearer), Some(&client), json!({"organizationId": null})),
        (Some(&format!("bearer   {token}  ")), Some(&client.to_uppercase()), json!({})),
        (Some(&bearer), Some(&client.to_uppercase()), json!({"sdkClientId": client})),
        (Some(&bearer), Some(&format!("{client}, {client}")), json!({})),
        // Nor does it leave out the header of the credential.
        (Some(""), Some(&client), json!({"token": token})),
        (Some("Bearer "), Some(&client), json!({"token": token})),
    ] {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = post(PATH, text);
        for (name, value) in [("authorization", authorization), ("x-anon-sdk-client-id", header)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        let reply = world.send(request).await;
        let context = format!("{authorization:?} {header:?} {body}: {}", reply.text);
        assert_eq!(reply.status, 200, "{context}");
        assert_eq!(reply.json()["appUserId"], "user-123", "{context}");
        assert_eq!(reply.json()["sdkClientId"], client, "{context}");
    }
}

#[tokio::test]
async fn rejects_authorization_headers_without_a_bearer_credential() {
    let (world, acme) = World::acme();
    for (header, body, reason, status) in [
        ("Bearer ", "{}".to_owned(), "credential_missing", 401),
        ("Basic dTpw", "{}".into(), "authorization_malformed", 401),
        ("Basic dTpw", json!({"token": acme.key()}).to_string(), "two_credentials", 400),
        ("Bearer a b", json!({"token": acme.key()}).to_string(), "two_credentials", 400),
    ] {
        let mut request = post(PATH, body);
        request.headers_mut().insert("authorization", header.parse().unwrap());
        let reply = world.send(request).await;
        assert_eq!(reply.json()["reason"], reason, "{header}");
        assert_eq!(reply.status, status, "{header}");
        let challenge = (status == 401).then_some(CHALLENGE);
        assert_eq!(reply.header("www-authenticate"), challenge, "{header}");
    }
}

#[tokio::test]
async fn without_a_content_type() {
    let (world, acme) = World::acme();
    let mut request = post(PATH, json!({"token": acme.key()}).to_string());
    request.headers_mut().remove("content-type");
    assert_eq!(world.send(request).await.status, 200);
}

#[tokio::test]
async fn bodies_that_are_not_a_question() {
    let (world, acme) = World::acme();
    for (body, name, field) in [
        ("[]".to_owned(), "MalformedRequestError", None),
        ("{".into(), "MalformedRequestError", None),
        ("null".into(), "MalformedRequestError", None),
        ("token=abc".into(), "MalformedRequestError", None),
        (format!("\"{}\"", acme.key()), "MalformedRequestError", None),
        (format!(r#"{{"token":"a","token":"{}"}}"#, acme.key()), "MalformedRequestError", None),
        (format!(r#"{{"{}"}}"#, acme.key()), "MalformedRequestError", None),
        (r#"{"token":1}"#.into(), "InvalidFieldError", Some("token")),
        (r#"{"token":["a"]}"#.into(), "InvalidFieldError", Some("token")),
        (r#"{"token":"a","sdkClientId":{}}"#.into(), "InvalidFieldError", Some("sdkClientId")),
        (r#"{"token":"a","organizationId":1}"#.into(), "InvalidFieldError", Some("organizationId")),
        (
            r#"{"token":"a","organizationID":"x"}"#.into(),
            "UnknownFieldError",
            Some("organizationID"),
        ),
        (r#"{"token":"a","somethingNew":[1]}"#.into(), "UnknownFieldError", Some("somethingNew")),
        (format!(r#"{{"{}":1}}"#, acme.key()), "UnknownFieldError", None),
    ] {
        let reply = world.send(post(PATH, body.clone())).await;
        assert_eq!(reply.error(), (400, name.to_owned()), "{body}");
        assert_eq!(reply.json()["field"].as_str(), field, "{body}");
        assert!(!reply.text.contains(acme.key()), "{}", reply.text);
    }
    // Latin-1 is not UTF-8, and not JSON either.
    let reply = world.send(post(PATH, b"{\"token\":\"\xe4\"}".to_vec())).await;
    assert_eq!(reply.error(), (400, "MalformedRequestError".to_owned()));
}

#[tokio::test]
async fn a_suspended_client_and_a_deleted_object() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let question = json!({"token": token, "sdkClientId": acme.client()});
    let reason = async |world: &World, question| {
        let reply = world.post(PATH, None, question).await;
        reply.json()["reason"].as_str().unwrap_or("active").to_owned()
    };
    assert_eq!(reason(&world, &question).await, "active");
    world.add(&objects::suspended(objects::webapp("acme", "web", "users")));
    assert_eq!(reason(&world, &question).await, "client_suspended");
    let mut going = objects::webapp("acme", "web", "users");
    going.metadata.deletion_timestamp = objects::parse(json!("2026-01-01T00:00:00Z"));
    world.add(&going);
    assert_eq!(reason(&world, &question).await, "client_unknown");

    let key = json!({"token": acme.key()});
    assert_eq!(reason(&world, &key).await, "active");
    let mut moved = objects::service("acme", "backend", "Member", &acme.api_key);
    moved.spec.service.as_mut().unwrap().api_key.delivery.as_mut().unwrap().secret_name =
        "b".into();
    world.add(&moved);
    assert_eq!(reason(&world, &key).await, "active", "until the new Secret exists");
}

#[tokio::test]
async fn the_clock_decides() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let question = json!({"token": token, "sdkClientId": acme.client()});
    for (second, status) in [(NOW + 659, 200), (NOW + 660, 401), (NOW - 70, 200), (NOW - 71, 401)] {
        world.set_clock(second);
        assert_eq!(world.post(PATH, None, &question).await.status, status, "{}", second - NOW);
    }
}

#[tokio::test]
async fn session_tokens() {
    let (world, _) = World::acme();
    let token = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "ada", "Admin", &token));
    let reply = world.post("/v1/validate", Some(token.expose()), &json!({})).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({
            "active": true, "principal": "member", "role": "Admin",
            "organizationId": OrganizationId::derive("acme"),
            "memberId": MemberId::derive("acme", "ada"),
            "issuedAt": "2026-01-02T03:04:05Z", "expiresAt": "2035-01-01T00:00:00Z",
        })
    );
    // Gone from status, gone from the index; and an update keeps the others.
    let mut ended = objects::member("acme", "ada", "Admin", &token);
    ended.status.as_mut().unwrap().sessions.clear();
    world.add(&ended);
    let reply = world.post("/v1/validate", Some(token.expose()), &json!({})).await;
    assert_eq!(reply.json()["reason"], "session_unknown");
}

/// Whether the token is in the cache has no effect on the responses.
#[tokio::test]
async fn a_cached_token_gets_the_same_responses() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let client = acme.client();
    let valid = json!({"sdkClientId": client});
    let foreign = json!({"sdkClientId": client, "organizationId": OrganizationId::derive("x")});
    let other = json!({"sdkClientId": SdkClientId::derive("acme", "other")});
    let mut replies = Vec::new();
    for _ in 0..2 {
        for body in [&valid, &foreign, &other] {
            replies.push(world.post(PATH, Some(&token), body).await.text);
        }
    }
    assert_eq!(replies[..3], replies[3..]);
    assert!(replies[4].contains("organization_mismatch"), "{}", replies[4]);
    assert!(replies[5].contains("client_unknown"), "another client: {}", replies[5]);
    let metrics = world.state.metrics.expose().unwrap();
    for line in [
        "anon_signature_verifications_total 1\n",
        "anon_token_cache_hits_total 3\n",
        "anon_token_cache_misses_total 3\n",
    ] {
        assert!(metrics.contains(line), "{line} {metrics}");
    }
    world.add(&objects::revocation_of(
        "acme",
        "leak",
        &json!({"userPool": {"name": "users", "subjects": ["user-123"]}}),
    ));
    let reply = world.post(PATH, Some(&token), &valid).await;
    assert_eq!(reply.json()["reason"], "user_revoked");
}

/// A revocation may have been missed.
#[tokio::test]
async fn cached_token_is_not_accepted_by_a_stale_index() {
    let (world, acme) = World::acme_stale_after(Duration::from_millis(300));
    let router = world.routes(&[Role::Validator]);
    let body = json!({"token": token(acme.signing, &claims()), "sdkClientId": acme.client()});
    let send = || Reply::of(router.clone(), post("/v1/validate", body.to_string()));
    loop {
        world.hear();
        if send().await.status == 200 {
            break;
        }
    }
    loop {
        let reply = send().await;
        if reply.status != 200 {
            assert_eq!(reply.json()["reason"], "index_stale");
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
