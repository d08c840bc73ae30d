//! Revocations: which credentials they invalidate.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::later;
use super::ids::ObjectName;
use super::reason::Reason;
use super::rotation::signing_keys::{LONGEST_LIFETIME, RETIRE_MARGIN};

/// The longest user id that a Revocation can specify, in characters.
pub const MAX_SUBJECT: usize = 255;
/// The longest `jti` that a Revocation can specify, in characters. It cannot specify an empty one.
pub const MAX_TOKEN_ID: usize = 256;
/// How far a creation time may be ahead of this machine's clock and still be trusted, because the
/// clocks of two machines differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// The creation time if it can be trusted at `now`. A time in the future cannot.
#[must_use]
pub fn plausible(created_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    created_at.filter(|created_at| created_at.duration_since(now) <= CLOCK_SKEW)
}

/// A revocation of credentials that belong to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The object that declares it.
    pub name: ObjectName,
    /// The kind whose credentials it revokes.
    pub of: RevocationTarget,
    /// The object whose credentials it revokes.
    pub owner: ObjectName,
    /// Ids of revoked keys.
    pub key_ids: Vec<String>,
    /// Keys and sessions created before this time are revoked, and so are those of unknown age.
    pub created_before: Option<Timestamp>,
    /// The users (appUserIds) whose tokens are all revoked.
    pub subjects: HashSet<String>,
    /// `jti` of revoked tokens.
    pub token_ids: HashSet<String>,
    /// Tokens issued before this time are revoked, and so are those without `iat`.
    pub tokens_issued_before: Option<Timestamp>,
    /// Ids of the credentials that it is recorded to have matched.
    pub matched: HashSet<String>,
    /// When the Revocation object was created.
    pub created_at: Option<Timestamp>,
    /// When the revocation itself expires.
    pub expires_at: Option<Timestamp>,
}

/// The kinds whose credentials can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationTarget {
    /// Keys, tokens and users of a user pool.
    UserPool,
    /// API keys of a service client.
    SdkClient,
    /// Sessions of a member.
    Member,
}

/// The kinds of credentials that a Revocation is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialKind {
    /// A signing key of a user pool.
    SigningKey,
    /// An API key of a service client.
    ApiKey,
    /// A session of a member.
    Session,
}

impl RevocationTarget {
    /// The kind of its credentials.
    #[must_use]
    pub const fn credential_kind(self) -> CredentialKind {
        match self {
            Self::UserPool => CredentialKind::SigningKey,
            Self::SdkClient => CredentialKind::ApiKey,
            Self::Member => CredentialKind::Session,
        }
    }
}

impl Revocation {
    /// A revocation that covers nothing yet.
    #[must_use]
    pub fn new(name: ObjectName, of: RevocationTarget, owner: ObjectName) -> Self {
        Self {
            name,
            of,
            owner,
            key_ids: Vec::new(),
            created_before: None,
            subjects: HashSet::new(),
            token_ids: HashSet::new(),
            tokens_issued_before: None,
            matched: HashSet::new(),
            created_at: None,
            expires_at: None,
        }
    }

    /// Whether the revocation has not expired at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }

    /// Whether it lists this key id.
    #[must_use]
    pub fn names_key(&self, id: &str) -> bool {
        self.key_ids.iter().any(|named| named == id)
    }

    /// Whether it covers, at `now`, a credential that was created at this time. An unknown time is
    /// treated as earlier than any other, and so is one in the future: otherwise a wrong date would
    /// exempt a key.
    #[must_use]
    pub fn covers_age(&self, created_at: Option<Timestamp>, now: Timestamp) -> bool {
        let Some(limit) = self.created_before else { return false };
        // The API server's clock, by which the revocation was created, may be ahead of ours.
        let created_at = plausible(created_at, self.created_at.map_or(now, |it| it.max(now)));
        created_at.is_none_or(|created_at| created_at < limit)
    }

    /// Whether it covers a key at `now`, by its id or by its age.
    #[must_use]
    pub fn covers_key(&self, id: &str, created_at: Option<Timestamp>, now: Timestamp) -> bool {
        self.names_key(id) || self.covers_age(created_at, now)
    }

