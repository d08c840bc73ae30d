//! The versions that this replica has applied: for each watch the resourceVersion up to which its
//! index contains every change, and when the API server was last heard from.
//!
//! ResourceVersions of one resource can be compared since Kubernetes 1.35 (KEP-5504); they are
//! decimal numbers. If one is not, the version of that watch is unknown, and nothing is reported
//! about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::watches::{Watches, name};
use crate::crd::Kind;
use crate::domain::scope::Scope;

/// Applied versions by watch; 0 if unknown.
type Versions = Vec<u64>;

/// What this replica has applied, and how recent that is.
#[derive(Debug)]
pub struct AppliedVersions {
    watches: Watches,
    versions: watch::Sender<Versions>,
    /// Notified when someone waits for the report of these versions.
    awaited: Notify,
    /// When each watch was last heard of, in milliseconds since `start`; 0 for never.
    heard: Vec<AtomicU64>,
    /// When this replica last reported its versions, in milliseconds since `start`; 0 for never.
    reported: AtomicU64,
    start: Instant,
    max_staleness: Option<Duration>,
}

impl AppliedVersions {
    /// Nothing is applied yet. The versions become stale `max_staleness` after the last contact
    /// with the API server; `None` is for a replica that has no Lease and so reports nothing.
    #[must_use]
    pub fn new(scope: Scope, max_staleness: Option<Duration>) -> Self {
        let watches = Watches::new(scope);
        let heard: Vec<_> = watches.all().map(|_| AtomicU64::new(0)).collect();
        Self {
            versions: watch::Sender::new(vec![0; heard.len()]),
            watches,
            awaited: Notify::new(),
            heard,
            reported: AtomicU64::new(0),
            start: Instant::now(),
            max_staleness,
        }
    }

    /// Records that every change of a kind in a part of the scope up to this resourceVersion has been
    /// applied.
    pub fn advanced(&self, kind: Kind, part: Option<&str>, resource_version: &str) {
        let Some(slot) = self.watches.position(kind, part) else { return };
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

    /// The versions applied so far, by the name of the watch, without the unknown ones.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, u64> {
        let versions = self.versions.borrow();
        let known = self.watches.all().zip(versions.iter()).filter(|(_, version)| **version > 0);
        known.map(|((kind, part), version)| (name(kind, part), *version)).collect()
    }

    /// The version that is applied of a kind in a namespace, if it is known.
    #[must_use]
    pub fn version(&self, kind: Kind, namespace: &str) -> Option<u64> {
        let slot = self.watches.position(kind, self.scope().part_of(namespace))?;
        self.versions.borrow().get(slot).copied().filter(|version| *version > 0)
    }

    /// The version up to which a kind is applied in all namespaces, if it is known.
    #[must_use]
    pub fn version_everywhere(&self, kind: Kind) -> Option<u64> {
        let versions = self.versions.borrow();
        let all = self.watches.all().zip(versions.iter()).filter(|((of, _), _)| *of == kind);
        all.map(|(_, version)| *version).min().filter(|version| *version > 0)
    }

    /// What the watches cover.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        self.watches.scope()
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

