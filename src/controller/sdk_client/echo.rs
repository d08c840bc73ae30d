//! Our own writes come back as events of the watches. The reconciliation that they bring would
//! read the Secret once more, only to find what was written a moment ago: a third of all requests
//! where many clients are created at once. It is left out, provided that nothing else has happened.
//!
//! Exact, not by time: what the watch of Secrets brings is noted from the begin of the
//! reconciliation that writes, so an edit by somebody else is never taken for an echo. An entry
//! lives only until both echoes have come.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::controller::Look;
use crate::domain::ids::ObjectName;

/// How long an echo is waited for. After that the next event is looked into, whatever it is.
const LIMIT: Duration = Duration::from_secs(10);

/// What is expected to come back, by client.
#[derive(Default)]
pub struct Echoes(Mutex<HashMap<ObjectName, Entry>>);

#[derive(Default)]
struct Entry {
    /// The last resourceVersion of the Secret that the watch brought meanwhile.
    seen: Option<String>,
    /// Something happened meanwhile that is not an echo.
    disturbed: bool,
    expected: Option<Expected>,
}

/// What a reconciliation has left behind.
pub struct Expected {
    /// The resourceVersion of the client once its status was written.
    pub client: String,
    /// The resourceVersion of the Secret, as written or as read.
    pub secret: String,
    /// When to look at the client again.
    pub look: Look,
    /// When that was.
    pub at: Instant,
}

impl Echoes {
    /// A reconciliation begins: from now on what happens is noted.
    pub fn begin(&self, client: &ObjectName) {
        self.0.lock().insert(client.clone(), Entry::default());
    }

    /// It has ended; `None`: nothing was written that would come back.
    pub fn end(&self, client: &ObjectName, expected: Option<Expected>) {
        let mut entries = self.0.lock();
        match (expected, entries.get_mut(client)) {
            (Some(expected), Some(entry)) => entry.expected = Some(expected),
            _ => drop(entries.remove(client)),
        }
    }

    /// The watch brought this version of the client's Secret.
    pub fn secret(&self, client: &ObjectName, resource_version: Option<String>) {
        if let Some(entry) = self.0.lock().get_mut(client) {
            entry.disturbed |= resource_version.is_none();
            entry.seen = resource_version;
        }
    }

    /// Something else about the client happened.
    pub fn disturb(&self, client: &ObjectName) {
        if let Some(entry) = self.0.lock().get_mut(client) {
            entry.disturbed = true;
        }
    }

    /// Whether this version of the client is an echo and nothing else has happened; when to look
    /// at the client then.
    pub fn heard(&self, client: &ObjectName, resource_version: Option<&str>) -> Option<Look> {
        let mut entries = self.0.lock();
        let entry = entries.get(client)?;
        let expected = entry.expected.as_ref()?;
        let seen = entry.seen.as_ref();
        let echo = !entry.disturbed
            && resource_version == Some(&expected.client)
            && seen.is_none_or(|seen| *seen == expected.secret)
            && expected.at.elapsed() < LIMIT;
        let look = expected.look;
        if !echo || seen.is_some() {
            entries.remove(client);
        }
        echo.then_some(look)
    }

    /// Forgets a client that is gone.
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
        Expected { client, secret, look: Look::OnChange, at: Instant::now() }
    }

    /// After a reconciliation during which `happened`.
    fn after(happened: impl FnOnce(&Echoes)) -> Echoes {
        let echoes = Echoes::default();
        echoes.begin(&name());
        happened(&echoes);
        echoes.end(&name(), Some(expected()));
        echoes
    }

    fn heard(echoes: &Echoes, version: &str) -> bool {
        echoes.heard(&name(), Some(version)).is_some()
    }

    #[test]
    fn both_echoes_are_left_out_and_then_all_is_forgotten() {
        let echoes = after(|_| {});
        assert!(heard(&echoes, "c1"));
        echoes.secret(&name(), Some("s1".into()));
        assert!(heard(&echoes, "c1"));
        assert!(echoes.0.lock().is_empty());
        assert!(!heard(&echoes, "c1"));
    }

    #[test]
    fn what_others_do_is_no_echo() {
        // To the client.
        assert!(!heard(&after(|_| {}), "c2"));
        // To the Secret: before the reconciliation ended, and after.
        assert!(!heard(&after(|echoes| echoes.secret(&name(), Some("s2".into()))), "c1"));
        let echoes = after(|echoes| echoes.secret(&name(), Some("s1".into())));
        echoes.secret(&name(), Some("s2".into()));
        assert!(!heard(&echoes, "c1"));
        // Something else.
        assert!(!heard(&after(|echoes| echoes.disturb(&name())), "c1"));
        let echoes = after(|_| {});
        echoes.disturb(&name());
        assert!(!heard(&echoes, "c1"));
    }

    #[test]
    fn nothing_is_kept_of_what_wrote_nothing_or_is_gone() {
        let echoes = Echoes::default();
        echoes.begin(&name());
        echoes.end(&name(), None);
        assert!(echoes.0.lock().is_empty());
        let echoes = after(|_| {});
        echoes.forget(&name());
        assert!(echoes.0.lock().is_empty());
    }

    #[test]
    fn an_echo_that_does_not_come_is_not_waited_for() {
        let echoes = Echoes::default();
        echoes.begin(&name());
        let at = Instant::now().checked_sub(LIMIT).unwrap();
        echoes.end(&name(), Some(Expected { at, ..expected() }));
        assert!(!heard(&echoes, "c1"));
    }
}
