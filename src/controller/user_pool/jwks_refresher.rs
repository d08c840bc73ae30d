//! Fetches of remote key sets by the leader: when each is due (one at a time for each pool) and its
//! result. Nothing here needs to survive a restart: a new leader continues from status.
//!
//! A reconciliation never waits for a fetch. It states what to fetch ([`JwksRefresher::track`]),
//! receives what is known so far, and runs again when that has changed ([`JwksRefresher::finished`]).

mod tracked_pool;

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::fetch_limiter::FetchLimiter;
use crate::clock::SharedClock;
use crate::crd::Kind;
use crate::domain::fetch_error::FetchError;
use crate::domain::ids::{ObjectName, UserPoolId};
use crate::domain::pool::Location;
use crate::index::Reader;
use crate::jwks::Fetcher;
use crate::metrics::Metrics;
use crate::replicas::tracker::ReplicaTracker;
use tracked_pool::{FetchJob, FetchOutcome, TrackedPool, parse_lenient};
pub use tracked_pool::{FetchSpec, Known};

/// How often the schedule is checked if nothing happens, because the machine's clock can be set.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum time between two checks, because each inspects all pools. If there are thousands of
/// them, hundreds of fetches of a new leader begin and end each second.
const CHECK_PAUSE: Duration = Duration::from_millis(20);
/// How long a pool may be missing from the index before its fetches stop.
const UNTRACK_DELAY: SignedDuration = SignedDuration::from_mins(1);

/// Schedules and runs the fetches of all remote pools.
pub struct JwksRefresher {
    fetcher: Fetcher,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    longest_refresh: SignedDuration,
    pools: Mutex<HashMap<UserPoolId, TrackedPool>>,
    changed: Notify,
    limiter: FetchLimiter,
    finished: mpsc::UnboundedSender<ObjectName>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<ObjectName>>>,
}

impl JwksRefresher {
    /// Starts without any pool. Sets are refreshed often enough that none is older than a quarter
    /// of `max_age` unless its host fails.
    #[must_use]
    pub fn new(
        fetcher: Fetcher,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        max_age: SignedDuration,
    ) -> Self {
        let (finished, receiver) = mpsc::unbounded();
        Self {
            fetcher,
            clock,
            metrics,
            longest_refresh: max_age / 4,
            pools: Mutex::default(),
            changed: Notify::new(),
            limiter: FetchLimiter::default(),
            finished,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Keeps the key set of a pool fetched as `order` specifies, and returns what is known of it.
    /// `stored` is what status contains, for a leader that has not seen the pool yet.
    pub fn track(
        &self,
        id: UserPoolId,
        name: &ObjectName,
        order: FetchSpec,
        refresh: SignedDuration,
        stored: impl FnOnce() -> Known,
    ) -> Known {
        let now = self.clock.now();
        let refresh = refresh.min(self.longest_refresh);
        let mut pools = self.pools.lock();
        let mut news = false;
        let followed = pools.entry(id).or_insert_with(|| {
            news = true;
            TrackedPool::new(id, name, order.clone(), refresh, stored(), now)
        });
        news |= followed.want(order, refresh, now);
        if news {
            self.changed.notify_one();
        }
        Known { next: Some(followed.plan.refresh_at()), ..followed.known.clone() }
    }

    /// Stops fetching for a pool.
    pub fn untrack(&self, id: UserPoolId) {
        self.pools.lock().remove(&id);
    }

    /// The pools with new results, as a stream that can be taken once.
    pub fn finished(&self) -> impl Stream<Item = ObjectName> + Send + 'static {
        let receiver = self.receiver.lock().take();
        futures::stream::iter(receiver).flatten()
    }

    /// Fetches what is due and what validators request, until dropped.
    pub async fn run(&self, replicas: &ReplicaTracker, reader: &Reader) {
        let mut jobs = FuturesUnordered::new();
        loop {
            let (due, pause) = self.begin(&replicas.refetch_requests(), reader);
            jobs.extend(due.into_iter().map(|job| self.run_job(job)));
            tokio::select! {
                Some((job, outcome)) = jobs.next() => self.complete(&job, outcome),
                () = self.changed.notified() => {}
                () = replicas.new_requests() => {}
                () = sleep(pause) => {}
            }
            let more = async {
                while let Some((job, outcome)) = jobs.next().await {
                    self.complete(&job, outcome);
                }
                pending::<()>().await;
            };
            let _ = timeout(CHECK_PAUSE, more).await;
        }
    }

    /// The fetches that start now, and the pause until the next check.
    fn begin(
        &self,
        asked: &HashMap<UserPoolId, BTreeMap<String, u64>>,
        reader: &Reader,
    ) -> (Vec<FetchJob>, Duration) {
        let now = self.clock.now();
        let mut due = Vec::new();
        let mut pause = CHECK_INTERVAL;
        let mut pools = self.pools.lock();
        pools.retain(|id, followed| {
            now.duration_since(followed.followed_at) < UNTRACK_DELAY || reader.pool(*id).is_some()
        });
        for (id, followed) in pools.iter_mut() {
            let questions = asked.get(id);
            if questions.is_some_and(|questions| !followed.answers(questions)) {
                followed.plan.ask();
            }
            match followed.plan.next(now) {
                Some(at) if at <= now => due.push(followed.begin(*id, questions, now)),
                Some(at) => {
                    let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    pause = pause.min(left);
                }
                None => {}
            }
        }
        let oldest = pools.values().filter_map(|followed| followed.known.fetched_at).min();
        self.metrics.oldest_key_set(oldest.map(Timestamp::as_second));
        (due, pause)
    }

    async fn run_job(&self, job: FetchJob) -> (FetchJob, Result<FetchOutcome, FetchError>) {
        let _turn = self.limiter.turn(&job.namespace, job.failing).await;
        let FetchSpec { location, ca, algorithms } = job.order.as_ref();
        let fetched = self.fetcher.fetch(location, ca.as_deref(), job.validator.as_ref()).await;
        let outcome = fetched.and_then(|fetched| parse_lenient(fetched, algorithms));
        (job, outcome)
    }

    fn complete(&self, job: &FetchJob, outcome: Result<FetchOutcome, FetchError>) {
        let label = match &outcome {
            Ok(FetchOutcome::Set { .. }) => "fetched",
            Ok(FetchOutcome::NoUsableKey(_)) => FetchError::NoUsableKey.as_str(),
            Ok(FetchOutcome::Unchanged { .. }) => "unchanged",
            Err(error) => error.as_str(),
        };
        self.metrics.fetched(job.trigger, label);
        let now = self.clock.now();
        let mut pools = self.pools.lock();
        let Some(followed) = pools.get_mut(&job.id) else { return };
        if !Arc::ptr_eq(&followed.order, &job.order) {
            // The spec has changed since this fetch began; the schedule has already taken that into
            // account.
            return;
        }
        followed.complete(job.began, outcome, now);
        let (kind, ObjectName { namespace, name }) = (Kind::UserPool.as_str(), &followed.name);
        if let Some(error) = followed.known.error {
            let failures = followed.plan.failures();
            let (Location::Jwks(url) | Location::Issuer(url)) = &followed.order.location;
            // Without a query, which may be confidential.
            let url = url.split('?').next();
            info!(kind, %namespace, %name, url, class = error.as_str(), failures, "failed to fetch a key set");
        } else {
            debug!(kind, %namespace, %name, "fetched a key set");
        }
        let _ = self.finished.unbounded_send(followed.name.clone());
    }
}
