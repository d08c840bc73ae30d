//! Every reason that there is: one request that provokes it, and the reply it must give.

use anon_operator::testing::crd;
use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId};
use anon_operator::testing::domain::reason::{Class, Reason};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::objects::{self, claims, issuer, token};
use crate::support::{Acme, CHALLENGE, MAX_JWKS_AGE, NOW, Reply, World, post};

/// The body of a request to `/v1/validate` about `token` for the client `client`.
fn ask(token: &str, client: &str) -> Request<axum::body::Body> {
    let client = SdkClientId::derive("acme", client);
    post("/v1/validate", json!({"token": token, "sdkClientId": client}).to_string())
}

/// A token whose claims are changed.
fn changed(acme: &Acme, name: &str, value: Value) -> Request<axum::body::Body> {
    let mut claims = claims();
    claims[name] = value;
    ask(&token(acme.signing, &claims), "web")
}

/// A token whose header is changed; the signature is over the old one.
fn headed(acme: &Acme, name: &str, value: Value) -> Request<axum::body::Body> {
    let good = token(acme.signing, &claims());
    let (header, rest) = good.split_once('.').unwrap();
    let mut header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header[name] = value;
    ask(&format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string())), "web")
}

fn with_header(
    mut request: Request<axum::body::Body>,
    name: &'static str,
    value: &str,
) -> Request<axum::body::Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// A request with what a Revocation covers.
fn revoked(reason: Reason, world: &World, acme: &Acme) -> Request<axum::body::Body> {
    match reason {
        Reason::KeyRevoked => {
            // One that is destroyed already; `kid` says which one it was.
            let spec = json!({"userPool": {"name": "users", "keyIds": ["leaked"]}});
            world.add(&objects::revocation_of("acme", "key", &spec));
            headed(acme, "kid", json!("leaked"))
        }
        Reason::TokenRevoked => {
            let spec = json!({"userPool": {"name": "users", "tokenIds": ["stolen"]}});
            world.add(&objects::revocation_of("acme", "token", &spec));
            changed(acme, "jti", json!("stolen"))
        }
        Reason::UserRevoked => {
            let spec = json!({"userPool": {"name": "users", "subjects": ["banned"]}});
            world.add(&objects::revocation_of("acme", "user", &spec));
            changed(acme, "sub", json!("banned"))
        }
        Reason::ApiKeyRevoked => {
            let key = ApiKey::generate().unwrap();
            world.add(&objects::service("acme", "leaky", "Member", &key));
            world.add(&objects::revocation("acme", "leaky", &key));
            ask(key.expose(), "web")
        }
        _ => {
            let token = SessionToken::generate().unwrap();
            world.add(&objects::member("acme", "bob", "Admin", &token));
            let limit = "2026-01-02T03:04:06Z";
            let spec = json!({"member": {"name": "bob", "sessionsCreatedBefore": limit}});
            world.add(&objects::revocation_of("acme", "laptop", &spec));
            ask(token.expose(), "web")
        }
    }
}

/// A request about a pool that does not have the key.
fn without_keys(reason: Reason, world: &World, acme: &Acme) -> Request<axum::body::Body> {
    let pool = match reason {
        Reason::PoolNotFound => "nobody",
        Reason::PoolNotReady => {
            world.add(&objects::pool_without_keys("acme", "new"));
            "new"
        }
        _ => {
            let max_age = MAX_JWKS_AGE.as_secs();
            let age = if reason == Reason::KeySetStale { max_age + 1 } else { max_age };
            world.add(&objects::remote_pool("acme", "remote", acme.signing, NOW - age));
            "remote"
        }
    };
    world.add(&objects::webapp("acme", "far", pool));
    ask(&token(&objects::new_signing_key(), &claims()), "far")
}

