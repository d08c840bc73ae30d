//! The objects of one kind that a controller knows, and which of them are reconciled when.
//!
//! An object itself is retained only until it has been reconciled, because there may be a hundred
//! thousand, and only while few wait: the controller reads an object again when it is needed again.
//! What is retained permanently is what finds an object: its name, and what it refers to.
//!
//! Pure: the caller passes the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::ids::ObjectName;

/// The maximum number of objects that are retained until they are reconciled.
const MAX_RETAINED: usize = 4096;
/// An object that is reconciled again within this time is retained until then.
const RETAIN_FOR: Duration = Duration::from_mins(1);

/// What an object refers to in its namespace, if events about that trigger it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A Secret.
    Secret(Box<str>),
    /// A UserPool.
    UserPool(Box<str>),
}

impl Reference {
    /// A reference to the Secret of this name.
    pub fn secret(name: &str) -> Self {
        Self::Secret(name.into())
    }
}

/// What is retained of an object permanently, besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What it refers to.
    pub refers_to: Option<Reference>,
    /// Whether its condition `Ready` is True.
    pub is_ready: bool,
    /// A time that `gauges.rs` exposes.
    pub time: Option<Timestamp>,
}

/// An object to reconcile.
#[derive(Debug)]
pub struct Work<T> {
    /// Its name.
    pub name: Arc<ObjectName>,
    /// What is known of it.
    pub state: State<T>,
}

/// What is known of an object that is to be reconciled.
#[derive(Debug)]
pub enum State<T> {
    /// It was deleted, or there has never been one of this name.
    Deleted,
    /// It is no longer retained.
    Unread,
    /// The most recent version that was listed or watched.
    Read(Arc<T>),
}

/// The objects of one kind. A clone shares them.
#[derive(Debug)]
pub struct Objects<T>(Arc<Mutex<Queue<T>>>);

impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Queue::default())))
    }
}

impl<T> Objects<T> {
    /// Calls a function of the queue.
    pub fn with<R>(&self, work: impl FnOnce(&mut Queue<T>) -> R) -> R {
        work(&mut self.0.lock())
    }

    /// Whether there is an object of this name for which `has` is true.
    pub fn has(
        &self,
        name: &ObjectName,
        has: impl Fn(&ObjectName, Option<&Reference>) -> bool,
    ) -> bool {
        let queue = self.0.lock();
        let slot = queue.slots.get(name).filter(|slot| !slot.is_deleted);
        slot.is_some_and(|slot| has(name, slot.summary.refers_to.as_ref()))
    }

    /// The objects in a namespace for which `has` is true.
    pub fn within(
        &self,
        namespace: &str,
        has: impl Fn(&ObjectName, Option<&Reference>) -> bool,
    ) -> Vec<ObjectName> {
        let queue = self.0.lock();
        let first = ObjectName { namespace: namespace.to_owned(), name: String::new() };
        let bounds = (Bound::Included(&first), Bound::Unbounded);
        let later = queue.slots.range::<ObjectName, _>(bounds);
        let here = later.take_while(|(name, _)| name.namespace == namespace);
        let here = here
            .filter(|(name, slot)| !slot.is_deleted && has(name, slot.summary.refers_to.as_ref()));
        here.map(|(name, _)| ObjectName::clone(name)).collect()
    }

    /// The objects in a namespace that refer to this.
    pub fn referrers(&self, namespace: &str, to: &Reference) -> Vec<ObjectName> {
        self.within(namespace, |_, reference| reference == Some(to))
    }

    /// The number of objects that are ready, and of those that are not.
    pub fn readiness(&self) -> (usize, usize) {
        let queue = self.0.lock();
        let existing = queue.slots.values().filter(|slot| !slot.is_deleted);
        let (ready, others): (Vec<_>, Vec<_>) = existing.partition(|slot| slot.summary.is_ready);
        (ready.len(), others.len())
    }

    /// The times of the objects that have one.
    pub fn times(&self) -> Vec<Timestamp> {
        self.0.lock().slots.values().filter_map(|slot| slot.summary.time).collect()
    }

    /// Some object for whose name `has` is true.
    pub fn find(&self, has: impl Fn(&ObjectName) -> bool) -> Option<ObjectName> {
        let queue = self.0.lock();
        let found = queue.slots.iter().find(|(name, slot)| !slot.is_deleted && has(name));
        found.map(|(name, _)| ObjectName::clone(name))
    }
}

/// The objects of one kind, and their order.
#[derive(Debug)]
pub struct Queue<T> {
    slots: BTreeMap<Arc<ObjectName>, Slot<T>>,
    /// Those to reconcile now.
    ready: VecDeque<Arc<ObjectName>>,
    /// Those to reconcile later.
    due: BTreeSet<(Instant, Arc<ObjectName>)>,
    retained: usize,
    /// The number of the last list.
    list: u32,
    /// The last list of each part of the scope: of a namespace, or `` of the whole cluster.
    lists: BTreeMap<Box<str>, List>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    number: u32,
    /// Whether this or an earlier list has been completed.
    is_complete: bool,
}

#[derive(Debug)]
struct Slot<T> {
    object: Option<Arc<T>>,
    summary: Summary,
    is_deleted: bool,
    phase: Phase,
    /// The number of the last list when it was last reported.
    list: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Due(Instant),
    Ready,
    Running {
        /// Whether something has changed since it began.
        again: bool,
    },
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            retained: 0,
            list: 0,
            lists: BTreeMap::new(),
        }
    }
}

