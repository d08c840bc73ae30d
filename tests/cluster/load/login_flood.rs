//! A flood of logins costs what two logins cost, however wide it is, and nobody else notices.

use std::cell::Cell;
use std::fs;

use futures::{StreamExt as _, stream};
use serde_json::json;

use crate::harness::{Operator, Space, alone, http};

const LOGINS: usize = 300;
const AT_ONCE: usize = 60;
/// Of two logins that are checked at a time: each takes 19 MiB (`domain::password`). And what a hundred
/// connections and the allocator take besides.
const MAX_GROWTH_KB: u64 = 2 * 19 * 1024 + 40 * 1024;

/// The most memory that the operator ever had, in kB.
fn peak_kb(operator: &Operator) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", operator.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_logins_is_bounded_and_validation_goes_on() {
    let _turn = alone().await;
    // Every login from an address of its own: the limit per address would end the flood at once.
    let operator = Operator::start(&["--trusted-proxy-hops=1"]).await;
    let space = Space::new("flood").await;
    let key = space.backend().await;
    operator.gives(&key, None, "200").await;
    let before = peak_kb(&operator);

    let over = Cell::new(false);
    let flood = async {
        let url = operator.url("/org/login");
        let log_in = async |n: usize| {
            let address = format!("198.51.{}.{}", n / 250, n % 250 + 1);
            let body = json!({"email": format!("u{n}@flood.example"), "password": "guess"});
            http::post(&url, &[("x-forwarded-for", &address)], &body).await.unwrap()
        };
        let logins = stream::iter(0..LOGINS).map(log_in).buffer_unordered(AT_ONCE);
        let replies: Vec<_> = logins.collect().await;
        over.set(true);
        replies
    };
    let validate = async {
        let mut count = 0_usize;
        while !over.get() {
            assert_eq!(operator.validate(&key, None).await.verdict(), "200");
            count += 1;
        }
        count
    };
    let (replies, validations) = tokio::join!(flood, validate);

    // Checked and refused, or told to come back.
    let checked = replies.iter().filter(|reply| reply.status == 401).count();
    for reply in replies.iter().filter(|reply| reply.status != 401) {
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    }
    assert!(checked > 0, "nobody was let to try");
    assert!(validations > 0);
    let growth = peak_kb(&operator).saturating_sub(before);
    eprintln!("{checked} of {LOGINS} checked, {validations} validations, {growth} kB more");
    assert!(growth < MAX_GROWTH_KB, "{growth} kB more than before");
}
