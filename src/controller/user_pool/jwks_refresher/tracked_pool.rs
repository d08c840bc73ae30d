//! A pool whose remote key set is kept fetched. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::algorithm::VerifyingAlgorithm;
use crate::domain::fetch_error::FetchError;
use crate::domain::ids::{ObjectName, UserPoolId};
use crate::domain::jwks_parser::{Expected, JwkSet, MAX_READ};
use crate::domain::pool::Location;
use crate::jwks::schedule::Plan;
use crate::jwks::{Fetched, Validator};

/// What to fetch for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSpec {
    /// Where from.
    pub location: Location,
    /// CA certificates (PEM) that are trusted instead of the platform's.
    pub ca: Option<Vec<u8>>,
    /// Accepted key algorithms; empty: all supported ones.
    pub algorithms: Vec<VerifyingAlgorithm>,
}

/// What is known of a pool's key set.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The set that this leader last fetched successfully.
    pub set: Option<Arc<JwkSet>>,
    /// When that fetch began, or a later one that found the set unchanged.
    pub fetched_at: Option<Timestamp>,
    /// Why the last fetch failed, if it did.
    pub error: Option<FetchError>,
    /// The set of the last fetch, if that failed because the set has no usable key.
    pub rejected: Option<Arc<JwkSet>>,
    /// The refetch requests that the set answers: by requesting process, the number of the request.
    pub answers: BTreeMap<String, u64>,
    /// When the next refresh is due.
    pub next: Option<Timestamp>,
}

/// A pool whose key set is kept fetched.
pub struct TrackedPool {
    /// The UserPool.
    pub name: ObjectName,
    /// What to fetch.
    pub order: Arc<FetchSpec>,
    /// When to fetch.
    pub plan: Plan,
    /// What has been fetched.
    pub known: Known,
    /// The validator (ETag) of [`Known::set`].
    validator: Option<Validator>,
    /// The refetch requests that the fetch in progress will answer.
    answering: BTreeMap<String, u64>,
    /// When a reconciliation last asked for the set.
    pub followed_at: Timestamp,
}

/// One fetch.
pub struct FetchJob {
    /// The pool.
    pub id: UserPoolId,
    /// The namespace of the pool.
    pub namespace: String,
    /// What to fetch.
    pub order: Arc<FetchSpec>,
    /// The validator (ETag) of the last response.
    pub validator: Option<Validator>,
    /// When it began.
    pub began: Timestamp,
    /// Whether the previous fetch failed.
    pub failing: bool,
    /// Metric label.
    pub trigger: &'static str,
}

/// The result of a fetch.
#[derive(Debug)]
pub enum FetchOutcome {
    /// A set with usable keys.
    Set {
        /// The keys.
        set: JwkSet,
        /// For the next conditional request.
        validator: Option<Validator>,
        /// How long the host declares it fresh.
        max_age: Option<Duration>,
    },
    /// A set without a usable key, which is a failed fetch.
    NoUsableKey(JwkSet),
    /// Not modified since the last fetch.
    Unchanged {
        /// How long the host declares it fresh.
        max_age: Option<Duration>,
    },
}

impl TrackedPool {
    /// Starts from what is `known` of the pool.
    pub fn new(
        id: UserPoolId,
        name: &ObjectName,
        order: FetchSpec,
        refresh: SignedDuration,
        known: Known,
        now: Timestamp,
    ) -> Self {
        let seed = crc32fast::hash(id.to_string().as_bytes());
        // Without a successful fetch in status, the first fetch is due at once.
        let last = known.fetched_at.filter(|_| known.error.is_none());
        Self {
            name: name.clone(),
            order: Arc::new(order),
            plan: Plan::resume(seed, refresh, last, now),
            known,
            validator: None,
            answering: BTreeMap::new(),
            followed_at: now,
        }
    }

    /// Applies the current spec. Returns whether it differs from before.
    pub fn want(&mut self, order: FetchSpec, refresh: SignedDuration, now: Timestamp) -> bool {
        self.followed_at = now;
        let other = *self.order != order;
        if other {
            if self.order.location != order.location {
                self.known = Known::default();
            }
            if self.order.algorithms != order.algorithms {
                // The keys in status that are still valid remain in use.
                self.known.set = None;
            }
            self.order = Arc::new(order);
            self.validator = None;
            self.plan.restart(now);
        }
        self.plan.set_refresh(refresh, now);
        other
    }

