//! What this leader expects of each object since it has last reconciled it. The driver asks once,
//! before each reconciliation, and skips those that would only repeat the last one, as
//! kube-controller-manager does with its `ControllerExpectations`. Two things are expected:
//!
//! * **Our own write is not news.** Our writes come back as watch events. The reconciliation that
//!   such an event triggers would read everything again, only to find what was just written: a third
//!   of all requests when many clients are created at once.
//! * **A publication is in flight.** A new key that status publishes waits until every validator has
//!   acknowledged it, which the change of a Lease shows. When many keys are rotated at once, reading
//!   from the API server in the meantime would slow all of them down.
//!
//! This is exact and not based on time. The version of the object must be the one that the last
//! reconciliation has left. Every event of a child (or of anything else that is watched for the
//! object) is recorded from the start of that reconciliation, and must be of the version that it has
//! written or read. So an edit by anyone else is never mistaken for our own write.
//!
//! Nothing here needs to survive a restart, and an object that is re-created inherits nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, Stream, StreamExt as _};
use kube::{Resource, ResourceExt as _};
use parking_lot::Mutex;

use super::requeue::Requeue;
use crate::crd::{CustomKind, Kind};
use crate::domain::ids::ObjectName;
use crate::names;
use crate::replicas::tracker::{Acknowledged, ReplicaTracker, Write};

/// How long the events of our own writes are expected. After that the next event is reconciled,
/// whatever it is.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a publication may be in flight before more is done than wait.
const REPORT_DELAY: Duration = Duration::from_secs(2);

/// Identifies an object by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Cow<'static, str>, ObjectName);

impl Key {
    /// The key of an object of the kind `K`.
    #[must_use]
    pub fn new<K: Resource<DynamicType = ()>>(namespace: Option<String>, name: String) -> Self {
        let namespace = namespace.unwrap_or_default();
        Self(K::kind(&()), ObjectName { namespace, name })
    }

    /// The name of the object.
    #[must_use]
    pub const fn name(&self) -> &ObjectName {
        &self.1
    }

    /// The key of the object of the kind `K` with this name.
    #[must_use]
    pub fn of_name<K: Resource<DynamicType = ()>>(name: &ObjectName) -> Self {
        Self(K::kind(&()), name.clone())
    }

    /// The key of this object.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::new::<K>(object.namespace(), object.name_any())
    }
}

/// The versions of the children of an object, by their kind.
pub type Children = BTreeMap<Cow<'static, str>, String>;

/// What is expected of each object.
#[derive(Debug, Default)]
pub struct Expectations(Mutex<HashMap<Key, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    uid: Option<String>,
    /// The version of the object that our own write has replaced.
    replaced: Option<String>,
    /// The last version of each kind that the watches have reported since the last reconciliation
    /// has started. `None` for an object without a version, which is never expected.
    seen: HashMap<Cow<'static, str>, Option<String>>,
    expected: Option<Expected>,
    publication: Option<Publication>,
}

/// The state that a reconciliation has left.
#[derive(Debug)]
struct Expected {
    version: String,
    children: Children,
    /// Whether there is nothing to do before the publication is acknowledged.
    in_flight: bool,
    requeue: Requeue,
    at: Instant,
}

/// What status publishes, by its id, and the write since which it does.
#[derive(Debug)]
struct Publication {
    id: String,
    write: Write,
    /// Since when every validator has acknowledged it, as far as this leader has seen.
    acknowledged_at: Option<Instant>,
    /// Whether [`Expectations::acknowledged`] has returned the object.
    is_reported: bool,
}

impl Publication {
    fn is_in_flight(&self, replicas: &ReplicaTracker) -> bool {
        self.write.at.elapsed() < REPORT_DELAY && !self.is_acknowledged(replicas)
    }

    fn is_acknowledged(&self, replicas: &ReplicaTracker) -> bool {
        replicas.is_applied_everywhere(&self.write)
    }
}

/// What status publishes, as far as this leader has seen it.
#[derive(Debug)]
pub struct Published {
    /// The write that published it.
    pub write: Write,
    /// How far that has propagated.
    pub acknowledged: Acknowledged,
    /// For how long this leader has known that every validator has acknowledged it; `None` if they
    /// have not.
    pub acknowledged_for: Option<Duration>,
}

/// What a reconciliation has left.
pub struct Left<'l> {
    /// The new resourceVersion of the object, if its status was written.
    pub version: Option<String>,
    /// The children as written or as read. `None` if not everything that the object depends on is
    /// observed: then no event is expected.
    pub children: Option<Children>,
    /// The id of what status publishes and every validator must acknowledge.
    pub publishes: Option<&'l str>,
    /// When to reconcile again.
    pub requeue: Requeue,
}

