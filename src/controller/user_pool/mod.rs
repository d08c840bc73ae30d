//! `UserPool`: a signing Secret in the operator's namespace, and its public half in status and in
//! a ConfigMap beside the pool.

mod desired;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};
use tracing::info;

use super::apply::{self, Created};
use super::{Context, Error, Outcome, Reconcile, ours, status};
use crate::crd::UserPool;
use crate::domain::ids::ObjectName;
use crate::domain::keyset::StoredKeySet;
use crate::domain::pool::{self, Hosted, Source};
use crate::domain::signing::SigningKey;
use crate::names;
use crate::validate;

pub(super) fn controller(context: &Context) -> Controller<UserPool> {
    let client = &context.client;
    let signing: Api<PartialObjectMeta<Secret>> =
        Api::namespaced(client.clone(), &context.settings.operator_namespace);
    Controller::new(Api::all(client.clone()), watcher::Config::default())
        .owns(Api::<ConfigMap>::all(client.clone()), ours(names::JWKS))
        .watches(signing, ours(names::SIGNING_KEYS), |secret| {
            let annotations = secret.annotations();
            let namespace = annotations.get(names::OWNER_NAMESPACE)?;
            let name = annotations.get(names::OWNER_NAME)?;
            Some(ObjectRef::new(name).within(namespace))
        })
}

impl Reconcile for UserPool {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let uid = self.uid().ok_or(Error::Incomplete { what: "metadata.uid" })?;
        let owner =
            self.controller_owner_ref(&()).ok_or(Error::Incomplete { what: "metadata.uid" })?;

        // validate
        let pool = match validate::user_pool(self) {
            Ok(pool) => pool,
            Err(violations) => {
                let unchanged = self.status.clone().unwrap_or_default();
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };
        let Source::Hosted(hosted) = &pool.source;

        // resolve, and apply what is random: the signing Secret comes first, because everything
        // public follows from it
        let names = desired::SigningSecret::new(&pool, &namespace_uid(context, &pool).await?);
        let Some(keys) = signing_keys(context, &pool, hosted, &names).await? else {
            let unchanged = self.status.clone().unwrap_or_default();
            let standing = desired::unreadable(&context.settings.operator_namespace, &names);
            status::write(context, self, unchanged, &standing).await?;
            return Ok(Outcome::SETTLED);
        };

        // desired
        let desired = desired::status(&pool, &keys, &context.settings.public_url);
        let config_map = desired::config_map(&pool, &desired, owner)?;

        // apply
        let applied = apply::apply_child(&context.client, &uid, &config_map).await?;

        // status
        let standing = desired::standing(&pool, &keys, &applied);
        let outcome = applied.map_or(Outcome::BLOCKED, |()| Outcome::SETTLED);
        status::write(context, self, desired, &standing).await?;
        Ok(outcome)
    }
}

async fn namespace_uid(context: &Context, pool: &pool::UserPool) -> Result<String, Error> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let namespace =
        api.get_metadata(&pool.name.namespace).await.map_err(Error::api("read Namespace"))?;
    namespace.uid().ok_or(Error::Incomplete { what: "metadata.uid" })
}

/// The pool's key set: as stored, else made now. `None` when what is stored cannot be read.
async fn signing_keys(
    context: &Context,
    pool: &pool::UserPool,
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
    pool: &pool::UserPool,
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
