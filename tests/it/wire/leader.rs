//! Leader election against a Lease with compare-and-swap. Time is paused.

use std::sync::Arc;
use std::time::Duration;

use anon_operator::testing::leader::{LEASE_NAME, campaign};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::api::{FakeApi, ok, status};
use crate::support::script::Script;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/anon-system/leases";

/// The one Lease; null while there is none.
type Stored = Arc<Mutex<Value>>;

fn holder(lease: &Stored) -> String {
    lease.lock()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn bump(lease: &mut Value) {
    let version: u64 =
        lease["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse().unwrap();
    lease["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

/// An API server that keeps the Lease as a real one would.
fn api(lease: &Stored) -> FakeApi {
    let lease = Arc::clone(lease);
    FakeApi::new(move |seen| {
        let mut lease = lease.lock();
        let named = format!("{PATH}/{LEASE_NAME}");
        match (&seen.method, seen.path.as_str()) {
            (&Method::GET, path) if path == named && lease.is_null() => status(404, "NotFound"),
            (&Method::POST, PATH) if !lease.is_null() => status(409, "AlreadyExists"),
            (&Method::PUT, path)
                if path == named
                    && seen.body["metadata"]["resourceVersion"]
                        != lease["metadata"]["resourceVersion"] =>
            {
                status(409, "Conflict")
            }
            (&Method::POST | &Method::PUT, _) => {
                let before = std::mem::replace(&mut *lease, seen.body.clone());
                lease["metadata"]["resourceVersion"] =
                    before["metadata"]["resourceVersion"].clone();
                bump(&mut lease);
                ok(&lease)
            }
            _ => ok(&lease),
        }
    })
}

/// Who leads, and since when.
#[derive(Clone, Default)]
struct Leaders(Arc<Mutex<Vec<(&'static str, Instant)>>>);

struct Term(Leaders, &'static str);

impl Drop for Term {
    fn drop(&mut self) {
        self.0.0.lock().retain(|(me, _)| *me != self.1);
    }
}

impl Leaders {
    fn now(&self) -> Vec<&'static str> {
        self.0.lock().iter().map(|(me, _)| *me).collect()
    }

    fn start(&self, client: kube::Client, me: &'static str) -> (CancellationToken, JoinHandle<()>) {
        let (stop, leaders) = (CancellationToken::new(), self.clone());
        let token = stop.clone();
        let lead = move || {
            leaders.0.lock().push((me, Instant::now()));
            let term = Term(leaders.clone(), me);
            async move {
                let _term = term;
                std::future::pending::<()>().await;
            }
        };
        let task =
            tokio::spawn(async move { campaign(client, "anon-system", me, token, lead).await });
        (stop, task)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn acquires_renews_and_gives_back() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let (stop, task) = leaders.start(api.client(), "a");
    sleep(SECOND).await;
    assert_eq!((leaders.now(), holder(&lease)), (vec!["a"], "a".into()));
    assert_eq!(api.log()[1], format!("POST {PATH}"));
    let first = lease.lock().clone();
    sleep(SECOND * 60).await;
    let later = lease.lock().clone();
    assert_eq!(later["spec"]["acquireTime"], first["spec"]["acquireTime"]);
    assert_eq!(later["spec"]["leaseTransitions"], first["spec"]["leaseTransitions"]);
    assert_eq!(later["spec"]["leaseDurationSeconds"], 15);
    let writes = api.log().iter().filter(|line| line.starts_with("PUT")).count();
    assert!((25..=35).contains(&writes), "{writes}");
    stop.cancel();
    task.await.unwrap();
    assert_eq!((leaders.now(), holder(&lease)), (vec![], String::new()));
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_leads_and_the_other_follows() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let (stop_a, task_a) = leaders.start(api.client(), "a");
    sleep(SECOND).await;
    let (_stop_b, _task) = leaders.start(api.client(), "b");
    for _ in 0..300 {
        sleep(SECOND / 10).await;
        assert_eq!(leaders.now(), ["a"]);
    }
    // Given back on shutdown, so the other need not wait for it to run out.
    stop_a.cancel();
    task_a.await.unwrap();
    sleep(SECOND * 3).await;
    assert_eq!((leaders.now(), holder(&lease)), (vec!["b"], "b".into()));
    assert_eq!(lease.lock()["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_start_together_one_leads() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let _running = [leaders.start(api.client(), "a"), leaders.start(api.client(), "b")];
    for _ in 0..300 {
        sleep(SECOND / 10).await;
        assert_eq!(leaders.now().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_silent_is_succeeded_after_its_whole_time() {
    let lease = Stored::default();
    *lease.lock() = json!({
        "metadata": {"name": LEASE_NAME, "resourceVersion": "7", "labels": {"kept": "yes"}},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                 "renewTime": "2020-01-01T00:00:00.000000Z"},
    });
    let (api, leaders) = (api(&lease), Leaders::default());
    let _running = leaders.start(api.client(), "a");
    // A change of the labels of the Lease does not keep its holder alive.
    for _ in 0..14 {
        sleep(SECOND).await;
        assert_eq!(leaders.now(), Vec::<&str>::new());
        bump(&mut lease.lock());
    }
    sleep(SECOND * 5).await;
    assert_eq!((leaders.now(), holder(&lease)), (vec!["a"], "a".into()));
    assert_eq!(lease.lock()["spec"]["leaseTransitions"], 4);
    assert_eq!(lease.lock()["metadata"]["labels"]["kept"], "yes");
}

/// A time that our types cannot hold would fail every GET of the Lease, for good.
#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_is_taken_after_its_whole_time() {
    let lease = Stored::default();
    *lease.lock() = json!({
        "metadata": {"name": LEASE_NAME, "resourceVersion": "7", "labels": {"kept": "yes"},
                     "managedFields": [{"manager": "x", "time": "9999-12-31T23:59:59Z"}]},
        "spec": {"holderIdentity": "gone", "renewTime": "9999-12-31T23:59:59.999999Z"},
    });
    let (api, leaders) = (api(&lease), Leaders::default());
    let (stop, task) = leaders.start(api.client(), "a");
    for _ in 0..14 {
        sleep(SECOND).await;
        assert_eq!(leaders.now(), Vec::<&str>::new());
    }
    sleep(SECOND * 5).await;
    assert_eq!((leaders.now(), holder(&lease)), (vec!["a"], "a".into()));
    assert_eq!(lease.lock()["metadata"]["labels"]["kept"], "yes");
    // And if it becomes so while it is held, it is not held for long.
    {
        let mut lease = lease.lock();
        lease["spec"]["renewTime"] = json!("9999-12-31T23:59:59.999999Z");
        bump(&mut lease);
    }
    sleep(SECOND * 5).await;
    assert_eq!(leaders.now(), Vec::<&str>::new());
    sleep(SECOND * 20).await;
    assert_eq!(leaders.now(), ["a"]);
    stop.cancel();
    task.await.unwrap();
    assert_eq!(holder(&lease), "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_was_taken_stops() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let (stop, task) = leaders.start(api.client(), "a");
    sleep(SECOND).await;
    {
        let mut lease = lease.lock();
        lease["spec"]["holderIdentity"] = json!("thief");
        bump(&mut lease);
    }
    sleep(SECOND * 3).await;
    assert_eq!(leaders.now(), Vec::<&str>::new());
    // And does not give away what is not its own.
    stop.cancel();
    task.await.unwrap();
    assert_eq!(holder(&lease), "thief");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_vanishes_is_made_again() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let _running = leaders.start(api.client(), "a");
    sleep(SECOND).await;
    *lease.lock() = Value::Null;
    sleep(SECOND * 3).await;
    assert_eq!((leaders.now(), holder(&lease)), (vec!["a"], "a".into()));
}

#[tokio::test(start_paused = true)]
async fn errors_end_the_term_before_the_lease_runs_out() {
    let lease = Stored::default();
    let (api, leaders) = (api(&lease), Leaders::default());
    let _running = leaders.start(api.client(), "a");
    sleep(SECOND * 5).await;
    api.answer(|_| status(500, "InternalError"));
    sleep(SECOND * 5).await;
    assert_eq!(leaders.now(), ["a"], "one failure is no loss");
    sleep(SECOND * 6).await;
    assert_eq!(leaders.now(), Vec::<&str>::new());
}

/// Answers nothing any more: neither an error nor an end.
#[tokio::test(start_paused = true)]
async fn silence_ends_the_term_before_the_lease_runs_out() {
    let (mut server, client) = Script::new();
    let leaders = Leaders::default();
    let (stop, task) = leaders.start(client, "a");
    server.next().await.status(404, "NotFound");
    let claim = server.next().await;
    let sent = claim.at;
    // Answered late: the claim counts from when it was sent.
    sleep(SECOND * 3).await;
    claim.ok(&json!({
        "metadata": {"name": LEASE_NAME, "resourceVersion": "1"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    }));
    sleep(SECOND / 10).await;
    assert_eq!(leaders.now(), ["a"]);
    // Every request is left without an answer, and given up for another one.
    let mut unanswered = Vec::new();
    while !leaders.now().is_empty() {
        tokio::select! {
            ask = server.next() => unanswered.push(ask),
            () = sleep(SECOND / 10) => {}
        }
    }
    assert!(sent.elapsed() <= SECOND * 11, "{:?}", sent.elapsed());
    assert!(!unanswered.is_empty());
    // The candidate is not stuck either.
    let again = server.next().await;
    assert!(sent.elapsed() < SECOND * 20);
    drop(again);
    stop.cancel();
    task.await.unwrap();
}

/// A winner whose answer never came back holds the Lease without knowing; it gives it back anyway.
#[tokio::test(start_paused = true)]
async fn a_claim_in_flight_is_given_back_on_shutdown() {
    let (mut server, client) = Script::new();
    let leaders = Leaders::default();
    let (stop, task) = leaders.start(client, "a");
    server.next().await.status(404, "NotFound");
    let _claim = server.next().await;
    stop.cancel();
    let read = server.next().await;
    assert_eq!(read.method, "GET");
    read.ok(&json!({
        "metadata": {"name": LEASE_NAME, "resourceVersion": "1"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    }));
    let write = server.next().await;
    assert_eq!(write.method, "PUT");
    write.ok(&json!({"metadata": {"name": LEASE_NAME, "resourceVersion": "2"}}));
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn controllers_that_end_are_started_again_without_haste() {
    let lease = Stored::default();
    let api = api(&lease);
    let (terms, stop) = (Arc::new(Mutex::new(0)), CancellationToken::new());
    let (counted, token, client) = (Arc::clone(&terms), stop.clone(), api.client());
    let lead = move || {
        *counted.lock() += 1;
        std::future::ready(())
    };
    let task = tokio::spawn(async move { campaign(client, "anon-system", "a", token, lead).await });
    sleep(SECOND * 20).await;
    let terms = *terms.lock();
    assert!((2..=12).contains(&terms), "{terms}");
    stop.cancel();
    task.await.unwrap();
}
