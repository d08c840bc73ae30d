//! `UserPool`: a signing Secret in the operator's namespace, and its public half in status and in
//! a ConfigMap beside the pool.

mod desired;
mod rotation;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Resource as _, ResourceExt as _};

use super::{Context, Error, Look, Outcome, Reconcile, apply, ours, status};
use crate::crd::{Revocation, UserPool};
use crate::domain::pool::{self, Source};
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
        .watches(Api::<Revocation>::all(client.clone()), watcher::Config::default(), |revocation| {
            let revoked = revocation.spec.user_pool.as_ref()?;
            Some(ObjectRef::new(&revoked.name).within(&revocation.namespace()?))
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

        if rotation::is_on_its_way(context, self) {
            return Ok(Outcome { look: Look::Soon, ..Outcome::SETTLED });
        }

        // resolve, and apply what is random: the signing Secret comes first, because everything
        // public follows from it
        let names = desired::SigningSecret::new(&pool, &namespace_uid(context, &pool).await?);
        let Some(keys) = rotation::keys(context, self, &pool, hosted, &names).await? else {
            let unchanged = self.status.clone().unwrap_or_default();
            let standing = desired::unreadable(&context.settings.operator_namespace, &names);
            status::write(context, self, unchanged, &standing).await?;
            return Ok(Outcome::SETTLED);
        };

        // desired
        let mut desired = desired::status(&pool, &keys.set, &context.settings.public_url);
        desired.next_rotation = keys.next_rotation.map(Time);
        let config_map = desired::config_map(&pool, &desired, owner)?;

        // apply
        let applied = apply::apply_child(&context.client, &uid, &config_map).await?;

        // status
        let mut standing = desired::standing(&pool, &keys.set, &applied);
        standing.notes.extend(keys.note.clone());
        status::write(context, self, desired, &standing).await?;
        rotation::report(context, self, &keys).await;
        Ok(applied.map_or(Outcome::BLOCKED, |()| Outcome { look: keys.look, ..Outcome::SETTLED }))
    }
}

async fn namespace_uid(context: &Context, pool: &pool::UserPool) -> Result<String, Error> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let namespace =
        api.get_metadata(&pool.name.namespace).await.map_err(Error::api("read Namespace"))?;
    namespace.uid().ok_or(Error::Incomplete { what: "metadata.uid" })
}
