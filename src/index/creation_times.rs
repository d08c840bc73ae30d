//! When the pools, clients and members of each namespace were created. So whether any is older than
//! its namespace is known without looking at each: see [`super::terminating`].

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::domain::ids::ObjectName;

/// The number of objects per creation time in each namespace; `None` is an unknown time, and first.
#[derive(Debug, Default)]
pub struct CreationTimes(HashMap<String, BTreeMap<Option<Timestamp>, usize>>);

impl CreationTimes {
    /// Adds an object.
    pub fn add(&mut self, name: &ObjectName, created_at: Option<Timestamp>) {
        if !self.0.contains_key(&name.namespace) {
            self.0.insert(name.namespace.clone(), BTreeMap::new());
        }
        if let Some(times) = self.0.get_mut(&name.namespace) {
            *times.entry(created_at).or_default() += 1;
        }
    }

    /// Removes an object that was added with this creation time.
    pub fn remove(&mut self, name: &ObjectName, created_at: Option<Timestamp>) {
        let Some(times) = self.0.get_mut(&name.namespace) else { return };
        if let Some(count) = times.get_mut(&created_at) {
            *count -= 1;
            if *count == 0 {
                times.remove(&created_at);
            }
        }
        if times.is_empty() {
            self.0.remove(&name.namespace);
        }
    }

    /// Whether the namespace has an object that was created before `limit`, or at an unknown time;
    /// any object, without `limit`.
    pub fn has_older(&self, namespace: &str, limit: Option<Timestamp>) -> bool {
        let oldest = self.0.get(namespace).and_then(|times| times.keys().next());
        oldest.is_some_and(|oldest| limit.is_none_or(|limit| oldest.is_none_or(|it| it < limit)))
    }

    /// Whether there is no object.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    #[test]
    fn oldest_object_of_the_namespace_counts() {
        let object = ObjectName { namespace: "acme".into(), name: "a".into() };
        let mut times = CreationTimes::default();
        assert!(!times.has_older("acme", None), "there is none");
        for created_at in [at(5), at(5), at(7)] {
            times.add(&object, created_at);
        }
        assert!(times.has_older("acme", None) && !times.has_older("globex", None));
        assert!(times.has_older("acme", at(6)) && !times.has_older("acme", at(5)));
        times.remove(&object, at(5));
        assert!(times.has_older("acme", at(6)), "the other one of that second");
        times.remove(&object, at(5));
        assert!(!times.has_older("acme", at(7)) && times.has_older("acme", at(8)));
        times.add(&object, None);
        assert!(times.has_older("acme", at(0)), "it may be older");
        times.remove(&object, None);
        times.remove(&object, at(7));
        assert!(times.is_empty());
    }
}
