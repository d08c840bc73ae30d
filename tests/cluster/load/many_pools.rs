//! A hundred RSA keys at once are made beside the validation of credentials, not in its way.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anon_operator::testing::crd::UserPool;
use futures::future::join_all;
use serde_json::json;

use crate::harness::{Operator, Space, alone, pool};

const POOLS: usize = 100;

/// How long one validation takes, which has to succeed.
async fn validation(operator: &Operator, key: &str) -> Duration {
    let start = Instant::now();
    assert_eq!(operator.validate(key, None).await.verdict(), "200");
    start.elapsed()
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let share = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!(
        "{what}: {} validations, {:?} {:?} {:?}",
        times.len(),
        share(50),
        share(99),
        share(100)
    );
}

#[tokio::test]
async fn a_hundred_pools_at_once_leave_validation_alone() {
    let _turn = alone().await;
    let operator = Operator::start(&[]).await;
    let space = Space::new("many").await;
    let key = space.backend().await;
    operator.gives(&key, None, "200").await;

    let mut before = Vec::new();
    for _ in 0..300 {
        before.push(validation(&operator, &key).await);
    }
    let done = Cell::new(false);
    let make = async {
        let names: Vec<_> = (0..POOLS).map(|n| format!("p{n}")).collect();
        join_all(names.iter().map(async |name| {
            space.apply(&pool(name, json!({"algorithm": "RS256"}))).await;
        }))
        .await;
        for name in &names {
            space.ready::<UserPool>(name).await;
        }
        done.set(true);
    };
    let validate = async {
        let mut times = Vec::new();
        while !done.get() {
            times.push(validation(&operator, &key).await);
        }
        times
    };
    let ((), during) = tokio::join!(make, validate);
    // For people: what is fast enough depends on what else the machine does.
    show("before (p50, p99, max)", before);
    show("while the keys are made", during);
}