    /// Whether these requests are answered, or will be by the fetch in progress.
    pub fn answers(&self, questions: &BTreeMap<String, u64>) -> bool {
        questions.iter().all(|(by, number)| {
            let reached = |answers: &BTreeMap<String, u64>| answers.get(by) >= Some(number);
            reached(&self.known.answers) || reached(&self.answering)
        })
    }

    /// Records the start of a fetch, which will answer these requests.
    pub fn begin(
        &mut self,
        id: UserPoolId,
        questions: Option<&BTreeMap<String, u64>>,
        now: Timestamp,
    ) -> FetchJob {
        let trigger = if self.plan.refresh_at() <= now { "refresh" } else { "asked" };
        self.plan.begin(now);
        self.answering = questions.cloned().unwrap_or_default();
        FetchJob {
            id,
            namespace: self.name.namespace.clone(),
            order: Arc::clone(&self.order),
            validator: self.validator.clone(),
            began: now,
            failing: self.known.error.is_some(),
            trigger,
        }
    }

    /// Records the end of a fetch.
    pub fn complete(
        &mut self,
        began: Timestamp,
        outcome: Result<FetchOutcome, FetchError>,
        now: Timestamp,
    ) {
        let answering = std::mem::take(&mut self.answering);
        let max_age = match outcome {
            Err(error) => return self.failed(error, None, now),
            Ok(FetchOutcome::NoUsableKey(set)) => {
                return self.failed(FetchError::NoUsableKey, Some(set), now);
            }
            Ok(FetchOutcome::Set { set, validator, max_age }) => {
                self.known.set = Some(Arc::new(set));
                self.validator = validator;
                max_age
            }
            Ok(FetchOutcome::Unchanged { max_age }) => max_age,
        };
        self.known.error = None;
        self.known.rejected = None;
        self.known.fetched_at = Some(began);
        if !answering.is_empty() {
            self.known.answers = answering;
        }
        self.plan.succeeded(max_age.and_then(|age| SignedDuration::try_from(age).ok()), now);
    }

    /// The previous set remains in use.
    fn failed(&mut self, error: FetchError, rejected: Option<JwkSet>, now: Timestamp) {
        self.known.error = Some(error);
        self.known.rejected = rejected.map(Arc::new);
        self.plan.failed(now);
    }
}

