//! Spans for what the client writes to the API server.

use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use futures::future::BoxFuture;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use crate::telemetry::traces;

/// A layer that traces every request except reads, which are long if they are watches.
#[derive(Clone, Copy, Debug)]
pub struct TracedWrites;

impl<S> Layer<S> for TracedWrites {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced(inner)
    }
}

/// A client whose writes are traced.
#[derive(Clone, Debug)]
pub struct Traced<S>(S);

impl<S, A, B> Service<Request<A>> for Traced<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let span = match request.method() {
            &Method::GET => Span::none(),
            method => traces::api_request(method, resource(request.uri().path())),
        };
        let response = self.0.call(request);
        Box::pin(async move {
            let response = response.instrument(span.clone()).await;
            traces::api_responded(&span, response.as_ref().ok().map(|it| it.status().as_u16()));
            response
        })
    }
}

/// The resource in a path of the API server, without the names of objects: `secrets`.
fn resource(path: &str) -> &str {
    // The server may be below a path of its own.
    let mut segments = path.split('/').skip_while(|it| !matches!(*it, "api" | "apis"));
    let versions = if segments.next() == Some("apis") { 2 } else { 1 };
    let mut segments = segments.skip(versions);
    match (segments.next(), segments.nth(1)) {
        (Some("namespaces"), Some(resource)) | (Some(resource), _) => resource,
        (None, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::resource;

    #[test]
    fn resources_without_names() {
        for (path, expected) in [
            ("/api/v1/namespaces/a/secrets/b", "secrets"),
            ("/api/v1/namespaces/a/secrets", "secrets"),
            ("/apis/anon.dev/v1beta1/namespaces/a/members/b/status", "members"),
            ("/k8s/clusters/c/api/v1/namespaces/a", "namespaces"),
            ("/api/v1/namespaces", "namespaces"),
            ("/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews"),
            ("/version", ""),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
    }
}
