//! A pool whose keys the operator makes: a signing Secret in the operator's own namespace, and its
//! public half in status and in a ConfigMap beside the pool.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::Api;
use kube::{Resource as _, ResourceExt as _};
use tracing::info;

use super::desired;
use crate::controller::apply::{self, Created};
use crate::controller::{Context, Error, Outcome, status};
use crate::crd;
use crate::domain::ids::ObjectName;
use crate::domain::keyset::StoredKeySet;
use crate::domain::pool::{Hosted, UserPool};
use crate::domain::signing::SigningKey;

/// Brings the cluster to what a valid hosted pool says.
pub async fn reconcile(
    context: &Context,
    object: &crd::UserPool,
    pool: &UserPool,
    hosted: &Hosted,
) -> Result<Outcome, Error> {
    let uid = object.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
    let owner =
        object.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

    // resolve, and apply what is random: the signing Secret comes first, because everything
    // public follows from it
    let names = desired::SigningSecret::new(pool, &namespace_uid(context, pool).await?);
    let Some(keys) = signing_keys(context, pool, hosted, &names).await? else {
        let unchanged = object.status.clone().unwrap_or_default();
        let standing = desired::unreadable(&context.settings.operator_namespace, &names);
        status::write(context, object, unchanged, &standing).await?;
        return Ok(Outcome::SETTLED);
    };

    // desired
    let desired = desired::status(pool, &keys, &context.settings.public_url);
    let config_map = desired::config_map(pool, &desired, owner)?;

    // apply
    let applied = apply::apply_child(&context.client, &uid, &config_map).await?;

    // status
    let standing = desired::standing(pool, &keys, &applied);
    let outcome = applied.map_or(Outcome::BLOCKED, |()| Outcome::SETTLED);
    status::write(context, object, desired, &standing).await?;
    Ok(outcome)
}

async fn namespace_uid(context: &Context, pool: &UserPool) -> Result<String, Error> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let namespace =
        api.get_metadata(&pool.name.namespace).await.map_err(Error::api("read Namespace"))?;
    namespace.uid().ok_or(Error::Incomplete { what: "metadata.uid" })
}

/// The pool's key set: as stored, else made now. `None` when what is stored cannot be read.
async fn signing_keys(
    context: &Context,
    pool: &UserPool,
    hosted: &Hosted,
    names: &desired::SigningSecret,
) -> Result<Option<StoredKeySet>, Error> {
    let namespace = &context.settings.operator_namespace;
    let client = &context.client;
    let stored = match apply::read_secret(client, namespace, &names.name).await? {
        Some(stored) => stored,
        None => make_signing_keys(context, pool, hosted, names).await?,
    };
    if let Some(repaired) = names.repaired(&stored, hosted) {
        apply::replace_secret(client, namespace, &repaired).await?;
    }
    Ok(desired::read(&stored).filter(|keys| keys.is_sound(hosted.algorithm)))
}

/// Makes the first key of a pool and stores it.
async fn make_signing_keys(
    context: &Context,
    pool: &UserPool,
    hosted: &Hosted,
    names: &desired::SigningSecret,
) -> Result<Secret, Error> {
    let algorithm = hosted.algorithm;
    // 50 ms and more of pure computation for RSA.
    let key = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await??;
    let issuer = desired::issuer(pool, &context.settings.public_url);
    let keys = StoredKeySet::first(&key, issuer, context.clock.now())?;
    let secret = names.secret(hosted, &keys)?;
    let namespace = &context.settings.operator_namespace;
    match apply::create_secret(&context.client, namespace, &secret).await? {
        Created::New(made) => {
            let ObjectName { namespace, name } = &pool.name;
            info!(%namespace, %name, "made a signing key");
            Ok(made)
        }
        // Another leader was faster: its key is the key.
        Created::Existing(stored) => Ok(stored),
    }
}
