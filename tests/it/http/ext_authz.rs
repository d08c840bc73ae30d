//! `envoy.service.auth.v3.Authorization/Check`, over gRPC.

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::ids::{OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::server::endpoints::ext_authz::{
    AttributeContext, CheckRequest, CheckResponse, Header, HeaderList, HeaderOption, HttpRequest,
    HttpResponse, Kind, OkHttpResponse, RequestAttributes,
};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde_json::Value;

use crate::support::objects::{self, claims, token};
use crate::support::{CHALLENGE, World};

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request that Envoy has received, with these headers, on a route with this client.
fn question(client: Option<&str>, headers: &[(&str, &str)]) -> CheckRequest {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let http = HttpRequest { headers: headers.iter().map(pair).collect(), header_map: None };
    let client = client.map(|client| ("sdkClientId".to_owned(), client.to_owned()));
    let context_extensions = client.into_iter().collect();
    let request = Some(RequestAttributes { http: Some(http) });
    CheckRequest { attributes: Some(AttributeContext { request, context_extensions }) }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(message.len()).unwrap().to_be_bytes().as_slice(), message].concat()
}

/// Sends a body. Every response is a gRPC message with status 0.
async fn call(world: &World, body: Vec<u8>) -> CheckResponse {
    let request = Request::post(PATH).header("content-type", "application/grpc");
    let request = request.body(Body::from(body)).unwrap();
    let response = world.routes(&[Role::Validator]).handle(request, None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let bytes = body.to_bytes();
    let (prefix, message) = bytes.split_at(5);
    assert_eq!(prefix, &framed(message)[..5]);
    CheckResponse::decode(message).unwrap()
}

async fn check(world: &World, question: &CheckRequest) -> CheckResponse {
    call(world, framed(&question.encode_to_vec())).await
}

fn allowed(response: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(response.status.as_ref().unwrap().code, 0);
    match response.http_response.as_ref().unwrap() {
        HttpResponse::Ok(allowed) => allowed,
        HttpResponse::Denied(denied) => panic!("{}", denied.body),
    }
}

/// The status of the response, its headers, and the reason.
fn denied(response: &CheckResponse) -> (i32, Vec<(String, String)>, String) {
    assert_ne!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::Denied(denied)) = &response.http_response else { panic!("allowed") };
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    let reason = body["reason"].as_str().unwrap().to_owned();
    (denied.status.unwrap().code, denied.headers.iter().map(pair).collect(), reason)
}

fn pair(option: &HeaderOption) -> (String, String) {
    assert_eq!(option.append_action, HeaderOption::OVERWRITE);
    let header = option.header.clone().unwrap();
    (header.key, header.value)
}

