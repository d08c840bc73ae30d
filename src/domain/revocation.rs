//! "These no longer count, from now on."

use std::collections::HashSet;

use jiff::Timestamp;

use super::decision::Reason;
use super::duration::later;
use super::ids::ObjectName;
use super::key_lifecycle::{LONGEST_LIFETIME, RETIRE_MARGIN};

/// The longest user id that a Revocation can name, in characters.
pub const MAX_SUBJECT: usize = 255;
/// The longest `jti` that a Revocation can name, in characters; it cannot name an empty one.
pub const MAX_TOKEN_ID: usize = 256;

/// A revocation of credentials that belong to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The object that declares it.
    pub name: ObjectName,
    /// The kind whose credentials it revokes.
    pub of: Of,
    /// The object whose credentials it revokes.
    pub owner: ObjectName,
    /// Ids of revoked keys.
    pub key_ids: Vec<String>,
    /// Keys and sessions that were made before this are revoked; one of unknown age was.
    pub created_before: Option<Timestamp>,
    /// The users (appUserIds) of whom no token counts.
    pub subjects: HashSet<String>,
    /// `jti` of revoked tokens.
    pub token_ids: HashSet<String>,
    /// Tokens that were issued before this are revoked; one without `iat` was.
    pub tokens_issued_before: Option<Timestamp>,
    /// When the revocation itself began.
    pub created_at: Option<Timestamp>,
    /// When the revocation itself ends.
    pub expires_at: Option<Timestamp>,
}

/// The kinds whose credentials can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// Keys, tokens and users of a pool.
    UserPool,
    /// ApiKeys of a service client.
    SdkClient,
    /// Sessions of a member.
    Member,
}

impl Revocation {
    /// Whether the revocation has not ended by itself at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }

    /// Whether it names this key.
    #[must_use]
    pub fn names_key(&self, id: &str) -> bool {
        self.key_ids.iter().any(|named| named == id)
    }

    /// Whether it covers what was created at this time.
    #[must_use]
    pub fn covers_age(&self, created_at: Option<Timestamp>) -> bool {
        self.created_before
            .is_some_and(|limit| created_at.is_none_or(|created_at| created_at < limit))
    }

    /// Whether it covers a key, by id or by age.
    #[must_use]
    pub fn covers_key(&self, id: &str, created_at: Option<Timestamp>) -> bool {
        self.names_key(id) || self.covers_age(created_at)
    }

    /// Why it covers a token of this user, with this `jti` and `iat`, if it does.
    #[must_use]
    pub fn covers_token(
        &self,
        app_user_id: &str,
        token_id: Option<&str>,
        issued_at: Option<Timestamp>,
    ) -> Option<Reason> {
        if self.subjects.contains(app_user_id) {
            return Some(Reason::UserRevoked);
        }
        let named = token_id.is_some_and(|id| self.token_ids.contains(id));
        let too_old = self
            .tokens_issued_before
            .is_some_and(|limit| issued_at.is_none_or(|issued_at| issued_at < limit));
        (named || too_old).then_some(Reason::TokenRevoked)
    }

    /// For a revocation of tokens of a hosted pool: when all of them have expired by themselves,
    /// because none is ever minted for longer than any spec allows. Keys may come back with a
    /// restored Secret, and users with their next token, so there it is never.
    #[must_use]
    pub fn moot_at(&self) -> Option<Timestamp> {
        let tokens_only =
            self.key_ids.is_empty() && self.created_before.is_none() && self.subjects.is_empty();
        let last = self.tokens_issued_before.max(self.created_at).filter(|_| tokens_only)?;
        Some(later(later(last, LONGEST_LIFETIME), RETIRE_MARGIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn nothing() -> Revocation {
        let name = ObjectName { namespace: "acme".into(), name: "leak".into() };
        Revocation {
            owner: name.clone(),
            name,
            of: Of::UserPool,
            key_ids: vec![],
            created_before: None,
            subjects: HashSet::new(),
            token_ids: HashSet::new(),
            tokens_issued_before: None,
            created_at: Some(at(100)),
            expires_at: None,
        }
    }

    #[test]
    fn keys_by_id_and_by_age() {
        assert!(!nothing().covers_key("a", None));
        let by_id = Revocation { key_ids: vec!["a".into()], ..nothing() };
        assert!(by_id.covers_key("a", Some(at(5))) && !by_id.covers_key("b", Some(at(5))));
        let by_age = Revocation { created_before: Some(at(6)), ..nothing() };
        assert!(by_age.covers_key("a", Some(at(5))));
        assert!(!by_age.covers_key("a", Some(at(6))));
        assert!(by_age.covers_key("a", None), "a key of unknown age counts as oldest");
        let over = Revocation { expires_at: Some(at(9)), ..by_id };
        assert!(over.is_in_force(at(8)) && !over.is_in_force(at(9)));
    }

    #[test]
    fn tokens_by_user_by_id_and_by_age() {
        let covers = |revocation: &Revocation, issued_at| {
            revocation.covers_token("ada", Some("t-1"), issued_at)
        };
        assert_eq!(covers(&nothing(), None), None);
        let user = Revocation { subjects: ["ada".to_owned()].into(), ..nothing() };
        assert_eq!(covers(&user, Some(at(5))), Some(Reason::UserRevoked));
        let token = Revocation { token_ids: ["t-1".to_owned()].into(), ..nothing() };
        assert_eq!(covers(&token, Some(at(5))), Some(Reason::TokenRevoked));
        assert_eq!(token.covers_token("ada", None, Some(at(5))), None);
        let old = Revocation { tokens_issued_before: Some(at(6)), ..nothing() };
        assert_eq!(covers(&old, Some(at(5))), Some(Reason::TokenRevoked));
        assert_eq!(covers(&old, Some(at(6))), None);
        assert_eq!(covers(&old, None), Some(Reason::TokenRevoked), "without iat: before all");
    }

    #[test]
    fn only_what_expires_by_itself_makes_a_revocation_moot() {
        let tokens = Revocation { token_ids: ["t-1".to_owned()].into(), ..nothing() };
        let longest = LONGEST_LIFETIME.as_secs() + RETIRE_MARGIN.as_secs();
        assert_eq!(tokens.moot_at(), Some(at(100 + longest)));
        let later = Revocation { tokens_issued_before: Some(at(500)), ..tokens.clone() };
        assert_eq!(later.moot_at(), Some(at(500 + longest)));
        for lasting in [
            Revocation { key_ids: vec!["a".into()], ..tokens.clone() },
            Revocation { created_before: Some(at(1)), ..tokens.clone() },
            Revocation { subjects: ["ada".to_owned()].into(), ..tokens },
        ] {
            assert_eq!(lasting.moot_at(), None);
        }
    }
}
