//! Warning Events about objects that wait for something that does not come: a pool that does not
//! exist, a quota that is exhausted, a Secret that is unusable.
//!
//! Most objects wait for a moment after their creation, so the first Event comes after a minute, and
//! another one every hour while the object waits. A new leader does not know of earlier Events, and
//! reports such an object once more.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt as _};
use parking_lot::Mutex;

use super::expectations::Key;
use crate::crd::condition;
use crate::crd::reasons::ConditionType;
use crate::domain::duration::later;

/// How long an object waits before the first Event.
const DELAY: SignedDuration = SignedDuration::from_secs(60);
/// The time between two Events about an object.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);

/// When the next Event about each waiting object is due, with the uid of the object.
#[derive(Debug, Default)]
pub struct Reminders(Mutex<HashMap<Key, (Option<String>, Timestamp)>>);

impl Reminders {
    /// Whether an Event about the object is due, which has these conditions now.
    pub fn is_due<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        conditions: &[Condition],
        now: Timestamp,
    ) -> bool {
        let (key, uid) = (Key::of(object), object.uid());
        let mut entries = self.0.lock();
        let Some(waits) = condition::find(conditions, ConditionType::Reconciling.as_str()) else {
            entries.remove(&key);
            return false;
        };
        let first = later(waits.last_transition_time.0, DELAY);
        let (known, next) = entries.entry(key).or_insert_with(|| (uid.clone(), first));
        if *known != uid {
            (*known, *next) = (uid, first);
        }
        let due = *next <= now;
        if due {
            *next = later(now, INTERVAL);
        }
        due
    }

    /// When the next Event about the object is due, if the object waits.
    pub fn next<K: Resource<DynamicType = ()>>(&self, object: &K) -> Option<Timestamp> {
        self.0.lock().get(&Key::of(object)).map(|(_, next)| *next)
    }

    /// Drops what is known about an object that was deleted.
    pub fn forget(&self, object: &Key) {
        self.0.lock().remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::condition::Readiness;
    use crate::crd::reasons::ReadyReason;
    use crate::crd::{SdkClient, SdkClientSpec};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn reminds_after_a_minute_and_then_every_hour() {
        let reminders = Reminders::default();
        let mut client = SdkClient::new("web", SdkClientSpec::default());
        let waiting = Readiness::new(ReadyReason::UserPoolNotFound, "waits");
        let waiting = waiting.conditions(&[], Some(1), at(0));
        let mut due = Vec::new();
        for second in (0..3 * 3600).step_by(10) {
            if reminders.is_due(&client, &waiting, at(second)) {
                due.push(second);
            }
        }
        assert_eq!(due, [60, 3660, 7260]);
        assert_eq!(reminders.next(&client), Some(at(10860)));

        // Another object of the same name, which has just begun to wait.
        client.metadata.uid = Some("re-created".into());
        let later = Readiness::new(ReadyReason::UserPoolNotFound, "waits");
        let later = later.conditions(&[], Some(1), at(10_800));
        assert!(!reminders.is_due(&client, &later, at(10_850)));
        assert!(reminders.is_due(&client, &later, at(10_860)));

        // It no longer waits.
        let ready =
            Readiness::new(ReadyReason::Accepted, "").conditions(&later, Some(1), at(10_900));
        assert!(!reminders.is_due(&client, &ready, at(20_000)));
        assert_eq!(reminders.next(&client), None);
    }
}
