//! The source of a pool's keys: exactly one of five.

use jiff::SignedDuration;

use super::bounded_duration;
use crate::crd;
use crate::domain::duration;
use crate::domain::pool::{Hosted, Location, Remote, Source};
use crate::domain::secret_ref::SecretEntry;
use crate::validate::{Violation, Violations, violation};

/// How often a remote key set is fetched by default.
const DEFAULT_REFRESH_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// The lifetime of a token whose request does not set `exp`, unless the maximum is shorter.
const DEFAULT_TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(4380);
const MIN_REFRESH_INTERVAL: SignedDuration = SignedDuration::from_mins(1);
const MAX_REFRESH_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// The source in a spec.
pub fn parse(spec: &crd::UserPoolSpec) -> Result<Source, Violations> {
    match (&spec.hosted, &spec.provided, &spec.jwks, &spec.oidc, &spec.inline) {
        (Some(hosted), None, None, None, None) => Ok(Source::Hosted(self::hosted(hosted)?)),
        (None, Some(provided), None, None, None) => {
            Ok(Source::Provided(entry(&provided.secret_ref)))
        }
        (None, None, Some(jwks), None, None) => {
            let url = https("spec.jwks.url", &jwks.url, true)?;
            let field = "spec.jwks.refreshInterval";
            remote(
                Location::Jwks(url),
                jwks.ca_ref.as_ref(),
                field,
                jwks.refresh_interval.as_deref(),
            )
        }
        (None, None, None, Some(oidc), None) => {
            let url = https("spec.oidc.issuer", &oidc.issuer, false)?;
            let field = "spec.oidc.refreshInterval";
            remote(
                Location::Issuer(url),
                oidc.ca_ref.as_ref(),
                field,
                oidc.refresh_interval.as_deref(),
            )
        }
        (None, None, None, None, Some(_)) => Ok(Source::Inline),
        _ => Err(violation(
            "spec",
            "set exactly one of `hosted`, `provided`, `jwks`, `oidc` and `inline`, such as `hosted: {}`",
        )),
    }
}

fn hosted(hosted: &crd::Hosted) -> Result<Hosted, Violations> {
    let mut violations = Vec::new();
    let mut duration = |field: &str, text: &str| {
        duration::parse(text).unwrap_or_else(|| {
            violations.push(Violation {
                field: format!("spec.hosted.{field}"),
                message:
                    "must be a duration in hours, minutes and seconds, such as `4380h` or `1h30m`"
                        .to_owned(),
            });
            SignedDuration::ZERO
        })
    };
    let max_lifetime = duration("tokenLifetime.max", &hosted.token_lifetime.max);
    let default_lifetime = match &hosted.token_lifetime.default {
        Some(text) => duration("tokenLifetime.default", text),
        None => DEFAULT_TOKEN_LIFETIME.min(max_lifetime),
    };
    let interval = hosted.rotation.as_ref();
    let rotation_interval =
        interval.map(|rotation| duration("rotation.interval", &rotation.interval));
    if violations.is_empty() && default_lifetime > max_lifetime {
        violations.extend(violation(
            "spec.hosted.tokenLifetime.default",
            "must not be longer than tokenLifetime.max",
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

fn remote(
    location: Location,
    ca: Option<&crd::SecretKeyRef>,
    field: &str,
    refresh: Option<&str>,
) -> Result<Source, Violations> {
    let refresh_interval = bounded_duration(
        field,
        refresh,
        DEFAULT_REFRESH_INTERVAL,
        MIN_REFRESH_INTERVAL..=MAX_REFRESH_INTERVAL,
    )?;
    Ok(Source::Remote(Remote { location, ca: ca.map(entry), refresh_interval }))
}

fn entry(reference: &crd::SecretKeyRef) -> SecretEntry {
    SecretEntry { secret: reference.name.clone(), entry: reference.key.clone() }
}

/// An https URL without user and fragment, as in the CEL rules. The fetcher reports what else may
/// be wrong with it.
fn https(field: &str, url: &str, query: bool) -> Result<String, Violations> {
    let authority = url.strip_prefix("https://").unwrap_or_default();
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let fits = !authority.is_empty()
        && !authority.contains('@')
        && !url.contains(|char: char| char == '#' || char.is_whitespace())
        && (query || !url.contains('?'));
    if fits {
        Ok(url.to_owned())
    } else {
        let message = if query {
            "must be an https URL without user, fragment and spaces, such as `https://id.acme.example/.well-known/jwks.json`"
        } else {
            "must be an https URL without user, query, fragment and spaces, such as `https://id.acme.example`"
        };
        Err(violation(field, message))
    }
}
