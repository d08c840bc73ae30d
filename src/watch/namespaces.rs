//! Reads the namespaces for which the index has to know whether they are being deleted: see
//! [`crate::index::terminating`].

use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube::api::{GetParams, ListParams, Request};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::domain::scope::Scope;
use crate::index::Index;
use crate::index::terminating::NamespaceState;
use crate::kube_ext::error::short;

const NAMESPACES: &str = "/api/v1/namespaces";
/// The number of namespaces on a page of the list.
const PAGE_LIMIT: u32 = 500;
/// The timeout of a request to the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After which time a namespace that is being deleted, or that could not be read, is read again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the deletion of namespaces until dropped.
pub async fn drive(client: Client, index: &Index) {
    index.kinds_listed().await;
    let terminating = loop {
        match terminating(&client, index.scope()).await {
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
            let _ = timeout(RETRY_INTERVAL, index.revocation_deleted()).await;
        }
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

/// The namespaces that are being deleted. A Role allows to read its own namespace, and not to list all
/// of them.
async fn terminating(client: &Client, scope: &Scope) -> Result<Vec<String>, String> {
    if scope.namespaces().is_empty() {
        return list(client).await;
    }
    let mut terminating = Vec::new();
    for namespace in scope.namespaces() {
        if read(client, namespace).await? == NamespaceState::Terminating {
            terminating.push(namespace.clone());
        }
    }
    Ok(terminating)
}

/// Those in the whole cluster.
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
async fn read(client: &Client, name: &str) -> Result<NamespaceState, String> {
    let request = Request::new(NAMESPACES).get_metadata(name, &GetParams::default());
    let request = request.map_err(|error| error.to_string())?;
    let found = async {
        match client.request::<Namespace>(request).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    };
    Ok(match answer(found).await? {
        None => NamespaceState::Gone,
        Some(found) if found.metadata.deletion_timestamp.is_some() => NamespaceState::Terminating,
        Some(found) => {
            let created = found.metadata.creation_timestamp.and_then(|time| time.parse().ok());
            NamespaceState::Living(created)
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
    use super::*;

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
