//! The one verification core behind every endpoint: from a credential to [`Verified`] or a
//! [`Reason`]. No I/O, and no waiting: that is [`super::Endpoint::authenticate`].

use std::time::Instant;

use jiff::Timestamp;

use super::{CredentialType, Presented};
use crate::domain::credential::{ApiKey, ApiKeys, Scheme as _, SessionToken, SessionTokens};
use crate::domain::ids::{OrganizationId, SdkClientId};
use crate::domain::pool::UserPool;
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::domain::token::{MAX_TOKEN_BYTES, UnverifiedToken, looks_like_jwt};
use crate::index::Reader;
use crate::replicas::refetch_requests::KeyLookup;
use crate::server::ValidatorState;

/// Authenticates from the index.
///
/// # Errors
/// Why the credential is invalid, or why that cannot be determined.
pub fn authenticate(
    state: &ValidatorState,
    accepts: &[CredentialType],
    presented: &Presented,
) -> Result<Verified, Reason> {
    let (reader, now) = (&state.reader, state.clock.now());
    reader.answers()?;
    let credential = presented.credential.as_str();
    if credential.len() > MAX_TOKEN_BYTES {
        return Err(Reason::CredentialTooLarge);
    }
    let credential_type = type_of(credential).ok_or(Reason::CredentialUnrecognized)?;
    if !accepts.contains(&credential_type) {
        return Err(Reason::CredentialKindRefused);
    }
    let verified = match credential_type {
        CredentialType::ApiKey => api_key(reader, now, credential)?,
        CredentialType::SessionToken => session_token(reader, now, credential)?,
        CredentialType::AppUserIdToken => {
            app_user_id_token(state, now, credential, presented.client.as_deref())?
        }
    };
    match &presented.organization {
        Some(id) if OrganizationId::parse(id) != Some(verified.organization()) => {
            Err(Reason::OrganizationMismatch)
        }
        _ => Ok(verified),
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
    let key = ApiKey::parse(credential).ok_or(Reason::CredentialUnrecognized)?;
    let hash = key.hash();
    let (client, revocations) = reader.api_key_context(&hash, now).ok_or(Reason::ApiKeyUnknown)?;
    client.prove(&hash, &revocations, now)
}

fn session_token(reader: &Reader, now: Timestamp, credential: &str) -> Result<Verified, Reason> {
    let token = SessionToken::parse(credential).ok_or(Reason::CredentialUnrecognized)?;
    let hash = token.hash();
    let (member, revocations) = reader.session_context(&hash, now).ok_or(Reason::SessionUnknown)?;
    member.prove(&hash, &revocations, now)
}

fn app_user_id_token(
    state: &ValidatorState,
    now: Timestamp,
    credential: &str,
    client: Option<&str>,
) -> Result<Verified, Reason> {
    let reader = &state.reader;
    let token = UnverifiedToken::parse(credential)?;
    let client = client.ok_or(Reason::ClientMissing)?;
    let client = SdkClientId::parse(client).ok_or(Reason::ClientUnknown)?;
    let context = reader.token_context(client, now)?;
    let pool = &context.pool;
    let signed = token.check_signature(&context, now);
    state.metrics.signatures_verified(token.verifications());
    let signed = signed.map_err(|reason| match reason {
        // What the chain does not know: a key that is missing from a fetched set may be newer than
        // the set, also if the set has its `kid` with another algorithm.
        Reason::KeyUnknown | Reason::AlgorithmMismatch if pool.source.is_fetched() => {
            missing(reader, pool, &token, reason)
        }
        reason => reason,
    })?;
    signed.check(|id, pool| reader.client(id).is_some_and(|client| client.live_pool() == Ok(pool)))
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
