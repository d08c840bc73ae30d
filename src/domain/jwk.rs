//! Public JSON Web Keys (RFC 7517): the typed form that is stored and published, its thumbprint,
//! and the parsed form that verifies signatures.
//!
//! [`Jwk`] is not the type of jsonwebtoken, because it is part of the CRD schemas, with the maximum
//! length of each member, and because that type can hold any member, private ones included. What is
//! published and hashed is converted to that type, in one place.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::jwk::{self as jose, ThumbprintHash};
use jsonwebtoken::signature::{Error as InvalidSignature, Verifier};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::algorithm::VerifyingAlgorithm;

mod sound;

/// A public JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037 section 2). Typed, so that no
/// private member can be stored or published.
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
    /// The key type or curve does not belong to the algorithm.
    #[error("the key type or curve (`kty`, `crv`) does not fit {}", .0.as_str())]
    Mismatch(VerifyingAlgorithm),
    /// The RSA modulus is outside 2048 to 8192 bits.
    #[error("the RSA modulus (`n`) must have 2048 to 8192 bits")]
    Size,
    /// The RSA exponent is even, 1, or too long.
    #[error("the RSA exponent (`e`) must be an odd number from 3 to 2^33")]
    Exponent,
    /// The RSA modulus is easy to factor.
    #[error(
        "the RSA modulus (`n`) is even, a square, or divisible by a small prime: anyone can compute the private key"
    )]
    WeakModulus,
    /// An Ed25519 point of order 1, 2, 4 or 8.
    #[error("the Ed25519 point (`x`) has a small order: anyone can sign for it")]
    SmallOrder,
    /// An Ed25519 point whose y coordinate is not reduced (RFC 8032 section 5.1.3).
    #[error("the Ed25519 point (`x`) is not in its canonical encoding")]
    NotCanonical,
    /// The cryptographic library rejects the key, such as a point that is not on its curve.
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
    /// The one algorithm that this key is used with.
    #[must_use]
    pub const fn algorithm(&self) -> VerifyingAlgorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for VerifyingKey {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), InvalidSignature> {
        self.parsed.verify_sig(message, signature).map_err(|_| InvalidSignature::new())
    }
}

/// Called directly: `jsonwebtoken::decode` would parse the key for each token.
impl JwtVerifier for VerifyingKey {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm.into()
    }
}

/// Both types have the same JSON form.
impl TryFrom<&Jwk> for jose::Jwk {
    type Error = serde_json::Error;

    fn try_from(jwk: &Jwk) -> serde_json::Result<Self> {
        serde_json::from_value(serde_json::to_value(jwk)?)
    }
}

