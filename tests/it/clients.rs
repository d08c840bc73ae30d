//! `GET /v1/clients/{clientId}`: the public data of a webapp, for pages of its origins only.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anon_operator::testing::clock::SystemClock;
use anon_operator::testing::crd::{self, Kind};
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::index::{Index, Reader};
use anon_operator::testing::metrics::Metrics;
use anon_operator::testing::server::{
    self, RequestLimits, ValidatorState, VerificationQueue, VerifiedTokens,
};
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::UNLIMITED;

const ORIGIN: &str = "https://shop.acme.example";

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "anon.dev/v1beta1", "kind": kind,
        "metadata": {"namespace": "acme", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }))
    .unwrap()
}

fn web() -> Value {
    json!({
        "displayName": "Shop",
        "webapp": {
            "userPoolRef": {"name": "users"},
            "allowedOrigins": ["HTTPS://Shop.Acme.Example:443", "http://localhost:3000"],
            "redirectUrls": ["https://shop.acme.example/back"],
            "chromeExtensionId": "abcdefghijklmnopabcdefghijklmnop",
        }
    })
}

/// A replica with the webapp `web`, a service `backend` and the organization's logo.
fn world(listed: bool) -> (Arc<Index>, ValidatorState) {
    let index = Arc::new(Index::new(UNLIMITED));
    index.apply::<crd::SdkClient>(&object("SdkClient", "web", &web()));
    let service = json!({"service": {"role": "Member", "apiKey": {"hashes": []}}});
    index.apply::<crd::SdkClient>(&object("SdkClient", "backend", &service));
    let logo = json!({"logoUrl": "https://acme.example/logo.svg"});
    index.apply::<crd::Organization>(&object("Organization", "default", &logo));
    if listed {
        for kind in Kind::ALL {
            index.listed(kind, None);
        }
        index.namespaces_listed([]);
    }
    let reader = Reader::new(Arc::clone(&index));
    let state = ValidatorState {
        reader,
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::default()),
        public_url: "https://anon.example.com".into(),
        settings: Arc::default(),
        verified_tokens: Arc::new(VerifiedTokens::new(1 << 20)),
        verification_queue: VerificationQueue::new(NonZeroUsize::MIN),
    };
    (index, state)
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn allowed_origin(&self) -> Option<&str> {
        self.header("access-control-allow-origin")
    }
}

async fn ask(state: &ValidatorState, method: Method, id: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/v1/clients/{id}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = server::routes(Some(state.clone()), None, RequestLimits::default());
    let reply = router.handle(request.body(Body::empty()).unwrap(), None).await;
    let (parts, body) = reply.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(parts.headers.get("vary").unwrap(), "Origin");
    assert!(!parts.headers.contains_key("access-control-allow-credentials"));
    Reply { status: parts.status.as_u16(), headers: parts.headers, text }
}

fn id(name: &str) -> String {
    SdkClientId::derive("acme", name).to_string()
}

#[tokio::test]
async fn the_public_data_of_a_webapp() {
    let (index, state) = world(true);
    let reply = ask(&state, Method::GET, &id("web"), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let expected = json!({
        "sdkClientId": id("web"),
        "organizationId": OrganizationId::derive("acme"),
        "displayName": "Shop",
        "userPoolId": UserPoolId::derive("acme", "users"),
        "logoUrl": "https://acme.example/logo.svg",
        "chromeExtensionId": "abcdefghijklmnopabcdefghijklmnop",
        "redirectUrls": ["https://shop.acme.example/back"],
    });
    assert_eq!(serde_json::from_str::<Value>(&reply.text).unwrap(), expected);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));
    assert_eq!(reply.allowed_origin(), None);

    // The client's own logo wins; what is not set is not there.
    let plain =
        json!({"webapp": {"userPoolRef": {"name": "users"}, "logoUrl": "https://x.example/"}});
    index.apply::<crd::SdkClient>(&object("SdkClient", "web", &plain));
    let reply = ask(&state, Method::GET, &id("web"), &[]).await;
    let expected = json!({
        "sdkClientId": id("web"),
        "organizationId": OrganizationId::derive("acme"),
        "userPoolId": UserPoolId::derive("acme", "users"),
        "logoUrl": "https://x.example/",
        "redirectUrls": [],
    });
    assert_eq!(serde_json::from_str::<Value>(&reply.text).unwrap(), expected);
}

