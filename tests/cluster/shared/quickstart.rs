//! The main job, from `kubectl apply` to a verdict.

use std::fs;

use anon_operator::testing::crd::{Member, Organization, SdkClient, UserPool};
use jsonwebtoken::Algorithm;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use serde_json::{Value, json};

use crate::harness::kubectl::kubectl_with;
use crate::harness::operator::PUBLIC_URL;
use crate::harness::tokens::{tampered, verify};
use crate::harness::{
    Operator, Space, http, immediately, pool, quick_pool, service, shared, webapp,
};

/// A GET of a public document.
async fn document(operator: &Operator, path: &str) -> Value {
    let reply = http::get(&operator.url(path)).await.unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "public, max-age=300");
    reply.json()
}

#[tokio::test]
async fn from_manifests_to_a_verdict() {
    let operator = shared().await;
    let space = Space::new("quickstart").await;
    // The example as it is shipped, in a namespace of this test's own.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart.yaml");
    let example = fs::read_to_string(path).unwrap();
    let example = example
        .replace("namespace: acme", &format!("namespace: {}", space.name))
        .replace("name: acme #", &format!("name: {} #", space.name));
    let said = kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &example);
    assert!(said.success && said.stderr.is_empty(), "{said:?}");

    let organization: Organization = space.ready("default").await;
    let pool: UserPool = space.ready("users").await;
    let web: SdkClient = space.ready("web").await;
    let backend: SdkClient = space.ready("backend").await;
    let ada: Member = space.ready("ada").await;
    assert!(ada.status.unwrap().id.is_some());
    let organization = organization.status.unwrap().id.unwrap();
    let pool_status = pool.status.unwrap();
    let pool = pool_status.id.unwrap();
    let web = web.status.unwrap().client_id.unwrap();
    let backend_status = backend.status.unwrap();
    let backend = backend_status.client_id.unwrap();

    // What is stored beside the status.
    let binding: RoleBinding = space.get("anon-member-ada-admin").await.unwrap();
    assert_eq!(binding.role_ref.name, "anon-admin");
    assert_eq!(binding.subjects.unwrap()[0].name, "ada@acme.example");
    assert_eq!(space.value("backend-anon", "clientId").await.unwrap(), backend);
    assert_eq!(space.value("backend-anon", "organizationId").await.unwrap(), organization);
    assert_eq!(space.value("backend-anon", "baseUrl").await.unwrap(), PUBLIC_URL);

    // The key identifies its client.
    let key = space.api_key("backend-anon").await;
    let verdict = operator.validate(&key, None).await;
    let stored = &backend_status.keys[0];
    assert_eq!(verdict.status, 200, "{verdict:?}");
    assert_eq!(
        verdict.json(),
        json!({
            "active": true, "principal": "apiKey", "organizationId": organization,
            "sdkClientId": backend, "role": "Member", "keyId": stored.id,
            "issuedAt": stored.created_at,
        })
    );

    // The key mints.
    let request = json!({"appUserId": "user-123", "sdkClientId": web});
    let token = operator.minted(&key, &request).await;
    let verdict = operator.validate(&token, Some(&web)).await;
    assert_eq!(verdict.status, 200, "{verdict:?}");
    let jwks = document(&operator, &format!("/userPools/{pool}/.well-known/jwks.json")).await;
    let claims = verify(&token, &jwks, Algorithm::RS256).unwrap();
    let time = |name: &str| jiff::Timestamp::from_second(claims[name].as_i64().unwrap()).unwrap();
    assert_eq!(
        verdict.json(),
        json!({
            "active": true, "principal": "appUser", "organizationId": organization,
            "userPoolId": pool, "sdkClientId": web, "appUserId": "user-123",
            "issuedAt": time("iat").to_string(), "expiresAt": time("exp").to_string(),
            "claims": claims,
        })
    );
    let issuer = format!("{PUBLIC_URL}/userPools/{pool}");
    let jti = claims["jti"].as_str().unwrap();
    assert!(uuid::Uuid::try_parse(jti).is_ok());
    let (iat, six_months) = (claims["iat"].as_i64().unwrap(), 4380 * 3600);
    assert_eq!(
        claims,
        json!({
            "iss": issuer, "sub": "user-123", "aud": [web], "iat": iat, "nbf": iat,
            "exp": iat + six_months, "jti": jti, "sdkClientId": web, "userPoolId": pool,
        })
    );

    // Every place that publishes keys says the same.
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 1);
    assert!(jwks["keys"][0].get("d").is_none());
    assert_eq!(jwks["keys"][0], serde_json::to_value(&pool_status.keys[0].jwk).unwrap());
    let map: ConfigMap = space.get("users-jwks").await.unwrap();
    let mounted: Value = serde_json::from_str(&map.data.unwrap()["jwks.json"]).unwrap();
    assert_eq!(mounted, jwks);
    let discovery =
        document(&operator, &format!("/userPools/{pool}/.well-known/openid-configuration")).await;
    assert_eq!(discovery["issuer"], json!(issuer));
    assert_eq!(discovery["jwks_uri"], json!(pool_status.jwks_uri));
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["RS256"]));

    // What is not this token is refused, each with its reason.
    for (part, reason) in [(1, "signature_invalid"), (2, "signature_invalid")] {
        let verdict = operator.validate(&tampered(&token, part), Some(&web)).await;
        assert_eq!(verdict.verdict(), format!("401 {reason}"));
        assert_eq!(verdict.json()["active"], json!(false));
    }
    assert_eq!(operator.validate(&token, None).await.verdict(), "400 client_missing");
    assert_eq!(operator.validate(&token, Some(&backend)).await.verdict(), "401 client_not_webapp");
    assert_eq!(operator.validate(&token, Some(&pool)).await.verdict(), "401 client_unknown");
}

