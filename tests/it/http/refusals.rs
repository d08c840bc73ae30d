//! What the REST API makes of the API server's refusals, and what it does before it asks.

use serde_json::json;

use crate::support::api::{FakeApi, failure};
use crate::support::{Reply, World};
use axum::body::Body;
use http::{Method, Response, StatusCode};

/// Refuses every write so, and finds nothing.
fn refuse(api: &FakeApi, code: u16, reason: &str, message: &str) {
    let mut body = failure(code, reason);
    body["message"] = json!(message);
    api.answer(move |seen| {
        let (code, body) = match seen.method {
            Method::GET => (404, failure(404, "NotFound")),
            _ => (code, body.clone()),
        };
        let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
        response.body(Body::from(body.to_string())).unwrap()
    });
}

async fn create(world: &World, key: &str) -> Reply {
    world.post("/org/userPool", Some(key), &json!({"name": "users", "description": "x"})).await
}

#[tokio::test]
async fn what_trying_again_does_not_cure_is_not_503() {
    let (world, acme) = World::acme();
    let quota = "userpools.anon.dev \"x\" is forbidden: exceeded quota: tight, requested: count/userpools.anon.dev=1";
    refuse(&world.api, 403, "Forbidden", quota);
    let reply = create(&world, acme.key()).await;
    assert_eq!(reply.error(), (422, "UnprocessableError".into()));
    assert!(reply.text.contains("quota") && !reply.text.contains("tight"), "{}", reply.text);
    refuse(
        &world.api,
        403,
        "Forbidden",
        "User \"system:serviceaccount:anon-system:anon-operator\" cannot",
    );
    let reply = create(&world, acme.key()).await;
    assert_eq!(reply.error(), (422, "UnprocessableError".into()));
    assert!(reply.text.contains("policy") && !reply.text.contains("system:"), "{}", reply.text);
    for (code, reason) in [(429, "TooManyRequests"), (500, "InternalError")] {
        refuse(&world.api, code, reason, "not now");
        let reply = create(&world, acme.key()).await;
        assert_eq!(reply.error(), (503, "UnavailableError".into()), "{code}");
        assert!(reply.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_makes_nothing_on_the_way() {
    let (world, acme) = World::acme();
    let authorization = json!({"jwksUri": "https://id.acme.example/jwks"});
    for oauth in [json!("nope"), json!({"redirectUrls": "nope"}), json!({"logoUrl": 1})] {
        let body = json!({"name": "x", "description": "", "authorization": authorization,
            "kind": {"application": {"oauthConfig": oauth}}});
        let reply = world.post("/org/sdkClient", Some(acme.key()), &body).await;
        assert_eq!(reply.error(), (400, "InvalidFieldError".into()), "{body}");
    }
    assert!(world.api.seen().is_empty(), "no UserPool is left behind");
}

#[tokio::test]
async fn a_violated_rule_is_reported_with_the_field_of_the_request() {
    let (world, acme) = World::acme();
    for (field, message, of_request, text) in [
        (
            "spec.jwks.url",
            "Invalid value: \"object\": url must be an https URL",
            "jwksUri",
            "`authorization.jwksUri`: url must be an https URL",
        ),
        (
            "spec.webapp.redirectUrls[1]",
            "Invalid value: \"string\": must be an absolute URL",
            "redirectUrls",
            "`oauthConfig.redirectUrls[1]`: must be an absolute URL",
        ),
        (
            "spec.displayName",
            "Too long: may not be more than 128 bytes",
            "name",
            "`name`: Too long: may not be more than 128 bytes",
        ),
    ] {
        let mut body = failure(422, "Invalid");
        body["details"] = json!({"causes": [{"field": field, "message": message}]});
        body["message"] = json!(format!("UserPool \"x\" is invalid: {field}: {message}"));
        world.api.answer(move |seen| {
            let (code, body) = match seen.method {
                Method::GET => (404, failure(404, "NotFound")),
                _ => (422, body.clone()),
            };
            let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
            response.body(Body::from(body.to_string())).unwrap()
        });
        let reply = create(&world, acme.key()).await;
        assert_eq!(reply.error(), (422, "UnprocessableError".into()));
        let reply = reply.json();
        assert_eq!((&reply["field"], &reply["message"]), (&json!(of_request), &json!(text)));
    }
}
