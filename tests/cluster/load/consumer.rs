//! A consumer that reads its key from the Secret and uses it is never refused: by no validator,
//! through a hundred rotations, restarts of the operator included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anon_operator::testing::crd::SdkClient;
use anon_operator::testing::domain::stored_key::ApiKeyState;
use serde_json::json;

use crate::harness::cluster::acknowledges;
use crate::harness::operator::Setup;
use crate::harness::turn::free_lease;
use crate::harness::{Operator, Space, alone, eventually};

/// How long a key remains valid, at least, after the next one was delivered.
const OVERLAP: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_hundred_rotations_and_no_refusal() {
    let _turn = alone().await;
    // The operator is killed four times. Without acknowledgements, a rotation takes ten seconds.
    let rotations = if acknowledges().await { 100 } else { 8 };
    let space = Space::new("consumer").await;
    let mut leader = Operator::start(&[]).await;
    let mut validators = Vec::new();
    for replica in [1, 2] {
        let flags = vec!["--roles=validator".to_owned()];
        validators.push(Operator::launch(Setup { replica, flags, ..Setup::default() }).await);
    }
    space
        .apply(&json!({
            "apiVersion": "anon.dev/v1beta1", "kind": "SdkClient", "metadata": {"name": "backend"},
            "spec": {"service": {"role": "Member", "apiKey": {"delivery": {
                "secretName": "key",
                // Whole seconds count, so it is a second longer.
                "rotation": {"interval": "24h", "overlap": format!("{}s", OVERLAP.as_secs() + 1)},
            }}}},
        }))
        .await;
    space.ready::<SdkClient>("backend").await;
    // The first key is in the Secret before anybody knows it (ADR 0004); every later one is not.
    let first = space.api_key("key").await;
    for validator in &validators {
        validator.gives(&first, None, "200").await;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let uses = Arc::new(AtomicUsize::new(0));
    let consume = async {
        while !stop.load(Ordering::Relaxed) {
            let read = Instant::now();
            let key = space.api_key("key").await;
            for validator in &validators {
                let verdict = validator.validate(&key, None).await.verdict();
                // A consumer that uses a key after its overlap is late.
                if verdict == "200" || read.elapsed() < OVERLAP {
                    assert_eq!(verdict, "200", "after {} uses", uses.load(Ordering::Relaxed));
                    uses.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    let rotate = async {
        for n in 1..=rotations {
            let before = current(&space).await;
            let request = json!({"metadata": {"annotations": {"anon.dev/rotate": n.to_string()}}});
            space.merge::<SdkClient>("backend", request).await;
            if n % (rotations / 4) == 0 {
                leader.kill();
                free_lease().await;
                leader = Operator::start(&[]).await;
            }
            eventually(&format!("rotation {n} is done"), async || {
                let now = current(&space).await;
                if now == before { Err("the old key is current") } else { Ok(()) }
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        leader
    };
    let (leader, ()) = tokio::join!(rotate, consume);
    // Validators of the leader's own process count too.
    let key = space.api_key("key").await;
    assert_eq!(leader.validate(&key, None).await.verdict(), "200");
    assert!(uses.load(Ordering::Relaxed) > rotations);
}

/// The id of the Current key in status.
async fn current(space: &Space) -> String {
    let client: SdkClient = space.get("backend").await.unwrap();
    let keys = client.status.unwrap_or_default().keys;
    let current = keys.into_iter().find(|key| key.state == ApiKeyState::Current);
    current.map(|key| key.id).unwrap_or_default()
}
