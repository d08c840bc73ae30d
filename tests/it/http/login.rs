//! `POST /org/login` and logout, against an API server inside the test.

use anon_operator::testing::crd;
use anon_operator::testing::domain::credential::SessionToken;
use anon_operator::testing::domain::ids::{MemberId, ObjectName, OrganizationId};
use anon_operator::testing::domain::password::{Password, PasswordHash};
use anon_operator::testing::names;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::api::{Seen, ok, status};
use crate::support::objects::{self, OPERATOR, parse};
use crate::support::{Reply, World, get, post};

const PATH: &str = "/org/login";
const PASSWORD: &str = "correct horse";
/// Which password that is, and which one comes after it.
const PASSWORD_ID: &str = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111";
const NEXT_ID: &str = "6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a222";
const MEMBER: &str = "/apis/anon.dev/v1beta1/namespaces/acme/members/ada";

/// Ada of acme, with a password, as her object.
fn ada() -> Value {
    let mut ada = objects::member_json("acme", "ada", "Admin", &SessionToken::generate().unwrap());
    ada["status"] = json!({});
    ada["metadata"]["annotations"] = json!({names::PASSWORD_ID: PASSWORD_ID});
    ada
}

/// The Secret with the hash of Ada's password.
fn secret() -> Value {
    let hash = PasswordHash::of(&Password::chosen(PASSWORD).unwrap()).unwrap();
    let id = MemberId::derive("acme", "ada");
    let name = ObjectName { namespace: "acme".into(), name: "ada".into() };
    let annotations = names::password_annotations(&name, names::MADE_BY_API);
    json!({
        "metadata": {"name": format!("uid-of-acme.ada.{PASSWORD_ID}.password-hash"),
            "namespace": OPERATOR, "labels": names::labels(names::PASSWORD, &id),
            "annotations": annotations},
        "data": {names::PASSWORD_HASH: STANDARD.encode(hash.expose())},
    })
}

fn is_secret(path: &str) -> bool {
    let name = format!("uid-of-acme.ada.{PASSWORD_ID}.password-hash");
    path == format!("/api/v1/namespaces/anon-system/secrets/{name}")
}

/// What the API server has: namespaces, the hash of Ada's password, Ada. It refuses the first
/// `conflicts` writes.
fn serve(world: &World, mut ada: Value, mut conflicts: u32) {
    let secret = secret();
    world.add::<crd::Member>(&parse(ada.clone()));
    world.api.answer(move |seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/api/v1/namespaces/acme") => ok(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "acme", "uid": "uid-of-acme"},
        })),
        ("GET", path) if is_secret(path) => ok(&secret),
        ("GET", MEMBER) => ok(&ada),
        ("PATCH", "/apis/anon.dev/v1beta1/namespaces/acme/members/ada/status") => {
            assert_eq!(
                seen.body["metadata"]["resourceVersion"],
                ada["metadata"]["resourceVersion"]
            );
            let next = ada["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
            ada["metadata"]["resourceVersion"] = json!((next + 1).to_string());
            if conflicts > 0 {
                conflicts -= 1;
                return status(409, "Conflict");
            }
            // Nothing but sessions, and under a manager of their own.
            assert_eq!(seen.body["status"].as_object().unwrap().len(), 1);
            assert!(seen.query.contains("fieldManager=anon-operator%2Fsessions"), "{}", seen.query);
            ada["status"]["sessions"] = seen.body["status"]["sessions"].clone();
            ok(&ada)
        }
        _ => status(404, "NotFound"),
    });
}

async fn log_in(world: &World, email: &str, password: &str) -> Reply {
    world.post(PATH, None, &json!({"email": email, "password": password})).await
}

fn stored(world: &World) -> Vec<Value> {
    let seen = world.api.seen();
    let mut writes = seen.iter().filter(|seen| seen.method == "PATCH");
    writes
        .next_back()
        .map(|seen| seen.body["status"]["sessions"].as_array().unwrap().clone())
        .unwrap()
}

#[tokio::test]
async fn by_password_and_out_again() {
    let world = World::new();
    serve(&world, ada(), 2);
    let reply = log_in(&world, " ADA@acme.example", PASSWORD).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 2);
    assert_eq!(body["organizationId"], json!(OrganizationId::derive("acme")));
    let token = SessionToken::parse(body["token"].as_str().unwrap()).unwrap();
    let sessions = stored(&world);
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["sha256"], json!(token.hash().to_string()));
    assert_eq!(sessions[0]["passwordId"], PASSWORD_ID);

    // Once the watch has brought it, it counts.
    let mut now = ada();
    now["status"]["sessions"] = json!(sessions);
    world.add::<crd::Member>(&parse(now.clone()));
    let who = world.post("/v1/validate", Some(token.expose()), &json!({})).await.json();
    assert_eq!((&who["principal"], &who["role"]), (&json!("member"), &json!("Admin")));

    let reply = world.post("/org/logout", Some(token.expose()), &json!({})).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!(true)));
    assert!(stored(&world).is_empty());

    // Another password ends it, in the very write that changes the password.
    now["metadata"]["annotations"][names::PASSWORD_ID] = json!(NEXT_ID);
    world.add::<crd::Member>(&parse(now));
    let who = world.post("/v1/validate", Some(token.expose()), &json!({})).await;
    assert_eq!((who.status.as_u16(), &who.json()["reason"]), (401, &json!("session_unknown")));
}

