//! Private keys: generated, parsed, and used for signing.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::signature::{Error as SignatureError, Signer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, VerifyingAlgorithm};
use super::jwk::Jwk;

mod export;

/// A private key that signs with one algorithm. It has no `Debug`, and its only serialized forms are
/// [`Self::to_pkcs8`] and, for keys that the operator does not store, [`Self::private_jwk`].
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a private key cannot be used. Never describes the key's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SigningError {
    /// The bytes are not a private key of the algorithm.
    #[error("not a private key for {}", .0.as_str())]
    Rejected(Algorithm),
    /// A JWK whose `alg`, or without one its type or curve, is not supported.
    #[error("the JWK has an `alg` or `crv` that is not supported")]
    Unsupported,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Failed,
}

impl SigningKey {
    /// Generates a key. RSA keys have 2048 bits and take about 50 ms of CPU time, sometimes several
    /// times that, so callers keep this off async threads.
    ///
    /// # Errors
    /// The random generator failed.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        let failed = |_| SigningError::Failed;
        let pair = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?))
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                Pair::Ec(EcdsaKeyPair::generate(ecdsa(algorithm)).map_err(failed)?)
            }
            Algorithm::EdDSA => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
        };
        Ok(Self { algorithm, pair })
    }

    /// Parses a PKCS #8 private key (RFC 5208), DER.
    ///
    /// # Errors
    /// It is not a private key of this algorithm.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, SigningError> {
        let rejected = |_| SigningError::Rejected(algorithm);
        let pair = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).map_err(rejected)?))
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                Pair::Ec(EcdsaKeyPair::from_pkcs8(ecdsa(algorithm), der).map_err(rejected)?)
            }
            Algorithm::EdDSA => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?),
        };
        Ok(Self { algorithm, pair })
    }

    /// Parses a private JWK (RFC 7518 section 6, RFC 8037 section 2). Without `alg`, RSA means
    /// RS256 and a curve means its own algorithm.
    ///
    /// # Errors
    /// The JWK is not a private key of a supported algorithm.
    pub fn from_jwk(jwk: &PrivateJwk) -> Result<Self, SigningError> {
        let algorithm = jwk.algorithm().ok_or(SigningError::Unsupported)?;
        let pair = jwk.pair(algorithm).ok_or(SigningError::Rejected(algorithm))?;
        Ok(Self { algorithm, pair })
    }

    /// The algorithm that this key signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The PKCS #8 form, DER.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let failed = |_| SigningError::Failed;
        let der = match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                der.as_ref().to_vec()
            }
            Pair::Ec(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
        };
        Ok(Zeroizing::new(der))
    }

    /// The public key, with `alg`, `use` and the RFC 7638 thumbprint as `kid`.
    #[must_use]
    pub fn public_jwk(&self) -> Jwk {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let mut jwk = Jwk {
            alg: Some(self.algorithm.as_str().to_owned()),
            use_: Some("sig".to_owned()),
            ..Jwk::default()
        };
        match &self.pair {
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                "RSA".clone_into(&mut jwk.kty);
                jwk.n = encode(public.modulus().big_endian_without_leading_zero());
                jwk.e = encode(public.exponent().big_endian_without_leading_zero());
            }
            Pair::Ec(pair) => {
                // 0x04 (uncompressed), then both coordinates (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                "EC".clone_into(&mut jwk.kty);
                let curve = if self.algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
                jwk.crv = Some(curve.to_owned());
                jwk.x = encode(x);
                jwk.y = encode(y);
            }
            Pair::Ed25519(pair) => {
                "OKP".clone_into(&mut jwk.kty);
                jwk.crv = Some("Ed25519".to_owned());
                jwk.x = encode(pair.public_key().as_ref());
            }
        }
        jwk.kid = jwk.thumbprint();
        jwk
    }
}

/// Signatures have the form that RFC 7518 section 3 requires.
impl Signer<Vec<u8>> for SigningKey {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let failed = |_| SignatureError::new();
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match self.algorithm {
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed).map_err(failed)?;
                Ok(signed)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

/// Called directly: `jsonwebtoken::encode` would parse the key for each token.
impl JwtSigner for SigningKey {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm.into()
    }
}

