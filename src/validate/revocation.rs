//! `Revocation`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Violations, object_name, violation};
use crate::crd;
use crate::domain::duration::later;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::{Revocation, RevocationTarget};

/// Creation times of the API server are truncated by up to this much.
const PRECISION: SignedDuration = SignedDuration::from_secs(1);

/// A revocation. One by time covers only keys, sessions and tokens that existed when it was
/// created, even if it specifies a later time; otherwise their replacements would be revoked again
/// and again, and anyone who can revoke could lock users out in advance.
///
/// # Errors
/// It does not specify exactly one object whose credentials it revokes.
pub fn revocation(object: &crd::Revocation) -> Result<Revocation, Violations> {
    let name = object_name(object)?;
    let created_at = time(object.metadata.creation_timestamp.as_ref());
    let created_before = |limit: &Option<Time>| {
        let limit = time(limit.as_ref())?;
        Some(created_at.map_or(limit, |created_at| limit.min(later(created_at, PRECISION))))
    };
    let of = |of: RevocationTarget, owner: &str| {
        let owner = ObjectName { namespace: name.namespace.clone(), name: owner.to_owned() };
        let expires_at = time(object.spec.expires_at.as_ref());
        let matched = object.status.iter().flat_map(|status| &status.matched);
        Revocation {
            matched: matched.map(|credential| credential.id.clone()).collect(),
            created_at,
            expires_at,
            ..Revocation::new(name.clone(), of, owner)
        }
    };
    match (&object.spec.user_pool, &object.spec.sdk_client, &object.spec.member) {
        (Some(pool), None, None) => Ok(Revocation {
            key_ids: pool.key_ids.clone().unwrap_or_default(),
            created_before: created_before(&pool.keys_created_before),
            subjects: pool.subjects.iter().flatten().cloned().collect(),
            token_ids: pool.token_ids.iter().flatten().cloned().collect(),
            tokens_issued_before: created_before(&pool.tokens_issued_before),
            ..of(RevocationTarget::UserPool, &pool.name)
        }),
        (None, Some(client), None) => Ok(Revocation {
            key_ids: client.key_ids.clone().unwrap_or_default(),
            created_before: created_before(&client.keys_created_before),
            ..of(RevocationTarget::SdkClient, &client.name)
        }),
        (None, None, Some(member)) => Ok(Revocation {
            created_before: created_before(&Some(member.sessions_created_before.clone())),
            ..of(RevocationTarget::Member, &member.name)
        }),
        _ => Err(violation(
            "spec",
            "set exactly one of `userPool: {name: …}`, `sdkClient: {name: …}` and `member: {name: …}`",
        )),
    }
}

fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|Time(time)| *time)
}
