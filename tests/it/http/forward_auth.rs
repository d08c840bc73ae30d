//! `/v1/auth/client/{clientId}`: what proxies send, and the only four statuses that they get.

use std::sync::Arc;
use std::time::Duration;

use anon_operator::testing::config::Role;
use anon_operator::testing::domain::credential::{ApiKey, SessionToken};
use anon_operator::testing::domain::credential_type::CredentialType;
use anon_operator::testing::domain::ids::{MemberId, OrganizationId, SdkClientId, UserPoolId};
use anon_operator::testing::server::EndpointSettings;
use axum::body::Body;
use http::{Method, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::serve::start;
use crate::support::objects::{self, claims, token};
use crate::support::{Acme, CHALLENGE, Reply, World};

const HEADERS: [&str; 7] = [
    "x-anon-principal-type",
    "x-anon-organization-id",
    "x-anon-user-pool-id",
    "x-anon-sdk-client-id",
    "x-anon-app-user-id",
    "x-anon-member-id",
    "x-anon-role",
];

fn path(client: impl std::fmt::Display) -> String {
    format!("/v1/auth/client/{client}")
}

fn ask(path: &str, bearer: &str) -> Request<Body> {
    let request = Request::get(path).header("authorization", format!("Bearer {bearer}"));
    request.body(Body::empty()).unwrap()
}

/// The identity headers of a response, in the order of [`HEADERS`].
fn identity(reply: &Reply) -> Vec<&str> {
    assert_eq!(reply.status, 200, "{}", reply.text);
    HEADERS.iter().map(|name| reply.header(name).unwrap()).collect()
}

/// A world whose gateways accept every credential.
fn accepting_all() -> (World, Acme) {
    let (mut world, acme) = World::acme();
    let gateway_accepts = CredentialType::ALL.to_vec();
    world.state.validator.settings =
        Arc::new(EndpointSettings { gateway_accepts, ..EndpointSettings::default() });
    (world, acme)
}

#[tokio::test]
async fn every_method_and_what_a_proxy_appends() {
    let (world, acme) = World::acme();
    let token = token(acme.signing, &claims());
    let own = path(acme.client());
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
    {
        for rest in ["", "?clientId=x", "/-", "/-/", "/-/orders/1?x=%zz", "/-/%ff/../..", "/-/-/-"]
        {
            let mut request = ask(&format!("{own}{rest}"), &token);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = world.send(request).await;
            let organization = OrganizationId::derive("acme").to_string();
            let pool = UserPoolId::derive("acme", "users").to_string();
            let client = acme.client().to_string();
            let expected = ["appUser", &organization, &pool, &client, "user-123", "", ""];
            assert_eq!(identity(&reply), expected, "{method} {rest}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.text, "");
        }
    }
}

/// What the client of the original request sends must not select another client or identity.
#[tokio::test]
async fn only_the_path_selects_the_client() {
    let (world, acme) = World::acme();
    world.add(&objects::pool("other", "users", acme.signing));
    world.add(&objects::webapp("other", "web", "users"));
    let other = SdkClientId::derive("other", "web");
    let token = token(acme.signing, &claims());
    for (name, value) in [
        ("x-anon-sdk-client-id", other.to_string()),
        ("x-anon-app-user-id", "admin".to_owned()),
        ("x-original-uri", path(other)),
        ("x-forwarded-uri", path(other)),
    ] {
        let rest = format!("{}/-{}", path(acme.client()), path(other));
        let mut request = ask(&rest, &token);
        request.headers_mut().insert(name, value.parse().unwrap());
        let reply = world.send(request).await;
        assert_eq!(identity(&reply)[3], acme.client().to_string(), "{name}");
        assert_eq!(identity(&reply)[4], "user-123", "{name}");
    }
    // Its tokens are valid for its own client only: the issuer is that of another pool.
    let reply = world.send(ask(&path(other), &token)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["reason"]), (401, &json!("issuer_mismatch")));
}

#[tokio::test]
async fn app_user_ids_are_percent_encoded() {
    let (world, acme) = World::acme();
    for (id, header) in
        [("a b%", "a%20b%25"), ("ü\r\nx-anon-role: Admin", "%C3%BC%0D%0Ax-anon-role:%20Admin")]
    {
        let mut claims = claims();
        claims["sub"] = json!(id);
        let reply = world.send(ask(&path(acme.client()), &token(acme.signing, &claims))).await;
        assert_eq!(identity(&reply)[4], header);
    }
}

#[tokio::test]
async fn rejections() {
    let (world, acme) = World::acme();
    world.add(&objects::suspended(objects::webapp("acme", "old", "users")));
    world.add(&objects::webapp("acme", "lost", "missing"));
    world.add(&objects::pool_without_keys("acme", "new"));
    world.add(&objects::webapp("acme", "fresh", "new"));
    let token = token(acme.signing, &claims());
    let id = |name: &str| SdkClientId::derive("acme", name).to_string();
    let own = id("web");
    let bearer = |value: &str| vec![format!("Bearer {value}")];
    for (client, authorization, status, reason) in [
        (own.as_str(), vec![], 401, "credential_missing"),
        (&own, vec![String::new()], 401, "credential_missing"),
        (&own, vec!["Basic dTpw".into()], 401, "authorization_malformed"),
        (&own, vec![format!("Bearer {token}"), format!("Bearer {token}")], 401, "two_credentials"),
        (&own, bearer("junk"), 401, "credential_unrecognized"),
        (&own, bearer(&format!("{token}x")), 401, "token_malformed"),
        (&own, bearer(&"a".repeat(17 * 1024)), 401, "credential_too_large"),
        (&own, bearer(acme.key()), 401, "credential_kind_refused"),
        (&own, bearer(SessionToken::generate().unwrap().expose()), 401, "credential_kind_refused"),
        (&id("unknown"), bearer(&token), 403, "client_unknown"),
        (&id("unknown"), vec![], 403, "client_unknown"),
        ("", bearer(&token), 403, "client_unknown"),
        ("not-a-uuid", bearer(&token), 403, "client_unknown"),
        (&format!("{own}/x"), bearer(&token), 403, "client_unknown"),
        (&id("old"), bearer(&token), 403, "client_suspended"),
        (&id("backend"), bearer(&token), 403, "client_not_webapp"),
        (&id("lost"), bearer(&token), 403, "user_pool_not_found"),
        (&id("fresh"), bearer(&token), 503, "pool_not_ready"),
    ] {
        let mut request = Request::get(path(client)).body(Body::empty()).unwrap();
        for value in &authorization {
            request.headers_mut().append("authorization", value.parse().unwrap());
        }
        let reply = world.send(request).await;
        assert_eq!(reply.status, status, "{client} {reason}: {}", reply.text);
        let name = match status {
            401 => "UnauthorizedError",
            403 => "ForbiddenError",
            _ => "UnavailableError",
        };
        assert_eq!(reply.json()["reason"], reason, "{client}");
        assert_eq!(reply.json()["name"], name, "{client}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("www-authenticate"), (status == 401).then_some(CHALLENGE));
        assert_eq!(reply.header("retry-after"), (status == 503).then_some("1"));
        assert!(HEADERS.iter().all(|name| reply.header(name).is_none()));
    }
}

#[tokio::test]
async fn a_replica_that_cannot_tell_rejects_no_credential() {
    for world in [World::unlisted(), World::stale()] {
        for client in [SdkClientId::derive("acme", "web").to_string(), "junk".to_owned()] {
            let reply = world.send(ask(&path(client), "junk")).await;
            assert_eq!(reply.status, 503);
        }
    }
}

#[tokio::test]
async fn other_credentials_only_of_the_organization_of_the_client() {
    let (world, acme) = accepting_all();
    let (session, other_key) = (SessionToken::generate().unwrap(), ApiKey::generate().unwrap());
    world.add(&objects::member("acme", "ada", "Admin", &session));
    world.add(&objects::service("other", "backend", "Member", &other_key));
    world.add(&objects::pool("other", "users", acme.signing));
    world.add(&objects::webapp("other", "web", "users"));
    let own = path(acme.client());

    let organization = OrganizationId::derive("acme").to_string();
    let reply = world.send(ask(&own, acme.key())).await;
    let backend = SdkClientId::derive("acme", "backend").to_string();
    assert_eq!(identity(&reply), ["apiKey", &organization, "", &backend, "", "", "Member"]);
    let reply = world.send(ask(&own, session.expose())).await;
    let ada = MemberId::derive("acme", "ada").to_string();
    assert_eq!(identity(&reply), ["member", &organization, "", "", "", &ada, "Admin"]);

    let other = path(SdkClientId::derive("other", "web"));
    for (path, credential) in
        [(&own, other_key.expose()), (&other, acme.key()), (&other, session.expose())]
    {
        let reply = world.send(ask(path, credential)).await;
        assert_eq!(reply.status, 401, "{path}");
        assert_eq!(reply.json()["reason"], "organization_mismatch", "{path}");
    }
    world.add(&objects::suspended(objects::webapp("acme", "web", "users")));
    assert_eq!(world.send(ask(&own, acme.key())).await.status, 403);
}

/// Sends bytes, and reads until the head of a response is complete.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let byte = timeout(Duration::from_secs(5), stream.read_u8()).await;
        text.push(byte.expect("no response").unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// A proxy may forward the body of the original request, its length without the body, or
/// `Expect: 100-continue`.
#[tokio::test]
async fn bodies_are_not_waited_for() {
    let (world, acme) = World::acme();
    let server = start(world.routes(&[Role::Validator]), Duration::ZERO);
    let token = token(acme.signing, &claims());
    let head = |method: &str, more: &str| {
        let path = path(acme.client());
        format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        )
    };
    let large = "x".repeat(200 * 1024);
    for (name, text) in [
        ("length without a body", head("POST", "content-length: 5\r\n")),
        ("huge length", head("PUT", "content-length: 99999999999\r\n")),
        ("a chunk that never comes", head("PATCH", "transfer-encoding: chunked\r\n")),
        ("expectation", head("POST", "content-length: 5\r\nexpect: 100-continue\r\n")),
        ("another method", head("PROPFIND", "content-length: 5\r\n")),
        ("malformed chunks", head("POST", "transfer-encoding: chunked\r\n") + "zz\r\n"),
        ("large", head("POST", &format!("content-length: {}\r\n", large.len())) + &large),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let reply = exchange(&mut stream, text.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {reply}");
        assert!(reply.contains("\r\nx-anon-app-user-id: user-123\r\n"), "{name}: {reply}");
    }
    // A body that has arrived does not cost the connection.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let text = head("POST", "content-length: 5\r\n") + "hello";
        let reply = exchange(&mut stream, text.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    }
}

/// Over HTTP/2 (RFC 9113), a request whose body never arrives.
#[tokio::test]
async fn bodies_are_not_waited_for_in_http2() {
    const HEADERS: u8 = 1;
    let (world, acme) = World::acme();
    let server = start(world.routes(&[Role::Validator]), Duration::ZERO);
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // HPACK without compression (RFC 7541): http, and three literals with an indexed name.
    let literal = |index: u8, value: &str| {
        [&[index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
    };
    let path = path(acme.client());
    let block =
        [&[0x86][..], &literal(1, "x"), &literal(2, "PROPFIND"), &literal(4, &path)].concat();
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, b"")].concat();
    bytes.extend(frame(HEADERS, 4, 1, &block));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let payload = timeout(Duration::from_secs(5), async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == HEADERS {
                return payload;
            }
        }
    });
    let payload = payload.await.expect("no response");
    // `:status: 401`, in the Huffman code of HPACK.
    assert!(payload.windows(4).any(|bytes| bytes == [0x48, 0x82, 0x68, 0x01]), "{payload:?}");
}
