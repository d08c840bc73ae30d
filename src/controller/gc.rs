//! Garbage collection of orphaned Secrets. Key material has neither finalizers nor owner references
//! (a restore changes uids, and Kubernetes would then delete the keys), so the leader looks for
//! orphans itself.
//!
//! Safe by construction: the Secrets are listed first and their owners after that, both from the
//! API server's most recent state, so a missing owner has really been deleted. Only Secrets with
//! our labels and an id of ours are considered. An orphan is deleted only after it has been one for
//! the whole grace period, with uid and resourceVersion as preconditions. The grace period allows
//! Secrets to be restored before their owners. It restarts with a new leader. The Secrets of owners in
//! namespaces that are not watched are left alone.

mod api_keys;
mod orphans;
mod passwords;
mod sign_ups;
mod signing_keys;
mod sweep;

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::{Context, bindings};
use api_keys::ApiKeys;
use orphans::OrphanTracker;
use passwords::Passwords;
use signing_keys::SigningKeys;
use sweep::Sweep;

/// The maximum time between two passes.
const MAX_INTERVAL: Duration = Duration::from_mins(5);
/// How long after a notification RoleBindings are checked, so that one pass covers many deletions.
const NOTIFICATION_DELAY: Duration = Duration::from_secs(1);

/// Collects garbage until dropped.
pub async fn run(context: &Context) {
    let grace = context.settings.orphan_grace;
    let interval = (grace / 4).clamp(Duration::from_millis(500), MAX_INTERVAL);
    let mut orphans = OrphanTracker::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate.
    ticks.tick().await;
    loop {
        if let Err(error) = bindings::collect(context).await {
            warn!(%error, "failed to check for orphaned RoleBindings; the next pass retries");
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = context.orphaned.notified() => {
                // Many members may be deleted together, and the index may be behind.
                tokio::time::sleep(NOTIFICATION_DELAY).await;
                continue;
            }
        }
        let mut complete = sweep::<SigningKeys>(context, &mut orphans).await;
        complete &= sweep::<Passwords>(context, &mut orphans).await;
        complete &= sweep::<ApiKeys>(context, &mut orphans).await;
        if let Err(error) = sign_ups::records(context, &mut orphans, grace).await {
            complete = false;
            warn!(%error, "failed to delete old sign-up records; the next pass retries");
        }
        if context.settings.allow_sign_up
            && let Err(error) = sign_ups::pass(context, &mut orphans, grace).await
        {
            complete = false;
            warn!(%error, "failed to check for interrupted sign-ups; the next pass retries");
        }
        if complete {
            orphans.forget_unseen();
        }
    }
}

/// Deletes orphaned Secrets of one kind. Returns whether all of them were seen.
async fn sweep<S: Sweep>(context: &Context, orphans: &mut OrphanTracker) -> bool {
    let pass = sweep::pass::<S>(context, orphans).await;
    if let Err(error) = &pass {
        warn!(component = S::COMPONENT, %error, "failed to check for orphaned Secrets; the next pass retries");
    }
    pass.is_ok()
}
