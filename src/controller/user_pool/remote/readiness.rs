//! Status and conditions of a remote key set. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controller::user_pool::jwks_refresher::Known;
use crate::controller::user_pool::status_keys;
use crate::crd::condition::{ExtraCondition, Readiness};
use crate::crd::reasons::ReadyReason;
use crate::crd::{FetchAnswer, UserPoolStatus};
use crate::domain::pool::{FetchState, Location, Remote, Source, UserPool};
use crate::validate::fetch_state;

/// How far the times in status may lag behind if nothing else changes, so that a set that is
/// refreshed every minute does not cause a write every minute. Validators rely on these times, so a
/// short `--max-jwks-age` limits the lag to a quarter of itself.
const MAX_LAG: SignedDuration = SignedDuration::from_mins(5);

/// What status contains, if it was computed from this spec: where a previous leader stopped.
pub fn stored(pool: &UserPool, status: Option<&UserPoolStatus>) -> Known {
    let source = pool.source.describe();
    let Some(status) = status.filter(|status| status.source.as_ref() == Some(&source)) else {
        return Known::default();
    };
    let FetchState { at: fetched_at, answers } = fetch_state(status);
    Known {
        set: None,
        rejected: None,
        fetched_at,
        error: status.last_fetch_error,
        answers,
        next: status.next_fetch_time.as_ref().map(|time| time.0),
    }
}

/// The status without conditions.
pub fn status(
    pool: &UserPool,
    known: &Known,
    before: Option<&UserPoolStatus>,
    max_age: SignedDuration,
    now: Timestamp,
) -> UserPoolStatus {
    let serving = status_keys::of_same_source(pool, before);
    let issuer = match &pool.source {
        Source::Remote(Remote { location: Location::Issuer(issuer), .. }) => Some(issuer.as_str()),
        _ => None,
    };
    let keys = match &known.set {
        Some(set) => status_keys::keys(set, &serving, issuer, now),
        None => serving,
    };
    let desired = UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        issuer: issuer.map(str::to_owned),
        keys,
        last_fetch_time: known.fetched_at.map(Time),
        last_fetch_error: known.error,
        next_fetch_time: known.next.map(Time),
        fetch_answers: answers(&known.answers),
        ..UserPoolStatus::default()
    };
    let lag = MAX_LAG.min(max_age / 4);
    before.map_or(desired.clone(), |before| settled(desired, before, lag))
}

/// Keeps the recorded times while nothing else has changed and they do not lag too far behind.
fn settled(
    mut desired: UserPoolStatus,
    before: &UserPoolStatus,
    lag: SignedDuration,
) -> UserPoolStatus {
    let near = |before: Option<&Time>, desired: Option<&Time>| match (before, desired) {
        (Some(before), Some(desired)) => desired.0.duration_since(before.0) < lag,
        (before, desired) => before == desired,
    };
    let recent = near(before.last_fetch_time.as_ref(), desired.last_fetch_time.as_ref())
        && near(before.next_fetch_time.as_ref(), desired.next_fetch_time.as_ref());
    let but_for_times = |status: &UserPoolStatus| UserPoolStatus {
        last_fetch_time: None,
        next_fetch_time: None,
        summary: None,
        conditions: Vec::new(),
        observed_generation: None,
        ..status.clone()
    };
    if recent && but_for_times(&desired) == but_for_times(before) {
        desired.last_fetch_time.clone_from(&before.last_fetch_time);
        desired.next_fetch_time.clone_from(&before.next_fetch_time);
    }
    desired
}

fn answers(answers: &BTreeMap<String, u64>) -> Vec<FetchAnswer> {
    let answer = |(by, question): (&String, &u64)| {
        Some(FetchAnswer { by: by.clone(), question: i64::try_from(*question).ok()? })
    };
    answers.iter().filter_map(answer).take(FetchAnswer::MAX).collect()
}

