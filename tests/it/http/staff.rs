//! What a staff admin needs of the REST API: who they are, lists in parts, pools in use, suspended
//! clients, revocations and events.

use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use axum::body::Body;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::support::api::{Seen, ok, status};
use crate::support::{Acme, Reply, World, objects};

async fn call(
    world: &World,
    method: &str,
    path: &str,
    bearer: &str,
    body: Option<&Value>,
) -> Reply {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {bearer}"));
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    world.send(request.body(body).unwrap()).await
}

/// A world with an Admin who is logged in.
fn admin() -> (World, Acme, SessionToken) {
    let (world, acme) = World::acme();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "ada", "Admin", &session));
    (world, acme, session)
}

/// A list as the API server returns it.
fn list(kind: &str, items: &[Value]) -> Response<Body> {
    ok(&json!({"apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": {}, "items": items}))
}

#[tokio::test]
async fn tells_members_and_backends_who_they_are() {
    let (world, acme, session) = admin();
    let own = OrganizationId::derive("acme");
    let me = call(&world, "GET", "/org/me", session.expose(), None).await.json();
    let expected = json!({
        "kind": "member", "id": MemberId::derive("acme", "ada"), "role": "Admin",
        "organizationId": own, "expiresAt": "2035-01-01T00:00:00Z",
    });
    assert_eq!(me, expected);
    let me = call(&world, "GET", "/org/me", acme.key(), None).await.json();
    let backend = SdkClientId::derive("acme", "backend");
    let expected =
        json!({"kind": "apiKey", "id": backend, "role": "Member", "organizationId": own});
    assert_eq!(me, expected);
    let auth = call(&world, "GET", "/org/sdkClient/auth", acme.key(), None).await.json();
    assert_eq!(auth, json!({"authenticatorId": backend}));
}

#[tokio::test]
async fn lists_are_read_in_parts() {
    let (world, _, session) = admin();
    world.api.answer(|_| {
        let pool = |name| objects::pool_json("acme", name, objects::signing_key());
        list("UserPoolList", &[pool("c"), pool("a"), pool("b")])
    });
    let ids = |reply: &Reply| -> Vec<String> {
        let items = reply.json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let id = |name: &str| UserPoolId::derive("acme", name).to_string();
    let get = async |query: &str| {
        let path = format!("/org/userPools{query}");
        call(&world, "GET", &path, session.expose(), None).await
    };
    let all = get("").await;
    assert_eq!(ids(&all), [id("c"), id("a"), id("b")]);
    let members: Vec<_> = all.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["items", "resource"], "as without ranges");
    let first = get("?limit=2").await;
    assert_eq!(ids(&first), [id("a"), id("b")]);
    let cursor = first.json()["nextCursor"].as_str().unwrap().to_owned();
    let last = get(&format!("?limit=2&cursor={cursor}")).await;
    assert_eq!((ids(&last), &last.json()["nextCursor"]), (vec![id("c")], &Value::Null));
    for (query, field) in [("?limit=501", "limit"), ("?limit=x", "limit"), ("?cursor=!", "cursor")]
    {
        let reply = get(query).await;
        assert_eq!(reply.error(), (400, "InvalidFieldError".into()), "{query}");
        assert_eq!(reply.json()["field"], field);
    }
}

#[tokio::test]
async fn a_pool_in_use_is_not_deleted() {
    let (world, _, session) = admin();
    world.api.answer(|seen: &Seen| match seen.path.rsplit('/').next().unwrap() {
        "users" => ok(&objects::pool_json("acme", "users", objects::signing_key())),
        "sdkclients" => {
            let client = |name: &str, pool: &str| {
                let mut client = objects::webapp("acme", name, pool);
                client.spec.display_name = Some(format!("The {name}"));
                serde_json::to_value(client).unwrap()
            };
            list("SdkClientList", &[client("web", "users"), client("other", "others")])
        }
        _ => status(404, "NotFound"),
    });
    let path = format!("/org/userPool/{}", UserPoolId::derive("acme", "users"));
    let reply = call(&world, "DELETE", &path, session.expose(), None).await;
    assert_eq!(reply.error(), (422, "UnprocessableError".into()));
    let web = SdkClientId::derive("acme", "web");
    assert!(reply.text.contains(&format!("`The web` ({web})")), "{}", reply.text);
    assert!(!reply.text.contains("The other"), "{}", reply.text);
    assert!(world.api.seen().iter().all(|seen| seen.method == Method::GET));
}

