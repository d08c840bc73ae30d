//! What surrounds the handling of every request: its id, the limits on requests in flight, the
//! timeout, and the response to a panic. One service and not a stack of layers, because each layer
//! allocates for each request.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::timeout;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use super::ApiError;
use super::arrival::Arrival;
use super::concurrency::RequestLimiter;
use super::error::panicked;
use super::request_id::{self, REQUEST_ID};
use super::worker_slot::WorkerSlot;
use crate::metrics::requests::{EndpointRequests, RequestResult};
use crate::telemetry::traces;

/// How long a request may take after its body has been read, including the wait for a place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The frame of the routes of one endpoint.
#[derive(Clone, Debug)]
pub struct Frame {
    limiter: RequestLimiter,
    requests: Arc<EndpointRequests>,
}

impl Frame {
    /// A frame with these limits, whose requests are counted here.
    pub const fn new(limiter: RequestLimiter, requests: Arc<EndpointRequests>) -> Self {
        Self { limiter, requests }
    }
}

impl<S> Layer<S> for Frame {
    type Service = Framed<S>;

    fn layer(&self, inner: S) -> Framed<S> {
        Framed { inner, frame: self.clone() }
    }
}

/// A service in its frame.
#[derive(Clone, Debug)]
pub struct Framed<S> {
    inner: S,
    frame: Frame,
}

impl<S> Service<Request> for Framed<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let start = Instant::now();
        let id = request_id::ensure(&mut request);
        let span = traces::request(self.frame.requests.endpoint(), &request);
        // Most requests have no body and find a free place.
        let slot = request.body().is_end_stream().then(|| self.frame.limiter.try_enter()).flatten();
        let work = if let Some(slot) = slot {
            occupy(&mut request, &slot);
            in_time(holding(slot, self.inner.call(request))).left_future()
        } else {
            let limiter = self.frame.limiter.clone();
            // In a box of its own: every request allocates and moves its future, so this one's
            // should not make all of them larger.
            queued(limiter, request, self.inner.clone()).boxed().right_future()
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let requests = Arc::clone(&self.frame.requests);
        let handled = async move {
            let mut response = work.await.unwrap_or_else(panicked);
            response.headers_mut().insert(REQUEST_ID, id);
            requests.record(response.status().as_u16(), start.elapsed());
            Ok(response)
        };
        // Most processes export no traces.
        if span.is_disabled() { Box::pin(handled) } else { Box::pin(traced(handled, span)) }
    }
}

/// Handles a request that has a body, or has to wait for a place. The body is read first, so that
/// slow senders occupy no place.
async fn queued<S>(limiter: RequestLimiter, request: Request, mut inner: S) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut request = if request.body().is_end_stream() {
        request
    } else {
        match limiter.with_body(request).await {
            Ok(request) => request,
            Err(error) => return error.into_response(),
        }
    };
    let connections = request.extensions().get::<Arrival>().map(|it| Arc::clone(&it.connections));
    in_time(async {
        match limiter.enter(connections.as_deref()).await {
            Ok(slot) => {
                occupy(&mut request, &slot);
                holding(slot, inner.call(request)).await
            }
            Err(error) => error.into_response(),
        }
    })
    .await
}

/// Handles a request in its span.
async fn traced(
    handled: impl Future<Output = Result<Response, Infallible>>,
    span: Span,
) -> Result<Response, Infallible> {
    let response = handled.instrument(span.clone()).await?;
    let status = response.status().as_u16();
    traces::responded(&span, status, RequestResult::of(status).as_str());
    Ok(response)
}

/// Lets the request occupy its place until its response has been sent.
fn occupy(request: &mut Request, slot: &WorkerSlot) {
    if let Some(arrival) = request.extensions_mut().get_mut::<Arrival>() {
        arrival.occupy(slot);
    }
}

/// Holds the place of a request until it has been handled, even if it has no connection.
async fn holding<F>(_slot: WorkerSlot, work: F) -> Response
where
    F: Future<Output = Result<Response, Infallible>>,
{
    work.await.unwrap_or_else(|never| match never {})
}

/// Most requests complete at once and need no timer.
async fn in_time(work: impl Future<Output = Response>) -> Response {
    let mut work = pin!(work);
    if let Poll::Ready(response) = futures::poll!(work.as_mut()) {
        return response;
    }
    timeout(REQUEST_TIMEOUT, work).await.unwrap_or_else(|_| {
        ApiError::unavailable("the request took too long; try again").into_response()
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::metrics::Metrics;
    use crate::server::concurrency::RequestLimits;
    use crate::server::connection::{ConnectionLimits, InFlight};
    use crate::server::connection_limit::Connections;

    fn frame(limiter: &RequestLimiter) -> Frame {
        Frame::new(limiter.clone(), Metrics::default().requests("test"))
    }

    /// A request over a connection, and how the connection sees it.
    fn request() -> (Request, Arc<InFlight>) {
        let connections = Connections::new(ConnectionLimits::default());
        let in_flight = connections.open().unwrap().begin();
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Arrival {
            address: ([127, 0, 0, 1], 1).into(),
            connections,
            in_flight: Some(Arc::clone(&in_flight)),
            slot: None,
        });
        (request, in_flight)
    }

    #[tokio::test]
    async fn response_keeps_its_place_until_its_last_byte_is_sent() {
        let limiter = RequestLimiter::new(RequestLimits::default());
        let router = Router::new().route("/", get(|| async { "text" }));
        let router = router.layer(frame(&limiter));
        let (request, in_flight) = request();
        let response = router.oneshot(request).await.unwrap();
        assert!(response.headers().contains_key(REQUEST_ID));
        let mut body = in_flight.respond(response).into_body();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!(limiter.in_progress(), 1, "hyper still holds the bytes");
        drop(bytes);
        assert_eq!(limiter.in_progress(), 0);
    }

    #[tokio::test]
    async fn work_that_outlives_its_connection_keeps_the_place() {
        let limiter = RequestLimiter::new(RequestLimits::default());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Arc::new(parking_lot::Mutex::new(Some(sender)));
        let handler = move |request: Request| async move {
            let sender = sender.lock().take().unwrap();
            sender.send(request.extensions().get::<Arrival>().cloned()).unwrap();
        };
        let router = Router::new().route("/", get(handler)).layer(frame(&limiter));
        let (request, in_flight) = request();
        drop(router.oneshot(request).await.unwrap());
        drop(in_flight);
        let arrival = receiver.await.unwrap();
        assert_eq!(limiter.in_progress(), 1);
        drop(arrival);
        assert_eq!(limiter.in_progress(), 0);
    }
}
