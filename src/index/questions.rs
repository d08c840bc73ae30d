//! What this replica asks of the leader: fetch the key set of a pool again, because a token names
//! a key that is not in it.
//!
//! Anybody can make such tokens, so nothing here grows with them. There is one question per pool at
//! a time, however many keys it is about, and it has a number. It stands in this replica's Lease
//! until status says that a fetch which began later has ended; keys that were missed before the
//! question was sent and are still missing are then known not to be there. Keys that are missed
//! while a question is open wait for the next.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::domain::ids::UserPoolId;
use crate::domain::pool::UserPool;

/// How many missed keys are remembered; twice as many for a moment.
const MAX_KEYS: usize = 8192;
/// How long a key that is not there is not asked for again.
const NEGATIVE: Duration = Duration::from_mins(1);
/// How many pools are asked for at the same time.
const MAX_POOLS: usize = 64;
/// How many of them may belong to one organization.
const MAX_POOLS_OF_ONE: usize = 16;
/// How long a question keeps its place. One that is not answered by then, because the host of the
/// set is down, shares what places are left: it must not keep others from asking.
const KEEPS_PLACE: Duration = Duration::from_secs(30);
/// How many requests wait for an answer at the same time.
const MAX_WAITING: usize = 128;

/// The questions of one replica, as they stand in its Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which process asks: another one begins to count from the start.
    pub by: String,
    /// The number of the open question, by pool.
    pub pools: BTreeMap<UserPoolId, u64>,
}

/// What is known of a key that is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A fetch that began after the key was missed has not brought it.
    Absent,
    /// Nobody can tell yet.
    Unanswered,
}

/// See the module.
#[derive(Debug)]
pub struct Questions {
    by: String,
    hasher: RandomState,
    state: Mutex<State>,
    news: Notify,
    seats: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    pools: HashMap<UserPoolId, Numbers>,
    /// The highest number of any pool that is gone. One that takes its name begins above it: what
    /// was answered to the other says nothing of it.
    gone: u64,
    /// Which question each missed key waits for. Two generations: when the younger one is full,
    /// the older one is forgotten.
    young: HashMap<(UserPoolId, u64), Miss>,
    old: HashMap<(UserPoolId, u64), Miss>,
}

/// The numbers of the last questions about a pool.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    wanted: u64,
    sent: u64,
    answered: u64,
    /// When `sent` was sent first.
    sent_at: Option<Instant>,
    /// When it was sent last.
    listed_at: Option<Instant>,
}

/// Whose turn it is to be asked for; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Asked a moment ago.
    Open,
    /// Not asked yet.
    New,
    /// Asked long ago, and last listed then.
    Overdue(Option<Instant>),
}

#[derive(Clone, Copy, Debug)]
struct Miss {
    question: u64,
    at: Instant,
}

impl Default for Questions {
    fn default() -> Self {
        let by = uuid::Uuid::new_v4().simple().to_string();
        Self {
            by: by.chars().take(12).collect(),
            hasher: RandomState::new(),
            state: Mutex::default(),
            news: Notify::new(),
            seats: Semaphore::new(MAX_WAITING),
        }
    }
}

impl Questions {
    /// A token of `pool` names the key `kid`, and it is not in the set. Asks for it, unless that
    /// was done already.
    pub fn miss(&self, pool: &UserPool, kid: &str, now: Instant) -> Missing {
        // A hash of a random key: who chooses a `kid` cannot choose which others it looks like.
        let key = (pool.id, self.hasher.hash_one(kid));
        let mut state = self.state.lock();
        let numbers = state.take_up(pool, &self.by);
        let known = state.young.get(&key).or_else(|| state.old.get(&key)).copied();
        if let Some(miss) = known {
            let answered = miss.question <= numbers.answered;
            if !answered {
                return Missing::Unanswered;
            }
            if now.saturating_duration_since(miss.at) < NEGATIVE {
                return Missing::Absent;
            }
        }
        let question = numbers.sent.saturating_add(1);
        state.remember(key, Miss { question, at: now });
        if numbers.wanted != question {
            state.pools.insert(pool.id, Numbers { wanted: question, ..numbers });
            self.news.notify_one();
        }
        Missing::Unanswered
    }

