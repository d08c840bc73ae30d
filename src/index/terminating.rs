//! Namespaces that are being deleted.
//!
//! Kubernetes deletes the objects in a namespace kind by kind, in an unspecified order, and removes
//! an object without finalizers at once. So a Revocation may be deleted while the credentials that
//! it revokes still exist: for a moment, or permanently if the deletion of the namespace is stuck.
//! This must not be mistaken for an administrator who withdraws the Revocation, which is to take
//! effect.
//!
//! The namespace shows the difference, because it gets a deletionTimestamp before any object in it
//! is deleted. So a deleted Revocation remains in force until its namespace has been read *after*
//! the deletion. If the namespace is not being deleted, the Revocation was withdrawn. If it is,
//! nothing in it is served any longer: no pool, client or member, even if it is still stored. On
//! startup, a replica lists the namespaces after the Revocations, to account for Revocations that
//! were deleted earlier.
//!
//! The namespace is served again once it is deleted or has been re-created, and all of its old
//! objects have left the index. Until the API server responds, a deleted Revocation remains in
//! force.
//!
//! Here is what the state of a namespace means; [`crate::watch::namespaces`] reads it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::info;

use super::store::State;
use super::{Index, Indexed as _};
use crate::crd::Revocation;
use crate::domain::ids::ObjectName;

/// The state of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub enum NamespaceState {
    /// It exists and is not being deleted; with its creation time.
    Living(Option<Timestamp>),
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    Gone,
}

/// A deleted Revocation and the number of its deletion.
pub type Withdrawn = (ObjectName, u64);

impl Index {
    /// Records that the namespaces have been listed, and which of them are being deleted.
    pub fn namespaces_listed(&self, terminating: impl IntoIterator<Item = String>) {
        let mut state = self.state.write();
        for namespace in terminating {
            if state.created.has_older(&namespace, None) {
                state.terminate(&namespace);
            }
        }
        drop(state);
        self.ready.namespaces_listed();
    }

    /// Waits until a Revocation is deleted.
    pub async fn revocation_deleted(&self) {
        self.withdrawals.notified().await;
    }

    /// The namespaces that must be read.
    #[must_use]
    pub fn open_namespaces(&self) -> BTreeSet<String> {
        let state = self.state.read();
        let withdrawn = state.withdrawn.keys().map(|name| name.namespace.clone());
        withdrawn.chain(state.terminating.iter().cloned()).collect()
    }

    /// The deleted Revocations of a namespace that are still in force.
    #[must_use]
    pub fn withdrawn_in(&self, namespace: &str) -> Vec<Withdrawn> {
        let state = self.state.read();
        let here = state.withdrawn.iter().filter(|(name, _)| name.namespace == namespace);
        here.map(|(name, number)| (name.clone(), *number)).collect()
    }

    /// Applies the state of a namespace that was read after the Revocations in `withdrawn` had been
    /// deleted. Returns whether the namespace must be read again.
    pub fn settle(&self, namespace: &str, found: &NamespaceState, withdrawn: &[Withdrawn]) -> bool {
        let mut state = self.state.write();
        let terminating = match found {
            NamespaceState::Terminating => true,
            NamespaceState::Gone => state.created.has_older(namespace, None),
            NamespaceState::Living(since) => {
                since.is_some() && state.created.has_older(namespace, *since)
            }
        };
        if terminating {
            if state.terminate(namespace) {
                info!(%namespace, "the namespace is being deleted; its objects are no longer served");
            }
        } else {
            state.terminating.remove(namespace);
        }
        for (name, number) in withdrawn {
            if state.withdrawn.get(name) == Some(number) {
                Revocation::delete(&mut state, name);
            }
        }
        terminating
    }
}

impl State {
    /// Whether an object with this name may be served, because its namespace is not being deleted.
    pub(super) fn serves(&self, name: &ObjectName) -> bool {
        self.terminating.is_empty() || !self.terminating.contains(&name.namespace)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::Kind;
    use crate::crd::UserPool;
    use crate::domain::ids::UserPoolId;
    use crate::domain::revocation::RevocationTarget;
    use crate::index::{IndexSettings, Reader};

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-01-02T00:00:00Z";

    fn object<K: serde::de::DeserializeOwned>(name: &str, created: &str, spec: &Value) -> K {
        let metadata = json!({"namespace": "acme", "name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn pool(created: &str) -> UserPool {
        object("users", created, &json!({"hosted": {}}))
    }

    fn revocation() -> Revocation {
        object("leak", OLD, &json!({"userPool": {"name": "users", "subjects": ["ada"]}}))
    }

    fn name(name: &str) -> ObjectName {
        ObjectName { namespace: "acme".into(), name: name.into() }
    }

    /// A pool and a Revocation of it.
    fn index() -> std::sync::Arc<Index> {
        let index = Index::new(IndexSettings::UNLIMITED);
        index.apply(&pool(OLD));
        index.apply(&revocation());
        std::sync::Arc::new(index)
    }

    /// Whether the pool is served, and how many Revocations it has.
    fn served(index: &std::sync::Arc<Index>) -> (bool, usize) {
        let reader = Reader::new(std::sync::Arc::clone(index));
        let pool = reader.pool(UserPoolId::derive("acme", "users")).is_some();
        let now = OLD.parse().unwrap();
        (pool, reader.revocations(RevocationTarget::UserPool, &name("users"), now).len())
    }

    fn living(since: &str) -> NamespaceState {
        NamespaceState::Living(Some(since.parse().unwrap()))
    }

    #[test]
    fn a_deleted_revocation_is_enforced_until_its_namespace_is_known_to_live() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        assert_eq!(served(&index), (true, 1), "it is not known yet why it was deleted");
        assert_eq!(index.open_namespaces(), ["acme".to_owned()].into());
        let withdrawn = index.withdrawn_in("acme");
        assert!(!index.settle("acme", &living("2025-01-01T00:00:00Z"), &withdrawn));
        assert_eq!(served(&index), (true, 0), "withdrawn");
        assert!(index.open_namespaces().is_empty());
    }

    #[test]
    fn nothing_is_served_of_a_namespace_that_is_being_deleted() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        assert!(index.settle("acme", &NamespaceState::Terminating, &index.withdrawn_in("acme")));
        assert_eq!(served(&index), (false, 0));
        // Not even after the namespace has been re-created, because the deletion event of the old
        // pool may be late.
        assert!(index.settle("acme", &NamespaceState::Gone, &[]));
        assert!(index.settle("acme", &living(NEW), &[]));
        assert_eq!(served(&index), (false, 0));
        index.delete::<UserPool>(&name("users"));
        index.apply(&pool(NEW));
        assert!(!index.settle("acme", &living(NEW), &[]));
        assert_eq!(served(&index), (true, 0), "the pool of the new namespace");
    }

    #[test]
    fn a_deletion_after_the_namespace_was_read_needs_another_read() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        let withdrawn = index.withdrawn_in("acme");
        index.apply(&revocation());
        index.delete::<Revocation>(&name("leak"));
        index.settle("acme", &living(OLD), &withdrawn);
        assert_eq!(served(&index), (true, 1));
        index.settle("acme", &living(OLD), &index.withdrawn_in("acme"));
        assert_eq!(served(&index), (true, 0));
    }

    #[test]
    fn namespaces_that_are_being_deleted_at_the_start_serve_nothing() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        for kind in Kind::ALL {
            index.listed(kind, None);
        }
        index.namespaces_listed(["acme".to_owned()]);
        assert!(!served(&index).0);
    }
}
