//! Tokens and key sets, read by a third-party library.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

/// Verifies `token` with the key in `jwks` that has the `kid` of its header. Accepts only
/// `algorithm`.
pub fn verify(token: &str, jwks: &Value, algorithm: Algorithm) -> Result<Value, String> {
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let jwks: JwkSet = serde_json::from_value(jwks.clone()).map_err(|error| error.to_string())?;
    let jwk = header.kid.as_deref().and_then(|kid| jwks.find(kid)).ok_or("no such kid")?;
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    let token = decode::<Value>(token, &key, &validation).map_err(|error| error.to_string())?;
    Ok(token.claims)
}

/// The issued token in a reply.
pub fn minted(reply: &super::http::Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["appUserIdToken"].as_str().unwrap().to_owned()
}

/// The token with one character of part `part` (0 header, 1 claims, 2 signature) changed. It is
/// never the last character, whose low bits may be unused.
pub fn tampered(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let middle = parts[part].len() / 2;
    let other = if parts[part].as_bytes()[middle] == b'A' { "B" } else { "A" };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}
