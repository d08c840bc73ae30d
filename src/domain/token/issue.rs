//! Issues tokens for hosted pools.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::signature::Signer as _;
use serde::Serialize;

use crate::domain::ids::{SdkClientId, UserPoolId};
use crate::domain::signing::{SigningError, SigningKey};

/// The claims of a token that is issued for a hosted pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostedClaims<'a> {
    /// The issuer of the signing key.
    pub iss: &'a str,
    /// The appUserId.
    pub sub: &'a str,
    /// The pool's audiences, otherwise the clientId or the pool's id.
    pub aud: Vec<String>,
    /// NumericDate.
    pub iat: i64,
    /// NumericDate.
    pub nbf: i64,
    /// NumericDate.
    pub exp: i64,
    /// Unique id of the token.
    pub jti: String,
    /// The client that the token is issued for.
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
    // Not jsonwebtoken's Header: writing its 16 members would take longer.
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
    let signature = key.try_sign(token.as_bytes()).map_err(|_| SigningError::Failed)?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}
