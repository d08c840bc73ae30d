//! Status entries for key sets that the operator did not create. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::condition::ExtraCondition;
use crate::crd::reasons::ExtraReason;
use crate::crd::{SigningKeyStatus, UserPoolStatus};
use crate::domain::jwks_parser::{JwkSet, SetKey};
use crate::domain::policy::Audience;
use crate::domain::pool::UserPool;
use crate::domain::signing_key_set::SigningKeyState;

/// The status entries of a set. A key that was published before keeps its publication time.
pub fn keys(
    set: &JwkSet,
    before: &[SigningKeyStatus],
    issuer: Option<&str>,
    now: Timestamp,
) -> Vec<SigningKeyStatus> {
    let publish = |key: &SetKey| {
        let known = before.iter().find(|old| old.kid == key.kid && old.jwk == key.jwk);
        SigningKeyStatus {
            kid: key.kid.clone(),
            algorithm: key.verifying.algorithm(),
            state: SigningKeyState::Active,
            issuer: issuer.map(str::to_owned),
            published_at: known.map_or(Time(now), |old| old.published_at.clone()),
            active_at: None,
            retire_at: None,
            jwk: key.jwk.clone(),
        }
    };
    set.keys.iter().map(publish).collect()
}

/// The keys that status still publishes, if it was computed from the source that the spec has now,
/// limited to the algorithms that the spec allows now.
pub fn of_same_source(pool: &UserPool, status: Option<&UserPoolStatus>) -> Vec<SigningKeyStatus> {
    let same = |status: &&UserPoolStatus| status.source.as_ref() == Some(&pool.source.describe());
    let allowed = |key: &&SigningKeyStatus| pool.claims.allows(key.algorithm);
    let keys = status.filter(same).into_iter().flat_map(|status| &status.keys);
    keys.filter(allowed).cloned().collect()
}

/// Extra conditions: unusable keys, and whether `aud` is validated.
pub fn notes(pool: &UserPool, set: Option<&JwkSet>) -> Vec<ExtraCondition> {
    let dropped = set.and_then(JwkSet::complaint);
    let dropped = dropped.map(|complaint| {
        ExtraCondition::new(
            ExtraReason::UnusableKeys,
            format!("unusable keys ignored: {complaint}"),
        )
    });
    let any = (pool.claims.audience == Audience::Any).then(|| {
        ExtraCondition::new(ExtraReason::AudienceNotChecked,
            "tokens are accepted whatever their `aud`, including those that the issuer created for other applications; set spec.audiences to restrict them",
        )
    });
    dropped.into_iter().chain(any).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::jwks_parser::Expected;
    use serde_json::json;

    fn set(kids: &[&str]) -> JwkSet {
        let key = |kid: &&str| {
            json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
        };
        let expected = Expected { private_keys: false, algorithms: &[] };
        JwkSet::parse_lenient(kids.iter().map(key).collect(), expected)
    }

    #[test]
    fn a_key_keeps_the_time_at_which_it_was_first_published() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = keys(&set(&["a", "b"]), &[], None, at(1));
        let second = keys(&set(&["c", "b"]), &first, Some("https://id.example"), at(2));
        assert_eq!(second[0].published_at, Time(at(2)));
        assert_eq!(second[1].published_at, Time(at(1)));
        assert_eq!(second[1].issuer.as_deref(), Some("https://id.example"));
        // Another key under a known name is a new one.
        let mut other = first;
        other[1].jwk.x = Some("AAAA".into());
        assert_eq!(keys(&set(&["b"]), &other, None, at(3))[0].published_at, Time(at(3)));
    }
}
