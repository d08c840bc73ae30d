//! appUserIdTokens: JWTs (RFC 7519) in JWS compact form (RFC 7515), checked and made.
//!
//! A check is a chain of types, so that no step can be left out: [`UnverifiedToken`] (header read,
//! nothing trusted) -> [`SignedClaims`] (the signature holds) -> [`super::decision::Verified`] (every
//! claim holds).

mod claims;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::algorithm::VerifyingAlgorithm;
use super::decision::Reason;
use super::ids::{SdkClientId, UserPoolId};
use super::json::parse_object;
use super::pool::UserPool;
use super::revocation::Revocation;
use super::signing::{SigningError, SigningKey};
pub use claims::SignedClaims;

/// The longest credential that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest appUserId, in bytes.
pub const MAX_APP_USER_ID_BYTES: usize = 255;

/// A token of which the header was read and nothing is trusted.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    algorithm: VerifyingAlgorithm,
    kid: String,
    signing_input: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads the header and refuses what can never be accepted, before any key is looked up.
    ///
    /// # Errors
    /// Too large, not in compact form, a repeated header member, `crit`, another `typ`, an
    /// unacceptable `alg`, no `kid`.
    pub fn parse(token: &'a str) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::CredentialTooLarge);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Reason::TokenMalformed)?;
        if payload.contains('.') {
            return Err(Reason::TokenMalformed);
        }
        let header = decode_object(header)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Reason::TokenMalformed)?;
        // `b64` counts only together with `crit` (RFC 7797 section 6).
        let extended = header.contains_key("crit") || header.contains_key("b64");
        if extended || !header.get("typ").is_none_or(accepted_type) {
            return Err(Reason::TokenTypeUnsupported);
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(VerifyingAlgorithm::from_name)
            .ok_or(Reason::AlgorithmUnsupported)?;
        let kid = header.get("kid").and_then(Value::as_str).ok_or(Reason::KeyIdMissing)?;
        Ok(Self { algorithm, kid: kid.to_owned(), signing_input, payload, signature })
    }

    /// The client that the token says it was made for. Nothing is proven by that: it is the client
    /// to check the token for where nobody has named one.
    #[must_use]
    pub fn made_for(&self) -> Option<SdkClientId> {
        let claims = decode_object(self.payload).ok()?;
        SdkClientId::parse(claims.get("sdkClientId")?.as_str()?)
    }

    /// The key that it names.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Finds the token's key in the pool and checks the signature with the algorithm that the
    /// key pins. `revocations` are those of the pool that are in force at `now`.
    ///
    /// # Errors
    /// No such key, another algorithm, a wrong signature, a revoked key, an unreadable payload.
    pub fn check_signature<'p>(
        &self,
        pool: &'p UserPool,
        revocations: &'p [Arc<Revocation>],
        now: Timestamp,
    ) -> Result<SignedClaims<'p>, Reason> {
        let key = pool.key(&self.kid).ok_or_else(|| {
            let named = revocations.iter().any(|revocation| revocation.names_key(&self.kid));
            if named { Reason::KeyRevoked } else { Reason::KeyUnknown }
        })?;
        if key.verifying.algorithm() != self.algorithm {
            return Err(Reason::AlgorithmMismatch);
        }
        if !key.verifying.verifies(self.signing_input.as_bytes(), &self.signature) {
            return Err(Reason::SignatureInvalid);
        }
        if revocations.iter().any(|it| it.covers_key(&key.kid, key.published_at, now)) {
            return Err(Reason::KeyRevoked);
        }
        let claims = decode_object(self.payload)?;
        Ok(SignedClaims::new(claims, pool, key, revocations))
    }
}

/// The claims of a token that we mint for a hosted pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostedClaims<'a> {
    /// The issuer of the signing key.
    pub iss: &'a str,
    /// The appUserId.
    pub sub: &'a str,
    /// The pool's audiences, else the clientId or the pool's id.
    pub aud: Vec<String>,
    /// NumericDate.
    pub iat: i64,
    /// NumericDate.
    pub nbf: i64,
    /// NumericDate.
    pub exp: i64,
    /// Unique id of the token.
    pub jti: String,
    /// The client that the token was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_client_id: Option<SdkClientId>,
    /// The pool.
    pub user_pool_id: UserPoolId,
}

/// Signs `claims` in JWS compact form with header `alg`, `kid`, `typ: JWT`.
///
/// # Errors
/// The cryptographic library failed.
pub fn sign<C: Serialize>(key: &SigningKey, kid: &str, claims: &C) -> Result<String, SigningError> {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'static str,
        kid: &'a str,
        typ: &'static str,
    }
    let header = Header { alg: key.algorithm().as_str(), kid, typ: "JWT" };
    let encode = |json: serde_json::Result<Vec<u8>>| {
        json.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).map_err(|_| SigningError::Failed)
    };
    let mut token = encode(serde_json::to_vec(&header))?;
    token.push('.');
    token.push_str(&encode(serde_json::to_vec(claims))?);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}

/// Whether `text` has the shape of a compact JWS: three base64url parts.
#[must_use]
pub fn looks_like_jwt(text: &str) -> bool {
    let base64url = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').count() == 3 && text.split('.').all(base64url)
}

fn decode_object(part: &str) -> Result<Map<String, Value>, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::TokenMalformed)?;
    parse_object(&bytes).map_err(|_| Reason::TokenMalformed)
}

/// `typ` is a media type whose `application/` may be left out (RFC 7515 section 4.1.9); case does
/// not matter. Everything else, such as `logout+jwt` or `dpop+jwt`, is a token for another use.
fn accepted_type(typ: &Value) -> bool {
    typ.as_str().is_some_and(|typ| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    })
}

#[cfg(test)]
mod tests;
