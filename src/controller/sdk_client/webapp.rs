//! A webapp client: ready when its pool serves keys.

use kube::api::Api;

use crate::controller::{Context, Error};
use crate::crd::UserPool;
use crate::crd::condition::Standing;
use crate::domain::ids::ObjectName;
use crate::validate;

/// Looks at the pool that the client refers to.
pub async fn resolve(context: &Context, pool: &ObjectName) -> Result<Standing, Error> {
    let api: Api<UserPool> = Api::namespaced(context.client.clone(), &pool.namespace);
    let found = api.get_opt(&pool.name).await.map_err(Error::api("read UserPool"))?;
    Ok(standing(pool, found.as_ref()))
}

/// How the client stands, given its pool. Pure.
fn standing(name: &ObjectName, pool: Option<&UserPool>) -> Standing {
    let living = pool.filter(|pool| pool.metadata.deletion_timestamp.is_none());
    let Some(pool) = living else {
        return Standing::reconciling(
            "UserPoolNotFound",
            format!("waits for UserPool `{}` of this namespace", name.name),
        );
    };
    match validate::user_pool(pool) {
        Ok(pool) if !pool.keys.is_empty() => Standing::ready(
            "UserPoolServes",
            format!("tokens of UserPool `{}` are accepted", name.name),
        ),
        _ => Standing::reconciling(
            "UserPoolNotReady",
            format!("waits for UserPool `{}` to have keys", name.name),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{Hosted, UserPoolSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn waits_with_a_reason() {
        let name = ObjectName { namespace: "acme".into(), name: "users".into() };
        assert_eq!(standing(&name, None).reason, "UserPoolNotFound");
        let spec = UserPoolSpec { hosted: Some(Hosted::default()), ..UserPoolSpec::default() };
        let mut pool = UserPool::new("users", spec);
        pool.metadata.namespace = Some("acme".into());
        assert_eq!(standing(&name, Some(&pool)).reason, "UserPoolNotReady");
        pool.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(standing(&name, Some(&pool)).reason, "UserPoolNotFound");
    }
}
