//! Readiness of the index: it is ready once every kind has been listed in the whole scope, and after that the
//! namespaces that are being deleted (see [`super::terminating`]).

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::crd::Kind;
use crate::domain::scope::Scope;
use crate::replicas::watches::Watches;

/// What has been listed so far.
#[derive(Debug)]
pub struct Ready {
    watches: Watches,
    /// By watch.
    listed: watch::Sender<Vec<bool>>,
    namespaces: watch::Sender<bool>,
    /// Whether all of it was listed when that was last determined.
    all: AtomicBool,
}

impl Ready {
    /// Nothing is listed yet.
    pub fn new(scope: Scope) -> Self {
        let watches = Watches::new(scope);
        let none = watches.all().map(|_| false).collect();
        Self {
            watches,
            listed: watch::Sender::new(none),
            namespaces: watch::Sender::new(false),
            all: AtomicBool::new(false),
        }
    }

    /// Records that `kind` has been listed in a part of the scope. This is never reset, because a
    /// complete index remains usable while a watch is interrupted.
    pub fn listed(&self, kind: Kind, part: Option<&str>) {
        let Some(slot) = self.watches.position(kind, part) else { return };
        self.listed.send_if_modified(|listed| {
            listed.get_mut(slot).is_some_and(|entry| !std::mem::replace(entry, true))
        });
    }

    /// Records that the namespaces have been listed, after every kind.
    pub fn namespaces_listed(&self) {
        self.namespaces.send_replace(true);
    }

    /// Whether every kind and the namespaces have been listed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // It stays so. Every request asks, and the channels have locks, which the processors would
        // pass to each other.
        if self.all.load(Ordering::Acquire) {
            return true;
        }
        let all = *self.namespaces.borrow() && self.listed.borrow().iter().all(|listed| *listed);
        self.all.store(all, Ordering::Release);
        all
    }

    /// Waits until every kind and the namespaces have been listed.
    pub async fn wait(&self) {
        self.kinds().await;
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.namespaces.subscribe().wait_for(|listed| *listed).await;
    }

    /// Waits until every kind has been listed.
    pub async fn kinds(&self) {
        let mut listed = self.listed.subscribe();
        let _ = listed.wait_for(|listed| listed.iter().all(|listed| *listed)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_kind_and_then_the_namespaces_were_listed() {
        let ready = Ready::new(Scope::CLUSTER);
        for kind in Kind::ALL {
            assert!(!ready.is_ready());
            ready.listed(kind, None);
            ready.listed(kind, None);
        }
        ready.kinds().await;
        assert!(!ready.is_ready());
        ready.namespaces_listed();
        assert!(ready.is_ready());
        ready.wait().await;
    }
}
