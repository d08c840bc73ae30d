//! A `jwks` or `oidc` pool: its key set comes from the identity provider of the organization.
//!
//! The leader fetches it ([`super::jwks_refresher`]) and publishes it in status for every replica. A
//! failed fetch does not affect the keys in use: the last good set remains in use until it is older
//! than `--max-jwks-age`.

mod readiness;

use jiff::SignedDuration;

use super::jwks_refresher::{FetchSpec, Known};
use crate::controller::events::{self, EventNote};
use crate::controller::{Context, Error, Outcome, Requeue, labelled_secret, status};
use crate::crd;
use crate::crd::condition::{self, Readiness};
use crate::crd::reasons::ConditionType;
use crate::domain::fetch_error::FetchError;
use crate::domain::pool::{Remote, UserPool};
use crate::names;

/// Publishes what is known of the set.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    remote: &Remote,
) -> Result<Outcome, Error> {
    // resolve
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

    // desired
    let now = context.clock.now();
    let max_age = SignedDuration::try_from(context.settings.max_jwks_age).unwrap_or_default();
    let desired = readiness::status(pool, &known, object.status.as_ref(), max_age, now);
    let (readiness, until) = readiness::readiness(pool, &known, &desired, max_age, now);

    // status
    status::write(context, object, desired, &readiness).await?;
    tell(context, object, &readiness).await;
    Ok(Outcome { label: "ok", requeue: until.map_or(Requeue::OnChange, Requeue::At) })
}

/// The Event for a fetch that fails for the first time, or for another reason than before.
async fn tell(context: &Context, object: &crd::UserPool, readiness: &Readiness) {
    let Some(failed) = readiness.notes.iter().find(|note| note.type_ == ConditionType::FetchFailed)
    else {
        return;
    };
    let previous = object.status.as_ref().map(|status| status.conditions.as_slice());
    let before = condition::find(previous.unwrap_or_default(), failed.type_.as_str());
    if before.is_none_or(|before| before.reason != failed.reason) {
        events::publish(context, object, EventNote::fetch_failed(failed)).await;
    }
}
