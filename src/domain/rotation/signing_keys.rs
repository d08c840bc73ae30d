//! The life cycle of a hosted pool's signing keys, as a pure function of the stored set, the time,
//! and what every validator has acknowledged.
//!
//! `Next` (published, not signing) -> `Active` -> `Retiring` (published, no longer signing) ->
//! removed. A key signs only after everyone can have learned of it, and is removed only after the
//! last token that it may have signed has expired. Revoked keys are the exception: they are removed
//! at once, and their replacement signs at once.

use jiff::{SignedDuration, Timestamp};

use super::Reach;
use crate::domain::algorithm::Algorithm;
use crate::domain::duration::{later, spread};
use crate::domain::signing::{SigningError, SigningKey};
use crate::domain::signing_key_set::{PrivateKeyBytes, SigningKeyState, StoredKey, StoredKeySet};

/// How long others may cache a public key set that we serve.
pub const MAX_CACHE_AGE: SignedDuration = SignedDuration::from_mins(5);
/// How long a key is published and acknowledged by every validator before it signs. Longer than
/// [`MAX_CACHE_AGE`], and than the default cache time of common libraries (10 minutes).
pub const PUBLISH_AHEAD: SignedDuration = SignedDuration::from_mins(15);
/// How much longer a key stays published than the last token that it may have signed: covers the
/// leeway of verifiers, API replicas that learn of the rotation seconds later, and clock
/// differences.
pub const RETIRE_MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// The most keys that a pool publishes. A rotation that would exceed it is deferred.
pub const MAX_KEYS: usize = 100;
/// The longest lifetime that any spec allows; assumed where none was recorded.
pub const LONGEST_LIFETIME: SignedDuration = SignedDuration::from_hours(8784);

/// What the spec of the pool asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The algorithm of new keys. Changing it starts a rotation.
    pub algorithm: Algorithm,
    /// How often the key is rotated.
    pub interval: Option<SignedDuration>,
    /// The longest lifetime that a token can have.
    pub longest_lifetime: SignedDuration,
    /// The requested rotation; empty for none.
    pub requested: String,
}

/// The inputs of a step besides the stored set.
pub struct Circumstances<'c> {
    /// The time.
    pub now: Timestamp,
    /// The latest time that the clock has returned: later than `now` if the clock was set back.
    pub latest: Timestamp,
    /// The creation time of a key that is created now: late enough that no existing revocation
    /// covers it.
    pub made_at: Timestamp,
    /// How far the Next key has propagated.
    pub next: Reach,
    /// Whether a key is revoked.
    pub is_revoked: &'c (dyn Fn(&StoredKey) -> bool + Sync),
    /// The id of the pool; spreads the rotations of pools that were created together.
    pub id: &'c str,
}

/// The result of a step.
#[derive(Clone)]
pub struct Step {
    /// The key set to store.
    pub set: StoredKeySet,
    /// A key to generate before storing the set; see [`Policy::add`].
    pub make: Option<(Algorithm, SigningKeyState)>,
    /// The changes that this step makes, in order.
    pub changes: Vec<Change>,
    /// When the next key will sign, as far as that is known.
    pub next_rotation: Option<Timestamp>,
    /// A rotation is deferred until this time, because the set is full.
    pub deferred_until: Option<Timestamp>,
    /// The Next key still has to be acknowledged by every validator; when that happens is unknown.
    pub waits_for_validators: bool,
    /// When to run the next step at the latest.
    pub wake_at: Option<Timestamp>,
}

/// A change of a key, with its `kid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Published; it will sign later.
    Published(String),
    /// It signs from now on.
    Activated(String),
    /// It no longer signs, and is removed at this time.
    Retired(String, Timestamp),
    /// Removed: everything that it signed has expired.
    Gone(String),
    /// Removed before it ever signed: the algorithm has changed.
    Discarded(String),
    /// Destroyed: a revocation covers it, or covers a key in the same Secret.
    Revoked(String),
}

/// When the key is to be rotated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Never,
    At(Timestamp),
    Now,
}

impl Policy {
    /// Computes the next step of the key set.
    #[must_use]
    pub fn step(&self, stored: &StoredKeySet, case: &Circumstances<'_>) -> Step {
        let mut step = Step::of(stored.clone());
        // Revoked keys go first: nothing below may keep, promote or count one. Recording comes
        // before any transition, so that what the old spec allowed is kept even if this very step
        // retires the key.
        step.destroy_revoked(case);
        step.drop_expired(case.now);
        self.record(&mut step.set, case.now);
        if step.set.active().is_none() {
            step.make = Some((self.algorithm, SigningKeyState::Active));
            return step;
        }
        self.keep_next(&mut step, case);
        let due = self.due(&step.set, case.id);
        let ready_at = step.set.next().and_then(|next| due.ready_at(next));
        let published = case.next >= Reach::Published;
        // Both conditions: `known_at` can be older than a loss of status, and a key that is not
        // published now must not sign whatever was acknowledged before.
        if ready_at.is_some_and(|time| time <= case.now) && published {
            self.promote(&mut step, case);
        } else {
            self.prepare(&mut step, due, case);
        }
        self.look_ahead(&mut step, case);
        step
    }

