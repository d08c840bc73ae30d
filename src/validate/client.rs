//! `SdkClient`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Violation, Violations, displayed, object_name, requested_rotation, violation};
use crate::crd;
use crate::domain::client::{
    ClientKind, Delivery, Entries, KeySource, Origin, SdkClient, Service, Webapp,
};
use crate::domain::duration;
use crate::domain::ids::{ObjectName, OrganizationId, SdkClientId, UserPoolId};
use crate::domain::role::Role;
use crate::domain::rotation::DEFAULT_OVERLAP;
use crate::domain::rotation::api_keys::{Policy, StoredApiKey};

/// A client with the keys that its status lists: those delivered into the Secret that the spec
/// names, or those whose hashes the spec lists as well.
///
/// # Errors
/// What is wrong with the spec.
pub fn sdk_client(object: &crd::SdkClient) -> Result<SdkClient, Violations> {
    let name = object_name(object)?;
    displayed("spec.displayName", object.spec.display_name.as_ref())?;
    let kind = match (&object.spec.webapp, &object.spec.service) {
        (Some(webapp), None) => ClientKind::Webapp(parse_webapp(object, &name, webapp)),
        (None, Some(service)) => ClientKind::Service(parse_service(object, service)?),
        _ => {
            return Err(violation(
                "spec",
                "set exactly one of `webapp` (a frontend, with userPoolRef) and `service` (a backend, with role and apiKey)",
            ));
        }
    };
    let derived = SdkClientId::derive(&name.namespace, &name.name);
    let chosen = object.spec.client_id.as_deref().map(parse_chosen).transpose()?;
    Ok(SdkClient {
        id: chosen.unwrap_or(derived),
        organization: OrganizationId::derive(&name.namespace),
        name,
        created_at: object.metadata.creation_timestamp.as_ref().map(|Time(time)| *time),
        suspended: object.spec.suspended.unwrap_or(false),
        kind,
    })
}

/// A chosen id. A derived id cannot be chosen: it belongs to the object that it is derived from.
fn parse_chosen(id: &str) -> Result<SdkClientId, Violations> {
    SdkClientId::parse(id).filter(|id| !id.is_derived()).ok_or_else(|| {
        violation("spec.clientId", "must be a lower-case UUID of any version but 5, such as `6f0c8ad6-4c53-4b3f-9d8f-9c4ad6b1a111`")
    })
}

fn parse_webapp(object: &crd::SdkClient, name: &ObjectName, webapp: &crd::Webapp) -> Webapp {
    let pool = &webapp.user_pool_ref.name;
    let origins = webapp.allowed_origins.iter().flatten();
    Webapp {
        display_name: object.spec.display_name.clone(),
        pool_id: UserPoolId::derive(&name.namespace, pool),
        pool: ObjectName { namespace: name.namespace.clone(), name: pool.clone() },
        allowed_origins: origins.map(|origin| Origin::new(origin)).collect(),
        redirect_urls: webapp.redirect_urls.clone().unwrap_or_default(),
        logo_url: webapp.logo_url.clone(),
        chrome_extension_id: webapp.chrome_extension_id.clone(),
        strict: webapp.strict_client.unwrap_or(false),
    }
}

fn parse_service(object: &crd::SdkClient, service: &crd::Service) -> Result<Service, Violations> {
    let role = service.role;
    match (&service.api_key.delivery, &service.api_key.hashes) {
        (Some(_), None) if role == Role::Admin => Err(violation(
            "spec.service.role",
            "an Admin key is never delivered into a Secret; use `hashes`, or role `Member` or `ReadOnly`",
        )),
        (Some(delivery), None) => Ok(Service {
            role,
            source: KeySource::Delivery(Box::new(parse_delivery(object, delivery)?)),
            keys: delivered(object),
        }),
        (None, Some(hashes)) => {
            let listed = parse_hashes(hashes)?;
            let keys = accepted(object, &listed);
            Ok(Service { role, source: KeySource::Hashes(listed), keys })
        }
        _ => Err(violation(
            "spec.service.apiKey",
            "set exactly one of `delivery: {secretName: …}` and `hashes`",
        )),
    }
}

