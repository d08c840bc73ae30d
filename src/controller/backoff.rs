//! The pause before a failed reconciliation is retried.

use std::collections::HashMap;
use std::time::Duration;

use kube::{Resource, ResourceExt as _};
use parking_lot::Mutex;

use super::expectations::Key;
use super::requeue::{SPREAD, spread};

/// The pause after the first failure; it doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause between attempts.
const MAX_BACKOFF: Duration = Duration::from_mins(2);

/// The consecutive failures of each object, with its uid: one that is re-created under the same
/// name inherits none.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<Key, (Option<String>, u32)>>);

impl Backoff {
    /// Records a failure and returns the pause before the next attempt: doubling, and spread by up
    /// to a half so that objects that failed together do not retry together.
    pub fn failed<K: Resource<DynamicType = ()>>(&self, object: &K) -> Duration {
        let mut entries = self.0.lock();
        let (uid, failures) = entries.entry(Key::of(object)).or_default();
        if *uid != object.uid() {
            (*uid, *failures) = (object.uid(), 0);
        }
        let factor = 2_u32.saturating_pow(*failures);
        *failures = failures.saturating_add(1);
        let pause = MIN_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF);
        pause + pause * spread(object) / (2 * SPREAD)
    }

    /// Drops the failures of an object that was reconciled or deleted.
    pub fn reset(&self, object: &Key) {
        self.0.lock().remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Organization, OrganizationSpec};

    #[test]
    fn pauses_grow_and_are_bounded() {
        let backoff = Backoff::default();
        let mut object = Organization::new("default", OrganizationSpec::default());
        let first = backoff.failed(&object);
        let second = backoff.failed(&object);
        assert!(second > first);
        let last = (0..100).map(|_| backoff.failed(&object)).last().unwrap();
        assert!(last <= MAX_BACKOFF * 3 / 2);
        backoff.reset(&Key::of(&object));
        assert_eq!(backoff.failed(&object), first);
        assert_eq!(backoff.failed(&object), second);
        object.metadata.uid = Some("re-created".into());
        assert!(backoff.failed(&object) < second);
    }
}