/// The public JWK Set (RFC 7517 section 5) of these keys.
///
/// # Errors
/// Never in practice: a set of strings can be encoded.
pub fn public_set<'k>(keys: impl IntoIterator<Item = &'k Jwk>) -> serde_json::Result<jose::JwkSet> {
    let keys = keys.into_iter().map(jose::Jwk::try_from).collect::<Result<_, _>>()?;
    Ok(jose::JwkSet { keys })
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
        let parsed = match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            (Alg::RS256, "RSA", _) => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            (Alg::RS384, "RSA", _) => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            (Alg::RS512, "RSA", _) => self.rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            (Alg::PS256, "RSA", _) => self.rsa(&signature::RSA_PSS_2048_8192_SHA256),
            (Alg::PS384, "RSA", _) => self.rsa(&signature::RSA_PSS_2048_8192_SHA384),
            (Alg::PS512, "RSA", _) => self.rsa(&signature::RSA_PSS_2048_8192_SHA512),
            (Alg::ES256, "EC", Some("P-256")) => self.ec(32, &signature::ECDSA_P256_SHA256_FIXED),
            (Alg::ES384, "EC", Some("P-384")) => self.ec(48, &signature::ECDSA_P384_SHA384_FIXED),
            (Alg::EdDSA, "OKP", Some("Ed25519")) => self.okp(),
            _ => Err(JwkError::Mismatch(algorithm)),
        }?;
        Ok(VerifyingKey { algorithm, parsed })
    }

    /// The same key in its canonical form: without members that do not belong to its type, and with
    /// numbers of the length that RFC 7518 specifies. `None` if a number is not base64url.
    #[must_use]
    pub fn canonical(&self) -> Option<Self> {
        let mut key = self.clone();
        if key.kty != "RSA" {
            (key.n, key.e) = (None, None);
        }
        if key.kty != "EC" {
            key.y = None;
        }
        if key.kty == "RSA" {
            (key.crv, key.x) = (None, None);
        }
        let Self { n, e, x, y, .. } = &mut key;
        // An Ed25519 key is not a number; its 32 octets remain as they are.
        let coordinate = match self.crv.as_deref() {
            Some("P-384") => 48,
            Some("P-521") => 66,
            _ => 32,
        };
        for (member, length) in [(n, 1), (e, 1), (x, coordinate), (y, coordinate)] {
            if let Some(text) = member {
                *text = canonical(text, length)?;
            }
        }
        Some(key)
    }

    /// The RFC 7638 thumbprint, base64url: the `kid` of every key that the operator generates. It is
    /// that of the canonical encoding, so a key has the same thumbprint however it is written. `None`
    /// if a required member is missing or is not base64url.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let key = self.canonical()?;
        jose::Jwk::try_from(&key).ok()?.thumbprint(ThumbprintHash::SHA256).ok()
    }

    fn rsa(
        &self,
        parameters: &'static signature::RsaParameters,
    ) -> Result<ParsedPublicKey, JwkError> {
        let n = unsigned(self.n.as_deref()).ok_or(JwkError::Member("n"))?;
        let e = unsigned(self.e.as_deref()).ok_or(JwkError::Member("e"))?;
        let top_bits = n.first().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
        let bits = n.len().saturating_sub(1) * 8 + top_bits;
        if !(2048..=8192).contains(&bits) {
            return Err(JwkError::Size);
        }
        if !sound::is_exponent(&e) {
            return Err(JwkError::Exponent);
        }
        if sound::is_weak_modulus(&n) {
            return Err(JwkError::WeakModulus);
        }
        RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(parameters)
            .map_err(|_| JwkError::Invalid)
    }

    fn ec(
        &self,
        coordinate: usize,
        verification: &'static signature::EcdsaVerificationAlgorithm,
    ) -> Result<ParsedPublicKey, JwkError> {
        let x = padded(self.x.as_deref(), coordinate).ok_or(JwkError::Member("x"))?;
        let y = padded(self.y.as_deref(), coordinate).ok_or(JwkError::Member("y"))?;
        // SEC 1 section 2.3.3: 0x04 marks an uncompressed point.
        let point = [&[4_u8][..], &x, &y].concat();
        ParsedPublicKey::new(verification, point).map_err(|_| JwkError::Invalid)
    }

    fn okp(&self) -> Result<ParsedPublicKey, JwkError> {
        let x = octets(self.x.as_deref(), 32).ok_or(JwkError::Member("x"))?;
        if !sound::is_canonical(&x) {
            return Err(JwkError::NotCanonical);
        }
        if sound::has_small_order(&x) {
            return Err(JwkError::SmallOrder);
        }
        ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| JwkError::Invalid)
    }
}

/// A positive number (`Base64urlUInt`, RFC 7518 section 2) without its leading zero octets, which
/// the RFC forbids. Providers publish them all the same: a signed big integer of this size starts
/// with one.
fn unsigned(member: Option<&str>) -> Option<Vec<u8>> {
    number(member?).filter(|octets| !octets.is_empty())
}

/// A number of exactly `length` octets (RFC 7518 section 6.2.1.2), however many leading zeros it is
/// written with.
fn padded(member: Option<&str>, length: usize) -> Option<Vec<u8>> {
    let octets = number(member?)?;
    let zeros = length.checked_sub(octets.len())?;
    Some([vec![0; zeros], octets].concat())
}