/// The ECDSA algorithm with the fixed-length signatures of RFC 7518 section 3.4.
fn ecdsa(algorithm: Algorithm) -> &'static EcdsaSigningAlgorithm {
    match algorithm {
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    }
}

/// A JWK with its private members. No `Debug`; wiped on drop.
#[derive(Default, Deserialize, Serialize)]
pub struct PrivateJwk {
    /// The public members.
    #[serde(flatten)]
    pub public: Jwk,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dp: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dq: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qi: Option<Zeroizing<String>>,
}

impl PrivateJwk {
    fn pair(&self, algorithm: Algorithm) -> Option<Pair> {
        let Self { public, d, p, q, dp, dq, qi } = self;
        Some(match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => {
                let public_key = PublicKeyComponents {
                    n: octets(public.n.as_ref())?,
                    e: octets(public.e.as_ref())?,
                };
                let pair = RsaKeyPair::from_components(&KeyPairComponents {
                    public_key,
                    d: octets(d.as_ref())?,
                    p: octets(p.as_ref())?,
                    q: octets(q.as_ref())?,
                    dP: octets(dp.as_ref())?,
                    dQ: octets(dq.as_ref())?,
                    qInv: octets(qi.as_ref())?,
                });
                Pair::Rsa(Box::new(pair.ok()?))
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                let (x, y) = (octets(public.x.as_ref())?, octets(public.y.as_ref())?);
                let (point, d) = ([&[4_u8][..], &x, &y].concat(), octets(d.as_ref())?);
                let curve = ecdsa(algorithm);
                Pair::Ec(EcdsaKeyPair::from_private_key_and_public_key(curve, &d, &point).ok()?)
            }
            Algorithm::EdDSA => {
                let (x, d) = (octets(public.x.as_ref())?, octets(d.as_ref())?);
                Pair::Ed25519(Ed25519KeyPair::from_seed_and_public_key(&d, &x).ok()?)
            }
        })
    }

    fn algorithm(&self) -> Option<Algorithm> {
        let Jwk { alg, kty, crv, .. } = &self.public;
        let rsa = VerifyingAlgorithm::RS256;
        let own = VerifyingAlgorithm::of_key(alg.as_deref(), Some(kty), crv.as_deref(), rsa);
        own.and_then(|own| Algorithm::from_name(own.as_str()))
    }
}

fn octets(member: Option<&impl AsRef<str>>) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(member?.as_ref()).map(Zeroizing::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::signature::Verifier as _;

    #[test]
    fn every_algorithm_signs_what_its_public_half_verifies() {
        for algorithm in Algorithm::ALL {
            let made = SigningKey::generate(algorithm).unwrap();
            let read = SigningKey::from_pkcs8(algorithm, &made.to_pkcs8().unwrap()).unwrap();
            let jwk = made.public_jwk();
            assert_eq!(jwk, read.public_jwk(), "{algorithm:?}");
            let verifying = jwk.verifying_key(algorithm).unwrap();
            let signature = read.try_sign(b"message").unwrap();
            assert!(verifying.verify(b"message", &signature).is_ok(), "{algorithm:?}");
            assert!(verifying.verify(b"Message", &signature).is_err(), "{algorithm:?}");
        }
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let der = key.to_pkcs8().unwrap();
        assert!(SigningKey::from_pkcs8(Algorithm::EdDSA, &der).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::ES384, &der).is_err());
        assert!(SigningKey::from_pkcs8(Algorithm::RS256, b"").is_err());
    }

    /// RFC 7517 appendix A.2 (EC) and RFC 8037 appendix A.1 (Ed25519).
    #[test]
    fn private_jwks_of_the_rfcs_sign() {
        for text in [
            r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","use":"enc","kid":"1"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ] {
            let jwk: PrivateJwk = serde_json::from_str(text).unwrap();
            assert!(jwk.d.is_some());
            let key = SigningKey::from_jwk(&jwk).unwrap();
            let verifying = jwk.public.verifying_key(key.algorithm()).unwrap();
            assert!(verifying.verify(b"m", &key.try_sign(b"m").unwrap()).is_ok());
        }
        let public =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let jwk: PrivateJwk = serde_json::from_str(public).unwrap();
        assert!(jwk.d.is_none());
        assert!(SigningKey::from_jwk(&jwk).is_err());
    }
}
