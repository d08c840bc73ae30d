//! Lists and watches one kind, and applies every object to the index.
//!
//! kube's own `watcher` does not report the resourceVersion of bookmarks and of complete lists.
//! This loop does, because the replica must report exactly which resourceVersion it has applied:
//! the leader waits for that before it uses a new key ([`crate::replicas::tracker`]).

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt as _, pin_mut};
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::known::Known;
use crate::domain::ids::ObjectName;
use crate::index::{Index, Indexed};
use crate::kube_ext::error::short;
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages::Pages;
use crate::kube_ext::scope;
use crate::kube_ext::tolerant::Tolerant;
use crate::telemetry::millis;

/// The timeout for a page of a list, and for the start of a watch.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum time without an event. The API server sends a bookmark about every minute, so a
/// longer silence means that the connection is dead, and that deletions may have been missed.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(150);
/// The pause after the first failure, doubled up to [`MAX_BACKOFF`] with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// The number of consecutive failures after which the resourceVersion is considered unusable.
const RELIST_AFTER_FAILURES: u32 = 8;

/// Why list or watch failed.
#[derive(Debug, Error)]
enum WatchError {
    #[error("{}", short(.0))]
    Api(#[from] kube::Error),
    #[error("no response from the API server within {REQUEST_TIMEOUT:?}")]
    NoAnswer,
    #[error("no event from the API server for {SILENCE_TIMEOUT:?}")]
    Quiet,
    #[error("the list has no resourceVersion")]
    NoVersion,
}

/// Keeps the objects of kind `K` in the index up to date until dropped: with one watch, or with one
/// in each watched namespace.
pub async fn drive<K: Indexed>(client: Client, index: &Index) {
    let parts = index.scope().parts();
    join_all(parts.into_iter().map(|part| drive_part::<K>(&client, index, part))).await;
}

async fn drive_part<K: Indexed>(client: &Client, index: &Index, part: Option<&str>) {
    let mut watch = Watch::<K> {
        api: scope::api(client, part),
        part,
        index,
        known: Known::default(),
        resource_version: None,
    };
    let mut failures = 0_u32;
    let kind = K::KIND.as_str();
    loop {
        let started = Instant::now();
        let ended = watch.step().await;
        // A watch that lasted resets the backoff, however it ended. One that ended at once is
        // treated as a failure, even if the server closed it properly.
        if started.elapsed() >= MAX_BACKOFF {
            failures = 0;
            if ended.is_ok() {
                continue;
            }
        }
        let pause = MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(failures)).min(MAX_BACKOFF);
        failures = failures.saturating_add(1);
        if failures.is_multiple_of(RELIST_AFTER_FAILURES) {
            watch.resource_version = None;
        }
        match ended {
            Ok(()) => debug!(kind, "the API server closed the watch early"),
            Err(error) => {
                warn!(kind, namespace = part, %error, retry_in_ms = millis(pause), "list or watch failed");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

struct Watch<'i, K: Indexed> {
    api: Api<Tolerant<K>>,
    /// The part of the scope that it watches.
    part: Option<&'i str>,
    index: &'i Index,
    /// The objects that it has put into the index, so that a list shows which were deleted unobserved.
    known: Known,
    /// The resourceVersion up to which the index is current; `None` if a list is needed.
    resource_version: Option<String>,
}

impl<K: Indexed> Watch<'_, K> {
    /// Lists if necessary, then watches until the server closes the watch.
    async fn step(&mut self) -> Result<(), WatchError> {
        let ended = self.list_and_watch().await;
        if let Err(WatchError::Api(kube::Error::Api(status))) = &ended
            && status.code == 410
        {
            // 410 Gone: the server no longer has the changes since our resourceVersion. A list
            // returns the current objects, and so shows which were deleted in between.
            debug!(kind = K::KIND.as_str(), "resourceVersion expired; listing again");
            self.resource_version = None;
            return Ok(());
        }
        ended
    }

    async fn list_and_watch(&mut self) -> Result<(), WatchError> {
        let from = match self.resource_version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        let parameters = WatchParams::default();
        let events = answer(self.api.watch(&parameters, &from)).await?;
        pin_mut!(events);
        loop {
            let next =
                timeout(SILENCE_TIMEOUT, events.next()).await.map_err(|_| WatchError::Quiet)?;
            let Some(event) = next else { return Ok(()) };
            match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = object.resource_version();
                    let awaited = self.apply(object);
                    self.advance(version);
                    if awaited {
                        self.index.report_at_once();
                    }
                }
                WatchEvent::Deleted(object) => {
                    self.forget(&object_name(&object));
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

    /// Lists every object. Without a resourceVersion, the server responds with its most recent
    /// state and never from a stale cache. Each page is applied when it arrives, so that only one
    /// is in memory. Objects that were deleted unobserved are removed after the last page.
    async fn list(&mut self) -> Result<String, WatchError> {
        let api = self.api.clone();
        let mut pages = Pages::new(&api, ListParams::default());
        self.known.begin_list();
        let mut take = |object: Tolerant<K>| {
            self.apply(object);
        };
        while answer(pages.next(&mut take)).await? {}
        let version = pages.version().ok_or(WatchError::NoVersion)?;
        for name in self.known.vanished() {
            self.forget(&name);
        }
        info!(
            kind = K::KIND.as_str(),
            namespace = self.part,
            objects = self.known.len(),
            "list complete"
        );
        self.advance(Some(version.clone()));
        self.index.listed(K::KIND, self.part);
        Ok(version)
    }

    /// Records that every change up to this version is in the index. Called only after it is.
    fn advance(&mut self, version: Option<String>) {
        if let Some(version) = &version {
            self.index.advanced(K::KIND, self.part, version);
        }
        self.resource_version = version;
    }

    /// Returns whether the leader waits until every replica has applied this object.
    fn apply(&mut self, object: Tolerant<K>) -> bool {
        let name = object_name(&object);
        self.known.insert(&name);
        match object.0 {
            Ok(object) => {
                self.index.apply(&object);
                object.is_awaited()
            }
            Err(invalid) => {
                // It is not served, and must not block the other objects of its kind.
                self.index.withdraw::<K>(&name);
                let (kind, ObjectName { namespace, name }) = (K::KIND.as_str(), name);
                warn!(kind, %namespace, %name, error = %invalid.error, "ignoring an unreadable object");
                false
            }
        }
    }

    fn forget(&mut self, name: &ObjectName) {
        self.known.remove(name);
        self.index.delete::<K>(name);
    }
}

/// Limits the time to wait for a response, because the client itself has no timeout.
async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, WatchError> {
    Ok(timeout(REQUEST_TIMEOUT, request).await.map_err(|_| WatchError::NoAnswer)??)
}
