//! Leader election with a Lease (`coordination.k8s.io/v1`): at most one replica runs the
//! controllers.
//!
//! [`decide`] is pure. The loop around it replaces the Lease with the resourceVersion that it read,
//! so of two candidates one gets a 409. A Lease is no fence: a leader that was suspended may still
//! have a write in flight when another one takes over. Therefore every write that matters has a
//! precondition of its own, and election only prevents contention. What happens when a leader dies
//! in the middle of a rotation is decided by the order of the writes;
//! tests/cluster/alone/crash_order.rs kills a leader after each of them.
//!
//! Not a crate such as kubert: it compares the times in the Lease with the local clock, which differs
//! between machines. Here the decision is a pure function, tested without an API server.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock;
use crate::kube_ext::api::readable;
use crate::kube_ext::error::{is_conflict, short};
use crate::kube_ext::tolerant::Tolerant;
use crate::names;

/// Name of the Lease, in the operator's namespace.
pub const LEASE_NAME: &str = names::LEADER_LEASE;

/// How long the Lease is valid without renewal.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew continues. Shorter than [`LEASE_DURATION`], so that it has stopped
/// before another replica can take over, even if their clocks run at different speeds.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the Lease is renewed or checked.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How long one request may take; the client itself has no timeout. Shorter than
/// [`RENEW_DEADLINE`], so that a dead connection leaves time for another.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// What a replica does about the Lease that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The Lease does not exist: create it.
    Create,
    /// It is free, or its holder has not renewed it for its whole duration: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Another replica holds it.
    Wait,
}

/// Decides by the Lease and by how long it has been observed unchanged. The times *in* it come from
/// another machine's clock and are compared only with each other, never with ours.
#[must_use]
pub fn decide(lease: Option<&Lease>, me: &str, unchanged_for: Duration) -> Decision {
    let Some(spec) = lease.map(|lease| lease.spec.as_ref()) else {
        return Decision::Create;
    };
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    match holder {
        holder if holder == me => Decision::Renew,
        "" => Decision::Take,
        _ if unchanged_for > duration => Decision::Take,
        _ => Decision::Wait,
    }
}

/// Campaigns for the Lease until `shutdown`. While it is held, the future that `lead` creates runs;
/// it is dropped the moment the Lease is lost. On shutdown the Lease is released, so that a
/// successor need not wait.
pub async fn campaign<F, L>(
    client: Client,
    namespace: &str,
    me: &str,
    shutdown: CancellationToken,
    mut lead: L,
) where
    F: Future<Output = ()>,
    L: FnMut() -> F,
{
    let mut candidate = Candidate {
        api: Api::namespaced(client, namespace),
        me: me.to_owned(),
        seen: None,
        seen_at: Instant::now(),
    };
    while let Some(claimed_at) = shutdown.run_until_cancelled(candidate.win()).await {
        info!(identity = me, "became leader");
        tokio::select! {
            () = lead() => warn!("the controllers ended unexpectedly; restarting them"),
            () = candidate.hold(claimed_at) => warn!("lost leadership; stopping the controllers"),
            () = shutdown.cancelled() => break,
        }
        if shutdown.run_until_cancelled(sleep(RETRY_INTERVAL)).await.is_none() {
            break;
        }
    }
    candidate.release().await;
}

struct Candidate {
    api: Api<Tolerant<Lease>>,
    me: String,
    seen: Option<Lease>,
    /// When the holder in `seen` was last observed to renew, by our own clock.
    seen_at: Instant,
}

