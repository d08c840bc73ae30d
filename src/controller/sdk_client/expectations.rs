//! Our own writes come back as watch events. The reconciliation that such an event triggers would
//! read the Secret again, only to find what was just written: a third of all requests when many
//! clients are created at once. It is skipped if nothing else has happened, as
//! kube-controller-manager does with its expectations.
//!
//! This is exact and not based on time: every event of the Secret is recorded from the start of the
//! reconciliation that writes it, so an edit by anyone else is never mistaken for our own write. An
//! entry lives until both of our writes have been observed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::controller::Requeue;
use crate::domain::ids::ObjectName;

/// How long the events of our own writes are expected. After that the next event is reconciled,
/// whatever it is.
const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Expected events, by client.
#[derive(Default)]
pub struct Expectations(Mutex<HashMap<ObjectName, Entry>>);

#[derive(Default)]
struct Entry {
    /// The last resourceVersion of the Secret that the watch has reported since.
    seen: Option<String>,
    /// Whether something else has happened since.
    disturbed: bool,
    expected: Option<Expected>,
}

/// What a reconciliation has written.
pub struct Expected {
    /// The resourceVersion of the client after its status was written.
    pub client: String,
    /// The resourceVersion of the Secret, as written or as read.
    pub secret: String,
    /// When to reconcile the client again.
    pub requeue: Requeue,
    /// When these were recorded.
    pub at: Instant,
}

impl Expectations {
    /// Starts recording: a reconciliation begins.
    pub fn start(&self, client: &ObjectName) {
        self.0.lock().insert(client.clone(), Entry::default());
    }

    /// Ends recording. `None`: nothing was written that would come back as an event.
    pub fn record(&self, client: &ObjectName, expected: Option<Expected>) {
        let mut entries = self.0.lock();
        match (expected, entries.get_mut(client)) {
            (Some(expected), Some(entry)) => entry.expected = Some(expected),
            _ => drop(entries.remove(client)),
        }
    }

    /// Records a version of the client's Secret that the watch reports.
    pub fn observe_secret(&self, client: &ObjectName, resource_version: Option<String>) {
        if let Some(entry) = self.0.lock().get_mut(client) {
            entry.disturbed |= resource_version.is_none();
            entry.seen = resource_version;
        }
    }

    /// Records that something else about the client has happened.
    pub fn invalidate(&self, client: &ObjectName) {
        if let Some(entry) = self.0.lock().get_mut(client) {
            entry.disturbed = true;
        }
    }

    /// Whether this version of the client is our own write and nothing else has happened; if so,
    /// when to reconcile the client again.
    pub fn satisfied_by(
        &self,
        client: &ObjectName,
        resource_version: Option<&str>,
    ) -> Option<Requeue> {
        let mut entries = self.0.lock();
        let entry = entries.get(client)?;
        let expected = entry.expected.as_ref()?;
        let seen = entry.seen.as_ref();
        let echo = !entry.disturbed
            && resource_version == Some(&expected.client)
            && seen.is_none_or(|seen| *seen == expected.secret)
            && expected.at.elapsed() < EXPECTATION_TIMEOUT;
        let requeue = expected.requeue;
        if !echo || seen.is_some() {
            entries.remove(client);
        }
        echo.then_some(requeue)
    }

    /// Drops everything about a client that was deleted.
    pub fn forget(&self, client: &ObjectName) {
        self.0.lock().remove(client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ObjectName {
        ObjectName { namespace: "acme".into(), name: "backend".into() }
    }

    fn expected() -> Expected {
        let (client, secret) = ("c1".to_owned(), "s1".to_owned());
        Expected { client, secret, requeue: Requeue::OnChange, at: Instant::now() }
    }

    /// After a reconciliation during which `happened`.
    fn after(happened: impl FnOnce(&Expectations)) -> Expectations {
        let expectations = Expectations::default();
        expectations.start(&name());
        happened(&expectations);
        expectations.record(&name(), Some(expected()));
        expectations
    }

    fn heard(expectations: &Expectations, version: &str) -> bool {
        expectations.satisfied_by(&name(), Some(version)).is_some()
    }

    #[test]
    fn both_echoes_are_left_out_and_then_all_is_forgotten() {
        let expectations = after(|_| {});
        assert!(heard(&expectations, "c1"));
        expectations.observe_secret(&name(), Some("s1".into()));
        assert!(heard(&expectations, "c1"));
        assert!(expectations.0.lock().is_empty());
        assert!(!heard(&expectations, "c1"));
    }

    #[test]
    fn what_others_do_is_no_echo() {
        // To the client.
        assert!(!heard(&after(|_| {}), "c2"));
        // To the Secret: before the reconciliation ended, and after.
        assert!(!heard(
            &after(|expectations| expectations.observe_secret(&name(), Some("s2".into()))),
            "c1"
        ));
        let expectations =
            after(|expectations| expectations.observe_secret(&name(), Some("s1".into())));
        expectations.observe_secret(&name(), Some("s2".into()));
        assert!(!heard(&expectations, "c1"));
        // Something else.
        assert!(!heard(&after(|expectations| expectations.invalidate(&name())), "c1"));
        let expectations = after(|_| {});
        expectations.invalidate(&name());
        assert!(!heard(&expectations, "c1"));
    }

    #[test]
    fn nothing_is_kept_of_what_wrote_nothing_or_is_gone() {
        let expectations = Expectations::default();
        expectations.start(&name());
        expectations.record(&name(), None);
        assert!(expectations.0.lock().is_empty());
        let expectations = after(|_| {});
        expectations.forget(&name());
        assert!(expectations.0.lock().is_empty());
    }

    #[test]
    fn an_echo_that_does_not_come_is_not_waited_for() {
        let expectations = Expectations::default();
        expectations.start(&name());
        let at = Instant::now().checked_sub(EXPECTATION_TIMEOUT).unwrap();
        expectations.record(&name(), Some(Expected { at, ..expected() }));
        assert!(!heard(&expectations, "c1"));
    }
}