    /// The first step of a pool that has nothing stored.
    #[must_use]
    pub fn first(&self) -> Step {
        let set = StoredKeySet { keys: Vec::new(), rotated: Some(self.requested.clone()) };
        Step { make: Some((self.algorithm, SigningKeyState::Active)), ..Step::of(set) }
    }

    /// Adds the key that a step asked for.
    ///
    /// # Errors
    /// The private key could not be encoded.
    pub fn add(
        &self,
        step: &mut Step,
        key: &SigningKey,
        issuer: String,
        case: &Circumstances<'_>,
    ) -> Result<(), SigningError> {
        let Some((algorithm, state)) = step.make.take() else { return Ok(()) };
        let active = state == SigningKeyState::Active;
        let stored = StoredKey {
            algorithm,
            state,
            issuer,
            published_at: case.made_at,
            known_at: None,
            active_at: active.then_some(case.now),
            active_until: None,
            longest_lifetime: active.then_some(self.longest_lifetime.as_secs()),
            jwk: key.public_jwk(),
            pkcs8: Some(PrivateKeyBytes::of(key)?),
        };
        let kid = stored.kid().to_owned();
        step.changes.push(if active { Change::Activated(kid) } else { Change::Published(kid) });
        step.set.keys.push(stored);
        step.waits_for_validators = !active;
        self.look_ahead(step, case);
        Ok(())
    }

    /// Computes `next_rotation` and `wake_at` from the set as it will be stored. Runs last, because
    /// every other part of the step can change the set.
    fn look_ahead(&self, step: &mut Step, case: &Circumstances<'_>) {
        let due = self.due(&step.set, case.id);
        let ready_at = step.set.next().and_then(|next| due.ready_at(next));
        step.next_rotation = match due {
            Due::At(time) => Some(ready_at.unwrap_or(time)),
            Due::Now => ready_at,
            Due::Never => None,
        };
        let rotation = if step.set.next().is_some() { ready_at } else { due.prepare_at() };
        let ends = step.set.keys.iter().filter_map(StoredKey::gone_at);
        let times = ends.chain(rotation).chain(step.deferred_until);
        step.wake_at = times.filter(|time| *time > case.now).min();
    }

    /// Records what a later change of the spec must not take away.
    fn record(&self, set: &mut StoredKeySet, now: Timestamp) {
        // A request that is present at first sight is recorded and not executed: a restored or
        // copied object must not rotate by itself.
        set.rotated.get_or_insert_with(|| self.requested.clone());
        let longest = self.longest_lifetime.as_secs();
        for key in &mut set.keys {
            match key.state {
                SigningKeyState::Active => {
                    let recorded = key.longest_lifetime.unwrap_or(longest);
                    key.longest_lifetime = Some(recorded.max(longest));
                }
                SigningKeyState::Retiring => {
                    key.active_until.get_or_insert(now);
                }
                SigningKeyState::Next => {}
            }
        }
    }

    /// Drops a Next key of the wrong algorithm, and records since when the Next key has been
    /// acknowledged everywhere.
    fn keep_next(&self, step: &mut Step, case: &Circumstances<'_>) {
        let wrong =
            |key: &StoredKey| key.state == SigningKeyState::Next && key.algorithm != self.algorithm;
        step.remove(wrong, Change::Discarded);
        let next = step.set.keys.iter_mut().find(|key| key.state == SigningKeyState::Next);
        let Some(next) = next else { return };
        next.known_at = match (case.next, next.known_at) {
            // Caches may have picked up a set without the key in the meantime, so publishing ahead
            // starts over.
            (Reach::Nowhere, _) => None,
            (Reach::Published, known_at) => known_at,
            (Reach::Everywhere, known_at) => Some(known_at.unwrap_or(case.now)),
        }
        // A time in the future comes from a clock that has been set back since.
        .map(|known_at| known_at.min(case.now));
        step.waits_for_validators = next.known_at.is_none();
    }

    fn due(&self, set: &StoredKeySet, id: &str) -> Due {
        let Some(active) = set.active() else { return Due::Now };
        let requested = !self.requested.is_empty() && set.rotated.as_ref() != Some(&self.requested);
        if requested || active.algorithm != self.algorithm {
            return Due::Now;
        }
        let since = active.active_at.unwrap_or(active.published_at);
        self.interval.map_or(Due::Never, |interval| Due::At(later(since, spread(interval, id))))
    }

