//! When an object is reconciled again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

/// How often objects that are blocked by something unwatched are reconciled.
const POLL_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// The minimum time after which an unchanged object is reconciled again; the maximum is twice this.
/// Needed because the watches of referenced objects do not report what was deleted while they were
/// interrupted.
const RESYNC_INTERVAL: Duration = Duration::from_mins(30);

/// Upper bound, exclusive, of [`spread`].
pub const SPREAD: u32 = 128;

/// When to reconcile an object again, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Not before the next resync.
    OnChange,
    /// In a moment: something is in progress that triggers no event.
    Soon,
    /// After a while: something that is not watched may have changed by then.
    Later,
    /// At this time.
    At(Timestamp),
}

impl Requeue {
    /// The requeue of `object`. Resyncs are spread over time by object.
    pub fn action<K: Resource>(self, object: &K, now: Timestamp) -> Action {
        let recheck = RESYNC_INTERVAL + RESYNC_INTERVAL * spread(object) / SPREAD;
        let left = match self {
            Self::OnChange => recheck,
            Self::Soon => Duration::from_millis(200),
            Self::Later => POLL_INTERVAL.unsigned_abs(),
            Self::At(time) => {
                let left = Duration::try_from(time.duration_since(now)).unwrap_or_default();
                left.clamp(Duration::from_millis(200), recheck)
            }
        };
        Action::requeue(left)
    }

    /// The sooner of the two; `other`, if they are equally soon.
    #[must_use]
    pub fn or_sooner(self, other: Self, now: Timestamp) -> Self {
        let left = |requeue| match requeue {
            Self::Soon => SignedDuration::MIN,
            Self::Later => POLL_INTERVAL,
            Self::At(time) => time.duration_since(now),
            Self::OnChange => SignedDuration::MAX,
        };
        if left(self) < left(other) { self } else { other }
    }
}

/// A number derived from the object's uid, to spread work of many similar objects over time.
pub fn spread<K: Resource>(object: &K) -> u32 {
    object.uid().map_or(0, |uid| crc32fast::hash(uid.as_bytes()) % SPREAD)
}
