//! The life cycle of a delivered API key, as a pure function of the recorded keys and the time.
//!
//! `Next` (its hash is published, the key is not delivered) -> `Current` (in the Secret) ->
//! `Previous` (valid until the end of the overlap) -> removed. A key becomes Current when it is
//! written into the Secret, which happens only after every validator has acknowledged its hash. So
//! a consumer never reads a key that validators reject.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The record of a delivered key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// Current or Previous.
    pub state: ApiKeyState,
    /// When it was delivered. Unknown for a key that was put into the Secret by hand, without a
    /// record; such a key is treated as older than any other.
    pub created_at: Option<Timestamp>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// The rotation settings of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The lifetime of a key, from its delivery.
    pub lifetime: Option<SignedDuration>,
    /// How often the key is rotated.
    pub interval: Option<SignedDuration>,
    /// How long a replaced key stays valid after the delivery of the new one.
    pub overlap: SignedDuration,
}

/// The next step for the keys of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The delivered keys that are still valid, oldest first.
    pub live: Vec<DeliveredKey>,
    /// Whether to create a new key.
    pub rotate: Rotate,
    /// When the next rotation is due by schedule.
    pub next_rotation: Option<Timestamp>,
    /// When to plan again at the latest.
    pub wake_at: Option<Timestamp>,
}

/// Whether to create a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// Not now.
    No,
    /// Now: by schedule or on request.
    Now,
    /// Due, but deferred until this time: there are [`MAX_PREVIOUS`] Previous keys.
    Deferred(Timestamp),
}

impl Schedule {
    /// Plans the next step for the delivered keys at `now`. `requested` is whether a requested
    /// rotation has not been carried out yet.
    #[must_use]
    pub fn plan(
        &self,
        client: SdkClientId,
        delivered: &[DeliveredKey],
        requested: bool,
        now: Timestamp,
    ) -> Plan {
        let counts = |key: &&DeliveredKey| {
            key.state == ApiKeyState::Current || key.expires_at.is_some_and(|end| end > now)
        };
        let live: Vec<_> = delivered.iter().filter(counts).cloned().collect();
        let current = live.iter().find(|key| key.state == ApiKeyState::Current);
        let next_rotation = current.and_then(|key| self.next_rotation(client, key));
        let due = requested || next_rotation.is_some_and(|time| time <= now);
        let previous = live.iter().filter(|key| key.state == ApiKeyState::Previous);
        let room_at = previous.clone().filter_map(|key| key.expires_at).min();
        let rotate = match room_at {
            _ if !due => Rotate::No,
            Some(time) if previous.count() >= MAX_PREVIOUS => Rotate::Deferred(time),
            _ => Rotate::Now,
        };
        let ends = live.iter().filter_map(|key| key.expires_at).filter(|end| *end > now);
        let wake_at = ends.chain(next_rotation.filter(|time| *time > now)).min();
        Plan { live, rotate, next_rotation, wake_at }
    }

