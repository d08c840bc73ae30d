//! An API server that a test plays by hand: each request waits for the answer that the test gives.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Request, Response};
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower_test::mock::{self, Handle, SendResponse};

use super::api::{client, ok, status};

type Answer = Response<Body>;

/// The server's side.
pub struct Script {
    handle: Handle<Request<kube::client::Body>, Answer>,
}

/// A request that waits for its answer.
pub struct Ask {
    pub method: String,
    pub path: String,
    pub query: String,
    /// When it came.
    pub at: Instant,
    send: SendResponse<Answer>,
}

impl Script {
    pub fn new() -> (Self, Client) {
        let (service, handle) = mock::pair();
        (Self { handle }, client(service))
    }

    /// The next request, which has to come within an hour (of paused time).
    pub async fn next(&mut self) -> Ask {
        let next = timeout(Duration::from_hours(1), self.handle.next_request()).await;
        let (request, send) = next.expect("no request within an hour").unwrap();
        Ask {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            at: Instant::now(),
            send,
        }
    }

    /// The next request, which has to be a list.
    pub async fn list(&mut self) -> Ask {
        let ask = self.next().await;
        assert_eq!(ask.parameter("watch"), None, "a list was expected: {}", ask.query);
        ask
    }

    /// The next request, which has to be a watch from this version.
    pub async fn watch(&mut self, version: &str) -> Ask {
        let ask = self.next().await;
        assert_eq!(ask.parameter("watch"), Some("true"), "a watch was expected: {}", ask.query);
        assert_eq!(ask.parameter("resourceVersion"), Some(version));
        ask
    }
}

impl Ask {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|it| it.0 == name)
            .map(|it| it.1)
    }

    pub fn ok(self, object: &Value) {
        self.send.send_response(ok(object));
    }

    pub fn text(self, text: &'static str) {
        self.bytes(text);
    }

    pub fn bytes(self, bytes: impl Into<Bytes>) {
        let bytes: Bytes = bytes.into();
        self.send.send_response(Response::new(Body::from(bytes)));
    }

    pub fn status(self, code: u16, reason: &str) {
        self.send.send_response(status(code, reason));
    }

    /// The connection breaks.
    pub fn reset(self) {
        self.send.send_error(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    }

    /// Begins a watch; the test sends its events.
    pub fn stream(self) -> Events {
        let (sender, receiver) = unbounded();
        self.send.send_response(Response::new(Body::from_stream(receiver)));
        Events(sender)
    }
}

/// An open watch. Dropping it ends the watch properly.
pub struct Events(UnboundedSender<std::io::Result<Bytes>>);

impl Events {
    pub fn send(&self, type_: &str, object: &Value) {
        // The type comes first, as the API server writes it.
        self.line(&format!(r#"{{"type":"{type_}","object":{object}}}"#));
    }

    pub fn line(&self, line: &str) {
        self.bytes(format!("{line}\n"));
    }

    pub fn bytes(&self, bytes: impl Into<Bytes>) {
        self.0.unbounded_send(Ok(bytes.into())).unwrap();
    }

    /// The connection breaks.
    pub fn reset(self) {
        self.0.unbounded_send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
    }
}
