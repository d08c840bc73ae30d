//! Reconciles `UserPool`, with one file for each source of its keys. All of them publish the public
//! keys in status.

mod desired;
mod fetch_limiter;
mod hosted;
mod inline;
pub(super) mod jwks_refresher;
mod provided;
mod remote;
mod rotation;
mod status_keys;

use super::{
    Context, Error, Guarded, GuardedMeta, Outcome, Reconcile, labelled_secret, ours, owner,
    revoked, status, triggers,
};
use crate::crd::{Revocation, UserPool};
use crate::domain::ids::UserPoolId;
use crate::domain::pool::Source;
use crate::domain::revocation::RevocationTarget;
use crate::names;
use crate::validate;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;

pub(super) fn controller(context: &Context) -> Controller<Guarded<UserPool>> {
    let client = &context.client;
    let signing: Api<GuardedMeta<Secret>> =
        Api::namespaced(client.clone(), &context.settings.operator_namespace);
    let config_maps: Api<GuardedMeta<ConfigMap>> = Api::all(client.clone());
    let consenting: Api<GuardedMeta<Secret>> = Api::all(client.clone());
    let revocations: Api<Guarded<Revocation>> = Api::all(client.clone());
    let controller = triggers::controller::<UserPool>(Api::all(client.clone()));
    let (pools, published, signers) = (controller.store(), controller.store(), controller.store());
    controller
        .reconcile_on(context.refresher.finished())
        .watches_stream(triggers::touched(config_maps, ours(names::JWKS)), move |map| {
            let (name, noted) = (map.name_any(), owner::controller_of(&map));
            let noted = noted.map(|owner| &*owner.name);
            owner::of(&published, &map.namespace()?, noted, |pool: &UserPool| {
                names::jwks_config_map(&pool.name_any()) == name
            })
        })
        .watches_stream(triggers::touched(signing, ours(names::SIGNING_KEYS)), move |secret| {
            let id = |namespace: &str, name: &str| UserPoolId::derive(namespace, name).to_string();
            owner::of_id(&signers, &secret, id)
        })
        .watches_stream(triggers::touched(revocations, watcher::Config::default()), |revocation| {
            let owner = revoked(&revocation, RevocationTarget::UserPool)?;
            Some(ObjectRef::new(&owner.name).within(&owner.namespace))
        })
        .watches_stream(
            triggers::touched(
                consenting,
                labelled_secret::watched(&[names::USE_JWKS, names::USE_CA]),
            ),
            labelled_secret::referrers(pools, |pool: &UserPool, secret| {
                let spec = &pool.spec;
                let provided = spec.provided.as_ref().map(|provided| &provided.secret_ref);
                let jwks_ca = spec.jwks.as_ref().and_then(|jwks| jwks.ca_ref.as_ref());
                let oidc_ca = spec.oidc.as_ref().and_then(|oidc| oidc.ca_ref.as_ref());
                provided.or(jwks_ca).or(oidc_ca).is_some_and(|reference| reference.name == secret)
            }),
        )
}

impl Reconcile for UserPool {
    async fn reconcile(&self, context: &Context) -> Result<Outcome, Error> {
        let pool = match validate::user_pool(self) {
            Ok(pool) => pool,
            Err(violations) => {
                let unchanged = self.status.clone().unwrap_or_default();
                status::write(context, self, unchanged, &status::invalid(&violations)).await?;
                return Ok(Outcome::INVALID);
            }
        };
        match &pool.source {
            Source::Hosted(hosted) => hosted::reconcile(context, self, &pool, hosted).await,
            Source::Provided(entry) => provided::reconcile(context, self, &pool, entry).await,
            Source::Remote(remote) => remote::reconcile(context, self, &pool, remote).await,
            Source::Inline => inline::reconcile(context, self, &pool).await,
        }
    }
}