/// The password changes after it was compared and before the session is stored: the first write of
/// the session is refused, and there is no second one.
#[tokio::test]
async fn a_login_that_races_a_change_of_the_password_stores_no_session() {
    let world = World::new();
    let secret = secret();
    let mut ada = ada();
    world.add::<crd::Member>(&parse(ada.clone()));
    world.api.answer(move |seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/api/v1/namespaces/acme") => ok(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "acme", "uid": "uid-of-acme"},
        })),
        ("GET", path) if is_secret(path) => ok(&secret),
        ("GET", MEMBER) => ok(&ada),
        ("PATCH", path) if path.ends_with("/status") => {
            if ada["metadata"]["annotations"][names::PASSWORD_ID] == NEXT_ID {
                return ok(&ada);
            }
            ada["metadata"]["annotations"][names::PASSWORD_ID] = json!(NEXT_ID);
            ada["metadata"]["resourceVersion"] = json!("9");
            status(409, "Conflict")
        }
        _ => status(404, "NotFound"),
    });
    let reply = log_in(&world, "ada@acme.example", PASSWORD).await;
    assert_eq!(reply.error(), (401, "UnauthorizedError".into()));
    let writes = world.api.log().into_iter().filter(|it| it.starts_with("PATCH")).count();
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn every_failure_looks_the_same() {
    let world = World::new();
    serve(&world, ada(), 0);
    let wrong = log_in(&world, "ada@acme.example", "wrong").await;
    assert_eq!(wrong.error(), (401, "UnauthorizedError".into()));
    assert!(!wrong.text.contains("ada"));
    let unknown = log_in(&world, "eve@acme.example", PASSWORD).await;
    let oversized = log_in(&world, "ada@acme.example", &"x".repeat(5000)).await;
    let body = json!({
        "email": "ada@acme.example", "password": PASSWORD,
        "organizationId": OrganizationId::derive("globex"),
    });
    let elsewhere = world.post(PATH, None, &body).await;
    let mut asleep = ada();
    asleep["spec"]["suspended"] = json!(true);
    serve(&world, asleep, 0);
    let suspended = log_in(&world, "ada@acme.example", PASSWORD).await;
    // Another Ada of the same name, made by kubectl: the hash of the first is none of hers.
    let mut later = ada();
    later["metadata"]["annotations"] = json!({});
    serve(&world, later, 0);
    let later = log_in(&world, "ada@acme.example", PASSWORD).await;
    for other in [unknown, oversized, elsewhere, suspended, later] {
        assert_eq!((other.status, &other.text), (wrong.status, &wrong.text));
    }
    assert!(world.api.log().iter().all(|line| !line.starts_with("PATCH")));
    for (body, field) in [(json!({"email": "a@b"}), "password"), (json!({}), "email")] {
        assert_eq!(world.post(PATH, None, &body).await.json()["field"], field);
    }
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let world = World::new();
    // At the same time: one after the other they would take as long as the budget takes to grow.
    let body = json!({"email": "a@b", "password": "x"});
    let replies = join_all((0..12).map(|_| world.post(PATH, None, &body))).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status.as_u16() == 429).collect();
    assert!(!refused.is_empty());
    for reply in refused {
        assert_eq!(reply.error(), (429, "TooManyRequestsError".into()));
        assert!(reply.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    }
}

#[tokio::test]
async fn by_kubernetes_identity_for_our_audience_only() {
    let world = World::new();
    let mut ci = ada();
    ci["spec"]["kubernetes"] = json!({"serviceAccount": {"name": "ci"}});
    world.add::<crd::Member>(&parse(ci.clone()));
    let review = |audiences: Value, username: &str| {
        json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
            "spec": {}, "status": {
                "authenticated": true, "user": {"username": username}, "audiences": audiences,
            },
        })
    };
    for (audiences, username, expected) in [
        (json!(["anon-operator"]), "system:serviceaccount:acme:ci", 200),
        (json!([objects::PUBLIC_URL]), "system:serviceaccount:acme:ci", 200),
        (json!(["https://kubernetes.default.svc"]), "system:serviceaccount:acme:ci", 401),
        (json!(null), "system:serviceaccount:acme:ci", 401),
        (json!(["anon-operator"]), "system:serviceaccount:globex:ci", 401),
        (json!(["anon-operator"]), "ci", 401),
    ] {
        let (ci, review) = (ci.clone(), review(audiences.clone(), username));
        world.api.answer(move |seen| match seen.path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => {
                assert_eq!(seen.body["spec"]["audiences"][1], "anon-operator");
                ok(&review)
            }
            path if path.starts_with("/apis/anon.dev/") => ok(&ci),
            _ => status(404, "NotFound"),
        });
        let reply = world.post(PATH, None, &json!({"kubernetesToken": "eyJ"})).await;
        assert_eq!(reply.status.as_u16(), expected, "{audiences} {username}");
    }
}