/// A client is suspended, and gets origins, by PATCH. A caller cannot end the suspension of a
/// client with a higher role.
#[tokio::test]
async fn clients_are_suspended_and_get_origins() {
    let (world, acme, session) = admin();
    let key = ApiKey::generate().unwrap();
    let mut deploy = objects::service_json("acme", "deploy", "Admin", &key);
    let hash = json!({"id": key.hash().id(), "sha256": key.hash().to_string()});
    deploy["spec"]["service"]["apiKey"] = json!({"hashes": [hash]});
    world.add::<anon_operator::testing::crd::SdkClient>(&objects::parse(deploy.clone()));
    world.api.answer(move |seen: &Seen| {
        let mut client = match seen.path.rsplit('/').next().unwrap() {
            "web" => serde_json::to_value(objects::webapp("acme", "web", "users")).unwrap(),
            _ => deploy.clone(),
        };
        client["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        if seen.method == Method::PATCH {
            let (spec, patch) = (client["spec"].as_object_mut().unwrap(), &seen.body["spec"]);
            spec.insert("suspended".into(), patch["suspended"].clone());
            if let Some(webapp) = patch["webapp"].as_object() {
                spec["webapp"].as_object_mut().unwrap().extend(webapp.clone());
            }
        }
        ok(&client)
    });
    let path = |name: &str| format!("/org/sdkClient/{}", SdkClientId::derive("acme", name));
    let origin = "https://shop.acme.example";
    let body = json!({"suspended": true, "oauthConfig": {"allowedOrigins": [origin]}});
    let reply = call(&world, "PATCH", &path("web"), acme.key(), Some(&body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["suspended"], true);
    assert_eq!(reply.json()["auth"]["oauthConfig"]["allowedOrigins"], json!([origin]));
    for (bearer, expected) in [(acme.key(), 403), (session.expose(), 200)] {
        let body = json!({"suspended": false});
        let reply = call(&world, "PATCH", &path("deploy"), bearer, Some(&body)).await;
        assert_eq!(reply.status, expected, "{}", reply.text);
    }
}

#[tokio::test]
async fn revokes_credentials_by_id() {
    let (world, acme, session) = admin();
    world.api.answer(|seen: &Seen| match seen.method {
        Method::POST => {
            let mut made = seen.body.clone();
            made["metadata"]["creationTimestamp"] = json!("2026-01-03T00:00:00Z");
            ok(&made)
        }
        _ => status(404, "NotFound"),
    });
    let path = "/org/revocations";
    let client = SdkClientId::derive("acme", "backend");
    let key_id = acme.api_key.hash().id();
    let body = json!({"sdkClientId": client, "keyIds": [key_id], "reason": "leaked"});
    let reply = world.post(path, Some(acme.key()), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let made = reply.json();
    assert_eq!((&made["sdkClientId"], &made["keyIds"]), (&json!(client), &json!([key_id])));
    assert_eq!((&made["reason"], &made["enforced"]), (&json!("leaked"), &json!(false)));
    let sent = world.api.seen().pop().unwrap();
    assert_eq!(sent.path, "/apis/anon.dev/v1beta1/namespaces/acme/revocations");
    assert_eq!(sent.body["spec"]["sdkClient"], json!({"name": "backend", "keyIds": [key_id]}));

    let pool = UserPoolId::derive("acme", "users");
    let body = json!({"userPoolId": pool, "appUserIds": ["user-1"]});
    assert_eq!(world.post(path, Some(acme.key()), &body).await.status, 200);
    let sent = world.api.seen().pop().unwrap();
    assert_eq!(sent.body["spec"]["userPool"], json!({"name": "users", "subjects": ["user-1"]}));

    // Sessions and signing keys end the work of many people.
    let time = "2026-01-02T03:04:05Z";
    let member = MemberId::derive("acme", "ada");
    for body in [
        json!({"userPoolId": pool, "keyIds": ["k"]}),
        json!({"userPoolId": pool, "keysCreatedBefore": time}),
        json!({"memberId": member, "sessionsCreatedBefore": time}),
    ] {
        assert_eq!(world.post(path, Some(acme.key()), &body).await.status, 403, "{body}");
        assert_eq!(world.post(path, Some(session.expose()), &body).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn rejects_revocations_of_nothing_or_of_others() {
    let (world, _, session) = admin();
    world.add(&objects::pool("globex", "users", objects::signing_key()));
    let (client, pool) =
        (SdkClientId::derive("acme", "backend"), UserPoolId::derive("acme", "users"));
    for (body, name, field) in [
        (json!({}), "MissingFieldError", "sdkClientId"),
        (json!({"sdkClientId": client}), "MissingFieldError", "keyIds"),
        (json!({"sdkClientId": client, "appUserIds": ["u"]}), "InvalidFieldError", "appUserIds"),
        (
            json!({"sdkClientId": SdkClientId::derive("acme", "web"), "keyIds": ["k"]}),
            "InvalidFieldError",
            "sdkClientId",
        ),
        (
            json!({"userPoolId": UserPoolId::derive("globex", "users"), "tokenIds": ["t"]}),
            "InvalidFieldError",
            "userPoolId",
        ),
        (
            json!({"userPoolId": pool, "tokensIssuedBefore": "yesterday"}),
            "InvalidFieldError",
            "tokensIssuedBefore",
        ),
        (json!({"userPoolId": pool, "subjects": ["u"]}), "UnknownFieldError", "subjects"),
    ] {
        let reply = world.post("/org/revocations", Some(session.expose()), &body).await;
        assert_eq!(reply.error(), (400, name.to_owned()), "{body} {}", reply.text);
        assert_eq!(reply.json()["field"], field, "{body}");
    }
    let both = json!({"sdkClientId": client, "userPoolId": pool, "keyIds": ["k"]});
    let reply = world.post("/org/revocations", Some(session.expose()), &both).await;
    assert_eq!(reply.error(), (400, "MalformedRequestError".into()));
    assert!(world.api.seen().is_empty());
}

#[tokio::test]
async fn events_are_those_about_the_organization() {
    let (world, _, session) = admin();
    world.api.answer(|seen: &Seen| {
        assert_eq!(seen.path, "/apis/events.k8s.io/v1/namespaces/acme/events");
        assert!(seen.query.contains("reportingController=anon-operator"), "{}", seen.query);
        let event = |name: &str, time: &str, version: &str, kind: &str| {
            json!({
                "metadata": {"name": name, "namespace": "acme"}, "type": "Warning",
                "reason": "SecretRepaired", "note": "Secret repaired", "eventTime": time,
                "regarding": {"apiVersion": version, "kind": kind, "name": "users"},
            })
        };
        list(
            "EventList",
            &[
                event("a", "2026-01-01T00:00:00.000000Z", "anon.dev/v1beta1", "UserPool"),
                event("b", "2026-01-02T00:00:00.000000Z", "anon.dev/v1beta1", "Member"),
                event("c", "2026-01-03T00:00:00.000000Z", "v1", "Pod"),
            ],
        )
    });
    let get = async |query: &str| {
        let path = format!("/org/events{query}");
        call(&world, "GET", &path, session.expose(), None).await.json()
    };
    let all = get("").await;
    let pool = json!({
        "type": "Warning", "reason": "SecretRepaired", "message": "Secret repaired",
        "resource": "UserPool", "id": UserPoolId::derive("acme", "users"),
        "createdAt": "2026-01-01T00:00:00Z",
    });
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    assert_eq!((&all["items"][0]["resource"], &all["items"][1]), (&json!("Member"), &pool));
    let newest = get("?limit=1").await;
    assert_eq!(newest["items"][0]["resource"], "Member");
    let rest = get(&format!("?limit=1&cursor={}", newest["nextCursor"].as_str().unwrap())).await;
    assert_eq!(rest["items"], json!([pool]));
}
