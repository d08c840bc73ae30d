//! Drives list and watch of one kind into the index, for as long as the process lives.
//!
//! kube's own `watcher` would do for the objects alone. This loop is ours because it has to know
//! which resourceVersion it has applied: proof of propagation is built on that (design, section 4).

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::DeserializeGuard;
use tracing::{debug, info, warn};

use super::{Index, Indexed};
use crate::domain::ids::ObjectName;

/// Objects per page of a list.
const PAGE: u32 = 500;
/// The pause after a failure, doubled up to [`MAX_PAUSE`] while failures go on.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Keeps the index's view of `K` current. Never returns; drop it to stop.
pub async fn drive<K: Indexed>(client: Client, index: &Index) {
    let mut watch =
        Watch::<K> { api: Api::all(client), index, known: HashSet::new(), resource_version: None };
    let mut pause = MIN_PAUSE;
    let kind = K::KIND.as_str();
    loop {
        match watch.step().await {
            Ok(()) => pause = MIN_PAUSE,
            Err(error) => {
                warn!(kind, error = %error, retry_in_ms = pause.as_millis(), "watch failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

struct Watch<'i, K: Indexed> {
    api: Api<DeserializeGuard<K>>,
    index: &'i Index,
    /// What the index holds of this kind, so that a list tells what vanished unseen.
    known: HashSet<ObjectName>,
    /// Up to where the index is current; `None` asks for a list.
    resource_version: Option<String>,
}

impl<K: Indexed> Watch<'_, K> {
    /// Lists if need be, then watches until the server ends the watch.
    async fn step(&mut self) -> kube::Result<()> {
        let from = match self.resource_version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        let events = self.api.watch(&WatchParams::default(), &from).await?;
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = object.resource_version();
                    self.apply(object);
                    self.advance(version);
                }
                WatchEvent::Deleted(object) => {
                    self.forget(&name_of(&object));
                    self.advance(object.resource_version());
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.advance(Some(bookmark.metadata.resource_version));
                }
                WatchEvent::Error(status) => {
                    // 410: the server no longer has the changes since our version. A list
                    // brings the present, and with it what was deleted in between.
                    self.resource_version = None;
                    if status.code == 410 {
                        debug!(kind = K::KIND.as_str(), "watch expired, listing again");
                        return Ok(());
                    }
                    return Err(kube::Error::Api(status));
                }
            }
        }
        Ok(())
    }

    /// Lists everything, page by page. Without a resourceVersion the server answers from its
    /// most recent state, never from a stale cache.
    async fn list(&mut self) -> kube::Result<String> {
        let mut page = ListParams::default().limit(PAGE);
        let mut objects = Vec::new();
        let version = loop {
            let list = self.api.list(&page).await?;
            objects.extend(list.items);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break list.metadata.resource_version.unwrap_or_default(),
            }
        };
        let listed: HashSet<_> = objects.iter().map(name_of).collect();
        let vanished: Vec<_> = self.known.difference(&listed).cloned().collect();
        for name in vanished {
            self.forget(&name);
        }
        info!(kind = K::KIND.as_str(), objects = objects.len(), "listed");
        for object in objects {
            self.apply(object);
        }
        self.advance(Some(version.clone()));
        self.index.listed(K::KIND);
        Ok(version)
    }

    /// Everything up to this version is in the index: said only after it is.
    fn advance(&mut self, version: Option<String>) {
        if let Some(version) = &version {
            self.index.advanced(K::KIND, version);
        }
        self.resource_version = version;
    }

    fn apply(&mut self, object: DeserializeGuard<K>) {
        let name = name_of(&object);
        match object.0 {
            Ok(object) => {
                self.index.apply(&object);
                self.known.insert(name);
            }
            Err(invalid) => {
                // One unreadable object must not stop the kind. It is not served.
                warn!(kind = K::KIND.as_str(), object = %name, error = %invalid.error, "unreadable object");
                self.forget(&name);
            }
        }
    }

    fn forget(&mut self, name: &ObjectName) {
        self.known.remove(name);
        self.index.delete::<K>(name);
    }
}

fn name_of<K: Indexed>(object: &DeserializeGuard<K>) -> ObjectName {
    ObjectName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
