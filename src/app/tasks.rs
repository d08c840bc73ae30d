//! The tasks of the process, and the order in which they end.

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that end when the same token is cancelled.
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new(stop: CancellationToken) -> Self {
        Self { set: JoinSet::new(), stop }
    }

    /// Runs a part until the token is cancelled.
    pub fn spawn(&mut self, part: impl Future + Send + 'static) {
        self.spawn_with(|stop| async move {
            stop.run_until_cancelled(part).await;
            Ok(())
        });
    }

    /// Runs a part that ends by itself after the token was cancelled.
    pub fn spawn_with<F>(&mut self, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.set.spawn(part(self.stop.clone()));
    }
}

/// Waits until every task has ended. `sources` are stopped once all of `servers` have ended, because
/// those answer from them until their last request. If a task fails, the whole process shuts down in
/// the same order, and is restarted.
pub async fn all_ended(mut servers: Tasks, mut sources: Tasks) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while !servers.set.is_empty() || !sources.set.is_empty() {
        if servers.set.is_empty() {
            sources.stop.cancel();
        }
        let (ended, stop) = tokio::select! {
            Some(ended) = servers.set.join_next() => (ended, &servers.stop),
            Some(ended) = sources.set.join_next() => (ended, &sources.stop),
        };
        let result = ended.context("a task panicked").and_then(|result| result);
        if result.is_err() || !stop.is_cancelled() {
            servers.stop.cancel();
            outcome = outcome.and(result.and_then(|()| unexpected()));
        }
    }
    outcome
}

fn unexpected() -> anyhow::Result<()> {
    anyhow::bail!("a part of the process ended unexpectedly")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn sources_end_after_the_servers() {
        let shutdown = CancellationToken::new();
        let (mut servers, mut sources) =
            (Tasks::new(shutdown.clone()), Tasks::new(CancellationToken::new()));
        let source = sources.stop.clone();
        let (answer, last_request) = oneshot::channel();
        servers.spawn_with(|stop| async move {
            stop.cancelled().await;
            Ok(last_request.await?)
        });
        sources.spawn(pending::<()>());
        shutdown.cancel();
        let ended = tokio::spawn(all_ended(servers, sources));
        // What is ready to run does so now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!source.is_cancelled(), "a request is in flight");
        answer.send(()).unwrap();
        ended.await.unwrap().unwrap();
        assert!(source.is_cancelled());
    }

    #[tokio::test]
    async fn a_part_that_ends_by_itself_ends_the_process() {
        let shutdown = CancellationToken::new();
        let (mut servers, mut sources) =
            (Tasks::new(shutdown.clone()), Tasks::new(CancellationToken::new()));
        servers.spawn(pending::<()>());
        sources.spawn(async {});
        let error = all_ended(servers, sources).await.unwrap_err();
        assert_eq!(error.to_string(), "a part of the process ended unexpectedly");
        assert!(shutdown.is_cancelled());
    }
}
