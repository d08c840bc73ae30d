//! The public key set of a pool and its discovery document.

use anon_operator::testing::crd;
use anon_operator::testing::domain::ids::UserPoolId;
use serde_json::{Value, json};

use crate::support::objects::{self, issuer};
use crate::support::{Reply, World, get};

fn path(document: &str) -> String {
    format!("/userPools/{}/.well-known/{document}", UserPoolId::derive("acme", "users"))
}

#[tokio::test]
async fn the_key_set() {
    let (world, acme) = World::acme();
    let reply = world.get(&path("jwks.json")).await;
    assert_eq!(reply.status, 200);
    let jwk = acme.signing.public_jwk();
    assert_eq!(
        reply.json(),
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "kid": jwk.thumbprint(), "x": jwk.x, "y": jwk.y,
        }]})
    );
    assert_eq!(reply.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn the_discovery_document() {
    let (world, _) = World::acme();
    let reply = world.get(&path("openid-configuration")).await;
    let issuer = issuer("acme", "users");
    assert_eq!(
        reply.json(),
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    // The path of the issuer is the path that is served: discovery by the book.
    assert!(
        path("openid-configuration")
            .starts_with(issuer.strip_prefix("https://anon.example.com").unwrap())
    );
}

/// A provided pool has its set here, and its owner may mint with the pool's URL as issuer. Sets of
/// other pools are published where they come from.
#[tokio::test]
async fn pools_that_are_not_hosted() {
    let (world, acme) = World::acme();
    let hosted = world.get(&path("jwks.json")).await.json();
    world.add::<crd::UserPool>(&objects::parse(objects::provided_pool_json(
        "acme",
        "users",
        acme.signing,
    )));
    assert_eq!(world.get(&path("jwks.json")).await.json(), hosted);
    let discovery = world.get(&path("openid-configuration")).await.json();
    assert_eq!(discovery["issuer"], json!(issuer("acme", "users")));
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["ES256"]));

    world.add(&objects::inline_pool("acme", "users", acme.signing, &json!({})));
    for document in ["jwks.json", "openid-configuration"] {
        let reply = world.get(&path(document)).await;
        assert_eq!(reply.error(), (404, "NotFoundError".into()));
        assert!(reply.text.contains("identity provider"), "{}", reply.text);
    }
}

async fn conditional(world: &World, document: &str, if_none_match: &str) -> Reply {
    let mut request = get(&path(document));
    request.headers_mut().insert("if-none-match", if_none_match.parse().unwrap());
    world.send(request).await
}

#[tokio::test]
async fn who_has_it_already_gets_304() {
    let (world, _) = World::acme();
    for document in ["jwks.json", "openid-configuration"] {
        let etag = world.get(&path(document)).await.header("etag").unwrap().to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 10, "{etag}");
        for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
            let reply = conditional(&world, document, &known).await;
            assert_eq!((reply.status.as_u16(), reply.text.as_str()), (304, ""), "{known}");
            assert_eq!(reply.header("etag"), Some(etag.as_str()));
            assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
        }
        for other in ["\"x\"", "", "\"\""] {
            assert_eq!(conditional(&world, document, other).await.status, 200, "{other}");
        }
    }
    let old = world.get(&path("jwks.json")).await.header("etag").unwrap().to_owned();
    world.add(&objects::pool("acme", "users", &objects::new_signing_key()));
    assert_eq!(
        conditional(&world, "jwks.json", &old).await.status,
        200,
        "another key, another tag"
    );
}

#[tokio::test]
async fn a_replica_that_has_lost_touch_publishes_nothing() {
    // The leader no longer waits for it, so it may lack the key that signs, or have a revoked one.
    let world = World::stale();
    for path in [path("jwks.json"), path("openid-configuration"), "/v1/clients/x".to_owned()] {
        let reply = world.get(&path).await;
        assert_eq!(reply.error(), (503, "UnavailableError".into()), "{path}");
        assert_eq!(reply.json()["reason"], "index_stale");
    }
}

