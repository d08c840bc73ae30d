//! The one verification core behind every endpoint: from a credential to [`Verified`] or a
//! [`Reason`]. No I/O, and no waiting: that is [`super::Endpoint::authenticate`].

use std::time::Instant;

use jiff::Timestamp;

use super::verification_queue::Turn;
use super::verified_tokens::TokenKey;
use super::{CredentialType, Presented};
use crate::domain::credential::{ApiKey, ApiKeys, Scheme as _, SessionToken, SessionTokens};
use crate::domain::ids::OrganizationId;
use crate::domain::pool::UserPool;
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::domain::token::{MAX_TOKEN_BYTES, TokenContext, UnverifiedToken, looks_like_jwt};
use crate::index::Reader;
use crate::replicas::refetch_requests::KeyLookup;
use crate::server::ValidatorState;

/// Why there is no [`Verified`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// It is the verdict.
    Verdict(Reason),
    /// A signature has to be verified, and must wait for a turn of this organization.
    Turn(OrganizationId),
}

impl From<Reason> for Pending {
    fn from(reason: Reason) -> Self {
        Self::Verdict(reason)
    }
}

impl From<Pending> for Reason {
    fn from(pending: Pending) -> Self {
        match pending {
            Pending::Verdict(reason) => reason,
            Pending::Turn(_) => Self::Overloaded,
        }
    }
}

/// The authentication of what a request presents. While the request waits, it keeps what depends on
/// the credential alone.
pub struct Authentication<'r> {
    presented: Presented<'r>,
    /// Of a token for a known client, while the cache is on.
    cache_key: Option<TokenKey>,
    token: Option<UnverifiedToken<'r>>,
}

impl<'r> Authentication<'r> {
    /// Nothing has been looked at.
    pub const fn new(presented: Presented<'r>) -> Self {
        Self { presented, cache_key: None, token: None }
    }

    /// Authenticates from the index. `turn` is the turn that the request has waited for, if it has.
    ///
    /// # Errors
    /// Why the credential is invalid, or why that cannot be determined; or it must wait.
    pub fn verdict(
        &mut self,
        state: &ValidatorState,
        accepts: &[CredentialType],
        turn: Option<Turn>,
    ) -> Result<Verified, Pending> {
        let (reader, now) = (&state.reader, state.clock.now());
        reader.answers()?;
        let Presented { credential, organization, .. } = self.presented;
        if credential.len() > MAX_TOKEN_BYTES {
            return Err(Reason::CredentialTooLarge.into());
        }
        let credential_type = type_of(credential).ok_or(Reason::CredentialUnrecognized)?;
        if !accepts.contains(&credential_type) {
            return Err(Reason::CredentialKindRefused.into());
        }
        let verified = match credential_type {
            CredentialType::ApiKey => api_key(reader, now, credential)?,
            CredentialType::SessionToken => session_token(reader, now, credential)?,
            CredentialType::AppUserIdToken => self.app_user_id_token(state, now, turn)?,
        };
        // Whether or not the token was in the cache.
        match organization {
            Some(accepted) if accepted != Ok(verified.organization()) => {
                Err(Reason::OrganizationMismatch.into())
            }
            _ => Ok(verified),
        }
    }

    fn app_user_id_token(
        &mut self,
        state: &ValidatorState,
        now: Timestamp,
        turn: Option<Turn>,
    ) -> Result<Verified, Pending> {
        let ValidatorState { metrics, verified_tokens, .. } = state;
        if let (None, Some(Ok(client))) = (&self.cache_key, self.presented.client) {
            self.cache_key = verified_tokens.key(self.presented.credential, client);
        }
        let Some(key) = self.cache_key else { return Ok(self.verify(state, now, turn)?.0) };
        if let Some(verified) = verified_tokens.get(&key, now) {
            metrics.token_cache(true);
            return Ok(verified);
        }
        let proof = self.verify(state, now, turn);
        // A token that must wait is looked up again.
        if !matches!(proof, Err(Pending::Turn(_))) {
            metrics.token_cache(false);
        }
        let (verified, context) = proof?;
        verified_tokens.insert(key, &context, &verified, now);
        Ok(verified)
    }

    /// What a token proves that is not in the cache, and what it was verified against.
    fn verify(
        &mut self,
        state: &ValidatorState,
        now: Timestamp,
        turn: Option<Turn>,
    ) -> Result<(Verified, TokenContext), Pending> {
        let ValidatorState { reader, metrics, .. } = state;
        let Presented { credential, client, .. } = self.presented;
        let token = match self.token.take() {
            Some(token) => token,
            None => UnverifiedToken::parse(credential)?,
        };
        let token = &*self.token.insert(token);
        let client = client.ok_or(Reason::ClientMissing)??;
        let context = reader.token_context(client, now)?;
        let pool = &context.pool;
        let located = token.locate_key(&context, now).map_err(|reason| match reason {
            // What the chain does not know: a key that is missing from a fetched set may be newer than
            // the set, also if the set has its `kid` with another algorithm.
            Reason::KeyUnknown | Reason::AlgorithmMismatch if pool.source.is_fetched() => {
                missing(reader, pool, token, reason)
            }
            reason => reason,
        })?;
        // Before any cryptography, and after everything that rejects a token without it.
        let turn = turn.or_else(|| state.verification_queue.try_turn());
        let turn = turn.ok_or(Pending::Turn(pool.organization))?;
        let signed = located.check_signature();
        drop(turn);
        metrics.signatures_verified(token.verifications());
        let is_live = |id, pool| reader.client(id).is_some_and(|it| it.live_pool() == Ok(pool));
        let verified = signed?.check(is_live)?;
        Ok((verified, context))
    }
}

/// The type of a credential, by its shape.
pub fn type_of(credential: &str) -> Option<CredentialType> {
    if credential.starts_with(ApiKeys::PREFIX) {
        Some(CredentialType::ApiKey)
    } else if credential.starts_with(SessionTokens::PREFIX) {
        Some(CredentialType::SessionToken)
    } else {
        looks_like_jwt(credential).then_some(CredentialType::AppUserIdToken)
    }
}

fn api_key(reader: &Reader, now: Timestamp, credential: &str) -> Result<Verified, Reason> {
    // The checksum comes first, so that junk costs no lookup.
    let hash = ApiKey::hash_of(credential).ok_or(Reason::CredentialUnrecognized)?;
    reader.prove_api_key(&hash, now)
}

fn session_token(reader: &Reader, now: Timestamp, credential: &str) -> Result<Verified, Reason> {
    let hash = SessionToken::hash_of(credential).ok_or(Reason::CredentialUnrecognized)?;
    reader.prove_session(&hash, now)
}

/// Whether the key exists is known only once the leader has fetched the set again; if it does not,
/// `reason` is final.
fn missing(
    reader: &Reader,
    pool: &UserPool,
    token: &UnverifiedToken<'_>,
    reason: Reason,
) -> Reason {
    match reader.refetch_requests().record_miss(pool, &token.key_name(), Instant::now()) {
        KeyLookup::Absent => reason,
        KeyLookup::Unanswered => Reason::KeyNotYetKnown,
    }
}
