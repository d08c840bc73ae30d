//! Turns signals into one cancellation token that every part watches.

use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
///
/// # Errors
/// The signal handlers cannot be installed.
#[expect(clippy::disallowed_methods, reason = "nothing waits for it: it ends with the process")]
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        info!("shutdown requested; finishing requests in flight");
        cancel.cancel();
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        warn!("second shutdown signal; stopping at once");
        process::exit(130);
    });
    Ok(token)
}