impl Candidate {
    /// Returns once the Lease is ours, with the time from which it is valid: when the request was
    /// sent, not when it was answered.
    async fn win(&mut self) -> Instant {
        loop {
            let asked = Instant::now();
            match timeout(REQUEST_TIMEOUT, self.try_once()).await {
                Ok(Ok(true)) => return asked,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    warn!(error = %short(&error), "failed to read or write the leader's Lease");
                }
                Err(_) => warn!("no answer about the leader's Lease within {REQUEST_TIMEOUT:?}"),
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Renews the Lease until it is lost: taken by another replica, or not renewed in time.
    async fn hold(&mut self, mut claimed_at: Instant) {
        loop {
            let left = RENEW_DEADLINE.saturating_sub(claimed_at.elapsed());
            sleep(RETRY_INTERVAL.min(left)).await;
            let left = RENEW_DEADLINE.saturating_sub(claimed_at.elapsed());
            if left.is_zero() {
                return;
            }
            let asked = Instant::now();
            match timeout(REQUEST_TIMEOUT.min(left), self.try_once()).await {
                Ok(Ok(true)) => claimed_at = asked,
                Ok(Ok(false)) if self.held_by_another() => return,
                Ok(Ok(false)) => debug!("the leader's Lease changed in between"),
                Ok(Err(error)) => {
                    warn!(error = %short(&error), "failed to renew the leader's Lease");
                }
                Err(_) => warn!("timed out renewing the leader's Lease"),
            }
        }
    }

    /// Releases the Lease if it is ours, even if we do not know that yet because the response was
    /// still on its way.
    async fn release(&self) {
        match timeout(RETRY_INTERVAL, self.try_release()).await {
            Ok(Ok(true)) => info!("released the leader's Lease"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                warn!(error = %short(&error), "failed to release the leader's Lease");
            }
            Err(_) => warn!("timed out releasing the leader's Lease"),
        }
    }

    async fn try_release(&self) -> kube::Result<bool> {
        loop {
            let read = self.api.get_opt(LEASE_NAME).await?;
            let Some(mut lease) = read.map(lease_or_stand_in) else { return Ok(false) };
            let ours = |spec: &&mut LeaseSpec| spec.holder_identity.as_ref() == Some(&self.me);
            let Some(spec) = lease.spec.as_mut().filter(ours) else { return Ok(false) };
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            let lease = Tolerant::new(lease);
            match self.api.replace(LEASE_NAME, &PostParams::default(), &lease).await {
                Ok(_) => return Ok(true),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn held_by_another(&self) -> bool {
        let spec = self.seen.as_ref().and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        !holder.is_empty() && holder != self.me
    }

    /// Reads, decides and, if allowed, writes. Returns whether the Lease is ours now.
    async fn try_once(&mut self) -> kube::Result<bool> {
        self.read().await?;
        let (claim, parameters) = (Tolerant::new(self.claim()), PostParams::default());
        let written = match decide(self.seen.as_ref(), &self.me, self.seen_at.elapsed()) {
            Decision::Wait => return Ok(false),
            Decision::Create => self.api.create(&parameters, &claim).await,
            Decision::Take | Decision::Renew => {
                self.api.replace(LEASE_NAME, &parameters, &claim).await
            }
        };
        match readable(written) {
            Ok(lease) => {
                self.seen = Some(lease);
                self.seen_at = Instant::now();
                Ok(true)
            }
            // Another replica was faster: find out which.
            Err(error) if is_conflict(&error) => {
                self.read().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self) -> kube::Result<()> {
        let read = self.api.get_opt(LEASE_NAME).await?.map(lease_or_stand_in);
        let spec = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.spec.clone());
        // Only a renewal is a sign of life, not just any change, such as a label added to the
        // Lease.
        if spec(&read) != spec(&self.seen) {
            self.seen_at = Instant::now();
        }
        self.seen = read;
        Ok(())
    }

    /// The Lease as we hold it, with the resourceVersion that was read.
    fn claim(&self) -> Lease {
        let before = self.seen.as_ref().and_then(|lease| lease.spec.as_ref());
        let ours = before.filter(|spec| spec.holder_identity.as_ref() == Some(&self.me));
        let now = Some(MicroTime(clock::to_show()));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        let metadata = self.seen.as_ref().map(|lease| lease.metadata.clone());
        let named = || ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
        Lease {
            metadata: metadata.unwrap_or_else(named),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: ours.map_or_else(|| now.clone(), |spec| spec.acquire_time.clone()),
                renew_time: now,
                lease_transitions: Some(transitions.saturating_add(i32::from(ours.is_none()))),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The Lease. One that cannot be read, because a user has written a time of the year 9999 into it,
/// say, is another's: it is taken once it has not changed for the usual time.
fn lease_or_stand_in(lease: Tolerant<Lease>) -> Lease {
    lease.0.unwrap_or_else(|unreadable| {
        warn!(error = %unreadable, "the leader's Lease cannot be read");
        Lease {
            metadata: unreadable.metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some("unreadable".to_owned()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                ..LeaseSpec::default()
            }),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, seconds: i32) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn decides_by_holder_and_by_silence() {
        let quiet = Duration::from_secs;
        assert_eq!(decide(None, "me", quiet(0)), Decision::Create);
        assert_eq!(decide(Some(&lease("me", 15)), "me", quiet(100)), Decision::Renew);
        assert_eq!(decide(Some(&lease("other", 15)), "me", quiet(15)), Decision::Wait);
        assert_eq!(decide(Some(&lease("other", 15)), "me", quiet(16)), Decision::Take);
        assert_eq!(decide(Some(&lease("", 15)), "me", quiet(0)), Decision::Take);
        assert_eq!(decide(Some(&Lease::default()), "me", quiet(0)), Decision::Take);
        assert_eq!(decide(Some(&lease("other", -1)), "me", quiet(1)), Decision::Take);
    }

    #[test]
    fn a_leader_stops_before_anybody_else_can_start() {
        assert!(RENEW_DEADLINE < LEASE_DURATION);
        // One answer may be lost, and the Lease is still renewed in time.
        assert!(RETRY_INTERVAL + REQUEST_TIMEOUT + RETRY_INTERVAL < RENEW_DEADLINE);
    }
}