    /// Whether the replica has reported its versions, and has heard of every watch, within the
    /// maximum staleness.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Some(max) = self.max_staleness else { return true };
        // One look at the clock: every request asks.
        let now = self.now();
        is_within(max, &self.reported, now) && self.heard_within_at(max, now)
    }

    /// Whether every watch was heard of within this time. The API server sends bookmarks about every
    /// minute.
    #[must_use]
    pub fn heard_within(&self, limit: Duration) -> bool {
        self.heard_within_at(limit, self.now())
    }

    fn heard_within_at(&self, limit: Duration, now: u64) -> bool {
        self.heard.iter().all(|time| is_within(limit, time, now))
    }

    /// How long nothing was heard of each kind: of the watch that has been silent for longest.
    /// Without the kinds that have a watch of which nothing was ever heard.
    #[must_use]
    pub fn silences(&self) -> Vec<(Kind, Duration)> {
        let now = self.now();
        let mut silences = Vec::new();
        for kind in Kind::ALL {
            let heard = self.watches.all().zip(&self.heard).filter(|((of, _), _)| *of == kind);
            let oldest = heard.map(|(_, time)| time.load(Ordering::Relaxed)).min().unwrap_or(0);
            if oldest > 0 {
                silences.push((kind, Duration::from_millis(now.saturating_sub(oldest))));
            }
        }
        silences
    }

    /// Milliseconds since the start of the process.
    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn is_within(limit: Duration, time: &AtomicU64, now: u64) -> bool {
    let time = time.load(Ordering::Relaxed);
    time > 0 && now.saturating_sub(time) <= millis(limit)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_once_they_are_numbers() {
        let applied = AppliedVersions::new(Scope::CLUSTER, None);
        assert!(applied.versions().is_empty());
        applied.advanced(Kind::SdkClient, None, "17");
        applied.advanced(Kind::UserPool, None, "opaque");
        assert_eq!(applied.versions(), BTreeMap::from([("SdkClient".to_owned(), 17)]));
    }

    /// A bookmark in one namespace tells nothing about another.
    #[test]
    fn each_watched_namespace_has_its_own_version() {
        let applied = AppliedVersions::new(Scope::new(vec!["a".into(), "b".into()]), None);
        applied.advanced(Kind::SdkClient, Some("a"), "17");
        assert_eq!(applied.version(Kind::SdkClient, "a"), Some(17));
        assert_eq!(applied.version(Kind::SdkClient, "b"), None);
        assert_eq!(applied.version_everywhere(Kind::SdkClient), None);
        applied.advanced(Kind::SdkClient, Some("b"), "9");
        assert_eq!(applied.version_everywhere(Kind::SdkClient), Some(9));
        let reported = [("SdkClient/a".to_owned(), 17), ("SdkClient/b".to_owned(), 9)];
        assert_eq!(applied.versions(), BTreeMap::from(reported));
        assert_eq!(applied.version(Kind::SdkClient, "unwatched"), None);
    }

    #[test]
    fn an_index_that_was_not_heard_of_is_stale() {
        assert!(AppliedVersions::new(Scope::CLUSTER, None).is_fresh(), "staleness is not limited");
        let applied = AppliedVersions::new(Scope::CLUSTER, Some(Duration::from_mins(1)));
        assert!(!applied.is_fresh(), "no contact yet");
        for kind in Kind::ALL {
            applied.advanced(kind, None, "1");
        }
        assert!(!applied.is_fresh() && !applied.is_reported(), "not reported yet");
        applied.reported(Instant::now());
        assert!(applied.is_fresh() && applied.is_reported());
        let applied = AppliedVersions { max_staleness: Some(Duration::ZERO), ..applied };
        std::thread::sleep(Duration::from_millis(3));
        assert!(!applied.is_fresh());
    }

    #[test]
    fn the_silence_of_a_kind_is_that_of_its_quietest_watch() {
        let applied = AppliedVersions::new(Scope::new(vec!["a".into(), "b".into()]), None);
        applied.advanced(Kind::SdkClient, Some("a"), "17");
        assert_eq!(applied.silences(), [], "nothing was heard of the other namespace");
        std::thread::sleep(Duration::from_millis(5));
        applied.advanced(Kind::SdkClient, Some("b"), "17");
        let silences = applied.silences();
        assert!(matches!(silences[..], [(Kind::SdkClient, silence)] if silence.as_millis() >= 3));
        applied.advanced(Kind::SdkClient, Some("a"), "17");
        assert!(applied.silences()[0].1 < silences[0].1 + Duration::from_secs(1));
    }

    #[test]
    fn an_index_that_is_reported_but_was_not_heard_of_is_stale() {
        let applied = AppliedVersions::new(Scope::CLUSTER, Some(Duration::MAX));
        applied.reported(Instant::now());
        assert!(!applied.is_fresh());
        let (last, others) = Kind::ALL.split_last().unwrap();
        for kind in others {
            applied.advanced(*kind, None, "1");
        }
        assert!(!applied.is_fresh(), "one kind is missing");
        applied.advanced(*last, None, "1");
        assert!(applied.is_fresh());
    }
}
