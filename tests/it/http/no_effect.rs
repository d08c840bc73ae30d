//! What a request did not do: the response headers X-Anon-Ignored and X-Anon-Changed.

use anon_operator::testing::domain::ids::{OrganizationId, UserPoolId};
use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::support::api::ok;
use crate::support::{Acme, Reply, World, objects};

/// Changes the pool. The API server returns it with the generation `after`; before, it has 1.
async fn patch(world: &World, acme: &Acme, after: i64, body: &Value) -> Reply {
    let pool = move |generation: i64| {
        let mut pool = objects::pool_json("acme", "users", objects::signing_key());
        pool["metadata"]["generation"] = json!(generation);
        pool["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        ok(&pool)
    };
    world.api.answer(move |seen| pool(if seen.method == Method::PATCH { after } else { 1 }));
    let path = format!("/org/userPool/{}", UserPoolId::derive("acme", "users"));
    let request = Request::patch(path).header("authorization", format!("Bearer {}", acme.key()));
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_patch_reports_whether_it_has_changed_anything() {
    let (world, acme) = World::acme();
    for (after, changed) in [(1, "false"), (2, "true")] {
        let reply = patch(&world, &acme, after, &json!({"name": "Users"})).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "true"));
        assert_eq!(reply.header("x-anon-changed"), Some(changed));
        assert_eq!(reply.header("x-anon-ignored"), None);
    }
}

#[tokio::test]
async fn members_without_effect_are_named() {
    let (world, acme) = World::acme();
    let body = json!({
        "name": "Users", "description": null, "organizationId": OrganizationId::derive("acme"),
    });
    let reply = patch(&world, &acme, 2, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("x-anon-ignored"), Some("description, organizationId"));
    // An error names them as well.
    let body = json!({"description": null});
    let reply = world.post("/org/userPool", Some(acme.key()), &body).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["field"]), (400, &json!("name")));
    assert_eq!(reply.header("x-anon-ignored"), Some("description"));
}

#[tokio::test]
async fn unknown_fields_are_rejected_before_anything_is_done() {
    let (world, acme) = World::acme();
    for (path, body, field) in [
        ("/org/userPool", json!({"name": "x", "authorisation": {"jwksUri": "x"}}), "authorisation"),
        ("/org/appUserIdToken", json!({"appUserId": "u", "expiresIn": 60}), "expiresIn"),
    ] {
        let reply = world.post(path, Some(acme.key()), &body).await;
        assert_eq!(reply.error(), (400, "UnknownFieldError".into()));
        assert_eq!(reply.json()["field"], field);
    }
    assert!(world.api.seen().is_empty());
}
