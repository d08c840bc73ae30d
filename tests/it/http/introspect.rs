//! `POST /v1/introspect`.

use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::{MemberId, SdkClientId, UserPoolId};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use serde_json::{Value, json};

use crate::support::objects::{self, claims, issuer, token};
use crate::support::{CHALLENGE, NOW, Reply, World};

fn request(authorization: Option<&str>, form: &str) -> Request<Body> {
    let mut request =
        Request::post("/v1/introspect").header("content-type", "application/x-www-form-urlencoded");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(Body::from(form.to_owned())).unwrap()
}

async fn introspect(world: &World, caller: &str, form: &str) -> Reply {
    world.send(request(Some(&format!("Bearer {caller}")), form)).await
}

#[tokio::test]
async fn describes_each_type_of_credential() {
    let (world, acme) = World::acme();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "ada", "Admin", &session));
    let web = acme.client();
    let mut full = claims();
    full["sdkClientId"] = json!(web);
    full["jti"] = json!("one");
    let backend = SdkClientId::derive("acme", "backend");
    for (form, expected) in [
        (
            format!("token={}&client_id={web}", token(acme.signing, &claims())),
            json!({
                "active": true, "sub": "user-123", "iss": issuer("acme", "users"), "aud": web,
                "exp": NOW + 600, "iat": NOW - 10, "nbf": NOW - 10, "token_type": "Bearer",
                "principal": "appUser", "userPoolId": UserPoolId::derive("acme", "users"),
            }),
        ),
        (
            format!("token_type_hint=x&token={}", token(acme.signing, &full)),
            json!({
                "active": true, "sub": "user-123", "iss": issuer("acme", "users"), "aud": web,
                "exp": NOW + 600, "iat": NOW - 10, "nbf": NOW - 10, "jti": "one", "client_id": web,
                "token_type": "Bearer", "principal": "appUser",
                "userPoolId": UserPoolId::derive("acme", "users"),
            }),
        ),
        (
            format!("token={}", acme.key()),
            json!({
                "active": true, "sub": backend, "iat": 1_767_323_045, "client_id": backend,
                "token_type": "Bearer", "principal": "apiKey", "role": "Member",
            }),
        ),
        (
            format!("token={}", session.expose()),
            json!({
                "active": true, "sub": MemberId::derive("acme", "ada"), "exp": 2_051_222_400,
                "iat": 1_767_323_045, "token_type": "Bearer", "principal": "member",
                "role": "Admin",
            }),
        ),
    ] {
        let reply = introspect(&world, acme.key(), &form).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, expected), "{form}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn everything_else_is_exactly_inactive() {
    let (world, acme) = World::acme();
    let other_key = ApiKey::generate().unwrap();
    world.add(&objects::service("other", "backend", "Member", &other_key));
    world.add(&objects::pool("other", "users", acme.signing));
    world.add(&objects::webapp("other", "web", "users"));
    let other = SdkClientId::derive("other", "web");
    let mut foreign = claims();
    foreign["iss"] = json!(issuer("other", "users"));
    foreign["aud"] = json!(other);
    foreign["sdkClientId"] = json!(other);
    let foreign = token(acme.signing, &foreign);
    // It is valid where it belongs.
    let reply = introspect(&world, other_key.expose(), &format!("token={foreign}")).await;
    assert_eq!(reply.json()["active"], true, "{}", reply.text);
    let own = token(acme.signing, &claims());
    let mut expired = claims();
    expired["exp"] = json!(NOW - 3600);
    let expired = token(acme.signing, &expired);
    let session = SessionToken::generate().unwrap();
    for form in [
        "token=junk".to_owned(),
        format!("token={}", "a".repeat(20_000)),
        format!("token={}", session.expose()),
        format!("token={}", other_key.expose()),
        format!("token={foreign}"),
        format!("token={foreign}&client_id={other}"),
        format!("token={foreign}&client_id={}", acme.client()),
        format!("token={own}"),
        format!("token={own}&client_id=junk"),
        format!("token={own}&client_id={other}"),
        format!("token={own}&client_id={}", SdkClientId::derive("acme", "backend")),
        format!("token={expired}&client_id={}", acme.client()),
    ] {
        let reply = introspect(&world, acme.key(), &form).await;
        assert_eq!((reply.status.as_u16(), &*reply.text), (200, r#"{"active":false}"#), "{form}");
    }
}

#[tokio::test]
async fn the_default_client_of_the_organization() {
    let (world, acme) = World::acme();
    let form = format!("token={}", token(acme.signing, &claims()));
    assert_eq!(introspect(&world, acme.key(), &form).await.json()["active"], false);
    let spec = json!({"displayName": "Acme", "defaultSdkClientRef": {"name": "web"}});
    world.add(&objects::organization("acme", &spec));
    assert_eq!(introspect(&world, acme.key(), &form).await.json()["active"], true);
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn callers() {
    let (world, acme) = World::acme();
    let (session, unknown) = (SessionToken::generate().unwrap(), ApiKey::generate().unwrap());
    world.add(&objects::member("acme", "ada", "Admin", &session));
    let own = SdkClientId::derive("acme", "backend").to_string();
    let end_user = token(acme.signing, &claims());
    for (authorization, status) in [
        (Some(format!("Bearer {}", acme.key())), 200),
        (Some(basic(&own, acme.key())), 200),
        (Some(basic(&own.to_uppercase(), acme.key())), 200),
        (Some(basic(&own.replace('-', "%2D"), acme.key())), 200),
        (None, 401),
        (Some("Bearer ".to_owned()), 401),
        (Some("Digest x".to_owned()), 401),
        (Some("Basic x".to_owned()), 401),
        (Some(format!("Bearer {}", unknown.expose())), 401),
        (Some(format!("Bearer {}", session.expose())), 401),
        (Some(format!("Bearer {end_user}")), 401),
        (Some(basic(&own, unknown.expose())), 401),
        (Some(basic("", acme.key())), 401),
        (Some(basic("backend", acme.key())), 401),
        (Some(basic(&acme.client().to_string(), acme.key())), 401),
    ] {
        // A malformed form is no way to test keys.
        for form in ["token=junk", ""] {
            let reply = world.send(request(authorization.as_deref(), form)).await;
            let expected = if status == 200 && form.is_empty() { 400 } else { status };
            assert_eq!(reply.status, expected, "{authorization:?}: {}", reply.text);
            let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
            let both = [CHALLENGE, r#"Basic realm="anon-operator""#];
            assert_eq!(challenges, if status == 401 { both.to_vec() } else { vec![] });
            assert!(!reply.text.contains(acme.key()));
        }
    }
}

#[tokio::test]
async fn malformed_forms() {
    let (world, acme) = World::acme();
    for (form, name) in [
        ("", "MissingFieldError"),
        ("token=", "MissingFieldError"),
        (r#"{"token": "x"}"#, "MissingFieldError"),
        ("token=a&token=b", "MalformedRequestError"),
        ("token=a&client_id=b&client_id=b", "MalformedRequestError"),
    ] {
        let reply = introspect(&world, acme.key(), form).await;
        assert_eq!(reply.error(), (400, name.to_owned()), "{form}");
    }
}

#[tokio::test]
async fn an_unknown_result_is_not_inactive() {
    let (world, acme) = World::acme();
    world.add(&objects::pool_without_keys("acme", "new"));
    world.add(&objects::webapp("acme", "fresh", "new"));
    let fresh = SdkClientId::derive("acme", "fresh");
    let form = format!("token={}&client_id={fresh}", token(acme.signing, &claims()));
    let reply = introspect(&world, acme.key(), &form).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["reason"], "pool_not_ready");
    for world in [World::unlisted(), World::stale()] {
        assert_eq!(introspect(&world, acme.key(), &form).await.status, 503);
    }
    let none: Option<&Value> = None;
    assert_eq!(reply.json().get("active"), none);
}