impl Expectations {
    /// Whether to skip the reconciliation of `object`, and when to ask again.
    ///
    /// If our own write has replaced the version in the cache, the event of that write will trigger
    /// another reconciliation; this one would only fail with a conflict.
    pub fn check<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        replicas: &ReplicaTracker,
    ) -> Option<Requeue> {
        let mut entries = self.0.lock();
        let key = Key::of(object);
        let entry = entries.get(&key).filter(|entry| entry.uid == object.uid())?;
        let version = object.resource_version();
        if version.is_some() && entry.replaced == version {
            return Some(Requeue::OnChange);
        }
        let requeue = entry.holds(version.as_ref(), replicas)?;
        if entry.is_complete() {
            entries.remove(&key);
        }
        Some(requeue)
    }

    /// A reconciliation starts: from now on, all events are recorded.
    pub fn start<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let mut entries = self.0.lock();
        let entry = entry(&mut entries, object);
        let publication = entry.publication.take();
        *entry = Entry { uid: object.uid(), publication, ..Entry::default() };
    }

    /// A reconciliation has ended. Returns when to reconcile again.
    pub fn end<K: CustomKind>(
        &self,
        object: &K,
        left: Left<'_>,
        replicas: &ReplicaTracker,
    ) -> Requeue {
        let Left { version: written, children, publishes, requeue } = left;
        let settled = written.is_some() && matches!(requeue, Requeue::OnChange | Requeue::At(_));
        let version = written.or_else(|| object.resource_version()).unwrap_or_default();
        let mut entries = self.0.lock();
        let entry = entry(&mut entries, object);
        match publishes {
            Some(id) => _ = entry.publication(object, id, version.clone()),
            None => entry.publication = None,
        }
        let in_flight = entry.publication.as_ref().is_some_and(|it| it.is_in_flight(replicas));
        let requeue = if in_flight { Requeue::Soon } else { requeue };
        // The reconciliation did not see it: what it triggers is more than the event of our own write.
        let acknowledged =
            entry.publication.as_ref().is_some_and(|it| it.is_acknowledged(replicas));
        if let Some(children) = children.filter(|_| in_flight || settled && !acknowledged) {
            let at = Instant::now();
            entry.expected = Some(Expected { version, children, in_flight, requeue, at });
        } else if entry.replaced.is_none() && entry.publication.is_none() {
            entries.remove(&Key::of(object));
        }
        requeue
    }

    /// Records that `object` as read is out of date because we have written it.
    pub fn replaced<K: Resource<DynamicType = ()>>(&self, object: &K, now: Option<&str>) {
        let read = object.resource_version();
        if read.as_deref() != now {
            entry(&mut self.0.lock(), object).replaced = read;
        }
    }

    /// The publication of `id` in status, as early as this leader has seen it; by this version of
    /// `object`, if it has not seen it before.
    pub fn publication<K: CustomKind>(
        &self,
        object: &K,
        id: &str,
        replicas: &ReplicaTracker,
    ) -> Published {
        let version = object.resource_version().unwrap_or_default();
        let mut entries = self.0.lock();
        let publication = entry(&mut entries, object).publication(object, id, version);
        let acknowledged = replicas.acknowledged(&publication.write);
        let known = publication.acknowledged_at.unwrap_or_else(Instant::now);
        publication.acknowledged_at = acknowledged.everywhere.then_some(known);
        Published {
            write: publication.write.clone(),
            acknowledged,
            acknowledged_for: publication.acknowledged_at.map(|at| at.elapsed()),
        }
    }

    /// Wraps the mapping of a watch to the owners of what it reports: records each event.
    pub fn observing<K, C, O>(
        self: &Arc<Self>,
        owners: impl Fn(C) -> O + Send + Sync + 'static,
    ) -> impl Fn(C) -> Vec<ObjectName> + Send + Sync + 'static
    where
        K: Resource<DynamicType = ()>,
        C: Resource<DynamicType = ()>,
        O: IntoIterator<Item = ObjectName>,
    {
        let expectations = Arc::clone(self);
        move |child: C| {
            // A Secret to take over is not expected, whatever has been written.
            let is_former = names::heir(&child.name_any(), child.labels()).is_some();
            let version = child.resource_version().filter(|_| !is_former);
            let owners: Vec<_> = owners(child).into_iter().collect();
            for owner in &owners {
                let key = Key::of_name::<K>(owner);
                expectations.observe(&key, C::kind(&()), version.clone());
            }
            owners
        }
    }

    fn observe(&self, object: &Key, kind: Cow<'static, str>, version: Option<String>) {
        if let Some(entry) = self.0.lock().get_mut(object) {
            let seen = entry.seen.entry(kind).or_insert_with(|| version.clone());
            // What is never expected must not be covered up by what is.
            if seen.is_some() {
                *seen = version;
            }
        }
    }

    /// The objects of a kind whose publication every validator has acknowledged, as soon as that is
    /// known, so that nobody has to ask again and again.
    pub fn acknowledged<K: CustomKind>(
        self: &Arc<Self>,
        replicas: &Arc<ReplicaTracker>,
    ) -> impl Stream<Item = ObjectName> + Send + 'static {
        let shared = (Arc::clone(self), Arc::clone(replicas));
        let batches = stream::unfold(shared, async |(expectations, replicas)| {
            loop {
                let changed = replicas.changed();
                let found = expectations.take_acknowledged(K::KIND, &replicas);
                if found.is_empty() {
                    changed.await;
                } else {
                    drop(changed);
                    return Some((found, (expectations, replicas)));
                }
            }
        });
        batches.flat_map(stream::iter)
    }

    /// The objects with a publication that has just been acknowledged, each once.
    fn take_acknowledged(&self, kind: Kind, replicas: &ReplicaTracker) -> Vec<ObjectName> {
        let mut found = Vec::new();
        for (key, entry) in self.0.lock().iter_mut() {
            if let Some(publication) = &mut entry.publication
                && publication.write.kind == kind
                && !publication.is_reported
                && publication.is_acknowledged(replicas)
            {
                publication.is_reported = true;
                found.push(key.name().clone());
            }
        }
        found
    }

    /// Drops everything about an object that was deleted.
    pub fn forget(&self, object: &Key) {
        self.0.lock().remove(object);
    }
}

