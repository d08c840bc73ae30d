//! Namespaces that are being deleted.
//!
//! Kubernetes deletes what is in a namespace kind by kind, in an order that it does not promise, and
//! an object without a finalizer is gone without having been marked before. So a Revocation may go
//! while what it revokes is still there, for a moment, or for good where the deletion is stuck. It
//! looks like a Revocation that an administrator takes back, which is to take effect.
//!
//! The namespace tells the two apart: it is marked before anything in it is deleted. So a deleted
//! Revocation is enforced until its namespace was read *after* that. If it lives, the Revocation was
//! taken back. If it is being deleted, nothing in it is served any more: no pool, client or member,
//! whatever is still stored. A replica that starts lists the namespaces after the Revocations, for
//! those that were deleted before it came.
//!
//! It ends once the namespace is gone, or there is another one of the name, and everything that is
//! older than that has left the index. Until the API server answers, a Revocation stays in force.

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
use crate::said::Said;

const NAMESPACES: &str = "/api/v1/namespaces";
/// Namespaces per page of the list.
const PAGE: u32 = 500;
/// How long the API server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// When a namespace is read again that is being deleted, or could not be read.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the deletion of namespaces for as long as the process lives. Drop it to stop.
pub async fn drive(client: Client, index: &Index) {
    index.ready.kinds().await;
    let terminating = loop {
        match list(&client).await {
            Ok(terminating) => break terminating,
            Err(error) => {
                warn!(%error, "could not list Namespaces; not ready until this succeeds");
                sleep(AGAIN).await;
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
            // Before the namespace is read, so that the answer is newer than these deletions.
            let withdrawn = index.withdrawn_in(&namespace);
            match read(&client, &namespace).await {
                Ok(found) => wait |= index.settle(&namespace, &found, &withdrawn),
                Err(error) => {
                    wait = true;
                    warn!(%namespace, %error, "could not read the Namespace of a deleted Revocation, which is enforced until that succeeds");
                }
            }
        }
        if wait {
            // A deletion that happens meanwhile need not wait.
            let _ = timeout(AGAIN, index.withdrawals.notified()).await;
        }
    }
}

/// What became of a namespace.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It was created then, and nobody deletes it.
    Living(Option<Timestamp>),
    /// It is being deleted.
    Terminating,
    /// There is none.
    Gone,
}

/// A deleted Revocation and the number of its deletion.
type Withdrawn = (ObjectName, u64);

impl Index {
    /// The namespaces that have to be read.
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

    /// Draws the conclusion from what was found after `withdrawn` had been deleted. Whether the
    /// namespace has to be read again.
    fn settle(&self, namespace: &str, found: &Found, withdrawn: &[Withdrawn]) -> bool {
        let mut state = self.state.write();
        let terminating = match found {
            Found::Terminating => true,
            Found::Gone => state.has_older(namespace, None),
            Found::Living(since) => since.is_some() && state.has_older(namespace, *since),
        };
        if terminating {
            if state.terminating.insert(namespace.to_owned()) {
                info!(%namespace, "the namespace is being deleted; nothing in it is served");
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
    /// Whether an object of this name may be served: not if its namespace is being deleted.
    pub(super) fn serves(&self, name: &ObjectName) -> bool {
        self.terminating.is_empty() || !self.terminating.contains(&name.namespace)
    }

    /// Whether the namespace has a pool, client or member that was created before `limit`, or any.
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

/// A page of namespaces. Not kube's types: what is not needed, whatever it is, must not be able to
/// make the whole list unreadable.
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
    let mut parameters = ListParams::default().limit(PAGE);
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

/// One namespace. Without a resourceVersion the server answers from its most recent state, never
/// from a stale cache.
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
    let answer = timeout(ANSWER, request).await;
    let answer = answer.map_err(|_| format!("no answer within {ANSWER:?}"))?;
    answer.map_err(|error| Said(&error).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::UserPool;
    use crate::domain::ids::UserPoolId;
    use crate::domain::revocation::Of;
    use crate::index::{Kind, Reader};

    const THEN: &str = "2026-01-01T00:00:00Z";
    const LATER: &str = "2026-01-02T00:00:00Z";

    fn object<K: serde::de::DeserializeOwned>(name: &str, created: &str, spec: &Value) -> K {
        let metadata = json!({"namespace": "acme", "name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn pool(created: &str) -> UserPool {
        object("users", created, &json!({"hosted": {}}))
    }

    fn revocation() -> Revocation {
        object("leak", THEN, &json!({"userPool": {"name": "users", "subjects": ["ada"]}}))
    }

    fn name(name: &str) -> ObjectName {
        ObjectName { namespace: "acme".into(), name: name.into() }
    }

    /// A pool and a Revocation of it.
    fn index() -> std::sync::Arc<Index> {
        let index = Index::default();
        index.apply(&pool(THEN));
        index.apply(&revocation());
        std::sync::Arc::new(index)
    }

    /// Whether the pool is served, and how many Revocations it has.
    fn served(index: &std::sync::Arc<Index>) -> (bool, usize) {
        let reader = Reader::new(std::sync::Arc::clone(index));
        let pool = reader.pool(UserPoolId::derive("acme", "users")).is_some();
        let now = THEN.parse().unwrap();
        (pool, reader.revocations(Of::UserPool, &name("users"), now).len())
    }

    fn living(since: &str) -> Found {
        Found::Living(Some(since.parse().unwrap()))
    }

    #[test]
    fn a_deleted_revocation_is_enforced_until_its_namespace_is_known_to_live() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        assert_eq!(served(&index), (true, 1), "nobody knows yet why it was deleted");
        assert_eq!(index.open_namespaces(), ["acme".to_owned()].into());
        let withdrawn = index.withdrawn_in("acme");
        assert!(!index.settle("acme", &living("2025-01-01T00:00:00Z"), &withdrawn));
        assert_eq!(served(&index), (true, 0), "taken back");
        assert!(index.open_namespaces().is_empty());
    }

    #[test]
    fn nothing_is_served_of_a_namespace_that_is_being_deleted() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        assert!(index.settle("acme", &Found::Terminating, &index.withdrawn_in("acme")));
        assert_eq!(served(&index), (false, 0));
        // Not even when it is gone and another one has its name: the event of the old pool's
        // deletion may be late.
        assert!(index.settle("acme", &Found::Gone, &[]));
        assert!(index.settle("acme", &living(LATER), &[]));
        assert_eq!(served(&index), (false, 0));
        index.delete::<UserPool>(&name("users"));
        index.apply(&pool(LATER));
        assert!(!index.settle("acme", &living(LATER), &[]));
        assert_eq!(served(&index), (true, 0), "the pool of the new namespace");
    }

    #[test]
    fn a_deletion_after_the_namespace_was_read_needs_another_read() {
        let index = index();
        index.delete::<Revocation>(&name("leak"));
        let withdrawn = index.withdrawn_in("acme");
        index.apply(&revocation());
        index.delete::<Revocation>(&name("leak"));
        index.settle("acme", &living(THEN), &withdrawn);
        assert_eq!(served(&index), (true, 1));
        index.settle("acme", &living(THEN), &index.withdrawn_in("acme"));
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