#[tokio::test]
async fn only_pages_of_its_origins_may_read_it() {
    let (_, state) = world(true);
    for origin in [ORIGIN, "http://localhost:3000"] {
        let reply = ask(&state, Method::GET, &id("web"), &[("origin", origin)]).await;
        assert_eq!((reply.status, reply.allowed_origin()), (200, Some(origin)));
    }
    for origin in [
        "null",
        "",
        "*",
        "https://shop.acme.example:443",
        "HTTPS://SHOP.ACME.EXAMPLE",
        "https://shop.acme.example/",
        "https://shop.acme.example.evil.example",
        "https://evil.example?https://shop.acme.example",
        "http://shop.acme.example",
        "https://acme.example",
        "https://a.shop.acme.example",
        "http://localhost:3001",
        "http://localhost",
    ] {
        let reply = ask(&state, Method::GET, &id("web"), &[("origin", origin)]).await;
        assert_eq!((reply.status, reply.allowed_origin()), (200, None), "{origin}");
    }
    let two = [("origin", ORIGIN), ("origin", ORIGIN)];
    assert_eq!(ask(&state, Method::GET, &id("web"), &two).await.allowed_origin(), None);
}

#[tokio::test]
async fn preflights() {
    let (_, state) = world(true);
    let asks = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-anon-sdk-client-id"),
        ]
    };
    let reply = ask(&state, Method::OPTIONS, &id("web"), &asks(ORIGIN)).await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""));
    assert_eq!(reply.allowed_origin(), Some(ORIGIN));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET"));
    let names = Some("content-type, x-anon-sdk-client-id");
    assert_eq!(reply.header("access-control-allow-headers"), names);

    let reply = ask(&state, Method::OPTIONS, &id("web"), &asks("https://evil.example")).await;
    assert_eq!((reply.status, reply.allowed_origin()), (204, None));
    assert_eq!(reply.header("access-control-allow-methods"), None);

    let reply = ask(&state, Method::OPTIONS, &id("nobody"), &asks(ORIGIN)).await;
    assert_eq!((reply.status, reply.allowed_origin()), (404, None));
}

#[tokio::test]
async fn everything_else_is_the_same_404() {
    let (index, state) = world(true);
    let mut suspended = web();
    suspended["suspended"] = json!(true);
    index.apply::<crd::SdkClient>(&object("SdkClient", "suspended", &suspended));
    let expected = ask(&state, Method::GET, &id("nobody"), &[("origin", ORIGIN)]).await;
    assert_eq!(expected.status, 404);
    assert_eq!(expected.header("cache-control"), Some("no-store"));
    let braced = format!("%7B{}%7D", id("web"));
    let no_text = "%ff".to_owned();
    for other in [id("backend"), id("suspended"), "x".into(), "%00".into(), no_text, braced] {
        let reply = ask(&state, Method::GET, &other, &[("origin", ORIGIN)]).await;
        assert_eq!((reply.status, &reply.text), (404, &expected.text), "{other}");
        assert_eq!(reply.allowed_origin(), None, "{other}");
        assert_eq!(reply.headers.len(), expected.headers.len(), "{other}");
    }
}

#[tokio::test]
async fn who_has_it_already_gets_304() {
    let (index, state) = world(true);
    let first = ask(&state, Method::GET, &id("web"), &[]).await;
    let etag = first.header("etag").unwrap();
    let again = [("if-none-match", etag), ("origin", ORIGIN)];
    let reply = ask(&state, Method::GET, &id("web"), &again).await;
    assert_eq!((reply.status, reply.text.as_str()), (304, ""));
    // The browser takes the headers of the 304 for those of what it has kept.
    assert_eq!(reply.allowed_origin(), Some(ORIGIN));
    let mut changed = web();
    changed["displayName"] = json!("Another name");
    index.apply::<crd::SdkClient>(&object("SdkClient", "web", &changed));
    assert_eq!(ask(&state, Method::GET, &id("web"), &again).await.status, 200);
}

#[tokio::test]
async fn before_the_cluster_was_read_it_is_503() {
    let (_, state) = world(false);
    for method in [Method::GET, Method::OPTIONS] {
        let reply = ask(&state, method, &id("web"), &[("origin", ORIGIN)]).await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    }
}
