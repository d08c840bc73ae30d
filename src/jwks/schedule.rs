//! When a key set is fetched. Pure: times are passed as arguments.
//!
//! There are two reasons to fetch: the refresh is due, or a validator requests it because the key
//! of a token is not in the set. Anyone can create such tokens, so requests have a [`Budget`];
//! refreshes have their own schedule, which no token affects.

use jiff::{SignedDuration, Timestamp};

use crate::domain::duration::later;

/// The minimum time between refreshes that the `max-age` of the host can cause.
const MIN_REFRESH_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// The backoff after the first failure; doubled by each further one.
const MIN_BACKOFF: SignedDuration = SignedDuration::from_secs(5);
/// The maximum backoff.
const MAX_BACKOFF: SignedDuration = SignedDuration::from_mins(5);
/// The time over which a new leader spreads overdue fetches.
const CATCH_UP_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// The fetch schedule of one pool.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u32,
    refresh: SignedDuration,
    due: Timestamp,
    failures: u32,
    asked: bool,
    /// Requests wait until then, because the host has just failed.
    not_before: Timestamp,
    in_flight: bool,
    budget: Budget,
}

impl Plan {
    /// Continues the schedule of another leader, whose last fetch was at `last`. `seed` spreads the
    /// fetches of different pools.
    #[must_use]
    pub fn resume(
        seed: u32,
        refresh: SignedDuration,
        last: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        // A time from a clock that was ahead must not delay the next fetch.
        let due = last.map_or(now, |last| later(last.min(now), refresh));
        let overdue = last.is_some() && due <= now;
        let due = if overdue { later(now, fraction(CATCH_UP_INTERVAL, seed)) } else { due };
        Self {
            seed,
            refresh,
            due,
            failures: 0,
            asked: false,
            not_before: now,
            in_flight: false,
            budget: Budget::full(now),
        }
    }

    /// Applies a changed refresh interval.
    pub fn set_refresh(&mut self, refresh: SignedDuration, now: Timestamp) {
        if refresh != self.refresh {
            self.refresh = refresh;
            self.due = self.due.min(later(now, refresh));
        }
    }

    /// Restarts the schedule, because the URL or the CA has changed.
    pub fn restart(&mut self, now: Timestamp) {
        self.failures = 0;
        self.due = now;
        // The result of a fetch in flight is ignored.
        self.in_flight = false;
    }

    /// Requests a fetch that starts after now.
    pub const fn ask(&mut self) {
        self.asked = true;
    }

    /// When the next refresh is due, regardless of requests.
    #[must_use]
    pub const fn refresh_at(&self) -> Timestamp {
        self.due
    }

    /// When to start the next fetch; `None` while one is in flight.
    #[must_use]
    pub fn next(&mut self, now: Timestamp) -> Option<Timestamp> {
        // A clock that was ahead and is corrected must not delay everything.
        self.due = self.due.min(later(now, self.refresh));
        self.not_before = self.not_before.min(later(now, MIN_BACKOFF));
        let asked = self.asked.then(|| self.budget.available(now).max(self.not_before));
        (!self.in_flight).then(|| asked.map_or(self.due, |asked| asked.min(self.due)))
    }

    /// A fetch starts.
    pub fn begin(&mut self, now: Timestamp) {
        if now < self.due {
            self.budget.take(now);
        }
        self.asked = false;
        self.in_flight = true;
    }

    /// The fetch has succeeded. The host's `max_age` can bring the next refresh forward, to no less
    /// than five minutes from now, and never delay it.
    pub fn succeeded(&mut self, max_age: Option<SignedDuration>, now: Timestamp) {
        self.in_flight = false;
        self.failures = 0;
        let floor = MIN_REFRESH_INTERVAL.min(self.refresh);
        let pause = max_age.map_or(self.refresh, |age| age.max(floor).min(self.refresh));
        // Up to 10% earlier, so that sets that were fetched together drift apart.
        self.due = later(now, pause - fraction(pause / 10, self.spread(now)));
    }

    /// The fetch has failed. The next attempt comes no later than the next refresh would, after a
    /// backoff that grows with each failure.
    pub fn failed(&mut self, now: Timestamp) {
        self.in_flight = false;
        let doubled = MIN_BACKOFF.saturating_mul(2_i32.saturating_pow(self.failures.min(10)));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(MAX_BACKOFF);
        let pause = pause.saturating_add(fraction(pause / 2, self.spread(now)));
        self.due = later(now, pause.min(self.refresh));
        self.not_before = later(now, MIN_BACKOFF);
    }

