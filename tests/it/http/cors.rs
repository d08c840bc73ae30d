//! CORS of the REST API: off by default, and then for exact origins only.

use anon_operator::testing::domain::client::Origin;
use anon_operator::testing::server::PlatformSettings;
use http::Request;

use crate::support::{Reply, World, get};
use axum::body::Body;

const CONSOLE: &str = "https://console.example.com";

fn preflight(path: &str, origin: &str) -> Request<Body> {
    let request = Request::options(path).header("origin", origin);
    let request = request.header("access-control-request-method", "PATCH");
    let request = request.header("access-control-request-headers", "authorization,content-type");
    request.body(Body::empty()).unwrap()
}

async fn read(world: &World, origin: &str) -> Reply {
    let mut request = get("/org/members");
    request.headers_mut().insert("origin", origin.parse().unwrap());
    world.send(request).await
}

fn allowing() -> World {
    let allowed_origins = vec![Origin::new(CONSOLE)];
    World::with(PlatformSettings { allowed_origins, ..PlatformSettings::default() })
}

#[tokio::test]
async fn no_page_may_use_the_api_by_default() {
    let world = World::new();
    let reply = world.send(preflight("/org/members", CONSOLE)).await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let reply = read(&world, CONSOLE).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn pages_of_named_origins_may_use_the_api() {
    let world = allowing();
    for path in ["/org/login", "/org/member/x", "/org/members"] {
        let reply = world.send(preflight(path, CONSOLE)).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(CONSOLE));
        assert_eq!(reply.header("access-control-allow-methods"), Some("GET,POST,PATCH,DELETE"));
        let headers = reply.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert_eq!(reply.header("vary"), Some("origin"));
    }
    // Errors, too: the page has to see that its session has ended.
    let reply = read(&world, CONSOLE).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("access-control-allow-origin"), Some(CONSOLE));
    assert_eq!(reply.header("vary"), Some("origin"));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("x-request-id"));
}

#[tokio::test]
async fn other_origins_and_other_paths_get_nothing() {
    let world = allowing();
    for origin in [
        "null",
        "https://evil.example",
        "https://console.example.com.evil.example",
        "http://console.example.com",
        "https://console.example.com:8443",
    ] {
        let reply = world.send(preflight("/org/members", origin)).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
        let reply = read(&world, origin).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(reply.header("vary"), Some("origin"), "{origin}");
    }
    for path in ["/link/url", "/v1/validate", "/openapi.json"] {
        let reply = world.send(preflight(path, CONSOLE)).await;
        assert_eq!(reply.status, 405, "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
}
