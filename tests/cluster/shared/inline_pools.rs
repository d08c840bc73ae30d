//! Pools whose public keys stand in their spec.

use anon_operator::crd::{SdkClient, UserPool, condition};
use anon_operator::domain::algorithm::Algorithm;
use anon_operator::domain::signing::SigningKey;
use anon_operator::domain::token;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::wait::expect;
use crate::harness::{Space, eventually, http, pool_with, shared, webapp};

fn signed(key: &SigningKey, more: &Value) -> String {
    let now = Timestamp::now().as_second();
    let mut claims = json!({"sub": "s", "aud": "other", "exp": now + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token::sign(key, &key.public_jwk().kid.unwrap(), &claims).unwrap()
}

/// Keys and claims policy count as soon as the spec says so.
#[tokio::test]
async fn keys_and_policy_of_the_spec() {
    let operator = shared().await;
    let space = Space::new("inline").await;
    let [one, two] = [(); 2].map(|()| SigningKey::generate(Algorithm::ES256).unwrap());
    let spec = |key: &SigningKey, more: Value| {
        let unusable = json!({"kty": "EC", "crv": "P-521", "kid": "odd"});
        let mut spec = json!({"inline": {"keys": [key.public_jwk(), unusable]}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pool_with("devices", spec)
    };
    space.apply(&spec(&one, json!({"anyAudience": true}))).await;
    space.apply(&webapp("web", "devices")).await;
    let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
    let verdict = async |token: &str, expected: &str| {
        eventually(&format!("the token gets {expected}"), async || {
            let reply = operator.validate(token, Some(&web)).await.verdict();
            expect(reply == expected, reply)
        })
        .await;
    };
    verdict(&signed(&one, &json!({})), "200").await;
    verdict(&signed(&two, &json!({})), "401 key_unknown").await;

    let pool: UserPool = space.ready("devices").await;
    let status = pool.status.unwrap();
    assert_eq!(status.source.as_deref(), Some("inline"));
    assert!(status.keys.is_empty(), "they are in the spec");
    for (type_, text) in [("AnyAudience", "whatever their `aud`"), ("KeysDropped", "key `odd`")] {
        let condition = condition::find(&status.conditions, type_).expect(type_);
        assert!(condition.message.contains(text), "{condition:?}");
    }
    let id = status.id.unwrap();
    let served = http::get(&operator.url(&format!("/userPools/{id}/.well-known/jwks.json"))).await;
    assert_eq!(served.unwrap().status, 404);

    // Another key, and a policy.
    let policy = json!({
        "audiences": ["api"], "issuers": ["https://id.example"], "idClaim": "/device/serial",
        "requiredClaims": [{"claim": "kind", "values": ["gateway"]}], "leeway": "0s",
    });
    let policy = spec(&two, policy);
    space.api::<UserPool>().delete("devices", &kube::api::DeleteParams::default()).await.unwrap();
    space.apply(&policy).await;
    verdict(&signed(&one, &json!({})), "401 key_unknown").await;
    let good = json!({
        "aud": ["api"], "iss": "https://id.example", "kind": "gateway", "device": {"serial": "x-1"},
    });
    let but = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        signed(&two, &claims)
    };
    let token = signed(&two, &good);
    verdict(&token, "200").await;
    assert_eq!(operator.validate(&token, Some(&web)).await.json()["appUserId"], "x-1");
    for (token, reason) in [
        (but("aud", json!("web")), "audience_mismatch"),
        (but("iss", json!("https://evil.example")), "issuer_mismatch"),
        (but("kind", json!("phone")), "required_claim_mismatch"),
        (but("device", json!({})), "subject_missing"),
        (but("exp", json!(Timestamp::now().as_second() - 1)), "token_expired"),
    ] {
        assert_eq!(operator.validate(&token, Some(&web)).await.verdict(), format!("401 {reason}"));
    }
}
