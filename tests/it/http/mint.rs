//! `POST /org/appUserIdToken`: what is minted, for whom, and that the validator takes it.

use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::domain::signing::SigningKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::api::{ok, status};
use crate::support::objects::{self, issuer, signing_secrets};
use crate::support::{Acme, NOW, Reply, World};

pub const PATH: &str = "/org/appUserIdToken";
const DAY: i64 = 24 * 3600;

/// An API server with the signing Secret of `namespace/pool`, found by its labels only.
pub fn serve_secret(world: &World, namespace: &str, pool: &str, key: &SigningKey) {
    let list = signing_secrets(namespace, pool, key);
    let id = format!("anon.dev/id={}", UserPoolId::derive(namespace, pool));
    world.api.answer(move |seen| {
        let asked = seen.query.replace("%2F", "/");
        if seen.path == "/api/v1/namespaces/anon-system/secrets" && asked.contains(&id) {
            ok(&list)
        } else {
            status(403, "Forbidden")
        }
    });
}

pub fn acme() -> (World, Acme) {
    let (world, acme) = World::acme();
    serve_secret(&world, "acme", "users", acme.signing);
    (world, acme)
}

pub async fn mint(world: &World, acme: &Acme, body: &Value) -> Reply {
    world.post(PATH, Some(acme.key()), body).await
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The token in a reply, and its claims.
pub fn minted(reply: &Reply) -> (String, Value) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let token = body["appUserIdToken"].as_str().unwrap().to_owned();
    let claims = part(&token, 1);
    (token, claims)
}

#[tokio::test]
async fn by_client() {
    let (world, acme) = acme();
    let reply =
        mint(&world, &acme, &json!({"appUserId": "u-1", "sdkClientId": acme.client()})).await;
    let (token, mut claims) = minted(&reply);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let kid = acme.signing.public_jwk().kid;
    assert_eq!(part(&token, 0), json!({"alg": "ES256", "kid": kid, "typ": "JWT"}));
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(jti.as_str().unwrap().len(), 36);
    assert_eq!(
        claims,
        json!({
            "iss": issuer("acme", "users"), "sub": "u-1", "aud": [acme.client()],
            "iat": NOW, "nbf": NOW, "exp": NOW + 4380 * 3600,
            "sdkClientId": acme.client(), "userPoolId": UserPoolId::derive("acme", "users"),
        })
    );
    let question = json!({"token": token, "sdkClientId": acme.client()});
    let reply = world.post("/v1/validate", None, &question).await;
    assert_eq!(reply.json()["appUserId"], "u-1");
}

