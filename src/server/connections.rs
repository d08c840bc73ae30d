//! How many connections there are at the same time. A connection that says nothing is closed after a
//! while; this bounds what that while may cost.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// Accepts so many connections at the same time, and closes what comes beyond them.
#[derive(Clone, Debug)]
pub struct Limited(Arc<Semaphore>);

impl Limited {
    /// Accepts at most `max`.
    pub fn to(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }
}

impl<I, S> Accept<I, S> for Limited {
    type Stream = I;
    type Service = Counted<S>;
    type Future = Ready<io::Result<(I, Counted<S>)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let permit = Arc::clone(&self.0).try_acquire_owned();
        let counted = permit.map(|permit| Counted { service, _permit: Arc::new(permit) });
        ready(counted.map(|service| (stream, service)).map_err(io::Error::other))
    }
}

/// The service of one connection, which is counted for as long as this lives.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    service: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_until_it_ends() {
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
        drop((second, third));
    }
}
