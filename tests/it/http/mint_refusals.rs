//! `POST /org/appUserIdToken`: what is refused, and how.

use anon_operator::testing::domain::credential::ApiKey;
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use serde_json::{Value, json};

use super::mint::{PATH, acme, mint, minted, serve_secret};
use crate::support::api::{ok, status};
use crate::support::objects::{self, claims, signing_secrets, token};
use crate::support::{CHALLENGE, World, post};

#[tokio::test]
async fn callers() {
    let (world, acme) = acme();
    let reader = ApiKey::generate().unwrap();
    world.add(&objects::service("acme", "reader", "ReadOnly", &reader));
    let unknown = ApiKey::generate().unwrap();
    let jwt = token(acme.signing, &claims());
    let body = json!({"appUserId": "u"});
    for (bearer, expected, reason) in [
        (None, 401, "credential_missing"),
        (Some(unknown.expose()), 401, "api_key_unknown"),
        (Some("ory_apikey_x"), 401, "credential_unrecognized"),
        (Some("ory_st_x"), 401, "credential_unrecognized"),
        (Some(jwt.as_str()), 401, "credential_kind_refused"),
        // The client of the original platform without a credential, before it logs in.
        (Some(""), 401, "credential_missing"),
        (Some("a b"), 401, "authorization_malformed"),
    ] {
        let reply = world.post(PATH, bearer, &body).await;
        assert_eq!(reply.status.as_u16(), expected, "{bearer:?}");
        assert_eq!(reply.json()["reason"], reason, "{bearer:?}");
        assert_eq!(reply.header("www-authenticate"), Some(CHALLENGE), "{bearer:?}");
    }
    let reply = world.post(PATH, Some(reader.expose()), &body).await;
    assert_eq!(reply.error(), (403, "ForbiddenError".into()));

    // Suspended: refused at once, though the key is right.
    world.add(&objects::suspended(objects::service("acme", "backend", "Member", &acme.api_key)));
    assert_eq!(mint(&world, &acme, &body).await.json()["reason"], "client_suspended");
    let reply = World::unlisted().post(PATH, Some(acme.key()), &body).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, Some("1")));
    assert!(world.api.log().is_empty(), "no Secret is read for a caller that may not issue tokens");
}

/// The owner of the private keys of a pool issues its tokens.
#[tokio::test]
async fn pools_that_are_not_hosted() {
    let (world, acme) = acme();
    let mut provided = objects::provided_pool_json("acme", "testers", acme.signing);
    provided["spec"]["displayName"] = json!("Testers");
    world.add::<anon_operator::testing::crd::UserPool>(&objects::parse(provided));
    world.add(&objects::inline_pool("acme", "devices", acme.signing, &json!({})));
    for (pool, remedy) in
        [("testers", "kubectl anon token mint --jwks"), ("devices", "your identity provider")]
    {
        let pool = UserPoolId::derive("acme", pool);
        let reply = mint(&world, &acme, &json!({"appUserId": "u", "userPoolId": pool})).await;
        assert_eq!(reply.error(), (422, "UnprocessableError".into()));
        assert!(reply.text.contains(remedy), "{}", reply.text);
    }
    // The one hosted pool is the default, whatever others there are.
    assert_ne!(mint(&world, &acme, &json!({"appUserId": "u"})).await.status, 422);
}