/// A request that must be refused for this reason. A new reason does not compile without one.
fn provoke(reason: Reason, world: &World, acme: &Acme) -> Request<axum::body::Body> {
    let good = token(acme.signing, &claims());
    let unknown = ApiKey::generate().unwrap();
    match reason {
        Reason::CredentialMissing => post("/v1/validate", "{}"),
        Reason::TwoCredentials => with_header(ask(&good, "web"), "authorization", "Bearer x"),
        Reason::AuthorizationMalformed => {
            with_header(post("/v1/validate", ""), "authorization", "Basic dTpw")
        }
        Reason::ClientMissing => post("/v1/validate", json!({"token": good}).to_string()),
        Reason::ClientAmbiguous => {
            with_header(ask(&good, "web"), "x-anon-sdk-client-id", "another")
        }
        Reason::CredentialTooLarge => ask(&"a".repeat(16 * 1024 + 1), "web"),
        Reason::CredentialUnrecognized => ask("ory_st_abc", "web"),
        Reason::TokenMalformed => ask("a.b.c", "web"),
        Reason::TokenTypeUnsupported => headed(acme, "typ", json!("logout+jwt")),
        Reason::AlgorithmUnsupported => headed(acme, "alg", json!("none")),
        Reason::KeyIdMissing => headed(acme, "kid", json!(null)),
        Reason::ClientUnknown => ask(&good, "nobody"),
        Reason::ClientSuspended => {
            world.add(&objects::suspended(objects::webapp("acme", "asleep", "users")));
            ask(&good, "asleep")
        }
        Reason::ClientNotWebapp => ask(&good, "backend"),
        Reason::KeyUnknown => headed(acme, "kid", json!("another")),
        Reason::PoolNotFound
        | Reason::PoolNotReady
        | Reason::KeyNotYetKnown
        | Reason::KeySetStale => without_keys(reason, world, acme),
        Reason::AlgorithmMismatch => headed(acme, "alg", json!("RS256")),
        Reason::SignatureInvalid => headed(acme, "cty", json!("x")),
        Reason::ExpiryMissing => changed(acme, "exp", json!(null)),
        Reason::TokenExpired => changed(acme, "exp", json!(NOW - 60)),
        Reason::TokenNotYetValid => changed(acme, "nbf", json!(NOW + 61)),
        Reason::TokenFromFuture => changed(acme, "iat", json!(NOW + 61)),
        Reason::IssuerMismatch => changed(acme, "iss", json!("https://evil.example")),
        Reason::AudienceMismatch => changed(acme, "aud", json!("another")),
        Reason::TokenSenderConstrained => changed(acme, "cnf", json!({"jkt": "x"})),
        Reason::SubjectMissing => changed(acme, "sub", json!("")),
        Reason::SubjectTooLong => changed(acme, "sub", json!("u".repeat(256))),
        Reason::TokenIdInvalid => changed(acme, "jti", json!(7)),
        Reason::EmailUnverified | Reason::RequiredClaimMismatch => {
            let more = match reason {
                Reason::EmailUnverified => json!({"idClaim": "email"}),
                _ => json!({"requiredClaims": [{"claim": "groups", "values": ["staff"]}]}),
            };
            world.add(&objects::inline_pool("acme", "theirs", acme.signing, &more));
            world.add(&objects::webapp("acme", "app", "theirs"));
            let more = json!({"sub": "u", "email": "u@example.test", "exp": NOW + 60});
            ask(&token(acme.signing, &more), "app")
        }
        Reason::TokenClientGone => {
            changed(acme, "sdkClientId", json!(SdkClientId::derive("acme", "gone")))
        }
        Reason::ClientMismatch => {
            world.add(&objects::strict(objects::webapp("acme", "strict", "users")));
            ask(&good, "strict")
        }
        Reason::ApiKeyExpired => {
            let key = ApiKey::generate().unwrap();
            let mut expired = objects::service_json("acme", "old", "Member", &key);
            expired["status"]["keys"][0]["expiresAt"] = json!("2026-01-02T03:04:06Z");
            world.add::<crd::SdkClient>(&objects::parse(expired));
            ask(key.expose(), "web")
        }
        Reason::KeyRevoked
        | Reason::TokenRevoked
        | Reason::UserRevoked
        | Reason::ApiKeyRevoked
        | Reason::SessionRevoked => revoked(reason, world, acme),
        Reason::ApiKeyUnknown => ask(unknown.expose(), "web"),
        Reason::SessionUnknown => ask(SessionToken::generate().unwrap().expose(), "web"),
        Reason::SessionExpired | Reason::MemberSuspended => {
            let token = SessionToken::generate().unwrap();
            let mut ada = objects::member_json("acme", "ada", "Admin", &token);
            match reason {
                Reason::MemberSuspended => ada["spec"]["suspended"] = json!(true),
                _ => ada["status"]["sessions"][0]["expiresAt"] = json!("2026-01-03T00:00:00Z"),
            }
            world.add::<crd::Member>(&objects::parse(ada));
            ask(token.expose(), "web")
        }
        Reason::OrganizationMismatch => post(
            "/v1/validate",
            json!({"token": acme.key(), "organizationId": "another"}).to_string(),
        ),
        Reason::CredentialKindRefused => {
            let request = post("/org/appUserIdToken", r#"{"appUserId":"u"}"#);
            with_header(request, "authorization", &format!("Bearer {good}"))
        }
        Reason::Overloaded => changed(acme, "jti", json!("busy")),
        Reason::IndexNotReady | Reason::IndexStale => ask(&good, "web"),
    }
}

fn expect(reason: Reason, reply: &Reply) {
    let (status, name) = match reason.class() {
        Class::BadRequest => (400, "BadRequestError"),
        Class::Unauthorized => (401, "UnauthorizedError"),
        Class::Unavailable => (503, "UnavailableError"),
    };
    let mut expected = json!({"active": false, "name": name, "reason": reason.as_str(), "message": reason.message()});
    if reason == Reason::CredentialKindRefused {
        // The API's form of error; no other endpoint rejects a type yet.
        expected.as_object_mut().unwrap().remove("active");
    }
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.status.as_u16(), status, "{reason:?}");
    assert_eq!(
        reply.header("www-authenticate"),
        (status == 401).then_some(CHALLENGE),
        "{reason:?}"
    );
    assert_eq!(reply.header("retry-after"), (status == 503).then_some("1"), "{reason:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reason:?}");
    assert!(reply.header("x-request-id").is_some(), "{reason:?}");
}

