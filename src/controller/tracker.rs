//! What a leader tracks about each object between reconciliations. Nothing here needs to survive a
//! restart.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::{Resource, ResourceExt as _};
use parking_lot::Mutex;

use crate::crd::CustomKind;
use crate::replicas::tracker::Write;

/// The pause after the first failure; it doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause between attempts.
const MAX_BACKOFF: Duration = Duration::from_mins(2);

/// Kind, namespace and name.
type Key = (String, String, String);

/// Tracked state of every object.
#[derive(Debug, Default)]
pub struct ObjectTracker(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The uid of the object: one that is re-created under the same name inherits nothing.
    uid: Option<String>,
    /// The resourceVersion that our own write has replaced.
    superseded: Option<String>,
    /// Consecutive failures.
    failures: u32,
    /// When something that takes time was first seen.
    first_seen: Option<Instant>,
    /// A key that status publishes, by its id, and the write at which it was first seen there.
    published: Option<(String, Write)>,
}

impl ObjectTracker {
    /// Records that `object` as read is out of date because we have written it.
    pub fn superseded<K: Resource<DynamicType = ()>>(&self, object: &K, now: Option<&str>) {
        let read = object.resource_version();
        if read.as_deref() != now {
            entry(&mut self.0.lock(), object).superseded = read;
        }
    }

    /// Whether our own write has replaced the version in the cache. The event of that write will
    /// trigger another reconciliation, so this one would only repeat the last and fail with a
    /// conflict.
    pub fn is_superseded<K: Resource<DynamicType = ()>>(&self, object: &K) -> bool {
        let read = object.resource_version();
        let memory = self.0.lock();
        let entry = memory.get(&key(object));
        read.is_some() && entry.is_some_and(|entry| entry.superseded == read)
    }

    /// When this was first called for the object, which is now if it never was.
    pub fn first_seen<K: Resource<DynamicType = ()>>(&self, object: &K, now: Instant) -> Instant {
        *entry(&mut self.0.lock(), object).first_seen.get_or_insert(now)
    }

    /// Resets [`Self::first_seen`].
    pub fn clear_first_seen<K: Resource<DynamicType = ()>>(&self, object: &K) {
        if let Some(entry) = self.0.lock().get_mut(&key(object)) {
            entry.first_seen = None;
        }
    }

    /// The status write that published a key, as early as this leader has seen it; now, if it has
    /// not seen it before.
    pub fn published<K: CustomKind>(&self, object: &K, key: &str) -> Write {
        let mut memory = self.0.lock();
        let published = &mut entry(&mut memory, object).published;
        let known = published.as_ref().filter(|(id, _)| id == key).map(|(_, write)| write.clone());
        let now = || Write {
            kind: K::KIND,
            resource_version: object.resource_version().unwrap_or_default(),
            at: Instant::now(),
        };
        let write = known.unwrap_or_else(now);
        *published = Some((key.to_owned(), write.clone()));
        write
    }

    /// The same, if it was recorded before.
    pub fn publication<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        key: &str,
    ) -> Option<Write> {
        let memory = self.0.lock();
        let entry = memory.get(&self::key(object)).filter(|it| it.uid == object.uid())?;
        let (id, write) = entry.published.as_ref()?;
        (id == key).then(|| write.clone())
    }

    /// Records a failure and returns the pause before the next attempt: doubling, and spread by up
    /// to a half so that objects that failed together do not retry together.
    pub fn failed<K: Resource<DynamicType = ()>>(&self, object: &K) -> Duration {
        let mut memory = self.0.lock();
        let entry = entry(&mut memory, object);
        let factor = 2_u32.saturating_pow(entry.failures.min(16));
        entry.failures = entry.failures.saturating_add(1);
        let pause = MIN_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF);
        pause + pause * spread(object) / (2 * SPREAD)
    }

    /// Records a success.
    pub fn succeeded<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let mut memory = self.0.lock();
        let key = key(object);
        if let Some(entry) = memory.get_mut(&key) {
            entry.failures = 0;
            let current =
                entry.superseded.is_none() || entry.superseded != object.resource_version();
            if current && entry.first_seen.is_none() && entry.published.is_none() {
                memory.remove(&key);
            }
        }
    }

    /// Drops everything about an object that was deleted.
    pub fn forget(&self, kind: &str, namespace: &str, name: &str) {
        self.0.lock().remove(&(kind.to_owned(), namespace.to_owned(), name.to_owned()));
    }
}

/// Upper bound, exclusive, of [`spread`].
pub const SPREAD: u32 = 128;

/// A number derived from the object's uid, to spread work of many similar objects over time.
pub fn spread<K: Resource>(object: &K) -> u32 {
    object.uid().map_or(0, |uid| crc32fast::hash(uid.as_bytes()) % SPREAD)
}

/// The entry of exactly this object, by uid.
fn entry<'m, K: Resource<DynamicType = ()>>(
    memory: &'m mut HashMap<Key, Entry>,
    object: &K,
) -> &'m mut Entry {
    let (entry, uid) = (memory.entry(key(object)).or_default(), object.uid());
    if entry.uid != uid {
        *entry = Entry { uid, ..Entry::default() };
    }
    entry
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> Key {
    (K::kind(&()).into_owned(), object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Organization, OrganizationSpec};

    fn object(version: &str) -> Organization {
        let mut object = Organization::new("default", OrganizationSpec::default());
        object.metadata.namespace = Some("acme".into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    #[test]
    fn an_object_is_superseded_until_the_cache_catches_up() {
        let memory = ObjectTracker::default();
        memory.superseded(&object("1"), Some("2"));
        memory.succeeded(&object("1"));
        assert!(memory.is_superseded(&object("1")));
        assert!(!memory.is_superseded(&object("2")));
        memory.succeeded(&object("2"));
        assert!(memory.0.lock().is_empty());
    }

    #[test]
    fn a_write_that_changed_nothing_supersedes_nothing() {
        let memory = ObjectTracker::default();
        memory.superseded(&object("1"), Some("1"));
        assert!(!memory.is_superseded(&object("1")));
    }

    #[test]
    fn an_object_that_is_made_again_inherits_nothing() {
        let memory = ObjectTracker::default();
        let mut object = object("1");
        object.metadata.uid = Some("a".into());
        let long_ago = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
        memory.first_seen(&object, long_ago);
        assert_eq!(memory.first_seen(&object, Instant::now()), long_ago);
        object.metadata.uid = Some("b".into());
        assert_ne!(memory.first_seen(&object, Instant::now()), long_ago);
        // And what it took its time for is forgotten in the end.
        memory.clear_first_seen(&object);
        memory.succeeded(&object);
        assert!(memory.0.lock().is_empty());
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let memory = ObjectTracker::default();
        let first = memory.failed(&object("1"));
        let second = memory.failed(&object("1"));
        assert!(second > first);
        let last = (0..100).map(|_| memory.failed(&object("1"))).last().unwrap();
        assert!(last <= MAX_BACKOFF * 3 / 2);
        memory.succeeded(&object("1"));
        assert_eq!(memory.failed(&object("1")), first);
    }
}
