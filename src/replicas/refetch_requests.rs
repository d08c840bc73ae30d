//! Requests from this replica to the leader to fetch the key set of a pool again, because a token
//! names a key (`kid` and algorithm) that is not in it.
//!
//! Anyone can create such tokens, so nothing here grows with their number. Each pool has at most
//! one open request, for any number of keys, and requests are numbered. The request is in this
//! replica's Lease until status reports that a fetch which began later has ended. Keys that were
//! missed before the request was sent, and are still missing, are then known not to exist. Keys
//! that are missed while a request is open wait for the next one.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::ops::Deref;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::domain::ids::UserPoolId;
use crate::domain::pool::UserPool;

/// How many missed keys are remembered; up to twice as many across two generations.
const MAX_KEYS: usize = 8192;
/// How long a key known not to exist is not requested again.
const NEGATIVE_CACHE_AGE: Duration = Duration::from_mins(1);
/// How many pools have an open request at the same time.
const MAX_POOLS: usize = 64;
/// How many of them may belong to one organization.
const MAX_POOLS_OF_ONE: usize = 16;
/// How long a request keeps its place. A request that is older, because the host of the set is
/// down, competes for the remaining places, so that it cannot block others.
const PLACE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many HTTP requests wait for a fetch at the same time.
const MAX_WAITING: usize = 128;

/// The open requests of one replica, as its Lease states them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequests {
    /// Identifies the process: a new process starts numbering again.
    pub by: String,
    /// The number of the open request, by pool.
    pub pools: BTreeMap<UserPoolId, u64>,
}

/// What is known of a key that is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// A fetch that began after the key was missed did not bring it: the key does not exist.
    Absent,
    /// Not known yet.
    Unanswered,
}

/// The requests of this replica; see the module documentation.
#[derive(Debug)]
pub struct RefetchRequests {
    by: String,
    hasher: RandomState,
    state: Mutex<State>,
    new_request: Notify,
    slots: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    pools: HashMap<UserPoolId, Numbers>,
    /// The highest request number of any pool that was deleted. A pool re-created under the same
    /// name starts above it, because answers to its predecessor do not apply to it.
    gone: u64,
    /// The request that each missed key waits for, in two generations: when the younger is full,
    /// the older is dropped.
    young: HashMap<(UserPoolId, u64), Miss>,
    old: HashMap<(UserPoolId, u64), Miss>,
}

/// The request numbers of a pool.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    wanted: u64,
    sent: u64,
    answered: u64,
    /// When `sent` was first sent.
    sent_at: Option<Instant>,
    /// When it was last sent.
    listed_at: Option<Instant>,
}

/// Priority of a request when places are scarce; the lowest value goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Sent recently.
    Open,
    /// Not sent yet.
    New,
    /// Sent long ago, and last included at this time.
    Overdue(Option<Instant>),
}

#[derive(Clone, Copy, Debug)]
struct Miss {
    request: u64,
    at: Instant,
}

impl Default for RefetchRequests {
    fn default() -> Self {
        let by = uuid::Uuid::new_v4().simple().to_string();
        Self {
            by: by.chars().take(12).collect(),
            hasher: RandomState::new(),
            state: Mutex::default(),
            new_request: Notify::new(),
            slots: Semaphore::new(MAX_WAITING),
        }
    }
}

impl RefetchRequests {
    /// Records that a token of `pool` names a key that is not in the set, and requests a fetch
    /// unless one is already requested.
    pub fn record_miss(
        &self,
        pool: &UserPool,
        key_name: &(impl Hash + ?Sized),
        now: Instant,
    ) -> KeyLookup {
        // Hashed with a random key, so that nobody can choose a `kid` that collides with others.
        let key = (pool.id, self.hasher.hash_one(key_name));
        let mut state = self.state.lock();
        let numbers = state.apply(pool, &self.by);
        let known = state.young.get(&key).or_else(|| state.old.get(&key)).copied();
        if let Some(miss) = known {
            let answered = miss.request <= numbers.answered;
            if !answered {
                return KeyLookup::Unanswered;
            }
            if now.saturating_duration_since(miss.at) < NEGATIVE_CACHE_AGE {
                return KeyLookup::Absent;
            }
        }
        let request = numbers.sent.saturating_add(1);
        state.remember(key, Miss { request, at: now });
        if numbers.wanted != request {
            state.pools.insert(pool.id, Numbers { wanted: request, ..numbers });
            self.new_request.notify_one();
        }
        KeyLookup::Unanswered
    }

