//! Every operation of the role table, for every role, in one's own organization and in another.

use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::domain::operation::Operation;
use anon_operator::testing::domain::role::Role;
use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

use crate::support::api::{ok, status};
use crate::support::{Reply, World, objects};

/// Two organizations with the same objects in them.
fn world() -> World {
    let world = World::new();
    for namespace in ["acme", "globex"] {
        world.add(&objects::pool(namespace, "users", objects::signing_key()));
        world.add(&objects::webapp(namespace, "web", "users"));
        let nobody = SessionToken::generate().unwrap();
        world.add(&objects::member(namespace, "ada", "Admin", &nobody));
    }
    world
}

/// The ids of `namespace` in place of the placeholders.
fn path(operation: Operation, namespace: &str, name: impl Fn(&str) -> String) -> String {
    let pool = UserPoolId::derive(namespace, &name("users")).to_string();
    let client = SdkClientId::derive(namespace, &name("web")).to_string();
    let member = MemberId::derive(namespace, &name("ada")).to_string();
    let organization = OrganizationId::derive(&name(namespace)).to_string();
    let path = operation.path().replace("{userPoolId}", &pool).replace("{sdkClientId}", &client);
    path.replace("{memberId}", &member).replace("{organizationId}", &organization)
}

async fn call(world: &World, operation: Operation, path: &str, bearer: Option<&str>) -> Reply {
    let mut request = Request::builder().method(operation.method()).uri(path);
    if let Some(bearer) = bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    world.send(request.body(Body::from("{}")).unwrap()).await
}

#[tokio::test]
async fn every_operation_for_every_role() {
    let world = world();
    for &operation in Operation::ALL {
        let path = path(operation, "acme", str::to_owned);
        let Some(_) = operation.needs() else { continue };
        let nobody = call(&world, operation, &path, None).await;
        assert_eq!(nobody.status, 401, "{operation:?}");
        for role in Role::ALL {
            let (session, key) = (SessionToken::generate().unwrap(), ApiKey::generate().unwrap());
            world.add(&objects::member("acme", "caller", role.as_str(), &session));
            world.add(&objects::service("acme", "backend", role.as_str(), &key));
            for bearer in [session.expose(), key.expose()] {
                let reply = call(&world, operation, &path, Some(bearer)).await;
                let text = format!("{operation:?} {role:?} {}", reply.text);
                assert_eq!(reply.status == 403, !operation.allows(role), "{text}");
                assert_ne!(reply.status, 405, "{text}");
                assert_ne!(reply.status, 500, "{text}");
            }
        }
    }
}

/// Not even an Admin can tell an id of another organization from one that does not exist.
#[tokio::test]
async fn another_organization_does_not_exist() {
    let world = world();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "caller", "Admin", &session));
    let mut checked = 0;
    for &operation in Operation::ALL.iter().filter(|operation| operation.path().contains('{')) {
        let foreign = path(operation, "globex", str::to_owned);
        let unknown = path(operation, "globex", |name| format!("no-{name}"));
        let nonsense = operation.path().replace(['{', '}'], "");
        let foreign = call(&world, operation, &foreign, Some(session.expose())).await;
        for path in [unknown, nonsense] {
            let other = call(&world, operation, &path, Some(session.expose())).await;
            assert_eq!((foreign.status, &foreign.text), (other.status, &other.text), "{path}");
        }
        assert_eq!(foreign.error(), (404, "NotFoundError".into()), "{operation:?}");
        checked += 1;
    }
    assert!(checked >= 10);
    assert!(world.api.log().is_empty(), "nothing was asked about a foreign id");
}

/// Older clients send their organization along. Another one's is refused, by name, wherever a body is
/// read.
#[tokio::test]
async fn rejects_a_foreign_organization_id_in_the_body() {
    let world = world();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "caller", "Admin", &session));
    world.api.answer(|seen| {
        let token = SessionToken::generate().unwrap();
        let webapp = || serde_json::to_value(objects::webapp("acme", "web", "users")).unwrap();
        match seen.path.rsplit('/').next().unwrap() {
            "ada" => ok(&objects::member_json("acme", "ada", "Admin", &token)),
            "users" => ok(&objects::pool_json("acme", "users", objects::signing_key())),
            "web" => ok(&webapp()),
            _ => status(404, "NotFound"),
        }
    });
    let body = json!({"organizationId": OrganizationId::derive("globex")});
    let description = world.get("/openapi.json").await.json();
    let mut checked = 0;
    for &operation in Operation::ALL.iter().filter(|operation| operation.needs().is_some()) {
        let method = operation.method().to_lowercase();
        if description["paths"][operation.path()][method]["requestBody"].is_null() {
            continue;
        }
        let path = path(operation, "acme", str::to_owned);
        let request = Request::builder().method(operation.method()).uri(path);
        let request = request.header("authorization", format!("Bearer {}", session.expose()));
        let reply = world.send(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(reply.error(), (403, "ForbiddenError".into()), "{operation:?} {}", reply.text);
        assert!(reply.text.contains("organizationId"), "{operation:?} {}", reply.text);
        checked += 1;
    }
    assert!(checked >= 7, "{checked}");
}

/// Anyone who may edit an object can give it the marks of a tool, which would keep it for good. What
/// is deleted goes whatever its finalizers are.
#[tokio::test]
async fn an_admin_can_force_a_deletion() {
    let world = world();
    let mut client = serde_json::to_value(objects::webapp("acme", "web", "users")).unwrap();
    client["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "x"});
    let done = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"});
    world.api.answer(move |seen| match seen.method.as_str() {
        "DELETE" => ok(&done),
        _ => ok(&client),
    });
    let operation = Operation::DeleteSdkClient;
    let path = path(operation, "acme", str::to_owned);
    for (role, query, expected) in [
        ("Admin", "", 422),
        ("Admin", "?force=false", 422),
        ("Admin", "?force=x", 400),
        ("Member", "?force=true", 403),
        ("Admin", "?force=true", 200),
    ] {
        let session = SessionToken::generate().unwrap();
        world.add(&objects::member("acme", "caller", role, &session));
        let path = format!("{path}{query}");
        let reply = call(&world, operation, &path, Some(session.expose())).await;
        assert_eq!(reply.status.as_u16(), expected, "{role} {query} {}", reply.text);
    }
    let seen = world.api.seen().into_iter().filter(|seen| seen.method == Method::DELETE);
    let bodies: Vec<_> = seen.map(|seen| seen.body).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(bodies[0]["propagationPolicy"], "Background");
}

#[tokio::test]
async fn rejects_control_characters_in_names_and_email_addresses() {
    let world = world();
    let session = SessionToken::generate().unwrap();
    world.add(&objects::member("acme", "caller", "Admin", &session));
    let member = |name: &str, email: &str| json!({"name": name, "email": email, "password": "correct horse", "role": "Member"});
    for (path, body, field) in [
        ("/org/userPool", json!({"name": "Users\u{1b}[2K"}), "name"),
        ("/org/member", member("Ada\nEve", "ada@acme.example"), "name"),
        ("/org/member", member("Ada", "ada\u{9b}@acme.example"), "email"),
        ("/org/member", member("Ada", "ada@acme\u{7f}.example"), "email"),
    ] {
        let reply = world.post(path, Some(session.expose()), &body).await;
        assert_eq!(reply.error(), (400, "InvalidFieldError".into()), "{body} {}", reply.text);
        assert_eq!(reply.json()["field"], field, "{body}");
    }
    assert!(world.api.log().is_empty());
}
