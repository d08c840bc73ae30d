//! One organization cannot reach into another; one role cannot do what a higher one may; and what
//! minting refuses.

use anon_operator::testing::crd::{Organization, SdkClient, UserPool};
use serde_json::{Value, json};

use crate::harness::tokens::{minted, verify};
use crate::harness::{
    Operator, Space, eventually, http, organization, pool, quick_pool, service, shared, webapp,
};

/// An organization with a pool, a frontend and two backends.
struct Company {
    space: Space,
    organization: String,
    pool: String,
    web: String,
    key: String,
    read_only_key: String,
}

async fn company(label: &str, hosted: Value) -> Company {
    let space = Space::new(label).await;
    space
        .apply_all(&[
            organization("default", json!({})),
            pool("users", hosted),
            webapp("web", "users"),
            service("backend", "Member", "member-key"),
            service("reader", "ReadOnly", "read-only-key"),
        ])
        .await;
    space.ready::<SdkClient>("backend").await;
    space.ready::<SdkClient>("reader").await;
    Company {
        organization: space.ready::<Organization>("default").await.status.unwrap().id.unwrap(),
        pool: space.ready::<UserPool>("users").await.status.unwrap().id.unwrap(),
        web: space.ready::<SdkClient>("web").await.status.unwrap().client_id.unwrap(),
        key: space.api_key("member-key").await,
        read_only_key: space.api_key("read-only-key").await,
        space,
    }
}

/// Status and name of a refusal to mint.
async fn refusal(operator: &Operator, key: &str, body: Value) -> String {
    let reply = operator.mint(key, &body).await;
    assert_ne!(reply.status, 200, "{body}");
    let json = reply.json();
    let field = json["field"].as_str().unwrap_or_default();
    format!("{} {} {field}", reply.status, json["name"].as_str().unwrap()).trim_end().to_owned()
}

#[tokio::test]
async fn organizations_are_apart() {
    let operator = shared().await;
    let es256 = || json!({"algorithm": "ES256"});
    let (a, b) = (company("org-a", es256()).await, company("org-b", es256()).await);

    // The pool and client of another organization look like none at all.
    let of_b = json!({"appUserId": "u", "userPoolId": b.pool});
    assert_eq!(refusal(&operator, &a.key, of_b).await, "404 NotFoundError");
    let of_b = json!({"appUserId": "u", "sdkClientId": b.web});
    assert_eq!(refusal(&operator, &a.key, of_b).await, "404 NotFoundError");
    let none = json!({"appUserId": "u", "userPoolId": uuid::Uuid::new_v4().to_string()});
    assert_eq!(refusal(&operator, &a.key, none).await, "404 NotFoundError");
    let foreign = json!({"appUserId": "u", "organizationId": b.organization});
    assert_eq!(refusal(&operator, &a.key, foreign).await, "403 ForbiddenError");

    let own = json!({"appUserId": "u", "sdkClientId": a.web, "organizationId": a.organization});
    let token = operator.minted(&a.key, &own).await;
    assert_eq!(operator.validate(&token, Some(&a.web)).await.verdict(), "200");
    assert_eq!(operator.validate(&token, Some(&b.web)).await.verdict(), "401 key_unknown");

    // `organizationId` limits the answer, for tokens and for keys.
    for (organization, verdict) in [
        (&a.organization, "200"),
        (&b.organization, "401 organization_mismatch"),
        (&"junk".to_owned(), "401 organization_mismatch"),
    ] {
        for credential in [&token, &a.key] {
            let body = json!({
                "token": credential, "sdkClientId": a.web, "organizationId": organization
            });
            let reply = http::post(&operator.url("/v1/validate"), &[], &body).await.unwrap();
            assert_eq!(reply.verdict(), verdict);
        }
    }
}

#[tokio::test]
async fn what_minting_asks_for() {
    let operator = shared().await;
    let hosted = json!({"algorithm": "ES256", "tokenLifetime": {"default": "10m", "max": "1h"}});
    let own = company("minting", hosted).await;
    let refused = async |key: &str, body| refusal(&operator, key, body).await;

    // The role, and the credential.
    let body = || json!({"appUserId": "u"});
    assert_eq!(refused(&own.read_only_key, body()).await, "403 ForbiddenError");
    assert_eq!(operator.validate(&own.read_only_key, None).await.json()["role"], "ReadOnly");
    let unknown = own.key.replace("ory_apikey_", "ory_apikey_x");
    assert_eq!(refused(&unknown, body()).await, "401 UnauthorizedError");
    let token = operator.minted(&own.key, &body()).await;
    assert_eq!(refused(&token, body()).await, "401 UnauthorizedError");

    // The user.
    for (id, refusal) in [
        (Value::Null, "400 MissingFieldError appUserId"),
        (json!(""), "400 MissingFieldError appUserId"),
        (json!(7), "400 InvalidFieldError appUserId"),
        (json!("x".repeat(256)), "400 InvalidFieldError appUserId"),
        (json!("a\u{0}b"), "400 InvalidFieldError appUserId"),
    ] {
        assert_eq!(refused(&own.key, json!({"appUserId": id})).await, refusal);
    }

    // The time.
    let now = jiff::Timestamp::now().as_second();
    for exp in [json!(now - 1), json!(3600), json!(now + 2 * 3600), json!("soon"), json!(-1)] {
        let body = json!({"appUserId": "u", "exp": exp});
        assert_eq!(refused(&own.key, body).await, "400 InvalidFieldError exp", "{exp}");
    }
    let jwks = operator.url(&format!("/userPools/{}/.well-known/jwks.json", own.pool));
    let jwks = http::get(&jwks).await.unwrap().json();
    let claims = async |body| {
        let token = operator.minted(&own.key, &body).await;
        verify(&token, &jwks, jsonwebtoken::Algorithm::ES256).unwrap()
    };
    let asked = claims(json!({"appUserId": "u", "exp": now + 3000})).await;
    assert_eq!(asked["exp"], json!(now + 3000));
    let default = claims(json!({"appUserId": "u"})).await;
    assert_eq!(default["exp"].as_i64().unwrap() - default["iat"].as_i64().unwrap(), 600);

    // The pool: found by itself while it is the only one, else to be named, or set as default.
    assert_eq!(default["aud"], json!([own.pool]));
    own.space.apply(&quick_pool("second")).await;
    own.space.ready::<UserPool>("second").await;
    eventually("two pools are no longer one", async || {
        let reply = operator.mint(&own.key, &body()).await;
        if reply.status == 400 { Ok(()) } else { Err(reply.status) }
    })
    .await;
    assert_eq!(refused(&own.key, body()).await, "400 MissingFieldError userPoolId");
    own.space
        .merge::<Organization>("default", json!({"spec": {"defaultSdkClientRef": {"name": "web"}}}))
        .await;
    let token = eventually("the default client is valid", async || {
        let reply = operator.mint(&own.key, &body()).await;
        if reply.status == 200 { Ok(minted(&reply)) } else { Err(reply.status) }
    })
    .await;
    let claims = verify(&token, &jwks, jsonwebtoken::Algorithm::ES256).unwrap();
    assert_eq!(claims["sdkClientId"], json!(own.web));
}
