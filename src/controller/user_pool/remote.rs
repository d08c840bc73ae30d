//! A pool whose key set the company's identity provider serves.

use super::published;
use crate::controller::{Context, Error, Outcome, status};
use crate::crd;
use crate::crd::condition::Standing;
use crate::domain::pool::UserPool;

/// Says that the set has not been fetched; what was, goes on to serve.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
) -> Result<Outcome, Error> {
    let desired = crd::UserPoolStatus {
        id: Some(pool.id.to_string()),
        source: Some(pool.source.describe()),
        keys: published::of_same_source(pool, object.status.as_ref()).to_vec(),
        ..crd::UserPoolStatus::default()
    };
    let mut standing = Standing::reconciling("NotFetched", "the key set has not been fetched yet");
    standing.notes = published::notes(pool, None);
    status::write(context, object, desired, &standing).await?;
    Ok(Outcome::SETTLED)
}
