//! Watches the clients like a user, so that "all Ready" is measured as a user sees it. It also runs
//! during the baseline, so that its costs are part of both measurements.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::{ApiKeyState, SdkClient, condition};
use anyhow::bail;
use futures::{StreamExt as _, pin_mut};
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::shared::cluster::NAMESPACE;

/// Timeout for each wait.
const LIMIT: Duration = Duration::from_mins(10);

/// Clients that are Ready, with the id of their Current key.
type Ready = HashMap<String, String>;

/// A watch on the clients.
pub struct Observer {
    ready: Arc<Mutex<Ready>>,
    task: JoinHandle<()>,
}

impl Observer {
    pub fn start(client: Client) -> Self {
        let ready = Arc::new(Mutex::new(Ready::new()));
        let shared = Arc::clone(&ready);
        let task = tokio::spawn(async move {
            let api: Api<SdkClient> = Api::namespaced(client, NAMESPACE);
            let events = watcher(api, watcher::Config::default()).default_backoff();
            pin_mut!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => note(&shared, &object),
                    Ok(Event::Delete(object)) => drop(shared.lock().remove(&object.name_any())),
                    Ok(Event::Init) => shared.lock().clear(),
                    Ok(Event::InitDone) => {}
                    Err(error) => eprintln!("the observer's watch failed: {error}"),
                }
            }
        });
        Self { ready, task }
    }

    /// The clients that are Ready now.
    pub fn snapshot(&self) -> Ready {
        self.ready.lock().clone()
    }

    /// Waits until this number of clients is Ready.
    pub async fn until_ready(&self, count: usize) -> anyhow::Result<()> {
        self.until(|ready| (ready.len(), ready.len() == count)).await
    }

    /// Waits until every client has a different key than in `before`.
    pub async fn until_rotated(&self, before: &Ready) -> anyhow::Result<()> {
        let rotated = |ready: &Ready| {
            before
                .iter()
                .filter(|(name, key)| ready.get(*name).is_some_and(|now| now != *key))
                .count()
        };
        self.until(|ready| {
            let count = rotated(ready);
            (count, count == before.len())
        })
        .await
    }

    async fn until(&self, done: impl Fn(&Ready) -> (usize, bool)) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let (count, done) = done(&self.ready.lock());
            if done {
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                bail!("only {count} clients were done after {} s", LIMIT.as_secs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(ready: &Mutex<Ready>, object: &SdkClient) {
    let name = object.name_any();
    let status = object.status.as_ref().filter(|status| condition::is_ready(&status.conditions));
    let current = status.and_then(|status| {
        let key = status.keys.iter().find(|key| key.state == ApiKeyState::Current)?;
        Some(key.id.clone())
    });
    match current {
        Some(key) => drop(ready.lock().insert(name, key)),
        None => drop(ready.lock().remove(&name)),
    }
}