    /// Number of consecutive failures.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    fn spread(&self, now: Timestamp) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&now.as_second().to_le_bytes());
        hasher.finalize()
    }
}

/// Limits requested fetches: four at once, and one every 30 s after that. A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u32,
    since: Timestamp,
}

impl Budget {
    /// The maximum number of fetches at once.
    pub const BURST: u32 = 4;
    /// The time after which one more is available.
    pub const REFILL_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

    /// An unused budget.
    #[must_use]
    pub const fn full(now: Timestamp) -> Self {
        Self { left: Self::BURST, since: now }
    }

    /// When a fetch is available: `now`, or later if the budget is used up.
    #[must_use]
    pub fn available(&self, now: Timestamp) -> Timestamp {
        let current = self.refilled(now);
        if current.left > 0 { now } else { later(current.since, Self::REFILL_INTERVAL) }
    }

    /// Uses one fetch.
    pub fn take(&mut self, now: Timestamp) {
        *self = self.refilled(now);
        self.left = self.left.saturating_sub(1);
    }

    fn refilled(self, now: Timestamp) -> Self {
        // A clock that goes backwards neither adds nor removes fetches.
        let passed = now.duration_since(self.since).as_secs();
        let gained = u32::try_from(passed / Self::REFILL_INTERVAL.as_secs()).unwrap_or(0);
        let left = self.left.saturating_add(gained).min(Self::BURST);
        if left == Self::BURST || passed < 0 {
            return Self { left, since: now };
        }
        Self {
            left,
            since: later(
                self.since,
                Self::REFILL_INTERVAL.saturating_mul(i32::try_from(gained).unwrap_or(0)),
            ),
        }
    }
}

