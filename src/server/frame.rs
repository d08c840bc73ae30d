//! What surrounds the handling of every request: its id, the limits on requests in flight, the
//! timeout, and the response to a panic. One service and not a stack of layers, because each layer
//! allocates for each request.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::sleep;
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

    /// Handles a request without a body outside the router. The request occupies its place until
    /// its response has been sent.
    ///
    /// `work` is pinned elsewhere: a future that is passed on by value is in the memory of its caller
    /// twice.
    pub async fn handle(
        &self,
        head: &Parts,
        arrival: Option<Arrival>,
        work: Pin<&mut impl Future<Output = Response>>,
    ) -> Response {
        let start = Instant::now();
        let id = request_id::of(&head.headers);
        let span = traces::request(self.requests.endpoint(), &head.method, &head.headers);
        let work = pin!(async {
            let connections = arrival.as_ref().map(|arrival| &*arrival.connections);
            let slot = match self.limiter.enter(connections).await {
                Ok(slot) => slot,
                Err(error) => return error.into_response(),
            };
            if let Some(mut arrival) = arrival {
                arrival.occupy(&slot);
            }
            work.await
        });
        let handled = pin!(async {
            let response = AssertUnwindSafe(in_time(work)).catch_unwind().await;
            finish(response.unwrap_or_else(panicked), id, start, &self.requests)
        });
        // Most processes export no traces.
        if span.is_disabled() { handled.await } else { Box::pin(traced(handled, span)).await }
    }
}

/// What every response has, and every request counts.
fn finish(
    mut response: Response,
    id: HeaderValue,
    start: Instant,
    requests: &EndpointRequests,
) -> Response {
    response.headers_mut().insert(REQUEST_ID, id);
    requests.record(response.status().as_u16(), start.elapsed());
    response
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
        let span =
            traces::request(self.frame.requests.endpoint(), request.method(), request.headers());
        // Most requests have no body and find a free place.
        let slot = request.body().is_end_stream().then(|| self.frame.limiter.try_enter()).flatten();
        let work = if let Some(slot) = slot {
            occupy(&mut request, &slot);
            in_time(holding(slot, response_of(self.inner.call(request)))).left_future()
        } else {
            let limiter = self.frame.limiter.clone();
            // In a box of its own: every request allocates and moves its future, so this one's
            // should not make all of them larger.
            queued(limiter, request, self.inner.clone()).boxed().right_future()
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let requests = Arc::clone(&self.frame.requests);
        let handled = async move {
            let response = work.await.unwrap_or_else(panicked);
            finish(response, id, start, &requests)
        };
        // Most processes export no traces.
        if span.is_disabled() {
            Box::pin(handled.map(Ok))
        } else {
            Box::pin(traced(handled, span).map(Ok))
        }
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
                holding(slot, response_of(inner.call(request))).await
            }
            Err(error) => error.into_response(),
        }
    })
    .await
}

/// Handles a request in its span.
async fn traced(handled: impl Future<Output = Response>, span: Span) -> Response {
    let response = handled.instrument(span.clone()).await;
    let status = response.status().as_u16();
    traces::responded(&span, status, RequestResult::of(status).as_str());
    response
}

/// Lets the request occupy its place until its response has been sent.
fn occupy(request: &mut Request, slot: &WorkerSlot) {
    if let Some(arrival) = request.extensions_mut().get_mut::<Arrival>() {
        arrival.occupy(slot);
    }
}

/// Holds the place of a request until it has been handled, even if it has no connection.
/// Not an async function, whose future would have `work` in it twice.
fn holding(
    slot: WorkerSlot,
    work: impl Future<Output = Response>,
) -> impl Future<Output = Response> {
    work.inspect(move |_| drop(slot))
}

/// The response of a service that does not fail. Not an async function either.
pub fn response_of(
    call: impl Future<Output = Result<Response, Infallible>>,
) -> impl Future<Output = Response> {
    call.map(|response| response.unwrap_or_else(|never| match never {}))
}

/// Most requests complete at once and need no timer. What waits is polled when it is woken, and not
/// once more when the timer begins: it may only have yielded.
async fn in_time(work: impl Future<Output = Response>) -> Response {
    let (mut work, mut timer) = (pin!(work), None);
    poll_fn(move |context| {
        if let Poll::Ready(response) = work.as_mut().poll(context) {
            return Poll::Ready(response);
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(REQUEST_TIMEOUT)));
        timer
            .as_mut()
            .poll(context)
            .map(|()| ApiError::unavailable("the request took too long; try again").into_response())
    })
    .await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
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

    /// Otherwise a yield would be none.
    #[tokio::test]
    async fn what_waits_is_polled_when_it_is_woken() {
        let (sender, mut others) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { sender.send(()) });
        let work = async {
            tokio::task::yield_now().await;
            others.try_recv().map_or(StatusCode::CONFLICT, |()| StatusCode::OK).into_response()
        };
        assert_eq!(in_time(work).await.status(), 200, "another task has had its turn");
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

    /// Handles a request over a connection without the router.
    async fn handle(
        limiter: &RequestLimiter,
        work: impl Future<Output = Response>,
    ) -> (Response, Arc<InFlight>) {
        let (mut request, in_flight) = request();
        let arrival = request.extensions_mut().remove::<Arrival>();
        let (head, _) = request.into_parts();
        (frame(limiter).handle(&head, arrival, pin!(work)).await, in_flight)
    }

    #[tokio::test]
    async fn response_without_the_router_keeps_its_place_until_its_last_byte_is_sent() {
        let limiter = RequestLimiter::new(RequestLimits::default());
        let (response, in_flight) = handle(&limiter, async { "text".into_response() }).await;
        assert!(response.headers().contains_key(REQUEST_ID));
        assert_eq!(limiter.in_progress(), 1);
        let bytes = in_flight.respond(response).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(limiter.in_progress(), 1, "hyper still holds the bytes");
        drop(bytes);
        assert_eq!(limiter.in_progress(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_without_the_router_has_a_response() {
        let limiter = RequestLimiter::new(RequestLimits::default());
        let (response, _) = handle(&limiter, async { panic!("for the test") }).await;
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
        let (response, _) = handle(&limiter, std::future::pending()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(limiter.in_progress(), 0);
        let limiter = RequestLimiter::new(RequestLimits { max_in_progress: 1, max_waiting: 0 });
        let slot = limiter.try_enter();
        let (response, _) = handle(&limiter, async { "text".into_response() }).await;
        assert_eq!(response.status(), 503);
        drop(slot);
    }
}