#[tokio::test]
async fn pools_that_are_not_there() {
    let (world, _) = World::acme();
    for id in [
        UserPoolId::derive("acme", "nobody").to_string(),
        "x".into(),
        "users".into(),
        "%00".into(),
        "..%2F..".into(),
        format!("{{{}}}", UserPoolId::derive("acme", "users"))
            .replace('{', "%7B")
            .replace('}', "%7D"),
    ] {
        for document in ["jwks.json", "openid-configuration"] {
            let reply = world.get(&format!("/userPools/{id}/.well-known/{document}")).await;
            assert_eq!(reply.error(), (404, "NotFoundError".into()), "{id}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{id}");
        }
    }
}

#[tokio::test]
async fn without_keys_it_is_503() {
    let (world, _) = World::acme();
    world.add(&objects::pool_without_keys("acme", "users"));
    for document in ["jwks.json", "openid-configuration"] {
        let reply = world.get(&path(document)).await;
        assert_eq!(reply.error(), (503, "UnavailableError".into()));
        assert_eq!(reply.header("retry-after"), Some("1"));
        let early = World::unlisted().get(&path(document)).await;
        assert_eq!(
            (early.status.as_u16(), early.json()["reason"].as_str()),
            (503, Some("index_not_ready"))
        );
    }
}

/// The header of a credential causes a preflight, and is ignored. So that the page can read why a
/// set is not there, errors may be read as well.
#[tokio::test]
async fn any_page_may_read_them() {
    let (world, _) = World::acme();
    for document in ["jwks.json", "openid-configuration"] {
        let mut preflight = get(&path(document));
        *preflight.method_mut() = http::Method::OPTIONS;
        for (name, value) in [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ] {
            preflight.headers_mut().insert(name, value.parse().unwrap());
        }
        let reply = world.send(preflight).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("access-control-allow-methods"), Some("GET"));
        assert_eq!(reply.header("access-control-allow-headers"), Some("authorization"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);

        let mut request = get(&path(document));
        request.headers_mut().insert("authorization", "Basic dTpw".parse().unwrap());
        let reply = world.send(request).await;
        assert_eq!((reply.status.as_u16(), reply.header("vary")), (200, None));
        let missing = format!("/userPools/nobody/.well-known/{document}");
        let reply = world.get(&missing).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
}

/// A private member in a status is served by no replica.
#[tokio::test]
async fn private_members_are_never_served() {
    let (world, acme) = World::acme();
    let mut pool = objects::pool_json("acme", "users", acme.signing);
    for member in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
        pool["status"]["keys"][0]["jwk"][member] = json!("c2VjcmV0");
    }
    world.add(&objects::parse::<anon_operator::testing::crd::UserPool>(pool));
    let text = world.get(&path("jwks.json")).await.text;
    assert!(!text.contains("c2VjcmV0"), "{text}");
}

/// Keys whose `source` is not that of the spec, keys that are none, and objects that are being
/// deleted serve nothing.
#[tokio::test]
async fn keys_that_do_not_belong_to_the_spec() {
    let (world, acme) = World::acme();
    let good = objects::pool_json("acme", "users", acme.signing);
    let spoil: [fn(&mut Value); 3] = [
        |pool| pool["status"]["source"] = json!("jwks https://old.example"),
        |pool| pool["status"]["keys"][0]["jwk"]["x"] = json!("AAAA"),
        |pool| pool["status"]["keys"][0]["algorithm"] = json!("RS256"),
    ];
    for spoil in spoil {
        let mut pool = good.clone();
        spoil(&mut pool);
        world.add(&objects::parse::<anon_operator::testing::crd::UserPool>(pool));
        assert_eq!(world.get(&path("jwks.json")).await.status, 503);
    }
    let mut going = good.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.add(&objects::parse::<anon_operator::testing::crd::UserPool>(going));
    assert_eq!(world.get(&path("jwks.json")).await.status, 404);
}
