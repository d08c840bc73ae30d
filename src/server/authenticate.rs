//! The one verification core behind every endpoint: from a credential to [`Verified`] or a
//! [`Reason`]. No I/O.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::domain::credential::{ApiKey, ApiKeys, Scheme as _, SessionToken, SessionTokens};
use crate::domain::ids::{OrganizationId, SdkClientId};
use crate::domain::pool::UserPool;
use crate::domain::principal::Verified;
use crate::domain::reason::Reason;
use crate::domain::revocation::RevocationTarget;
use crate::domain::token::{MAX_TOKEN_BYTES, UnverifiedToken, looks_like_jwt};
use crate::index::Reader;
use crate::replicas::refetch_requests::KeyLookup;

/// The credential types that an endpoint accepts.
#[derive(Clone, Copy, Debug)]
pub struct Accepts {
    /// JWTs of end users.
    pub app_user_id_tokens: bool,
    /// API keys of backends.
    pub api_keys: bool,
    /// Session tokens of members.
    pub session_tokens: bool,
}

/// What an endpoint asks for.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The presented credential.
    pub credential: &'q str,
    /// The client that a JWT is validated for. Each endpoint documents who may set it.
    pub client: Option<&'q str>,
    /// Accepts only credentials of this organization.
    pub organization: Option<&'q str>,
    /// The accepted credential types.
    pub accepts: Accepts,
}

/// How long a request waits for a missing key: slightly longer than a fetch usually takes.
const MISSING_KEY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Like [`authenticate`], but a token whose key is not known yet waits briefly for it, so that
/// users do not notice when their identity provider rotates its keys. Few requests wait at a time.
///
/// # Errors
/// As for [`authenticate`].
pub async fn authenticate_patiently(
    reader: &Reader,
    clock: &dyn Clock,
    question: Question<'_>,
) -> Result<Verified, Reason> {
    let mut changes = reader.applied().subscribe();
    let answer = || authenticate(reader, clock.now(), question);
    let first = answer();
    if first != Err(Reason::KeyNotYetKnown) {
        return first;
    }
    let Some(_seat) = reader.refetch_requests().wait_slot() else { return first };
    let waiting = async {
        while changes.changed().await.is_ok() {
            let answer = answer();
            if answer != Err(Reason::KeyNotYetKnown) {
                return answer;
            }
        }
        Err(Reason::KeyNotYetKnown)
    };
    timeout(MISSING_KEY_TIMEOUT, waiting).await.unwrap_or(Err(Reason::KeyNotYetKnown))
}

/// Authenticates from the index, at time `now`.
///
/// # Errors
/// Why the credential is invalid, or why that cannot be determined.
pub fn authenticate(
    reader: &Reader,
    now: Timestamp,
    question: Question<'_>,
) -> Result<Verified, Reason> {
    reader.answers()?;
    let credential = question.credential;
    if credential.len() > MAX_TOKEN_BYTES {
        return Err(Reason::CredentialTooLarge);
    }
    let verified = if credential.starts_with(ApiKeys::PREFIX) {
        accept(question.accepts.api_keys)?;
        api_key(reader, now, credential)?
    } else if credential.starts_with(SessionTokens::PREFIX) {
        accept(question.accepts.session_tokens)?;
        session_token(reader, now, credential)?
    } else if looks_like_jwt(credential) {
        accept(question.accepts.app_user_id_tokens)?;
        app_user_id_token(reader, now, credential, question.client)?
    } else {
        return Err(Reason::CredentialUnrecognized);
    };
    match question.organization {
        Some(id) if OrganizationId::parse(id) != Some(verified.organization()) => {
            Err(Reason::OrganizationMismatch)
        }
        _ => Ok(verified),
    }
}

const fn accept(accepted: bool) -> Result<(), Reason> {
    if accepted { Ok(()) } else { Err(Reason::CredentialKindRefused) }
}

fn api_key(reader: &Reader, now: Timestamp, credential: &str) -> Result<Verified, Reason> {
    // The checksum comes first, so that junk costs no lookup.
    let key = ApiKey::parse(credential).ok_or(Reason::CredentialUnrecognized)?;
    let hash = key.hash();
    let client = reader.client_by_key(&hash).ok_or(Reason::ApiKeyUnknown)?;
    client.prove(&hash, &reader.revocations(RevocationTarget::SdkClient, &client.name, now), now)
}

fn session_token(reader: &Reader, now: Timestamp, credential: &str) -> Result<Verified, Reason> {
    let token = SessionToken::parse(credential).ok_or(Reason::CredentialUnrecognized)?;
    let hash = token.hash();
    let member = reader.member_by_session(&hash).ok_or(Reason::SessionUnknown)?;
    member.prove(&hash, &reader.revocations(RevocationTarget::Member, &member.name, now), now)
}

fn app_user_id_token(
    reader: &Reader,
    now: Timestamp,
    credential: &str,
    client: Option<&str>,
) -> Result<Verified, Reason> {
    let token = UnverifiedToken::parse(credential)?;
    let id = client.ok_or(Reason::ClientMissing)?;
    let id = SdkClientId::parse(id).ok_or(Reason::ClientUnknown)?;
    let client = reader.client(id).ok_or(Reason::ClientUnknown)?;
    let pool = reader
        .pool(client.live_pool()?)
        .filter(|pool| !pool.keys.is_empty())
        .ok_or(Reason::PoolNotReady)?;
    if !reader.is_recent(&pool, now) {
        return Err(Reason::KeySetStale);
    }
    let revocations = reader.revocations(RevocationTarget::UserPool, &pool.name, now);
    let checked = token.check_signature(&pool, &revocations, now);
    let mut signed = checked.map_err(|reason| match reason {
        Reason::KeyUnknown if pool.source.is_fetched() => missing(reader, &pool, token.kid()),
        reason => reason,
    })?;
    if client.is_strict() {
        signed = signed.require_client(id)?;
    }
    signed.check(id, now, |id, pool| {
        reader.client(id).is_some_and(|client| client.live_pool() == Ok(pool))
    })
}

/// A key that is missing from a fetched set may be newer than the set.
fn missing(reader: &Reader, pool: &UserPool, kid: &str) -> Reason {
    match reader.refetch_requests().record_miss(pool, kid, Instant::now()) {
        KeyLookup::Absent => Reason::KeyUnknown,
        KeyLookup::Unanswered => Reason::KeyNotYetKnown,
    }
}
