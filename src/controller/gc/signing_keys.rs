//! The Secrets with the signing keys of hosted pools.

use kube::api::ListParams;

use super::sweep::{Owned, Sweep, namespace_uids};
use crate::controller::{Context, Error, GuardedMeta};
use crate::crd::UserPool;
use crate::domain::ids::{ObjectName, UserPoolId};
use crate::kube_ext::name::object_name;
use crate::kube_ext::pages;
use crate::names;

/// Signing keys, which belong to UserPools.
pub struct SigningKeys;

impl Sweep for SigningKeys {
    const COMPONENT: &str = names::SIGNING_KEYS;

    async fn owned(context: &Context) -> Result<Owned, Error> {
        let mut pools = Vec::new();
        let take = |pool: GuardedMeta<UserPool>| pools.push(object_name(&pool));
        let listed = pages::each_of(&context.apis(), ListParams::default(), take).await;
        listed.map_err(Error::api("list UserPools"))?;
        let uids = namespace_uids(context).await?;
        let claim = |ObjectName { namespace, name }: &ObjectName| {
            let id = UserPoolId::derive(namespace, name);
            Some((id.to_string(), names::signing_secret(uids.get(namespace)?, name)))
        };
        Ok(Owned { claims: pools.iter().filter_map(claim).collect(), ..Owned::default() })
    }
}
