//! Removes sessions of suspended members, sessions that a Revocation covers, and sessions that
//! began with a previous password. Validators reject these anyway; removing them keeps them from
//! becoming valid again when the member is no longer suspended or the Revocation is deleted. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::crd::{Member, SessionStatus};
use crate::domain::member;
use crate::domain::revocation::Revocation;

/// The remaining sessions, if some have to be removed.
pub fn remaining(
    object: &Member,
    member: &member::Member,
    revocations: &[Arc<Revocation>],
    now: Timestamp,
) -> Option<Vec<SessionStatus>> {
    let password = member.password_id.map(|id| id.to_string());
    let goes_on = |session: &&SessionStatus| {
        if session.password_id != password {
            return false;
        }
        let created_at = Some(session.created_at.0);
        !member.suspended && !revocations.iter().any(|it| it.covers_age(created_at, now))
    };
    let sessions = object.status.iter().flat_map(|status| &status.sessions);
    let remaining: Vec<_> = sessions.clone().filter(goes_on).cloned().collect();
    (remaining.len() < sessions.count()).then_some(remaining)
}