/// A Kubernetes identity that members of several organizations claim is one of each. Nobody is logged
/// in to another organization than before because their own Member is suspended.
#[tokio::test]
async fn a_kubernetes_identity_of_several_organizations_needs_the_organization() {
    let world = World::new();
    let claim = |namespace: &str, name: &str, suspended: bool| {
        let token = SessionToken::generate().unwrap();
        let mut member = objects::member_json(namespace, name, "Admin", &token);
        member["spec"]["kubernetes"] = json!({"user": "ada@acme.example"});
        member["spec"]["suspended"] = json!(suspended);
        member
    };
    let members = [claim("acme", "ada", true), claim("evil", "mallory", false)];
    for member in &members {
        world.add::<crd::Member>(&parse(member.clone()));
    }
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": {}, "status": {"authenticated": true, "user": {"username": "ada@acme.example"},
            "audiences": ["anon-operator"]},
    });
    world.api.answer(move |seen| match seen.path.as_str() {
        "/apis/authentication.k8s.io/v1/tokenreviews" => ok(&review),
        path if path.contains("/acme/members/ada") => ok(&members[0]),
        path if path.contains("/evil/members/mallory") => ok(&members[1]),
        _ => status(404, "NotFound"),
    });
    let log_in = async |organization: Option<&str>| {
        let organization = organization.map(OrganizationId::derive);
        let body = json!({"kubernetesToken": "eyJ", "organizationId": organization});
        world.post(PATH, None, &body).await
    };
    let reply = log_in(None).await;
    assert_eq!(reply.error(), (400, "MissingFieldError".into()), "{}", reply.text);
    assert_eq!(reply.json()["field"], "organizationId");
    assert_eq!(log_in(Some("acme")).await.status, 401, "suspended");
    assert_eq!(log_in(Some("evil")).await.status, 200);
    // Nor do two members of one organization get in as one of them.
    world.add::<crd::Member>(&parse(claim("acme", "bob", false)));
    let reply = log_in(Some("acme")).await;
    assert_eq!(reply.error(), (422, "UnprocessableError".into()), "{}", reply.text);
}

/// Its identity is taken away from the Member between the review and the session.
#[tokio::test]
async fn a_kubernetes_identity_that_is_no_longer_the_members_begins_no_session() {
    let world = World::new();
    let mut ci = ada();
    ci["spec"]["kubernetes"] = json!({"user": "ci"});
    world.add::<crd::Member>(&parse(ci.clone()));
    ci["spec"]["kubernetes"] = json!({"user": "another"});
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": {}, "status": {"authenticated": true, "user": {"username": "ci"},
            "audiences": ["anon-operator"]},
    });
    world.api.answer(move |seen| match seen.path.as_str() {
        "/apis/authentication.k8s.io/v1/tokenreviews" => ok(&review),
        path if path.starts_with("/apis/anon.dev/") => ok(&ci),
        _ => status(404, "NotFound"),
    });
    let reply = world.post(PATH, None, &json!({"kubernetesToken": "eyJ"})).await;
    assert_eq!(reply.status, 401, "{}", reply.text);
}

#[tokio::test]
async fn an_empty_kubernetes_token_is_none_and_two_credentials_are_refused() {
    let world = World::new();
    let ada = ada();
    world.add::<crd::Member>(&parse(ada.clone()));
    serve(&world, ada, 0);
    // As clients send it that fill in every field.
    let body = json!({"email": "ada@acme.example", "password": PASSWORD, "kubernetesToken": ""});
    assert_eq!(world.post(PATH, None, &body).await.status, 200);
    let reply = world.post(PATH, None, &json!({"kubernetesToken": ""})).await;
    assert_eq!(reply.error(), (400, "MissingFieldError".into()));
    let body = json!({"email": "ada@acme.example", "password": PASSWORD, "kubernetesToken": "e"});
    let reply = world.post(PATH, None, &body).await;
    assert_eq!(reply.error(), (400, "InvalidFieldError".into()));
    assert_eq!(reply.json()["field"], "kubernetesToken");
}

/// Existing clients send the header with every call, before they have a credential, too.
#[tokio::test]
async fn login_sign_up_and_health_ignore_the_authorization_header() {
    let world = World::new();
    for header in ["Bearer ", "Bearer stale", "Basic dTpw"] {
        for path in [PATH, "/org/organization"] {
            let mut request = post(path, "");
            request.headers_mut().insert("authorization", header.parse().unwrap());
            let reply = world.send(request).await;
            assert!(reply.status != 401 && reply.status.is_client_error(), "{path} {reply:?}");
        }
        let mut request = get("/livez");
        request.headers_mut().insert("authorization", header.parse().unwrap());
        let admin = anon_operator::testing::server::admin(world.state.validator.clone());
        assert_eq!(Reply::of(admin, request).await.status, 200);
    }
}
