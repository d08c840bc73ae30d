//! A webapp client is ready when its user pool has keys.

use kube::api::Api;

use crate::controller::{Context, Error, Guarded};
use crate::crd::UserPool;
use crate::crd::condition::Readiness;
use crate::crd::reasons::ReadyReason;
use crate::domain::ids::ObjectName;
use crate::domain::pool as domain;
use crate::validate;

/// Reads the referenced pool, and determines the readiness of the client.
pub async fn observe(context: &Context, pool: &ObjectName) -> Result<Readiness, Error> {
    let api: Api<Guarded<UserPool>> = Api::namespaced(context.client.clone(), &pool.namespace);
    let found = api.get_opt(&pool.name).await.map_err(Error::api("read UserPool"))?;
    let now = context.clock.now();
    let recent = |pool: &domain::UserPool| context.reader.is_recent(pool, now);
    Ok(match found.as_ref().map(|found| &found.0) {
        Some(Err(_)) => not_ready(pool),
        Some(Ok(found)) => readiness(pool, Some(found), recent),
        None => readiness(pool, None, recent),
    })
}

fn not_ready(name: &ObjectName) -> Readiness {
    Readiness::new(
        ReadyReason::UserPoolNotReady,
        format!("waiting for UserPool `{}` to have keys", name.name),
    )
}

/// The readiness of the client, given its pool and whether the pool's key set is recent enough.
/// Pure.
fn readiness(
    name: &ObjectName,
    pool: Option<&UserPool>,
    is_recent: impl Fn(&domain::UserPool) -> bool,
) -> Readiness {
    let living = pool.filter(|pool| pool.metadata.deletion_timestamp.is_none());
    let Some(pool) = living else {
        return Readiness::new(
            ReadyReason::UserPoolNotFound,
            format!("waiting for UserPool `{}` in this namespace", name.name),
        );
    };
    match validate::user_pool(pool) {
        Ok(pool) if !pool.keys.is_empty() && !is_recent(&pool) => Readiness::new(
            ReadyReason::UserPoolNotReady,
            format!("waiting for the key set of UserPool `{}` to be fetched again", name.name),
        ),
        Ok(pool) if !pool.keys.is_empty() => Readiness::new(
            ReadyReason::Accepted,
            format!("tokens of UserPool `{}` are accepted", name.name),
        ),
        _ => not_ready(name),
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
        let readiness = |pool: Option<&UserPool>| readiness(&name, pool, |_| false);
        assert_eq!(readiness(None).reason, ReadyReason::UserPoolNotFound);
        let spec = UserPoolSpec { hosted: Some(Hosted::default()), ..UserPoolSpec::default() };
        let mut pool = UserPool::new("users", spec);
        pool.metadata.namespace = Some("acme".into());
        assert_eq!(readiness(Some(&pool)).reason, ReadyReason::UserPoolNotReady);
        pool.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(readiness(Some(&pool)).reason, ReadyReason::UserPoolNotFound);
    }

    #[test]
    fn a_pool_whose_key_set_is_too_old_does_not_serve() {
        let name = ObjectName { namespace: "acme".into(), name: "users".into() };
        let pool: UserPool = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "acme", "name": "users"},
            "spec": {"anyAudience": true, "inline": {"keys": [{"kty": "OKP", "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}},
        }))
        .unwrap();
        assert_eq!(readiness(&name, Some(&pool), |_| true).reason, ReadyReason::Accepted);
        assert_eq!(readiness(&name, Some(&pool), |_| false).reason, ReadyReason::UserPoolNotReady);
    }
}
