//! Stopping in order, and processes that have only some of the roles.

use anon_operator::testing::crd::{SdkClient, UserPool};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::audit::operator_writes_for;
use crate::harness::tokens::minted;
use crate::harness::{Operator, Space, alone, eventually, http, quick_pool, service};

#[tokio::test]
async fn sigterm_gives_the_lease_back_and_finishes_what_is_in_flight() {
    let _turn = alone().await;
    let mut operator = Operator::start(&[]).await;
    let space = Space::new("sigterm").await;
    space.apply(&service("backend", "Member", "key")).await;
    space.ready::<SdkClient>("backend").await;
    let key = space.api_key("key").await;
    operator.gives(&key, None, "200").await;
    let home = space.operators();
    let holder = async || {
        let lease: Lease = home.get("anon-operator-leader").await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap_or_default()
    };
    assert!(!holder().await.is_empty());

    // Half a request, which the server has begun to read.
    let mut stream = TcpStream::connect(operator.address()).await.unwrap();
    let body = json!({"token": key}).to_string();
    let head = format!(
        "POST /v1/validate HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 25];
    stream.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&first));

    operator.terminate();
    eventually("new connections are refused", async || {
        TcpStream::connect(operator.address()).await.map_or(Ok(()), |_| Err("accepted"))
    })
    .await;
    assert!(operator.running(), "it waits for the request");
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 200") && answer.contains(r#""active":true"#), "{answer}");
    assert_eq!(operator.ended().await.code(), Some(0));
    assert_eq!(holder().await, "");
}

#[tokio::test]
async fn a_validator_alone_serves_and_writes_nothing() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let space = Space::new("validator").await;
    space.apply(&quick_pool("users")).await;
    let (web, key) = space.web_and_backend().await;
    let pool = space.ready::<UserPool>("users").await.status.unwrap().id.unwrap();
    let token = eventually("a token is minted", async || {
        let reply = operator.mint(&key, &json!({"appUserId": "u", "sdkClientId": web})).await;
        if reply.status == 200 { Ok(minted(&reply)) } else { Err(reply.verdict()) }
    })
    .await;
    assert!(operator.stop().await.success());
    let before = operator_writes_for(&space).len();

    let validator = Operator::start(&["--roles=validator"]).await;
    assert_eq!(validator.validate(&key, None).await.verdict(), "200");
    assert_eq!(validator.validate(&token, Some(&web)).await.verdict(), "200");
    let jwks = validator.url(&format!("/userPools/{pool}/.well-known/jwks.json"));
    assert_eq!(http::get(&jwks).await.unwrap().status, 200);
    assert_eq!(validator.mint(&key, &json!({"appUserId": "u"})).await.status, 404);

    // Changes arrive without a leader; nothing is made without one.
    space.merge::<SdkClient>("backend", json!({"spec": {"suspended": true}})).await;
    space.apply(&service("new", "Member", "new")).await;
    validator.gives(&key, None, "401 client_suspended").await;
    // Looked at before it stops, when a leader would give the Lease back.
    let lease: Lease = space.operators().get("anon-operator-leader").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity, None);
    assert!(validator.stop().await.success());
    assert_eq!(operator_writes_for(&space).len(), before);
    assert!(space.value("new", "apiKey").await.is_none());

    // One that only serves the API, and one that only reconciles.
    let api = Operator::start(&["--roles=api"]).await;
    assert_eq!(http::post(&api.url("/v1/validate"), &[], &json!({})).await.unwrap().status, 404);
    assert_eq!(api.mint(&key, &json!({})).await.verdict(), "401 client_suspended");
    assert!(api.stop().await.success());
    let controller = Operator::start(&["--roles=controller"]).await;
    space.ready::<SdkClient>("new").await;
    assert!(http::get(&controller.url("/v1/validate")).await.is_err(), "it does not listen");
}