/// A base64url number without leading zeros.
fn number(member: &str) -> Option<Vec<u8>> {
    let octets = URL_SAFE_NO_PAD.decode(member).ok()?;
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).map(<[u8]>::to_vec)
}

/// A base64url octet string of exactly `length` octets.
fn octets(member: Option<&str>, length: usize) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(member?).ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// A number in base64url without padding, with leading zeros up to `length` octets and no more
/// (RFC 7518 sections 6.2.1.2 and 6.3.1.1).
fn canonical(number: &str, length: usize) -> Option<String> {
    let octets = self::number(number.trim_end_matches('='))?;
    let zeros = vec![0; length.saturating_sub(octets.len())];
    Some(URL_SAFE_NO_PAD.encode([zeros, octets].concat()))
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
        let thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        assert_eq!(jwk.thumbprint().unwrap(), thumbprint);
        // The same key in encodings that some libraries write: RFC 7518 section 6.3.1.1.
        let bytes = URL_SAFE_NO_PAD.decode(jwk.n.as_ref().unwrap()).unwrap();
        let zeros = Some(URL_SAFE_NO_PAD.encode([&[0, 0], bytes.as_slice()].concat()));
        for written in [
            Jwk { n: zeros, ..jwk.clone() },
            Jwk { e: Some("AAEAAQ".into()), x: Some("%".into()), ..jwk.clone() },
        ] {
            assert_eq!(written.canonical().as_ref(), Some(&jwk));
            assert_eq!(written.thumbprint().unwrap(), thumbprint);
            assert!(written.verifying_key(VerifyingAlgorithm::RS256).is_ok());
        }
        let padded = Jwk { n: jwk.n.as_ref().map(|n| format!("{n}==")), ..jwk.clone() };
        assert_eq!(padded.thumbprint().unwrap(), thumbprint);
        let refused = padded.verifying_key(VerifyingAlgorithm::RS256).unwrap_err();
        assert_eq!(refused, JwkError::Member("n"));
        assert!(jwk.verifying_key(VerifyingAlgorithm::RS256).is_ok());
        assert_eq!(
            jwk.verifying_key(VerifyingAlgorithm::ES256).unwrap_err(),
            JwkError::Mismatch(VerifyingAlgorithm::ES256)
        );
    }

    /// RFC 8037 appendix A.3, and coordinates with and without their leading zeros.
    #[test]
    fn thumbprints_of_curves() {
        let jwk = |kty: &str, crv: &str, x: &[u8], y: Option<&[u8]>| Jwk {
            kty: kty.into(),
            crv: Some(crv.into()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            y: y.map(|y| URL_SAFE_NO_PAD.encode(y)),
            ..Jwk::default()
        };
        let mut okp = jwk("OKP", "Ed25519", &[], None);
        okp.x = Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into());
        assert_eq!(okp.thumbprint().unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        okp.x = Some("AAqYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into());
        let json = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, okp.x.as_ref().unwrap());
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, json.as_bytes());
        assert_eq!(okp.thumbprint().unwrap(), URL_SAFE_NO_PAD.encode(hash), "zeros are retained");

        for (crv, length) in [("P-256", 32), ("P-384", 48), ("P-521", 66)] {
            let mut x = vec![7; length];
            x[0] = 0;
            let y = vec![9; length];
            let full = jwk("EC", crv, &x, Some(&y));
            let short = jwk("EC", crv, &x[1..], Some(&y));
            let long = jwk("EC", crv, &x, Some(&[&[0], y.as_slice()].concat()));
            let thumbprint = full.thumbprint().unwrap();
            assert_eq!(short.thumbprint().unwrap(), thumbprint, "{crv}");
            assert_eq!(long.thumbprint().unwrap(), thumbprint, "{crv}");
            assert_ne!(jwk("EC", crv, &y, Some(&x)).thumbprint().unwrap(), thumbprint);
        }
        for incomplete in [
            Jwk::default(),
            jwk("EC", "P-256", &[1; 32], None),
            jwk("EC", "Ed25519", &[1; 32], Some(&[1; 32])),
            jwk("OKP", "X25519", &[1; 32], None),
            Jwk { x: Some("\"".into()), ..okp },
        ] {
            assert_eq!(incomplete.thumbprint(), None, "{incomplete:?}");
        }
    }

    #[test]
    fn coordinates_may_have_leading_zeros() {
        // RFC 7517 appendix A.1.
        let jwk = Jwk {
            kty: "EC".into(),
            crv: Some("P-256".into()),
            x: Some("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4".into()),
            y: Some("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM".into()),
            ..Jwk::default()
        };
        let with = |zeros: usize, member: &Option<String>| {
            let bytes = URL_SAFE_NO_PAD.decode(member.as_ref().unwrap()).unwrap();
            Some(URL_SAFE_NO_PAD.encode([vec![0; zeros], bytes].concat()))
        };
        let long = Jwk { x: with(1, &jwk.x), y: with(2, &jwk.y), ..jwk.clone() };
        assert!(long.verifying_key(VerifyingAlgorithm::ES256).is_ok());
        assert_eq!(long.canonical(), Some(jwk));
        let one_too_long = Jwk { x: Some(URL_SAFE_NO_PAD.encode([1; 33])), ..long };
        let refused = one_too_long.verifying_key(VerifyingAlgorithm::ES256).unwrap_err();
        assert_eq!(refused, JwkError::Member("x"));
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
        for exponent in [&[1][..], &[2], &[2, 0, 0, 0, 1]] {
            let refused = refuse(rsa(&[0xff; 256], exponent), VerifyingAlgorithm::RS256);
            assert_eq!(refused, JwkError::Exponent);
        }
        // 2^2048 - 1 is divisible by 3, 2^2047 by 2.
        let mut even = [0; 256];
        even[0] = 0x80;
        for modulus in [[0xff; 256], even] {
            let refused = refuse(rsa(&modulus, &[1, 0, 1]), VerifyingAlgorithm::RS256);
            assert_eq!(refused, JwkError::WeakModulus);
        }
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

    /// With these points, anyone can forge a signature without a private key: `R` is the identity
    /// and `S` is 0, which leaves the point times a hash in the verification equation. For the
    /// identity the equation always holds, for the other points for one message in 2, 4 or 8.
    #[test]
    fn ed25519_keys_that_anyone_can_sign_for_are_refused() {
        let mut forged = vec![0; 64];
        forged[0] = 1;
        let jwk = |x: &[u8]| Jwk {
            kty: "OKP".into(),
            crv: Some("Ed25519".into()),
            x: Some(URL_SAFE_NO_PAD.encode(x)),
            ..Jwk::default()
        };
        let hex = |text: &str| -> Vec<u8> {
            let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
            digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
        };
        for (point, error) in [
            (
                "0100000000000000000000000000000000000000000000000000000000000000",
                JwkError::SmallOrder,
            ),
            (
                "0100000000000000000000000000000000000000000000000000000000000080",
                JwkError::SmallOrder,
            ),
            (
                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                JwkError::SmallOrder,
            ),
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                JwkError::SmallOrder,
            ),
            (
                "0000000000000000000000000000000000000000000000000000000000000080",
                JwkError::SmallOrder,
            ),
            (
                "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
                JwkError::SmallOrder,
            ),
            (
                "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
                JwkError::SmallOrder,
            ),
            (
                "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
                JwkError::SmallOrder,
            ),
            (
                "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
                JwkError::SmallOrder,
            ),
            (
                "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                JwkError::NotCanonical,
            ),
            (
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                JwkError::NotCanonical,
            ),
            (
                "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                JwkError::NotCanonical,
            ),
        ] {
            let point_bytes = hex(point);
            match jwk(&point_bytes).verifying_key(VerifyingAlgorithm::EdDSA) {
                Err(refused) => assert_eq!(refused, error, "{point}"),
                Ok(key) => {
                    let messages =
                        (0..64_u8).filter(|message| key.verify(&[*message], &forged).is_ok());
                    panic!("{point} is a key, and {} of 64 forgeries pass", messages.count());
                }
            }
        }
    }
}
