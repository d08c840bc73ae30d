//! `UserPool`.

mod policy;
mod source;

use std::sync::OnceLock;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Violation, Violations, displayed, object_name, violation};
use crate::crd;
use crate::domain::duration;
use crate::domain::ids::{OrganizationId, UserPoolId};
use crate::domain::jwks_parser::{Expected, JwkSet};
use crate::domain::policy::ClaimsPolicy;
use crate::domain::pool::{FetchState, Source, UserPool};
use crate::domain::signing_key_set::{PublishedKey, SigningKeyState};

/// A pool with the keys in use: those in its spec, or those in its status if they come from the
/// source that the spec names.
///
/// # Errors
/// What is wrong with the spec.
pub fn user_pool(object: &crd::UserPool) -> Result<UserPool, Violations> {
    let name = object_name(object)?;
    displayed("spec.displayName", object.spec.display_name.as_ref())?;
    let source = source::parse(&object.spec)?;
    let claims = policy::parse(&object.spec, &source)?;
    let keys = match inline_set(&object.spec, &claims)? {
        Some(set) => set.keys.into_iter().map(of_spec).collect(),
        None => of_status(object, &source, &claims),
    };
    let fetch = current_status(object, &source).filter(|_| source.is_fetched()).map(fetch_state);
    Ok(UserPool {
        id: UserPoolId::derive(&name.namespace, &name.name),
        organization: OrganizationId::derive(&name.namespace),
        name,
        created_at: object.metadata.creation_timestamp.as_ref().map(|Time(time)| *time),
        source,
        claims,
        keys,
        fetch: fetch.unwrap_or_default(),
        document: OnceLock::new(),
    })
}

/// The usable keys in the spec of an inline pool; `None` for other pools.
///
/// # Errors
/// `inline.jwks` is not a JWK Set, or not exactly one of `keys` and `jwks` is set.
pub fn inline_set(
    spec: &crd::UserPoolSpec,
    claims: &ClaimsPolicy,
) -> Result<Option<JwkSet>, Violations> {
    let Some(inline) = &spec.inline else { return Ok(None) };
    let expected = Expected { private_keys: false, algorithms: &claims.algorithms };
    match (&inline.keys, &inline.jwks) {
        (Some(keys), None) => {
            let keys = keys.iter().map(|key| serde_json::to_value(key).unwrap_or_default());
            Ok(Some(JwkSet::parse_lenient(keys.collect::<Vec<_>>(), expected)))
        }
        (None, Some(text)) => match JwkSet::parse(text.as_bytes(), expected) {
            Ok(set) => Ok(Some(set)),
            Err(error) => Err(violation("spec.inline.jwks", error.to_string())),
        },
        _ => Err(violation(
            "spec.inline",
            "set exactly one of `keys` (a list of JWKs) and `jwks` (a JWK Set as JSON text)",
        )),
    }
}

fn of_spec(key: crate::domain::jwks_parser::SetKey) -> PublishedKey {
    PublishedKey {
        kid: key.kid,
        state: SigningKeyState::Active,
        published_at: None,
        issuer: None,
        jwk: key.jwk,
        verifying: key.verifying,
    }
}

/// The last fetch, according to a status.
#[must_use]
pub fn fetch_state(status: &crd::UserPoolStatus) -> FetchState {
    let answer =
        |answer: &crd::FetchAnswer| Some((answer.by.clone(), u64::try_from(answer.question).ok()?));
    FetchState {
        at: status.last_fetch_time.as_ref().map(|time| time.0),
        answers: status.fetch_answers.iter().filter_map(answer).collect(),
    }
}

/// The status, provided that it has the source that the spec names now.
fn current_status<'o>(
    object: &'o crd::UserPool,
    source: &Source,
) -> Option<&'o crd::UserPoolStatus> {
    let status = object.status.as_ref()?;
    (status.source.as_deref() == Some(source.describe().as_str())).then_some(status)
}

/// The keys in status, provided that they come from the source that the spec names now. A key that
/// cannot be parsed is omitted, since it could not verify anything, and so is a key of an algorithm
/// that the pool no longer accepts.
fn of_status(object: &crd::UserPool, source: &Source, claims: &ClaimsPolicy) -> Vec<PublishedKey> {
    let Some(status) = current_status(object, source) else {
        return Vec::new();
    };
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
    status.keys.iter().filter(|key| claims.allows(key.algorithm)).filter_map(parse).collect()
}

/// A duration of the spec, within bounds; `default` if unset.
fn bounded_duration(
    field: &str,
    text: Option<&str>,
    default: SignedDuration,
    bounds: std::ops::RangeInclusive<SignedDuration>,
) -> Result<SignedDuration, Violations> {
    let Some(text) = text else { return Ok(default) };
    duration::parse(text).filter(|duration| bounds.contains(duration)).ok_or_else(|| {
        let message = format!(
            "must be a duration in hours, minutes and seconds, from `{}s` to `{}s`",
            bounds.start().as_secs(),
            bounds.end().as_secs()
        );
        vec![Violation { field: field.to_owned(), message }]
    })
}

#[cfg(test)]
mod tests;
