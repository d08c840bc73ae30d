//! The life of a delivered ApiKey, as a pure function of what is recorded and of the time.
//!
//! `Next` (its hash is published, nobody has it yet) -> `Current` (in the Secret) -> `Previous`
//! (counts until the end of the overlap) -> gone. A key becomes Current by being written into the
//! Secret, and that happens only when every validator knows it: a consumer never holds a key that
//! is refused.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::{later, spread};
use super::ids::SdkClientId;
use super::opaque::KeyHash;

/// The most Previous keys at a time. More rotations than that within one overlap have to wait, or
/// a consumer would lose a key that was promised to it.
pub const MAX_PREVIOUS: usize = 8;

/// State of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiKeyState {
    /// Known to validators, not delivered yet.
    Next,
    /// The key in the Secret.
    Current,
    /// Replaced; valid until it expires.
    Previous,
}

/// What is recorded of a key that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredKey {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// Current or Previous.
    pub state: ApiKeyState,
    /// When it was delivered. Unknown for a key that somebody put into the Secret by hand without
    /// a record: counts as oldest.
    pub created_at: Option<Timestamp>,
    /// When it stops to count.
    pub expires_at: Option<Timestamp>,
}

/// How keys follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// How long a key counts at most.
    pub lifetime: Option<SignedDuration>,
    /// How often the key is replaced.
    pub interval: Option<SignedDuration>,
    /// How long the replaced key still counts, from the delivery of the new one.
    pub overlap: SignedDuration,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The delivered keys that still count, oldest first.
    pub live: Vec<DeliveredKey>,
    /// Whether a new key is to be made.
    pub rotate: Rotate,
    /// When the schedule asks for the next one.
    pub next_rotation: Option<Timestamp>,
    /// When to look again at the latest.
    pub wake_at: Option<Timestamp>,
}

/// Whether a new key is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// Not now.
    No,
    /// Now: by schedule or on request.
    Now,
    /// Asked for, but as many Previous keys live as there may be; not before this time.
    Deferred(Timestamp),
}

impl Schedule {
    /// Plans for the delivered keys at `now`. `requested`: somebody asked for a rotation that has
    /// not been done.
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

    /// When a key that is delivered at `now` stops to count.
    #[must_use]
    pub fn expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.lifetime.map(|lifetime| later(now, lifetime))
    }

    /// The delivered keys once `new` is in the Secret since `now`. The overlap counts from that
    /// delivery, so neither a restart nor a late delivery cuts it short.
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

    /// About an interval after delivery, and never later: a lifetime may be as short as interval
    /// and overlap. A key of unknown age is due.
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
    use crate::domain::opaque::ApiKey;
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
        /// Whatever the clock does, forwards and backwards: one Current key, it is the one that
        /// was delivered last, and no more keys than there may be.
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