#[tokio::test]
async fn allows_and_overwrites_every_identity_header() {
    let (world, acme) = World::acme();
    let bearer = format!("Bearer {}", token(acme.signing, &claims()));
    let client = acme.client().to_string();
    let question = question(
        Some(&client),
        &[
            ("authorization", &bearer),
            ("x-anon-sdk-client-id", "another"),
            ("x-anon-role", "Admin"),
            ("x-anon_role", "Admin"),
        ],
    );
    let response = check(&world, &question).await;
    let allowed = allowed(&response);
    let (organization, pool) =
        (OrganizationId::derive("acme"), UserPoolId::derive("acme", "users"));
    let expected = [
        ("x-anon-principal-type", "appUser".to_owned()),
        ("x-anon-organization-id", organization.to_string()),
        ("x-anon-user-pool-id", pool.to_string()),
        ("x-anon-sdk-client-id", client),
        ("x-anon-app-user-id", "user-123".to_owned()),
        ("x-anon-member-id", String::new()),
        ("x-anon-role", String::new()),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(allowed.headers.iter().map(pair).collect::<Vec<_>>(), expected);
    assert!(allowed.headers.iter().all(|header| header.keep_empty_value));
    for name in ["x-anon_role", "x_anon_role", "x_anon_app_user_id"] {
        assert!(allowed.headers_to_remove.iter().any(|it| it == name), "{name}");
    }
    assert!(allowed.headers_to_remove.iter().all(|name| name.contains('_')));
    let metadata = response.dynamic_metadata.unwrap();
    let Some(Kind::Object(claims)) = &metadata.fields["claims"].kind else { panic!("no claims") };
    let text = |value: &str| Some(Kind::Text(value.to_owned()));
    assert!(claims.fields["sub"].kind == text("user-123"));
    assert!(metadata.fields["appUserId"].kind == text("user-123"));
    assert!(metadata.fields["organizationId"].kind == text(&organization.to_string()));
}

#[tokio::test]
async fn raw_headers() {
    let (world, acme) = World::acme();
    let bearer = format!("Bearer {}", token(acme.signing, &claims()));
    let header = |value: &[u8]| Header {
        key: "authorization".to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    };
    for (headers, status) in [
        (vec![header(bearer.as_bytes())], 200),
        (vec![header(bearer.as_bytes()), header(bearer.as_bytes())], 401),
        (vec![header(b"Bearer \xff\n")], 401),
    ] {
        let mut question = question(Some(&acme.client().to_string()), &[]);
        let attributes = question.attributes.as_mut().unwrap();
        let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
        http.header_map = Some(HeaderList { headers });
        let response = check(&world, &question).await;
        match status {
            200 => assert_eq!(allowed(&response).headers.len(), 7),
            status => assert_eq!(denied(&response).0, status),
        }
    }
}

#[tokio::test]
async fn denials() {
    let (world, acme) = World::acme();
    world.add(&objects::pool_without_keys("acme", "new"));
    world.add(&objects::webapp("acme", "fresh", "new"));
    let bearer = format!("Bearer {}", token(acme.signing, &claims()));
    let (web, key) = (acme.client().to_string(), format!("Bearer {}", acme.key()));
    let two = format!("{bearer},{bearer}");
    let fresh = SdkClientId::derive("acme", "fresh").to_string();
    let (web, fresh) = (web.as_str(), fresh.as_str());
    for (client, authorization, status, reason) in [
        (None, Some(&bearer), 403, "client_unknown"),
        (Some(""), Some(&bearer), 403, "client_unknown"),
        (Some("junk"), Some(&bearer), 403, "client_unknown"),
        (Some(web), None, 401, "credential_missing"),
        (Some(web), Some(&two), 401, "authorization_malformed"),
        (Some(web), Some(&key), 401, "credential_kind_refused"),
        (Some(fresh), Some(&bearer), 503, "pool_not_ready"),
    ] {
        let headers: Vec<_> =
            authorization.map(|it| ("authorization", it.as_str())).into_iter().collect();
        let response = check(&world, &question(client, &headers)).await;
        let (given, headers, why) = denied(&response);
        assert_eq!((given, &*why), (status, reason));
        let header = |name: &str| headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        assert_eq!(header("www-authenticate"), (status == 401).then_some(CHALLENGE), "{reason}");
        assert_eq!(header("retry-after"), (status == 503).then_some("1"), "{reason}");
        assert_eq!(header("content-type"), Some("application/json"));
        assert!(response.dynamic_metadata.is_none());
    }
}

/// With `failure_mode_allow`, Envoy would forward the request if the call failed.
#[tokio::test]
async fn failures_are_denials() {
    let (world, acme) = World::acme();
    let bearer = format!("Bearer {}", token(acme.signing, &claims()));
    let good = question(Some(&acme.client().to_string()), &[("authorization", &bearer)]);
    let good = framed(&good.encode_to_vec());
    let twice = [good.as_slice(), &good].concat();
    for (body, status, reason) in [
        (vec![], 400, "request_malformed"),
        (vec![0; 4], 400, "request_malformed"),
        (framed(b"\xff\xff"), 400, "request_malformed"),
        (twice, 400, "request_malformed"),
        (vec![0; 100_000], 413, "request_too_large"),
    ] {
        let response = call(&world, body).await;
        let (given, _, why) = denied(&response);
        assert_eq!((given, &*why), (status, reason));
        // INVALID_ARGUMENT of google.rpc.Status.
        assert_eq!(response.status.unwrap().code, 3);
    }
    for world in [World::unlisted(), World::stale()] {
        assert_eq!(denied(&call(&world, good.clone()).await).0, 503);
    }
    // An empty message has no client.
    assert_eq!(denied(&call(&world, framed(b"")).await).0, 403);
}

/// Only the configuration of Envoy can cause that.
#[tokio::test]
async fn compressed_messages_are_unimplemented() {
    let (world, _) = World::acme();
    let request = Request::post(PATH).header("content-type", "application/grpc");
    let request = request.body(Body::from(vec![1, 0, 0, 0, 1, 0])).unwrap();
    let response = world.routes(&[Role::Validator]).handle(request, None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "12");
    assert_eq!(response.headers()["grpc-accept-encoding"], "identity");
}

/// Readers of Protocol Buffers accept 100 levels of messages.
#[tokio::test]
async fn the_deepest_claims_are_readable() {
    let (world, acme) = World::acme();
    let mut claims = claims();
    let mut deep = serde_json::json!(1);
    // The payload itself is the first of 16 levels.
    for _ in 0..15 {
        deep = serde_json::json!({"a": deep});
    }
    claims["deep"] = deep;
    let bearer = format!("Bearer {}", token(acme.signing, &claims));
    let question = question(Some(&acme.client().to_string()), &[("authorization", &bearer)]);
    let response = check(&world, &question).await;
    allowed(&response);
    let metadata = response.dynamic_metadata.unwrap();
    let mut kind = metadata.fields["claims"].kind.clone();
    let mut levels = 0;
    while let Some(Kind::Object(object)) = kind {
        levels += 1;
        kind = object.fields.get("deep").or(object.fields.get("a")).unwrap().kind.clone();
    }
    assert_eq!(levels, 16);
}
