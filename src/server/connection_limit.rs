//! Limits the number of concurrent connections, and the time for which they may leave responses
//! unread. An idle connection is closed after a timeout; the limit bounds what connections cost
//! until then.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::http;
use axum_server::accept::Accept;
use futures::TryFutureExt as _;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::Service;

use super::unread::{Held, Reading, Timed, Unread};

/// How long a response may stay unread while requests wait for the place that it occupies.
const UNREAD_GRACE: Duration = Duration::from_secs(1);
/// The minimum time between two forced closes, so that the first one can free its places.
const CLOSE_INTERVAL: Duration = Duration::from_millis(20);

/// Accepts a limited number of concurrent connections and closes further ones.
#[derive(Clone, Debug)]
pub struct Limited {
    places: Arc<Semaphore>,
    open: Arc<Connections>,
}

/// The open connections.
#[derive(Debug, Default)]
pub struct Connections {
    next: AtomicU64,
    unread: Mutex<HashMap<u64, Weak<Unread>>>,
    /// The time of the last search for a connection to close.
    looked_at: Mutex<Option<Instant>>,
}

impl Limited {
    /// Accepts at most `max` connections.
    pub fn to(max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(max)), open: Arc::default() }
    }
}

impl Connections {
    /// Closes the connection with the most responses that have been unread for longer than a grace
    /// period, if there is one. Called while a request waits for a place that they occupy.
    pub fn end_the_slowest(&self) {
        let now = Instant::now();
        let mut looked_at = self.looked_at.lock();
        if looked_at.is_some_and(|last| now.saturating_duration_since(last) < CLOSE_INTERVAL) {
            return;
        }
        *looked_at = Some(now);
        drop(looked_at);
        let open: Vec<_> = self.unread.lock().values().filter_map(Weak::upgrade).collect();
        let slowest = open.iter().max_by_key(|unread| unread.older_than(UNREAD_GRACE));
        if let Some(slowest) = slowest.filter(|unread| unread.older_than(UNREAD_GRACE) > 0) {
            slowest.end();
        }
    }

    fn add(self: &Arc<Self>, unread: &Arc<Unread>) -> Open {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.unread.lock().insert(number, Arc::downgrade(unread));
        Open { connections: Arc::clone(self), number }
    }
}

/// Keeps a connection registered in [`Connections`] until it is dropped.
#[derive(Debug)]
struct Open {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.unread.lock().remove(&self.number);
    }
}

impl<I, S> Accept<I, S> for Limited {
    type Stream = Timed<I>;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(Timed<I>, Counted<S>)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            return ready(Err(io::Error::other("too many connections")));
        };
        let unread = Arc::<Unread>::default();
        let connection = Connection { open: self.open.add(&unread), _permit: permit };
        let counted =
            Counted { service, unread: Arc::clone(&unread), connection: Arc::new(connection) };
        ready(Ok((Timed::new(stream, unread), counted)))
    }
}

#[derive(Debug)]
struct Connection {
    open: Open,
    _permit: OwnedSemaphorePermit,
}

/// The service of one connection, which occupies its place until all clones are dropped.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    service: S,
    unread: Arc<Unread>,
    connection: Arc<Connection>,
}

impl<S, R, B> Service<Request<R>> for Counted<S>
where
    S: Service<Request<R>, Response = http::Response<B>>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Unpin,
{
    type Response = http::Response<Held<B, Reading>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let open = Arc::clone(&self.connection.open.connections);
        request.extensions_mut().insert(open);
        let unread = Arc::clone(&self.unread);
        let begin =
            move |response: http::Response<B>| response.map(|body| Held::new(body, unread.begin()));
        Box::pin(self.service.call(request).map_ok(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_counts_until_it_ends() {
        let limited = Limited::to(2);
        let accept = || limited.accept((), ()).into_inner();
        let (first, second) = (accept().unwrap(), accept().unwrap());
        assert!(accept().is_err());
        let in_flight = first.1.clone();
        drop(first);
        assert!(accept().is_err());
        drop(in_flight);
        let third = accept().unwrap();
        assert!(accept().is_err());
        assert_eq!(limited.open.unread.lock().len(), 2);
        drop((second, third));
        assert!(limited.open.unread.lock().is_empty());
    }
}
