//! The order in which signatures are verified. A verification takes a processor for 15 to 150
//! microseconds, whether or not the signature is valid, so forged tokens cost as much as valid ones.
//!
//! Normally nothing waits. When verifications have taken more than a quarter of the processors' time
//! recently, each of them takes a turn, of which there are as many as processors:
//!
//! - The organizations with waiting requests take turns. However many tokens are sent to one, another
//!   one waits for one verification of each.
//! - After every few verifications, the task yields before its turn begins, so that tokio polls the
//!   sockets and everything else that is ready, such as requests that the cache answers. Without that,
//!   a request that the cache answers would wait for as many verifications as there are connections
//!   that send forged tokens.
//! - A limited number of requests waits. Beyond that, the organization with the most waiting requests
//!   loses the latest one, which is rejected with 503.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;

/// The maximum number of requests that wait. Half of those that `concurrency.rs` allows to be
/// processed, so that the others can be answered meanwhile.
const MAX_WAITING: usize = 512;
/// Verifications may take this part of the time of all processors (1/n) before they take turns.
const SHARE: u64 = 4;
/// How far they may exceed it for a moment.
const BURST: Duration = Duration::from_millis(2);
/// How long verifications may take until everything else has its turn: about four of RS256. Polling
/// the sockets takes as long as a tenth of one.
const SLICE: Duration = Duration::from_micros(100);

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerificationQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    processors: u64,
    start: Instant,
    /// By when the verifications so far would be done if they took their share of the time only, in
    /// nanoseconds since `start`.
    done_by: AtomicU64,
    /// What verifications have taken since one of them has yielded, in nanoseconds. On several
    /// processors together, so that on average each of them yields once in its [`SLICE`].
    since_yield: AtomicU64,
    /// The number of requests in `turns`, readable without the lock.
    waiting: AtomicUsize,
    turns: Mutex<Turns>,
}

/// The requests that wait.
#[derive(Debug, Default)]
struct Turns {
    taken: u64,
    waiting: HashMap<OrganizationId, VecDeque<oneshot::Sender<Turn>>>,
    /// The keys of `waiting`, in the order of their turns.
    order: VecDeque<OrganizationId>,
}

/// The permission to verify one token. Its time is counted until it is dropped.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    begun: Option<Instant>,
    /// Whether it is one of the limited number of turns.
    taken: bool,
}

impl VerificationQueue {
    /// An empty queue in front of this many processors.
    #[must_use]
    pub fn new(processors: NonZeroUsize) -> Self {
        Self(Arc::new(Shared {
            processors: processors.get() as u64,
            start: Instant::now(),
            done_by: AtomicU64::new(0),
            since_yield: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turns: Mutex::default(),
        }))
    }

    /// A turn at once, unless verifications take turns.
    #[must_use]
    pub fn try_turn(&self) -> Option<Turn> {
        let Self(shared) = self;
        let now = Instant::now();
        let limit = nanos(now.duration_since(shared.start) + BURST);
        let busy = shared.waiting.load(Ordering::Relaxed) > 0
            || shared.done_by.load(Ordering::Relaxed) > limit;
        (!busy).then(|| Turn { shared: Arc::clone(shared), begun: Some(now), taken: false })
    }

    /// Waits for the next turn of the organization.
    ///
    /// # Errors
    /// Too many requests wait.
    pub async fn turn(&self, organization: OrganizationId) -> Result<Turn, Reason> {
        let turn = self.0.enter(organization)?;
        let mut turn = turn.await.map_err(|_| Reason::Overloaded)?;
        if self.0.since_yield.load(Ordering::Relaxed) >= nanos(SLICE) {
            self.0.since_yield.store(0, Ordering::Relaxed);
            yield_now().await;
        }
        turn.begun = Some(Instant::now());
        Ok(turn)
    }

    /// The number of requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Enters the queue of the organization. What is returned gets the turn, or is closed if the
    /// request must give way.
    fn enter(
        self: &Arc<Self>,
        organization: OrganizationId,
    ) -> Result<oneshot::Receiver<Turn>, Reason> {
        let (sender, receiver) = oneshot::channel();
        let mut turns = self.turns.lock();
        if turns.taken < self.processors {
            turns.taken += 1;
            drop(turns);
            // The receiver exists.
            let _ = sender.send(self.next_turn());
        } else if self.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            turns.add(organization, sender);
            self.waiting.fetch_add(1, Ordering::Relaxed);
        } else {
            turns.make_room_for(organization)?;
            turns.add(organization, sender);
        }
        Ok(receiver)
    }

    fn next_turn(self: &Arc<Self>) -> Turn {
        Turn { shared: Arc::clone(self), begun: None, taken: true }
    }

    /// Gives a turn to the next request that still waits, or back.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let mut turns = self.turns.lock();
            let Some(next) = turns.next() else {
                turns.taken -= 1;
                return;
            };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            drop(turns);
            let Err(mut turn) = next.send(self.next_turn()) else { return };
            // The caller of that request has disconnected.
            turn.taken = false;
        }
    }

    /// Counts the time of a verification.
    fn count(&self, begun: Instant) {
        let took = nanos(begun.elapsed());
        self.since_yield.fetch_add(took, Ordering::Relaxed);
        let took = took.saturating_mul(SHARE) / self.processors;
        let begun = nanos(begun.duration_since(self.start));
        let add = |done_by: u64| Some(done_by.max(begun).saturating_add(took));
        let _ = self.done_by.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Turns {
    fn add(&mut self, organization: OrganizationId, turn: oneshot::Sender<Turn>) {
        let queue = self.waiting.entry(organization).or_default();
        if queue.is_empty() {
            self.order.push_back(organization);
        }
        queue.push_back(turn);
    }

    /// Takes out the request whose turn is next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let organization = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&organization)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&organization);
        } else {
            self.order.push_back(organization);
        }
        next
    }

    /// Drops the latest request of the organization with the most, unless it is this one or has
    /// hardly more: then the request of this one must give way.
    fn make_room_for(&mut self, organization: OrganizationId) -> Result<(), Reason> {
        let own = self.waiting.get(&organization).map_or(0, VecDeque::len);
        let longest = self.waiting.values_mut().max_by_key(|queue| queue.len());
        let longest = longest.filter(|queue| queue.len() > own + 1);
        longest.and_then(VecDeque::pop_back).map(drop).ok_or(Reason::Overloaded)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(begun) = self.begun {
            self.shared.count(begun);
        }
        if self.taken {
            self.shared.pass_on();
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
