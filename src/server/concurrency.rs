//! Limits on requests in flight. Bodies are buffered first, under a limit of their own, so a slow
//! sender does not block other requests. After that, a limited number of requests is processed
//! concurrently, and a limited number of further ones waits. A request keeps its place until its
//! response has been sent, because the response takes memory until then.
//!
//! Not the limits of tower and tower-http: their permit ends when the handler returns, before the
//! response has been sent, and they cannot close the connection that holds the most.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ApiError;
use super::connection_limit::Connections;
use super::worker_slot::WorkerSlot;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for a place before a connection with unread responses is closed.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum numbers of requests, for each part of the server.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// The maximum number of requests that are processed concurrently.
    pub max_in_progress: usize,
    /// The maximum number of further requests, which wait for a place.
    pub max_waiting: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { max_in_progress: 1024, max_waiting: 4096 }
    }
}

/// The limits on the bodies of requests, for each part of the server.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The maximum number of bodies that are read concurrently. Together they take at most this
    /// number times `max_body`.
    pub max_reading: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { max_body: 64 * 1024, max_reading: 1024 }
    }
}

/// Limits the requests to one part of the server. Each part has its own limiter: requests that wait
/// for the cluster must not block those that are answered from memory.
#[derive(Clone, Debug)]
pub struct RequestLimiter(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    limits: RequestLimits,
    max_body: usize,
    reading: Semaphore,
    waiting: Semaphore,
    working: Arc<Semaphore>,
}

impl RequestLimiter {
    /// Limits the requests to a part of the server.
    pub fn new(limits: RequestLimits) -> Self {
        Self::with_bodies(limits, BodyLimits::default())
    }

    /// The same, with other limits on bodies.
    pub fn with_bodies(limits: RequestLimits, bodies: BodyLimits) -> Self {
        Self(Arc::new(Permits {
            limits,
            max_body: bodies.max_body,
            reading: Semaphore::new(bodies.max_reading),
            waiting: Semaphore::new(limits.max_waiting),
            working: Arc::new(Semaphore::new(limits.max_in_progress)),
        }))
    }

    /// A place, if one is free and no other request waits for it.
    pub fn try_enter(&self) -> Option<WorkerSlot> {
        let permit = Arc::clone(&self.0.working).try_acquire_owned().ok()?;
        Some(WorkerSlot::new(permit))
    }

    /// Waits for a place. While none is free, closes the connections with the most unread responses,
    /// one after the other.
    ///
    /// # Errors
    /// Too many requests are waiting.
    pub async fn enter(&self, connections: Option<&Connections>) -> Result<WorkerSlot, ApiError> {
        if let Some(slot) = self.try_enter() {
            return Ok(slot);
        }
        // In a box, so that the future of every other request is small.
        Box::pin(self.wait_for_place(connections)).await
    }

    async fn wait_for_place(
        &self,
        connections: Option<&Connections>,
    ) -> Result<WorkerSlot, ApiError> {
        let _waiting = self.0.waiting.try_acquire().map_err(|_| busy())?;
        let free = Arc::clone(&self.0.working).acquire_owned();
        tokio::pin!(free);
        loop {
            if let Ok(free) = timeout(PLACE_TIMEOUT, &mut free).await {
                // The semaphore is never closed.
                return free.map(WorkerSlot::new).map_err(|_| busy());
            }
            if let Some(connections) = connections {
                connections.end_the_slowest();
            }
        }
    }

    /// The request with its body in memory.
    ///
    /// # Errors
    /// The body is too large, or cannot be read, or takes too long; or too many are being read.
    pub async fn with_body(&self, request: Request) -> Result<Request, ApiError> {
        let _reading = self.0.reading.try_acquire().map_err(|_| busy())?;
        let (head, body) = request.into_parts();
        match timeout(BODY_TIMEOUT, Limited::new(body, self.0.max_body).collect()).await {
            Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let text = format!("the body is larger than {} KiB", self.0.max_body / 1024);
                Err(ApiError::too_large(text))
            }
            Ok(Err(_)) => Err(ApiError::malformed("the body could not be read")),
            Err(_) => {
                let text = format!("the body was not received within {BODY_TIMEOUT:?}");
                Err(ApiError::too_slow(text))
            }
        }
    }

    /// The number of requests that occupy a place.
    pub fn in_progress(&self) -> usize {
        self.0.limits.max_in_progress.saturating_sub(self.0.working.available_permits())
    }

    /// The number of requests that wait for a place.
    pub fn waiting(&self) -> usize {
        self.0.limits.max_waiting.saturating_sub(self.0.waiting.available_permits())
    }
}

fn busy() -> ApiError {
    ApiError::unavailable("too many concurrent requests; try again")
}
