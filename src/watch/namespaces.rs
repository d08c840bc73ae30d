//! Reads the namespaces for which the index has to know whether they are being deleted: see
//! [`crate::index::terminating`].

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::domain::scope::Scope;
use crate::index::Index;
use crate::index::terminating::NamespaceState;
use crate::kube_ext::error::short;
use crate::kube_ext::pages::Pages;
use crate::kube_ext::tolerant::{Lean, Tolerant};

/// A namespace, whatever its metadata.
type Found = Tolerant<PartialObjectMeta<Namespace>, Lean>;

/// The timeout of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After which time a namespace that is being deleted, or that could not be read, is read again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the deletion of namespaces until dropped.
pub async fn drive(client: Client, index: &Index) {
    let api = Api::all(client);
    index.kinds_listed().await;
    let terminating = loop {
        match terminating(&api, index.scope()).await {
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
            index.revocation_deleted().await;
        }
        let mut wait = false;
        for namespace in index.open_namespaces() {
            // Collected before the namespace is read, so that the response is newer than these
            // deletions.
            let withdrawn = index.withdrawn_in(&namespace);
            match read(&api, &namespace).await {
                Ok(found) => wait |= index.settle(&namespace, &found, &withdrawn),
                Err(error) => {
                    wait = true;
                    warn!(%namespace, %error, "failed to read a namespace; its deleted Revocations remain in force until that succeeds");
                }
            }
        }
        if wait {
            // Another deletion ends the pause.
            let _ = timeout(RETRY_INTERVAL, index.revocation_deleted()).await;
        }
    }
}

/// The namespaces that are being deleted. A Role allows to read its own namespace, and not to list all
/// of them.
async fn terminating(api: &Api<Found>, scope: &Scope) -> Result<Vec<String>, String> {
    let mut terminating = Vec::new();
    if scope.namespaces().is_empty() {
        let mut pages = Pages::new(api, ListParams::default());
        let mut take = |found: Found| {
            if state(Some(&found)) == NamespaceState::Terminating {
                terminating.push(found.name_any());
            }
        };
        while answer(pages.next(&mut take)).await? {}
    }
    for namespace in scope.namespaces() {
        if read(api, namespace).await? == NamespaceState::Terminating {
            terminating.push(namespace.clone());
        }
    }
    Ok(terminating)
}

/// Reads one namespace. Without a resourceVersion, the server responds with its most recent state
/// and never from a stale cache.
async fn read(api: &Api<Found>, name: &str) -> Result<NamespaceState, String> {
    Ok(state(answer(api.get_opt(name)).await?.as_ref()))
}

fn state(found: Option<&Found>) -> NamespaceState {
    match found.map(Found::meta) {
        None => NamespaceState::Gone,
        Some(metadata) if metadata.deletion_timestamp.is_some() => NamespaceState::Terminating,
        Some(metadata) => {
            NamespaceState::Living(metadata.creation_timestamp.as_ref().map(|created| created.0))
        }
    }
}

async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    let answer = timeout(REQUEST_TIMEOUT, request).await;
    let answer = answer
        .map_err(|_| format!("no response from the API server within {REQUEST_TIMEOUT:?}"))?;
    answer.map_err(|error| short(&error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_metadata_can_be_read() {
        let fields = format!("{}1{}", "{\"f\":".repeat(300), "}".repeat(300));
        let found = |times: &str| {
            let text = format!(
                r#"{{"metadata": {{"name": "a", {times} "managedFields": [{{"fieldsV1": {fields}}}]}}}}"#
            );
            state(Some(&Found::parse(&text).unwrap()))
        };
        let (created, far) = ("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z");
        let living = found(&format!(r#""creationTimestamp": "{created}","#));
        assert_eq!(living, NamespaceState::Living(created.parse().ok()));
        let unknown = found(&format!(r#""creationTimestamp": "{far}","#));
        assert_eq!(unknown, NamespaceState::Living(None));
        let terminating = found(&format!(r#""deletionTimestamp": "{far}","#));
        assert_eq!(terminating, NamespaceState::Terminating);
        assert_eq!(state(None), NamespaceState::Gone);
    }
}
