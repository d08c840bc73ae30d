//! Readiness of the index: true once every kind has been listed.

use tokio::sync::watch;

use super::Kind;

/// A latch per kind.
#[derive(Debug)]
pub struct Ready {
    listed: watch::Sender<[bool; Kind::ALL.len()]>,
}

impl Default for Ready {
    fn default() -> Self {
        Self { listed: watch::Sender::new([false; Kind::ALL.len()]) }
    }
}

impl Ready {
    /// Notes that `kind` has been listed. Never taken back: an index that was complete once stays
    /// useful while a watch is down.
    pub fn listed(&self, kind: Kind) {
        self.listed.send_if_modified(|listed| {
            let entries = Kind::ALL.into_iter().zip(listed.iter_mut());
            let entry = entries.filter(|(of, _)| *of == kind).map(|(_, entry)| entry).next();
            entry.is_some_and(|entry| !std::mem::replace(entry, true))
        });
    }

    /// Whether every kind has been listed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.listed.borrow().iter().all(|listed| *listed)
    }

    /// Waits until every kind has been listed.
    pub async fn wait(&self) {
        let mut listed = self.listed.subscribe();
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = listed.wait_for(|listed| listed.iter().all(|listed| *listed)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_kind_was_listed() {
        let ready = Ready::default();
        for kind in Kind::ALL {
            assert!(!ready.is_ready());
            ready.listed(kind);
            ready.listed(kind);
        }
        assert!(ready.is_ready());
        ready.wait().await;
    }
}
