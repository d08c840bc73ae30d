//! Bodies that are made to cost much, and callers who make many calls.

use anon_operator::testing::domain::credential::SessionToken;
use serde_json::json;

use crate::support::{World, get, objects, post};

/// Every path that reads a body without a credential.
const OPEN: [&str; 3] = ["/v1/validate", "/org/login", "/org/organization"];

fn world() -> World {
    let settings = anon_operator::testing::server::PlatformSettings {
        allow_sign_up: true,
        ..anon_operator::testing::server::PlatformSettings::default()
    };
    World::with(settings)
}

#[tokio::test]
async fn bodies_of_too_many_members_or_levels_are_refused() {
    let world = world();
    let objects = format!(r#"{{"x":[{}]}}"#, vec![r#"{"":0}"#; 9000].join(","));
    let lists = format!(r#"{{"x":[{}]}}"#, vec!["[]"; 20_000].join(","));
    let members: Vec<_> = (0..257).map(|number| format!(r#""{number}":0"#)).collect();
    let wide = format!("{{{}}}", members.join(","));
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    for path in OPEN {
        for body in [&objects, &lists, &wide, &deep] {
            let reply = world.send(post(path, body.clone())).await;
            assert_eq!(reply.error(), (400, "MalformedRequestError".into()), "{path} {body:.60}");
            let bound = ["more than 256 members", "more than 16 levels"];
            assert!(bound.iter().any(|text| reply.text.contains(text)), "{}", reply.text);
        }
    }
    // What people send has far less.
    let body = json!({"email": "a@b.example", "password": "x"});
    assert_eq!(world.send(post("/org/login", body.to_string())).await.status, 401);
}

#[tokio::test]
async fn a_member_who_calls_without_end_is_told_to_wait() {
    let (world, acme) = World::acme();
    let (first, second) = (SessionToken::generate().unwrap(), SessionToken::generate().unwrap());
    world.add(&objects::member("acme", "ada", "ReadOnly", &first));
    world.add(&objects::member("acme", "bob", "ReadOnly", &second));
    let call = async |bearer: &str| {
        let mut request = get("/org/sdkClient/auth");
        let bearer = format!("Bearer {bearer}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        world.send(request).await
    };
    let mut refused = None;
    // Fast enough that what comes back meanwhile is less than what is used up.
    for _ in 0..20_000 {
        let reply = call(first.expose()).await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("there is no limit");
    assert_eq!(refused.error(), (429, "TooManyRequestsError".into()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(call(second.expose()).await.status, 200, "another member is not held up");
    for _ in 0..1500 {
        assert_eq!(call(acme.key()).await.status, 200, "nor is a backend");
    }
}