/// A caller who may not learns nothing from the body's errors: authentication comes first.
#[tokio::test]
async fn bodies() {
    let (world, acme) = acme();
    for (body, name, field) in [
        ("", "MissingBodyError", None),
        ("[]", "MalformedRequestError", None),
        ("{", "MalformedRequestError", None),
        (r#"{"appUserId":"a","appUserId":"b"}"#, "MalformedRequestError", None),
        ("{}", "MissingFieldError", Some("appUserId")),
        (r#"{"appUserId":null}"#, "MissingFieldError", Some("appUserId")),
        (r#"{"appUserId":""}"#, "MissingFieldError", Some("appUserId")),
        (r#"{"appUserId":1}"#, "InvalidFieldError", Some("appUserId")),
        (r#"{"appUserId":"a\u0000b"}"#, "InvalidFieldError", Some("appUserId")),
        (r#"{"appUserId":"a\nb"}"#, "InvalidFieldError", Some("appUserId")),
        (r#"{"appUserId":"\u007f"}"#, "InvalidFieldError", Some("appUserId")),
        (r#"{"appUserId":"\u0085"}"#, "InvalidFieldError", Some("appUserId")),
        (r#"{"appUserId":"u","userPoolId":1}"#, "InvalidFieldError", Some("userPoolId")),
        (r#"{"appUserId":"u","sdkClientId":[]}"#, "InvalidFieldError", Some("sdkClientId")),
        (r#"{"appUserId":"u","organizationId":1}"#, "InvalidFieldError", Some("organizationId")),
    ] {
        let mut request = post(PATH, body);
        let reply = world.send(post(PATH, body)).await;
        assert_eq!(reply.json()["reason"], "credential_missing", "{body}");
        let bearer = format!("Bearer {}", acme.key()).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let reply = world.send(request).await;
        assert_eq!(reply.error(), (400, name.to_owned()), "{body}");
        assert_eq!(reply.json()["field"].as_str(), field, "{body}");
    }
    for long in ["x".repeat(256), "é".repeat(128)] {
        let reply = mint(&world, &acme, &json!({"appUserId": long})).await;
        assert_eq!(reply.error(), (400, "InvalidFieldError".into()));
        assert!(!reply.text.contains(&long));
    }
}

#[tokio::test]
async fn other_organizations() {
    let (world, acme) = acme();
    world.add(&objects::pool("globex", "users", &objects::new_signing_key()));
    world.add(&objects::webapp("globex", "web", "users"));
    let ask = async |field: &str, value: Value| {
        mint(&world, &acme, &json!({"appUserId": "u", field: value})).await
    };
    // What belongs to others and what does not exist are not told apart.
    for (field, theirs, nobody) in [
        (
            "userPoolId",
            json!(UserPoolId::derive("globex", "users")),
            json!(UserPoolId::derive("acme", "x")),
        ),
        (
            "sdkClientId",
            json!(SdkClientId::derive("globex", "web")),
            json!(SdkClientId::derive("acme", "x")),
        ),
    ] {
        let reply = ask(field, theirs).await;
        assert_eq!(reply.error(), (404, "NotFoundError".into()), "{field}");
        for other in [nobody, json!("x"), json!("")] {
            let other = ask(field, other).await;
            assert_eq!((other.status, &other.text), (reply.status, &reply.text), "{field}");
        }
    }
    for other in [json!(OrganizationId::derive("globex")), json!("acme"), json!("")] {
        assert_eq!(ask("organizationId", other).await.error(), (403, "ForbiddenError".into()));
    }
}

#[tokio::test]
async fn clients_that_do_not_fit() {
    let (world, acme) = acme();
    world.add(&objects::pool("acme", "staff", &objects::new_signing_key()));
    world.add(&objects::suspended(objects::webapp("acme", "asleep", "users")));
    world.add(&objects::webapp("acme", "orphan", "gone"));
    let id = |name| SdkClientId::derive("acme", name);
    let staff = UserPoolId::derive("acme", "staff");
    for (body, error, field) in [
        (json!({"sdkClientId": id("backend")}), (400, "InvalidFieldError"), Some("sdkClientId")),
        (json!({"sdkClientId": id("asleep")}), (400, "InvalidFieldError"), Some("sdkClientId")),
        (
            json!({"sdkClientId": id("web"), "userPoolId": staff}),
            (400, "InvalidFieldError"),
            Some("userPoolId"),
        ),
        // Its pool does not exist, so trying again does not help.
        (json!({"sdkClientId": id("orphan")}), (422, "UnprocessableError"), None),
    ] {
        let mut body = body;
        body["appUserId"] = json!("u");
        let reply = mint(&world, &acme, &body).await;
        assert_eq!(reply.error(), (error.0, error.1.to_owned()), "{body}");
        assert_eq!(reply.json()["field"].as_str(), field, "{body}");
    }
}

#[tokio::test]
async fn secrets_that_do_not_serve() {
    let (world, acme) = acme();
    let body = json!({"appUserId": "u", "sdkClientId": acme.client()});
    let list = |items: Value| json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": items});
    let good = signing_secrets("acme", "users", acme.signing)["items"][0].clone();
    let with = |data: Value| {
        let mut secret = good.clone();
        secret["data"] = data;
        list(json!([secret]))
    };
    let foreign = signing_secrets("acme", "users", &objects::new_signing_key());
    // A private half under the `kid` of another key.
    let mut mixed = good.clone();
    let set = |secret: &Value| {
        let text = STANDARD.decode(secret["data"]["keyset.json"].as_str().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()
    };
    let mut keys = set(&good);
    keys["keys"][0]["pkcs8"] = set(&foreign["items"][0])["keys"][0]["pkcs8"].clone();
    mixed["data"]["keyset.json"] = json!(STANDARD.encode(keys.to_string()));
    let answers: Vec<Response<Body>> = vec![
        ok(&list(json!([]))),
        ok(&foreign),
        ok(&list(json!([mixed]))),
        ok(&with(json!(null))),
        ok(&with(json!({"keyset.json": ""}))),
        ok(&with(json!({"keyset.json": "bm90IGpzb24="}))),
        ok(&with(json!({"keyset.json": "not base64"}))),
        ok(&json!("not a list")),
        Response::new(Body::from("garbage")),
        status(500, "InternalError"),
        status(403, "Forbidden"),
        status(429, "TooManyRequests"),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let mut answer = Some(answer);
        world.api.answer(move |_| answer.take().unwrap());
        let reply = mint(&world, &acme, &body).await;
        assert_eq!(reply.error(), (503, "UnavailableError".into()), "answer {number}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        // Only what the caller can use: nothing of what went wrong inside.
        assert!(reply.text.contains("signing key is currently unavailable"), "{}", reply.text);
    }
    serve_secret(&world, "acme", "users", acme.signing);
    minted(&mint(&world, &acme, &body).await);
}

#[tokio::test]
async fn a_pool_without_keys() {
    let (world, acme) = acme();
    world.add(&objects::pool_without_keys("acme", "users"));
    let reply = mint(&world, &acme, &json!({"appUserId": "u"})).await;
    assert_eq!(reply.error(), (503, "UnavailableError".into()));
    assert!(world.api.log().is_empty());
}
