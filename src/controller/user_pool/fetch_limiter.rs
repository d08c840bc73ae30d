//! Fair queueing of JWKS fetches, so that hosts that hang do not delay others: pools whose last
//! fetch failed share a smaller limit, and each namespace has a cap.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Concurrency limits for healthy and for failing pools.
pub struct FetchLimiter {
    healthy: Lane,
    failing: Lane,
}

struct Lane {
    all: Arc<Semaphore>,
    each: usize,
    namespaces: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Permission to fetch, until dropped.
pub struct Turn {
    _of_namespace: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for FetchLimiter {
    fn default() -> Self {
        Self { healthy: Lane::new(64, 16), failing: Lane::new(16, 4) }
    }
}

impl FetchLimiter {
    /// Waits until this namespace may fetch.
    pub async fn turn(&self, namespace: &str, failing: bool) -> Turn {
        if failing { &self.failing } else { &self.healthy }.turn(namespace).await
    }
}

impl Lane {
    fn new(all: usize, each: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, namespaces: Mutex::default() }
    }

    async fn turn(&self, namespace: &str) -> Turn {
        // The namespace's permit comes first: a fetch that waits for it must not occupy one of the
        // shared permits.
        let of_namespace = self.of(namespace).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Turn { _of_namespace: of_namespace, _of_all: of_all }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock();
        // Every holder and every waiter of a permit keeps a reference to the semaphore.
        namespaces.retain(|_, turns| Arc::strong_count(turns) > 1);
        let fresh = || Arc::new(Semaphore::new(self.each));
        Arc::clone(namespaces.entry(namespace.to_owned()).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_namespace_holds_up_itself_and_failing_pools_their_like() {
        let limiter = FetchLimiter::default();
        let turn =
            |namespace: &'static str, failing| limiter.turn(namespace, failing).now_or_never();
        let held: Vec<_> = (0..4).map(|_| turn("a", true).unwrap()).collect();
        assert!(turn("a", true).is_none(), "the namespace has reached its cap");
        assert!(turn("b", true).is_some(), "other namespaces have a cap of their own");
        assert!(turn("a", false).is_some(), "healthy pools do not wait for failing ones");
        drop(held);
        assert!(turn("a", true).is_some());
    }

    #[test]
    fn there_is_a_bound_for_all() {
        let limiter = FetchLimiter::default();
        let names: Vec<_> = (0..16).map(|n| n.to_string()).collect();
        let held: Vec<_> =
            names.iter().map(|name| limiter.turn(name, true).now_or_never().unwrap()).collect();
        assert!(limiter.turn("another", true).now_or_never().is_none());
        drop(held);
        assert!(limiter.turn("another", true).now_or_never().is_some());
        assert_eq!(limiter.failing.namespaces.lock().len(), 1, "idle namespaces are dropped");
    }
}