    /// The open questions, which from now on count as sent. `pool` gives the pool of an id, as long
    /// as it is there.
    pub fn send<P>(&self, pool: impl Fn(UserPoolId) -> Option<P>, now: Instant) -> Asked
    where
        P: std::ops::Deref<Target = UserPool>,
    {
        let mut state = self.state.lock();
        let ids: Vec<_> = state.pools.keys().copied().collect();
        let mut turns = Vec::new();
        for id in ids {
            let Some(pool) = pool(id) else {
                state.forget(id);
                continue;
            };
            let turn = state.take_up(&pool, &self.by).turn(now);
            turns.extend(turn.map(|turn| (turn, id, pool.organization)));
        }
        turns.sort_unstable();
        let (mut pools, mut of_one) = (BTreeMap::new(), HashMap::<_, usize>::new());
        for (turn, id, organization) in turns {
            let own = of_one.entry(organization).or_default();
            if pools.len() == MAX_POOLS || *own == MAX_POOLS_OF_ONE {
                continue;
            }
            if let Some(numbers) = state.pools.get_mut(&id) {
                *own += 1;
                if turn == Turn::New {
                    numbers.sent = numbers.wanted;
                    numbers.sent_at = Some(now);
                }
                numbers.listed_at = Some(now);
                pools.insert(id, numbers.sent);
            }
        }
        Asked { by: self.by.clone(), pools }
    }

    /// Waits until there is something to send.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// A seat for a request that waits for an answer, while there is one.
    #[must_use]
    pub fn seat(&self) -> Option<SemaphorePermit<'_>> {
        self.seats.try_acquire().ok()
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

    /// Whose turn it is, if there is anything to ask.
    fn turn(&self, now: Instant) -> Option<Turn> {
        if self.sent > self.answered {
            let fresh = |sent_at| now.saturating_duration_since(sent_at) < KEEPS_PLACE;
            let fresh = self.sent_at.is_some_and(fresh);
            return Some(if fresh { Turn::Open } else { Turn::Overdue(self.listed_at) });
        }
        (self.wanted > self.sent).then_some(Turn::New)
    }
}

