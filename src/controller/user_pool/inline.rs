//! An `inline` pool: its public keys are in its spec. Validators read them from there; status
//! reports which of them are usable.

use super::status_keys;
use crate::controller::{Context, Error, Outcome, status};
use crate::crd;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::pool::UserPool;
use crate::validate::inline_set;

/// Reports which keys of the spec are used for verification.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
) -> Result<Outcome, Error> {
    let set = inline_set(&object.spec, &pool.claims);
    let desired = crd::UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        ..crd::UserPoolStatus::default()
    };
    let mut readiness = match pool.keys.len() {
        0 => Readiness::new(ReadyReason::NoUsableKey, "no key in the spec can verify tokens"),
        served => Readiness::new(
            ReadyReason::KeysAccepted,
            format!("{served} keys accepted from the spec"),
        ),
    };
    readiness.notes = status_keys::notes(pool, set.as_ref());
    status::write(context, object, desired, &readiness).await?;
    Ok(Outcome::SETTLED)
}
