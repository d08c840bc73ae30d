//! The life cycle of a delivered API key, as a pure function of the recorded keys and the time.
//!
//! `Next` (its hash is published, the key is not delivered) -> `Current` (in the Secret) ->
//! `Previous` (valid until the end of the overlap) -> removed. A key becomes Current when it is
//! written into the Secret, which happens only after every validator has acknowledged its hash. So
//! a consumer never reads a key that validators reject.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reach;
use crate::domain::credential::KeyHash;
use crate::domain::duration::{later, spread};
use crate::domain::ids::SdkClientId;

/// The maximum number of Previous keys. Further rotations within one overlap are deferred, because
/// each would end the overlap of a key early.
pub const MAX_PREVIOUS: usize = 8;

/// State of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyState {
    /// Published to validators, not delivered yet.
    Next,
    /// The key in the Secret.
    Current,
    /// Replaced; valid until it expires.
    Previous,
}

/// An API key as it is stored: only its hash is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApiKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// The state of the key. Keys created elsewhere are always Current.
    pub state: ApiKeyState,
    /// When it was created or delivered. If unknown, as for a key that was put into a Secret by hand,
    /// the key is treated as older than any other.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl StoredApiKey {
    /// A key that is created elsewhere, and listed by its hash.
    #[must_use]
    pub const fn listed(
        hash: KeyHash,
        created_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self { hash, state: ApiKeyState::Current, created_at, expires_at }
    }

    /// This key with the more restrictive of its own times and those of `other`. An unknown
    /// creation time is earlier than any other, and a key without an expiry never expires.
    #[must_use]
    pub fn restricted_by(&self, other: &Self) -> Self {
        let created_at = self.created_at.zip(other.created_at);
        let expires_at = match (self.expires_at, other.expires_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            created_at: created_at.map(|(one, other)| one.min(other)),
            expires_at,
            ..self.clone()
        }
    }
}

/// What the spec of the client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The lifetime of a key, from its delivery.
    pub lifetime: Option<SignedDuration>,
    /// How often the key is rotated.
    pub interval: Option<SignedDuration>,
    /// How long a replaced key stays valid after the delivery of the new one.
    pub overlap: SignedDuration,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The delivered keys that are still valid, oldest first.
    pub live: Vec<StoredApiKey>,
    /// What to do about the Next key.
    pub next: NextKey,
    /// When the next rotation is due by schedule.
    pub next_rotation: Option<Timestamp>,
    /// When to run the next step at the latest.
    pub wake_at: Option<Timestamp>,
}

/// What to do about the Next key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKey {
    /// Nothing: no rotation is due.
    NotDue,
    /// Nothing until this time: a rotation is due, but there are [`MAX_PREVIOUS`] Previous keys.
    Deferred(Timestamp),
    /// Create it and publish its hash.
    Publish,
    /// Wait until every validator has acknowledged its hash.
    Acknowledge,
    /// Deliver it: it becomes Current.
    Deliver,
}

impl Policy {
    /// Computes the next step of the delivered keys at `now`. `requested` is whether a requested
    /// rotation has not been carried out yet, and `reach` how far the Next key has propagated.
    #[must_use]
    pub fn step(
        &self,
        client: SdkClientId,
        delivered: &[StoredApiKey],
        requested: bool,
        reach: Reach,
        now: Timestamp,
    ) -> Step {
        let counts = |key: &&StoredApiKey| {
            key.state == ApiKeyState::Current || key.expires_at.is_some_and(|end| end > now)
        };
        let live: Vec<_> = delivered.iter().filter(counts).cloned().collect();
        let current = live.iter().find(|key| key.state == ApiKeyState::Current);
        let next_rotation = current.and_then(|key| self.next_rotation(client, key));
        let due = requested || next_rotation.is_some_and(|time| time <= now);
        let previous = live.iter().filter(|key| key.state == ApiKeyState::Previous);
        let room_at = previous.clone().filter_map(|key| key.expires_at).min();
        let next = match (room_at, reach) {
            _ if !due => NextKey::NotDue,
            (Some(time), _) if previous.count() >= MAX_PREVIOUS => NextKey::Deferred(time),
            (_, Reach::Nowhere) => NextKey::Publish,
            (_, Reach::Published) => NextKey::Acknowledge,
            (_, Reach::Everywhere) => NextKey::Deliver,
        };
        let ends = live.iter().filter_map(|key| key.expires_at).filter(|end| *end > now);
        let wake_at = ends.chain(next_rotation.filter(|time| *time > now)).min();
        Step { live, next, next_rotation, wake_at }
    }

