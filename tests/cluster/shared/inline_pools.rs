//! Pools whose public keys stand in their spec.

use anon_operator::testing::crd::{SdkClient, UserPool, condition};
use anon_operator::testing::domain::algorithm::Algorithm;
use anon_operator::testing::domain::signing::SigningKey;
use anon_operator::testing::domain::token;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::signature::Signer as _;
use serde_json::{Value, json};

use crate::harness::wait::expect;
use crate::harness::{Space, eventually, http, pool_with, shared, webapp};

fn signed(key: &SigningKey, more: &Value) -> String {
    let now = Timestamp::now().as_second();
    let mut claims = json!({"sub": "s", "aud": "other", "exp": now + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    token::sign(key, &key.public_jwk().kid.unwrap(), &claims).unwrap()
}

/// A JWK Set as a provider publishes it: one `kid` for keys of two algorithms, numbers with leading
/// zeros, members that are null, and tokens with and without `kid`. A Revocation of the `kid` covers
/// both keys.
#[tokio::test]
async fn a_key_set_as_a_provider_publishes_it() {
    let operator = shared().await;
    let space = Space::new("inline-text").await;
    let keys = [Algorithm::RS256, Algorithm::ES256].map(|alg| SigningKey::generate(alg).unwrap());
    let published = keys.each_ref().map(|key| {
        let mut jwk = serde_json::to_value(key.public_jwk()).unwrap();
        for number in ["n", "x"] {
            if let Some(text) = jwk[number].as_str() {
                let octets = URL_SAFE_NO_PAD.decode(text).unwrap();
                jwk[number] = json!(URL_SAFE_NO_PAD.encode([vec![0], octets].concat()));
            }
        }
        let more = json!({"kid": "2026", "d": null, "x5c": ["MIIC"], "ext": true});
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    });
    let text = format!("\u{feff}{}", json!({"keys": published}));
    space.apply(&pool_with("users", json!({"inline": {"jwks": text}, "anyAudience": true}))).await;
    space.apply(&webapp("web", "users")).await;
    let pool: UserPool = space.ready("users").await;
    let conditions = pool.status.unwrap().conditions;
    assert!(condition::find(&conditions, "KeysDropped").is_none(), "{conditions:?}");
    let web = space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap();
    let claims = json!({"sub": "s", "exp": Timestamp::now().as_second() + 600});
    let with_kid = keys.each_ref().map(|key| token::sign(key, "2026", &claims).unwrap());
    let without_kid = keys.each_ref().map(|key| {
        let header = json!({"alg": key.algorithm(), "typ": "JOSE"}).to_string();
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", encode(&header), encode(&claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(key.try_sign(input.as_bytes()).unwrap());
        format!("{input}.{signature}")
    });
    let tokens: Vec<_> = with_kid.iter().chain(&without_kid).collect();
    let all_get = async |expected: &str| {
        for token in &tokens {
            eventually(&format!("the token gets {expected}"), async || {
                let reply = operator.validate(token, Some(&web)).await.verdict();
                expect(reply == expected, reply)
            })
            .await;
        }
    };
    all_get("200").await;
    let revocation = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "leak"},
        "spec": {"userPool": {"name": "users", "keyIds": ["2026"]}},
    });
    space.apply(&revocation).await;
    all_get("401 key_revoked").await;
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