    /// Takes the open requests, which are considered sent from now on. `pool` looks a pool up by
    /// its id while it exists.
    pub fn take_pending<P: Deref<Target = UserPool>>(
        &self,
        pool: impl Fn(UserPoolId) -> Option<P>,
        now: Instant,
    ) -> PendingRequests {
        let mut state = self.state.lock();
        let ids: Vec<_> = state.pools.keys().copied().collect();
        let mut turns = Vec::new();
        for id in ids {
            let Some(pool) = pool(id) else {
                state.forget(id);
                continue;
            };
            let turn = state.apply(&pool, &self.by).turn(now);
            turns.extend(turn.map(|turn| (turn, id, pool.organization)));
        }
        // Recently sent requests keep their place until they are answered, then come new ones, and
        // only then overdue ones, the longest-waiting first. So a host that is down cannot keep
        // others from being fetched, and overdue pools still take turns.
        turns.sort_unstable();
        let (mut pools, mut of_one) = (BTreeMap::new(), HashMap::<_, usize>::new());
        for (turn, id, organization) in turns {
            let own = of_one.entry(organization).or_default();
            if pools.len() == MAX_POOLS || *own == MAX_POOLS_OF_ONE {
                continue;
            }
            if let Some(numbers) = state.pools.get_mut(&id) {
                *own += 1;
                // Only what is sent now gets the next number: a key missed from here on waits for a
                // later request, because the fetch for this one may already have begun.
                if turn == Turn::New {
                    numbers.sent = numbers.wanted;
                    numbers.sent_at = Some(now);
                }
                numbers.listed_at = Some(now);
                pools.insert(id, numbers.sent);
            }
        }
        PendingRequests { by: self.by.clone(), pools }
    }

    /// Waits until there is a new request to send.
    pub async fn new_request(&self) {
        self.new_request.notified().await;
    }

    /// A permit to wait for a fetch; `None` if too many requests already wait.
    #[must_use]
    pub fn wait_slot(&self) -> Option<SemaphorePermit<'_>> {
        self.slots.try_acquire().ok()
    }
}

impl Numbers {
    const fn from(number: u64) -> Self {
        let nothing = None;
        Self {
            wanted: number,
            sent: number,
            answered: number,
            sent_at: nothing,
            listed_at: nothing,
        }
    }

    /// Its priority, if there is anything to request.
    fn turn(&self, now: Instant) -> Option<Turn> {
        if self.sent > self.answered {
            let fresh = |sent_at| now.saturating_duration_since(sent_at) < PLACE_TIMEOUT;
            let fresh = self.sent_at.is_some_and(fresh);
            return Some(if fresh { Turn::Open } else { Turn::Overdue(self.listed_at) });
        }
        (self.wanted > self.sent).then_some(Turn::New)
    }
}

impl State {
    /// Applies the answers in the pool's status.
    fn apply(&mut self, pool: &UserPool, by: &str) -> Numbers {
        let gone = self.gone;
        let Some(numbers) = self.pools.get_mut(&pool.id) else { return Numbers::from(gone) };
        let answered = pool.fetch.answers.get(by).copied().unwrap_or(0);
        numbers.answered = numbers.answered.max(answered.min(numbers.sent));
        *numbers
    }

    fn forget(&mut self, id: UserPoolId) {
        if let Some(numbers) = self.pools.remove(&id) {
            self.gone = self.gone.max(numbers.wanted);
        }
        self.young.retain(|(pool, _), _| *pool != id);
        self.old.retain(|(pool, _), _| *pool != id);
    }

