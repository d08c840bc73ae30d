//! Public JSON Web Keys (RFC 7517): the typed form that is stored and served, its thumbprint, and
//! the parsed form that verifies.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::algorithm::VerifyingAlgorithm;

/// A public JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037 section 2). Typed, so that no
/// private member can pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Jwk {
    /// Key type: `RSA`, `EC` or `OKP`.
    #[schemars(length(max = 8))]
    pub kty: String,
    /// Key id, at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub kid: Option<String>,
    /// The algorithm that the key is used with, such as `ES256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub alg: Option<String>,
    /// Intended use: `sig` (signatures).
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub use_: Option<String>,
    /// RSA modulus, base64url without padding: at most 1400 characters (8192 bits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1400))]
    pub n: Option<String>,
    /// RSA public exponent, base64url without padding, such as `AQAB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub e: Option<String>,
    /// Curve: `P-256`, `P-384` or `Ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub crv: Option<String>,
    /// x coordinate (EC) or public key (OKP), base64url without padding: at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub x: Option<String>,
    /// y coordinate (EC), base64url without padding: at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub y: Option<String>,
}

/// Why a JWK cannot verify signatures of its algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JwkError {
    /// A member that the key type requires is missing or is not base64url of the right length.
    #[error("member `{0}` is missing or malformed")]
    Member(&'static str),
    /// Key type or curve do not belong to the algorithm.
    #[error("key type or curve do not fit {}", .0.as_str())]
    Mismatch(VerifyingAlgorithm),
    /// The RSA modulus is outside 2048 to 8192 bits, or the exponent is not an odd number of at
    /// most 33 bits above 1.
    #[error("RSA key of an unacceptable size")]
    Size,
    /// The numbers are not a key, such as a point that is not on its curve.
    #[error("not a valid public key")]
    Invalid,
}

/// A public key that is ready to verify signatures of exactly one algorithm.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithm: VerifyingAlgorithm,
    parsed: ParsedPublicKey,
}

impl VerifyingKey {
    /// The one algorithm this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> VerifyingAlgorithm {
        self.algorithm
    }

    /// Whether `signature` is a signature of `message` by this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl Jwk {
    /// Parses the key for `algorithm`, which the caller pins: a token never chooses it.
    ///
    /// # Errors
    /// See [`JwkError`].
    pub fn verifying_key(
        &self,
        algorithm: impl Into<VerifyingAlgorithm>,
    ) -> Result<VerifyingKey, JwkError> {
        use VerifyingAlgorithm as Alg;
        let algorithm = algorithm.into();
        let parsed = match algorithm {
            Alg::RS256 => self.rsa(algorithm, &signature::RSA_PKCS1_2048_8192_SHA256),
            Alg::RS384 => self.rsa(algorithm, &signature::RSA_PKCS1_2048_8192_SHA384),
            Alg::RS512 => self.rsa(algorithm, &signature::RSA_PKCS1_2048_8192_SHA512),
            Alg::PS256 => self.rsa(algorithm, &signature::RSA_PSS_2048_8192_SHA256),
            Alg::PS384 => self.rsa(algorithm, &signature::RSA_PSS_2048_8192_SHA384),
            Alg::PS512 => self.rsa(algorithm, &signature::RSA_PSS_2048_8192_SHA512),
            Alg::ES256 => self.ec(algorithm, "P-256", 32, &signature::ECDSA_P256_SHA256_FIXED),
            Alg::ES384 => self.ec(algorithm, "P-384", 48, &signature::ECDSA_P384_SHA384_FIXED),
            Alg::EdDSA => self.okp(algorithm),
        }?;
        Ok(VerifyingKey { algorithm, parsed })
    }

    /// Drops the members that do not belong to the key type.
    pub fn keep_own_members(&mut self) {
        if self.kty != "RSA" {
            (self.n, self.e) = (None, None);
        }
        if self.kty != "EC" {
            self.y = None;
        }
        if self.kty == "RSA" {
            (self.crv, self.x) = (None, None);
        }
    }

    /// The RFC 7638 thumbprint, base64url: the `kid` of every key made here. `None` when a
    /// required member is missing.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        // Section 3.2: only the required members, in lexicographic order, without white space.
        // Their values are base64url or registered names, so none needs escaping.
        let json = match self.kty.as_str() {
            "RSA" => format!(
                r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                self.e.as_deref()?,
                self.n.as_deref()?
            ),
            "EC" => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                self.crv.as_deref()?,
                self.x.as_deref()?,
                self.y.as_deref()?
            ),
            "OKP" => format!(
                r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#,
                self.crv.as_deref()?,
                self.x.as_deref()?
            ),
            _ => return None,
        };
        let hash = digest::digest(&digest::SHA256, json.as_bytes());
        Some(URL_SAFE_NO_PAD.encode(hash))
    }

    fn rsa(
        &self,
        algorithm: VerifyingAlgorithm,
        parameters: &'static signature::RsaParameters,
    ) -> Result<ParsedPublicKey, JwkError> {
        if self.kty != "RSA" {
            return Err(JwkError::Mismatch(algorithm));
        }
        let n = unsigned(self.n.as_deref()).ok_or(JwkError::Member("n"))?;
        let e = unsigned(self.e.as_deref()).ok_or(JwkError::Member("e"))?;
        let top_bits = n.first().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
        let bits = n.len().saturating_sub(1) * 8 + top_bits;
        let odd = e.last().is_some_and(|byte| byte & 1 == 1);
        if !(2048..=8192).contains(&bits) || !odd || e.len() > 5 || e == [1] {
            return Err(JwkError::Size);
        }
        RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(parameters)
            .map_err(|_| JwkError::Invalid)
    }

    fn ec(
        &self,
        algorithm: VerifyingAlgorithm,
        curve: &str,
        coordinate: usize,
        verification: &'static signature::EcdsaVerificationAlgorithm,
    ) -> Result<ParsedPublicKey, JwkError> {
        if self.kty != "EC" || self.crv.as_deref() != Some(curve) {
            return Err(JwkError::Mismatch(algorithm));
        }
        let x = octets(self.x.as_deref(), coordinate).ok_or(JwkError::Member("x"))?;
        let y = octets(self.y.as_deref(), coordinate).ok_or(JwkError::Member("y"))?;
        // SEC 1 section 2.3.3: 0x04 marks an uncompressed point.
        let point = [&[4_u8][..], &x, &y].concat();
        ParsedPublicKey::new(verification, point).map_err(|_| JwkError::Invalid)
    }

    fn okp(&self, algorithm: VerifyingAlgorithm) -> Result<ParsedPublicKey, JwkError> {
        if self.kty != "OKP" || self.crv.as_deref() != Some("Ed25519") {
            return Err(JwkError::Mismatch(algorithm));
        }
        let x = octets(self.x.as_deref(), 32).ok_or(JwkError::Member("x"))?;
        ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| JwkError::Invalid)
    }
}