/// The keys of a response.
pub fn parse_lenient(
    fetched: Fetched,
    algorithms: &[VerifyingAlgorithm],
) -> Result<FetchOutcome, FetchError> {
    match fetched {
        Fetched::Unchanged { max_age } => Ok(FetchOutcome::Unchanged { max_age }),
        Fetched::Set { keys, validator, max_age } => {
            if keys.len() > MAX_READ {
                return Err(FetchError::TooLarge);
            }
            let set = JwkSet::parse_lenient(keys, Expected { private_keys: false, algorithms });
            if set.keys.is_empty() {
                return Ok(FetchOutcome::NoUsableKey(set));
            }
            Ok(FetchOutcome::Set { set, validator, max_age })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn order(url: &str) -> FetchSpec {
        FetchSpec { location: Location::Jwks(url.into()), ca: None, algorithms: vec![] }
    }

    fn id() -> UserPoolId {
        UserPoolId::derive("acme", "users")
    }

    fn followed(known: Known) -> TrackedPool {
        let name = ObjectName { namespace: "acme".into(), name: "users".into() };
        let hour = SignedDuration::from_hours(1);
        TrackedPool::new(id(), &name, order("https://id.example/"), hour, known, at(0))
    }

    fn fetched(keys: Vec<Value>) -> Result<FetchOutcome, FetchError> {
        let keys = keys.into_iter().map(Into::into).collect();
        parse_lenient(Fetched::Set { keys, validator: None, max_age: None }, &[])
    }

    fn key() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "a",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn questions(number: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("x".to_owned(), number)])
    }

    #[test]
    fn a_question_is_answered_by_a_fetch_that_began_after_it() {
        let mut pool = followed(Known::default());
        let _ = pool.begin(id(), None, at(0));
        assert!(!pool.answers(&questions(1)), "it arrived after the fetch began");
        pool.complete(at(0), fetched(vec![key()]), at(1));
        assert!(!pool.answers(&questions(1)));
        let _ = pool.begin(id(), Some(&questions(1)), at(1));
        assert!(pool.answers(&questions(1)) && !pool.answers(&questions(2)));
        pool.complete(at(1), fetched(vec![key()]), at(2));
        assert_eq!(pool.known.answers, questions(1));
        // A scheduled refresh leaves the answers as they are.
        let _ = pool.begin(id(), None, at(3600));
        pool.complete(at(3600), Ok(FetchOutcome::Unchanged { max_age: None }), at(3601));
        assert_eq!(pool.known.answers, questions(1));
    }

    #[test]
    fn a_failed_fetch_answers_nothing_and_keeps_the_last_good_set() {
        let mut pool = followed(Known::default());
        let _ = pool.begin(id(), None, at(0));
        pool.complete(at(0), fetched(vec![key()]), at(1));
        let _ = pool.begin(id(), Some(&questions(1)), at(2));
        pool.complete(at(2), Err(FetchError::TimedOut), at(3));
        assert!(!pool.answers(&questions(1)));
        assert_eq!(pool.known.error, Some(FetchError::TimedOut));
        assert_eq!(pool.known.fetched_at, Some(at(0)));
        assert_eq!(pool.known.set.as_ref().unwrap().keys.len(), 1);
        let retry = pool.begin(id(), None, at(60));
        assert!(retry.failing);
        pool.complete(at(60), Ok(FetchOutcome::Unchanged { max_age: None }), at(61));
        assert_eq!((pool.known.error, pool.known.fetched_at), (None, Some(at(60))));
    }

    #[test]
    fn another_url_is_another_set() {
        let mut pool = followed(Known::default());
        let _ = pool.begin(id(), None, at(0));
        pool.complete(at(0), fetched(vec![key()]), at(1));
        let hour = SignedDuration::from_hours(1);
        assert!(!pool.want(order("https://id.example/"), hour, at(2)));
        let with_ca = FetchSpec { ca: Some(vec![1]), ..order("https://id.example/") };
        assert!(pool.want(with_ca, hour, at(2)));
        assert!(pool.known.set.is_some() && pool.plan.refresh_at() == at(2));
        let algorithms = vec![VerifyingAlgorithm::ES256];
        assert!(pool.want(FetchSpec { algorithms, ..order("https://id.example/") }, hour, at(2)));
        assert!(
            pool.known.set.is_none() && pool.known.fetched_at.is_some(),
            "the keys are selected again"
        );
        assert!(pool.want(order("https://other.example/"), hour, at(3)));
        assert!(pool.known.set.is_none() && pool.known.fetched_at.is_none());
    }

    #[test]
    fn what_is_not_a_usable_set_is_a_failed_fetch() {
        assert_eq!(fetched(vec![json!({}); 10_000]).unwrap_err(), FetchError::TooLarge);
        let private = json!({"kty": "oct", "k": "AAAA"});
        let mut pool = followed(Known::default());
        let mut complete = |outcome| {
            let _ = pool.begin(id(), None, at(0));
            pool.complete(at(0), outcome, at(1));
            pool.known.clone()
        };
        let first = complete(fetched(vec![key()]));
        for (keys, dropped) in [(vec![], 0), (vec![private.clone()], 1)] {
            let known = complete(fetched(keys));
            assert_eq!(known.error, Some(FetchError::NoUsableKey));
            assert_eq!(known.rejected.unwrap().dropped.len(), dropped);
            assert!(Arc::ptr_eq(&known.set.unwrap(), first.set.as_ref().unwrap()));
        }
        assert!(complete(Err(FetchError::TimedOut)).rejected.is_none());
        let _ = complete(fetched(vec![private.clone()]));
        assert!(complete(Ok(FetchOutcome::Unchanged { max_age: None })).rejected.is_none());
        let Ok(FetchOutcome::Set { set, .. }) = fetched(vec![private, key()]) else { panic!() };
        assert_eq!((set.keys.len(), set.dropped.len()), (1, 1));
    }
}