impl Entry {
    /// Whether everything is as expected; if so, when to reconcile again.
    fn holds(&self, version: Option<&String>, replicas: &ReplicaTracker) -> Option<Requeue> {
        let expected = self.expected.as_ref().filter(|it| Some(&it.version) == version)?;
        for (kind, seen) in &self.seen {
            if seen.is_none() || expected.children.get(kind) != seen.as_ref() {
                return None;
            }
        }
        let waits = match &self.publication {
            Some(publication) if expected.in_flight => publication.is_in_flight(replicas),
            _ => expected.at.elapsed() < EVENT_TIMEOUT,
        };
        waits.then_some(expected.requeue)
    }

    /// Whether every expected event has come.
    fn is_complete(&self) -> bool {
        let expected = self.expected.as_ref().filter(|expected| !expected.in_flight);
        expected.is_some_and(|it| it.children.keys().all(|kind| self.seen.contains_key(kind)))
    }

    fn publication<K: CustomKind>(
        &mut self,
        object: &K,
        id: &str,
        version: String,
    ) -> &mut Publication {
        let known = self.publication.take().filter(|known| known.id == id);
        let publication = known.unwrap_or_else(|| Publication {
            id: id.to_owned(),
            write: Write {
                kind: K::KIND,
                namespace: object.namespace().unwrap_or_default(),
                resource_version: version,
                at: Instant::now(),
            },
            acknowledged_at: None,
            is_reported: false,
        });
        self.publication.insert(publication)
    }
}

