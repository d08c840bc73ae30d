//! A caller of the REST API with a bearer token.

use anon_operator::testing::crd;
use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{Operator, Space, http as client};

/// The password of every member.
pub const PASSWORD: &str = "correct horse";

/// A caller that authenticates with a bearer token.
pub struct Caller<'o> {
    pub operator: &'o Operator,
    pub bearer: String,
}

impl<'o> Caller<'o> {
    /// Creates Ada, the first Admin of a new organization, and logs in as her.
    pub async fn ada(operator: &'o Operator, space: &Space) -> Self {
        space
            .apply_all(&[
                json!({
                    "apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": "ada", "labels": {"anon.dev/use": "password"}},
                    "stringData": {"password": PASSWORD},
                }),
                json!({
                    "apiVersion": "anon.dev/v1beta1", "kind": "Member", "metadata": {"name": "ada"},
                    "spec": {
                        "email": format!("ada@{}.example", space.name), "role": "Admin",
                        "passwordSecretRef": {"name": "ada", "key": "password"},
                    },
                }),
            ])
            .await;
        space.stands::<crd::Member>("ada", "Accepted").await;
        let email = format!("ada@{}.example", space.name);
        Self { operator, bearer: log_in(operator, &email, PASSWORD).await.unwrap() }
    }

    /// The same caller, with requests to another replica.
    pub fn at<'p>(&self, operator: &'p Operator) -> Caller<'p> {
        Caller { operator, bearer: self.bearer.clone() }
    }

    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(self.operator.url(path))
            .header("authorization", format!("Bearer {}", self.bearer))
            .header("content-type", "application/json")
            .header("x-anon-sdk-client-id", "");
        let reply = client::send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap());
        let reply = reply.await.unwrap();
        (reply.status, reply.json())
    }

    /// Sends a request that must succeed, and returns the body of the response.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, reply) = self.call(method, path, &body).await;
        assert_eq!(status, 200, "{method} {path} {body}: {reply}");
        reply
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, json!({})).await
    }

    /// The id of the caller.
    pub async fn id(&self) -> String {
        let auth = self.get("/org/sdkClient/auth").await;
        auth["authenticatorId"].as_str().unwrap().to_owned()
    }
}

/// Logs in. Returns the session token, or the status code if the login is rejected.
pub async fn log_in(operator: &Operator, email: &str, password: &str) -> Result<String, u16> {
    let body = json!({"email": email, "password": password});
    let reply = client::post(&operator.url("/org/login"), &[], &body).await.unwrap();
    let token = || reply.json()["token"].as_str().unwrap().to_owned();
    if reply.status == 200 { Ok(token()) } else { Err(reply.status) }
}
