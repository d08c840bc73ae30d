//! Drives list and watch of one kind into the index, for as long as the process lives.
//!
//! kube's own `watcher` would do for the objects alone. This loop is ours because it has to know
//! which resourceVersion it has applied: proof of propagation is built on that (design, section 4).

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{Index, Indexed};
use crate::domain::ids::ObjectName;
use crate::kube_ext::pages::Pages;
use crate::kube_ext::tolerant::Tolerant;
use crate::said::Said;

/// How long the API server may take to answer a page of a list, or to begin a watch.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest silence of a watch. The API server sends a bookmark about every minute, so silence
/// means a connection that died without a word, and with it every deletion since.
const QUIET: Duration = Duration::from_secs(150);
/// The pause after a failure, doubled up to [`MAX_PAUSE`] while failures go on.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// How many failures in a row are taken for a version that leads nowhere.
const LIST_AFTER: u32 = 8;

/// Why list or watch has to begin again.
#[derive(Debug, Error)]
enum Trouble {
    #[error("{}", Said(.0))]
    Api(#[from] kube::Error),
    #[error("no answer within {ANSWER:?}")]
    NoAnswer,
    #[error("the watch was silent for {QUIET:?}")]
    Quiet,
    #[error("the list has no resourceVersion")]
    NoVersion,
}

/// Keeps the index's view of `K` current. Never returns; drop it to stop.
pub async fn drive<K: Indexed>(client: Client, index: &Index) {
    let mut watch =
        Watch::<K> { api: Api::all(client), index, known: HashSet::new(), resource_version: None };
    let mut failures = 0_u32;
    let kind = K::KIND.as_str();
    loop {
        let started = Instant::now();
        let ended = watch.step().await;
        // What went well for a while is no trouble, however it ended; what ended at once is,
        // even if it ended properly.
        if started.elapsed() >= MAX_PAUSE {
            failures = 0;
            if ended.is_ok() {
                continue;
            }
        }
        let pause = MIN_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(MAX_PAUSE);
        failures = failures.saturating_add(1);
        if failures.is_multiple_of(LIST_AFTER) {
            watch.resource_version = None;
        }
        match ended {
            Ok(()) => debug!(kind, "the watch ended early"),
            Err(error) => {
                warn!(kind, %error, retry_in_ms = pause.as_millis(), "watch failed");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

struct Watch<'i, K: Indexed> {
    api: Api<Tolerant<K>>,
    index: &'i Index,
    /// What the index holds of this kind, so that a list tells what vanished unseen.
    known: HashSet<ObjectName>,
    /// Up to where the index is current; `None` asks for a list.
    resource_version: Option<String>,
}

impl<K: Indexed> Watch<'_, K> {
    /// Lists if need be, then watches until the server ends the watch.
    async fn step(&mut self) -> Result<(), Trouble> {
        let ended = self.list_and_watch().await;
        if let Err(Trouble::Api(kube::Error::Api(status))) = &ended
            && status.code == 410
        {
            // The server no longer has the changes since our version. A list brings the present,
            // and with it what was deleted in between.
            debug!(kind = K::KIND.as_str(), "expired, listing again");
            self.resource_version = None;
            return Ok(());
        }
        ended
    }

    async fn list_and_watch(&mut self) -> Result<(), Trouble> {
        let from = match self.resource_version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        let parameters = WatchParams::default();
        let events = answer(self.api.watch(&parameters, &from)).await?;
        pin_mut!(events);
        loop {
            let next = timeout(QUIET, events.next()).await.map_err(|_| Trouble::Quiet)?;
            let Some(event) = next else { return Ok(()) };
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
                    self.resource_version = None;
                    return Err(kube::Error::Api(status).into());
                }
            }
        }
    }

    /// Lists everything. Without a resourceVersion the server answers from its most recent state,
    /// never from a stale cache. Each page is taken up as it comes, so that no more than one is in
    /// memory; what has vanished is known after the last one.
    async fn list(&mut self) -> Result<String, Trouble> {
        let api = self.api.clone();
        let mut pages = Pages::new(&api, ListParams::default());
        let mut listed = HashSet::new();
        let mut take = |object: Tolerant<K>| {
            listed.insert(name_of(&object));
            self.apply(object);
        };
        while answer(pages.next(&mut take)).await? {}
        let version = pages.version().ok_or(Trouble::NoVersion)?;
        let vanished: Vec<_> = self.known.difference(&listed).cloned().collect();
        for name in vanished {
            self.forget(&name);
        }
        info!(kind = K::KIND.as_str(), objects = listed.len(), "listed");
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

    fn apply(&mut self, object: Tolerant<K>) {
        let name = name_of(&object);
        match object.0 {
            Ok(object) => {
                self.index.apply(&object);
                self.known.insert(name);
            }
            Err(invalid) => {
                // One unreadable object must not stop the kind. It is not served.
                warn!(kind = K::KIND.as_str(), object = %name, error = %invalid.error, "unreadable object");
                self.index.withdraw::<K>(&name);
                self.known.insert(name);
            }
        }
    }

    fn forget(&mut self, name: &ObjectName) {
        self.known.remove(name);
        self.index.delete::<K>(name);
    }
}

/// Waits for an answer, but not for ever: the client itself has no timeout.
async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    Ok(timeout(ANSWER, request).await.map_err(|_| Trouble::NoAnswer)??)
}

fn name_of<K: Indexed>(object: &Tolerant<K>) -> ObjectName {
    ObjectName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}
