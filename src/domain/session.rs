//! Sessions of members: their record, and which sessions a login ends.

use jiff::{SignedDuration, Timestamp};

use super::credential::KeyHash;
use super::ids::PasswordId;

/// The maximum number of sessions that a member's status can hold.
pub const MAX_SESSIONS: usize = 64;

/// The lifetime of sessions, and the maximum number of sessions per member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicy {
    /// From login to expiry.
    pub lifetime: SignedDuration,
    /// A login beyond this number ends the oldest session. From 1 to [`MAX_SESSIONS`].
    pub max_per_member: usize,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self { lifetime: SignedDuration::from_hours(24), max_per_member: 8 }
    }
}

/// A session as status stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// SHA-256 of the session token.
    pub hash: KeyHash,
    /// When the member logged in.
    pub created_at: Timestamp,
    /// When the session expires.
    pub expires_at: Timestamp,
    /// The id of the member's password when the session started, if there was one. A change of
    /// password ends the session.
    pub password: Option<PasswordId>,
}

impl SessionPolicy {
    /// A session that starts now, for a member with this password.
    #[must_use]
    pub fn begin(
        &self,
        hash: KeyHash,
        password: Option<PasswordId>,
        now: Timestamp,
    ) -> StoredSession {
        let expires_at = now.checked_add(self.lifetime).unwrap_or(Timestamp::MAX);
        StoredSession { hash, created_at: now, expires_at, password }
    }

    /// The sessions of a member after `new` has started, oldest first. Expired sessions are
    /// dropped, and then the oldest ones that exceed the limit.
    #[must_use]
    pub fn admit(&self, sessions: &[StoredSession], new: StoredSession) -> Vec<StoredSession> {
        let mut sessions = living(sessions, new.created_at);
        sessions.sort_by_key(|session| session.created_at);
        sessions.push(new);
        let max = self.max_per_member.clamp(1, MAX_SESSIONS);
        let excess = sessions.len().saturating_sub(max);
        sessions.split_off(excess)
    }
}

/// The sessions that have not expired.
#[must_use]
pub fn living(sessions: &[StoredSession], now: Timestamp) -> Vec<StoredSession> {
    sessions.iter().copied().filter(|session| session.expires_at > now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::SessionToken;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hash() -> KeyHash {
        SessionToken::generate().unwrap().hash()
    }

    #[test]
    fn the_expired_go_and_then_the_oldest() {
        let policy = SessionPolicy { lifetime: SignedDuration::from_secs(100), max_per_member: 2 };
        let sessions = [policy.begin(hash(), None, at(0)), policy.begin(hash(), None, at(60))];
        let third = policy.begin(hash(), None, at(90));
        assert_eq!(policy.admit(&sessions, third), [sessions[1], third], "the oldest is ended");
        let late = policy.begin(hash(), None, at(130));
        assert_eq!(policy.admit(&sessions, late), [sessions[1], late], "the first has expired");
        assert_eq!(living(&sessions, at(100)), [sessions[1]]);
    }

    #[test]
    fn there_is_always_room_for_the_new_one() {
        for max_per_member in [0, 1, 1000] {
            let policy = SessionPolicy { max_per_member, ..SessionPolicy::default() };
            let many: Vec<_> =
                (0..200).map(|at_second| policy.begin(hash(), None, at(at_second))).collect();
            let new = policy.begin(hash(), None, at(300));
            let kept = policy.admit(&many, new);
            assert_eq!(kept.last(), Some(&new));
            assert!(kept.len() <= MAX_SESSIONS);
        }
    }
}