impl<T> Queue<T> {
    /// A list of all objects in a part of the scope begins.
    pub fn begin_list(&mut self, part: &str) {
        self.list = self.list.wrapping_add(1);
        let is_complete = self.lists.get(part).is_some_and(|list| list.is_complete);
        self.lists.insert(part.into(), List { number: self.list, is_complete });
    }

    /// The list is complete: objects that it did not contain were deleted.
    pub fn end_list(&mut self, part: &str) {
        let Some(list) = self.lists.get_mut(part) else { return };
        list.is_complete = true;
        let (number, last) = (list.number, self.list);
        // Lists of other parts may have begun since.
        let is_older = |slot: &Slot<T>| last.wrapping_sub(slot.list) > last.wrapping_sub(number);
        let is_in = |name: &ObjectName| part.is_empty() || *name.namespace == *part;
        let missing = self.slots.iter().filter(|(name, slot)| is_in(name) && is_older(slot));
        let missing: Vec<_> = missing.map(|(name, _)| Arc::clone(name)).collect();
        for name in missing {
            self.delete(&name);
        }
    }

    /// Whether the objects of this namespace have been listed. It stays false for a namespace that is
    /// not watched.
    fn is_listed(&self, namespace: &str) -> bool {
        let list = self.lists.get("").or_else(|| self.lists.get(namespace));
        list.is_some_and(|list| list.is_complete)
    }

    /// An object was listed, created or modified.
    pub fn apply(&mut self, name: ObjectName, object: T, summary: Summary) {
        let (name, list) = (Arc::new(name), self.list);
        let slot = self.slots.entry(Arc::clone(&name)).or_insert_with(|| Slot::new(list));
        (slot.summary, slot.is_deleted, slot.list) = (summary, false, list);
        self.retain(&name, Some(object));
        self.enqueue(&name);
    }

    /// An object was deleted.
    pub fn delete(&mut self, name: &ObjectName) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        (slot.summary, slot.is_deleted) = (Summary::default(), true);
        self.retain(name, None);
        self.enqueue(name);
    }

    /// Something has happened that concerns an object. Before the first list is complete, that is
    /// ignored for objects that it has not contained yet, because they will be reconciled anyway.
    pub fn trigger(&mut self, name: &ObjectName) {
        if !self.slots.contains_key(name) {
            if !self.is_listed(&name.namespace) {
                return;
            }
            let slot = Slot { is_deleted: true, ..Slot::new(self.list) };
            self.slots.insert(Arc::new(name.clone()), slot);
        }
        self.enqueue(name);
    }

    fn enqueue(&mut self, name: &ObjectName) {
        let Some((name, _)) = self.slots.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let Some(slot) = self.slots.get_mut(&*name) else { return };
        match slot.phase {
            Phase::Ready => {}
            Phase::Running { .. } => slot.phase = Phase::Running { again: true },
            Phase::Idle | Phase::Due(_) => {
                if let Phase::Due(at) = slot.phase {
                    self.due.remove(&(at, Arc::clone(&name)));
                }
                slot.phase = Phase::Ready;
                self.ready.push_back(name);
            }
        }
    }

    fn retain(&mut self, name: &ObjectName, object: Option<T>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.object.take().is_some() {
            self.retained -= 1;
        }
        slot.object = object.filter(|_| self.retained < MAX_RETAINED).map(Arc::new);
        if slot.object.is_some() {
            self.retained += 1;
        }
    }

    /// The next object to reconcile at `now`. It is not returned again before [`Self::done`].
    pub fn next(&mut self, now: Instant) -> Option<Work<T>> {
        while let Some((at, name)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, name));
                break;
            }
            if let Some(slot) = self.slots.get_mut(&*name) {
                slot.phase = Phase::Ready;
                self.ready.push_back(name);
            }
        }
        let name = self.ready.pop_front()?;
        let slot = self.slots.get_mut(&*name)?;
        slot.phase = Phase::Running { again: false };
        let state = match &slot.object {
            _ if slot.is_deleted => State::Deleted,
            Some(object) => State::Read(Arc::clone(object)),
            None => State::Unread,
        };
        Some(Work { name, state })
    }

    /// When the next object is due, if none is ready now.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An object has been reconciled, and is to be reconciled again after `pause`, if nothing
    /// happens before; `None` if only then.
    pub fn done(&mut self, name: &ObjectName, now: Instant, pause: Option<Duration>) {
        let Some((name, _)) = self.slots.get_key_value(name) else { return };
        let name = Arc::clone(name);
        let Some(slot) = self.slots.get_mut(&*name) else { return };
        if slot.phase == (Phase::Running { again: true }) {
            slot.phase = Phase::Ready;
            self.ready.push_back(name);
            return;
        }
        if slot.is_deleted {
            self.slots.remove(&*name);
            return;
        }
        match pause.and_then(|pause| now.checked_add(pause)) {
            Some(at) => {
                slot.phase = Phase::Due(at);
                self.due.insert((at, Arc::clone(&name)));
            }
            None => slot.phase = Phase::Idle,
        }
        if pause.is_none_or(|pause| pause > RETAIN_FOR) {
            self.retain(&name, None);
        }
    }
}

impl<T> Slot<T> {
    const fn new(list: u32) -> Self {
        Self {
            object: None,
            summary: Summary { refers_to: None, is_ready: false, time: None },
            is_deleted: false,
            phase: Phase::Idle,
            list,
        }
    }
}

#[cfg(test)]
mod tests;
