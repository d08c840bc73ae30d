//! appUserIdTokens: JWTs (RFC 7519) in JWS compact form (RFC 7515), verified and issued.
//!
//! Verification is a chain of types, so that no step can be left out: [`UnverifiedToken`] (header
//! parsed, nothing trusted) -> [`LocatedKey`] (the pool has a key for it, still nothing trusted) ->
//! [`SignedClaims`] (the signature is valid) -> [`super::principal::Verified`] (every claim is
//! valid). Everything that a step depends on is in
//! the [`TokenContext`]: whether the client is suspended or strict, whether the key set is recent
//! enough, and what is revoked. `Reader::token_context` (`index/mod.rs`) reads it under one lock.
//!
//! The chain does not know whether a missing key may still be fetched. For it, such a key is
//! [`Reason::KeyUnknown`] or, if only the algorithm differs, [`Reason::AlgorithmMismatch`];
//! `server/endpoints/authenticate.rs` turns these into [`Reason::KeyNotYetKnown`] while the leader
//! has not answered.

mod claims;
mod issue;

use std::cell::Cell;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::signature::Verifier as _;
use memchr::memchr_iter;
use serde::Deserialize;

use super::algorithm::VerifyingAlgorithm;
use super::client::TokenClient;
use super::duration::later;
use super::generation::Generation;
use super::ids::SdkClientId;
use super::json::{Json, parse_small_object};
use super::pool::{Source, UserPool};
use super::reason::Reason;
use super::revocation::Revocation;
use super::signing_key_set::PublishedKey;
pub use claims::SignedClaims;
pub use issue::{HostedClaims, sign};

/// The largest credential that is parsed, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The maximum number of keys that a token without `kid` is checked against.
const MAX_KEYS_WITHOUT_KID: usize = 4;

/// The longest appUserId, in bytes.
pub const MAX_APP_USER_ID_BYTES: usize = 255;

/// What a token is verified against, all of it from one state of the index.
#[derive(Clone, Debug)]
pub struct TokenContext {
    /// The client that the token is validated for.
    pub client: TokenClient,
    /// The pool of that client.
    pub pool: Arc<UserPool>,
    /// The revocations of that pool that are in force.
    pub revocations: Vec<Arc<Revocation>>,
    /// The maximum age of a fetched key set.
    pub max_jwks_age: SignedDuration,
    /// Ends when any of this changes, or another client of the pool that a token may name.
    pub generation: Generation,
}

impl TokenContext {
    /// How long a token with this `exp` remains valid after it was found valid, if nothing but the
    /// time changes: `exp` passes, or the key set becomes too old. Nothing else can invalidate it,
    /// because time brings no revocation into force: it ends revocations, and makes a key that is
    /// dated in the future, which is treated as the oldest, as old as it is.
    #[must_use]
    pub fn valid_until(&self, expires_at: Timestamp) -> Timestamp {
        let expiry = self.expiry(expires_at);
        self.pool.recent_until(self.max_jwks_age).map_or(expiry, |end| end.min(expiry))
    }

    /// When a token with this `exp` is no longer accepted.
    fn expiry(&self, expires_at: Timestamp) -> Timestamp {
        later(expires_at, self.pool.claims.leeway)
    }
}

/// A token whose header is parsed; nothing is trusted.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    algorithm: VerifyingAlgorithm,
    kid: Option<String>,
    signing_input: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    /// How often the signature was verified.
    verifications: Cell<u64>,
}

impl<'a> UnverifiedToken<'a> {
    /// Parses the header and rejects what can never be accepted, before any key is looked up.
    ///
    /// # Errors
    /// Too large, not in compact form, a repeated header member, `crit`, another `typ`, an
    /// unacceptable `alg`, a `kid` that is not a string.
    pub fn parse(token: &'a str) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::CredentialTooLarge);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Reason::TokenMalformed)?;
        if payload.contains('.') {
            return Err(Reason::TokenMalformed);
        }
        // The signature is not verified yet, so the size of the header is limited.
        let header = decode(header)?;
        let header = parse_small_object(&header).map_err(|_| Reason::TokenMalformed)?;
        let signature = decode(signature)?;
        // `b64` has a meaning only together with `crit` (RFC 7797 section 6).
        let extended = header.contains("crit") || header.contains("b64");
        if extended || !header.get("typ").is_none_or(accepted_type) {
            return Err(Reason::TokenTypeUnsupported);
        }
        let algorithm = header
            .get("alg")
            .and_then(Json::as_str)
            .and_then(VerifyingAlgorithm::from_name)
            .ok_or(Reason::AlgorithmUnsupported)?;
        let kid = match header.get("kid") {
            None | Some(Json::Null) => None,
            Some(Json::Text(kid)) => Some(kid.to_string()),
            Some(_) => return Err(Reason::KeyIdMissing),
        };
        let verifications = Cell::new(0);
        Ok(Self { algorithm, kid, signing_input, payload, signature, verifications })
    }

    /// The client that the token claims to be issued for. This proves nothing: it is the client to
    /// validate the token for if the caller specifies none.
    #[must_use]
    pub fn made_for(&self) -> Option<SdkClientId> {
        /// Only this claim: a tree of all of them would let a forged token take much memory.
        #[derive(Deserialize)]
        struct MadeFor {
            #[serde(rename = "sdkClientId")]
            client: String,
        }
        let claims: MadeFor = serde_json::from_slice(&decode(self.payload).ok()?).ok()?;
        SdkClientId::parse(&claims.client)
    }

