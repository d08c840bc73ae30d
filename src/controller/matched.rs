//! Records in `status.matched` of a Revocation what it has matched.
//!
//! A revoked key or session is removed from the status of its owner, after which nobody could tell
//! whether the Revocation has ever matched it. So the owner records it in the Revocation before it
//! destroys it; the controller of Revocations adds what it finds itself. Entries are only added.

use std::sync::Arc;

use jiff::Timestamp;

use super::plan::Write;
use crate::crd::MatchedCredential;
use crate::domain::revocation::Revocation;

/// A key or session that may be revoked: its id, and its creation time as far as it is known.
pub type Credential = (String, Option<Timestamp>);

/// The writes that record what the Revocations match of these credentials and have not recorded yet.
pub fn record(
    revocations: &[Arc<Revocation>],
    credentials: &[Credential],
    now: Timestamp,
) -> Vec<Write> {
    let mut writes = Vec::new();
    for revocation in revocations {
        let mut matched = of(revocation, credentials, now);
        matched.retain(|it| !revocation.matched.contains(&it.id));
        if !matched.is_empty() {
            writes.push(Write::RecordMatched(revocation.name.clone(), matched));
        }
    }
    writes
}

/// The credentials that the Revocation covers, each once.
pub fn of(
    revocation: &Revocation,
    credentials: &[Credential],
    now: Timestamp,
) -> Vec<MatchedCredential> {
    let mut matched = Vec::new();
    for (id, created_at) in credentials {
        if revocation.covers_key(id, *created_at, now) {
            let kind = revocation.of.credential_kind();
            MatchedCredential { kind, id: id.clone() }.add_to(&mut matched);
        }
    }
    matched
}
