//! Repeats writes that another writer got ahead of.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

use super::error::is_conflict;

/// The pause after the first conflict; it grows with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(15);
/// The longest pause, without the random part that lets concurrent writers take turns.
const MAX_PAUSE: Duration = Duration::from_millis(150);

/// Repeats `attempt`, which reads an object and writes it with the resourceVersion that it read,
/// while the write is a conflict.
///
/// # Errors
/// The first error that is no conflict, or the conflict of the last of `attempts` attempts.
pub async fn on_conflict<T, F>(attempts: usize, attempt: impl FnMut() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .with_factor(1.5)
        .with_jitter()
        .with_max_times(attempts.saturating_sub(1));
    attempt.retry(pauses).when(is_conflict).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: u16) -> kube::Error {
        let status = kube::core::Status::failure("no", "Reason").with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_conflicts_and_nothing_else() {
        for (code, succeeds_at, attempts, is_ok) in
            [(409, 4, 4, true), (409, 9, 4, false), (500, 2, 1, false), (500, 1, 1, true)]
        {
            let mut made = 0;
            let result = on_conflict(4, || {
                made += 1;
                std::future::ready(if made == succeeds_at { Ok(()) } else { Err(failure(code)) })
            })
            .await;
            assert_eq!((made, result.is_ok()), (attempts, is_ok), "{code} {succeeds_at}");
        }
    }
}
