//! Waits until a condition is true. Nothing here sleeps for a guessed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// A generous limit: only a test that is going to fail waits that long.
const DEADLINE: Duration = Duration::from_mins(3);

/// Polls until the result is `Ok`.
pub async fn eventually<T, E: Display>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(DEADLINE, what, ask).await
}

/// Like [`eventually`], for changes that users are promised to see within a second. The limit is
/// five times that, because the machine may be busy.
pub async fn immediately<T, E: Display>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(Duration::from_secs(5), what, ask).await
}

async fn within<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let last = match ask().await {
            Ok(answer) => return answer,
            Err(last) => last,
        };
        assert!(start.elapsed() < deadline, "{what}: not within {deadline:?}; last: {last}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// For closures of [`eventually`]: `Ok` if `holds` is true, otherwise `found` as the error.
pub fn expect(holds: bool, found: impl Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found.to_string()) }
}