    /// When a key that is delivered at `now` expires.
    #[must_use]
    pub fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.lifetime.map(|lifetime| later(now, lifetime))
    }

    /// The delivered keys after the delivery of `new` at `now`. The overlap starts with that
    /// delivery, so neither a restart nor a late delivery shortens it.
    #[must_use]
    pub fn deliver(
        &self,
        live: &[DeliveredKey],
        new: KeyHash,
        now: Timestamp,
    ) -> Vec<DeliveredKey> {
        let end = later(now, self.overlap);
        let retire = |key: &DeliveredKey| match key.state {
            ApiKeyState::Current => DeliveredKey {
                state: ApiKeyState::Previous,
                expires_at: Some(key.expires_at.map_or(end, |expiry| expiry.min(end))),
                ..key.clone()
            },
            _ => key.clone(),
        };
        let mut keys: Vec<_> = live.iter().filter(|key| key.hash != new).map(retire).collect();
        keys.retain(|key| key.expires_at.is_none_or(|end| end > now));
        keys.push(DeliveredKey {
            hash: new,
            state: ApiKeyState::Current,
            created_at: Some(now),
            expires_at: self.expiry(now),
        });
        keys
    }

    /// Up to 10% earlier than an interval after delivery, but never later: a lifetime may be as
    /// short as interval plus overlap. A key of unknown age is due now.
    fn next_rotation(&self, client: SdkClientId, key: &DeliveredKey) -> Option<Timestamp> {
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

    fn schedule(interval: i64, overlap: i64) -> Schedule {
        Schedule {
            lifetime: None,
            interval: Some(SignedDuration::from_secs(interval)),
            overlap: SignedDuration::from_secs(overlap),
        }
    }

    #[test]
    fn a_key_is_due_within_the_last_tenth_of_its_interval() {
        let schedule = schedule(10 * HOUR, HOUR);
        let keys = schedule.deliver(&[], hash(), at(0));
        let plan = schedule.plan(client(), &keys, false, at(8 * HOUR));
        assert_eq!(plan.rotate, Rotate::No);
        let next = plan.next_rotation.unwrap();
        assert!(next > at(9 * HOUR) - SignedDuration::from_secs(1) && next <= at(10 * HOUR));
        assert_eq!(plan.wake_at, Some(next));
        assert_eq!(schedule.plan(client(), &keys, false, next).rotate, Rotate::Now);
    }

    #[test]
    fn clients_are_spread_over_that_tenth() {
        let schedule = schedule(10 * HOUR, HOUR);
        let keys = schedule.deliver(&[], hash(), at(0));
        let next = |n: i32| {
            let client = SdkClientId::derive("acme", &format!("client-{n}"));
            schedule.plan(client, &keys, false, at(0)).next_rotation.unwrap()
        };
        let mut minutes: Vec<_> = (0..1000).map(|n| next(n).as_second() / 60).collect();
        minutes.sort_unstable();
        let most = minutes.chunk_by(|a, b| a == b).map(<[i64]>::len).max().unwrap();
        assert!(most < 50, "{most} of 1000 in one minute");
    }

    #[test]
    fn the_overlap_counts_from_delivery_and_ends() {
        let schedule = schedule(10 * HOUR, HOUR);
        let old = schedule.deliver(&[], hash(), at(0));
        // Delivered a day late.
        let keys = schedule.deliver(&old, hash(), at(34 * HOUR));
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].expires_at, Some(at(35 * HOUR)));
        let live = |time| schedule.plan(client(), &keys, false, at(time)).live.len();
        assert_eq!(live(35 * HOUR - 1), 2);
        assert_eq!(live(35 * HOUR), 1);
    }

    #[test]
    fn without_overlap_the_old_key_ends_at_once() {
        let schedule = schedule(HOUR, 0);
        let old = schedule.deliver(&[], hash(), at(0));
        assert_eq!(schedule.deliver(&old, hash(), at(9)).len(), 1);
    }

    #[test]
    fn too_many_rotations_wait_for_room() {
        let schedule = schedule(1000 * HOUR, HOUR);
        let mut keys = schedule.deliver(&[], hash(), at(0));
        for second in 1..=8 {
            assert_eq!(schedule.plan(client(), &keys, true, at(second)).rotate, Rotate::Now);
            keys = schedule.deliver(&keys, hash(), at(second));
        }
        let plan = schedule.plan(client(), &keys, true, at(9));
        assert_eq!(plan.rotate, Rotate::Deferred(at(HOUR + 1)));
        assert_eq!(schedule.plan(client(), &keys, true, at(HOUR + 1)).rotate, Rotate::Now);
    }

    #[test]
    fn a_lifetime_bounds_the_overlap() {
        let mut schedule = schedule(2 * HOUR, HOUR);
        schedule.lifetime = Some(SignedDuration::from_secs(3 * HOUR));
        let old = schedule.deliver(&[], hash(), at(0));
        assert_eq!(old[0].expires_at, Some(at(3 * HOUR)));
        let keys = schedule.deliver(&old, hash(), at(5 * HOUR / 2));
        assert_eq!(keys[0].expires_at, Some(at(3 * HOUR)));
    }

    proptest! {
        /// However the clock jumps, there is one Current key, it is the one that was delivered
        /// last, and the number of keys is bounded.
        #[test]
        fn one_current_key_under_any_clock(times in prop::collection::vec((0..200_i64, any::<bool>()), 1..60)) {
            let schedule = schedule(20, 30);
            let mut last = hash();
            let mut keys = schedule.deliver(&[], last, at(0));
            for (time, requested) in times {
                let plan = schedule.plan(client(), &keys, requested, at(time));
                if plan.rotate == Rotate::Now {
                    last = hash();
                    keys = schedule.deliver(&plan.live, last, at(time));
                }
                let current: Vec<_> = keys.iter().filter(|key| key.state == ApiKeyState::Current).collect();
                prop_assert_eq!(current.len(), 1);
                prop_assert_eq!(current[0].hash, last);
                prop_assert!(keys.len() <= MAX_PREVIOUS + 1);
                prop_assert!(plan.wake_at.is_none_or(|wake| wake > at(time)));
            }
        }
    }
}
