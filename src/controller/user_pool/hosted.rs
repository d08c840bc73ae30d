//! A `hosted` pool: the operator creates its signing keys in a Secret of the operator's own
//! namespace, and publishes the public keys in status and in a ConfigMap beside the pool.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource as _, ResourceExt as _};

use super::{desired, rotation};
use crate::controller::{Context, Error, Outcome, Requeue, apply, status};
use crate::crd;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::pool::{Hosted, UserPool};

/// Reconciles a valid hosted pool.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    hosted: &Hosted,
) -> Result<Outcome, Error> {
    let uid = object.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
    let owner =
        object.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

    if rotation::is_on_its_way(context, object) {
        return Ok(Outcome { requeue: Requeue::Soon, ..Outcome::SETTLED });
    }

    // resolve, and apply the random part: the signing Secret comes first, because everything public
    // is derived from it
    let uid_of_namespace = context.namespace_uid(&pool.name.namespace).await?;
    let names = desired::SigningSecret::new(pool, &uid_of_namespace);
    let Some(keys) = rotation::keys(context, object, pool, hosted, &names).await? else {
        let unchanged = object.status.clone().unwrap_or_default();
        let readiness = desired::unreadable(&context.settings.operator_namespace, &names);
        status::write(context, object, unchanged, &readiness).await?;
        // Without our labels the watch would not see the Secret either.
        return Ok(Outcome::BLOCKED);
    };

    // desired
    let mut desired = desired::status(pool, &keys.set, &context.settings.public_url);
    desired.next_rotation = keys.next_rotation.map(Time);
    let config_map = desired::config_map(pool, &desired, owner)?;

    // apply
    let applied = apply::apply_child(&context.client, &uid, &config_map).await?;

    // status
    let mut readiness = match &keys.refused {
        Some(said) => Readiness::new(ReadyReason::Refused, said.clone()),
        None => desired::readiness(pool, &keys.set, &applied),
    };
    readiness.notes.extend(keys.note.clone());
    status::write(context, object, desired, &readiness).await?;
    rotation::report(context, object, &keys).await;
    Ok(applied.map_or(Outcome::BLOCKED, |()| Outcome { requeue: keys.requeue, ..Outcome::SETTLED }))
}
