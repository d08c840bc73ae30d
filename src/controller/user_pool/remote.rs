//! A `jwks` or `oidc` pool: its key set comes from the identity provider of the organization.
//!
//! The leader fetches it ([`super::fetches`]) and publishes it in status for every replica. A
//! failed fetch does not affect the keys in use: the last good set remains in use until it is older
//! than `--max-jwks-age`.

mod standing;

use jiff::SignedDuration;

use super::fetches::{Known, Order};
use crate::controller::news::{self, News};
use crate::controller::{Context, Error, Look, Outcome, consent, status};
use crate::crd;
use crate::crd::condition::{self, Standing};
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
            let secret = consent::read(context, &pool.name.namespace, entry, names::USE_CA).await?;
            secret.map(|secret| Some(secret.bytes))
        }
    };
    let stored = || standing::stored(pool, object.status.as_ref());
    let known = if let Some(ca) = ca {
        let location = remote.location.clone();
        let order = Order { location, ca, algorithms: pool.claims.algorithms.clone() };
        context.fetches.follow(pool.id, &pool.name, order, remote.refresh_interval, stored)
    } else {
        context.fetches.leave(pool.id);
        Known { error: Some(FetchError::CaUnusable), next: None, ..stored() }
    };

    // desired
    let now = context.clock.now();
    let max_age = SignedDuration::try_from(context.settings.max_jwks_age).unwrap_or_default();
    let desired = standing::status(pool, &known, object.status.as_ref(), max_age, now);
    let (standing, until) = standing::standing(pool, &known, &desired, max_age, now);

    // status
    status::write(context, object, desired, &standing).await?;
    tell(context, object, &standing).await;
    Ok(Outcome { label: "ok", look: until.map_or(Look::OnChange, Look::At) })
}

/// The Event for a fetch that fails for the first time, or for another reason than before.
async fn tell(context: &Context, object: &crd::UserPool, standing: &Standing) {
    let Some(failed) = standing.notes.iter().find(|note| note.type_ == standing::FETCH_FAILED)
    else {
        return;
    };
    let previous = object.status.as_ref().map(|status| status.conditions.as_slice());
    let before = condition::find(previous.unwrap_or_default(), standing::FETCH_FAILED);
    if before.is_none_or(|before| before.reason != failed.reason) {
        let failed = News::warning(failed.reason, failed.message.clone());
        news::publish(context, object, failed).await;
    }
}
