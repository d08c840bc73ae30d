//! Limits on requests in flight. Bodies are buffered first, under a limit of their own, so a slow
//! sender does not block other requests. After that, a limited number of requests is processed
//! concurrently, and a limited number of further ones waits. A request keeps its place until its
//! response has been sent, because the response takes memory until then.
//!
//! Not the limits of tower and tower-http: their permit ends when the handler returns, before the
//! response has been sent, and they cannot close the connection that holds the most.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::ApiError;
use super::connection_limit::Connections;
use super::held::Held;

/// The largest request body, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of bodies that are read concurrently. Together they take at most this number
/// times [`MAX_BODY`].
const MAX_READING: usize = 1024;
/// How long a request may take after its body has been read, including the wait for a place.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum number of requests that are processed concurrently.
const MAX_WORKING: usize = 1024;
/// How long a request waits for a place before a connection with unread responses is closed.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of further requests, which wait for a place.
const MAX_WAITING: usize = 4096;

/// Limits the requests to one part of the server. Each part has its own gate: requests that wait
/// for the cluster must not block those that are answered from memory.
#[derive(Clone, Debug)]
pub struct RequestLimiter(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    reading: Semaphore,
    present: Semaphore,
    working: Arc<Semaphore>,
}

/// The place of a request that is being processed. It is in the request's extensions for work that
/// outlives the connection: such work keeps the place, because otherwise a client that disconnects
/// early could start any amount of it.
#[derive(Clone, Debug)]
pub struct WorkerSlot(
    #[expect(dead_code, reason = "held, not read")] Option<Arc<OwnedSemaphorePermit>>,
);

impl Default for RequestLimiter {
    fn default() -> Self {
        Self(Arc::new(Permits {
            reading: Semaphore::new(MAX_READING),
            present: Semaphore::new(MAX_WORKING + MAX_WAITING),
            working: Arc::new(Semaphore::new(MAX_WORKING)),
        }))
    }
}

/// Lets a request through the gate, within its limits.
pub async fn bounded(
    State(RequestLimiter(permits)): State<RequestLimiter>,
    request: Request,
    next: Next,
) -> Response {
    // Most requests have no body, and slow senders of bodies must not block those.
    let mut request = if request.body().is_end_stream() {
        request
    } else {
        let Ok(_reading) = permits.reading.try_acquire() else { return busy() };
        match timeout(BODY_TIMEOUT, with_body(request)).await {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => return error.into_response(),
            Err(_) => {
                let text = format!("the body was not received within {BODY_TIMEOUT:?}");
                return ApiError::too_slow(text).into_response();
            }
        }
    };
    let Ok(_present) = permits.present.try_acquire() else { return busy() };
    let work = async {
        let connections = request.extensions_mut().remove::<Arc<Connections>>();
        let place = place(&permits.working, connections.as_deref()).await;
        request.extensions_mut().insert(place.clone());
        next.run(request).await.map(|body| Body::new(Held::new(body, place)))
    };
    timeout(REQUEST_TIMEOUT, work).await.unwrap_or_else(|_| {
        ApiError::unavailable("the request took too long; try again").into_response()
    })
}

/// Waits for a place. While none is free, closes the connections with the most unread responses,
/// one after the other.
async fn place(working: &Arc<Semaphore>, connections: Option<&Connections>) -> WorkerSlot {
    let free = Arc::clone(working).acquire_owned();
    tokio::pin!(free);
    loop {
        if let Ok(free) = timeout(PLACE_TIMEOUT, &mut free).await {
            // The semaphore is never closed.
            return WorkerSlot(free.ok().map(Arc::new));
        }
        if let Some(connections) = connections {
            connections.end_the_slowest();
        }
    }
}

/// The request with its body in memory.
async fn with_body(request: Request) -> Result<Request, ApiError> {
    let (head, body) = request.into_parts();
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large("the body is larger than 64 KiB"))
        }
        Err(_) => Err(ApiError::malformed("the body could not be read")),
    }
}

fn busy() -> Response {
    ApiError::unavailable("too many concurrent requests; try again").into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Extension, Router, middleware};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_when_all_that_was_worked_on_there_is_done() {
        let gate = RequestLimiter::default();
        let free = || gate.0.working.available_permits();
        let router = Router::new()
            .route("/", get(|Extension(place): Extension<WorkerSlot>| async { Extension(place) }))
            .layer(middleware::from_fn_with_state(gate.clone(), bounded));

        let response = router.oneshot(axum::http::Request::<Body>::default()).await.unwrap();
        assert!(response.status().is_success());
        assert_eq!(free(), MAX_WORKING - 1, "the response holds the place");
        drop(response);
        assert_eq!(free(), MAX_WORKING);
    }

    #[tokio::test]
    async fn a_response_keeps_the_place_until_its_last_byte_is_sent() {
        let gate = RequestLimiter::default();
        let free = || gate.0.working.available_permits();
        let router = Router::new()
            .route("/", get(|| async { "text" }))
            .layer(middleware::from_fn_with_state(gate.clone(), bounded));

        let response = router.oneshot(axum::http::Request::<Body>::default()).await.unwrap();
        let mut body = response.into_body();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!(free(), MAX_WORKING - 1, "hyper still holds the bytes");
        drop(bytes);
        assert_eq!(free(), MAX_WORKING);
    }
}