/// A part of `whole`, from none to all of it, determined by `spread`.
fn fraction(whole: SignedDuration, spread: u32) -> SignedDuration {
    let parts = i32::try_from(spread % 1024).unwrap_or(0);
    whole.saturating_mul(parts) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn seconds(plan: &mut Plan, now: Timestamp) -> i64 {
        plan.next(now).unwrap().duration_since(now).as_secs()
    }

    #[test]
    fn first_fetch_is_due_immediately() {
        assert_eq!(Plan::resume(1, HOUR, None, at(0)).next(at(0)), Some(at(0)));
    }

    #[test]
    fn new_leader_continues_and_spreads_overdue_fetches() {
        assert_eq!(Plan::resume(1, HOUR, Some(at(-600)), at(0)).next(at(0)), Some(at(3000)));
        let overdue = |seed| seconds(&mut Plan::resume(seed, HOUR, Some(at(-9999)), at(0)), at(0));
        let times: Vec<_> = (0..1024).step_by(100).map(overdue).collect();
        assert!(times.iter().all(|time| (0..30).contains(time)), "{times:?}");
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        // A last fetch in the future comes from another clock.
        assert_eq!(seconds(&mut Plan::resume(1, HOUR, Some(at(99_999)), at(0)), at(0)), 3600);
    }

    #[test]
    fn max_age_brings_a_refresh_forward_within_bounds() {
        let pause = |refresh, max_age| {
            let mut plan = Plan::resume(7, refresh, None, at(0));
            plan.begin(at(0));
            plan.succeeded(max_age, at(0));
            seconds(&mut plan, at(0))
        };
        let near = |pause: i64, whole: i64| (whole * 9 / 10..=whole).contains(&pause);
        let of = SignedDuration::from_secs;
        assert!(near(pause(HOUR, None), 3600));
        assert!(near(pause(HOUR, Some(of(600))), 600));
        assert!(near(pause(HOUR, Some(of(0))), 300), "not below five minutes");
        assert!(near(pause(HOUR, Some(of(999_999))), 3600), "not beyond the interval");
        assert!(near(pause(of(60), Some(of(0))), 60), "nor more often than the interval");
    }

    #[test]
    fn failures_back_off_and_never_beyond_the_interval() {
        let mut plan = Plan::resume(7, HOUR, Some(at(0)), at(0));
        let mut now = at(3600);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            plan.begin(now);
            plan.failed(now);
            pauses.push(seconds(&mut plan, now));
            now = plan.next(now).unwrap();
        }
        assert!((5..=8).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[..6].windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 450), "{pauses:?}");
        plan.set_refresh(SignedDuration::from_mins(1), now);
        plan.begin(now);
        plan.failed(now);
        assert!(seconds(&mut plan, now) <= 60);
        plan.begin(now);
        plan.succeeded(None, now);
        assert_eq!(plan.failures(), 0);
    }

    #[test]
    fn requests_are_granted_within_the_budget() {
        let mut plan = Plan::resume(7, HOUR, Some(at(0)), at(0));
        for _ in 0..Budget::BURST {
            plan.ask();
            assert_eq!(plan.next(at(1)), Some(at(1)));
            plan.begin(at(1));
            assert_eq!(plan.next(at(1)), None, "one at a time");
            plan.succeeded(None, at(1));
            assert!(seconds(&mut plan, at(1)) > 3000, "no request");
        }
        plan.ask();
        assert_eq!(plan.next(at(1)), Some(at(31)));
        assert_eq!(plan.next(at(31)), Some(at(31)));
    }

    #[test]
    fn request_during_a_fetch_triggers_another() {
        let mut plan = Plan::resume(7, HOUR, None, at(0));
        plan.begin(at(0));
        plan.ask();
        plan.succeeded(None, at(2));
        assert_eq!(plan.next(at(2)), Some(at(2)));
    }

    #[test]
    fn requests_wait_for_the_backoff_after_a_failure() {
        let mut plan = Plan::resume(7, HOUR, Some(at(0)), at(0));
        plan.ask();
        plan.begin(at(1));
        plan.failed(at(1));
        plan.ask();
        assert!((5..=8).contains(&seconds(&mut plan, at(1))));
    }

    #[test]
    fn clock_set_back_delays_nothing() {
        let mut plan = Plan::resume(7, HOUR, None, at(1_000_000));
        plan.begin(at(1_000_000));
        plan.succeeded(None, at(1_000_000));
        assert_eq!(plan.next(at(0)), Some(at(3600)));
        assert_eq!(plan.next(at(3600)), Some(at(3600)));
        plan.begin(at(3600));
        plan.failed(at(1_000_000));
        plan.ask();
        assert_eq!(plan.next(at(0)), Some(at(5)));
    }

    #[test]
    fn restart_fetches_immediately() {
        let mut plan = Plan::resume(7, HOUR, None, at(0));
        plan.begin(at(0));
        plan.restart(at(1));
        assert_eq!(plan.next(at(1)), Some(at(1)));
    }

    #[test]
    fn refresh_uses_no_budget() {
        let mut plan = Plan::resume(7, HOUR, None, at(0));
        plan.begin(at(0));
        plan.succeeded(None, at(0));
        assert_eq!(plan.budget, Budget::full(at(0)));
    }

    proptest! {
        /// Whatever the requests and the results: fetches are limited by the schedule and the
        /// budget, and no request is forgotten.
        #[test]
        fn flood_of_requests_is_bounded(
            steps in prop::collection::vec((0_i64..40, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let mut plan = Plan::resume(7, HOUR, None, at(0));
            let (mut now, mut requested, mut refreshes) = (at(0), 0_i64, 0_i64);
            for (pause, ask, succeeds) in steps {
                now = later(now, SignedDuration::from_secs(pause));
                if ask {
                    plan.ask();
                    let next = plan.next(now).unwrap();
                    prop_assert!(next <= later(now, Budget::REFILL_INTERVAL), "a request is not served");
                }
                if plan.next(now).unwrap() > now {
                    continue;
                }
                if plan.refresh_at() <= now { refreshes += 1 } else { requested += 1 }
                plan.begin(now);
                if succeeds { plan.succeeded(None, now) } else { plan.failed(now) }
            }
            let passed = now.duration_since(at(0)).as_secs();
            prop_assert!(requested <= i64::from(Budget::BURST) + passed / 30);
            prop_assert!(refreshes <= 1 + passed / 5);
        }

        #[test]
        fn jumping_clock_does_not_refill_the_budget_twice(jumps in prop::collection::vec(-100_000_i64..100_000, 1..50)) {
            let mut budget = Budget::full(at(0));
            for jump in jumps {
                let now = at(jump);
                budget.take(now);
                prop_assert!(budget.left < Budget::BURST);
                prop_assert!(budget.available(now) <= later(now, Budget::REFILL_INTERVAL));
            }
        }
    }
}
