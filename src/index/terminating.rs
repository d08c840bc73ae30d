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

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{ListParams, Request};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::store::State;
use super::{Index, Indexed as _};
use crate::crd::Revocation;
use crate::domain::ids::ObjectName;
use crate::kube_error::short;

const NAMESPACES: &str = "/api/v1/namespaces";
/// The number of namespaces on a page of the list.
const PAGE_LIMIT: u32 = 500;
/// The timeout of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After which time a namespace that is being deleted, or that could not be read, is read again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the deletion of namespaces until dropped.
pub async fn drive(client: Client, index: &Index) {
    index.ready.kinds().await;
    let terminating = loop {
        match list(&client).await {
            Ok(terminating) => break terminating,
            Err(error) => {
                warn!(%error, "failed to list namespaces; this replica is not ready until that succeeds");
                sleep(RETRY_INTERVAL).await;
            }
        }
    };
    index.namespaces_listed(terminating);
    loop {
        let open = index.open_namespaces();
        if open.is_empty() {
            index.withdrawals.notified().await;
        }
        let mut wait = false;
        for namespace in index.open_namespaces() {
            // Collected before the namespace is read, so that the response is newer than these
            // deletions.
            let withdrawn = index.withdrawn_in(&namespace);
            match read(&client, &namespace).await {
                Ok(found) => wait |= index.settle(&namespace, &found, &withdrawn),
                Err(error) => {
                    wait = true;
                    warn!(%namespace, %error, "failed to read a namespace; its deleted Revocations remain in force until that succeeds");
                }
            }
        }
        if wait {
            // Another deletion ends the pause.
            let _ = timeout(RETRY_INTERVAL, index.withdrawals.notified()).await;
        }
    }
}

/// The state of a namespace.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It exists and is not being deleted; with its creation time.
    Living(Option<Timestamp>),
    /// It is being deleted.
    Terminating,
    /// It does not exist.
    Gone,
}

/// A deleted Revocation and the number of its deletion.
type Withdrawn = (ObjectName, u64);

impl Index {
    /// The namespaces that must be read.
    fn open_namespaces(&self) -> BTreeSet<String> {
        let state = self.state.read();
        let withdrawn = state.withdrawn.keys().map(|name| name.namespace.clone());
        withdrawn.chain(state.terminating.iter().cloned()).collect()
    }

    fn withdrawn_in(&self, namespace: &str) -> Vec<Withdrawn> {
        let state = self.state.read();
        let here = state.withdrawn.iter().filter(|(name, _)| name.namespace == namespace);
        here.map(|(name, number)| (name.clone(), *number)).collect()
    }

    /// Applies the state of a namespace that was read after the Revocations in `withdrawn` had been
    /// deleted. Returns whether the namespace must be read again.
    fn settle(&self, namespace: &str, found: &Found, withdrawn: &[Withdrawn]) -> bool {
        let mut state = self.state.write();
        let terminating = match found {
            Found::Terminating => true,
            Found::Gone => state.has_older(namespace, None),
            Found::Living(since) => since.is_some() && state.has_older(namespace, *since),
        };
        if terminating {
            if state.terminating.insert(namespace.to_owned()) {
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

    /// Whether the index has a pool, client or member of the namespace that was created before
    /// `limit`; any, without `limit`.
    pub(super) fn has_older(&self, namespace: &str, limit: Option<Timestamp>) -> bool {
        let older = |name: &ObjectName, created_at: Option<Timestamp>| {
            name.namespace == namespace
                && limit.is_none_or(|limit| created_at.is_none_or(|created| created < limit))
        };
        self.pools.values().any(|it| older(&it.name, it.created_at))
            || self.clients.values().any(|it| older(&it.name, it.created_at))
            || self.members.values().any(|it| older(&it.name, it.created_at))
    }
}

/// A page of namespaces. Not kube's types, because a field that is not needed must not make the
/// whole list unreadable.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    #[serde(default)]
    creation_timestamp: Option<String>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

/// The namespaces that are being deleted.
async fn list(client: &Client) -> Result<Vec<String>, String> {
    let mut parameters = ListParams::default().limit(PAGE_LIMIT);
    let mut terminating = Vec::new();
    loop {
        let request = Request::new(NAMESPACES).list_metadata(&parameters);
        let request = request.map_err(|error| error.to_string())?;
        let page: Page = answer(client.request(request)).await?;
        let named = page.items.into_iter().map(|namespace| namespace.metadata);
        let going = named.filter(|metadata| metadata.deletion_timestamp.is_some());
        terminating.extend(going.map(|metadata| metadata.name));
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(terminating),
        }
    }
}

/// Reads one namespace. Without a resourceVersion, the server responds with its most recent state
/// and never from a stale cache.
async fn read(client: &Client, name: &str) -> Result<Found, String> {
    let request = Request::new(NAMESPACES).get_metadata(name, &kube::api::GetParams::default());
    let request = request.map_err(|error| error.to_string())?;
    let found = async {
        match client.request::<Namespace>(request).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    };
    Ok(match answer(found).await? {
        None => Found::Gone,
        Some(found) if found.metadata.deletion_timestamp.is_some() => Found::Terminating,
        Some(found) => {
            let created = found.metadata.creation_timestamp.and_then(|time| time.parse().ok());
            Found::Living(created)
        }
    })
}

async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    let answer = timeout(REQUEST_TIMEOUT, request).await;
    let answer = answer
        .map_err(|_| format!("no response from the API server within {REQUEST_TIMEOUT:?}"))?;
    answer.map_err(|error| short(&error).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::UserPool;
    use crate::domain::ids::UserPoolId;
    use crate::domain::revocation::RevocationTarget;
    use crate::index::{Kind, Reader};

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
        let index = Index::default();
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

    fn living(since: &str) -> Found {
        Found::Living(Some(since.parse().unwrap()))
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
        assert!(index.settle("acme", &Found::Terminating, &index.withdrawn_in("acme")));
        assert_eq!(served(&index), (false, 0));
        // Not even after the namespace has been re-created, because the deletion event of the old
        // pool may be late.
        assert!(index.settle("acme", &Found::Gone, &[]));
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
            index.listed(kind);
        }
        index.namespaces_listed(["acme".to_owned()]);
        assert!(!served(&index).0);
    }

    #[test]
    fn an_object_of_any_metadata_is_read() {
        let fields = format!("{}1{}", "{\"f\":".repeat(300), "}".repeat(300));
        let text = format!(
            r#"{{"items": [{{"metadata": {{"name": "a", "deletionTimestamp": "9999-12-31T23:59:59Z",
                "managedFields": [{{"time": "9999-12-31T23:59:59Z", "fieldsV1": {fields}}}]}}}}]}}"#
        );
        let page: Page = serde_json::from_str(&text).unwrap();
        assert_eq!(page.items[0].metadata.name, "a");
    }
}