    /// Makes the Next key Active and the Active key Retiring.
    fn promote(&self, step: &mut Step, case: &Circumstances<'_>) {
        let latest = step.set.latest().max(case.latest).max(case.now);
        let mut changes = Vec::new();
        for key in &mut step.set.keys {
            match key.state {
                SigningKeyState::Active => {
                    key.state = SigningKeyState::Retiring;
                    key.active_until = Some(latest);
                    key.pkcs8 = None;
                    changes.push(Change::Retired(key.kid().to_owned(), key.retire_at(latest)));
                }
                SigningKeyState::Next => {
                    key.state = SigningKeyState::Active;
                    key.active_at = Some(case.now);
                    key.longest_lifetime = Some(self.longest_lifetime.as_secs());
                    changes.push(Change::Activated(key.kid().to_owned()));
                }
                SigningKeyState::Retiring => {}
            }
        }
        step.changes.append(&mut changes);
        step.set.rotated = Some(self.requested.clone());
    }

    /// Asks for a Next key if it is due, early enough to publish it ahead of its first signature.
    fn prepare(&self, step: &mut Step, due: Due, case: &Circumstances<'_>) {
        if step.set.next().is_some() || due.prepare_at().is_none_or(|time| time > case.now) {
            return;
        }
        if step.set.keys.len() < MAX_KEYS {
            step.make = Some((self.algorithm, SigningKeyState::Next));
            return;
        }
        step.deferred_until = step.set.keys.iter().filter_map(StoredKey::gone_at).min();
    }
}

impl Due {
    fn prepare_at(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Now => Some(Timestamp::MIN),
            Self::At(time) => Some(time.checked_sub(PUBLISH_AHEAD).unwrap_or(Timestamp::MIN)),
        }
    }

    /// When this Next key may sign, if a rotation is due.
    fn ready_at(self, next: &StoredKey) -> Option<Timestamp> {
        let ahead = later(next.known_at?, PUBLISH_AHEAD);
        match self {
            Self::Never => None,
            Self::Now => Some(ahead),
            Self::At(time) => Some(time.max(ahead)),
        }
    }
}

impl Step {
    const fn of(set: StoredKeySet) -> Self {
        Self {
            set,
            make: None,
            changes: Vec::new(),
            next_rotation: None,
            deferred_until: None,
            waits_for_validators: false,
            wake_at: None,
        }
    }

    /// Removes revoked keys at once. If the Active key is revoked, its Secret has leaked, and with
    /// it the Next key.
    fn destroy_revoked(&mut self, case: &Circumstances<'_>) {
        let leaked = self.set.active().is_some_and(|active| (case.is_revoked)(active));
        let goes = |key: &StoredKey| {
            (case.is_revoked)(key) || (leaked && key.state == SigningKeyState::Next)
        };
        self.remove(goes, Change::Revoked);
    }

    fn drop_expired(&mut self, now: Timestamp) {
        let over = |key: &StoredKey| {
            key.state == SigningKeyState::Retiring
                && key.active_until.is_some_and(|until| key.retire_at(until) <= now)
        };
        self.remove(over, Change::Gone);
    }

    fn remove(&mut self, goes: impl Fn(&StoredKey) -> bool, change: fn(String) -> Change) {
        let gone = self.set.keys.iter().filter(|key| goes(key));
        self.changes.extend(gone.map(|key| change(key.kid().to_owned())));
        self.set.keys.retain(|key| !goes(key));
    }
}

impl StoredKeySet {
    /// The latest recorded time, which the clock has returned at least once.
    fn latest(&self) -> Timestamp {
        let times = |key: &StoredKey| [key.known_at, key.active_at, key.active_until];
        self.keys.iter().flat_map(times).flatten().max().unwrap_or(Timestamp::MIN)
    }
}

impl StoredKey {
    /// The longest lifetime that a token signed by this key can have.
    #[must_use]
    pub fn longest_lifetime(&self) -> SignedDuration {
        self.longest_lifetime.map_or(LONGEST_LIFETIME, SignedDuration::from_secs)
    }

    /// When a Retiring key is removed.
    #[must_use]
    pub fn gone_at(&self) -> Option<Timestamp> {
        let retiring = self.state == SigningKeyState::Retiring;
        self.active_until.filter(|_| retiring).map(|until| self.retire_at(until))
    }

    fn retire_at(&self, active_until: Timestamp) -> Timestamp {
        later(later(active_until, self.longest_lifetime()), RETIRE_MARGIN)
    }
}

#[cfg(test)]
pub mod tests;