#[tokio::test]
async fn by_pool_by_both_and_by_default() {
    let (world, acme) = acme();
    let (client, pool) = (acme.client(), UserPoolId::derive("acme", "users"));
    for (body, named) in [
        (json!({"userPoolId": pool}), None),
        (json!({"userPoolId": pool, "sdkClientId": null}), None),
        (json!({"userPoolId": pool, "sdkClientId": client}), Some(client)),
        // The only hosted pool.
        (json!({}), None),
        (json!({"organizationId": OrganizationId::derive("acme"), "exp": null}), None),
    ] {
        let mut body = body;
        body["appUserId"] = json!("u");
        let (token, claims) = minted(&mint(&world, &acme, &body).await);
        assert_eq!(claims.get("sdkClientId"), named.map(|id| json!(id)).as_ref(), "{body}");
        let audience = named.map_or_else(|| json!([pool]), |id| json!([id]));
        assert_eq!(claims["aud"], audience, "{body}");
        let question = json!({"token": token, "sdkClientId": client});
        assert_eq!(world.post("/v1/validate", None, &question).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn the_defaults_of_the_organization() {
    let (world, acme) = acme();
    world.add(&objects::pool_without_keys("acme", "second"));
    let body = json!({"appUserId": "u"});
    let refused = mint(&world, &acme, &body).await;
    assert_eq!(refused.error(), (400, "MissingFieldError".into()));
    assert_eq!(refused.json()["field"], "userPoolId");

    let set = |spec: Value| world.add(&objects::organization("acme", &spec));
    set(json!({"defaultUserPoolRef": {"name": "users"}}));
    let (_, claims) = minted(&mint(&world, &acme, &body).await);
    assert_eq!(claims.get("sdkClientId"), None);
    // The client wins over the pool.
    set(json!({"defaultSdkClientRef": {"name": "web"}, "defaultUserPoolRef": {"name": "second"}}));
    let (_, claims) = minted(&mint(&world, &acme, &body).await);
    assert_eq!(claims["sdkClientId"], json!(acme.client()));
    // Whatever id it has.
    let chosen = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
    world.add(&objects::webapp_of_id("acme", "web", "users", chosen));
    let (_, claims) = minted(&mint(&world, &acme, &body).await);
    assert_eq!(claims["sdkClientId"], chosen);

    for (spec, field) in [
        (json!({"defaultSdkClientRef": {"name": "gone"}}), "sdkClientId"),
        (json!({"defaultUserPoolRef": {"name": "gone"}}), "userPoolId"),
    ] {
        set(spec);
        let reply = mint(&world, &acme, &body).await;
        assert_eq!(reply.error(), (400, "MissingFieldError".into()));
        assert_eq!(reply.json()["field"], field);
    }
}

#[tokio::test]
async fn expiry() {
    let (world, acme) = acme();
    let latest = NOW + 4464 * 3600;
    for (exp, expected) in [
        (json!(NOW + 1), Ok(NOW + 1)),
        (json!(NOW + DAY), Ok(NOW + DAY)),
        (json!(latest), Ok(latest)),
        (json!(null), Ok(NOW + 4380 * 3600)),
        (json!(latest + 1), Err(())),
        (json!(u32::MAX), Err(())),
        (json!(i64::from(u32::MAX) + 1), Err(())),
        (json!(u64::MAX), Err(())),
        (json!(NOW), Err(())),
        (json!(NOW - 1), Err(())),
        (json!(3600), Err(())),
        (json!(0), Err(())),
        (json!(-1), Err(())),
        (json!(1_800_000_100.5), Err(())),
        (json!("1800000100"), Err(())),
        (json!(true), Err(())),
        (json!([NOW + 1]), Err(())),
    ] {
        let reply = mint(&world, &acme, &json!({"appUserId": "u", "exp": exp})).await;
        if let Ok(second) = expected {
            assert_eq!(minted(&reply).1["exp"], second);
        } else {
            assert_eq!(reply.error(), (400, "InvalidFieldError".into()), "{exp}");
            assert_eq!(reply.json()["field"], "exp", "{exp}");
        }
    }
}

#[tokio::test]
async fn lifetimes_and_audiences_of_the_pool() {
    let (world, acme) = acme();
    let mut pool = objects::pool("acme", "users", acme.signing);
    pool.spec.audiences = Some(vec!["api".into(), "web".into()]);
    let lifetime = &mut pool.spec.hosted.as_mut().unwrap().token_lifetime;
    (lifetime.default, lifetime.max) = (Some("1h30m".into()), "2h".into());
    world.add(&pool);
    let body = json!({"appUserId": "u", "sdkClientId": acme.client()});
    let (token, claims) = minted(&mint(&world, &acme, &body).await);
    assert_eq!(claims["exp"], NOW + 5400);
    assert_eq!(claims["aud"], json!(["api", "web"]));
    let question = json!({"token": token, "sdkClientId": acme.client()});
    assert_eq!(world.post("/v1/validate", None, &question).await.status, 200);
    let late = json!({"appUserId": "u", "exp": NOW + 7201});
    let reply = mint(&world, &acme, &late).await;
    assert!(reply.json()["message"].as_str().unwrap().ends_with(&(NOW + 7200).to_string()));
}

#[tokio::test]
async fn user_ids_of_every_sort() {
    let (world, acme) = acme();
    for id in ["u", "jörg@example.com", "65f2c0ffee", "a b/c?d", "\"quoted\"", &"x".repeat(255)] {
        let (token, claims) = minted(&mint(&world, &acme, &json!({"appUserId": id})).await);
        assert_eq!(claims["sub"], id);
        let question = json!({"token": token, "sdkClientId": acme.client()});
        assert_eq!(world.post("/v1/validate", None, &question).await.json()["appUserId"], id);
    }
}

#[tokio::test]
async fn the_secret_is_read_rarely_and_by_label() {
    let (world, acme) = acme();
    for _ in 0..10 {
        minted(&mint(&world, &acme, &json!({"appUserId": "u"})).await);
    }
    let seen = world.api.seen();
    assert_eq!(seen.len(), 1);
    let selector = format!(
        "labelSelector=app.kubernetes.io/managed-by=anon-operator,anon.dev/component=signing-keys,anon.dev/id={}",
        UserPoolId::derive("acme", "users")
    );
    assert!(seen[0].query.replace("%2F", "/").contains(&selector), "{}", seen[0].query);
}

#[tokio::test]
async fn the_key_of_another_pool_does_not_sign() {
    // Two pools that publish one `kid` cannot be; if they could, each would use its own Secret.
    let (world, acme) = acme();
    minted(&mint(&world, &acme, &json!({"appUserId": "u"})).await);
    world.add(&objects::pool("acme", "copy", acme.signing));
    world.add(&objects::webapp("acme", "copy", "copy"));
    let client = SdkClientId::derive("acme", "copy");
    let reply = mint(&world, &acme, &json!({"appUserId": "u", "sdkClientId": client})).await;
    assert_eq!(reply.error(), (503, "UnavailableError".into()));
}

#[tokio::test]
async fn who_asks_at_the_same_time_causes_one_read() {
    let (world, acme) = acme();
    let body = json!({"appUserId": "u-1", "sdkClientId": acme.client()});
    let replies = join_all((0..20).map(|_| mint(&world, &acme, &body))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(world.api.log().len(), 1);
}
