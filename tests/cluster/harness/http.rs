//! An HTTP client that opens one connection for each request.

use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A complete response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The `reason` in the body, or an empty string.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The status code and the reason as one string, which is easy to compare and to read.
    pub fn verdict(&self) -> String {
        match self.status {
            200 => "200".to_owned(),
            status => format!("{status} {}", self.reason()),
        }
    }
}

/// Sends a request. It is an error only if there is no complete response.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Reply, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

/// Sends `GET url`.
pub async fn get(url: &str) -> Result<Reply, String> {
    send(Request::get(url).body(Full::default()).unwrap()).await
}

/// Sends `POST url` with a JSON body and these headers.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Result<Reply, String> {
    post_text(url, headers, body.to_string()).await
}

/// Like [`post`], but with any text as the body.
pub async fn post_text(url: &str, headers: &[(&str, &str)], body: String) -> Result<Reply, String> {
    let mut request = Request::builder().method(Method::POST).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json");
    send(request.body(Full::from(body)).unwrap()).await
}
