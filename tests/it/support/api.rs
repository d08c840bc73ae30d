//! An API server inside the test: every request is recorded and answered by a function.

use std::convert::Infallible;
use std::sync::Arc;

use anon_operator::testing::kube_ext::utf8;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::util::MapResponse;
use tower::{BoxError, Service};

/// A request that the API server got.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    /// Decoded as far as the tests need it.
    pub query: String,
    /// Null if there was none.
    pub body: Value,
}

type Answer = dyn FnMut(&Seen) -> Response<Body> + Send;

/// The server. Until it is told otherwise it has nothing: 404.
#[derive(Clone)]
pub struct FakeApi {
    answer: Arc<Mutex<Box<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    silent: watch::Sender<bool>,
}

impl Default for FakeApi {
    fn default() -> Self {
        Self::new(|_| status(404, "NotFound"))
    }
}

impl FakeApi {
    pub fn new(answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static) -> Self {
        let silent = watch::Sender::new(false);
        Self { answer: Arc::new(Mutex::new(Box::new(answer))), seen: Arc::default(), silent }
    }

    /// From now on, answers so.
    pub fn answer(&self, answer: impl FnMut(&Seen) -> Response<Body> + Send + 'static) {
        *self.answer.lock() = Box::new(answer);
    }

    /// Takes requests from now on, and keeps the answers until it is silent no longer.
    pub fn silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Method and path of what it was asked so far.
    pub fn log(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    /// A client that talks to it.
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.serve(request).await) }
        });
        client(service)
    }

    async fn serve(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let seen = Seen {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().replace("%3D", "=").replace("%2C", ","),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        self.seen.lock().push(seen.clone());
        self.silent.subscribe().wait_for(|silent| !silent).await.unwrap();
        (self.answer.lock())(&seen)
    }
}

/// A client like the operator's own.
pub fn client<S>(service: S) -> Client
where
    S: Service<Request<kube::client::Body>, Response = Response<Body>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    Client::new(MapResponse::new(service, utf8::repaired::<Body>), "default")
}

/// 200 with this object.
pub fn ok(object: &Value) -> Response<Body> {
    Response::new(Body::from(object.to_string()))
}

/// A failure as the API server words it.
pub fn status(code: u16, reason: &str) -> Response<Body> {
    let body = failure(code, reason).to_string();
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Body::from(body)).unwrap()
}

/// The object in [`status`].
pub fn failure(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": format!("{reason}, says the fake API server"), "reason": reason, "code": code,
    })
}