/// A `Base64urlUInt` (RFC 7518 section 2): minimal, so without leading zero octets.
fn unsigned(member: Option<&str>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(member?).ok()?;
    bytes.first().is_some_and(|byte| *byte != 0).then_some(bytes)
}

/// A base64url octet string of exactly `length` octets.
fn octets(member: Option<&str>, length: usize) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(member?).ok()?;
    (bytes.len() == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 section 3.1.
    #[test]
    fn thumbprint_of_the_rfc() {
        let jwk = Jwk {
            kty: "RSA".into(),
            n: Some("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".into()),
            e: Some("AQAB".into()),
            ..Jwk::default()
        };
        assert_eq!(jwk.thumbprint().unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert!(jwk.verifying_key(VerifyingAlgorithm::RS256).is_ok());
        assert_eq!(
            jwk.verifying_key(VerifyingAlgorithm::ES256).unwrap_err(),
            JwkError::Mismatch(VerifyingAlgorithm::ES256)
        );
    }

    #[test]
    fn weak_and_broken_keys_are_refused() {
        let rsa = |n: &[u8], e: &[u8]| Jwk {
            kty: "RSA".into(),
            n: Some(URL_SAFE_NO_PAD.encode(n)),
            e: Some(URL_SAFE_NO_PAD.encode(e)),
            ..Jwk::default()
        };
        let refuse = |jwk: Jwk, algorithm| jwk.verifying_key(algorithm).unwrap_err();
        assert_eq!(
            refuse(rsa(&[0xff; 128], &[1, 0, 1]), VerifyingAlgorithm::RS256),
            JwkError::Size
        );
        assert_eq!(
            refuse(rsa(&[0xff; 1025], &[1, 0, 1]), VerifyingAlgorithm::RS256),
            JwkError::Size
        );
        assert_eq!(refuse(rsa(&[0xff; 256], &[1]), VerifyingAlgorithm::RS256), JwkError::Size);
        assert_eq!(refuse(rsa(&[0xff; 256], &[2]), VerifyingAlgorithm::RS256), JwkError::Size);
        assert_eq!(refuse(rsa(&[0; 256], &[3]), VerifyingAlgorithm::RS256), JwkError::Member("n"));

        let ec = Jwk {
            kty: "EC".into(),
            crv: Some("P-256".into()),
            x: Some(URL_SAFE_NO_PAD.encode([1; 32])),
            y: Some(URL_SAFE_NO_PAD.encode([1; 32])),
            ..Jwk::default()
        };
        assert_eq!(refuse(ec.clone(), VerifyingAlgorithm::ES256), JwkError::Invalid);
        assert_eq!(
            refuse(ec, VerifyingAlgorithm::ES384),
            JwkError::Mismatch(VerifyingAlgorithm::ES384)
        );
    }
}
