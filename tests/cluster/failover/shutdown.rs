//! Stopping in order, and processes that have only some of the roles.

use anon_operator::testing::crd::{SdkClient, UserPool};
use anon_operator::testing::domain::credential::ApiKey;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::audit::all_writes_for;
use crate::harness::operator::Setup;
use crate::harness::tokens::minted;
use crate::harness::wait::expect;
use crate::harness::{Operator, Space, alone, eventually, http, quick_pool, service};

#[tokio::test]
async fn sigterm_gives_the_lease_back_and_finishes_what_is_in_flight() {
    let _turn = alone().await;
    let mut operator = Operator::start(&[]).await;
    let space = Space::new("sigterm").await;
    let key = space.backend().await;
    operator.gives(&key, None, "200").await;
    let home = space.operators();
    let holder = async || {
        let lease: Lease = home.get("anon-operator-leader").await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap_or_default()
    };
    assert!(!holder().await.is_empty());

    let request = HalfRequest::validate(&operator, &key).await;
    terminate(&mut operator).await;
    let answer = request.answer().await;
    assert!(answer.contains("HTTP/1.1 200") && answer.contains(r#""active":true"#), "{answer}");
    assert_eq!(operator.ended().await.code(), Some(0));
    assert_eq!(holder().await, "");
}

/// Until its last response, a replica applies what changes.
#[tokio::test]
async fn replica_that_shuts_down_enforces_revocations_until_its_last_response() {
    let _turn = alone().await;
    let _leader = Operator::start(&[]).await;
    let flags = ["--roles=validator", "--drain-timeout=3m"].map(str::to_owned).to_vec();
    let mut validator = Operator::launch(Setup { replica: 1, flags, ..Setup::default() }).await;
    let space = Space::new("last-response").await;
    let key = space.backend().await;
    validator.gives(&key, None, "200").await;

    // Each has to be complete within ten seconds.
    let mut requests = Vec::new();
    for _ in 0..40 {
        requests.push(HalfRequest::validate(&validator, &key).await);
    }
    terminate(&mut validator).await;
    let id = ApiKey::parse(&key).unwrap().hash().id();
    let revocation = json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "Revocation", "metadata": {"name": "leak"},
        "spec": {"sdkClient": {"name": "backend", "keyIds": [id]}},
    });
    space.apply(&revocation).await;
    eventually("a request in flight is refused", async || {
        let answer = requests.pop().expect("another request").answer().await;
        expect(answer.contains("HTTP/1.1 401") && answer.contains("api_key_revoked"), answer)
    })
    .await;
    drop(requests);
    assert_eq!(validator.ended().await.code(), Some(0));
}

/// A request that the server has begun to read.
struct HalfRequest {
    stream: TcpStream,
    body: String,
}

impl HalfRequest {
    /// The head of a request to validate a credential.
    async fn validate(operator: &Operator, credential: &str) -> Self {
        let mut stream = TcpStream::connect(operator.address()).await.unwrap();
        let body = json!({"token": credential}).to_string();
        let head = format!(
            "POST /v1/validate HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 25];
        stream.read_exact(&mut first).await.unwrap();
        assert!(first.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&first));
        Self { stream, body }
    }

    /// Sends the rest, and returns the response.
    async fn answer(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// SIGTERM to an operator that waits for a request.
async fn terminate(operator: &mut Operator) {
    operator.terminate();
    eventually("new connections are refused", async || {
        TcpStream::connect(operator.address()).await.map_or(Ok(()), |_| Err("accepted"))
    })
    .await;
    assert!(operator.running(), "it waits for the request");
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
    let before = all_writes_for(&space).await.len();

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
    assert_eq!(all_writes_for(&space).await.len(), before);
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