    /// Whether it revokes users or tokens. They are stored nowhere, so whether there are any cannot
    /// be determined.
    #[must_use]
    pub fn covers_tokens(&self) -> bool {
        let by_id = !self.subjects.is_empty() || !self.token_ids.is_empty();
        by_id || self.tokens_issued_before.is_some()
    }

    /// Whether it revokes keys or sessions, by id or by age.
    #[must_use]
    pub fn covers_credentials(&self) -> bool {
        !self.key_ids.is_empty() || self.created_before.is_some()
    }

    /// The reason to reject a token of this user with this `jti` and `iat`, if the revocation
    /// covers it.
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

    /// For a revocation of tokens of a hosted pool: when all of them have expired, because no token
    /// is issued for longer than [`LONGEST_LIFETIME`]. `None` for a revocation of keys, which can
    /// come back with a restored Secret, and for one of users, who can get new tokens.
    #[must_use]
    pub fn obsolete_at(&self) -> Option<Timestamp> {
        let tokens_only = !self.covers_credentials() && self.subjects.is_empty();
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
        let nothing = Revocation::new(name.clone(), RevocationTarget::UserPool, name);
        Revocation { created_at: Some(at(100)), ..nothing }
    }

    #[test]
    fn keys_by_id_and_by_age() {
        let covers = |it: &Revocation, id, created_at| it.covers_key(id, created_at, at(100));
        assert!(!covers(&nothing(), "a", None));
        let by_id = Revocation { key_ids: vec!["a".into()], ..nothing() };
        assert!(covers(&by_id, "a", Some(at(5))) && !covers(&by_id, "b", Some(at(5))));
        let by_age = Revocation { created_before: Some(at(6)), ..nothing() };
        assert!(covers(&by_age, "a", Some(at(5))));
        assert!(!covers(&by_age, "a", Some(at(6))));
        assert!(covers(&by_age, "a", None), "a key of unknown age is older than any other");
        assert!(covers(&by_age, "a", Some(at(1000))), "and so is one created in the future");
        let over = Revocation { expires_at: Some(at(9)), ..by_id };
        assert!(over.is_in_force(at(8)) && !over.is_in_force(at(9)));
    }

    #[test]
    fn a_creation_in_the_future_is_unknown() {
        let now = at(1000);
        assert_eq!(plausible(Some(at(999)), now), Some(at(999)));
        assert_eq!(plausible(Some(at(1060)), now), Some(at(1060)), "clocks differ");
        assert_eq!(plausible(Some(at(1061)), now), None);
        assert_eq!(plausible(Some(Timestamp::MAX), Timestamp::MIN), None);
        assert_eq!(plausible(None, now), None);
    }

    #[test]
    fn a_creation_in_the_future_is_judged_by_the_later_of_two_clocks() {
        // Created at 100 by the API server's clock; the revoked key was replaced at once.
        let by_age = Revocation { created_before: Some(at(101)), ..nothing() };
        let replacement = Some(at(101));
        // A replica whose clock is behind by more than CLOCK_SKEW.
        assert!(!by_age.covers_age(replacement, at(1)));
        assert!(!by_age.covers_age(replacement, at(200)));
        assert!(by_age.covers_age(Some(at(161)), at(1)));
        assert!(!by_age.covers_age(Some(at(160)), at(1)));
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
        assert_eq!(
            covers(&old, None),
            Some(Reason::TokenRevoked),
            "without iat: older than any other"
        );
    }

    #[test]
    fn only_what_expires_by_itself_makes_a_revocation_moot() {
        let tokens = Revocation { token_ids: ["t-1".to_owned()].into(), ..nothing() };
        let longest = LONGEST_LIFETIME.as_secs() + RETIRE_MARGIN.as_secs();
        assert_eq!(tokens.obsolete_at(), Some(at(100 + longest)));
        let later = Revocation { tokens_issued_before: Some(at(500)), ..tokens.clone() };
        assert_eq!(later.obsolete_at(), Some(at(500 + longest)));
        for lasting in [
            Revocation { key_ids: vec!["a".into()], ..tokens.clone() },
            Revocation { created_before: Some(at(1)), ..tokens.clone() },
            Revocation { subjects: ["ada".to_owned()].into(), ..tokens },
        ] {
            assert_eq!(lasting.obsolete_at(), None);
        }
    }
}
