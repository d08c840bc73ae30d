//! The signature algorithms of JWTs (RFC 7518 section 3, RFC 8037 section 3.1): two closed subsets of
//! [`jsonwebtoken::Algorithm`]. That type is not used for keys and tokens because it includes the
//! HMAC family, and because the names here are part of the CRD schemas.

use jsonwebtoken::AlgorithmFamily;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines a subset of [`jsonwebtoken::Algorithm`].
macro_rules! algorithms {
    ($(#[$about:meta])* $name:ident { $($(#[$description:meta])* $alg:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$description])* $alg,)*
        }

        impl $name {
            /// Every algorithm.
            pub const ALL: [Self; [$(stringify!($alg)),*].len()] = [$(Self::$alg),*];

            /// The `alg` value that is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$alg => stringify!($alg),)*
                }
            }

            /// The algorithm of an `alg` value; `None` if it is not one of these. EdDSA has a second
            /// name, `Ed25519` (RFC 9864 section 2.2).
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                let name = if name == "Ed25519" { "EdDSA" } else { name };
                Self::ALL.into_iter().find(|alg| alg.as_str() == name)
            }
        }

        impl From<$name> for jsonwebtoken::Algorithm {
            fn from(algorithm: $name) -> Self {
                match algorithm {
                    $($name::$alg => Self::$alg,)*
                }
            }
        }
    };
}

algorithms! {
    /// An algorithm that the operator signs with. More are accepted: [`VerifyingAlgorithm`].
    #[derive(Default)]
    Algorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        #[default]
        RS256,
        /// RSASSA-PSS with SHA-256.
        PS256,
        /// ECDSA on P-256 with SHA-256.
        ES256,
        /// ECDSA on P-384 with SHA-384.
        ES384,
        /// EdDSA on Ed25519.
        EdDSA,
    }
}

algorithms! {
    /// An algorithm whose signatures are accepted. `none` and the HMAC family are not included, so no
    /// token can choose them.
    VerifyingAlgorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RS256,
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RS384,
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RS512,
        /// RSASSA-PSS with SHA-256.
        PS256,
        /// RSASSA-PSS with SHA-384.
        PS384,
        /// RSASSA-PSS with SHA-512.
        PS512,
        /// ECDSA on P-256 with SHA-256.
        ES256,
        /// ECDSA on P-384 with SHA-384.
        ES384,
        /// EdDSA on Ed25519.
        EdDSA,
    }
}

impl VerifyingAlgorithm {
    /// The one algorithm of a JWK with these members: its `alg`, or else the algorithm of its
    /// curve. For an RSA key without `alg`, which several algorithms could use, it is `rsa`.
    #[must_use]
    pub fn of_key(
        alg: Option<&str>,
        kty: Option<&str>,
        crv: Option<&str>,
        rsa: Self,
    ) -> Option<Self> {
        match (alg, kty, crv) {
            (Some(alg), ..) => Self::from_name(alg),
            (None, Some("RSA"), _) => Some(rsa),
            (None, Some("EC"), Some("P-256")) => Some(Self::ES256),
            (None, Some("EC"), Some("P-384")) => Some(Self::ES384),
            (None, Some("OKP"), Some("Ed25519")) => Some(Self::EdDSA),
            _ => None,
        }
    }

    /// Whether its keys are RSA keys, which several algorithms can use.
    #[must_use]
    pub fn is_rsa(self) -> bool {
        jsonwebtoken::Algorithm::from(self).family() == AlgorithmFamily::Rsa
    }
}

impl From<Algorithm> for VerifyingAlgorithm {
    fn from(signing: Algorithm) -> Self {
        match signing {
            Algorithm::RS256 => Self::RS256,
            Algorithm::PS256 => Self::PS256,
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_algorithm() {
        use VerifyingAlgorithm as Alg;
        let of_key = |alg, kty, crv| Alg::of_key(alg, kty, crv, Alg::PS256);
        assert_eq!(of_key(None, Some("RSA"), None), Some(Alg::PS256));
        assert_eq!(of_key(Some("RS512"), Some("RSA"), None), Some(Alg::RS512));
        assert_eq!(of_key(None, Some("EC"), Some("P-384")), Some(Alg::ES384));
        assert_eq!(of_key(None, Some("EC"), Some("P-521")), None);
        assert_eq!(of_key(Some("HS256"), Some("oct"), None), None);
        assert_eq!(of_key(None, None, None), None);
    }

    #[test]
    fn what_is_signed_can_be_verified_under_the_same_name() {
        for signing in Algorithm::ALL {
            assert_eq!(VerifyingAlgorithm::from(signing).as_str(), signing.as_str());
        }
        for algorithm in VerifyingAlgorithm::ALL {
            let name = algorithm.as_str();
            assert_eq!(name.parse(), Ok(jsonwebtoken::Algorithm::from(algorithm)));
            assert_eq!(VerifyingAlgorithm::from_name(name), Some(algorithm));
        }
        for refused in
            ["none", "HS256", "ES512", "ES256K", "rs256", "RSA-OAEP", "Ed448", "ed25519", ""]
        {
            assert_eq!(VerifyingAlgorithm::from_name(refused), None, "{refused}");
        }
    }

    /// RFC 9864 section 2.2.
    #[test]
    fn ed25519_is_another_name_of_eddsa() {
        assert_eq!(VerifyingAlgorithm::from_name("Ed25519"), Some(VerifyingAlgorithm::EdDSA));
        assert_eq!(Algorithm::from_name("Ed25519"), Some(Algorithm::EdDSA));
        assert_eq!(Algorithm::EdDSA.as_str(), "EdDSA");
    }
}
