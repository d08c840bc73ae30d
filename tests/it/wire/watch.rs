//! `watch/objects.rs` with an API server that behaves: pages, events, bookmarks, ends, expiry.

use std::sync::Arc;

use anon_operator::testing::crd::{Kind, UserPool};
use anon_operator::testing::domain::ids::UserPoolId;
use anon_operator::testing::index::{Index, Reader};
use anon_operator::testing::watch::objects;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::UNLIMITED;
use crate::support::api::failure;
use crate::support::objects::{pool_json, signing_key};
use crate::support::script::{Events, Script};

/// The index of one replica that watches UserPools of a scripted API server.
pub struct Wire {
    pub server: Script,
    pub index: Arc<Index>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    pub fn start() -> Self {
        let (server, client) = Script::new();
        let index = Arc::new(Index::new(UNLIMITED));
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::UserPool) {
            index.listed(kind, None);
        }
        index.namespaces_listed([]);
        let watched = Arc::clone(&index);
        let task = tokio::spawn(async move { objects::drive::<UserPool>(client, &watched).await });
        Self { server, index, task }
    }

    /// Listed these at version 10, and watching from there.
    pub async fn watching(names: &[&str]) -> (Self, Events) {
        let mut wire = Self::start();
        wire.server.list().await.ok(&list("10", names, ""));
        let events = wire.server.watch("10").await.stream();
        wire.serves(names).await;
        (wire, events)
    }

    /// Waits until exactly these of `a` to `d` are served.
    pub async fn serves(&self, names: &[&str]) {
        let reader = Reader::new(Arc::clone(&self.index));
        let served = || {
            let all = ["a", "b", "c", "d"].into_iter();
            all.filter(|name| reader.pool(UserPoolId::derive("acme", name)).is_some()).collect()
        };
        let mut now: Vec<_> = served();
        for _ in 0..1000 {
            if now == names {
                return;
            }
            tokio::task::yield_now().await;
            now = served();
        }
        assert_eq!(now, names);
    }

    pub fn is_ready(&self) -> bool {
        Reader::new(Arc::clone(&self.index)).is_ready()
    }
}

pub fn pool(name: &str, version: &str) -> Value {
    let mut pool = pool_json("acme", name, signing_key());
    pool["metadata"]["resourceVersion"] = json!(version);
    pool
}

pub fn list(version: &str, names: &[&str], next: &str) -> Value {
    let items: Vec<_> = names.iter().map(|name| pool(name, "1")).collect();
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "UserPoolList", "items": items,
        "metadata": {"resourceVersion": version, "continue": next},
    })
}

pub fn bookmark(version: &str) -> Value {
    json!({
        "apiVersion": "anon.dev/v1beta1", "kind": "UserPool",
        "metadata": {"resourceVersion": version, "creationTimestamp": null},
    })
}

#[tokio::test(start_paused = true)]
async fn pages_are_one_list() {
    let mut wire = Wire::start();
    let first = wire.server.list().await;
    assert_eq!(
        (first.path.as_str(), first.method.as_str()),
        ("/apis/anon.dev/v1beta1/userpools", "GET")
    );
    assert!(first.parameter("limit").is_some());
    assert_eq!(first.parameter("resourceVersion"), None, "from the most recent state");
    first.ok(&list("10", &["a"], "more"));
    let second = wire.server.list().await;
    assert_eq!(second.parameter("continue"), Some("more"));
    assert!(!wire.is_ready(), "half a list is none");
    second.ok(&list("10", &["b"], ""));
    wire.server.watch("10").await;
    wire.serves(&["a", "b"]).await;
    assert!(wire.is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_an_answer() {
    let (wire, _events) = Wire::watching(&[]).await;
    assert!(wire.is_ready());
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_up() {
    let (wire, events) = Wire::watching(&["a"]).await;
    events.send("ADDED", &pool("b", "11"));
    wire.serves(&["a", "b"]).await;
    let mut going = pool("a", "12");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    events.send("MODIFIED", &going);
    wire.serves(&["b"]).await;
    events.send("DELETED", &going);
    events.send("ADDED", &pool("a", "14"));
    events.send("DELETED", &pool("b", "15"));
    wire.serves(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let (mut wire, events) = Wire::watching(&["a"]).await;
    events.send("ADDED", &pool("b", "11"));
    drop(events);
    let events = wire.server.watch("11").await.stream();
    wire.serves(&["a", "b"]).await;
    // A bookmark moves the version without an object.
    events.send("BOOKMARK", &bookmark("20"));
    drop(events);
    let events = wire.server.watch("20").await.stream();
    events.send("DELETED", &pool("b", "21"));
    drop(events);
    wire.server.watch("21").await;
    wire.serves(&["a"]).await;
}

/// 410 comes as an event or as the answer to the request; either way a list is due, and what was
/// deleted while nobody looked is gone.
#[tokio::test(start_paused = true)]
async fn an_expired_version_means_a_list() {
    let (mut wire, events) = Wire::watching(&["a", "b"]).await;
    events.send("ERROR", &failure(410, "Expired"));
    wire.server.list().await.ok(&list("30", &["b", "c"], ""));
    let events = wire.server.watch("30").await;
    wire.serves(&["b", "c"]).await;

    events.status(410, "Expired");
    wire.server.list().await.ok(&list("40", &["c"], ""));
    let events = wire.server.watch("40").await.stream();
    wire.serves(&["c"]).await;

    // The body of an ERROR event that is not a watch event at all.
    events.line(&failure(410, "Expired").to_string());
    wire.server.list().await.ok(&list("50", &[], ""));
    wire.server.watch("50").await;
    wire.serves(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_continue_token_that_expired_means_a_list_from_the_start() {
    let mut wire = Wire::start();
    wire.server.list().await.ok(&list("10", &["a"], "more"));
    wire.server.list().await.status(410, "Expired");
    let again = wire.server.list().await;
    assert_eq!(again.parameter("continue"), None);
    assert!(!wire.is_ready());
    again.ok(&list("12", &["b"], ""));
    wire.server.watch("12").await;
    wire.serves(&["b"]).await;
}
