//! The audit lines of the REST API.

use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::support::log::Log;
use crate::support::{Reply, World, get};

async fn post(world: &World, path: &str, bearer: &str, body: &Value, id: Option<&str>) -> Reply {
    let mut request = Request::post(path).header("authorization", format!("Bearer {bearer}"));
    if let Some(id) = id {
        request = request.header("x-request-id", id);
    }
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn who_what_and_with_what_result() {
    let (world, acme) = World::acme();
    let (log, guard) = Log::listen();
    let eve = json!({
        "name": "Eve", "email": "eve@x.example", "password": "correct horse", "role": "Admin",
    });
    let refused = post(&world, "/org/member", acme.key(), &eve, Some("req-1")).await;
    assert_eq!(refused.header("x-request-id"), Some("req-1"));
    let pool = UserPoolId::derive("acme", "users").to_string();
    let mint = json!({"userPoolId": pool, "appUserId": "somebody-secret", "exp": 1});
    post(&world, "/org/appUserIdToken", acme.key(), &mint, None).await;
    let stranger = post(&world, "/org/userPool", "junk", &eve, None).await;
    let login = json!({"email": "eve@x.example", "password": "correct horse"});
    post(&world, "/org/login", acme.key(), &login, None).await;
    let request = Request::delete(format!("/org/userPool/{pool}"));
    world.send(request.body(Body::empty()).unwrap()).await;
    let request = Request::delete(format!("/org/userPool/{pool}"));
    let request = request.header("authorization", format!("Bearer {}", acme.key()));
    world.send(request.body(Body::empty()).unwrap()).await;
    // A read is none.
    world.get("/org/userPools").await;
    drop(guard);

    let lines = log.audit();
    let brief: Vec<_> = lines
        .iter()
        .map(|it| (it["audit"].as_str().unwrap(), it["status"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("CreateMember", 403),
        ("MintAppUserIdToken", 400),
        ("CreateUserPool", 401),
        ("Login", 401),
        ("DeleteUserPool", 401),
        ("DeleteUserPool", 404),
    ];
    assert_eq!(brief, expected);
    let first = &lines[0];
    assert_eq!(
        (&first["message"], &first["error"]),
        (&json!("request rejected"), &json!("ForbiddenError"))
    );
    let span = &first["span"];
    assert_eq!(span["request"], "req-1");
    assert_eq!(span["organization"], json!(OrganizationId::derive("acme")));
    let client = format!("client {}", SdkClientId::derive("acme", "backend"));
    assert_eq!((&span["caller"], &span["role"]), (&json!(client), &json!("Member")));
    assert_eq!(lines[2]["span"]["caller"], Value::Null, "nobody that is known");
    let id = stranger.header("x-request-id").unwrap();
    assert_eq!(lines[2]["span"]["request"], id);
    assert_eq!(lines[4]["span"]["object"], Value::Null, "nobody looks before it is known who asks");
    assert_eq!(lines[5]["span"]["object"], pool);
    let text = log.text();
    for secret in ["eve@", "Eve", "horse", "somebody-secret", acme.key(), "junk"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn a_write_has_its_line_when_nobody_waits_for_it_any_more() {
    let (world, acme) = World::acme();
    let (log, _guard) = Log::listen();
    world.api.silent(true);
    let pool = UserPoolId::derive("acme", "users").to_string();
    let path = format!("/org/userPool/{pool}");
    let request = Request::delete(path).header("authorization", format!("Bearer {}", acme.key()));
    let request = request.body(Body::empty()).unwrap();
    {
        let mut reply = std::pin::pin!(world.send(request));
        while world.api.seen().is_empty() {
            assert!(futures::poll!(&mut reply).is_pending());
            tokio::task::yield_now().await;
        }
        // The caller hangs up.
    }
    assert!(log.audit().is_empty());
    world.api.silent(false);
    while log.audit().is_empty() {
        tokio::task::yield_now().await;
    }
    let lines = log.audit();
    assert_eq!((&lines[0]["audit"], &lines[0]["status"]), (&json!("DeleteUserPool"), &json!(404)));
    assert_eq!(lines[0]["span"]["object"], pool, "{}", lines[0]);
}

#[tokio::test]
async fn an_unfit_request_id_is_replaced() {
    let world = World::new();
    for (id, kept) in [("abc-1.2_3", true), ("a b", false), (&"x".repeat(200), false), ("", false)]
    {
        let mut request = get("/org/userPools");
        request.headers_mut().insert("x-request-id", id.parse().unwrap());
        let reply = world.send(request).await;
        let replied = reply.header("x-request-id").unwrap();
        assert_eq!(replied == id, kept, "{id:?} {replied:?}");
        assert!(!replied.is_empty());
    }
}
