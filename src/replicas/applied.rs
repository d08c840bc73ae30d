//! The versions that this replica has applied: for each kind the resourceVersion up to which its
//! index contains every change, and when the API server was last heard from.
//!
//! ResourceVersions of one resource can be compared since Kubernetes 1.35 (KEP-5504); they are
//! decimal numbers. If one is not, the version of that kind is unknown, and nothing is reported
//! about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::crd::Kind;

/// Applied versions by kind; 0 if unknown.
type Versions = [u64; Kind::ALL.len()];

/// What this replica has applied, and how recent that is.
#[derive(Debug)]
pub struct AppliedVersions {
    versions: watch::Sender<Versions>,
    /// Notified when someone waits for the report of these versions.
    awaited: Notify,
    /// When each kind was last heard of, in milliseconds since `start`; 0 for never.
    heard: [AtomicU64; Kind::ALL.len()],
    /// When this replica last reported its versions, in milliseconds since `start`; 0 for never.
    reported: AtomicU64,
    start: Instant,
    max_staleness: Option<Duration>,
}

impl AppliedVersions {
    /// Nothing is applied yet. The versions become stale `max_staleness` after the last contact
    /// with the API server; `None` is for a replica that has no Lease and so reports nothing.
    #[must_use]
    pub fn new(max_staleness: Option<Duration>) -> Self {
        Self {
            versions: watch::Sender::new([0; Kind::ALL.len()]),
            awaited: Notify::new(),
            heard: Default::default(),
            reported: AtomicU64::new(0),
            start: Instant::now(),
            max_staleness,
        }
    }

    /// Records that every change of a kind up to this resourceVersion has been applied.
    pub fn advanced(&self, kind: Kind, resource_version: &str) {
        let slot = Kind::ALL.into_iter().position(|other| other == kind);
        let Some(slot) = slot else { return };
        if let Some(heard) = self.heard.get(slot) {
            heard.store(millis(self.start.elapsed()).max(1), Ordering::Relaxed);
        }
        let version = resource_version.parse().unwrap_or(0);
        self.versions.send_if_modified(|versions| {
            let applied = versions.get_mut(slot);
            applied.is_some_and(|applied| std::mem::replace(applied, version) != version)
        });
    }

    /// Requests a report without delay, because someone waits for it.
    pub fn report_at_once(&self) {
        self.awaited.notify_one();
    }

    /// Waits until a report is requested without delay.
    pub async fn awaited(&self) {
        self.awaited.notified().await;
    }

    /// Records that the replica has reported its versions, by a request sent at `sent`.
    pub fn reported(&self, sent: Instant) {
        let at = millis(sent.saturating_duration_since(self.start));
        self.reported.fetch_max(at.max(1), Ordering::Relaxed);
    }

    /// The versions applied so far, by kind, without the unknown ones.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<&'static str, u64> {
        let versions = *self.versions.borrow();
        let known = Kind::ALL.into_iter().zip(versions).filter(|(_, version)| *version > 0);
        known.map(|(kind, version)| (kind.as_str(), version)).collect()
    }

    /// Subscribes to the versions.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    /// Whether the leader can know of this replica, and so waits for its acknowledgements.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.max_staleness.is_none() || self.reported.load(Ordering::Relaxed) > 0
    }

    /// Whether the replica has reported its versions, and has heard of every kind, within the
    /// maximum staleness.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Some(max) = self.max_staleness else { return true };
        let now = millis(self.start.elapsed());
        let recent = |time: &AtomicU64| {
            let time = time.load(Ordering::Relaxed);
            time > 0 && now.saturating_sub(time) <= millis(max)
        };
        recent(&self.reported) && self.heard.iter().all(recent)
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
        let applied = AppliedVersions::new(None);
        assert!(applied.versions().is_empty());
        applied.advanced(Kind::SdkClient, "17");
        applied.advanced(Kind::UserPool, "opaque");
        assert_eq!(applied.versions(), BTreeMap::from([("SdkClient", 17)]));
    }

    #[test]
    fn an_index_that_was_not_heard_of_is_stale() {
        assert!(AppliedVersions::new(None).is_fresh(), "staleness is not limited");
        let applied = AppliedVersions::new(Some(Duration::from_mins(1)));
        assert!(!applied.is_fresh(), "no contact yet");
        for kind in Kind::ALL {
            applied.advanced(kind, "1");
        }
        assert!(!applied.is_fresh() && !applied.is_reported(), "not reported yet");
        applied.reported(Instant::now());
        assert!(applied.is_fresh() && applied.is_reported());
        let applied = AppliedVersions { max_staleness: Some(Duration::ZERO), ..applied };
        std::thread::sleep(Duration::from_millis(3));
        assert!(!applied.is_fresh());
    }

    #[test]
    fn an_index_that_is_reported_but_was_not_heard_of_is_stale() {
        let applied = AppliedVersions::new(Some(Duration::MAX));
        applied.reported(Instant::now());
        assert!(!applied.is_fresh());
        let (last, others) = Kind::ALL.split_last().unwrap();
        for kind in others {
            applied.advanced(*kind, "1");
        }
        assert!(!applied.is_fresh(), "one kind is missing");
        applied.advanced(*last, "1");
        assert!(applied.is_fresh());
    }
}