/// Sends the request while as many tokens of the organization wait as may.
async fn overloaded(world: &World, request: Request<axum::body::Body>) -> Reply {
    let mut waiting = JoinSet::new();
    for _ in 0..600 {
        let queue = world.state.verification_queue.clone();
        waiting.spawn(async move { queue.turn(OrganizationId::derive("acme")).await });
    }
    // The first one gets the turn and keeps it, until the queue is full and one is rejected.
    let mut turns = Vec::new();
    while let Some(Ok(Ok(turn))) = waiting.join_next().await {
        turns.push(turn);
    }
    world.send(request).await
}

#[tokio::test]
async fn every_reason_has_its_reply() {
    let (world, acme) = World::acme();
    for &reason in Reason::ALL {
        let request = provoke(reason, &world, &acme);
        let reply = match reason {
            Reason::IndexNotReady => World::unlisted().send(request).await,
            Reason::IndexStale => World::stale().send(request).await,
            Reason::Overloaded => overloaded(&world, request).await,
            _ => world.send(request).await,
        };
        expect(reason, &reply);
    }
    // `active` counted nowhere, every reason of the endpoint once.
    let metrics = world.state.metrics.expose().unwrap();
    for &reason in Reason::ALL {
        let line = format!(
            r#"anon_verdicts_total{{endpoint="validate",verdict="{}"}} 1"#,
            reason.as_str()
        );
        let elsewhere = matches!(
            reason,
            Reason::CredentialKindRefused | Reason::IndexNotReady | Reason::IndexStale
        );
        assert_eq!(metrics.contains(&line), !elsewhere, "{line}");
    }
}

#[tokio::test]
async fn a_token_of_one_pool_under_a_client_of_another() {
    let (world, acme) = World::acme();
    let other = objects::new_signing_key();
    world.add(&objects::pool("acme", "staff", &other));
    world.add(&objects::webapp("acme", "intranet", "staff"));
    let reply = world.send(ask(&token(acme.signing, &claims()), "intranet")).await;
    assert_eq!(reply.json()["reason"], "key_unknown");

    // Nor does a pool of another organization that publishes the very same key help.
    world.add(&objects::pool("globex", "users", acme.signing));
    world.add(&objects::webapp("globex", "web", "users"));
    let client = SdkClientId::derive("globex", "web");
    let body = json!({"token": token(acme.signing, &claims()), "sdkClientId": client});
    let reply = world.post("/v1/validate", None, &body).await;
    assert_eq!(reply.json()["reason"], "issuer_mismatch");
    let mut claims = claims();
    claims["iss"] = json!(issuer("globex", "users"));
    let body = json!({"token": token(acme.signing, &claims), "sdkClientId": client});
    let reply = world.post("/v1/validate", None, &body).await;
    assert_eq!(reply.json()["reason"], "audience_mismatch");
}