    /// What its header identifies the key by: the key id, if there is one, and the algorithm.
    #[must_use]
    pub fn key_name(&self) -> (Option<&str>, VerifyingAlgorithm) {
        (self.kid.as_deref(), self.algorithm)
    }

    /// How often the signature was verified, with one key each time.
    #[must_use]
    pub const fn verifications(&self) -> u64 {
        self.verifications.get()
    }

    /// Looks the token's key up in the pool, at time `now`. No cryptography yet.
    ///
    /// # Errors
    /// The client is suspended or has another pool, the key set is too old, no such key, another
    /// algorithm, a `kid` that is required and missing.
    pub fn locate_key<'c>(
        &'c self,
        context: &'c TokenContext,
        now: Timestamp,
    ) -> Result<LocatedKey<'c>, Reason> {
        let TokenContext { client, pool, max_jwks_age, .. } = context;
        if client.pool? != pool.id {
            return Err(Reason::PoolNotReady);
        }
        if !pool.is_recent(*max_jwks_age, now) {
            return Err(Reason::KeySetStale);
        }
        let keys = match &self.kid {
            Some(kid) => Keys::Named(self.key_by_id(kid, context)?),
            None => Keys::OfAlgorithm(self.keys_without_id(pool)?),
        };
        Ok(LocatedKey { token: self, keys, context, now })
    }

    /// The key that the token names.
    fn key_by_id<'c>(
        &self,
        kid: &str,
        context: &'c TokenContext,
    ) -> Result<&'c PublishedKey, Reason> {
        let TokenContext { pool, revocations, .. } = context;
        pool.key(kid, self.algorithm).ok_or_else(|| {
            if revocations.iter().any(|revocation| revocation.names_key(kid)) {
                Reason::KeyRevoked
            } else if pool.keys.iter().any(|key| key.kid == kid) {
                Reason::AlgorithmMismatch
            } else {
                Reason::KeyUnknown
            }
        })
    }

    /// The keys that may have signed a token without `kid`, which is optional (RFC 7515 section
    /// 4.1.4): the few keys of its algorithm. The operator's own tokens always have a `kid`.
    fn keys_without_id<'c>(&self, pool: &'c UserPool) -> Result<Vec<&'c PublishedKey>, Reason> {
        let usable = |key: &&PublishedKey| key.verifying.algorithm() == self.algorithm;
        let keys: Vec<_> = pool.keys.iter().filter(usable).collect();
        if matches!(pool.source, Source::Hosted(_)) || keys.len() > MAX_KEYS_WITHOUT_KID {
            return Err(Reason::KeyIdMissing);
        }
        if keys.is_empty() { Err(Reason::AlgorithmMismatch) } else { Ok(keys) }
    }

    fn is_signed_by(&self, key: &PublishedKey) -> bool {
        self.verifications.set(self.verifications.get() + 1);
        key.verifying.verify(self.signing_input.as_bytes(), &self.signature).is_ok()
    }
}

/// A token for which the pool has a key, or a few. Its signature is not verified, so nothing is
/// trusted.
#[derive(Debug)]
pub struct LocatedKey<'c> {
    token: &'c UnverifiedToken<'c>,
    keys: Keys<'c>,
    context: &'c TokenContext,
    now: Timestamp,
}

/// The keys that may have signed a token.
#[derive(Debug)]
enum Keys<'c> {
    /// The one that its header names.
    Named(&'c PublishedKey),
    /// It names none.
    OfAlgorithm(Vec<&'c PublishedKey>),
}

impl<'c> LocatedKey<'c> {
    /// Verifies the signature with the algorithm of the key. This is the expensive step: from 15 to
    /// 150 microseconds for each key.
    ///
    /// # Errors
    /// An invalid signature, a revoked key, a payload that is not text.
    pub fn check_signature(self) -> Result<SignedClaims<'c>, Reason> {
        let Self { token, keys, context, now } = self;
        let signer = match keys {
            Keys::Named(key) => Some(key).filter(|key| token.is_signed_by(key)),
            Keys::OfAlgorithm(keys) => keys.into_iter().find(|key| token.is_signed_by(key)),
        };
        let key = signer.ok_or(Reason::SignatureInvalid)?;
        let mut revocations = context.revocations.iter();
        if revocations.any(|it| it.covers_key(&key.kid, key.published_at, now)) {
            return Err(Reason::KeyRevoked);
        }
        SignedClaims::new(decode(token.payload)?, context, key, now)
    }
}

/// Whether `text` has the shape of a compact JWS: three base64url parts.
#[must_use]
pub fn looks_like_jwt(text: &str) -> bool {
    // Without an early exit, so that the compiler vectorizes it: the text may be long.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'.');
    text.bytes().fold(true, |all, byte| all & fits(byte))
        && memchr_iter(b'.', text.as_bytes()).count() == 2
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    // Not `decode`: it asks the allocator for cleared memory, which glibc does not have at hand.
    let mut bytes = Vec::new();
    URL_SAFE_NO_PAD.decode_vec(part, &mut bytes).map_err(|_| Reason::TokenMalformed)?;
    Ok(bytes)
}

/// `typ` is a media type whose `application/` prefix may be omitted (RFC 7515 section 4.1.9),
/// compared without case. `JOSE` says only that the token is in compact form, and null nothing at
/// all. Any other type, such as `logout+jwt` or `dpop+jwt`, is a token for another purpose.
fn accepted_type(typ: &Json<'_>) -> bool {
    let Json::Text(typ) = typ else { return *typ == Json::Null };
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt" | "jose")
}

#[cfg(test)]
mod tests;
