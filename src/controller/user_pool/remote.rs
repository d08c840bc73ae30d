//! A `jwks` or `oidc` pool: its key set comes from the identity provider of the organization.
//!
//! The leader fetches it ([`super::jwks_refresher`]) and publishes it in status for every replica. A
//! failed fetch does not affect the keys in use: the last good set remains in use until it is older
//! than `--max-jwks-age`.

mod readiness;

use jiff::{SignedDuration, Timestamp};

use super::jwks_refresher::{FetchSpec, Known};
use crate::controller::plan::Plan;
use crate::controller::{Context, Error, Requeue, labelled_secret};
use crate::crd::{self, UserPoolStatus};
use crate::domain::fetch_error::FetchError;
use crate::domain::pool::{Remote, UserPool};
use crate::names;

/// The facts that the plan depends on.
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// The maximum age of a fetched set.
    pub max_age: SignedDuration,
    /// What is known of the set.
    pub known: Known,
}

/// Specifies what to fetch, and returns what is known of the set.
pub async fn observe(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    remote: &Remote,
) -> Result<Observed, Error> {
    let ca = match &remote.ca {
        None => Some(None),
        Some(entry) => {
            let secret =
                labelled_secret::read_opted_in(context, &pool.name.namespace, entry, names::USE_CA)
                    .await?;
            secret.map(|secret| Some(secret.bytes))
        }
    };
    let stored = || readiness::stored(pool, object.status.as_ref());
    let known = if let Some(ca) = ca {
        let location = remote.location.clone();
        let order = FetchSpec { location, ca, algorithms: pool.claims.algorithms.clone() };
        context.refresher.track(pool.id, &pool.name, order, remote.refresh_interval, stored)
    } else {
        context.refresher.untrack(pool.id);
        Known { error: Some(FetchError::CaUnusable), next: None, ..stored() }
    };
    let max_age = SignedDuration::try_from(context.settings.max_jwks_age).unwrap_or_default();
    Ok(Observed { now: context.clock.now(), max_age, known })
}

/// Publishes what is known of the set. Pure.
pub fn plan(object: &crd::UserPool, pool: &UserPool, observed: &Observed) -> Plan<UserPoolStatus> {
    let Observed { now, max_age, known } = observed;
    let status = readiness::status(pool, known, object.status.as_ref(), *max_age, *now);
    let (readiness, until) = readiness::readiness(pool, known, &status, *max_age, *now);
    Plan {
        requeue: until.map_or(Requeue::OnChange, Requeue::At),
        ..Plan::publish(vec![], status, readiness)
    }
}
