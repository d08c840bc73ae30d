//! `Revocation`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Violations, object_name, violation};
use crate::crd;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::Revocation;

/// A revocation.
///
/// # Errors
/// It does not say what it revokes.
pub fn revocation(object: &crd::Revocation) -> Result<Revocation, Violations> {
    let name = object_name(object)?;
    let keys = object.spec.sdk_client.as_ref();
    let keys = keys.ok_or_else(|| violation("spec", "set `sdkClient: {name: …}`"))?;
    let time = |time: &Option<Time>| time.as_ref().map(|Time(time)| *time);
    Ok(Revocation {
        client: ObjectName { namespace: name.namespace.clone(), name: keys.name.clone() },
        name,
        key_ids: keys.key_ids.clone().unwrap_or_default(),
        keys_created_before: time(&keys.keys_created_before),
        expires_at: time(&object.spec.expires_at),
    })
}
