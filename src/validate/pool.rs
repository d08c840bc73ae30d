//! `UserPool`.

use jiff::SignedDuration;

use super::{Violation, Violations, object_name, violation};
use crate::crd;
use crate::domain::duration;
use crate::domain::ids::{OrganizationId, UserPoolId};
use crate::domain::keyset::PublishedKey;
use crate::domain::pool::{Hosted, Source, UserPool};

/// A pool with the keys that its status publishes, if these were made from this spec.
///
/// # Errors
/// What is wrong with the spec.
pub fn user_pool(object: &crd::UserPool) -> Result<UserPool, Violations> {
    let name = object_name(object)?;
    let hosted = object.spec.hosted.as_ref().ok_or_else(|| {
        violation("spec", "set where the keys of this pool come from, such as `hosted: {}`")
    })?;
    let source = Source::Hosted(parse_hosted(hosted)?);
    let keys = published(object, &source);
    Ok(UserPool {
        id: UserPoolId::derive(&name.namespace, &name.name),
        organization: OrganizationId::derive(&name.namespace),
        name,
        source,
        audiences: object.spec.audiences.clone().unwrap_or_default(),
        keys,
    })
}

fn parse_hosted(hosted: &crd::Hosted) -> Result<Hosted, Violations> {
    let mut violations = Vec::new();
    let mut duration = |field: &str, text: &str| {
        duration::parse(text).unwrap_or_else(|| {
            violations.push(Violation {
                field: format!("spec.hosted.{field}"),
                message: "must be a duration such as `4380h` or `1h30m`".to_owned(),
            });
            SignedDuration::ZERO
        })
    };
    let default_lifetime = duration("tokenLifetime.default", &hosted.token_lifetime.default);
    let max_lifetime = duration("tokenLifetime.max", &hosted.token_lifetime.max);
    let interval = hosted.rotation.as_ref();
    let rotation_interval =
        interval.map(|rotation| duration("rotation.interval", &rotation.interval));
    if violations.is_empty() && default_lifetime > max_lifetime {
        violations.extend(violation(
            "spec.hosted.tokenLifetime.default",
            "must not be longer than `max`",
        ));
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(Hosted {
        algorithm: hosted.algorithm,
        default_lifetime,
        max_lifetime,
        rotation_interval,
        retain_keys: hosted.deletion_policy == crd::DeletionPolicy::Retain,
    })
}

/// The keys of the status, as long as they were made from what the spec says now. A key that
/// cannot be parsed is left out: it could verify nothing.
fn published(object: &crd::UserPool, source: &Source) -> Vec<PublishedKey> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    if status.source.as_deref() != Some(source.describe().as_str()) {
        return Vec::new();
    }
    let parse = |key: &crd::SigningKeyStatus| {
        Some(PublishedKey {
            kid: key.kid.clone(),
            state: key.state,
            published_at: Some(key.published_at.0),
            issuer: key.issuer.clone(),
            jwk: key.jwk.clone(),
            verifying: key.jwk.verifying_key(key.algorithm).ok()?,
        })
    };
    status.keys.iter().filter_map(parse).collect()
}