fn parse_delivery(
    object: &crd::SdkClient,
    delivery: &crd::Delivery,
) -> Result<Delivery, Violations> {
    let names = &delivery.key_names;
    Ok(Delivery {
        secret_name: delivery.secret_name.clone(),
        entries: Entries {
            api_key: names.api_key.clone(),
            client_id: names.client_id.clone(),
            base_url: names.base_url.clone(),
            organization_id: names.organization_id.clone(),
        },
        labels: delivery.labels.clone(),
        annotations: delivery.annotations.clone(),
        rotation: parse_rotation(delivery)?,
        requested_rotation: requested_rotation(object),
        retain: delivery.deletion_policy == crd::DeletionPolicy::Retain,
    })
}

fn parse_rotation(delivery: &crd::Delivery) -> Result<Policy, Violations> {
    let field = |field: &str| format!("spec.service.apiKey.delivery.{field}");
    let parse = |name: &str, text: Option<&String>| {
        let parsed = text.map(|text| duration::parse(text).ok_or(()));
        parsed.transpose().map_err(|()| {
            vec![Violation {
                field: field(name),
                message:
                    "must be a duration in hours, minutes and seconds, such as `720h` or `1h30m`"
                        .to_owned(),
            }]
        })
    };
    let rotation = delivery.rotation.as_ref();
    let lifetime = parse("lifetime", delivery.lifetime.as_ref())?;
    let interval = parse("rotation.interval", rotation.map(|rotation| &rotation.interval))?;
    let overlap = parse("rotation.overlap", rotation.and_then(|it| it.overlap.as_ref()))?;
    let default = interval.map_or(DEFAULT_OVERLAP, |interval| interval.min(DEFAULT_OVERLAP));
    let overlap = overlap.unwrap_or(default);
    if lifetime.zip(interval).is_some_and(|(lifetime, interval)| interval + overlap > lifetime) {
        return Err(violation(
            &field("lifetime"),
            "must be at least rotation.interval plus rotation.overlap; otherwise keys would expire while they are still in use",
        ));
    }
    Ok(Policy { lifetime, interval, overlap })
}

/// The keys in status, provided that they were delivered into a Secret. That may be one which the
/// spec named before: the leader ends the overlap of its keys.
fn delivered(object: &crd::SdkClient) -> Vec<StoredApiKey> {
    let status = object.status.as_ref();
    let into = status.and_then(|status| status.secret_name.as_ref());
    into.map(|_| recorded(object)).unwrap_or_default()
}

/// The keys that both spec and status list. Until status is updated after a change of the spec, the
/// more restrictive times apply, so that an earlier expiry takes effect at once.
fn accepted(object: &crd::SdkClient, listed: &[StoredApiKey]) -> Vec<StoredApiKey> {
    let recorded = recorded(object);
    let both = |listed: &StoredApiKey| {
        let recorded = recorded.iter().find(|recorded| recorded.hash == listed.hash)?;
        Some(listed.restricted_by(recorded))
    };
    listed.iter().filter_map(both).collect()
}

/// The keys that the status lists.
fn recorded(object: &crd::SdkClient) -> Vec<StoredApiKey> {
    let listed = object.status.iter().flat_map(|status| &status.keys);
    listed.filter_map(crd::ApiKeyStatus::key).collect()
}

fn parse_hashes(hashes: &[crd::ApiKeyHash]) -> Result<Vec<StoredApiKey>, Violations> {
    let parse = |(index, key): (usize, &crd::ApiKeyHash)| {
        key.key().ok_or_else(|| {
            vec![Violation {
                field: format!("spec.service.apiKey.hashes[{index}]"),
                message: "sha256 must be 64 lower-case hexadecimal digits, and id the first 16 of them; `kubectl anon key generate` prints both"
                    .to_owned(),
            }]
        })
    };
    hashes.iter().enumerate().map(parse).collect()
}
