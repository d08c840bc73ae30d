//! Requests that nobody should send: a clear refusal in JSON, never a 5xx, and the process lives.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::http::Reply;
use crate::harness::{Operator, Space, quick_pool, shared};

/// Sends raw bytes and reads the status and body of the one answer. A server that hangs fails the
/// test; one that refuses before it has read everything may close early.
async fn raw(operator: &Operator, what: &str, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(operator.address()).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let patience = std::time::Duration::from_secs(30);
    let read =
        tokio::time::timeout(patience, read).await.unwrap_or_else(|_| panic!("{what}: it hangs"));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{what}: no answer: {read:?} {answer}"));
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// A request in one piece.
fn request(head: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn assert_refused(what: &str, status: u16, body: &str) {
    assert!((400..500).contains(&status), "{what}: {status} {body}");
    let body: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}: {body}"));
    assert!(body["name"].is_string() && body["message"].is_string(), "{what}: {body}");
}

#[tokio::test]
async fn odd_requests_get_a_json_refusal() {
    let operator = shared().await;
    let validate = "POST /v1/validate";
    let mint = "POST /org/appUserIdToken";
    let long = "x".repeat(10_000);
    let jwt = format!("Bearer {}.{}.{}", "e".repeat(6000), "e".repeat(6000), "e".repeat(6000));
    let key = format!("Bearer ory_apikey_{long}");
    let deep = [vec![b'['; 30_000], vec![b']'; 30_000]].concat();
    let deep_object = format!("{}1{}", r#"{"a":"#.repeat(9000), "}".repeat(9000));
    let big = format!(r#"{{"token":"{}"}}"#, "x".repeat(70_000));
    let ids = json!({"token": "a.b.c", "sdkClientId": long, "organizationId": long}).to_string();
    let twice = r#"{"token":"a","token":"b"}"#;
    let types = r#"{"token":["a"],"sdkClientId":7}"#;
    let bearer: (&str, &[u8]) = ("authorization", b"Bearer a.b.c");
    let no_headers: &[(&str, &[u8])] = &[];
    let long_client = [bearer, ("x-anon-sdk-client-id", long.as_bytes())];
    let binary_client = [bearer, ("x-anon-sdk-client-id", b"\xff\xfe".as_slice())];
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("no credential", 401, request(validate, no_headers, b"")),
        ("large token", 401, request(validate, &[("authorization", jwt.as_bytes())], b"")),
        ("long key", 401, request(validate, &[("authorization", key.as_bytes())], b"")),
        ("large body", 413, request(validate, no_headers, big.as_bytes())),
        ("no JSON", 400, request(validate, no_headers, b"\x00\x01\x02")),
        ("half JSON", 400, request(validate, no_headers, br#"{"token":"#)),
        ("invalid UTF-8", 400, request(validate, no_headers, b"{\"token\":\"\xff\xfe\"}")),
        ("an array", 400, request(validate, no_headers, b"[]")),
        ("deep arrays", 400, request(validate, no_headers, &deep)),
        ("deep objects", 400, request(validate, no_headers, deep_object.as_bytes())),
        ("a member twice", 400, request(validate, no_headers, twice.as_bytes())),
        ("wrong types", 400, request(validate, no_headers, types.as_bytes())),
        ("long ids", 401, request(validate, no_headers, ids.as_bytes())),
        ("long client header", 401, request(validate, &long_client, b"")),
        ("binary client header", 401, request(validate, &binary_client, b"")),
        ("binary credential", 401, request(validate, &[("authorization", b"Bearer \xff")], b"")),
        ("another scheme", 401, request(validate, &[("authorization", b"Basic YTpi")], b"")),
        ("two credentials", 400, request(validate, &[bearer, bearer], b"")),
        ("no method", 405, request("GET /v1/validate", no_headers, b"")),
        ("odd method", 405, request("BREW /v1/validate", no_headers, b"")),
        ("wrong method", 405, request("DELETE /org/appUserIdToken", no_headers, b"")),
        ("no path", 404, request("GET /nothing/here", no_headers, b"")),
        ("odd path", 404, request("POST /v1//validate/../validate", no_headers, b"")),
        ("mint without a key", 401, request(mint, no_headers, b"{}")),
        ("mint with a token", 401, request(mint, &[bearer], b"{}")),
        (
            "long pool id",
            404,
            request(&format!("GET /userPools/{long}/.well-known/jwks.json"), no_headers, b""),
        ),
        (
            "binary pool id",
            404,
            request("GET /userPools/%ff%fe/.well-known/jwks.json", no_headers, b""),
        ),
        (
            "odd pool id",
            404,
            request("GET /userPools/..%2f..%2fx/.well-known/jwks.json", no_headers, b""),
        ),
    ];
    for (what, expected, bytes) in cases {
        let (status, body) = raw(&operator, what, &bytes).await;
        assert_refused(what, status, &body);
        assert_eq!(status, expected, "{what}: {body}");
    }
    // What is not HTTP is refused by the HTTP library, without a body.
    let header = "x".repeat(100_000);
    for (what, bytes) in [
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(10)),
        ("huge header", request(validate, &[("x-long", header.as_bytes())], b"")),
        ("huge path", request(&format!("GET /{header}"), no_headers, b"")),
        ("header without a name", request(validate, &[("", b"x")], b"")),
        ("two lengths", request(validate, &[("content-length", b"5")], b"{}")),
    ] {
        let (status, body) = raw(&operator, what, &bytes).await;
        assert!((400..500).contains(&status), "{what}: {status} {body}");
    }
}

#[tokio::test]
async fn odd_fields_from_a_known_caller() {
    let operator = shared().await;
    let space = Space::new("odd").await;
    space.apply(&quick_pool("users")).await;
    let (web, key) = space.web_and_backend().await;
    let long = "x".repeat(10_000);
    let nested = json!({"a": {"b": [1, 2, {"c": null}]}});
    let refused = async |body: Value| {
        let reply: Reply = operator.mint(&key, &body).await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_refused(&body.to_string()[..40.min(body.to_string().len())], reply.status, &text);
    };
    for value in [json!(long), json!(7), json!([]), nested.clone(), json!(true), json!("")] {
        refused(json!({"appUserId": value})).await;
        for field in ["userPoolId", "sdkClientId", "organizationId"] {
            refused(json!({"appUserId": "u", field: value})).await;
        }
        refused(
            json!({"appUserId": "u", "exp": if value == json!(7) { json!(1.5) } else { value }}),
        )
        .await;
    }
    refused(json!([])).await;
    refused(json!("text")).await;
    refused(Value::Null).await;

    refused(json!({"appUserId": "u", "unknown": nested})).await;

    // What is odd but allowed: names of users in any script.
    for id in
        ["用户-1", "a b", "émile@example.test", "../../etc/passwd", "\"};--", &"x".repeat(255)]
    {
        let body = json!({"appUserId": id, "sdkClientId": web});
        let token = operator.minted(&key, &body).await;
        let verdict = operator.validate(&token, Some(&web)).await;
        assert_eq!(verdict.json()["appUserId"], json!(id));
    }
}