    /// When a key that is delivered at `now` expires.
    #[must_use]
    pub fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.lifetime.map(|lifetime| later(now, lifetime))
    }

    /// A key that is replaced at `now`: valid until the end of the overlap, which starts with the
    /// delivery of the new key, so neither a restart nor a late delivery shortens it.
    #[must_use]
    pub fn retire(&self, key: &StoredApiKey, now: Timestamp) -> StoredApiKey {
        if key.state == ApiKeyState::Previous {
            return key.clone();
        }
        let end = later(now, self.overlap);
        StoredApiKey {
            state: ApiKeyState::Previous,
            expires_at: Some(key.expires_at.map_or(end, |expiry| expiry.min(end))),
            ..key.clone()
        }
    }

    /// The delivered keys after the delivery of `new` at `now`.
    #[must_use]
    pub fn deliver(
        &self,
        live: &[StoredApiKey],
        new: KeyHash,
        now: Timestamp,
    ) -> Vec<StoredApiKey> {
        let replaced = live.iter().filter(|key| key.hash != new);
        let mut keys: Vec<_> = replaced.map(|key| self.retire(key, now)).collect();
        keys.retain(|key| key.expires_at.is_none_or(|end| end > now));
        // Only a new Secret can exceed this, because a rotation is deferred instead.
        keys.drain(..keys.len().saturating_sub(MAX_PREVIOUS));
        keys.push(StoredApiKey {
            hash: new,
            state: ApiKeyState::Current,
            created_at: Some(now),
            expires_at: self.expiry(now),
        });
        keys
    }

    /// Up to 10% earlier than an interval after delivery, but never later: a lifetime may be as
    /// short as interval plus overlap. A key of unknown age is due now.
    fn next_rotation(&self, client: SdkClientId, key: &StoredApiKey) -> Option<Timestamp> {
        let interval = self.interval?;
        let Some(created_at) = key.created_at else {
            return Some(Timestamp::UNIX_EPOCH);
        };
        Some(later(created_at, spread(interval, &client.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::ApiKey;
    use proptest::prelude::*;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn client() -> SdkClientId {
        SdkClientId::derive("acme", "backend")
    }

    fn hash() -> KeyHash {
        ApiKey::generate().unwrap().hash()
    }

    fn policy(interval: i64, overlap: i64) -> Policy {
        Policy {
            lifetime: None,
            interval: Some(SignedDuration::from_secs(interval)),
            overlap: SignedDuration::from_secs(overlap),
        }
    }

    #[test]
    fn the_more_restrictive_time_wins() {
        let at = |second| Some(at(second));
        let hash = hash();
        let key = |created_at, expires_at| StoredApiKey {
            hash,
            state: ApiKeyState::Current,
            created_at,
            expires_at,
        };
        for (one, other, both) in [
            (key(at(1), at(9)), key(at(2), at(8)), key(at(1), at(8))),
            (key(None, None), key(at(2), at(8)), key(None, at(8))),
            (key(at(1), None), key(at(1), None), key(at(1), None)),
        ] {
            assert_eq!(one.restricted_by(&other), both);
            assert_eq!(other.restricted_by(&one), both);
        }
    }

    #[test]
    fn a_key_is_due_within_the_last_tenth_of_its_interval() {
        let policy = policy(10 * HOUR, HOUR);
        let keys = policy.deliver(&[], hash(), at(0));
        let step = policy.step(client(), &keys, false, Reach::Nowhere, at(8 * HOUR));
        assert_eq!(step.next, NextKey::NotDue);
        let next = step.next_rotation.unwrap();
        assert!(next > at(9 * HOUR) - SignedDuration::from_secs(1) && next <= at(10 * HOUR));
        assert_eq!(step.wake_at, Some(next));
        assert_eq!(
            policy.step(client(), &keys, false, Reach::Nowhere, next).next,
            NextKey::Publish
        );
    }

    #[test]
    fn the_next_key_is_published_acknowledged_and_delivered() {
        let policy = policy(HOUR, HOUR);
        let keys = policy.deliver(&[], hash(), at(0));
        let next = |reach, time| policy.step(client(), &keys, false, reach, at(time)).next;
        assert_eq!(next(Reach::Nowhere, HOUR), NextKey::Publish);
        assert_eq!(next(Reach::Published, HOUR), NextKey::Acknowledge);
        assert_eq!(next(Reach::Everywhere, HOUR), NextKey::Deliver);
        // A Next key that is no longer due is withdrawn.
        assert_eq!(next(Reach::Everywhere, 0), NextKey::NotDue);
    }

    #[test]
    fn clients_are_spread_over_that_tenth() {
        let policy = policy(10 * HOUR, HOUR);
        let keys = policy.deliver(&[], hash(), at(0));
        let next = |n: i32| {
            let client = SdkClientId::derive("acme", &format!("client-{n}"));
            policy.step(client, &keys, false, Reach::Nowhere, at(0)).next_rotation.unwrap()
        };
        let mut minutes: Vec<_> = (0..1000).map(|n| next(n).as_second() / 60).collect();
        minutes.sort_unstable();
        let most = minutes.chunk_by(|a, b| a == b).map(<[i64]>::len).max().unwrap();
        assert!(most < 50, "{most} of 1000 in one minute");
    }

    #[test]
    fn the_overlap_counts_from_delivery_and_ends() {
        let policy = policy(10 * HOUR, HOUR);
        let old = policy.deliver(&[], hash(), at(0));
        // Delivered a day late.
        let keys = policy.deliver(&old, hash(), at(34 * HOUR));
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].expires_at, Some(at(35 * HOUR)));
        let live = |time| policy.step(client(), &keys, false, Reach::Nowhere, at(time)).live.len();
        assert_eq!(live(35 * HOUR - 1), 2);
        assert_eq!(live(35 * HOUR), 1);
    }

    #[test]
    fn without_overlap_the_old_key_ends_at_once() {
        let policy = policy(HOUR, 0);
        let old = policy.deliver(&[], hash(), at(0));
        assert_eq!(policy.deliver(&old, hash(), at(9)).len(), 1);
    }

    #[test]
    fn too_many_rotations_wait_for_room() {
        let policy = policy(1000 * HOUR, HOUR);
        let mut keys = policy.deliver(&[], hash(), at(0));
        for second in 1..=8 {
            assert_eq!(
                policy.step(client(), &keys, true, Reach::Nowhere, at(second)).next,
                NextKey::Publish
            );
            keys = policy.deliver(&keys, hash(), at(second));
        }
        let step = policy.step(client(), &keys, true, Reach::Nowhere, at(9));
        assert_eq!(step.next, NextKey::Deferred(at(HOUR + 1)));
        assert_eq!(
            policy.step(client(), &keys, true, Reach::Nowhere, at(HOUR + 1)).next,
            NextKey::Publish
        );
    }

    #[test]
    fn a_lifetime_bounds_the_overlap() {
        let mut policy = policy(2 * HOUR, HOUR);
        policy.lifetime = Some(SignedDuration::from_secs(3 * HOUR));
        let old = policy.deliver(&[], hash(), at(0));
        assert_eq!(old[0].expires_at, Some(at(3 * HOUR)));
        let keys = policy.deliver(&old, hash(), at(5 * HOUR / 2));
        assert_eq!(keys[0].expires_at, Some(at(3 * HOUR)));
    }

    proptest! {
        /// However the clock jumps, there is one Current key, it is the one that was delivered
        /// last, and the number of keys is bounded.
        #[test]
        fn one_current_key_under_any_clock(times in prop::collection::vec((0..200_i64, any::<bool>()), 1..60)) {
            let policy = policy(20, 30);
            let mut last = hash();
            let mut keys = policy.deliver(&[], last, at(0));
            for (time, requested) in times {
                let step = policy.step(client(), &keys, requested, Reach::Nowhere, at(time));
                if step.next == NextKey::Publish {
                    last = hash();
                    keys = policy.deliver(&step.live, last, at(time));
                }
                let current: Vec<_> = keys.iter().filter(|key| key.state == ApiKeyState::Current).collect();
                prop_assert_eq!(current.len(), 1);
                prop_assert_eq!(current[0].hash, last);
                prop_assert!(keys.len() <= MAX_PREVIOUS + 1);
                prop_assert!(step.wake_at.is_none_or(|wake| wake > at(time)));
            }
        }
    }
}
