//! The claims policy of a pool: requirements for the claims of its tokens.

use jiff::SignedDuration;

use super::bounded_duration;
use crate::crd;
use crate::domain::policy::{Audience, ClaimPath, ClaimsPolicy, LEEWAY, RequiredClaim};
use crate::domain::pool::{Location, Remote, Source};
use crate::validate::{Violations, violation};

const MAX_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// The policy of a pool with keys from `source`.
pub fn parse(spec: &crd::UserPoolSpec, source: &Source) -> Result<ClaimsPolicy, Violations> {
    reject_fields_of_other_sources(spec, source)?;
    let leeway = spec.leeway.as_deref();
    let bounds = SignedDuration::ZERO..=MAX_LEEWAY;
    let required = spec.required_claims.iter().flatten().map(|required| {
        let claim = path("spec.requiredClaims", &required.claim)?;
        Ok(RequiredClaim { claim, values: required.values.clone(), format: required.format })
    });
    Ok(ClaimsPolicy {
        id_claim: path("spec.idClaim", spec.id_claim.as_deref().unwrap_or("sub"))?,
        id_claim_type: spec.id_claim_type.unwrap_or_default(),
        issuers: spec.issuers.clone().unwrap_or_default(),
        audience: audience(spec, source)?,
        algorithms: spec.algorithms.clone().unwrap_or_default(),
        leeway: bounded_duration("spec.leeway", leeway, LEEWAY, bounds)?,
        required: required.collect::<Result<_, Violations>>()?,
    })
}

/// A field that would be ignored is rejected, because its author relies on it.
fn reject_fields_of_other_sources(
    spec: &crd::UserPoolSpec,
    source: &Source,
) -> Result<(), Violations> {
    let set_for_others = spec.id_claim.is_some()
        || spec.id_claim_type.is_some()
        || spec.issuers.is_some()
        || spec.any_audience.is_some()
        || spec.algorithms.is_some()
        || spec.required_claims.is_some();
    match source {
        Source::Hosted(_) if set_for_others => Err(violation(
            "spec",
            "the operator issues the tokens of a hosted pool itself: remove idClaim, idClaimType, issuers, anyAudience, algorithms and requiredClaims",
        )),
        Source::Remote(Remote { location: Location::Issuer(_), .. }) if spec.issuers.is_some() => {
            Err(violation(
                "spec.issuers",
                "the issuer of this pool is `oidc.issuer`; remove `issuers`",
            ))
        }
        _ => Ok(()),
    }
}

fn audience(spec: &crd::UserPoolSpec, source: &Source) -> Result<Audience, Violations> {
    let listed = spec.audiences.clone().filter(|listed| !listed.is_empty());
    match (listed, spec.any_audience == Some(true)) {
        (Some(_), true) => Err(violation(
            "spec.anyAudience",
            "`audiences` and `anyAudience: true` are mutually exclusive; remove one of them",
        )),
        (Some(listed), false) => Ok(Audience::OneOf(listed)),
        (None, true) => Ok(Audience::Any),
        (None, false) if source.is_published_here() => Ok(Audience::Own),
        (None, false) => Err(violation(
            "spec.audiences",
            "is required: list the `aud` values of this pool's tokens, or set `anyAudience: true`",
        )),
    }
}

fn path(field: &str, text: &str) -> Result<ClaimPath, Violations> {
    ClaimPath::parse(text)
        .ok_or_else(|| violation(field, "must be the name of a claim, such as `sub`, or a JSON Pointer (RFC 6901), such as `/user/id`"))
}
