//! The versions that the index has applied: for each kind the resourceVersion up to which every
//! change is applied, and when the API server was last heard from.
//!
//! ResourceVersions of one resource can be compared since Kubernetes 1.35 (KEP-5504); they are
//! decimal numbers. If one is not, the version of that kind is unknown, and nothing is claimed
//! about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Kind;

/// Applied versions by kind; 0 if unknown.
type Versions = [u64; Kind::ALL.len()];

/// The progress of one replica.
#[derive(Debug)]
pub struct Progress {
    versions: watch::Sender<Versions>,
    /// When each kind was last heard of, in milliseconds since `start`; 0 for never.
    heard: [AtomicU64; Kind::ALL.len()],
    /// When the replica last published its progress, in milliseconds since `start`; 0 for never.
    published: AtomicU64,
    start: Instant,
    /// Maximum staleness in milliseconds; [`u64::MAX`] if staleness is not checked.
    max_staleness: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            versions: watch::Sender::new([0; Kind::ALL.len()]),
            heard: Default::default(),
            published: AtomicU64::new(0),
            start: Instant::now(),
            max_staleness: AtomicU64::new(u64::MAX),
        }
    }
}

impl Progress {
    /// From now on the replica answers only after it has published its progress, and only while it
    /// has heard from the API server within `max`.
    pub fn limit(&self, max: Duration) {
        self.max_staleness.store(millis(max), Ordering::Relaxed);
    }

    /// Records that the replica has published its progress, by a request sent at `sent`.
    pub fn published(&self, sent: Instant) {
        let at = millis(sent.saturating_duration_since(self.start));
        self.published.fetch_max(at.max(1), Ordering::Relaxed);
    }

    /// Whether the leader can know of this replica.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.max_staleness.load(Ordering::Relaxed) == u64::MAX
            || self.published.load(Ordering::Relaxed) > 0
    }

    /// The versions applied so far, by kind, without the unknown ones.
    #[must_use]
    pub fn applied(&self) -> BTreeMap<&'static str, u64> {
        let versions = *self.versions.borrow();
        let known = Kind::ALL.into_iter().zip(versions).filter(|(_, version)| *version > 0);
        known.map(|(kind, version)| (kind.as_str(), version)).collect()
    }

    /// Subscribes to the versions.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    pub(super) fn advanced(&self, kind: Kind, resource_version: &str) {
        let slot = Kind::ALL.into_iter().position(|other| other == kind);
        let Some(slot) = slot else { return };
        if let Some(heard) = self.heard.get(slot) {
            heard.store(self.millis().max(1), Ordering::Relaxed);
        }
        let version = resource_version.parse().unwrap_or(0);
        self.versions.send_if_modified(|versions| {
            let applied = versions.get_mut(slot);
            applied.is_some_and(|applied| std::mem::replace(applied, version) != version)
        });
    }

    pub(super) fn is_fresh(&self) -> bool {
        let max = self.max_staleness.load(Ordering::Relaxed);
        if max == u64::MAX {
            return true;
        }
        let now = self.millis();
        let recent = |time: &AtomicU64| {
            let time = time.load(Ordering::Relaxed);
            time > 0 && now.saturating_sub(time) <= max
        };
        recent(&self.published) && self.heard.iter().all(recent)
    }

    fn millis(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_once_they_are_numbers() {
        let progress = Progress::default();
        assert!(progress.applied().is_empty());
        progress.advanced(Kind::SdkClient, "17");
        progress.advanced(Kind::UserPool, "opaque");
        assert_eq!(progress.applied(), BTreeMap::from([("SdkClient", 17)]));
    }

    #[test]
    fn an_index_that_was_not_heard_of_is_stale() {
        let progress = Progress::default();
        assert!(progress.is_fresh(), "staleness is not limited");
        progress.limit(Duration::from_mins(1));
        assert!(!progress.is_fresh(), "no contact yet");
        for kind in Kind::ALL {
            progress.advanced(kind, "1");
        }
        assert!(!progress.is_fresh() && !progress.is_counted(), "not published yet");
        progress.published(Instant::now());
        assert!(progress.is_fresh() && progress.is_counted());
        progress.limit(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(3));
        assert!(!progress.is_fresh());
    }
}