    fn remember(&mut self, key: (UserPoolId, u64), miss: Miss) {
        if self.young.len() >= MAX_KEYS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, miss);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::crd;

    /// Pool `name`, whose status answers request `number` of `requests`.
    fn pool(name: &str, requests: &RefetchRequests, number: u64) -> Arc<UserPool> {
        let object = json!({
            "metadata": {"namespace": "acme", "name": name},
            "spec": {"jwks": {"url": "https://id.example.com/jwks"}, "anyAudience": true},
            "status": {
                "source": "jwks https://id.example.com/jwks",
                "fetchAnswers": [{"by": requests.by, "question": number}],
            },
        });
        let object: crd::UserPool = serde_json::from_value(object).unwrap();
        Arc::new(crate::validate::user_pool(&object).unwrap())
    }

    fn sent(requests: &RefetchRequests, pool: &Arc<UserPool>) -> Option<u64> {
        let pool_of = |id| (id == pool.id).then(|| Arc::clone(pool));
        requests.take_pending(pool_of, Instant::now()).pools.get(&pool.id).copied()
    }

    #[test]
    fn a_key_is_absent_once_a_fetch_newer_than_the_request_has_ended() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        let unanswered = pool("users", &requests, 0);
        assert_eq!(requests.record_miss(&unanswered, "a", now), KeyLookup::Unanswered);
        assert_eq!(sent(&requests, &unanswered), Some(1));
        assert_eq!(requests.record_miss(&unanswered, "a", now), KeyLookup::Unanswered);
        // Missed after the request was sent: its answer does not apply.
        assert_eq!(requests.record_miss(&unanswered, "b", now), KeyLookup::Unanswered);
        assert_eq!(sent(&requests, &unanswered), Some(1), "one request at a time");
        let answered = pool("users", &requests, 1);
        assert_eq!(requests.record_miss(&answered, "a", now), KeyLookup::Absent);
        assert_eq!(requests.record_miss(&answered, "b", now), KeyLookup::Unanswered);
        assert_eq!(sent(&requests, &answered), Some(2));
        let answered = pool("users", &requests, 2);
        assert_eq!(requests.record_miss(&answered, "b", now), KeyLookup::Absent);
        assert_eq!(sent(&requests, &answered), None);
    }

    #[test]
    fn an_answer_is_remembered_when_status_no_longer_has_it() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        requests.record_miss(&pool("users", &requests, 0), "a", now);
        sent(&requests, &pool("users", &requests, 0));
        assert_eq!(sent(&requests, &pool("users", &requests, 1)), None);
        assert_eq!(requests.record_miss(&pool("users", &requests, 0), "a", now), KeyLookup::Absent);
    }

    #[test]
    fn an_answer_to_what_was_never_asked_counts_for_nothing() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        let forged = pool("users", &requests, 1_000);
        assert_eq!(requests.record_miss(&forged, "a", now), KeyLookup::Unanswered);
        assert_eq!(requests.record_miss(&forged, "a", now), KeyLookup::Unanswered);
        assert_eq!(sent(&requests, &forged), Some(1));
    }

    #[test]
    fn an_absent_key_is_asked_for_again_after_a_while() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        requests.record_miss(&pool("users", &requests, 0), "a", now);
        sent(&requests, &pool("users", &requests, 0));
        let answered = pool("users", &requests, 1);
        assert_eq!(
            requests.record_miss(&answered, "a", now + NEGATIVE_CACHE_AGE / 2),
            KeyLookup::Absent
        );
        assert_eq!(
            requests.record_miss(&answered, "a", now + NEGATIVE_CACHE_AGE),
            KeyLookup::Unanswered
        );
        assert_eq!(sent(&requests, &answered), Some(2));
    }

    #[test]
    fn a_flood_of_keys_is_one_request_and_bounded_memory() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        let users = pool("users", &requests, 0);
        for n in 0..100_000 {
            assert_eq!(requests.record_miss(&users, &n.to_string(), now), KeyLookup::Unanswered);
        }
        assert_eq!(sent(&requests, &users), Some(1));
        let state = requests.state.lock();
        assert!(state.young.len() + state.old.len() <= 2 * MAX_KEYS);
    }

    #[test]
    fn pools_that_are_gone_are_forgotten() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        requests.record_miss(&pool("users", &requests, 0), "a", now);
        assert!(requests.take_pending(|_| None::<Arc<UserPool>>, now).pools.is_empty());
        assert!(requests.state.lock().pools.is_empty());
        // A re-created pool starts over: an old answer does not apply.
        let back = pool("users", &requests, 1);
        assert_eq!(requests.record_miss(&back, "a", now), KeyLookup::Unanswered);
        assert_eq!(sent(&requests, &back), Some(2));
    }

    /// The pools whose requests are sent at `now`.
    fn asked(requests: &RefetchRequests, pools: &[Arc<UserPool>], now: Instant) -> Vec<UserPoolId> {
        let pools: HashMap<_, _> = pools.iter().map(|pool| (pool.id, Arc::clone(pool))).collect();
        requests.take_pending(|id| pools.get(&id).cloned(), now).pools.into_keys().collect()
    }

    fn pools_of(organization: &str, count: usize) -> Vec<Arc<UserPool>> {
        let object = |n: usize| {
            json!({
                "metadata": {"namespace": organization, "name": format!("users-{n}")},
                "spec": {"jwks": {"url": "https://id.example.com/jwks"}, "anyAudience": true},
            })
        };
        let pool = |n| serde_json::from_value::<crd::UserPool>(object(n)).unwrap();
        (0..count).map(|n| Arc::new(crate::validate::user_pool(&pool(n)).unwrap())).collect()
    }

    #[test]
    fn one_organization_does_not_take_every_place() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        let mut pools: Vec<_> = (0..6).flat_map(|n| pools_of(&format!("many-{n}"), 100)).collect();
        for pool in &pools {
            requests.record_miss(pool, "a", now);
        }
        assert_eq!(asked(&requests, &pools, now).len(), MAX_POOLS);
        let of_one = pools_of("many-0", 100);
        let requests = RefetchRequests::default();
        for pool in &of_one {
            requests.record_miss(pool, "a", now);
        }
        pools.extend(pools_of("acme", 1));
        requests.record_miss(&pools[600], "a", now);
        let asked = asked(&requests, &pools, now);
        assert_eq!(asked.len(), MAX_POOLS_OF_ONE + 1);
        assert!(asked.contains(&pools[600].id));
    }

    #[test]
    fn what_is_never_answered_does_not_keep_others_from_asking() {
        let (requests, now) = (RefetchRequests::default(), Instant::now());
        let dead: Vec<_> = (0..8).flat_map(|n| pools_of(&format!("dead-{n}"), 16)).collect();
        for pool in &dead {
            requests.record_miss(pool, "a", now);
        }
        let first = asked(&requests, &dead, now);
        assert_eq!(first.len(), MAX_POOLS);
        // Pools that found no place go next, after PLACE_TIMEOUT at the latest.
        let later = now + PLACE_TIMEOUT;
        let second = asked(&requests, &dead, later);
        assert_eq!(second.len(), MAX_POOLS);
        assert!(second.iter().all(|id| !first.contains(id)));
        // Then all are overdue, and a new request goes before them.
        let (later, acme) = (later + PLACE_TIMEOUT, pools_of("acme", 1));
        requests.record_miss(&acme[0], "a", later);
        let all = [dead, acme.clone()].concat();
        let third = asked(&requests, &all, later);
        assert!(third.len() == MAX_POOLS && third.contains(&acme[0].id));
        // And they take turns.
        let fourth = asked(&requests, &all, later + Duration::from_secs(1));
        let again = fourth.iter().filter(|id| third.contains(id) && **id != acme[0].id).count();
        assert!(again <= 2, "{again}");
    }
}