/// The entry of exactly this object, by uid.
fn entry<'e, K: Resource<DynamicType = ()>>(
    entries: &'e mut HashMap<Key, Entry>,
    object: &K,
) -> &'e mut Entry {
    let (entry, uid) = (entries.entry(Key::of(object)).or_default(), object.uid());
    if entry.uid != uid {
        *entry = Entry { uid, ..Entry::default() };
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{SdkClient, SdkClientSpec};

    fn object(version: &str) -> SdkClient {
        let mut object = SdkClient::new("backend", SdkClientSpec::default());
        object.metadata.namespace = Some("acme".into());
        object.metadata.uid = Some("u".into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    /// No validator is known yet, so nothing is acknowledged.
    fn replicas() -> ReplicaTracker {
        ReplicaTracker::new(Duration::from_hours(1))
    }

    fn left(publishes: Option<&str>) -> Left<'_> {
        Left {
            version: Some("c1".into()),
            children: Some(Children::from([("Secret".into(), "s1".into())])),
            publishes,
            requeue: Requeue::OnChange,
        }
    }

    /// After a reconciliation during which `happened`.
    fn after(happened: impl FnOnce(&Expectations)) -> Expectations {
        let expectations = Expectations::default();
        expectations.start(&object("c0"));
        happened(&expectations);
        expectations.end(&object("c0"), left(None), &replicas());
        expectations
    }

    /// The version that published `id`.
    fn publication(expectations: &Expectations, object: &SdkClient, id: &str) -> String {
        expectations.publication(object, id, &replicas()).write.resource_version
    }

    fn is_skipped(expectations: &Expectations, version: &str) -> bool {
        expectations.check(&object(version), &replicas()).is_some()
    }

    fn observe(expectations: &Expectations, kind: &'static str, version: Option<&str>) {
        let key = Key::of(&object("c0"));
        expectations.observe(&key, kind.into(), version.map(str::to_owned));
    }

    #[test]
    fn an_object_is_replaced_until_the_cache_catches_up() {
        let expectations = Expectations::default();
        expectations.start(&object("1"));
        expectations.replaced(&object("1"), Some("2"));
        let left = Left { version: Some("2".into()), children: None, ..left(None) };
        expectations.end(&object("1"), left, &replicas());
        assert!(is_skipped(&expectations, "1"));
        assert!(!is_skipped(&expectations, "2"));
        expectations.start(&object("2"));
        let left =
            Left { version: None, children: None, publishes: None, requeue: Requeue::OnChange };
        expectations.end(&object("2"), left, &replicas());
        assert!(expectations.0.lock().is_empty());
    }

    #[test]
    fn a_write_that_changed_nothing_replaces_nothing() {
        let expectations = Expectations::default();
        expectations.replaced(&object("1"), Some("1"));
        assert!(!is_skipped(&expectations, "1"));
    }

    #[test]
    fn skips_the_events_of_our_own_writes_and_then_forgets_them() {
        let expectations = after(|_| {});
        assert!(is_skipped(&expectations, "c1"));
        observe(&expectations, "Secret", Some("s1"));
        assert!(is_skipped(&expectations, "c1"));
        assert!(expectations.0.lock().is_empty());
        assert!(!is_skipped(&expectations, "c1"));
    }

    #[test]
    fn never_skips_an_event_of_someone_else() {
        // A change of the object.
        assert!(!is_skipped(&after(|_| {}), "c2"));
        // Of the Secret: before the reconciliation ended, and after.
        assert!(!is_skipped(&after(|it| observe(it, "Secret", Some("s2"))), "c1"));
        let expectations = after(|it| observe(it, "Secret", Some("s1")));
        observe(&expectations, "Secret", Some("s2"));
        assert!(!is_skipped(&expectations, "c1"));
        // Of anything else that is watched.
        assert!(!is_skipped(&after(|it| observe(it, "Revocation", Some("r1"))), "c1"));
        let expectations = after(|_| {});
        observe(&expectations, "Revocation", None);
        assert!(!is_skipped(&expectations, "c1"));
        // Of a Secret to take over, even if the event of our own write comes after it.
        let expectations = after(|_| {});
        observe(&expectations, "Secret", None);
        observe(&expectations, "Secret", Some("s1"));
        assert!(!is_skipped(&expectations, "c1"));
    }

    #[test]
    fn an_event_that_does_not_come_is_not_waited_for() {
        let expectations = after(|_| {});
        let mut entries = expectations.0.lock();
        let entry = entries.get_mut(&Key::of(&object("c0"))).unwrap();
        entry.expected.as_mut().unwrap().at = Instant::now().checked_sub(EVENT_TIMEOUT).unwrap();
        drop(entries);
        assert!(!is_skipped(&expectations, "c1"));
    }

    #[test]
    fn waits_for_a_publication_unless_something_else_happens() {
        let published = || {
            let expectations = Expectations::default();
            expectations.start(&object("c0"));
            let requeue = expectations.end(&object("c0"), left(Some("k")), &replicas());
            assert_eq!(requeue, Requeue::Soon);
            expectations
        };
        let expectations = published();
        for _ in 0..3 {
            observe(&expectations, "Secret", Some("s1"));
            assert!(is_skipped(&expectations, "c1"));
        }
        assert!(!is_skipped(&expectations, "c2"));
        observe(&expectations, "Secret", Some("s2"));
        assert!(!is_skipped(&expectations, "c1"));
        // It is still the same publication.
        expectations.start(&object("c1"));
        assert_eq!(publication(&expectations, &object("c1"), "k"), "c1");
        assert_eq!(publication(&expectations, &object("c3"), "k"), "c1");
        assert_eq!(publication(&expectations, &object("c3"), "other"), "c3");
        // One that takes long is reported.
        let expectations = published();
        let mut entries = expectations.0.lock();
        let entry = entries.get_mut(&Key::of(&object("c0"))).unwrap();
        let write = &mut entry.publication.as_mut().unwrap().write;
        write.at = Instant::now().checked_sub(REPORT_DELAY).unwrap();
        drop(entries);
        assert!(!is_skipped(&expectations, "c1"));
    }

    #[test]
    fn an_acknowledgement_during_the_reconciliation_triggers_another_one() {
        let (expectations, replicas) = (Expectations::default(), replicas());
        replicas.reported("anon-validator-a", &[("SdkClient", 9)]);
        expectations.start(&object("8"));
        let left = Left { version: Some("9".into()), ..left(Some("k")) };
        expectations.end(&object("8"), left, &replicas);
        assert!(expectations.check(&object("9"), &replicas).is_none());
    }

    #[test]
    fn a_publication_is_acknowledged_from_the_last_acknowledgement_on() {
        let (expectations, replicas) = (Expectations::default(), replicas());
        let since = || expectations.publication(&object("9"), "k", &replicas).acknowledged_for;
        replicas.reported("anon-validator-a", &[("SdkClient", 8)]);
        assert_eq!(since(), None);
        replicas.reported("anon-validator-a", &[("SdkClient", 9)]);
        assert!(since().is_some());
        let pause = Duration::from_millis(5);
        std::thread::sleep(pause);
        assert!(since().unwrap() >= pause);
        replicas.reported("anon-validator-b", &[("SdkClient", 8)]);
        assert_eq!(since(), None, "another validator");
        replicas.reported("anon-validator-b", &[("SdkClient", 9)]);
        assert!(since().is_some());
        let other = expectations.publication(&object("10"), "other", &replicas);
        assert_eq!(other.acknowledged_for, None, "another key");
    }

    #[test]
    fn a_re_created_or_deleted_object_inherits_nothing() {
        let re_created = |version: &str| {
            let mut object = object(version);
            object.metadata.uid = Some("other".into());
            object
        };
        let expectations = after(|_| {});
        assert!(expectations.check(&re_created("c1"), &replicas()).is_none());
        assert_eq!(publication(&expectations, &object("c1"), "k"), "c1");
        assert_eq!(publication(&expectations, &re_created("c2"), "k"), "c2");
        expectations.forget(&Key::of(&object("c1")));
        assert!(expectations.0.lock().is_empty());
    }
    #[tokio::test(start_paused = true)]
    async fn an_acknowledged_publication_is_returned_at_once() {
        let (expectations, replicas) = (Arc::new(Expectations::default()), Arc::new(replicas()));
        replicas.reported("anon-validator-a", &[("SdkClient", 9)]);
        replicas.reported("anon-validator-b", &[("SdkClient", 8)]);
        let mut acknowledged = Box::pin(expectations.acknowledged::<SdkClient>(&replicas));
        let mut others = Box::pin(expectations.acknowledged::<crate::crd::UserPool>(&replicas));
        let mut next = async || {
            let next = acknowledged.next();
            tokio::time::timeout(Duration::from_millis(1), next).await.ok().flatten()
        };
        expectations.publication(&object("9"), "k", &replicas);
        assert_eq!(next().await, None, "one validator is missing");
        replicas.reported("anon-validator-b", &[("SdkClient", 9)]);
        assert_eq!(next().await.map(|it| it.name).as_deref(), object("9").metadata.name.as_deref());
        replicas.reported("anon-validator-b", &[("SdkClient", 10)]);
        assert_eq!(next().await, None, "once");
        assert!(tokio::time::timeout(Duration::from_millis(1), others.next()).await.is_err());
    }

    #[test]
    fn an_object_without_children_is_not_reconciled_for_our_own_write() {
        let expectations = Expectations::default();
        let childless = || Left { children: Some(Children::new()), ..left(None) };
        expectations.start(&object("c0"));
        expectations.end(&object("c0"), childless(), &replicas());
        assert!(is_skipped(&expectations, "c1"));
        assert!(expectations.0.lock().is_empty());
        // Something else has happened meanwhile.
        expectations.start(&object("c0"));
        observe(&expectations, "UserPool", Some("p1"));
        expectations.end(&object("c0"), childless(), &replicas());
        assert!(!is_skipped(&expectations, "c1"));
    }
}
