//! `SdkClient`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Violations, object_name, violation};
use crate::crd;
use crate::domain::client::{ClientKind, Delivery, SdkClient, Service, StoredApiKey};
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::opaque::KeyHash;
use crate::domain::role::Role;

/// A client with the keys that its status lists, if these were delivered where the spec says.
///
/// # Errors
/// What is wrong with the spec.
pub fn sdk_client(object: &crd::SdkClient) -> Result<SdkClient, Violations> {
    let name = object_name(object)?;
    let kind = match (&object.spec.webapp, &object.spec.service) {
        (Some(webapp), None) => ClientKind::Webapp {
            pool_id: UserPoolId::derive(&name.namespace, &webapp.user_pool_ref.name),
            pool: ObjectName {
                namespace: name.namespace.clone(),
                name: webapp.user_pool_ref.name.clone(),
            },
        },
        (None, Some(service)) => ClientKind::Service(parse_service(object, service)?),
        _ => return Err(violation("spec", "set exactly one of `webapp` and `service`")),
    };
    Ok(SdkClient {
        id: SdkClientId::derive(&name.namespace, &name.name),
        organization: OrganizationId::derive(&name.namespace),
        name,
        created_at: object.metadata.creation_timestamp.as_ref().map(|Time(time)| *time),
        suspended: object.spec.suspended.unwrap_or(false),
        kind,
    })
}

fn parse_service(object: &crd::SdkClient, service: &crd::Service) -> Result<Service, Violations> {
    let delivery = service.api_key.delivery.as_ref().ok_or_else(|| {
        violation(
            "spec.service.apiKey",
            "set where the ApiKey comes from: `delivery: {secretName: …}`",
        )
    })?;
    if service.role == Role::Admin {
        return Err(violation(
            "spec.service.role",
            "an Admin key is never delivered into a Secret; use Member or ReadOnly",
        ));
    }
    Ok(Service {
        role: service.role,
        delivery: Delivery {
            secret_name: delivery.secret_name.clone(),
            retain: delivery.deletion_policy == crd::DeletionPolicy::Retain,
        },
        keys: delivered(object, delivery),
    })
}

/// The keys of the status, as long as they are those of the Secret that the spec names now.
fn delivered(object: &crd::SdkClient, delivery: &crd::Delivery) -> Vec<StoredApiKey> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    if status.secret_name.as_ref() != Some(&delivery.secret_name) {
        return Vec::new();
    }
    let parse = |key: &crd::ApiKeyStatus| {
        Some(StoredApiKey {
            hash: KeyHash::parse(&key.sha256)?,
            created_at: key.created_at.as_ref().map(|Time(time)| *time),
        })
    };
    status.keys.iter().filter_map(parse).collect()
}