#[tokio::test]
async fn every_algorithm_mints_and_validates() {
    let operator = shared().await;
    let space = Space::new("algorithms").await;
    space.apply(&service("backend", "Member", "key")).await;
    let algorithms = [
        ("RS256", Algorithm::RS256),
        ("PS256", Algorithm::PS256),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("EdDSA", Algorithm::EdDSA),
    ];
    for (name, _) in algorithms {
        let lower = name.to_lowercase();
        space.apply(&pool(&lower, json!({"algorithm": name}))).await;
        space.apply(&webapp(&format!("web-{lower}"), &lower)).await;
    }
    space.ready::<SdkClient>("backend").await;
    let key = space.api_key("key").await;
    let mut tokens = Vec::new();
    for (name, algorithm) in algorithms {
        let lower = name.to_lowercase();
        let pool: UserPool = space.ready(&lower).await;
        let web: SdkClient = space.ready(&format!("web-{lower}")).await;
        let (pool, web) = (pool.status.unwrap(), web.status.unwrap().client_id.unwrap());
        let request = json!({"appUserId": name, "userPoolId": pool.id});
        let token = operator.minted(&key, &request).await;
        assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, algorithm);
        let verdict = operator.validate(&token, Some(&web)).await;
        assert_eq!(verdict.verdict(), "200", "{name}: {verdict:?}");
        assert_eq!(verdict.json()["appUserId"], json!(name));
        let path = format!("/userPools/{}/.well-known/jwks.json", pool.id.unwrap());
        let claims = verify(&token, &document(&operator, &path).await, algorithm).unwrap();
        assert_eq!(claims["sub"], json!(name));
        tokens.push((token, web));
    }
    // A token is valid for the clients of its own pool only.
    for (index, (token, _)) in tokens.iter().enumerate() {
        for (_, web) in tokens.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, it)| it) {
            assert_eq!(operator.validate(token, Some(web)).await.verdict(), "401 key_unknown");
        }
    }
}

#[tokio::test]
async fn suspended_and_deleted_clients_are_refused_at_once() {
    let operator = shared().await;
    let space = Space::new("refused").await;
    space
        .apply_all(&[
            quick_pool("users"),
            webapp("web", "users"),
            webapp("other", "users"),
            service("backend", "Member", "key"),
        ])
        .await;
    space.ready::<UserPool>("users").await;
    let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
    let other = space.ready::<SdkClient>("other").await.status.unwrap().client_id.unwrap();
    space.ready::<SdkClient>("backend").await;
    let key = space.api_key("key").await;
    let token = operator.minted(&key, &json!({"appUserId": "u", "sdkClientId": web})).await;
    let verdicts = async || {
        (
            operator.validate(&token, Some(&web)).await.verdict(),
            operator.validate(&token, Some(&other)).await.verdict(),
            operator.validate(&key, None).await.verdict(),
        )
    };
    let become_ = async |web: &str, other: &str, key: &str| {
        immediately("the verdicts change", async || {
            let now = verdicts().await;
            let wanted = (web.to_owned(), other.to_owned(), key.to_owned());
            if now == wanted { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    };
    become_("200", "200", "200").await;

    let suspended = |yes: bool| json!({"spec": {"suspended": yes}});
    space.merge::<SdkClient>("web", suspended(true)).await;
    space.merge::<SdkClient>("backend", suspended(true)).await;
    become_("401 client_suspended", "401 audience_mismatch", "401 client_suspended").await;
    // A deployment that waits for it must not hang.
    space.stands::<SdkClient>("web", "Suspended").await;
    space.ready::<SdkClient>("backend").await;
    assert_eq!(operator.mint(&key, &json!({"appUserId": "u"})).await.status, 401);

    space.merge::<SdkClient>("web", suspended(false)).await;
    space.merge::<SdkClient>("backend", suspended(false)).await;
    become_("200", "200", "200").await;
    assert_eq!(space.api_key("key").await, key, "suspension changes no key");

    space.delete::<SdkClient>("web").await;
    space.delete::<SdkClient>("backend").await;
    become_("401 client_unknown", "401 audience_mismatch", "401 api_key_unknown").await;
    space.delete::<UserPool>("users").await;
    become_("401 client_unknown", "401 user_pool_not_found", "401 api_key_unknown").await;
}