impl State {
    /// Takes up what the status of the pool answers.
    fn take_up(&mut self, pool: &UserPool, by: &str) -> Numbers {
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

    /// Pool `name`, whose status answers `question` of `questions`.
    fn pool(name: &str, questions: &Questions, question: u64) -> Arc<UserPool> {
        let object = json!({
            "metadata": {"namespace": "acme", "name": name},
            "spec": {"jwks": {"url": "https://id.example.com/jwks"}, "anyAudience": true},
            "status": {
                "source": "jwks https://id.example.com/jwks",
                "fetchAnswers": [{"by": questions.by, "question": question}],
            },
        });
        let object: crd::UserPool = serde_json::from_value(object).unwrap();
        Arc::new(crate::validate::user_pool(&object).unwrap())
    }

    fn sent(questions: &Questions, pool: &Arc<UserPool>) -> Option<u64> {
        let pool_of = |id| (id == pool.id).then(|| Arc::clone(pool));
        questions.send(pool_of, Instant::now()).pools.get(&pool.id).copied()
    }

    #[test]
    fn a_key_is_absent_once_a_fetch_newer_than_the_question_has_ended() {
        let (questions, now) = (Questions::default(), Instant::now());
        let unanswered = pool("users", &questions, 0);
        assert_eq!(questions.miss(&unanswered, "a", now), Missing::Unanswered);
        assert_eq!(sent(&questions, &unanswered), Some(1));
        assert_eq!(questions.miss(&unanswered, "a", now), Missing::Unanswered);
        // Missed after the question was sent: an answer to that says nothing of it.
        assert_eq!(questions.miss(&unanswered, "b", now), Missing::Unanswered);
        assert_eq!(sent(&questions, &unanswered), Some(1), "one question at a time");
        let answered = pool("users", &questions, 1);
        assert_eq!(questions.miss(&answered, "a", now), Missing::Absent);
        assert_eq!(questions.miss(&answered, "b", now), Missing::Unanswered);
        assert_eq!(sent(&questions, &answered), Some(2));
        let answered = pool("users", &questions, 2);
        assert_eq!(questions.miss(&answered, "b", now), Missing::Absent);
        assert_eq!(sent(&questions, &answered), None);
    }

    #[test]
    fn an_answer_is_remembered_when_status_no_longer_has_it() {
        let (questions, now) = (Questions::default(), Instant::now());
        questions.miss(&pool("users", &questions, 0), "a", now);
        sent(&questions, &pool("users", &questions, 0));
        assert_eq!(sent(&questions, &pool("users", &questions, 1)), None);
        assert_eq!(questions.miss(&pool("users", &questions, 0), "a", now), Missing::Absent);
    }

    #[test]
    fn an_answer_to_what_was_never_asked_counts_for_nothing() {
        let (questions, now) = (Questions::default(), Instant::now());
        let forged = pool("users", &questions, 1_000);
        assert_eq!(questions.miss(&forged, "a", now), Missing::Unanswered);
        assert_eq!(questions.miss(&forged, "a", now), Missing::Unanswered);
        assert_eq!(sent(&questions, &forged), Some(1));
    }

    #[test]
    fn an_absent_key_is_asked_for_again_after_a_while() {
        let (questions, now) = (Questions::default(), Instant::now());
        questions.miss(&pool("users", &questions, 0), "a", now);
        sent(&questions, &pool("users", &questions, 0));
        let answered = pool("users", &questions, 1);
        assert_eq!(questions.miss(&answered, "a", now + NEGATIVE / 2), Missing::Absent);
        assert_eq!(questions.miss(&answered, "a", now + NEGATIVE), Missing::Unanswered);
        assert_eq!(sent(&questions, &answered), Some(2));
    }

    #[test]
    fn a_flood_of_keys_is_one_question_and_bounded_memory() {
        let (questions, now) = (Questions::default(), Instant::now());
        let users = pool("users", &questions, 0);
        for n in 0..100_000 {
            assert_eq!(questions.miss(&users, &n.to_string(), now), Missing::Unanswered);
        }
        assert_eq!(sent(&questions, &users), Some(1));
        let state = questions.state.lock();
        assert!(state.young.len() + state.old.len() <= 2 * MAX_KEYS);
    }

    #[test]
    fn pools_that_are_gone_are_forgotten() {
        let (questions, now) = (Questions::default(), Instant::now());
        questions.miss(&pool("users", &questions, 0), "a", now);
        assert!(questions.send(|_| None::<Arc<UserPool>>, now).pools.is_empty());
        assert!(questions.state.lock().pools.is_empty());
        // One that comes back begins anew: an old answer says nothing of it.
        let back = pool("users", &questions, 1);
        assert_eq!(questions.miss(&back, "a", now), Missing::Unanswered);
        assert_eq!(sent(&questions, &back), Some(2));
    }

    /// What is asked of `pools` at `now`, of which `answered` have been.
    fn asked(questions: &Questions, pools: &[Arc<UserPool>], now: Instant) -> Vec<UserPoolId> {
        let pools: HashMap<_, _> = pools.iter().map(|pool| (pool.id, Arc::clone(pool))).collect();
        questions.send(|id| pools.get(&id).cloned(), now).pools.into_keys().collect()
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
        let (questions, now) = (Questions::default(), Instant::now());
        let mut pools: Vec<_> = (0..6).flat_map(|n| pools_of(&format!("many-{n}"), 100)).collect();
        for pool in &pools {
            questions.miss(pool, "a", now);
        }
        assert_eq!(asked(&questions, &pools, now).len(), MAX_POOLS);
        let of_one = pools_of("many-0", 100);
        let questions = Questions::default();
        for pool in &of_one {
            questions.miss(pool, "a", now);
        }
        pools.extend(pools_of("acme", 1));
        questions.miss(&pools[600], "a", now);
        let asked = asked(&questions, &pools, now);
        assert_eq!(asked.len(), MAX_POOLS_OF_ONE + 1);
        assert!(asked.contains(&pools[600].id));
    }

    #[test]
    fn what_is_never_answered_does_not_keep_others_from_asking() {
        let (questions, now) = (Questions::default(), Instant::now());
        let dead: Vec<_> = (0..8).flat_map(|n| pools_of(&format!("dead-{n}"), 16)).collect();
        for pool in &dead {
            questions.miss(pool, "a", now);
        }
        let first = asked(&questions, &dead, now);
        assert_eq!(first.len(), MAX_POOLS);
        // Those that found no place are next, at the latest after a while.
        let later = now + KEEPS_PLACE;
        let second = asked(&questions, &dead, later);
        assert_eq!(second.len(), MAX_POOLS);
        assert!(second.iter().all(|id| !first.contains(id)));
        // Then all are overdue, and one that is new comes before them.
        let (later, acme) = (later + KEEPS_PLACE, pools_of("acme", 1));
        questions.miss(&acme[0], "a", later);
        let all = [dead, acme.clone()].concat();
        let third = asked(&questions, &all, later);
        assert!(third.len() == MAX_POOLS && third.contains(&acme[0].id));
        // And they take turns.
        let fourth = asked(&questions, &all, later + Duration::from_secs(1));
        let again = fourth.iter().filter(|id| third.contains(id) && **id != acme[0].id).count();
        assert!(again <= 2, "{again}");
    }
}
