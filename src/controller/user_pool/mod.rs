//! Reconciles `UserPool`, with one file for each source of its keys. All of them publish the public
//! keys in status.

mod desired;
mod fetch_limiter;
pub mod hosted;
mod inline;
pub(super) mod jwks_refresher;
pub mod provided;
pub mod remote;
mod status_keys;

use std::sync::Arc;

use super::driver::Reconcile;
use super::plan::{Met, Plan};
use super::queue::Reference;
use super::triggers::{self, Triggers};
use super::{Context, Error, Guarded, GuardedMeta, gauges, labelled_secret, ours, owner, revoked};
use crate::crd::{Revocation, UserPool, UserPoolStatus};
use crate::domain::ids::UserPoolId;
use crate::domain::pool::{self as domain, Source};
use crate::domain::revocation::RevocationTarget;
use crate::names;
use crate::validate::{self, Violations};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher;

pub(super) fn controller(context: &Context) -> Triggers<UserPool> {
    let client = &context.client;
    let signing: Api<GuardedMeta<Secret>> =
        Api::namespaced(client.clone(), &context.settings.operator_namespace);
    let config_maps: Vec<Api<GuardedMeta<ConfigMap>>> = context.apis();
    let consenting: Vec<Api<GuardedMeta<Secret>>> = context.apis();
    let revocations: Vec<Api<Guarded<Revocation>>> = context.apis();
    let controller = triggers::controller::<UserPool>(client, &context.settings.scope, secret)
        .retaining(gauges::signing_since);
    let (published, signers) = (controller.objects(), controller.objects());
    let referrers = labelled_secret::referrers(controller.objects());
    gauges::expose_oldest_signing_key(context, controller.objects());
    let observing = &context.expectations;
    let former = Arc::clone(&context.former);
    controller
        .reconcile_on(context.refresher.finished())
        .reconcile_on(observing.acknowledged::<UserPool>(&context.replicas))
        .watches(
            config_maps,
            &ours(names::JWKS),
            observing.observing::<UserPool, _, _>(move |map: GuardedMeta<ConfigMap>| {
                let (name, noted) = (map.name_any(), owner::controller_of(&map));
                let noted = noted.map(|owner| &*owner.name);
                owner::of(&published, &map.namespace()?, noted, |pool, _| {
                    names::jwks_config_map(pool) == name
                })
            }),
        )
        .watches(
            vec![signing],
            &ours(names::SIGNING_KEYS),
            observing.observing::<UserPool, _, _>(move |secret: GuardedMeta<Secret>| {
                let id =
                    |namespace: &str, name: &str| UserPoolId::derive(namespace, name).to_string();
                let owner = owner::of_id(&signers, &secret, id);
                former.seen(names::SIGNING_KEYS, &secret, owner.as_ref());
                owner
            }),
        )
        .watches(
            revocations,
            &watcher::Config::default(),
            observing.observing::<UserPool, _, _>(|revocation: Guarded<Revocation>| {
                revoked(&revocation, RevocationTarget::UserPool)
            }),
        )
        .watches(
            consenting,
            &labelled_secret::watched(&[names::USE_JWKS, names::USE_CA]),
            referrers,
        )
}

/// The Secret that a pool needs: of its keys, or of the CA of its provider.
fn secret(pool: &UserPool) -> Option<Reference> {
    let spec = &pool.spec;
    let provided = spec.provided.as_ref().map(|provided| &provided.secret_ref);
    let jwks_ca = spec.jwks.as_ref().and_then(|jwks| jwks.ca_ref.as_ref());
    let oidc_ca = spec.oidc.as_ref().and_then(|oidc| oidc.ca_ref.as_ref());
    let reference = provided.or(jwks_ca).or(oidc_ca)?;
    Some(Reference::secret(&reference.name))
}

/// The facts that the plan of a pool depends on, by the source of its keys.
pub enum Observed {
    /// See [`hosted`].
    Hosted(Box<hosted::Observed>),
    /// See [`provided`].
    Provided(provided::Observed),
    /// See [`remote`].
    Remote(remote::Observed),
    /// The spec has the keys.
    Inline,
}

impl Reconcile for UserPool {
    type Parsed = domain::UserPool;
    type Observed = Observed;

    fn parse(&self) -> Result<Self::Parsed, Violations> {
        validate::user_pool(self)
    }

    async fn observe(
        &self,
        pool: &Self::Parsed,
        context: &Context,
        met: Option<Met>,
    ) -> Result<Observed, Error> {
        Ok(match &pool.source {
            Source::Hosted(hosted) => {
                let observed = hosted::observe(context, self, pool, hosted, met).await?;
                Observed::Hosted(Box::new(observed))
            }
            Source::Provided(entry) => {
                Observed::Provided(provided::observe(context, pool, entry).await?)
            }
            Source::Remote(remote) => {
                Observed::Remote(remote::observe(context, self, pool, remote).await?)
            }
            Source::Inline => Observed::Inline,
        })
    }

    fn plan(&self, pool: &Self::Parsed, observed: Observed) -> Result<Plan<UserPoolStatus>, Error> {
        match (&pool.source, observed) {
            (Source::Hosted(hosted), Observed::Hosted(observed)) => {
                hosted::plan(self, pool, hosted, &observed)
            }
            (Source::Provided(entry), Observed::Provided(observed)) => {
                provided::plan(self, pool, entry, &observed)
            }
            (_, Observed::Remote(observed)) => Ok(remote::plan(self, pool, &observed)),
            _ => Ok(inline::plan(self, pool)),
        }
    }
}