/// The readiness of the pool, and until when at most it holds. A failed fetch of a pool in use is a
/// condition of its own: it changes neither Ready nor the keys.
pub fn readiness(
    pool: &UserPool,
    known: &Known,
    desired: &UserPoolStatus,
    max_age: SignedDuration,
    now: Timestamp,
) -> (Readiness, Option<Timestamp>) {
    let error = known.error.map(|error| error.to_string());
    let count = desired.keys.len();
    // Judged by the times that validators see, which may lag behind what this leader knows.
    let fetched_at = desired.last_fetch_time.as_ref().map(|time| time.0);
    let until = fetched_at.and_then(|fetched_at| fetched_at.checked_add(max_age).ok());
    let stale = until.is_none_or(|until| until < now);
    let mut readiness = match (&error, count) {
        (None, 0) => {
            Readiness::new(ReadyReason::NotFetched, "the key set has not been fetched yet")
        }
        (Some(error), 0) => Readiness::new(ReadyReason::FetchFailed, error.clone()),
        (_, _) if stale => Readiness::new(
            ReadyReason::KeySetStale,
            "the key set has not been fetched for longer than --max-jwks-age; its tokens get a 503",
        ),
        (_, _) => Readiness::new(ReadyReason::KeysFetched, format!("{count} keys fetched")),
    };
    let last = known.rejected.as_ref().or(known.set.as_ref());
    readiness.notes = status_keys::notes(pool, last.map(AsRef::as_ref));
    if let (Some(class), Some(error)) = (known.error, error) {
        let message = match until {
            Some(until) if count > 0 && !stale => {
                format!("{error}; the last fetched keys remain in use until {until}")
            }
            _ => error,
        };
        readiness.notes.push(ExtraCondition::fetch_failed(class, message));
    }
    (readiness, until.filter(|_| count > 0 && !stale))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::crd;
    use crate::crd::condition::ReadyState;
    use crate::crd::reasons::ConditionType;
    use crate::domain::fetch_error::FetchError;
    use crate::domain::jwks_parser::{Expected, JwkSet};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn pool(url: &str) -> UserPool {
        let spec = json!({"jwks": {"url": url}, "anyAudience": true});
        let object = json!({"metadata": {"namespace": "acme", "name": "users"}, "spec": spec});
        let object: crd::UserPool = serde_json::from_value(object).unwrap();
        crate::validate::user_pool(&object).unwrap()
    }

    fn key(kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn fetched(kids: &[&str], second: i64) -> Known {
        let keys = kids.iter().map(|kid| key(kid)).collect();
        let expected = Expected { private_keys: false, algorithms: &[] };
        Known {
            set: Some(Arc::new(JwkSet::parse_lenient(keys, expected))),
            fetched_at: Some(at(second)),
            next: Some(at(second + 900)),
            ..Known::default()
        }
    }

    fn failed(known: Known) -> Known {
        Known { error: Some(FetchError::TimedOut), next: Some(at(5)), ..known }
    }

    #[test]
    fn a_refresh_that_brings_nothing_new_is_written_now_and_then() {
        let pool = pool("https://id.example.com/jwks");
        let first = status(&pool, &fetched(&["a"], 0), None, DAY, at(0));
        let soon = status(&pool, &fetched(&["a"], 60), Some(&first), DAY, at(60));
        assert_eq!(soon, first);
        let later = status(&pool, &fetched(&["a"], 300), Some(&first), DAY, at(300));
        assert_eq!(later.last_fetch_time, Some(Time(at(300))));
        assert_eq!(later.keys, first.keys);
        // What is new is written at once.
        let rotated = status(&pool, &fetched(&["a", "b"], 60), Some(&first), DAY, at(60));
        assert_eq!(rotated.last_fetch_time, Some(Time(at(60))));
        let answered = Known { answers: [("x".to_owned(), 1)].into(), ..fetched(&["a"], 60) };
        let answered = status(&pool, &answered, Some(&first), DAY, at(60));
        assert_eq!(answered.last_fetch_time, Some(Time(at(60))));
        assert_eq!(stored(&pool, Some(&answered)).answers, [("x".to_owned(), 1)].into());
        let broken = status(&pool, &failed(fetched(&["a"], 0)), Some(&first), DAY, at(60));
        assert_eq!(broken.last_fetch_error, Some(FetchError::TimedOut));
        assert_eq!(broken.next_fetch_time, Some(Time(at(5))));
        let longer = Known { next: Some(at(320)), ..failed(fetched(&["a"], 0)) };
        let longer = status(&pool, &longer, Some(&broken), DAY, at(200));
        assert_eq!(longer.next_fetch_time, Some(Time(at(320))));
    }

    #[test]
    fn a_failure_changes_neither_ready_nor_keys() {
        let pool = pool("https://id.example.com/jwks");
        let known = fetched(&["a"], 0);
        let before = status(&pool, &known, None, DAY, at(0));
        let (ready, until) = readiness(&pool, &known, &before, DAY, at(0));
        assert_eq!((ready.state(), until), (ReadyState::Ready, Some(at(86_400))));
        let known = failed(known);
        let after = status(&pool, &known, Some(&before), DAY, at(900));
        let (readiness, _) = readiness(&pool, &known, &after, DAY, at(900));
        assert_eq!((readiness.state(), readiness.reason), (ready.state(), ready.reason));
        assert_eq!(readiness.message, ready.message);
        assert_eq!(after.keys, before.keys);
        let note =
            readiness.notes.iter().find(|note| note.type_ == ConditionType::FetchFailed).unwrap();
        assert_eq!(note.reason, "TimedOut");
    }

    #[test]
    fn a_fresh_leader_goes_on_with_what_status_says() {
        let pool = pool("https://id.example.com/jwks");
        let before = status(&pool, &failed(fetched(&["a"], 0)), None, DAY, at(0));
        let known = stored(&pool, Some(&before));
        assert_eq!((known.fetched_at, known.error), (Some(at(0)), Some(FetchError::TimedOut)));
        assert_eq!(status(&pool, &known, Some(&before), DAY, at(9)), before);
        assert_eq!(readiness(&pool, &known, &before, DAY, at(9)).0.state(), ReadyState::Ready);
    }

    #[test]
    fn what_was_fetched_from_elsewhere_serves_no_longer() {
        let before = status(&pool("https://a.example/"), &fetched(&["a"], 0), None, DAY, at(0));
        let moved = pool("https://b.example/");
        let known = stored(&moved, Some(&before));
        assert_eq!(known.fetched_at, None);
        let after = status(&moved, &known, Some(&before), DAY, at(1));
        assert!(after.keys.is_empty() && after.last_fetch_time.is_none());
        assert_eq!(readiness(&moved, &known, &after, DAY, at(1)).0.reason, ReadyReason::NotFetched);
    }

    #[test]
    fn what_is_too_old_is_not_ready() {
        let pool = pool("https://id.example.com/jwks");
        let known = failed(fetched(&["a"], 0));
        let desired = status(&pool, &known, None, DAY, at(0));
        let (readiness, until) = readiness(&pool, &known, &desired, DAY, at(86_401));
        assert_eq!(
            (readiness.state(), readiness.reason),
            (ReadyState::Reconciling, ReadyReason::KeySetStale)
        );
        assert_eq!(until, None);
    }

    #[test]
    fn what_was_never_fetched_says_why() {
        let pool = pool("https://id.example.com/jwks");
        let known = failed(Known::default());
        let desired = status(&pool, &known, None, DAY, at(0));
        let (readiness, _) = readiness(&pool, &known, &desired, DAY, at(0));
        assert_eq!(
            (readiness.state(), readiness.reason),
            (ReadyState::Reconciling, ReadyReason::FetchFailed)
        );
        assert!(readiness.message.contains("in time"), "{}", readiness.message);
    }

    #[test]
    fn set_without_a_usable_key_names_each_key_and_its_reason() {
        let pool = pool("https://id.example.com/jwks");
        let dropped = |known: &Known| {
            let desired = status(&pool, known, None, DAY, at(0));
            let (readiness, _) = readiness(&pool, known, &desired, DAY, at(0));
            readiness.notes.into_iter().find(|note| note.type_ == ConditionType::KeysDropped)
        };
        let weak = json!({"kty": "RSA", "kid": "2019", "n": "AQAB", "e": "AQAB"});
        let secret = json!({"kty": "oct", "kid": "shared", "k": "AAAA"});
        let expected = Expected { private_keys: false, algorithms: &[] };
        let set = JwkSet::parse_lenient(vec![weak, secret], expected);
        let rejected = Known {
            error: Some(FetchError::NoUsableKey),
            rejected: Some(Arc::new(set)),
            ..fetched(&["a"], 0)
        };
        let message = dropped(&rejected).unwrap().message;
        for part in ["key `2019` cannot be used: the RSA modulus", "key `shared` is symmetric"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(dropped(&fetched(&["a"], 0)).is_none());
    }
}
